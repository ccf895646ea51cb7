"""Turns what callers may write into what calls take, or refuses it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from videojobs.calls import as_id
from videojobs.errors import SupabaseValidationError
from videojobs.models import JobStatus
from videojobs.requests import JobFilter, NewVideoJob, NewVideoJobFields, refuse, refused_at


def new_job(job: NewVideoJob | None, fields: Mapping[str, Any], *, is_user: bool) -> NewVideoJob:
    """The job to create, from either way of giving it."""
    wish = _wish(job, fields, is_user=is_user)
    require_settings(wish)
    return wish


def _wish(job: NewVideoJob | None, fields: Mapping[str, Any], *, is_user: bool) -> NewVideoJob:
    if job is not None and fields:
        raise refuse("create_job", "fields", sorted(fields), "a NewVideoJob or fields, not both")
    wish = NewVideoJob(**fields) if job is None else job
    if wish.user_id is None and not is_user:
        raise refuse("create_job", "user_id", None, "a service must say whose job it is: a UUID")
    return wish


def require_settings(
    wish: NewVideoJob, place: str = "settings", *, subject: str = "create_job"
) -> None:
    """What stands in `settings` is what a built-in pipeline can use; names of one's own are let be.

    Raises:
        SupabaseValidationError: As the worker would, once the job is claimed.
    """
    if wish.settings:
        # Not for `import videojobs`.
        from videojobs.pipelines.settings import BUILT_IN_PIPELINES, ProcessingSettings

        if wish.pipeline not in BUILT_IN_PIPELINES:
            return
        try:
            ProcessingSettings.from_job(wish)
        except SupabaseValidationError as error:
            raise refused_at(place, error, subject=subject) from None


def new_jobs(
    jobs: Sequence[NewVideoJob | NewVideoJobFields], *, is_user: bool
) -> list[NewVideoJob]:
    """The jobs to create; an error names the first bad one by its place."""
    return [_job_at(place, job, is_user=is_user) for place, job in enumerate(jobs)]


def _job_at(place: int, job: NewVideoJob | NewVideoJobFields, *, is_user: bool) -> NewVideoJob:
    if not isinstance(job, NewVideoJob | Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise refuse("create_jobs", f"jobs[{place}]", job, "a NewVideoJob, or a dict of its fields")
    try:
        if isinstance(job, NewVideoJob):
            wish = _wish(job, {}, is_user=is_user)
        else:
            wish = _wish(None, job, is_user=is_user)
    except SupabaseValidationError as error:
        raise refused_at(f"jobs[{place}]", error) from None
    require_settings(wish, f"jobs[{place}].settings", subject="create_jobs")
    return wish


def narrowed(filters: JobFilter | None, field: str, value: UUID | str) -> JobFilter:
    """The filter, for one user or team only."""
    identity = as_id("list_jobs", field, value)
    return (filters or JobFilter()).model_copy(update={field: identity})


def seconds(timeout: timedelta | float | None) -> float | None:
    """A timeout as seconds."""
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def lease_seconds(lease: timedelta | None, default: float) -> float:
    """A lease as seconds."""
    return default if lease is None else lease.total_seconds()


def aware(operation: str, field: str, moment: datetime | None) -> datetime | None:
    """The moment, if it says in which zone it is."""
    if moment is not None and moment.tzinfo is None:
        raise refuse(operation, field, moment, "a datetime with a time zone, such as UTC")
    return moment


def positive(operation: str, field: str, duration: timedelta | None) -> float | None:
    """A duration above zero, as seconds."""
    if duration is not None and not (_is_timedelta(duration) and duration > timedelta(0)):
        raise refuse(operation, field, duration, "a timedelta above zero")
    return seconds(duration)


def not_negative(operation: str, field: str, duration: timedelta) -> float:
    """A duration, as seconds."""
    if not (_is_timedelta(duration) and duration >= timedelta(0)):
        raise refuse(operation, field, duration, "a timedelta of zero or more")
    return duration.total_seconds()


def _is_timedelta(value: object) -> bool:
    return isinstance(value, timedelta)  # callers may be untyped


def ids_or_filter(
    operation: str, job_ids: Sequence[UUID | str] | None, filters: JobFilter | None
) -> list[UUID] | None:
    """The ids, or ``None`` for the filter; exactly one of the two must be given."""
    if (job_ids is None) == (filters is None):
        raise refuse(operation, "job_ids", job_ids, "give either job_ids or filters")
    if isinstance(job_ids, str):
        raise refuse(operation, "job_ids", job_ids, "a list of UUIDs")
    return None if job_ids is None else [as_id(operation, "job_ids", job) for job in job_ids]


def status(operation: str, value: JobStatus | str) -> JobStatus:
    """The status of that name."""
    try:
        return JobStatus(value)
    except ValueError:
        allowed = f"one of {', '.join(JobStatus)}"
        raise refuse(operation, "status", value, allowed) from None
