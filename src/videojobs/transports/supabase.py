"""Through PostgREST, on supabase-py's clients.

The clients give the address, the headers and the connection pool; the requests are our own, since
supabase-py's `APIError` has neither the HTTP status nor Retry-After, and its builder takes a
proxy's HTML page under status 200 for an answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import httpx
from postgrest import AsyncPostgrestClient, SyncPostgrestClient
from supabase import AsyncClient, Client, SupabaseException
from supabase.lib.client_options import AsyncClientOptions, SyncClientOptions

from videojobs.calls import Call
from videojobs.errors import ConfigurationError
from videojobs.models import Rows
from videojobs.requests import BATCH_LIMIT
from videojobs.retries import Failure, closed
from videojobs.settings import Settings
from videojobs.transports import _postgrest as wire
from videojobs.transports._protocol import (
    AsyncPollingListener,
    Channel,
    PollingListener,
    Token,
    current_token,
    current_token_async,
)

if TYPE_CHECKING:
    from videojobs.transports._realtime import AsyncRealtimeListener, Line, RealtimeListener


class SupabaseTransport:
    """Calls functions through PostgREST."""

    can_repeat = True
    batch_size = BATCH_LIMIT

    def __init__(
        self,
        postgrest: SyncPostgrestClient,
        *,
        token: Token | None = None,
        user_key: str | None = None,
        client: Client | None = None,
        reopen: Callable[[], SupabaseTransport] | None = None,
        owns_session: bool = False,
        hears_realtime: bool = False,
    ) -> None:
        self.client = client
        """The supabase-py client, if there is one: for storage and the like."""
        self._postgrest = postgrest
        self._headers = {**dict(postgrest.headers), "Content-Type": "application/json"}
        self._url = str(postgrest.base_url).rstrip("/")
        self._token = token
        self._user_key = user_key
        self._reopen = reopen
        self._owns_session = owns_session
        self._hears_realtime = hears_realtime
        self._line: Line | None = None
        self._pid = os.getpid()
        self._inherited: object = None
        self._worked = False

    @classmethod
    def open(cls, url: str, key: str, settings: Settings) -> Self:
        """Connect with a client of our own: HTTP/1.1 (with HTTP/2, a server's GOAWAY makes
        httpcore drop replies of committed inserts), our timeouts, no second retry inside."""
        wire.require_service_key(key)
        http = httpx.Client(
            http2=False, timeout=wire.timeout(settings), limits=wire.limits(settings)
        )
        options = SyncClientOptions(
            httpx_client=http,
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
        )
        client = _create(Client, url, key, options)
        return cls(
            client.postgrest,
            client=client,
            user_key=settings.publishable_key,
            reopen=lambda: cls.open(url, key, settings),
            owns_session=True,
            hears_realtime=settings.realtime,
        )

    @classmethod
    def of_client(cls, client: Client, settings: Settings) -> Self:
        """Use the caller's client, its session and its headers, unchanged."""
        return cls(
            client.postgrest,
            client=client,
            user_key=settings.publishable_key,
            hears_realtime=settings.realtime,
        )

    @property
    def is_user(self) -> bool:
        return self._token is not None

    def send(self, call: Call[Any]) -> Rows:
        self._be_in_this_process()
        try:
            return self._post(call, self._current_headers())
        except Failure as failure:
            if failure.status != 401 or not callable(self._token):
                raise
            # The token may have expired since: ask for a fresh one, once.
            return self._post(call, self._current_headers())

    def _post(self, call: Call[Any], headers: dict[str, str]) -> Rows:
        session = self._postgrest.session
        if session.is_closed:
            raise closed()
        try:
            response = session.post(
                wire.url_of(self._url, call), content=wire.body_of(call), headers=headers
            )
        except wire.ERRORS as error:
            failure = wire.failure_of(error, worked_before=self._worked)
            raise failure from wire.cause(error, failure)
        rows = wire.rows_of(response)
        self._worked = True
        return rows

    def _current_headers(self) -> dict[str, str]:
        if self._token is None:
            return self._headers
        return wire.headers_with(self._headers, current_token(self._token))

    def _be_in_this_process(self) -> None:
        # After a fork: a socket that two processes read from gives each the other's answers.
        # The parent's session is kept, and left alone.
        if self._pid != os.getpid() and self._reopen is not None:
            inherited = self._postgrest
            self.__dict__.update(self._reopen().__dict__)
            self._inherited = inherited

    def listen(self, channel: Channel) -> PollingListener | RealtimeListener:
        # Of Realtime's connections there are few: not one for each who waits for a job.
        return self.announcements(channel) if channel is Channel.QUEUE else PollingListener()

    def announcements(self, *channels: Channel) -> PollingListener | RealtimeListener:
        if self.client is None or not self._hears_realtime:
            return PollingListener()
        from videojobs.transports._realtime import Line, RealtimeListener

        self._line = self._line or Line.of(self.client)
        return RealtimeListener(self._line, *channels)

    def as_user(self, token: Token) -> SupabaseTransport:
        self._be_in_this_process()
        postgrest = SyncPostgrestClient(
            self._url,
            headers=_user_headers(self._headers, self._user_key),
            http_client=self._postgrest.session,
        )
        reopen = None if self._reopen is None else partial(self.as_user, token)
        return SupabaseTransport(postgrest, token=token, user_key=self._user_key, reopen=reopen)

    def close(self) -> None:
        if self._owns_session and self._pid == os.getpid():
            self._postgrest.session.close()


class AsyncSupabaseTransport:
    """Calls functions through PostgREST, for asyncio."""

    can_repeat = True
    batch_size = BATCH_LIMIT

    def __init__(
        self,
        postgrest: AsyncPostgrestClient,
        *,
        token: Token | None = None,
        user_key: str | None = None,
        client: AsyncClient | None = None,
        owns_session: bool = False,
        hears_realtime: bool = False,
    ) -> None:
        self.client = client
        """The supabase-py client, if there is one: for storage and the like."""
        self._postgrest = postgrest
        self._headers = {**dict(postgrest.headers), "Content-Type": "application/json"}
        self._url = str(postgrest.base_url).rstrip("/")
        self._token = token
        self._user_key = user_key
        self._owns_session = owns_session
        self._hears_realtime = hears_realtime
        self._line: Line | None = None
        self._worked = False

    @classmethod
    def open(cls, url: str, key: str, settings: Settings) -> Self:
        """Connect with a client of our own; see `SupabaseTransport.open`."""
        wire.require_service_key(key)
        http = httpx.AsyncClient(
            http2=False, timeout=wire.timeout(settings), limits=wire.limits(settings)
        )
        options = AsyncClientOptions(
            httpx_client=http,
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
        )
        client = _create(AsyncClient, url, key, options)
        return cls(
            client.postgrest,
            client=client,
            user_key=settings.publishable_key,
            owns_session=True,
            hears_realtime=settings.realtime,
        )

    @classmethod
    def of_client(cls, client: AsyncClient, settings: Settings) -> Self:
        """Use the caller's client, its session and its headers, unchanged."""
        return cls(
            client.postgrest,
            client=client,
            user_key=settings.publishable_key,
            hears_realtime=settings.realtime,
        )

    @property
    def is_user(self) -> bool:
        return self._token is not None

    async def send(self, call: Call[Any]) -> Rows:
        try:
            return await self._post(call, await self._current_headers())
        except Failure as failure:
            if failure.status != 401 or not callable(self._token):
                raise
            return await self._post(call, await self._current_headers())

    async def _post(self, call: Call[Any], headers: dict[str, str]) -> Rows:
        session = self._postgrest.session
        if session.is_closed:
            raise closed()
        try:
            response = await session.post(
                wire.url_of(self._url, call), content=wire.body_of(call), headers=headers
            )
        except wire.ERRORS as error:
            failure = wire.failure_of(error, worked_before=self._worked)
            raise failure from wire.cause(error, failure)
        rows = wire.rows_of(response)
        self._worked = True
        return rows

    async def _current_headers(self) -> dict[str, str]:
        if self._token is None:
            return self._headers
        return wire.headers_with(self._headers, await current_token_async(self._token))

    def listen(self, channel: Channel) -> AsyncPollingListener | AsyncRealtimeListener:
        return self.announcements(channel) if channel is Channel.QUEUE else AsyncPollingListener()

    def announcements(self, *channels: Channel) -> AsyncPollingListener | AsyncRealtimeListener:
        if self.client is None or not self._hears_realtime:
            return AsyncPollingListener()
        from videojobs.transports._realtime import AsyncRealtimeListener, Line

        self._line = self._line or Line.of(self.client)
        return AsyncRealtimeListener(self._line, *channels)

    def as_user(self, token: Token) -> AsyncSupabaseTransport:
        postgrest = AsyncPostgrestClient(
            self._url,
            headers=_user_headers(self._headers, self._user_key),
            http_client=self._postgrest.session,
        )
        return AsyncSupabaseTransport(postgrest, token=token, user_key=self._user_key)

    async def close(self) -> None:
        if self._owns_session:
            await self._postgrest.session.aclose()


def _create(kind: Callable[..., Any], url: str, key: str, options: Any) -> Any:
    try:
        client = kind(url, key, options)
        # Made on first use, which is when a key with odd characters is found out.
        _ = client.postgrest
        return client
    except (ValueError, TypeError, SupabaseException) as error:
        # supabase-py's own message is kept only by its kind: it may repeat the key.
        raise ConfigurationError(
            f"supabase-py refused the settings ({type(error).__name__}): check that SUPABASE_URL "
            "is a URL such as https://project.supabase.co and that the key is not empty"
        ) from None


def _user_headers(headers: dict[str, str], user_key: str | None) -> dict[str, str]:
    return {**headers, "apikey": user_key} if user_key else dict(headers)
