"""Figures over time, as charts and small lines draw them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.models import DayStats, JobStats, JobStatus
from videojobs.requests import JobFilter

DAYS = 14
_MOST_TO_COUNT = 5_000
"""Of a day with more completed jobs, the latest hundreds stand for all."""
_SAMPLE = 300


@dataclass(frozen=True, slots=True)
class Times:
    """How long the completed jobs of one day took, in seconds."""

    median: float
    p95: float


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
    """Median and 95th percentile of each day. Days that are over are asked for once."""

    def __init__(self, jobs: AsyncVideoJobManager, scope: JobFilter) -> None:
        self._jobs = jobs
        self._scope = scope
        self._known: dict[date, tuple[int, Times | None]] = {}

    async def of(self, days: Sequence[DayStats]) -> Mapping[date, Times]:
        """The days on which jobs were created that have completed."""
        asked = [day for day in days if self._is_news(day)]
        for day, times in zip(asked, await asyncio.gather(*map(self._ask, asked)), strict=True):
            self._known[day.day] = (day.completed, times)
        return {
            day.day: times
            for day in days
            if (times := self._known.get(day.day, (0, None))[1]) is not None
        }

    def _is_news(self, day: DayStats) -> bool:
        has_jobs = day.created > 0
        return has_jobs and self._known.get(day.day, (-1, None))[0] != day.completed

    async def _ask(self, day: DayStats) -> Times | None:
        begin = datetime.combine(day.day, time(), UTC)
        filters = self._scope.model_copy(
            update={
                "status": (JobStatus.COMPLETED,),
                "created_from": begin,
                "created_before": begin + timedelta(days=1),
            }
        )
        if day.created > _MOST_TO_COUNT:
            return await self._of_sample(filters)
        stats = await self._jobs.get_job_stats(filters)
        median, p95 = stats.median_processing_seconds, stats.p95_processing_seconds
        return None if median is None or p95 is None else Times(median, p95)

    async def _of_sample(self, filters: JobFilter) -> Times | None:
        page = await self._jobs.list_jobs(filters, limit=_SAMPLE)
        took = sorted(job.processing_time for job in page if job.processing_time is not None)
        if not took:
            return None
        return Times(took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.95))])


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


def times_options(days: Sequence[DayStats], times: Mapping[date, Times]) -> dict[str, object]:
    """Lines of median and 95th percentile."""
    shown = [times.get(day.day) for day in days]
    series = [
        _line("Median", [one and round(one.median, 1) for one in shown], "accent"),
        _line("95th percentile", [one and round(one.p95, 1) for one in shown], "amber"),
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
