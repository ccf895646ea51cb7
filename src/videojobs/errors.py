"""Every error of videojobs, in one tree. All of them survive pickling.

VideoJobsError
├── ConfigurationError            something is missing or wrong before any call: fix the set-up
│   ├── MissingExtraError         an optional package is not installed (also an ImportError)
│   └── SignedUrlUnsupportedError the storage has no addresses that it could sign
├── SupabaseValidationError       the input was refused; nothing was sent or stored
├── SupabaseConnectionError       the database could not be reached, or was too busy
│   ├── RateLimitedError          told to slow down (HTTP 429)
│   └── OutcomeUnknownError       the reply was lost: the change may or may not have happened
├── RefusedError                  the database answered, and said no
│   ├── JobNotFoundError          no such job, or not one that the caller may see
│   ├── InvalidTransitionError    the job's status does not allow this
│   ├── IdempotencyConflictError  the key already names a job with other content
│   ├── PermissionDeniedError     the caller may see it, but not do this
│   ├── AuthenticationError       the key or token is missing, wrong or expired
│   └── SchemaMismatchError       the database does not have this version's functions: migrate
├── PartlyCreatedError            some of many jobs were created, then an error came
├── LeaseLostError                another attempt owns the job now: stop working on it
├── WaitTimeoutError              the job did not finish in time (also a TimeoutError)
└── ProcessingError               ffmpeg or the source failed; carries a code and the stderr tail
    ├── NotEnoughSpaceError       the work folder's disk has no room for the source
    └── ProcessingCancelledError  the run was stopped on request
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

Outcome = Literal["not_applied", "unknown"]


class VideoJobsError(Exception):
    """The root of the tree.

    Attributes:
        message: What happened, with which values, and what to do next.
        status: HTTP status of the last reply, if one came.
        code: SQLSTATE, PostgREST code or processing code.
        operation: The SQL function or method that was running.
        attempts: How many times it was tried.
        retry_after: Seconds that the server asked to wait.
        outcome: ``"not_applied"`` when the change certainly did not happen,
            ``"unknown"`` when it may have, ``None`` where the question makes no sense.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        operation: str | None = None,
        attempts: int = 1,
        retry_after: float | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.operation = operation
        self.attempts = attempts
        self.retry_after = retry_after
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (type(self), self.args, dict(self.__dict__))


def _revive(
    kind: type[VideoJobsError], args: tuple[Any, ...], facts: dict[str, Any]
) -> VideoJobsError:
    error = kind.__new__(kind, *args)
    error.args = args  # which OSError, and so WaitTimeoutError, leaves to its __init__
    error.__dict__.update(facts)
    return error


class ConfigurationError(VideoJobsError):
    """Something needed is missing or wrong. Nothing was called."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional package is not installed; the message names the install command."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs an extra: pip install 'videojobs[{extra}]'")
        self.extra = extra


class SignedUrlUnsupportedError(ConfigurationError):
    """The storage has no addresses to sign, such as a folder; serve its files yourself."""


class SupabaseValidationError(VideoJobsError):
    """The input was refused before anything was stored.

    Attributes:
        field: The name of the first bad field.
        value: What it held.
        problems: ``(field, value, what is allowed)`` for each bad field.
    """

    def __init__(
        self, message: str, *, problems: Sequence[tuple[str, Any, str]] = (), **facts: Any
    ) -> None:
        facts.setdefault("outcome", "not_applied")
        super().__init__(message, **facts)
        self.problems = tuple(problems)
        self.field = problems[0][0] if problems else None
        self.value = problems[0][1] if problems else None


class SupabaseConnectionError(VideoJobsError):
    """The database could not be reached, or had no room. Trying later may help."""


class RateLimitedError(SupabaseConnectionError):
    """The server asked to slow down; `retry_after` says for how many seconds, if it told."""


class OutcomeUnknownError(SupabaseConnectionError):
    """The reply was lost after the request was sent, and the call is not safe to repeat.

    Read the job to see whether the change happened.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        facts.setdefault("outcome", "unknown")
        super().__init__(message, **facts)


class RefusedError(VideoJobsError):
    """The database answered and refused. Repeating the same call gives the same answer."""

    def __init__(
        self,
        message: str,
        *,
        job_id: UUID | str | None = None,
        hint: str | None = None,
        **facts: Any,
    ) -> None:
        facts.setdefault("outcome", "not_applied")
        super().__init__(message if not hint else f"{message} ({hint})", **facts)
        self.job_id = job_id
        self.hint = hint


class JobNotFoundError(RefusedError):
    """No such job, or none that the caller may see: the two look alike on purpose."""


class InvalidTransitionError(RefusedError):
    """The job's present status does not allow the change; the message names both."""


class IdempotencyConflictError(RefusedError):
    """The idempotency key already names a job whose content differs."""


class PermissionDeniedError(RefusedError):
    """The caller is known, and may not do this."""


class AuthenticationError(RefusedError):
    """The key or token is missing, malformed, expired or signed by somebody else."""


class SchemaMismatchError(RefusedError):
    """The database lacks a function or column of this version. Run ``videojobs migrate``."""


class PartlyCreatedError(VideoJobsError):
    """`create_jobs` ended with an error after some of its batches had been created.

    The cause is the error of the batch that failed. Create the rest: ``jobs[len(receipts):]``.

    Attributes:
        receipts: One for each job that was created, in the order of the wishes.
    """

    def __init__(self, message: str, *, receipts: Sequence[Any], **facts: Any) -> None:
        super().__init__(message, **facts)
        self.receipts = tuple(receipts)


class LeaseLostError(VideoJobsError):
    """The attempt no longer owns the job: its lease expired, or the job was taken back.

    Stop working on it. Nothing that this attempt writes will be accepted.
    """

    def __init__(self, message: str, *, job_id: UUID, **facts: Any) -> None:
        facts.setdefault("outcome", "not_applied")
        super().__init__(message, **facts)
        self.job_id = job_id


class WaitTimeoutError(VideoJobsError, TimeoutError):
    """The job was not final when the time was up; it goes on all the same."""

    def __init__(self, message: str, *, job_id: UUID, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.job_id = job_id


class ProcessingError(VideoJobsError):
    """A source could not be turned into what the settings asked for.

    Attributes:
        code: A stable word such as ``corrupt_source`` or ``disk_full``.
        retryable: Whether the same work may succeed on another attempt.
        exit_code: What ffmpeg ended with, if it ran.
        stderr_tail: The last lines that ffmpeg printed, with paths reduced to file names.
        advice: What the person who sent the source can do.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "processing_failed",
        retryable: bool = False,
        exit_code: int | None = None,
        stderr_tail: Sequence[str] = (),
        advice: str | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, code=code, **facts)
        self.retryable = retryable
        self.exit_code = exit_code
        self.stderr_tail = tuple(stderr_tail)
        self.advice = advice


class NotEnoughSpaceError(ProcessingError):
    """The work folder's disk has no room for a source and what is made of it. Nothing was fetched.

    Attributes:
        needed_bytes: What should be free.
        free_bytes: What is.
    """

    def __init__(self, *, needed_bytes: int, free_bytes: int, **facts: Any) -> None:
        advice = "Free some space in the work folder, or let another worker try."
        facts = {"code": "disk_full", "retryable": True, "advice": advice, **facts}
        super().__init__(
            f"the work folder's disk has {free_bytes} bytes free, and the source needs "
            f"{needed_bytes}. {advice}",
            **facts,
        )
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class ProcessingCancelledError(ProcessingError):
    """The run was stopped on request; its partial files are gone."""

    def __init__(self, message: str = "the run was cancelled", **facts: Any) -> None:
        facts.setdefault("code", "cancelled")
        super().__init__(message, **facts)


#: The SQLSTATEs that our own SQL functions raise.
REFUSALS: Mapping[str, type[VideoJobsError]] = {
    "VJ001": JobNotFoundError,
    "VJ002": InvalidTransitionError,
    "VJ003": IdempotencyConflictError,
    "VJ004": SupabaseValidationError,
    "VJ005": PermissionDeniedError,
}
