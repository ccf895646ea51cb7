from __future__ import annotations

import inspect
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self

from videojobs.calls import Call
from videojobs.errors import ConfigurationError
from videojobs.models import Rows

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A user's access token, or how to get a fresh one."""


def current_token(token: Token) -> str:
    """The token, from its source if it has one."""
    now = token() if callable(token) else token
    if isinstance(now, str):
        return now
    if inspect.iscoroutine(now):
        now.close()  # else it would warn that nobody awaited it
    raise ConfigurationError("an async token source needs the AsyncVideoJobManager")


async def current_token_async(token: Token) -> str:
    """The same for asyncio, where the source may be a coroutine function too."""
    now = token() if callable(token) else token
    return now if isinstance(now, str) else await now


class Channel(StrEnum):
    """What the database announces."""

    CHANGES = "videojobs_changes"
    """A job changed; the payload is its id."""
    QUEUE = "videojobs_queue"
    """A job became ready, and the payload is its queue; or a worker is called by its name, since
    somebody wants to stop one of its jobs, or it."""
    WEBHOOKS = "videojobs_webhooks"
    """A webhook has something to deliver."""


class Listener(Protocol):
    """Knows when something that somebody waits for may have happened."""

    def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Those of them that were announced; none after so many seconds without.

        All of them where an announcement may have been missed.
        """
        ...


class AsyncListener(Protocol):
    """Knows when something that somebody waits for may have happened."""

    async def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Those of them that were announced; none after so many seconds without.

        All of them where an announcement may have been missed.
        """
        ...


class Announcements(Protocol):
    """Hears all that the database announces on some channels."""

    @property
    def silence_seconds(self) -> float:
        """For how long it may be trusted that nothing happens without a word; 0 if not at all."""
        ...

    @property
    def breaks(self) -> int:
        """How often listening broke off; grows when something may have been missed."""
        ...

    def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """What was announced: at once, with what follows within so many seconds; else nothing."""
        ...


class AsyncAnnouncements(Protocol):
    """Hears all that the database announces on some channels."""

    @property
    def silence_seconds(self) -> float:
        """For how long it may be trusted that nothing happens without a word; 0 if not at all."""
        ...

    @property
    def breaks(self) -> int:
        """How often listening broke off; grows when something may have been missed."""
        ...

    async def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """What was announced: at once, with what follows within so many seconds; else nothing."""
        ...


class Transport(Protocol):
    """Calls SQL functions."""

    @property
    def can_repeat(self) -> bool:
        """Whether a failed call may be sent again; not within a caller's own transaction."""
        ...

    @property
    def is_user(self) -> bool:
        """Whether calls run as a signed-in user."""
        ...

    @property
    def batch_size(self) -> int:
        """How many jobs one call may create."""
        ...

    def send(self, call: Call[Any]) -> Rows:
        """The rows of the answer. Raises `videojobs.retries.Failure`."""
        ...

    def listen(self, channel: Channel) -> AbstractContextManager[Listener]:
        """Listen while the context lasts."""
        ...

    def announcements(self, *channels: Channel) -> AbstractContextManager[Announcements]:
        """Hear all of these channels while the context lasts."""
        ...

    def as_user(self, token: Token) -> Transport:
        """The same connections, with a user's rights."""
        ...

    def close(self) -> None:
        """Close what this transport opened."""
        ...


class AsyncTransport(Protocol):
    """Calls SQL functions, for asyncio."""

    @property
    def can_repeat(self) -> bool:
        """Whether a failed call may be sent again; not within a caller's own transaction."""
        ...

    @property
    def is_user(self) -> bool:
        """Whether calls run as a signed-in user."""
        ...

    @property
    def batch_size(self) -> int:
        """How many jobs one call may create."""
        ...

    async def send(self, call: Call[Any]) -> Rows:
        """The rows of the answer. Raises `videojobs.retries.Failure`."""
        ...

    def listen(self, channel: Channel) -> AbstractAsyncContextManager[AsyncListener]:
        """Listen while the context lasts."""
        ...

    def announcements(self, *channels: Channel) -> AbstractAsyncContextManager[AsyncAnnouncements]:
        """Hear all of these channels while the context lasts."""
        ...

    def as_user(self, token: Token) -> AsyncTransport:
        """The same connections, with a user's rights."""
        ...

    async def close(self) -> None:
        """Close what this transport opened."""
        ...


class PollingListener:
    """Knows nothing: it waits for most of the time, so that pollers do not march in step."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    silence_seconds = 0.0
    breaks = 0

    def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Sleep for 75 to 100 % of the time."""
        time.sleep(_jittered(seconds))
        return ()

    def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """Sleep likewise."""
        time.sleep(_jittered(seconds))
        return frozenset()


class AsyncPollingListener:
    """The same for asyncio."""

    silence_seconds = 0.0
    breaks = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Sleep for 75 to 100 % of the time."""
        import asyncio  # 30 ms that a sync program need not pay

        await asyncio.sleep(_jittered(seconds))
        return ()

    async def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """Sleep likewise."""
        await self.wait((), seconds)
        return frozenset()


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311 # jitter
