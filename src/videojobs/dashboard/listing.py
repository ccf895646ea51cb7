"""Which jobs the table shows: read from the page's address, and written back to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode

from videojobs.errors import SupabaseValidationError
from videojobs.models import JobStatus
from videojobs.requests import JobFilter

PAGE_SIZE = 50
"""Rows in the page at a time, however many jobs there are."""

PERIODS = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}

_FIELD_OF = {
    "status": "status",
    "q": "search",
    "pipeline": "pipeline",
    "type": "resource_type",
    "platform": "platform_target",
    "quality": "quality_preset",
    "queue": "queue",
    "worker": "worker_id",
    "error": "error_code",
    "resource": "resource_id",
    "season": "resource_parent_id",
    "film": "parent_job_id",
    "user": "user_id",
    "team": "team_id",
}
"""The name in the address, and the filter's field."""

_COUNTED = ("user", "team", "queue", "pipeline", "platform")
"""What the statistics have sums for: filters by these cost the same at any number of jobs."""

_CURSOR_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The filters and the place in the list, as the address has them."""

    status: str | None = None
    """One status, or several with commas between."""
    q: str | None = None
    """Text of a file's or resource's name."""
    pipeline: str | None = None
    type: str | None = None
    platform: str | None = None
    quality: str | None = None
    queue: str | None = None
    worker: str | None = None
    error: str | None = None
    resource: str | None = None
    season: str | None = None
    film: str | None = None
    user: str | None = None
    team: str | None = None
    created: str | None = None
    """A key of `PERIODS`."""
    after: str | None = None
    """The cursor of the page before; ``None`` for the newest jobs."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> tuple[Self, list[str]]:
        """The listing that an address asks for, and what of it had to be left out, in words."""
        given = {
            field.name: query[field.name].strip()
            for field in fields(cls)
            if query.get(field.name, "").strip()
        }
        refused: list[str] = []
        for name, value in list(given.items()):
            if not _is_possible(name, value):
                refused.append(f"{name}={value[:60]}")
                del given[name]
        return cls(**given), refused

    def with_filter(self, name: str, value: str | None) -> Self:
        """The same with one filter set, from its first page."""
        changed: dict[str, Any] = {name: value or None, "after": None}
        return replace(self, **changed)

    def at(self, cursor: str | None) -> Self:
        """The same filters at another place in the list."""
        return replace(self, after=cursor)

    def query(self) -> str:
        """As it stands in the address, with its ``?``; empty where nothing is set."""
        given = {name: value for name, value in self._given().items() if value}
        return f"?{urlencode(given)}" if given else ""

    @property
    def chosen(self) -> dict[str, str]:
        """The filters that are set, by their names in the address."""
        return {name: value for name, value in self._given().items() if value and name != "after"}

    @property
    def is_counted(self) -> bool:
        """Whether the sums tell how many jobs match."""
        return not set(self.chosen) - {*_COUNTED, "status"}

    def filters(self, now: datetime) -> JobFilter:
        """What to ask the database for."""
        wanted: dict[str, Any] = {
            _FIELD_OF[name]: value.split(",") if name == "status" else value
            for name, value in self.chosen.items()
            if name in _FIELD_OF
        }
        if self.created:
            wanted["created_from"] = now - PERIODS[self.created][1]
        return JobFilter(**wanted)

    def scope(self) -> JobFilter:
        """The part of the filters that the figures above the table follow."""
        return JobFilter(
            **{_FIELD_OF[name]: value for name, value in self.chosen.items() if name in _COUNTED}  # pyright: ignore[reportArgumentType] # pydantic reads the text
        )

    def statuses(self) -> list[JobStatus]:
        """The statuses that are asked for; empty for all."""
        return [JobStatus(name) for name in (self.status or "").split(",") if name]

    def _given(self) -> dict[str, str | None]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _is_possible(name: str, value: str) -> bool:
    if name == "created":
        return value in PERIODS
    if name == "after":
        return len(value) <= _CURSOR_LENGTH
    try:
        JobFilter(**{_FIELD_OF[name]: value.split(",") if name == "status" else value})  # pyright: ignore[reportArgumentType] # pydantic reads the text
    except SupabaseValidationError:
        return False
    return True
