"""Which failure of which call may be repeated, and when. Pure: nothing here waits.

Every failure says one of three things about the change that was asked for: it was certainly not
made, it may have been made, or the database refused it for good. Only the first allows any call
to be repeated; the second allows those that a key makes harmless. The same exception can mean
either: a connection that broke says nothing about whether the statement had been committed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from uuid import UUID

from videojobs import errors
from videojobs.calls import Repeatable

if TYPE_CHECKING:
    from videojobs.calls import Call


class Sent(Enum):
    """How far a request got before it failed."""

    NO = auto()
    """No connection was made, or none was free: certainly not applied."""
    PERHAPS = auto()
    """The connection broke, or the time was up, after something may have been sent."""
    ANSWERED = auto()
    """An answer came; `status` and `code` tell what it was."""
    NEVER = auto()
    """It cannot be sent at all, now or later: a bad URL, an unknown host."""


class Failure(Exception):  # noqa: N818 # not an error for callers: the managers turn it into one
    """What a transport saw go wrong, in no library's words."""

    def __init__(
        self,
        message: str,
        *,
        sent: Sent,
        status: int | None = None,
        code: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.sent = sent
        self.status = status
        self.code = code
        self.hint = hint
        self.retry_after = retry_after


def closed() -> Failure:
    """The failure of every call after the manager was closed."""
    return Failure("the manager was closed", sent=Sent.NEVER)


class Applied(Enum):
    """What a failure says about the change."""

    NO = auto()
    PERHAPS = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a failure means, and how it may be repeated."""

    applied: Applied
    most: int | None = None
    """At most so many repeats; ``None`` for as many as the deadline allows."""
    base_seconds: float = 0.2
    cap_seconds: float = 5.0
    keyed_only: bool = False
    """Not applied, and yet only reads and keyed calls are worth repeating."""
    reads_only: bool = False

    def allows(self, repeatable: Repeatable, repeats: int) -> bool:
        """Whether a call that was repeated so often may be repeated once more."""
        if self.applied is Applied.REFUSED or (self.most is not None and repeats >= self.most):
            return False
        if self.reads_only:
            return repeatable is Repeatable.READ
        if self.applied is Applied.PERHAPS or self.keyed_only:
            return repeatable is not Repeatable.ONCE
        return True

    def wait_seconds(self, repeats: int, retry_after: float | None) -> float:
        """Full jitter under a doubling ceiling, and never less than the server asked for."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2 ** min(repeats, 10))
        return max(random.uniform(0, ceiling), retry_after or 0.0)  # noqa: S311 # jitter


_BUSY = Ruling(Applied.NO, cap_seconds=30.0)
_NOT_SENT = Ruling(Applied.NO)
_UNCLEAR = Ruling(Applied.PERHAPS)
_REFUSED = Ruling(Applied.REFUSED)
_ROLLED_BACK = Ruling(Applied.NO, most=3)
_STARTING = Ruling(Applied.NO, base_seconds=1.0, cap_seconds=5.0)
_TOO_SLOW = Ruling(Applied.NO, most=1, keyed_only=True)
_NO_SPACE = Ruling(Applied.NO, most=0)
_STALE_CACHE = Ruling(Applied.NO, most=1)
_UNCLEAR_ONCE = Ruling(Applied.PERHAPS, most=1, reads_only=True)

# Decided on the code first, then on the HTTP status, then on the kind of exception: PostgREST's
# statuses differ between versions (57P01 is a 503 in one and a 500 in another).
_BY_CODE: dict[str, Ruling] = {
    # PostgREST got no connection to the database, or none in time.
    "PGRST000": _BUSY,
    "PGRST002": _BUSY,
    "PGRST003": _BUSY,
    # PostgREST lost the connection: 1 of 987 such calls had been committed.
    "PGRST001": _UNCLEAR,
    # The schema cache is older than a migration; it reloads by itself.
    "PGRST202": _STALE_CACHE,
    "PGRST204": _STALE_CACHE,
    "PGRST205": _STALE_CACHE,
    "40001": _ROLLED_BACK,
    "40P01": _ROLLED_BACK,
    "55P03": _ROLLED_BACK,
    "57P03": _STARTING,
    "53300": _STARTING,
    "57P01": _UNCLEAR,
    "57P02": _UNCLEAR,
    "08003": _UNCLEAR,
    "08006": _UNCLEAR,
    "08P01": _UNCLEAR,
    "08007": _UNCLEAR,
    "40003": _UNCLEAR,
    "08001": _NOT_SENT,
    "08004": _NOT_SENT,
    "57014": _TOO_SLOW,
    # Nothing that repeating within a deadline could mend.
    "53100": _NO_SPACE,
    "53200": _NO_SPACE,
    "25006": _NO_SPACE,
    # Raised by a function on purpose, as PostgREST lets it; its changes were rolled back.
    "PT429": _BUSY,
    "PT503": _BUSY,
}
# An error of Postgres rolls the statement back, whatever status PostgREST gives it (42P17 is a 500);
# but for these classes, which say that the server or the connection failed in the middle.
_BY_CLASS: dict[str, Ruling] = {
    "08": _UNCLEAR,
    "40": _ROLLED_BACK,
    "53": _NO_SPACE,
    "57": _UNCLEAR,
    "58": _UNCLEAR_ONCE,
    "F0": _UNCLEAR_ONCE,
    "XX": _UNCLEAR_ONCE,
}
_BY_STATUS: dict[int, Ruling] = {
    408: _UNCLEAR,
    425: _BUSY,
    429: _BUSY,
    502: _UNCLEAR,
    503: Ruling(Applied.PERHAPS, cap_seconds=30.0),
    504: _UNCLEAR,
    520: _UNCLEAR,
    521: _NOT_SENT,  # the origin refused the gateway's connection
    522: _UNCLEAR,
    523: _NOT_SENT,  # the origin could not be reached
    524: _UNCLEAR,
}
#: Figures and bulk changes that ran into the statement timeout would run into it again.
_NOT_WORTH_REPEATING_WHEN_SLOW = frozenset(
    {"get_video_job_stats", "bulk_update_video_jobs", "clear_video_jobs"}
)
_STALE_CACHE_WAIT_SECONDS = 2.0
_SQLSTATE = re.compile("[0-9A-Z]{5}")


def rule(failure: Failure, function: str) -> Ruling:
    """Look the failure up in the matrix."""
    match failure.sent:
        case Sent.NO:
            return _NOT_SENT
        case Sent.PERHAPS:
            return _UNCLEAR
        case Sent.NEVER:
            return _REFUSED
        case Sent.ANSWERED:
            return _rule_on_answer(failure, function)


def _rule_on_answer(failure: Failure, function: str) -> Ruling:
    code, status = failure.code, failure.status
    if code == "57014" and function in _NOT_WORTH_REPEATING_WHEN_SLOW:
        return _NO_SPACE
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code is not None and _SQLSTATE.fullmatch(code):
        return _BY_CLASS.get(code[:2], _REFUSED)
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if code == "":
        # PostgREST's words for a connection that broke while Postgres was restarting: a 400.
        return _UNCLEAR
    if status is None or status >= 500 or status < 300:
        # An answer that makes no sense, such as a proxy's page under status 200.
        return _UNCLEAR_ONCE
    return _REFUSED


def wait_seconds(failure: Failure, ruling: Ruling, repeats: int) -> float:
    """How long to wait before the next try."""
    if ruling is _STALE_CACHE:
        return _STALE_CACHE_WAIT_SECONDS
    return ruling.wait_seconds(repeats, failure.retry_after)


def error_of(failure: Failure, call: Call[Any], attempts: int) -> errors.VideoJobsError:
    """The public error for a failure that will not be repeated."""
    facts: dict[str, Any] = {
        "status": failure.status,
        "code": failure.code or None,
        "operation": call.function,
        "attempts": attempts,
    }
    if failure.sent is Sent.ANSWERED and (refused := _refusal(failure, call, facts)):
        return refused
    return _trouble(failure, rule(failure, call.function), call, facts)


def _refusal(
    failure: Failure, call: Call[Any], facts: dict[str, Any]
) -> errors.VideoJobsError | None:
    code, status = failure.code or "", failure.status
    told = failure.message
    if kind := errors.REFUSALS.get(code):
        if issubclass(kind, errors.RefusedError):
            return kind(told, job_id=_job_id(call), hint=failure.hint, **facts)
        return kind(told, **facts)
    if code in {"PGRST202", "PGRST204", "PGRST205", "42883", "42P01", "42703", "3F000"}:
        return errors.SchemaMismatchError(
            f"the database does not know {call.function} as this version calls it: {told}",
            hint="run `videojobs migrate`, then `notify pgrst, 'reload schema'`",
            **facts,
        )
    if status == 401 or code.startswith("PGRST30") or code in {"28000", "28P01"}:
        return errors.AuthenticationError(
            f"the key or token was not accepted: {told}",
            hint="check that it belongs to this project, and has not expired",
            **facts,
        )
    if code == "42501" or status == 403:
        return errors.PermissionDeniedError(
            f"{call.function} is not allowed for this key or user: {told}",
            hint="workers need the secret (service role) key",
            **facts,
        )
    if code.startswith(("22", "23")):
        return errors.SupabaseValidationError(
            f"{call.function} was refused by the database: {told}", **facts
        )
    return None


def _job_id(call: Call[Any]) -> UUID | None:
    value = call.arguments.get("job_id")
    return value if isinstance(value, UUID) else None


def _trouble(
    failure: Failure, ruling: Ruling, call: Call[Any], facts: dict[str, Any]
) -> errors.VideoJobsError:
    attempts = facts["attempts"]
    tries = "once" if attempts == 1 else f"{attempts} times"
    told = f"{call.function} failed, tried {tries}: {failure.message}"
    facts["retry_after"] = failure.retry_after
    if failure.status == 429 or failure.code == "PT429":
        return errors.RateLimitedError(told, outcome="not_applied", **facts)
    if ruling.applied is Applied.PERHAPS and call.repeatable is not Repeatable.READ:
        return errors.OutcomeUnknownError(
            f"{told}. Whether the change was made is not known: read it back before trying again",
            **facts,
        )
    if ruling.applied is Applied.REFUSED and failure.sent is Sent.ANSWERED:
        return errors.RefusedError(told, hint=failure.hint, **facts)
    return errors.SupabaseConnectionError(told, outcome="not_applied", **facts)
