"""What operators set and read: limits, settings, workers, upkeep and findings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from videojobs.models import Answer, JobStatus, PlatformTarget, RecoveredJob, Timestamp

LimitKind = Literal["tenant", "queue", "pipeline"]


class Limit(Answer):
    """How many jobs of a tenant, a queue or a pipeline may run at once."""

    kind: LimitKind = Field(validation_alias="limit_kind")
    key: str = Field(validation_alias="limit_key")
    """A tenant's id, a queue's or pipeline's name; ``*`` is each that has no limit of its own."""
    max_running: int = Field(validation_alias="limit_max_running")
    """0 keeps them all waiting."""
    running: int
    """How many run now; of ``*``, all together."""


class QueueWakeups(StrEnum):
    """Whether a job that becomes ready wakes the workers that listen."""

    COALESCED = "coalesced"
    """Once for all transactions that commit at the same moment."""
    EACH = "each"
    """Once for each transaction."""
    OFF = "off"
    """Never: workers look for jobs by themselves."""


class QueueSettings(Answer):
    """The settings that live in the database, for all who use it."""

    retry_base_seconds: float
    """The wait after the first failure; it doubles with each. Half of it is random."""
    retry_cap_seconds: float
    """The longest wait."""
    max_lost: int
    """So many workers may go silent on a job before it fails with ``worker_lost``."""
    cancel_grace_seconds: float
    """A worker may take so long to stop a job; then the job is taken from it."""
    max_user_priority: int
    """The highest priority that signed-in users may ask for; services may use all."""
    queue_wakeups: QueueWakeups
    announces_changes: bool
    """Whether each change of a job wakes those who watch it; else they look by themselves."""
    archive_completed_after_days: int | None
    """When completed jobs go to the archive; never if ``None``. The same for the next two."""
    archive_failed_after_days: int | None
    archive_cancelled_after_days: int | None
    drop_archive_after_days: int | None
    """When the archive's months are dropped; never if ``None``."""
    drop_events_after_days: int | None
    """When the history's months are dropped; never if ``None``."""


class JobPlace(Answer):
    """Where a job stands: in the queue, or in a worker's hands."""

    status: JobStatus
    jobs_ahead: int | None
    """So many due jobs are before it by priority and time; ``None`` unless it is queued. Tenants
    take turns within a priority, so it may come sooner or later than that."""
    is_exact: bool | None
    """``False`` where there are more than were counted, which are a thousand."""
    is_due: bool | None
    """Whether its `run_at` has come; ``None`` unless it is queued."""
    claimed_at: Timestamp | None
    """When its worker took it; ``None`` unless it is running, as are the next two."""
    expires_at: Timestamp | None
    """When the worker's lease ends, unless a heartbeat moves it on."""
    hard_deadline: Timestamp | None
    """When the attempt is taken back in any case."""


class QueueWait(Answer):
    """A queue and pipeline whose jobs are due."""

    queue: str
    pipeline: str
    oldest_due_seconds: float
    """For how long the oldest of them has been due."""
    is_served: bool
    """Whether a live worker runs such jobs."""


class RunningJob(Answer):
    """A job that a worker holds."""

    job_id: UUID
    run_token: int
    claimed_at: Timestamp
    expires_at: Timestamp


class WorkerInfo(Answer):
    """A worker that is there, or was there in the last day."""

    worker_id: str
    started_at: Timestamp | None
    """``None`` where somebody claims jobs without being a `Worker`."""
    seen_at: Timestamp | None
    """With jobs the last heartbeat; without, it is written about once a minute."""
    drain_requested_at: Timestamp | None
    facts: Mapping[str, Any]
    """Host, process, queues, pipelines, concurrency and version, as the worker told them."""
    running: tuple[RunningJob, ...]


class Upkeep(Answer):
    """What a round of maintenance did."""

    recovered: tuple[RecoveredJob, ...]
    """Jobs taken back from silent workers."""
    folded: int
    """Changes that were added to the sums behind the statistics."""
    archived: int
    """Final jobs that went to the archive."""
    dropped: tuple[str, ...]
    """Tables of old months that are gone."""


class Leftover(Answer):
    """Files in the storage that are no use any more."""

    prefix: str = Field(validation_alias="leftover")
    tries: int
    """How often it was tried to remove them, this time included."""
    is_given_up: bool
    """It will not be tried again."""


class StatsDrift(Answer):
    """A sum behind the statistics that differs from what is really there."""

    user_id: UUID | None
    """``None`` in the sums of everybody."""
    team_id: UUID | None
    queue: str
    pipeline: str
    platform_target: PlatformTarget | None
    measure: str
    """A status, ``created`` or ``took``."""
    day: date | None
    bucket: int | None
    counted: int
    summed: int


class Severity(StrEnum):
    """How a check of the doctor ended."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """It could not be looked at."""


class Finding(Answer):
    """What one check of the doctor found, and what to do about it."""

    check: str
    severity: Severity
    found: str
    advice: str = ""
