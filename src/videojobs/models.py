"""What the database answers: typed, frozen, and the same over every transport."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

ItemT = TypeVar("ItemT")


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Timestamp = Annotated[datetime, AfterValidator(_in_utc)]


def _with_every_status(counts: Mapping[JobStatus, int]) -> Mapping[JobStatus, int]:
    return {status: counts.get(status, 0) for status in JobStatus}


class JobStatus(StrEnum):
    """Where a job stands. Two are for waiting and working, three are final."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether no worker will touch the job again, unless a person retries it."""
        return self in FINAL_STATUSES


CountByStatus = Annotated[Mapping[JobStatus, int], AfterValidator(_with_every_status)]
"""Every status has an entry, 0 included."""

FINAL_STATUSES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


class QualityPreset(StrEnum):
    """How much time the encoder may take for its picture; see `videojobs.profiles`."""

    DRAFT = "draft"
    STANDARD = "standard"
    PRO = "pro"


class EnhancementLevel(StrEnum):
    """What is done to picture and sound besides encoding; see `videojobs.profiles`."""

    NONE = "none"
    BASIC = "basic"
    ADVANCED = "advanced"


class PlatformTarget(StrEnum):
    """Where the clips are to be published; see `videojobs.profiles`."""

    TIKTOK = "tiktok"
    INSTAGRAM = "instagram"
    YOUTUBE_SHORTS = "youtube_shorts"


class ResourceType(StrEnum):
    """What the job's video is to the product: a user's upload, a film or an episode."""

    UPLOAD = "upload"
    FILM = "film"
    EPISODE = "episode"


class Verdict(StrEnum):
    """The database's answer to a worker's write."""

    OK = "ok"
    CANCEL_REQUESTED = "cancel_requested"
    """Accepted, and somebody asked to stop: stop, then confirm the cancellation."""
    FINAL = "final"
    """This very attempt had settled the job before: the repeat changed nothing."""
    LOST = "lost"
    """Refused: another attempt owns the job, or nobody does."""


class JobEventType(StrEnum):
    """What happened to a job; the edges of the state machine, and what leads to them."""

    CREATED = "created"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    RETRIED = "retried"
    RELEASED = "released"
    RESCUED = "rescued"
    FAILED = "failed"
    LOST = "lost"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    CHANGED = "changed"
    LOGGED = "logged"


class UpdateOutcome(StrEnum):
    """What a bulk update did, or with ``dry_run`` would do, to one job."""

    UPDATED = "updated"
    UNCHANGED = "unchanged"
    NOT_ALLOWED = "not_allowed"
    INVALID_TRANSITION = "invalid_transition"
    NOT_FOUND = "not_found"


class RecoveryOutcome(StrEnum):
    """What recovery did with a job whose worker went silent."""

    RESCUED = "rescued"
    """Queued again: its worker went silent."""
    LOST = "lost"
    """Failed: too many workers went silent on it."""
    RETRIED = "retried"
    """Queued again with a pause: the attempt ran into its hard limit."""
    FAILED = "failed"
    """Failed: so did its last attempt."""
    CANCELLED = "cancelled"
    """Somebody had asked to stop it."""


class Answer(BaseModel):
    # Columns that a newer migration adds must not break an older library.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class OutputFile(BaseModel):
    """One file that a job made, with the facts that were checked on it.

    More facts than these may be present; they are kept.
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    path: str = Field(min_length=1)
    """Where it is, relative to the storage's root."""
    kind: str = "video"
    """``video``, ``poster``, ``sprite``, ``thumbnails``, ``playlist``, ``captions`` or a word of your own."""
    name: str | None = None
    """The output's short name within the job, such as ``clip_01`` or ``720p``."""
    size_bytes: int | None = Field(default=None, ge=0)
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    """Frames a second."""
    video_codec: str | None = None
    audio_codec: str | None = None
    bitrate_kbps: int | None = None
    loudness_lufs: float | None = None
    """Integrated loudness by EBU R 128, as measured on the finished file."""
    sha256: str | None = None
    source_start_seconds: float | None = None
    source_end_seconds: float | None = None
    score: float | None = None
    """How good the clip's part of the source is, 0 to 1; ``None`` where nothing was weighed."""
    reason: str | None = None
    """Why the clip was cut from that part of the source."""


class VideoJob(Answer):
    """A job, as stored. Times are in UTC."""

    id: UUID
    seq: int
    """The order of creation; breaks ties between equal times."""
    user_id: UUID
    team_id: UUID | None
    tenant_id: UUID
    """The team, or the user where there is none: who shares the queue fairly."""
    queue: str
    pipeline: str
    """``clips``, ``renditions``, ``hls``, or a name that your own worker knows."""
    status: JobStatus
    priority: int
    """0 to 9; higher goes first."""
    run_at: Timestamp
    """Not claimed before this moment."""
    attempt: int
    """How many attempts have started; released and rescued ones are not counted."""
    max_attempts: int
    lost_count: int
    """How many workers went silent on this job."""
    run_token: int
    """Grows with every claim and every revocation; fences the writes of old attempts."""
    progress: int
    """0 to 100 percent."""
    progress_detail: Mapping[str, Any]
    """Percent by output, such as ``{"720p": 40}``."""
    stage: str | None
    original_filename: str | None
    original_filesize: int | None
    """Bytes."""
    source_url: str | None = Field(repr=False)
    """Left out of the repr: a signed URL is a secret."""
    clip_count: int | None
    quality_preset: QualityPreset
    enhancement_level: EnhancementLevel
    platform_target: PlatformTarget | None
    settings: Mapping[str, Any]
    resource_type: ResourceType
    resource_id: str | None
    resource_name: str | None
    resource_parent_id: str | None
    """The season of an episode."""
    output_files: tuple[OutputFile, ...]
    error_code: str | None
    error_message: str | None
    worker_id: str | None
    """Who works on it, or worked on it last."""
    idempotency_key: str | None
    cancel_requested_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None
    """When the latest attempt was claimed."""
    completed_at: Timestamp | None
    """When it completed or failed for good."""
    cancelled_at: Timestamp | None
    processing_time: float | None
    """Seconds of work in the attempt that ended the job."""
    max_runtime_seconds: float | None = None
    """How long one attempt may take; then it is taken back with ``deadline_exceeded``."""
    retry_base_seconds: float | None = None
    """The wait after the first failure, doubling with each; the database's setting if ``None``."""
    retry_cap_seconds: float | None = None
    """The longest wait between two attempts; the database's setting if ``None``."""
    parent_job_id: UUID | None = None
    """The job that this one is a segment of; lists leave segments out unless they are asked for."""

    @property
    def is_final(self) -> bool:
        """Whether the job is completed, failed or cancelled."""
        return self.status.is_final


class CreatedJob(VideoJob):
    """A job, and whether this call made it."""

    created: bool
    """``False`` when the idempotency key named a job that was there before."""


class JobReceipt(NamedTuple):
    """What `create_jobs` says to each wish, in their order."""

    id: UUID
    created: bool
    """``False`` when the idempotency key named a job that was there before."""


class Lease(Answer):
    """The right to work on one job until `expires_at`, which a heartbeat moves on."""

    job: VideoJob
    run_token: int
    worker_id: str
    claimed_at: Timestamp
    expires_at: Timestamp
    hard_deadline: Timestamp | None
    """The attempt is taken back at this moment even while its worker beats."""
    checkpoint: Mapping[str, Any] | None
    """What an earlier attempt saved for its successor."""

    @property
    def job_id(self) -> UUID:
        """The leased job's id."""
        return self.job.id


class Beat(Answer):
    """One job's part of a heartbeat: still alive, and this far."""

    job_id: UUID
    run_token: int
    progress: int | None = Field(default=None, ge=0, le=100)
    progress_detail: Mapping[str, Any] | None = None
    stage: str | None = None
    checkpoint: Mapping[str, Any] | None = None


class BeatReply(Answer):
    """What the database says to one beat."""

    job_id: UUID | None
    """``None`` where a worker without jobs is told to drain."""
    run_token: int | None
    """Which attempt is answered."""
    verdict: Verdict
    expires_at: Timestamp | None
    """The lease's new end; ``None`` when it is lost."""
    drain: bool = False
    """Whether somebody wants the worker to finish what it has, and end."""


class Settled(Answer):
    """The answer to a worker's last write on a job."""

    verdict: Verdict
    job: VideoJob | None
    """The job as stored; ``None`` when the lease is lost and the job is not the worker's."""


class SettledAttempt(Settled):
    """The answer to one of several attempts that were settled together."""

    job_id: UUID
    run_token: int


class JobEvent(Answer):
    """One entry of a job's history."""

    id: int
    job_id: UUID
    type: JobEventType
    at: Timestamp
    run_token: int | None
    worker_id: str | None
    actor_id: UUID | None
    """The signed-in user who did it, if one did."""
    data: Mapping[str, Any]


class UpdateResult(Answer):
    """What became of one job in a bulk update."""

    job_id: UUID
    outcome: UpdateOutcome
    status: JobStatus | None
    """The job's status after the call; ``None`` when there is no such job."""


class RecoveredJob(Answer):
    """One job that recovery took back from a silent worker."""

    job_id: UUID
    outcome: RecoveryOutcome
    worker_id: str | None


class Health(Answer):
    """What the database says of itself."""

    schema_version: int
    server_time: Timestamp
    server_version: str
    is_service: bool
    """Whether the caller may do a worker's work."""
    queued: int
    processing: int
    expired_leases: int
    processing_without_lease: int
    leases_without_job: int


class DayStats(Answer):
    """One day, in UTC."""

    day: date
    created: int
    completed: int
    failed: int
    cancelled: int


class DayTimes(Answer):
    """How long the completed jobs of one day took; the day, in UTC, on which they were created."""

    day: date
    jobs: int
    """So many are measured: all, or the latest 1,000 of a day with more."""
    median_seconds: float
    p95_seconds: float


class GroupStats(Answer):
    """The figures of one user, team, platform or pipeline."""

    key: str | None
    """The user's or team's id, the platform or the pipeline; ``None`` for jobs without one."""
    total: int
    by_status: CountByStatus
    average_processing_seconds: float | None
    total_processing_seconds: float


class JobStats(Answer):
    """Figures over the jobs that the caller may see and the filter lets through."""

    total: int
    by_status: CountByStatus
    average_processing_seconds: float | None
    """Over completed jobs, as are the next three; ``None`` when there are none."""
    median_processing_seconds: float | None
    """Of completed jobs. Sums and counts are exact; this and the next to within 2.2 %."""
    p95_processing_seconds: float | None
    total_processing_seconds: float
    by_day: tuple[DayStats, ...]
    """Days on which something was created or finished, oldest first; the latest 366."""
    groups: tuple[GroupStats, ...]
    """Largest first, at most 500; empty unless asked for."""

    @property
    def success_rate(self) -> float | None:
        """Completed over completed plus failed, 0 to 1; ``None`` before the first."""
        completed, failed = self.by_status[JobStatus.COMPLETED], self.by_status[JobStatus.FAILED]
        return completed / (completed + failed) if completed + failed else None


class Page(Answer, Generic[ItemT]):
    """Some items, and the way to the next ones."""

    items: tuple[ItemT, ...]
    next_cursor: str | None
    """Hand it back, with the same filter, for the next page; ``None`` at the end."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[ItemT]:  # pyright: ignore[reportIncompatibleMethodOverride] # a page is its items, not pydantic's (name, value) pairs
        return iter(self.items)


Row = Mapping[str, Any]
Rows = Sequence[Row]
