"""Calls about one job, or one page of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from videojobs.calls._call import Call, Json, Repeatable, as_id, whole_within
from videojobs.errors import JobNotFoundError, SupabaseValidationError
from videojobs.models import CreatedJob, JobEvent, Page, Rows, VideoJob
from videojobs.reports import JobPlace
from videojobs.requests import BATCH_LIMIT, JobFilter, NewVideoJob, refuse

OFFSET_LIMIT = 1_000_000_000


def create_job(job: NewVideoJob, job_id: UUID) -> Call[CreatedJob]:
    """Create it under the id, or find the one that its idempotency key names."""
    return Call(
        "create_video_jobs",
        {"jobs": Json([wish(job, job_id)])},
        partial(_created_job, job_id),
        Repeatable.KEYED,
    )


def wish(job: NewVideoJob, job_id: UUID) -> dict[str, Any]:
    """The job as the SQL function takes it."""
    return {"id": str(job_id), **job.to_json()}


def _created_job(job_id: UUID, rows: Rows) -> CreatedJob:
    row = rows[0]
    return CreatedJob.model_validate({**row, "created": str(row["id"]) == str(job_id)})


def get_job(job_id: UUID | str) -> Call[VideoJob]:
    """Read it."""
    identity = as_id("get_job", "job_id", job_id)
    return Call(
        "get_video_job", {"job_id": identity}, partial(_found_job, identity), Repeatable.READ
    )


def _found_job(job_id: UUID, rows: Rows) -> VideoJob:
    if not rows:
        raise _no_such_job(job_id, "get_video_job")
    return VideoJob.model_validate(rows[0])


def _no_such_job(job_id: UUID, operation: str) -> JobNotFoundError:
    return JobNotFoundError(
        f"there is no job {job_id}, or it is not yours",
        job_id=job_id,
        code="VJ001",
        operation=operation,
    )


def get_place(job_id: UUID | str) -> Call[JobPlace]:
    """Read where it stands."""
    identity = as_id("get_job_place", "job_id", job_id)
    return Call(
        "get_video_job_place", {"job_id": identity}, partial(_place_of, identity), Repeatable.READ
    )


def _place_of(job_id: UUID, rows: Rows) -> JobPlace:
    if not rows:
        raise _no_such_job(job_id, "get_video_job_place")
    return JobPlace.model_validate(rows[0])


def one_job(rows: Rows) -> VideoJob:
    """The job of an answer that always has one."""
    return VideoJob.model_validate(rows[0])


def cancel_job(job_id: UUID | str, reason: str | None) -> Call[VideoJob]:
    """Cancel it, or ask its worker to stop."""
    if reason is not None and not (0 < len(reason) <= 255 and "\x00" not in reason):
        raise refuse("cancel_job", "reason", reason, "text of 1 to 255 characters without NUL")
    arguments = {"job_id": as_id("cancel_job", "job_id", job_id), "reason": reason}
    return Call("cancel_video_job", arguments, one_job, Repeatable.KEYED)


def retry_job(job_id: UUID | str, retry_key: UUID) -> Call[VideoJob]:
    """Queue it again; the key makes a repeat harmless."""
    arguments = {"job_id": as_id("retry_job", "job_id", job_id), "retry_key": retry_key}
    return Call("retry_video_job", arguments, one_job, Repeatable.KEYED)


def delete_job(job_id: UUID | str) -> Call[None]:
    """Delete it and its history."""
    return Call(
        "delete_video_job",
        {"job_id": as_id("delete_job", "job_id", job_id)},
        _nothing,
        Repeatable.KEYED,
        gone_is_done=True,
    )


def _nothing(rows: Rows) -> None:
    del rows


def list_events(job_id: UUID | str, after_id: int, limit: int) -> Call[list[JobEvent]]:
    """Read its history, oldest first."""
    whole_within("get_job_events", "limit", limit, 1, BATCH_LIMIT)
    whole_within("get_job_events", "after_id", after_id, 0, 2**63 - 1)
    arguments = {
        "job_id": as_id("get_job_events", "job_id", job_id),
        "after_id": after_id,
        "row_limit": limit,
    }
    return Call("list_video_job_events", arguments, _events, Repeatable.READ)


def _events(rows: Rows) -> list[JobEvent]:
    return [JobEvent.model_validate(row) for row in rows]


def list_jobs(
    filters: JobFilter, *, limit: int, offset: int = 0, cursor: str | None = None
) -> Call[Page[VideoJob]]:
    """Read a page, newest first. One row more than asked for tells whether there is a next page."""
    whole_within("list_jobs", "limit", limit, 1, BATCH_LIMIT)
    whole_within("list_jobs", "offset", offset, 0, OFFSET_LIMIT)
    if cursor is not None and offset:
        raise refuse("list_jobs", "offset", offset, "0 beside a cursor, which knows its place")
    chosen = filters.to_json()
    arguments: dict[str, Any] = {
        "filter": Json(chosen),
        "row_limit": limit + 1,
        "row_offset": offset,
    }
    if cursor is not None:
        arguments["before_created_at"], arguments["before_seq"] = _place(cursor, chosen)
    return Call("list_video_jobs", arguments, partial(_page, chosen, limit), Repeatable.READ)


def _page(filters: Mapping[str, Any], limit: int, rows: Rows) -> Page[VideoJob]:
    items = tuple(VideoJob.model_validate(row) for row in rows[:limit])
    more = len(rows) > limit
    return Page[VideoJob](
        items=items, next_cursor=cursor_after(items[-1], filters) if more else None
    )


def cursor_after(last: VideoJob, filters: Mapping[str, Any]) -> str:
    """The cursor of the page behind that job, in a list by these filters."""
    return _cursor(last.created_at, last.seq, filters)


def _cursor(moment: datetime, seq: int, filters: Mapping[str, Any]) -> str:
    place = [moment.isoformat(), seq, _fingerprint(filters)]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def cursor_of_many(last: VideoJob, filters: Sequence[JobFilter]) -> str:
    """One cursor for several lists that are shown as one, behind that job of any of them."""
    return cursor_after(last, _together(filters))


def cursors_of(cursor: str, filters: Sequence[JobFilter]) -> list[str]:
    """The cursor of each of these lists, from one of `cursor_of_many`."""
    moment, seq = _place(cursor, _together(filters))
    return [_cursor(moment, seq, each.to_json()) for each in filters]


def _together(filters: Sequence[JobFilter]) -> dict[str, Any]:
    return {"any": [each.to_json() for each in filters]}


def _place(cursor: str, filters: Mapping[str, Any]) -> tuple[datetime, int]:
    try:
        moment, seq, fingerprint = json.loads(base64.urlsafe_b64decode(cursor))
        place = datetime.fromisoformat(moment), int(seq)
    except (ValueError, TypeError, OverflowError):
        raise refuse("list_jobs", "cursor", cursor, "the next_cursor of an earlier page") from None
    if fingerprint != _fingerprint(filters):
        raise SupabaseValidationError(
            "list_jobs was refused: the cursor belongs to another filter; "
            "use the same filter for every page, or start again without a cursor",
            problems=[("cursor", cursor, "a cursor of the same filter")],
        )
    return place


def _fingerprint(filters: Mapping[str, Any]) -> str:
    told = json.dumps(filters, sort_keys=True).encode()
    return hashlib.sha256(told).hexdigest()[:12]
