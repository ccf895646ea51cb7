"""Operations of several calls, written once for both managers, as generators.

A flow yields a `Call` and is sent its answer (or thrown its error), yields a `Pause` and goes on
after it, or yields an `Item` for whoever iterates. It returns the result of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from videojobs import calls, diagnosis
from videojobs.calls import Call
from videojobs.errors import PartlyCreatedError, VideoJobsError, WaitTimeoutError
from videojobs.models import Health, JobReceipt, JobStatus, UpdateResult, VideoJob
from videojobs.reports import Finding
from videojobs.requests import BATCH_LIMIT, JobChanges, JobFilter, NewVideoJob, refuse

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Listen:
    """Begin to listen for changes, before the first look: none can then fall in between."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until the job changes, or so many seconds, whichever is first."""

    job_id: UUID
    seconds: float


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Something for whoever iterates over the flow."""

    value: T


Step = Call[Any] | Listen | Pause | Item[Any]
Flow = Generator[Step, Any, T]


def create_jobs(
    jobs: Sequence[NewVideoJob], ids: Sequence[UUID], batch_size: int
) -> Flow[list[JobReceipt]]:
    """Create them in batches; each batch is made whole or not at all."""
    receipts: list[JobReceipt] = []
    for place in _batches(len(jobs), batch_size):
        try:
            receipts += yield calls.create_jobs(jobs[place], ids[place])
        except VideoJobsError as error:
            if not receipts:
                raise
            raise PartlyCreatedError(
                f"{len(receipts)} of {len(jobs)} jobs were created, then: {error}",
                receipts=receipts,
                status=error.status,
                code=error.code,
                operation=error.operation,
                attempts=error.attempts,
                outcome=error.outcome,
            ) from error
    return receipts


def bulk_update_ids(
    changes: JobChanges, ids: Sequence[UUID], *, dry_run: bool
) -> Flow[list[UpdateResult]]:
    """Change the named jobs, and answer in the order of the ids."""
    results: dict[UUID, UpdateResult] = {}
    unique = list(dict.fromkeys(ids))
    for place in _batches(len(unique), BATCH_LIMIT):
        batch: list[UpdateResult] = yield calls.bulk_update_ids(
            changes, unique[place], dry_run=dry_run
        )
        results.update({result.job_id: result for result in batch})
    return [results[job_id] for job_id in unique]


def bulk_update_matching(
    changes: JobChanges, filters: JobFilter, *, dry_run: bool
) -> Flow[list[UpdateResult]]:
    """Change all jobs that match, oldest first."""
    results: list[UpdateResult] = []
    place: tuple[datetime, int] | None = None
    while True:
        batch, place = yield calls.bulk_update_matching(
            changes, filters, dry_run=dry_run, after=place
        )
        results += batch
        if place is None:
            return results


def clear_jobs(
    filters: JobFilter, finished_before: datetime | None, older_than_seconds: float | None
) -> Flow[int]:
    """Delete batch after batch, until one is not full."""
    deleted = 0
    while True:
        batch: int = yield calls.clear(filters, finished_before, older_than_seconds)
        deleted += batch
        if batch < BATCH_LIMIT:
            return deleted


def archive_jobs(statuses: Sequence[JobStatus], older_than_seconds: float) -> Flow[int]:
    """Archive batch after batch, until one is not full."""
    archived = 0
    while True:
        batch: int = yield calls.archive(statuses, older_than_seconds)
        archived += batch
        if batch < BATCH_LIMIT:
            return archived


def examine(now: Callable[[], datetime], *, deep: bool) -> Flow[tuple[Finding, ...]]:
    """Look at everything that the database's version has; what cannot be read is a finding too."""
    asked_at = now()
    health: Health = yield calls.check()
    findings = diagnosis.of_health(health, asked_at, now())
    if health.schema_version < diagnosis.SCHEMA_VERSION:
        return (*findings, diagnosis.not_checked("everything else", "the schema is too old"))
    findings += yield from _look(calls.diagnose(), diagnosis.of_facts)
    findings += yield from _look(calls.probe_rows(diagnosis.PROBED_ROWS), diagnosis.of_probe)
    if deep:
        findings += yield from _look(calls.reconcile_stats(repair=False), diagnosis.of_drift)
    else:
        findings += diagnosis.of_drift(None)
    return tuple(findings)


def _look(call: Call[T], findings_of: Callable[[T], list[Finding]]) -> Flow[list[Finding]]:
    try:
        answer: T = yield call
    except VideoJobsError as error:
        return [diagnosis.not_checked(call.function, str(error))]
    return findings_of(answer)


def iter_jobs(filters: JobFilter, page_size: int) -> Flow[None]:
    """Give every job that matches, page by page."""
    cursor = None
    while True:
        page = yield calls.list_jobs(filters, limit=page_size, cursor=cursor)
        for job in page.items:
            yield Item(job)
        cursor = page.next_cursor
        if cursor is None:
            return


def watch_job(job_id: UUID, longest_pause: float) -> Flow[None]:
    """Give the job now, and again after each change, until it is final."""
    yield Listen()
    seen: VideoJob | None = None
    pauses = _pauses(longest_pause)
    while True:
        job: VideoJob = yield calls.get_job(job_id)
        if seen is None or job.updated_at != seen.updated_at:
            seen, pauses = job, _pauses(longest_pause)
            yield Item(job)
        if job.is_final:
            return
        yield Pause(job_id, next(pauses))


def wait_for_job(
    job_id: UUID, longest_pause: float, timeout_seconds: float | None
) -> Flow[VideoJob]:
    """Read the job until it is final. A pause is answered with the seconds since the beginning."""
    if timeout_seconds is not None and not timeout_seconds >= 0:
        raise refuse("wait_for_job", "timeout", timeout_seconds, "0 or more seconds, or None")
    yield Listen()
    waited, pauses = 0.0, _pauses(longest_pause)
    while True:
        job: VideoJob = yield calls.get_job(job_id)
        if job.is_final:
            return job
        left = float("inf") if timeout_seconds is None else timeout_seconds - waited
        if left <= 0:
            raise WaitTimeoutError(
                f"job {job_id} is still {job.status} at {job.progress} % after {waited:.1f} s; "
                "it goes on, and can be waited for again",
                job_id=job_id,
                operation="wait_for_job",
            )
        waited = yield Pause(job_id, min(left, next(pauses)))


def _pauses(longest: float) -> Iterator[float]:
    pause = min(_FIRST_PAUSE_SECONDS, longest)
    while True:
        yield pause
        pause = min(pause * 2, longest)


def _batches(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
