"""Called by the database through Supabase Realtime, where there is no connection to LISTEN on.

A WebSocket on the private channels that `supabase/migrations` broadcast on for services; what is
said on it is in `_phoenix`. Realtime's own client is not used: it puts the key into the address,
where proxies write it down. Here it is in headers.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from websockets.exceptions import WebSocketException

from videojobs.transports._phoenix import EVERYTHING, Address, Conversation
from videojobs.transports._protocol import AsyncPollingListener, Channel, PollingListener

if TYPE_CHECKING:
    from asyncio import Task

    from supabase import AsyncClient, Client
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection

logger = logging.getLogger("videojobs")
_WIRE_LOGGER = logging.getLogger("videojobs.realtime")
"""What the WebSocket's library says of connections: never its details, among which is the key."""
_WIRE_LOGGER.setLevel(logging.INFO)

_FIRST_RETRY_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 300.0
"""Between tries; meanwhile the listener only pauses. Being called is a convenience: polling finds
every change too, and not every project has Realtime."""
_OPEN_SECONDS = 5.0
_SILENCE_SECONDS = 5.0
"""For how long silence is trusted: Realtime may drop messages where there are too many."""
_LONGEST_MESSAGE = 2**20
_ERRORS = (WebSocketException, OSError, ImportError)
"""The last where a SOCKS proxy is asked for, and its package is not there."""


class Line:
    """The way to one project's Realtime, and when to try it again: the same for all listeners."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._retry_at = 0.0
        self._retry_seconds = _FIRST_RETRY_SECONDS

    @classmethod
    def of(cls, client: Client | AsyncClient) -> Self:
        """To the client's project."""
        return cls(Address.of(client))

    def may_be_tried(self) -> bool:
        """Whether the pause after the last failure is over."""
        return time.monotonic() >= self._retry_at

    def works(self) -> None:
        """A listener has joined."""
        self._retry_seconds = _FIRST_RETRY_SECONDS

    def failed(self) -> None:
        """The next try comes later, and not at the same moment as everybody else's."""
        pause = self._retry_seconds * random.uniform(0.75, 1.25)  # noqa: S311 # jitter
        self._retry_at = time.monotonic() + pause
        self._retry_seconds = min(self._retry_seconds * 2, _LONGEST_RETRY_SECONDS)


class _Reconnecting:
    """What both listeners know of their connection."""

    def __init__(self, line: Line, *channels: Channel) -> None:
        self._line = line
        self._channels = channels
        self._talk: Conversation | None = None
        self.breaks = 0

    @property
    def silence_seconds(self) -> float:
        """For how long silence may be trusted."""
        return _SILENCE_SECONDS if self._talk is not None else 0.0

    def _joined(self, talk: Conversation) -> None:
        self._talk = talk
        self._line.works()

    def _broke(self, error: Exception) -> None:
        self.breaks += 1
        had_joined, self._talk = self._talk is not None, None
        self._line.failed()
        # Where there is no Realtime, nothing is wrong.
        logger.log(
            logging.WARNING if had_joined else logging.DEBUG,
            "Realtime cannot be heard, will try again: %s",
            " ".join(str(error).split()) or type(error).__name__,
        )


class RealtimeListener(_Reconnecting):
    """Called by the database."""

    _connection: ClientConnection | None = None
    _pid = 0

    def __enter__(self) -> Self:
        # Whoever waits for the first time connects: to look comes first, wherever Realtime hangs.
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()

    def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Those of them that were called; all after a break, which may have hidden them."""
        if self._talk is None:
            if self._line.may_be_tried() and self._connect():
                return payloads
            return PollingListener().wait(payloads, seconds)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            heard = self.hear(left)
            if EVERYTHING in heard:
                return payloads
            if found := heard & set(payloads):
                return found
            if not self.silence_seconds:
                break
        return ()

    def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """All that was called, with what follows within so many seconds."""
        connection, talk = self._connection, self._talk
        if connection is None or talk is None:
            if self._line.may_be_tried() and self._connect():
                return frozenset()
            return PollingListener().hear(seconds)
        try:
            heard = _heard(connection, talk, seconds)
            end = time.monotonic() + gather_seconds
            while heard and (left := end - time.monotonic()) > 0:
                heard |= _heard(connection, talk, left)
        except _ERRORS as error:
            self._drop()
            self._broke(error)
            return frozenset()
        return heard

    def _connect(self) -> bool:
        from websockets.sync.client import connect

        address = self._line.address
        try:
            self._connection = connect(
                address.url,
                additional_headers=address.headers,
                open_timeout=_OPEN_SECONDS,
                close_timeout=1.0,
                max_size=_LONGEST_MESSAGE,
                logger=_WIRE_LOGGER,
            )
            self._pid = os.getpid()
            talk = Conversation(address, self._channels, time.monotonic())
            for message in talk.joins():
                self._connection.send(message)
            end = time.monotonic() + _OPEN_SECONDS
            while not talk.has_joined:
                text = self._connection.recv(timeout=max(end - time.monotonic(), 0.0))
                talk.hear(text, time.monotonic())
            self._joined(talk)
        except _ERRORS as error:
            self._drop()
            self._broke(error)
        except BaseException:
            self._drop()
            raise
        return self._talk is not None

    def _drop(self) -> None:
        # After a fork, the connection is the parent's to close.
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None


class AsyncRealtimeListener(_Reconnecting):
    """The same for asyncio. It connects in the background; until then it only pauses."""

    _connection: AsyncConnection | None = None
    _connecting: Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            from asyncio import gather

            connecting.cancel()
            await gather(connecting, return_exceptions=True)
        await self._drop()

    async def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Those of them that were called; all after a break, which may have hidden them."""
        if self._talk is None:
            return payloads if await self._has_come(seconds) else ()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            heard = await self.hear(left)
            if EVERYTHING in heard:
                return payloads
            if found := heard & set(payloads):
                return found
            if not self.silence_seconds:
                break
        return ()

    async def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """All that was called, with what follows within so many seconds."""
        connection, talk = self._connection, self._talk
        if connection is None or talk is None:
            await self._has_come(seconds)
            return frozenset()
        try:
            heard = await _heard_async(connection, talk, seconds)
            end = time.monotonic() + gather_seconds
            while heard and (left := end - time.monotonic()) > 0:
                heard |= await _heard_async(connection, talk, left)
        except _ERRORS as error:
            await self._drop()
            self._broke(error)
            return frozenset()
        return heard

    async def _has_come(self, seconds: float) -> bool:
        """Whether the connection is there within so many seconds; then it is time to look."""
        from asyncio import create_task, wait

        if self._connecting is None and self._line.may_be_tried():
            self._connecting = create_task(self._connect(), name="videojobs-realtime")
        if self._connecting is None:
            await AsyncPollingListener().hear(seconds)
            return False
        done, _ = await wait({self._connecting}, timeout=seconds)
        for task in done:
            self._connecting = None
            task.result()  # raises what nobody has thought of
        if done and self._talk is None:
            await AsyncPollingListener().hear(seconds)
        return self._talk is not None

    async def _connect(self) -> None:
        from asyncio import timeout

        from websockets.asyncio.client import connect

        class Connect(connect):
            def process_redirect(self, exc: Exception) -> Exception | str:
                return exc  # the key is for nobody else

        address = self._line.address
        try:
            self._connection = await Connect(
                address.url,
                additional_headers=address.headers,
                open_timeout=_OPEN_SECONDS,
                close_timeout=1.0,
                max_size=_LONGEST_MESSAGE,
                logger=_WIRE_LOGGER,
            )
            talk = Conversation(address, self._channels, time.monotonic())
            for message in talk.joins():
                await self._connection.send(message)
            async with timeout(_OPEN_SECONDS):
                while not talk.has_joined:
                    talk.hear(await self._connection.recv(), time.monotonic())
            self._joined(talk)
        except _ERRORS as error:
            await self._drop()
            self._broke(error)
        except BaseException:
            await self._drop()
            raise

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _heard(connection: ClientConnection, talk: Conversation, seconds: float) -> frozenset[str]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        now = time.monotonic()
        if beat := talk.heartbeat(now):
            connection.send(beat)
        try:
            text = connection.recv(timeout=min(left, talk.until_heartbeat(now)))
        except TimeoutError:
            continue
        if names := talk.hear(text, time.monotonic()):
            return names
    return frozenset()


async def _heard_async(
    connection: AsyncConnection, talk: Conversation, seconds: float
) -> frozenset[str]:
    from asyncio import timeout

    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        now = time.monotonic()
        if beat := talk.heartbeat(now):
            await connection.send(beat)
        try:
            async with timeout(min(left, talk.until_heartbeat(now))):
                text = await connection.recv()
        except TimeoutError:
            continue
        if names := talk.hear(text, time.monotonic()):
            return names
    return frozenset()
