"""Through PostgREST, on supabase-py's clients.

The clients give the address, the headers and the connection pool; the requests are our own, since
supabase-py's `APIError` has neither the HTTP status nor Retry-After, and its builder takes a
proxy's HTML page under status 200 for an answer.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Self

import httpx
from postgrest import AsyncPostgrestClient, SyncPostgrestClient
from supabase import AsyncClient, Client, SupabaseException
from supabase.lib.client_options import AsyncClientOptions, SyncClientOptions

from videojobs.calls import Call
from videojobs.errors import ConfigurationError
from videojobs.models import Rows
from videojobs.retries import Failure
from videojobs.settings import Settings
from videojobs.transports import _postgrest as wire
from videojobs.transports._protocol import (
    AsyncPollingListener,
    Channel,
    PollingListener,
    Token,
)


class SupabaseTransport:
    """Calls functions through PostgREST."""

    can_repeat = True

    def __init__(
        self,
        postgrest: SyncPostgrestClient,
        *,
        token: Token | None = None,
        user_key: str | None = None,
        client: Client | None = None,
        reopen: Callable[[], SupabaseTransport] | None = None,
    ) -> None:
        self.client = client
        """The supabase-py client, if there is one: for storage and the like."""
        self._postgrest = postgrest
        self._headers = {**dict(postgrest.headers), "Content-Type": "application/json"}
        self._url = str(postgrest.base_url).rstrip("/")
        self._token = token
        self._user_key = user_key
        self._reopen = reopen
        self._pid = os.getpid()
        self._worked = False
        if isinstance(token, str):
            self._headers = wire.headers_with(self._headers, token)

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
        )

    @classmethod
    def of_client(cls, client: Client, settings: Settings) -> Self:
        """Use the caller's client, its session and its headers, unchanged."""
        return cls(client.postgrest, client=client, user_key=settings.publishable_key)

    @property
    def is_user(self) -> bool:
        return self._token is not None

    def send(self, call: Call[Any]) -> Rows:
        if self._pid != os.getpid():
            self._after_fork()
        try:
            return self._post(call, self._current_headers())
        except Failure as failure:
            if failure.status != 401 or not callable(self._token):
                raise
            # The token may have expired since: ask for a fresh one, once.
            return self._post(call, self._current_headers())

    def _post(self, call: Call[Any], headers: dict[str, str]) -> Rows:
        try:
            response = self._postgrest.session.post(
                wire.url_of(self._url, call), content=wire.body_of(call), headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:
            raise wire.failure_of(error, worked_before=self._worked) from error
        rows = wire.rows_of(response)
        self._worked = True
        return rows

    def _current_headers(self) -> dict[str, str]:
        if not callable(self._token):
            return self._headers
        token = self._token()
        if not isinstance(token, str):
            raise ConfigurationError("an async token source needs the AsyncVideoJobManager")
        return wire.headers_with(self._headers, token)

    def _after_fork(self) -> None:
        # A socket that two processes read from gives each the other's answers.
        if self._reopen is not None:
            self.__dict__.update(self._reopen().__dict__)

    def listen(self, channel: Channel) -> PollingListener:
        return PollingListener()

    def as_user(self, token: Token) -> SupabaseTransport:
        postgrest = SyncPostgrestClient(
            self._url,
            headers=_user_headers(self._headers, self._user_key),
            http_client=self._postgrest.session,
        )
        return SupabaseTransport(postgrest, token=token, user_key=self._user_key)

    def close(self) -> None:
        if self._reopen is not None:
            self._postgrest.session.close()


class AsyncSupabaseTransport:
    """Calls functions through PostgREST, for asyncio."""

    can_repeat = True

    def __init__(
        self,
        postgrest: AsyncPostgrestClient,
        *,
        token: Token | None = None,
        user_key: str | None = None,
        client: AsyncClient | None = None,
        owns_session: bool = False,
    ) -> None:
        self.client = client
        """The supabase-py client, if there is one: for storage and the like."""
        self._postgrest = postgrest
        self._headers = {**dict(postgrest.headers), "Content-Type": "application/json"}
        self._url = str(postgrest.base_url).rstrip("/")
        self._token = token
        self._user_key = user_key
        self._owns_session = owns_session
        self._worked = False
        if isinstance(token, str):
            self._headers = wire.headers_with(self._headers, token)

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
            client.postgrest, client=client, user_key=settings.publishable_key, owns_session=True
        )

    @classmethod
    def of_client(cls, client: AsyncClient, settings: Settings) -> Self:
        """Use the caller's client, its session and its headers, unchanged."""
        return cls(client.postgrest, client=client, user_key=settings.publishable_key)

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
        try:
            response = await self._postgrest.session.post(
                wire.url_of(self._url, call), content=wire.body_of(call), headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:
            raise wire.failure_of(error, worked_before=self._worked) from error
        rows = wire.rows_of(response)
        self._worked = True
        return rows

    async def _current_headers(self) -> dict[str, str]:
        if not callable(self._token):
            return self._headers
        token = self._token()
        return wire.headers_with(
            self._headers, await token if inspect.isawaitable(token) else token
        )

    def listen(self, channel: Channel) -> AsyncPollingListener:
        return AsyncPollingListener()

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
        return kind(url, key, options)
    except (ValueError, TypeError, SupabaseException) as error:
        # supabase-py's own message is kept only by its kind: it may repeat the key.
        raise ConfigurationError(
            f"supabase-py refused the settings ({type(error).__name__}): check that SUPABASE_URL "
            "is a URL such as https://project.supabase.co and that the key is not empty"
        ) from None


def _user_headers(headers: dict[str, str], user_key: str | None) -> dict[str, str]:
    return {**headers, "apikey": user_key} if user_key else dict(headers)
