"""Carries out flows: the loop around their steps, once for threads and once for asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from videojobs.calls import Call
from videojobs.errors import VideoJobsError
from videojobs.flows import Flow, Item, Listen, Pause, Step
from videojobs.transports import (
    AsyncListener,
    AsyncPollingListener,
    AsyncTransport,
    Channel,
    Listener,
    PollingListener,
    Transport,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Result(Generic[T]):
    value: T


class _Course(Generic[T]):
    """Where a flow stands, and what it is to be told next."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self._started = time.monotonic()
        self.answer: Any = None
        self.error: VideoJobsError | None = None

    def next_step(self) -> Step | _Result[T]:
        answer, error = self.answer, self.error
        self.answer = self.error = None
        try:
            return self._flow.send(answer) if error is None else self._flow.throw(error)
        except StopIteration as end:
            return _Result(end.value)

    def elapsed(self) -> float:
        return time.monotonic() - self._started


def run(flow: Flow[T], transport: Transport, perform: Callable[[Call[Any]], Any]) -> T:
    """The flow's result."""
    for outcome in _drive(flow, transport, perform):
        if isinstance(outcome, _Result):
            return outcome.value
    raise AssertionError("a flow ends with a result")


def stream(
    flow: Flow[None], transport: Transport, perform: Callable[[Call[Any]], Any]
) -> Iterator[Any]:
    """The flow's items."""
    for outcome in _drive(flow, transport, perform):
        if isinstance(outcome, Item):
            yield outcome.value


def _drive(
    flow: Flow[T], transport: Transport, perform: Callable[[Call[Any]], Any]
) -> Iterator[Item[Any] | _Result[T]]:
    course = _Course(flow)
    listener: Listener = PollingListener()
    with ExitStack() as stack:
        while True:
            match course.next_step():
                case Call() as call:
                    try:
                        course.answer = perform(call)
                    except VideoJobsError as error:
                        course.error = error
                case Listen():
                    listener = stack.enter_context(transport.listen(Channel.CHANGES))
                case Pause() as pause:
                    listener.wait({str(pause.job_id)}, pause.seconds)
                    course.answer = course.elapsed()
                case Item() as item:
                    yield item
                case _Result() as result:
                    yield result
                    return


async def run_async(
    flow: Flow[T], transport: AsyncTransport, perform: Callable[[Call[Any]], Awaitable[Any]]
) -> T:
    """The flow's result."""
    # Closed at once, and with it what it listens on; the garbage collector would take its time.
    async with aclosing(_drive_async(flow, transport, perform)) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, _Result):
                return outcome.value
    raise AssertionError("a flow ends with a result")


async def stream_async(
    flow: Flow[None], transport: AsyncTransport, perform: Callable[[Call[Any]], Awaitable[Any]]
) -> AsyncIterator[Any]:
    """The flow's items."""
    async with aclosing(_drive_async(flow, transport, perform)) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Item):
                yield outcome.value


async def _drive_async(
    flow: Flow[T], transport: AsyncTransport, perform: Callable[[Call[Any]], Awaitable[Any]]
) -> AsyncGenerator[Item[Any] | _Result[T]]:
    course = _Course(flow)
    listener: AsyncListener = AsyncPollingListener()
    async with AsyncExitStack() as stack:
        while True:
            match course.next_step():
                case Call() as call:
                    try:
                        course.answer = await perform(call)
                    except VideoJobsError as error:
                        course.error = error
                case Listen():
                    listener = await stack.enter_async_context(transport.listen(Channel.CHANGES))
                case Pause() as pause:
                    await listener.wait({str(pause.job_id)}, pause.seconds)
                    course.answer = course.elapsed()
                case Item() as item:
                    yield item
                case _Result() as result:
                    yield result
                    return
