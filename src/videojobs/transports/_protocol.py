from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from videojobs.calls import Call
from videojobs.models import Rows

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A user's access token, or how to get a fresh one."""


class Listener(Protocol):
    """Knows when a job may have changed."""

    def wait(self, job_id: UUID, seconds: float) -> None:
        """Return when the job may have changed, or after so many seconds."""
        ...


class AsyncListener(Protocol):
    """Knows when a job may have changed."""

    async def wait(self, job_id: UUID, seconds: float) -> None:
        """Return when the job may have changed, or after so many seconds."""
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

    def send(self, call: Call[Any]) -> Rows:
        """The rows of the answer. Raises `videojobs.retries.Failure`."""
        ...

    def listen(self) -> AbstractContextManager[Listener]:
        """Listen for changes while the context lasts."""
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

    async def send(self, call: Call[Any]) -> Rows:
        """The rows of the answer. Raises `videojobs.retries.Failure`."""
        ...

    def listen(self) -> AbstractAsyncContextManager[AsyncListener]:
        """Listen for changes while the context lasts."""
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

    def wait(self, job_id: UUID, seconds: float) -> None:
        """Sleep for 75 to 100 % of the time."""
        time.sleep(_jittered(seconds))


class AsyncPollingListener:
    """The same for asyncio."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def wait(self, job_id: UUID, seconds: float) -> None:
        """Sleep for 75 to 100 % of the time."""
        await asyncio.sleep(_jittered(seconds))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311 # jitter
