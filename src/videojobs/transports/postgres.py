"""Directly to Postgres with psycopg: an own pool, or the caller's connection and transaction."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from copy import copy
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import (
    AsyncConnectionPool,
    ConnectionPool,
    PoolClosed,
    PoolTimeout,
    TooManyRequests,
)

from videojobs.calls import Call
from videojobs.errors import ConfigurationError
from videojobs.models import Rows
from videojobs.retries import Failure, closed
from videojobs.settings import Settings
from videojobs.transports import _psycopg as wire
from videojobs.transports._limits import CallLimits, limit_of, limited
from videojobs.transports._listening import AsyncNotifyListener, NotifyListener
from videojobs.transports._protocol import (
    AsyncPollingListener,
    Channel,
    PollingListener,
    Token,
    current_token,
    current_token_async,
)


class PostgresTransport:
    """Calls functions over a pool of connections."""

    can_repeat = True
    batch_size = wire.BATCH_SIZE

    def __init__(self, url: str, settings: Settings, *, pooled: bool | None = None) -> None:
        self._settings = settings
        self._conninfo, guessed = wire.conninfo_of(url, settings)
        self._pooled = next(
            known for known in (pooled, settings.database_pooled, guessed) if known is not None
        )
        self._verifier = wire.TokenVerifier(settings)
        self._token: Token | None = None
        self._worked = False
        self._service: PostgresTransport | None = None
        self._pid = os.getpid()
        self._inherited: object = None
        self._own_limits = CallLimits()
        self._own_pool = self._new_pool()

    def _new_pool(self) -> ConnectionPool[psycopg.Connection[DictRow]]:
        return ConnectionPool(
            self._conninfo,
            connection_class=psycopg.Connection[DictRow],
            kwargs=wire.options_of_pooled(behind_pooler=self._pooled),
            min_size=0,
            max_size=self._settings.pool_size,
            timeout=self._settings.connect_timeout_seconds,
            # Else one attempt goes on with growing pauses, for minutes, and no other is begun.
            reconnect_timeout=self._settings.connect_timeout_seconds,
            open=True,
            name="videojobs",
        )

    @property
    def is_user(self) -> bool:
        return self._token is not None

    def send(self, call: Call[Any]) -> Rows:
        claims = self._claims()
        pool = self._pool()
        connection = self._connection(pool)
        try:
            with self._limits().on(connection, self._seconds_for(call)):
                return _ask(connection, call, claims, behind_pooler=self._pooled)
        except psycopg.Error as error:
            if connection.broken:
                # The server went away: its other connections are most likely gone too.
                pool.drain()
            raise wire.failure_of(error, connected=True) from error
        finally:
            pool.putconn(connection)

    def _pool(self) -> ConnectionPool[psycopg.Connection[DictRow]]:
        """The service's pool, in this process."""
        if self._service is not None:
            return self._service._pool()
        if self._pid != os.getpid():
            # A connection that two processes write to is broken for both. The parent's pool is
            # kept, and left alone: to end it here would end the parent's connections.
            self._inherited, self._own_pool = self._own_pool, self._new_pool()
            self._own_limits = CallLimits()  # the parent's thread is not here
            self._pid = os.getpid()
        return self._own_pool

    def _limits(self) -> CallLimits:
        return (self._service or self)._own_limits

    def _seconds_for(self, call: Call[Any]) -> float:
        return limit_of(call, self._settings.read_timeout_seconds)

    def _connection(
        self, pool: ConnectionPool[psycopg.Connection[DictRow]]
    ) -> psycopg.Connection[DictRow]:
        try:
            connection = pool.getconn()
            while wire.is_stale(connection):
                pool.putconn(connection)
                pool.drain()
                connection = pool.getconn()
        except (PoolClosed, TooManyRequests) as error:
            raise wire.failure_of(error, connected=False) from error
        except PoolTimeout as error:
            raise self._why_no_connection(error) from error
        self._worked = True
        return connection

    def _why_no_connection(self, error: PoolTimeout) -> Failure:
        # The pool connects in the background and keeps the reason to itself.
        if not self._worked:
            try:
                psycopg.connect(self._conninfo).close()
            except psycopg.Error as reason:
                return wire.failure_of(reason, connected=False)
        return wire.failure_of(error, connected=False)

    def _claims(self) -> str | None:
        if self._token is None:
            return None
        try:
            return self._verifier.claims_of(current_token(self._token))
        except Failure:
            if not callable(self._token):
                raise
            # The token may have expired since: ask for a fresh one, once.
            return self._verifier.claims_of(current_token(self._token))

    def listen(self, channel: Channel) -> PollingListener | NotifyListener:
        return PollingListener() if self._pooled else NotifyListener(self._conninfo, channel)

    def announcements(self, *channels: Channel) -> PollingListener | NotifyListener:
        return PollingListener() if self._pooled else NotifyListener(self._conninfo, *channels)

    def as_user(self, token: Token) -> PostgresTransport:
        user = copy(self)
        user._token = token
        user._service = self._service or self
        return user

    def close(self) -> None:
        if self._service is None and self._pid == os.getpid():
            self._own_pool.close()
            self._own_limits.close()


def _ask(
    connection: psycopg.Connection[Any],
    call: Call[Any],
    claims: str | None = None,
    *,
    behind_pooler: bool = False,
) -> list[DictRow]:
    query, parameters = wire.statement_of(call)
    if claims is None:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()
    # One trip to the server for the three statements. Not behind a pooler: psycopg's pipeline ends
    # with a Flush, for which PgBouncer links a server connection that it then never takes back.
    with (
        nullcontext() if behind_pooler else connection.pipeline(),
        connection.transaction(),
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        connection.execute(wire.BECOME_USER, [claims])
        return cursor.execute(query, parameters).fetchall()


class PostgresConnectionTransport:
    """Calls functions on the caller's connection, and so within the caller's transaction.

    Nothing is committed here and nothing is repeated. Each call has a savepoint, so that a refusal
    leaves the transaction as it was.
    """

    can_repeat = False
    batch_size = wire.BATCH_SIZE
    is_user = False

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def send(self, call: Call[Any]) -> Rows:
        connection = self._connection
        try:
            if wire.commits_by_itself(connection):
                return _ask(connection, call)
            # The first statement begins the transaction, if none is open; nothing here ends it.
            connection.execute(wire.SAVE)
            try:
                rows = _ask(connection, call)
            except psycopg.Error:
                if not connection.broken:
                    connection.execute(wire.RESTORE)
                raise
            connection.execute(wire.FORGET)
        except psycopg.Error as error:
            raise wire.failure_of(error, connected=True) from error
        return rows

    def listen(self, channel: Channel) -> PollingListener:
        return PollingListener()

    def announcements(self, *channels: Channel) -> PollingListener:
        return PollingListener()

    def as_user(self, token: Token) -> PostgresConnectionTransport:
        raise _no_user_here()

    def close(self) -> None:
        """Do nothing: the connection is the caller's."""


class AsyncPostgresTransport:
    """Calls functions over a pool of connections, for asyncio."""

    can_repeat = True
    batch_size = wire.BATCH_SIZE

    def __init__(self, url: str, settings: Settings, *, pooled: bool | None = None) -> None:
        self._settings = settings
        self._conninfo, guessed = wire.conninfo_of(url, settings)
        self._pooled = next(
            known for known in (pooled, settings.database_pooled, guessed) if known is not None
        )
        self._verifier = wire.TokenVerifier(settings)
        self._token: Token | None = None
        self._worked = False
        self._opening = asyncio.Lock()
        self._closed = asyncio.Event()
        self._pool = self._new_pool()

    def _new_pool(self) -> AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]:
        return AsyncConnectionPool(
            self._conninfo,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs=wire.options_of_pooled(behind_pooler=self._pooled),
            min_size=0,
            max_size=self._settings.pool_size,
            timeout=self._settings.connect_timeout_seconds,
            reconnect_timeout=self._settings.connect_timeout_seconds,
            open=False,
            name="videojobs",
        )

    @property
    def is_user(self) -> bool:
        return self._token is not None

    async def send(self, call: Call[Any]) -> Rows:
        claims = await self._claims()
        connection = await self._connection()
        try:
            with limited(connection, limit_of(call, self._settings.read_timeout_seconds)):
                return await _ask_async(connection, call, claims, behind_pooler=self._pooled)
        except psycopg.Error as error:
            if connection.broken:
                await self._pool.drain()
            raise wire.failure_of(error, connected=True) from error
        finally:
            await self._pool.putconn(connection)

    async def _connection(self) -> psycopg.AsyncConnection[DictRow]:
        if self._closed.is_set():
            raise closed()
        try:
            if not self._worked:
                # Opened within the loop that uses it, and once.
                async with self._opening:
                    await self._pool.open()
            connection = await self._pool.getconn()
            while wire.is_stale(connection):
                await self._pool.putconn(connection)
                await self._pool.drain()
                connection = await self._pool.getconn()
        except (PoolClosed, TooManyRequests) as error:
            raise wire.failure_of(error, connected=False) from error
        except PoolTimeout as error:
            raise await self._why_no_connection(error) from error
        self._worked = True
        return connection

    async def _why_no_connection(self, error: PoolTimeout) -> Failure:
        if not self._worked:
            try:
                await (await psycopg.AsyncConnection.connect(self._conninfo)).close()
            except psycopg.Error as reason:
                return wire.failure_of(reason, connected=False)
        return wire.failure_of(error, connected=False)

    async def _claims(self) -> str | None:
        if self._token is None:
            return None
        try:
            return self._verifier.claims_of(await current_token_async(self._token))
        except Failure:
            if not callable(self._token):
                raise
            return self._verifier.claims_of(await current_token_async(self._token))

    def listen(self, channel: Channel) -> AsyncPollingListener | AsyncNotifyListener:
        if self._pooled:
            return AsyncPollingListener()
        return AsyncNotifyListener(self._conninfo, channel)

    def announcements(self, *channels: Channel) -> AsyncPollingListener | AsyncNotifyListener:
        if self._pooled:
            return AsyncPollingListener()
        return AsyncNotifyListener(self._conninfo, *channels)

    def as_user(self, token: Token) -> AsyncPostgresTransport:
        user = copy(self)
        user._token = token
        return user

    async def close(self) -> None:
        if not self.is_user:
            self._closed.set()  # a pool that was never opened would open after its close
            await self._pool.close()


async def _ask_async(
    connection: psycopg.AsyncConnection[Any],
    call: Call[Any],
    claims: str | None = None,
    *,
    behind_pooler: bool = False,
) -> list[DictRow]:
    query, parameters = wire.statement_of(call)
    if claims is None:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, parameters)
            return await cursor.fetchall()
    async with (
        nullcontext() if behind_pooler else connection.pipeline(),
        connection.transaction(),
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        await connection.execute(wire.BECOME_USER, [claims])
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


class AsyncPostgresConnectionTransport:
    """Calls functions on the caller's connection; see `PostgresConnectionTransport`."""

    can_repeat = False
    batch_size = wire.BATCH_SIZE
    is_user = False

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def send(self, call: Call[Any]) -> Rows:
        connection = self._connection
        try:
            if wire.commits_by_itself(connection):
                return await _ask_async(connection, call)
            await connection.execute(wire.SAVE)
            try:
                rows = await _ask_async(connection, call)
            except psycopg.Error:
                if not connection.broken:
                    await connection.execute(wire.RESTORE)
                raise
            await connection.execute(wire.FORGET)
        except psycopg.Error as error:
            raise wire.failure_of(error, connected=True) from error
        return rows

    def listen(self, channel: Channel) -> AsyncPollingListener:
        return AsyncPollingListener()

    def announcements(self, *channels: Channel) -> AsyncPollingListener:
        return AsyncPollingListener()

    def as_user(self, token: Token) -> AsyncPostgresConnectionTransport:
        raise _no_user_here()

    async def close(self) -> None:
        """Do nothing: the connection is the caller's."""


def _no_user_here() -> ConfigurationError:
    return ConfigurationError(
        "as_user would change the role of your own connection; "
        "make a manager with from_url(...) and use its as_user"
    )
