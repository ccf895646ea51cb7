"""How an attempt ended, as a value, and what to tell the database of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from videojobs.calls import Settlement
from videojobs.errors import (
    ConfigurationError,
    ProcessingError,
    SupabaseConnectionError,
    VideoJobsError,
)
from videojobs.models import JobEvent, JobEventType, Lease, OutputFile


@dataclass(frozen=True, slots=True)
class Completed:
    """The outputs were made, checked and stored."""

    output_files: tuple[OutputFile, ...]
    processing_seconds: float
    warnings: tuple[str, ...] = ()
    """What a person should know, such as fewer clips than asked for."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; `retryable` says whether another one could succeed."""

    error_code: str
    error_message: str
    retryable: bool
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody asked to stop, and the work has stopped."""


@dataclass(frozen=True, slots=True)
class Released:
    """The worker is shutting down, and gives the job back unfinished."""


@dataclass(frozen=True, slots=True)
class Split:
    """The job waits in the queue until jobs for these segments, made now, are done."""

    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The lease is lost: nothing may be written any more."""


Outcome = Completed | Failed | Cancelled | Released | Split | Abandoned


def settlement_of(lease: Lease, outcome: Outcome) -> Settlement | None:
    """What to tell the database; ``None`` where nothing may be told any more."""
    match outcome:
        case Completed():
            return Settlement(
                job_id=lease.job_id,
                run_token=lease.run_token,
                outcome="completed",
                output_files=outcome.output_files,
                processing_seconds=outcome.processing_seconds,
                detail={"warnings": list(outcome.warnings)} if outcome.warnings else {},
            )
        case Failed():
            return Settlement(
                job_id=lease.job_id,
                run_token=lease.run_token,
                outcome="failed",
                error_code=outcome.error_code,
                error_message=outcome.error_message,
                retryable=outcome.retryable,
                detail=outcome.detail,
            )
        case Cancelled():
            return Settlement(job_id=lease.job_id, run_token=lease.run_token, outcome="cancelled")
        case Released():
            return Settlement(job_id=lease.job_id, run_token=lease.run_token, outcome="released")
        case Split():
            return Settlement(
                job_id=lease.job_id,
                run_token=lease.run_token,
                outcome="split",
                segments=outcome.segments,
            )
        case Abandoned():
            return None
        case _:
            assert_never(outcome)


def warnings_of(events: Sequence[JobEvent]) -> tuple[str, ...]:
    """What a person should know of a job that completed, as its history tells; else nothing."""
    completed = [event for event in events if event.type is JobEventType.COMPLETED]
    told: Any = completed[-1].data.get("warnings") if completed else None
    # A worker of your own may have written anything.
    return tuple(map(str, told)) if isinstance(told, list | tuple) else ()  # pyright: ignore[reportUnknownArgumentType] # any JSON


def failure_of(error: Exception) -> Failed:
    """What an exception of the work says about the attempt."""
    if isinstance(error, ProcessingError):
        told = {
            "exit_code": error.exit_code,
            "stderr_tail": list(error.stderr_tail),
            "advice": error.advice,
        }
        detail = {name: value for name, value in told.items() if value}
        return Failed(error.code or "processing_failed", str(error), error.retryable, detail)
    if isinstance(error, SupabaseConnectionError):
        return Failed("database_unreachable", str(error), retryable=True)
    if isinstance(error, ConfigurationError):
        # This worker's trouble and not the job's: another one may do better.
        return Failed("worker_misconfigured", str(error), retryable=True)
    if isinstance(error, VideoJobsError):
        return Failed("invalid_settings", str(error), retryable=False)
    # A bug or a passing trouble of the machine: another worker may do better.
    return Failed("internal_error", f"{type(error).__name__}: {error}", retryable=True)
