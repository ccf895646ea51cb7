"""How much of a request is read, for how long, and how many requests are taken."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from math import ceil
from typing import TYPE_CHECKING

from starlette.requests import Request

from videojobs.web.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from starlette.types import Message

_REMEMBERED_CALLERS = 10_000
_SLOWEST_BYTES_PER_SECOND = 1024
_SCOPE_KEY = "videojobs.body"


class RateLimit:
    """So many requests a minute for each caller, as a bucket that refills steadily.

    Args:
        per_minute: Also how many may come at once; 0 for any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable) -> None:
        """The caller has one request less.

        Raises:
            ProblemError: They have none; it says when to come again.
        """
        if not self._per_minute:
            return
        now, rate = time.monotonic(), self._per_minute / 60
        left, since = self._buckets.get(caller, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - since) * rate)
        if left < 1:
            wait = ceil((1 - left) / rate)
            raise ProblemError(
                429,
                "too-many-requests",
                f"At most {self._per_minute} requests a minute are taken. "
                f"Try again in {wait} seconds.",
                headers={"Retry-After": str(wait)},
            )
        self._buckets[caller] = left - 1, now
        self._buckets.move_to_end(caller)
        if len(self._buckets) > _REMEMBERED_CALLERS:
            self._buckets.popitem(last=False)


class LimitedBody:
    """Reads a request's body within limits of size and patience.

    Args:
        request: Whose body.
        max_bytes: How long it may be.
        idle_seconds: How long to wait for its next part.
    """

    def __init__(self, request: Request, *, max_bytes: int, idle_seconds: float) -> None:
        self.max_bytes = max_bytes
        self._receive = request.receive
        self._announced = _announced_size(request)
        self._idle_seconds = idle_seconds
        self._started = time.monotonic()
        self._size = 0
        self.request = Request(request.scope, self.receive)
        """The request, read within the limits."""
        request.scope[_SCOPE_KEY] = self

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            ProblemError: It is too large, or does not come.
        """
        if self._announced > self.max_bytes:
            raise too_large(self.max_bytes)
        try:
            async with asyncio.timeout(self._patience()):
                message = await self._receive()
        except TimeoutError:
            raise ProblemError(
                408,
                "too-slow",
                f"Nothing of the request came for {self._idle_seconds:g} seconds, or less than "
                f"{_SLOWEST_BYTES_PER_SECOND} bytes a second in all.",
                headers={"Connection": "close"},
            ) from None
        self._size += len(message.get("body", b""))
        if self._size > self.max_bytes:
            raise too_large(self.max_bytes)
        return message

    def _patience(self) -> float:
        # Else a byte every now and then would hold a connection for ever.
        due = self._started + self._idle_seconds + self._size / _SLOWEST_BYTES_PER_SECOND
        return max(0.0, min(self._idle_seconds, due - time.monotonic()))


def allow_body(request: Request, max_bytes: int) -> None:
    """The request's body may have so many bytes; to be said before it is read."""
    request.scope[_SCOPE_KEY].max_bytes = max_bytes


def too_large(limit: int, what: str = "The request's body") -> ProblemError:
    """The problem of what is longer than allowed."""
    return ProblemError(
        413,
        "too-large",
        f"{what} may have {limit} bytes at the most.",
        # What is still on its way is not read.
        headers={"Connection": "close"},
    )


def _announced_size(request: Request) -> int:
    told = request.headers.get("Content-Length", "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else 0
