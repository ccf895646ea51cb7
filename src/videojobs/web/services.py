"""What all routes of one router share, and how a request comes to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from videojobs import calls
from videojobs.access import Caller, TokenVerifier
from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import AuthenticationError, ConfigurationError, VideoJobsError
from videojobs.settings import Settings, WebSettings
from videojobs.storage import Storage, open_storage
from videojobs.web import problems
from videojobs.web.limits import LimitedBody, RateLimit
from videojobs.web.live import Streams
from videojobs.web.metrics import Metrics
from videojobs.web.request_ids import HEADER, REQUEST_ID, request_id_of

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response

logger = logging.getLogger("videojobs.web")

ManagerFactory = Callable[[], AsyncVideoJobManager]
Handler = Callable[["Request"], Awaitable["Response"]]
_SEEN_SECONDS = 1.0
_USUAL_FOLDER = Settings().storage_dir
SCOPE_KEY = "videojobs.services"


class Authenticator(Protocol):
    """Tells who a token belongs to, as `videojobs.access.TokenVerifier` does."""

    async def verify(self, token: str) -> Caller:
        """The caller; raises `videojobs.AuthenticationError`."""
        ...


@dataclass(slots=True)
class _Opened:
    manager: AsyncVideoJobManager | None = None
    storage: Storage | None = None
    authenticator: Authenticator | None = None
    streams: Streams | None = None


class Services:
    """The manager, the storage and the limits of one router. Each is made when it is first needed.

    Args:
        manager_factory: Makes the manager, which needs service rights; called once, within the loop
            that serves. It is closed with the router's lifespan.
        auth: Who verifies tokens; the manager's settings say it if not given.
        storage: Where uploads go and outputs are; likewise.
        settings: What is taken from whom; likewise.
    """

    def __init__(
        self,
        manager_factory: ManagerFactory,
        *,
        auth: Authenticator | None = None,
        storage: Storage | None = None,
        settings: WebSettings | None = None,
    ) -> None:
        self._manager_factory = manager_factory
        self._given_settings = settings
        self._opened = _Opened(storage=storage, authenticator=auth)
        self._rate_limit: RateLimit | None = None
        self._callers_settings: Settings | None = None
        self._looking = asyncio.Lock()
        self._looked_at: float | None = None
        self._unseen: VideoJobsError | None = None
        self.metrics = Metrics()

    @property
    def manager(self) -> AsyncVideoJobManager:
        """The service's manager. Routes use it for operators' work alone."""
        if self._opened.manager is None:
            self._opened.manager = self._manager_factory()
        return self._opened.manager

    def manager_as(self, caller: Caller) -> AsyncVideoJobManager:
        """A manager with the caller's rights, and no more patience than a caller has."""
        manager = self.manager.as_user(caller.token)
        if self._callers_settings is None:
            self._callers_settings = replace(
                manager.settings, deadline_seconds=self.web.deadline_seconds
            )
        manager.settings = self._callers_settings
        return manager

    @property
    def settings(self) -> Settings:
        """The manager's."""
        return self.manager.settings

    @property
    def web(self) -> WebSettings:
        """What is taken from whom."""
        return self._given_settings or self.settings.web

    @property
    def storage(self) -> Storage:
        """Where uploads go and outputs are."""
        if self._opened.storage is None:
            if self.settings.storage is None and self.settings.storage_dir == _USUAL_FOLDER:
                # Named by nobody: a folder that was is not made, for it may be a mount that is gone.
                _USUAL_FOLDER.mkdir(exist_ok=True)
            self._opened.storage = open_storage(None, self.settings)
        return self._opened.storage

    @property
    def authenticator(self) -> Authenticator:
        """Who verifies tokens."""
        if self._opened.authenticator is None:
            self._opened.authenticator = TokenVerifier.from_settings(self.settings)
        return self._opened.authenticator

    @property
    def rate_limit(self) -> RateLimit:
        """How many requests each caller may still make."""
        if self._rate_limit is None:
            self._rate_limit = RateLimit(self.web.requests_per_minute)
        return self._rate_limit

    async def caller_of(self, connection: HTTPConnection) -> Caller:
        """Who calls, by the token in the ``Authorization`` header.

        Raises:
            AuthenticationError: There is no token, or it is refused.
            ProblemError: Too many requests.
        """
        return await self.caller_with(connection, token_of(connection))

    async def caller_with(self, connection: HTTPConnection, token: str | None) -> Caller:
        """The same by a token that came in another way, such as a WebSocket's first message."""
        try:
            if not token:
                raise AuthenticationError("sign in first: send Authorization: Bearer <token>")
            caller = await self.authenticator.verify(token)
        except AuthenticationError:
            self.rate_limit.take(address_of(connection))
            raise
        self.rate_limit.take(caller.user_id)
        return caller

    async def streams(self) -> Streams:
        """The open streams of changes."""
        if self._opened.streams is None:
            # Kept before it is started: two requests that come at once shall share one.
            self._opened.streams = Streams(self.manager, self.web.streams_per_user)
            await self._opened.streams.start()
        return self._opened.streams

    async def look_at_database(self) -> None:
        """The database has answered within the last second, or does so now. One looks for all.

        Raises:
            VideoJobsError: It does not.
        """
        async with self._looking:
            now = time.monotonic()
            if self._looked_at is None or now - self._looked_at > _SEEN_SECONDS:
                self._looked_at, self._unseen = now, None
                try:
                    await self.manager.perform(calls.check(), deadline_seconds=0)
                except VideoJobsError as error:
                    self._unseen = error
            if self._unseen is not None:
                raise self._unseen

    async def close(self) -> None:
        """The manager is closed, and made anew when it is needed again."""
        if self._opened.streams is not None:
            await self._opened.streams.close()
            self._opened.streams = None
        if self._opened.manager is not None:
            await self._opened.manager.close()
            self._opened.manager = None

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncGenerator[None]:
        """The manager lasts as long as the application."""
        del app
        try:
            yield
        finally:
            await self.close()

    async def serve(self, handler: Handler, request: Request, template: str) -> Response:
        """The handler's answer, or the problem that it met with; never an exception."""
        started = time.perf_counter()
        request.scope[SCOPE_KEY] = self
        request_id = request_id_of(request)
        reset = REQUEST_ID.set(request_id)
        try:
            response = await handler(self._limited(request))
        except Exception as error:  # noqa: BLE001 # it is logged, and answered with 500
            response = problems.reply_to(error)
        finally:
            REQUEST_ID.reset(reset)
        response.headers[HEADER] = request_id
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        seconds = time.perf_counter() - started
        self.metrics.note(request.method, template, response.status_code, seconds)
        if logger.isEnabledFor(logging.INFO):
            _note(request, template, response, seconds, request_id)
        return response

    def _limited(self, request: Request) -> Request:
        if request.method in {"GET", "HEAD"}:
            return request
        web = self.web
        body = LimitedBody(request, max_bytes=web.max_body_bytes, idle_seconds=web.idle_seconds)
        return body.request


def services_of(connection: HTTPConnection) -> Services:
    """What the routes share."""
    services = connection.scope.get(SCOPE_KEY)
    if not isinstance(services, Services):
        raise ConfigurationError("this route is not part of videojobs.web.router(...)")
    return services


def token_of(connection: HTTPConnection) -> str | None:
    """The bearer token, if one was sent."""
    scheme, _, token = connection.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def address_of(connection: HTTPConnection) -> str:
    """Where the caller is, as the server sees it."""
    return connection.client.host if connection.client else "unknown"


def _note(
    request: Request, template: str, response: Response, seconds: float, request_id: str
) -> None:
    # The route's template, not the path or the query, which may hold what belongs to no log.
    logger.info(
        "%s %s %d %.1f ms request_id=%s",
        request.method,
        template,
        response.status_code,
        seconds * 1000,
        request_id,
    )
