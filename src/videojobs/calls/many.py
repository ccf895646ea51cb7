"""Calls about many jobs, and about the whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import Literal
from uuid import UUID

from pydantic import TypeAdapter

from videojobs.calls._call import Call, Json, Repeatable
from videojobs.models import DayTimes, Health, JobReceipt, JobStats, Row, Rows, UpdateResult
from videojobs.requests import BATCH_LIMIT, JobChanges, JobFilter, NewVideoJob, refuse

Place = tuple[datetime, int]
"""Where a walk through the jobs has come to: a job's ``created_at`` and ``seq``."""
GroupBy = Literal["user_id", "team_id", "platform_target", "pipeline"]

GROUPS: tuple[GroupBy, ...] = ("user_id", "team_id", "platform_target", "pipeline")


def create_jobs(jobs: Sequence[NewVideoJob], ids: Sequence[UUID]) -> Call[list[JobReceipt]]:
    """Create a batch of jobs, all or none. Only their ids come back."""
    fields = _wishes_adapter().dump_python(list(jobs), mode="json", exclude_none=True)
    wishes = [{"id": str(job_id), **wish} for wish, job_id in zip(fields, ids, strict=True)]
    return Call(
        "create_video_jobs",
        {"jobs": Json(wishes)},
        partial(_receipts, tuple(ids)),
        Repeatable.KEYED,
        columns=("id",),
    )


@cache
def _wishes_adapter() -> TypeAdapter[list[NewVideoJob]]:
    """One pass over all of them takes half the time of a dump for each. Made on first use."""
    return TypeAdapter(list[NewVideoJob])


def _receipts(ids: Sequence[UUID], rows: Rows) -> list[JobReceipt]:
    return [_receipt(row["id"], wished) for row, wished in zip(rows, ids, strict=True)]


def _receipt(found: UUID | str, wished: UUID) -> JobReceipt:
    job_id = found if isinstance(found, UUID) else UUID(found)
    return JobReceipt(job_id, created=job_id == wished)


def get_stats(filters: JobFilter, group_by: GroupBy | None) -> Call[JobStats]:
    """Read the figures."""
    if group_by is not None and group_by not in GROUPS:
        raise refuse("get_job_stats", "group_by", group_by, f"one of {', '.join(GROUPS)}")
    arguments = {"filter": Json(filters.to_json()), "group_by": group_by}
    return Call("get_video_job_stats", arguments, _stats, Repeatable.READ)


def _stats(rows: Rows) -> JobStats:
    return JobStats.model_validate(rows[0])


def get_times(filters: JobFilter, days: int) -> Call[list[DayTimes]]:
    """Read how long the jobs of the last days took."""
    if not isinstance(days, int) or not 1 <= days <= 90:  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise refuse("get_processing_times", "days", days, "a whole number from 1 to 90")
    arguments = {"filter": Json(filters.to_json()), "days": days}
    return Call("get_video_job_times", arguments, _times, Repeatable.READ)


def _times(rows: Rows) -> list[DayTimes]:
    return [DayTimes.model_validate(row) for row in rows]


def bulk_update_ids(
    changes: JobChanges, ids: Sequence[UUID], *, dry_run: bool
) -> Call[list[UpdateResult]]:
    """Change up to `BATCH_LIMIT` named jobs."""
    arguments = {
        "changes": Json(changes.to_json()),
        "job_ids": list(ids),
        "dry_run": dry_run,
    }
    return Call("bulk_update_video_jobs", arguments, _results, Repeatable.KEYED)


def _results(rows: Rows) -> list[UpdateResult]:
    return [UpdateResult.model_validate(row) for row in rows]


def bulk_update_matching(
    changes: JobChanges, filters: JobFilter, *, dry_run: bool, after: Place | None
) -> Call[tuple[list[UpdateResult], Place | None]]:
    """Change the next `BATCH_LIMIT` jobs that match, and tell where to go on."""
    arguments = {
        "changes": Json(changes.to_json()),
        "filter": Json(filters.to_json()),
        "dry_run": dry_run,
        "after_created_at": after and after[0],
        "after_seq": after and after[1],
        "row_limit": BATCH_LIMIT,
    }
    return Call("bulk_update_video_jobs", arguments, _results_and_place, Repeatable.KEYED)


def _results_and_place(rows: Rows) -> tuple[list[UpdateResult], Place | None]:
    more = len(rows) == BATCH_LIMIT
    # One that was deleted meanwhile has no place any more.
    places = [_place(row) for row in rows if row["created_at"] is not None]
    return _results(rows), max(places) if more and places else None


def _place(row: Row) -> Place:
    moment: datetime | str = row["created_at"]
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment), row["seq"]


def clear(
    filters: JobFilter, finished_before: datetime | None, older_than_seconds: float | None
) -> Call[int]:
    """Delete up to `BATCH_LIMIT` final jobs."""
    arguments = {
        "filter": Json(filters.to_json()),
        "finished_before": finished_before,
        "older_than_seconds": older_than_seconds,
        "row_limit": BATCH_LIMIT,
    }
    return Call("clear_video_jobs", arguments, len, Repeatable.KEYED)


def check() -> Call[Health]:
    """Ask the database how it is."""
    return Call("check_video_jobs", {}, _health, Repeatable.READ)


def _health(rows: Rows) -> Health:
    return Health.model_validate(rows[0])
