"""Sends a call, and repeats it where `videojobs.retries` allows: the loop around a transport."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from videojobs import retries
from videojobs.calls import Call
from videojobs.errors import SchemaMismatchError, VideoJobsError
from videojobs.models import Rows
from videojobs.requests import refusal
from videojobs.retries import Failure
from videojobs.transports import AsyncTransport, Transport

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
logger = logging.getLogger("videojobs")


def perform(transport: Transport, call: Call[T], deadline_seconds: float) -> T:
    """The call's answer. Most calls succeed at once and never see tenacity."""
    started = time.monotonic()
    try:
        return decoded(call, transport.send(call))
    except Failure as failure:
        policy = _Policy(call, failure, started + deadline_seconds, transport.can_repeat)

    def again() -> T:
        policy.raise_first()
        try:
            return decoded(call, transport.send(call))
        except Failure as failure:
            return policy.done_before(failure)

    from tenacity import Retrying  # on the first failure, so that imports stay fast

    return Retrying(**policy.options())(again)


async def perform_async(transport: AsyncTransport, call: Call[T], deadline_seconds: float) -> T:
    """The same for asyncio."""
    started = time.monotonic()
    try:
        return decoded(call, await transport.send(call))
    except Failure as failure:
        policy = _Policy(call, failure, started + deadline_seconds, transport.can_repeat)

    async def again() -> T:
        policy.raise_first()
        try:
            return decoded(call, await transport.send(call))
        except Failure as failure:
            return policy.done_before(failure)

    from tenacity import AsyncRetrying

    return await AsyncRetrying(**policy.options())(again)


def decoded(call: Call[T], rows: Rows) -> T:
    """What the rows say, or the error for rows that this version cannot read."""
    try:
        return call.decode(rows)
    except ValidationError as error:
        raise SchemaMismatchError(
            f"the answer of {call.function} cannot be read by this version: {refusal('it', error)}",
            hint="is the database of a newer version? Then upgrade videojobs",
            operation=call.function,
        ) from None


class _Policy:
    """When to go on, how long to wait, and what to raise in the end; as tenacity asks for it."""

    def __init__(self, call: Call[Any], first: Failure, deadline: float, can_repeat: bool) -> None:
        self._call = call
        self._first: Failure | None = first
        self._deadline = deadline
        self._can_repeat = can_repeat

    def options(self) -> dict[str, Any]:
        return {
            "retry": self._should_repeat,
            "wait": self._wait,
            "stop": self._is_over,
            "retry_error_callback": self._give_up,
            "before_sleep": self._tell,
        }

    def raise_first(self) -> None:
        """The failure that began it all counts as tenacity's first attempt."""
        if self._first is not None:
            first, self._first = self._first, None
            raise first

    def done_before(self, failure: Failure) -> Any:
        """A refusal of the repeat may show that a lost try had been carried out."""
        error = retries.error_of(failure, self._call, 1)
        if self._call.was_done_before(error):
            return self._call.decode(())
        raise failure

    def _should_repeat(self, state: RetryCallState) -> bool:
        failure = _failure(state)
        if failure is None:
            return False
        if not self._may_repeat(failure, state.attempt_number - 1):
            raise self._error(state) from failure
        return True

    def _may_repeat(self, failure: Failure, repeats: int) -> bool:
        ruling = retries.rule(failure, self._call.function)
        return self._can_repeat and ruling.allows(self._call.repeatable, repeats)

    def _wait(self, state: RetryCallState) -> float:
        failure = _failure(state)
        if failure is None:
            return 0.0
        ruling = retries.rule(failure, self._call.function)
        return retries.wait_seconds(failure, ruling, state.attempt_number - 1)

    def _is_over(self, state: RetryCallState) -> bool:
        return time.monotonic() + state.upcoming_sleep > self._deadline

    def _give_up(self, state: RetryCallState) -> Any:
        raise self._error(state) from _failure(state)

    def _error(self, state: RetryCallState) -> VideoJobsError:
        failure = _failure(state)
        assert failure is not None  # noqa: S101 # tenacity asks only after a failure
        return retries.error_of(failure, self._call, state.attempt_number)

    def _tell(self, state: RetryCallState) -> None:
        logger.warning(
            "%s failed (%s); trying again in %.1f s",
            self._call.function,
            _failure(state),
            state.upcoming_sleep,
        )


def _failure(state: RetryCallState) -> Failure | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Failure) else None
