"""LISTEN on a connection of its own, which is made anew when it breaks."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Self

import psycopg

from videojobs.transports._protocol import AsyncPollingListener, Channel, PollingListener

logger = logging.getLogger("videojobs")

_RECONNECT_SECONDS = 2.0
"""At the most so often; until then, and meanwhile, the listener only pauses. Waking is a
convenience: polling finds every change too."""
_SILENCE_SECONDS = 1.0
"""Not for ever: of those that commit at the same moment, one calls for all."""


class _Reconnecting:
    """When to try again, and what to say."""

    def __init__(self, conninfo: str, *channels: Channel) -> None:
        self._conninfo = conninfo
        self._statement = "; ".join(f"listen {channel.value}" for channel in channels).encode()
        self._retry_at = 0.0
        self.breaks = 0

    def _may_connect(self) -> bool:
        return time.monotonic() >= self._retry_at

    def _broke(self, error: psycopg.Error) -> None:
        self.breaks += 1
        self._retry_at = time.monotonic() + _RECONNECT_SECONDS
        logger.warning("listening broke off, will try again: %s", " ".join(str(error).split()))


class NotifyListener(_Reconnecting):
    """Woken by the database."""

    _connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()

    def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Those of them that were announced; all after a break, which may have hidden them."""
        if self._connection is None:
            if self._may_connect() and self._connect():
                return payloads
            return PollingListener().wait(payloads, seconds)
        try:
            return self._heard(self._connection, payloads, seconds)
        except psycopg.Error as error:
            self._drop()
            self._broke(error)
            return ()

    @property
    def silence_seconds(self) -> float:
        """For how long silence may be trusted."""
        return _SILENCE_SECONDS if self._connection is not None else 0.0

    def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """All that was announced, with what follows within so many seconds."""
        if self._connection is None:
            if self._may_connect() and self._connect():
                return frozenset()
            return PollingListener().hear(min(seconds, _RECONNECT_SECONDS))
        try:
            return self._all_heard(self._connection, seconds, gather_seconds)
        except psycopg.Error as error:
            self._drop()
            self._broke(error)
            return frozenset()

    def _all_heard(
        self, connection: psycopg.Connection[Any], seconds: float, gather_seconds: float
    ) -> frozenset[str]:
        with closing(connection.notifies(timeout=seconds, stop_after=1)) as notices:
            heard = {notice.payload for notice in notices}
        if heard and gather_seconds > 0:
            with closing(connection.notifies(timeout=gather_seconds)) as notices:
                heard |= {notice.payload for notice in notices}
        return frozenset(heard)

    def _heard(
        self, connection: psycopg.Connection[Any], payloads: Collection[str], seconds: float
    ) -> Collection[str]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with closing(connection.notifies(timeout=left, stop_after=1)) as notices:
                heard = {notice.payload for notice in notices} & set(payloads)
            if heard:
                return heard
        return ()

    def _connect(self) -> bool:
        try:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
            self._connection.execute(self._statement)
        except psycopg.Error as error:
            self._drop()
            self._broke(error)
        return self._connection is not None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class AsyncNotifyListener(_Reconnecting):
    """The same for asyncio."""

    _connection: psycopg.AsyncConnection[Any] | None = None

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._drop()

    async def wait(self, payloads: Collection[str], seconds: float) -> Collection[str]:
        """Those of them that were announced; all after a break, which may have hidden them."""
        if self._connection is None:
            if self._may_connect() and await self._connect():
                return payloads
            return await AsyncPollingListener().wait(payloads, seconds)
        try:
            return await self._heard(self._connection, payloads, seconds)
        except psycopg.Error as error:
            await self._drop()
            self._broke(error)
            return ()

    @property
    def silence_seconds(self) -> float:
        """For how long silence may be trusted."""
        return _SILENCE_SECONDS if self._connection is not None else 0.0

    async def hear(self, seconds: float, gather_seconds: float = 0.0) -> frozenset[str]:
        """All that was announced, with what follows within so many seconds."""
        if self._connection is None:
            if self._may_connect() and await self._connect():
                return frozenset()
            return await AsyncPollingListener().hear(min(seconds, _RECONNECT_SECONDS))
        try:
            return await self._all_heard(self._connection, seconds, gather_seconds)
        except psycopg.Error as error:
            await self._drop()
            self._broke(error)
            return frozenset()

    async def _all_heard(
        self, connection: psycopg.AsyncConnection[Any], seconds: float, gather_seconds: float
    ) -> frozenset[str]:
        async with aclosing(connection.notifies(timeout=seconds, stop_after=1)) as notices:
            heard = {notice.payload async for notice in notices}
        if heard and gather_seconds > 0:
            async with aclosing(connection.notifies(timeout=gather_seconds)) as notices:
                heard |= {notice.payload async for notice in notices}
        return frozenset(heard)

    async def _heard(
        self, connection: psycopg.AsyncConnection[Any], payloads: Collection[str], seconds: float
    ) -> Collection[str]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            # Closed at once: while it is open, it holds the connection's lock.
            async with aclosing(connection.notifies(timeout=left, stop_after=1)) as notices:
                heard = {notice.payload async for notice in notices} & set(payloads)
            if heard:
                return heard
        return ()

    async def _connect(self) -> bool:
        try:
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True
            )
            await self._connection.execute(self._statement)
        except psycopg.Error as error:
            await self._drop()
            self._broke(error)
        return self._connection is not None

    async def _drop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
