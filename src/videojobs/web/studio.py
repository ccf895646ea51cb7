"""The vocabulary of a studio server, and how it maps onto ours."""

from __future__ import annotations

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from videojobs import calls
from videojobs.models import JobStatus, OutputFile, ResourceType, VideoJob
from videojobs.requests import JobFilter

if TYPE_CHECKING:
    from videojobs.async_manager import AsyncVideoJobManager
    from videojobs.models import Page
    from videojobs.reports import JobPlace


class StudioStatus(StrEnum):
    """Where a job stands, in the words of BullMQ."""

    WAITING = "waiting"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


StudioType = Literal["film", "episode"]
Clearable = Literal["completed", "failed", "cancelled", "all"]

TYPES: tuple[StudioType, ...] = ("film", "episode")
STATUS_OF = {
    JobStatus.QUEUED: StudioStatus.WAITING,
    JobStatus.PROCESSING: StudioStatus.ACTIVE,
    JobStatus.COMPLETED: StudioStatus.COMPLETED,
    JobStatus.FAILED: StudioStatus.FAILED,
    JobStatus.CANCELLED: StudioStatus.CANCELLED,
}
_OURS = {theirs: ours for ours, theirs in STATUS_OF.items()}


class _Studio(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True
    )


class StudioJob(_Studio):
    """A film's or episode's job."""

    id: UUID
    type: StudioType
    status: StudioStatus
    progress: int
    """0 to 100 percent."""
    stage: str | None
    resource_id: str | None
    resource_name: str | None
    season_id: str | None
    """The season of an episode."""
    file_name: str | None
    file_size: int | None
    """Bytes."""
    priority: int
    attempts_made: int
    max_attempts: int
    failed_reason: str | None
    error_code: str | None
    can_cancel: bool
    can_retry: bool
    can_delete: bool
    cancel_requested: bool
    """Whether somebody asked it to stop, and it has not stopped yet."""
    processing_time: float | None
    """Seconds."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


class QueueInfo(_Studio):
    """Where the job stands in the queue, or in a worker's hands."""

    name: str
    position: int | None
    """1 is next, by priority and time; ``None`` unless it is waiting. Tenants take turns within a
    priority, so it may come sooner or later than that."""
    is_exact: bool | None
    """``False`` where more than a thousand are before it."""
    run_at: datetime
    """Not before this moment."""
    attempt: int
    max_attempts: int
    attempt_id: str | None
    """The attempt that is running; its outputs lie below this folder."""
    worker_id: str | None
    claimed_at: datetime | None
    lease_expires_at: datetime | None
    """Its worker has lost it then, unless it gives a sign of life."""
    deadline_at: datetime | None
    """The attempt is taken back then in any case."""


class JobDetail(_Studio):
    """A job, its place, and what it has made."""

    job: StudioJob
    queue: QueueInfo
    outputs: tuple[OutputFile, ...]


class Statistics(_Studio):
    """How many jobs there are, by status."""

    waiting: int
    active: int
    completed: int
    failed: int
    cancelled: int
    total: int


class JobList(_Studio):
    """A page of jobs, and statistics over all of them."""

    jobs: tuple[StudioJob, ...]
    stats: Statistics
    next_cursor: str | None


class Done(_Studio):
    """The job after what was asked for."""

    success: bool = True
    job: StudioJob


class Retried(Done):
    """The job, and its attempt to come."""

    job_id: UUID
    attempt_id: str = Field(examples=["01a1b2c3-0000-7000-8000-000000000001/4"])


class Cleared(_Studio):
    """How many jobs are gone."""

    success: bool = True
    cleared: int


def to_json(answer: _Studio) -> bytes:
    """In camelCase."""
    return answer.__pydantic_serializer__.to_json(answer, by_alias=True)


def job_of(job: VideoJob) -> StudioJob:
    """The job in the studio's words."""
    is_waiting_to_stop = job.cancel_requested_at is not None and not job.is_final
    return StudioJob(
        id=job.id,
        type="episode" if job.resource_type is ResourceType.EPISODE else "film",
        status=STATUS_OF[job.status],
        progress=job.progress,
        stage=job.stage,
        resource_id=job.resource_id,
        resource_name=job.resource_name,
        season_id=job.resource_parent_id,
        file_name=job.original_filename,
        file_size=job.original_filesize,
        priority=job.priority,
        attempts_made=job.attempt,
        max_attempts=job.max_attempts,
        failed_reason=job.error_message,
        error_code=job.error_code,
        can_cancel=not job.is_final and not is_waiting_to_stop,
        can_retry=job.status is JobStatus.FAILED,
        can_delete=job.is_final,
        cancel_requested=is_waiting_to_stop,
        processing_time=job.processing_time,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.completed_at or job.cancelled_at,
        updated_at=job.updated_at,
    )


def detail_of(job: VideoJob, place: JobPlace | None) -> JobDetail:
    """The job with its place; an archived one has none."""
    is_active = job.status is JobStatus.PROCESSING
    ahead = None if place is None else place.jobs_ahead
    queue = QueueInfo(
        name=job.queue,
        position=None if ahead is None else ahead + 1,
        is_exact=None if place is None else place.is_exact,
        run_at=job.run_at,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        attempt_id=f"{job.id}/{job.run_token}" if is_active else None,
        worker_id=job.worker_id,
        claimed_at=None if place is None else place.claimed_at,
        lease_expires_at=None if place is None else place.expires_at,
        deadline_at=None if place is None else place.hard_deadline,
    )
    return JobDetail(job=job_of(job), queue=queue, outputs=job.output_files)


def next_attempt_of(queued: VideoJob) -> str:
    """The attempt that will be made of a waiting job: each claim counts its run token up."""
    return f"{queued.id}/{queued.run_token + 1}"


def statuses_to_clear(wished: Clearable) -> tuple[JobStatus, ...]:
    """Ours."""
    finished = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
    return finished if wished == "all" else (JobStatus(wished),)


async def listed(
    jobs: AsyncVideoJobManager,
    *,
    status: StudioStatus | None,
    only: StudioType | None,
    limit: int,
    cursor: str | None,
) -> JobList:
    """A page over both types, and the statistics."""
    types = TYPES if only is None else (only,)
    filters = [_filter(each, status) for each in types]
    # One cursor for both lists: each knows its place from the moment and number of the last job.
    places = [None] * len(types) if cursor is None else calls.cursors_of(cursor, filters)
    pages, stats = await asyncio.gather(
        asyncio.gather(
            *(
                jobs.list_jobs(each, limit=limit, cursor=place)
                for each, place in zip(filters, places, strict=True)
            )
        ),
        asyncio.gather(*(jobs.get_job_stats(_filter(each, None)) for each in types)),
    )
    found = _merged(pages)
    more = len(found) > limit or any(page.next_cursor for page in pages)
    shown = found[:limit]
    return JobList(
        jobs=tuple(map(job_of, shown)),
        stats=_statistics([each.by_status for each in stats]),
        next_cursor=calls.cursor_of_many(shown[-1], filters) if more and shown else None,
    )


def _filter(only: StudioType, status: StudioStatus | None) -> JobFilter:
    ours: Any = None if status is None else _OURS[status]
    return JobFilter(resource_type=ResourceType(only), status=ours)


def _merged(pages: list[Page[VideoJob]]) -> list[VideoJob]:
    jobs = [job for page in pages for job in page.items]
    return sorted(jobs, key=lambda job: (job.created_at, job.seq), reverse=True)


def _statistics(counted: list[Any]) -> Statistics:
    counts = {
        theirs.value: sum(each[ours] for each in counted) for ours, theirs in STATUS_OF.items()
    }
    return Statistics(**counts, total=sum(counts.values()))
