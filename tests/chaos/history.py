"""What a run left behind: the rows, what the clients had asked for, and the stored files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the checker needs of a row of ``public.video_jobs``."""

    id: UUID
    idempotency_key: str | None
    status: str
    attempt: int
    max_attempts: int
    lost_count: int
    run_token: int
    error_code: str | None
    error_message: str | None
    output_files: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of ``public.video_job_events``."""

    id: int
    job_id: UUID
    type: str
    at: datetime
    run_token: int | None = None
    worker_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """A row of ``videojobs.leases``."""

    job_id: UUID
    run_token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A job that a client created: it was told that the job is stored under this id."""

    key: str
    job_id: UUID
    expected_error: str | None = None
    """The error code that the job must fail with; none where it must be completed."""
    cancel_was_asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is checked."""

    jobs: tuple[Job, ...]
    events: tuple[Event, ...]
    """In the order of their ids."""
    leases: tuple[LeaseRow, ...]
    wishes: tuple[Wish, ...]
    files: Mapping[str, int]
    """The size of each file in the storage, by its path."""
    begun_at: datetime
    """By the database's clock."""
    read_at: datetime


_JOBS = """
select
  id, idempotency_key, status::text, attempt, max_attempts, lost_count, run_token, error_code,
  error_message, output_files
from public.video_jobs
order by seq
"""
_EVENTS = """
select id, job_id, type::text, at, run_token, worker_id, data
from public.video_job_events
order by id
"""


def read_history(
    database_url: str, *, wishes: tuple[Wish, ...], storage: Path, begun_at: datetime
) -> History:
    """Everything as it is now."""
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

        def rows(kind: type, query: str) -> tuple[Any, ...]:
            return tuple(connection.cursor(row_factory=class_row(kind)).execute(query).fetchall())

        return History(
            jobs=rows(Job, _JOBS),
            events=rows(Event, _EVENTS),
            leases=rows(LeaseRow, "select job_id, run_token from videojobs.leases"),
            wishes=wishes,
            files={
                str(path.relative_to(storage)): path.stat().st_size
                for path in storage.rglob("*")
                if path.is_file()
            },
            begun_at=begun_at,
            read_at=connection.execute("select clock_timestamp()").fetchone()[0],
        )
