"""Figures over time, as charts and small lines draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.models import DayStats, DayTimes, JobStats, JobStatus
from videojobs.requests import JobFilter

DAYS = 14


def last_days(stats: JobStats, today: date) -> list[DayStats]:
    """The latest days, quiet ones too, oldest first."""
    known = {day.day: day for day in stats.by_day}
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    return [
        known.get(day) or DayStats(day=day, created=0, completed=0, failed=0, cancelled=0)
        for day in days
    ]


def trend_of(status: JobStatus | None, days: Sequence[DayStats]) -> list[int]:
    """What the small line of a status shows: what came in, or how many got there."""
    match status:
        case None | JobStatus.QUEUED:
            return [day.created for day in days]
        case JobStatus.PROCESSING:
            return [day.completed + day.failed + day.cancelled for day in days]
        case _:
            return [getattr(day, status.value) for day in days]


class ProcessingTimes:
    """Median and 95th percentile of each day, in one call for the days that have news."""

    def __init__(self, jobs: AsyncVideoJobManager, scope: JobFilter) -> None:
        self._jobs = jobs
        self._scope = scope
        self._completed: dict[date, int] = {}
        self._known: dict[date, DayTimes] = {}

    async def of(self, days: Sequence[DayStats]) -> Mapping[date, DayTimes]:
        """The days on which jobs were created that have completed; *days* end today."""
        news = [back for back, day in enumerate(reversed(days), 1) if self._is_news(day)]
        if news:
            # And the day before: what ended today may have been created then.
            asked = min(max(news) + 1, len(days))
            found = await self._jobs.get_processing_times(self._scope, days=asked)
            for day in days[-asked:]:
                self._known.pop(day.day, None)
            self._known |= {times.day: times for times in found}
            self._completed = {day.day: day.completed for day in days}
        return {day.day: self._known[day.day] for day in days if day.day in self._known}

    def _is_news(self, day: DayStats) -> bool:
        return self._completed.get(day.day, 0) != day.completed


def sparkline(values: Sequence[int], width: int = 96, height: int = 26) -> str:
    """A small line over the values, as SVG; numbers of ours only."""
    top = max(*values, 1)
    step = width / (len(values) - 1)
    points = [
        (round(index * step, 1), round(height - 2 - value / top * (height - 4), 1))
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<svg class="vj-spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="0,{height} {line} {width},{height}"/><polyline points="{line}"/></svg>'
    )


def throughput_options(days: Sequence[DayStats]) -> dict[str, object]:
    """Bars of what ended each day, by how."""
    series = [
        _bars("Completed", [day.completed for day in days], "completed"),
        _bars("Failed", [day.failed for day in days], "failed"),
        _bars("Cancelled", [day.cancelled for day in days], "cancelled"),
    ]
    return _options([day.day for day in days], series, "{value}")


def times_options(days: Sequence[DayStats], times: Mapping[date, DayTimes]) -> dict[str, object]:
    """Lines of median and 95th percentile."""
    shown = [times.get(day.day) for day in days]
    series = [
        _line("Median", [one and round(one.median_seconds, 1) for one in shown], "accent"),
        _line("95th percentile", [one and round(one.p95_seconds, 1) for one in shown], "amber"),
    ]
    return _options([day.day for day in days], series, "{value} s")


def _bars(name: str, values: Sequence[int], color: str) -> dict[str, object]:
    return {
        "type": "bar",
        "name": name,
        "data": list(values),
        "stack": "ended",
        "barMaxWidth": 18,
        "itemStyle": {"color": f"var(--vj-{color})"},
        "emphasis": {"disabled": True},
    }


def _line(name: str, values: Sequence[float | None], color: str) -> dict[str, object]:
    return {
        "type": "line",
        "name": name,
        "data": list(values),
        "connectNulls": True,
        "symbol": "circle",
        "symbolSize": 5,
        "lineStyle": {"width": 2, "color": f"var(--vj-{color})"},
        "itemStyle": {"color": f"var(--vj-{color})"},
        "emphasis": {"disabled": True},
    }


def _options(
    days: Sequence[date], series: Sequence[dict[str, object]], unit: str
) -> dict[str, object]:
    # Drawn as SVG, whose colours are the style sheet's: they follow the theme by themselves.
    quiet = {"color": "var(--vj-muted)", "fontSize": 11, "fontFamily": "inherit"}
    return {
        "animation": False,
        "grid": {"left": 4, "right": 6, "top": 34, "bottom": 2, "containLabel": True},
        "legend": {
            "top": 0,
            "left": 0,
            "icon": "roundRect",
            "itemWidth": 9,
            "itemHeight": 9,
            "itemGap": 14,
            "selectedMode": False,
            "textStyle": quiet,
        },
        "tooltip": {
            "trigger": "axis",
            "className": "vj-tooltip",
            "axisPointer": {"type": "line", "lineStyle": {"color": "var(--vj-border)"}},
        },
        "xAxis": {
            "type": "category",
            "data": [f"{day.day} {day:%b}" for day in days],
            "axisLine": {"lineStyle": {"color": "var(--vj-border)"}},
            "axisTick": {"show": False},
            "axisLabel": quiet,
        },
        "yAxis": {
            "type": "value",
            "minInterval": 1,
            "splitNumber": 3,
            "splitLine": {"lineStyle": {"color": "var(--vj-line)"}},
            "axisLabel": {**quiet, "formatter": unit},
        },
        "series": list(series),
    }
