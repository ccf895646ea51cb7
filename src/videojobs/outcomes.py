"""How an attempt ended, as a value, and the call that settles it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from videojobs import calls
from videojobs.calls import Call
from videojobs.errors import ProcessingError, SupabaseConnectionError, VideoJobsError
from videojobs.models import Lease, OutputFile, VideoJob


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
class Abandoned:
    """The lease is lost: nothing may be written any more."""


Outcome = Completed | Failed | Cancelled | Released | Abandoned


def settle(lease: Lease, outcome: Outcome) -> Call[VideoJob] | None:
    """The call that tells the database; ``None`` where there is nothing left to tell."""
    match outcome:
        case Completed():
            detail = {"warnings": list(outcome.warnings)} if outcome.warnings else {}
            return calls.complete_job(
                lease, outcome.output_files, outcome.processing_seconds, detail
            )
        case Failed():
            return calls.fail_job(
                lease,
                outcome.error_message,
                error_code=outcome.error_code,
                retryable=outcome.retryable,
                detail=outcome.detail,
            )
        case Cancelled():
            return calls.confirm_cancel(lease)
        case Released():
            return calls.release_job(lease)
        case Abandoned():
            return None
        case _:
            assert_never(outcome)


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
    if isinstance(error, VideoJobsError):
        return Failed("invalid_settings", str(error), retryable=False)
    # A bug or a passing trouble of the machine: another worker may do better.
    return Failed("internal_error", f"{type(error).__name__}: {error}", retryable=True)
