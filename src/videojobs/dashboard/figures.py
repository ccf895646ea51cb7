"""The figures above the table: a card for each status, and two charts."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime

from nicegui import ui

from videojobs.dashboard import assets
from videojobs.dashboard.parts import Text, box, text
from videojobs.dashboard.trends import (
    DAYS,
    ProcessingTimes,
    last_days,
    sparkline,
    throughput_options,
    times_options,
    trend_of,
)
from videojobs.dashboard.wording import STATUS_NAMES, count_text, seconds_text
from videojobs.models import DayStats, DayTimes, JobStats, JobStatus

_TODAY = {
    None: "created today",
    JobStatus.QUEUED: "came in today",
    JobStatus.PROCESSING: "ended today",
    JobStatus.COMPLETED: "today",
    JobStatus.FAILED: "today",
    JobStatus.CANCELLED: "today",
}


class StatusCard:
    """A count that is also a button: it has the table show these jobs."""

    def __init__(
        self, status: JobStatus | None, choose: Callable[[JobStatus | None], None]
    ) -> None:
        self._status = status
        self._trend: list[int] = []
        name = STATUS_NAMES[status] if status else "All jobs"
        word = status.value if status else "all"
        self.element = box(f"vj-card {word}", "button", type="button", aria_pressed="false")
        self.element.on("click", lambda: choose(status), args=[])
        with self.element:
            with box("vj-card-head"):
                assets.icon(word)
                text(name)
            with box("vj-card-figures"):
                self._count = text("–", "vj-card-count")
                self._spark = ui.html("", sanitize=False, tag="span").classes("vj-card-spark")
            self._today = text("", "vj-card-today")

    def show(self, count: int, days: Sequence[DayStats]) -> None:
        """The count, and what the last days looked like."""
        trend = trend_of(self._status, days)
        self._count.say(count_text(count))
        self._today.say(f"{count_text(trend[-1])} {_TODAY[self._status]}")
        if trend != self._trend:
            self._trend = trend
            self._spark.set_content(sparkline(trend))

    def mark(self, is_chosen: bool) -> None:
        """Whether the table shows these."""
        wanted = "true" if is_chosen else "false"
        if self.element.props["aria-pressed"] != wanted:
            self.element.props["aria-pressed"] = wanted


class Figures:
    """All cards and both charts."""

    def __init__(self, choose: Callable[[JobStatus | None], None]) -> None:
        self._days: list[DayStats] = []
        self._times: Mapping[date, DayTimes] = {}
        self.total = 0
        self.by_status: Mapping[JobStatus, int] = {}
        statuses: list[JobStatus | None] = [None, *JobStatus]
        with box("vj-cards", "section", aria_label="Jobs by status"):
            self._cards = {status: StatusCard(status, choose) for status in statuses}

    def build_charts(self) -> None:
        """The charts, where they shall stand."""
        with box("vj-charts", "section", aria_label=f"The last {DAYS} days") as self._charts:
            self._rate, self._ended = _chart("Throughput", "jobs that ended, by day (UTC)")
            self._took, self._times_chart = _chart(
                "Processing time", "of completed jobs, by day of creation"
            )

    def mark(self, statuses: Sequence[JobStatus]) -> None:
        """Which statuses the table shows."""
        for status, card in self._cards.items():
            card.mark(status in statuses if statuses else status is None)

    async def show(self, stats: JobStats, times: ProcessingTimes) -> None:
        """These figures."""
        self.total, self.by_status = stats.total, stats.by_status
        days = last_days(stats, datetime.now(UTC).date())
        for status, card in self._cards.items():
            card.show(stats.by_status[status] if status else stats.total, days)
        rate = stats.success_rate
        self._rate.say("–" if rate is None else f"{rate:.1%} succeed")
        self._took.say(
            "–"
            if stats.median_processing_seconds is None
            else f"{seconds_text(stats.median_processing_seconds)} median, "
            f"{seconds_text(stats.p95_processing_seconds)} p95"
        )
        # Two empty frames would only push the list down.
        self._charts.set_visibility(
            any(day.completed or day.failed or day.cancelled for day in days)
        )
        by_day = await times.of(days)
        if days != self._days:
            _draw(self._ended, throughput_options(days), _told_days(days))
        if days != self._days or by_day != self._times:
            _draw(self._times_chart, times_options(days, by_day), _told_times(by_day))
        self._days, self._times = days, by_day


def _chart(title: str, meaning: str) -> tuple[Text, ui.echart]:
    with box("vj-panel vj-chart"):
        with box("vj-panel-head"):
            with box("", "div"):
                text(title, "", "h2")
                text(meaning, "vj-under")
            figure = text("–", "vj-figure")
        chart = ui.echart({"series": []}, renderer="svg")
        chart.props["role"] = "img"
        chart.props["aria-label"] = title
    return figure, chart


def _draw(chart: ui.echart, options: dict[str, object], told: str) -> None:
    chart.options.clear()
    chart.options.update(options)
    chart.props["aria-label"] = told
    chart.update()


def _told_days(days: Sequence[DayStats]) -> str:
    ended = [
        f"{day.day:%d %B} {day.completed} completed, {day.failed} failed"
        for day in days
        if day.completed or day.failed
    ]
    return f"Throughput of the last {DAYS} days: {'; '.join(ended) or 'nothing has ended'}"


def _told_times(times: Mapping[date, DayTimes]) -> str:
    told = [
        f"{day:%d %B} median {seconds_text(one.median_seconds)}, 95th percentile {seconds_text(one.p95_seconds)}"
        for day, one in times.items()
    ]
    return f"Processing time of the last {DAYS} days: {'; '.join(told) or 'nothing has completed'}"
