"""The same stream of changes over a WebSocket."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from videojobs.errors import AuthenticationError, SupabaseValidationError, VideoJobsError
from videojobs.web.live import SEND_SECONDS, LiveQuery, taken
from videojobs.web.problems import ProblemError

if TYPE_CHECKING:
    from videojobs.access import Caller
    from videojobs.live import Following
    from videojobs.web.services import Services

logger = logging.getLogger("videojobs.web")

PATH = "/api/v1/user/jobs/ws"
PROTOCOL = "videojobs.v1"
_TOKEN_PREFIX = "bearer."  # noqa: S105 # stands before a token
_HELLO_SECONDS = 10.0
_LARGEST_MESSAGE = 32_768

# Of our own: 4000 and up are free for applications, and 1008 would say little.
BAD_MESSAGE = 4400
NOT_SIGNED_IN = 4401
NO_HELLO = 4408
TOO_MANY = 4429
TOO_SLOW = 4413
UNAVAILABLE = 1013


class Hello(BaseModel):
    """What a client says first; later, only a token once more."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["follow", "token"]
    token: str | None = Field(default=None, max_length=16_384, repr=False)
    since: str | None = Field(default=None, max_length=5000)
    filter: LiveQuery = Field(default_factory=LiveQuery)


def add_socket(api: APIRouter, services: Services) -> None:
    """The WebSocket of a user's jobs, beside the stream of events."""

    async def follow_jobs(socket: WebSocket) -> None:
        await _Conversation(socket, services).run()

    api.add_api_websocket_route(PATH, follow_jobs)


class _Closing(Exception):  # noqa: N818 # an end, not always an error
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Conversation:
    def __init__(self, socket: WebSocket, services: Services) -> None:
        self._socket = socket
        self._services = services
        self._caller: Caller | None = None
        self._expires_at = datetime.now(UTC)
        self._renewed = asyncio.Event()

    async def run(self) -> None:
        """Until one of the two leaves, the token ends, or the reader is too slow."""
        offered: list[str] = self._socket.scope.get("subprotocols", [])
        await self._socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
        try:
            await self._talk(_token_in(offered))
        except _Closing as end:
            await self._close(end.code, end.reason)
        except (AuthenticationError, ProblemError) as error:
            is_crowd = isinstance(error, ProblemError)
            await self._close(TOO_MANY if is_crowd else NOT_SIGNED_IN, str(error))
        except WebSocketDisconnect:
            pass
        except VideoJobsError as error:
            logger.warning("a WebSocket could not be served: %s", error)
            await self._close(UNAVAILABLE, "The database could not be reached. Try again later.")

    async def _talk(self, token: str | None) -> None:
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await self._message()
        except TimeoutError:
            raise _Closing(NO_HELLO, 'Say {"type": "follow"} first.') from None
        if hello.type != "follow":
            raise _Closing(BAD_MESSAGE, 'Say {"type": "follow"} first.')
        await self._sign_in(hello.token or token)
        assert self._caller is not None  # noqa: S101 # it has signed in
        streams = await self._services.streams()
        since = hello.since
        try:
            async with streams.follow(self._caller, hello.filter, since) as following:
                await self._both_ways(following)
        except SupabaseValidationError as error:
            raise _Closing(BAD_MESSAGE, str(error)) from None

    async def _both_ways(self, following: Following) -> None:
        ways = [asyncio.create_task(self._tell(following)), asyncio.create_task(self._listen())]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _sign_in(self, token: str | None) -> None:
        caller = await self._services.caller_with(self._socket, token)
        if self._caller is not None and caller.user_id != self._caller.user_id:
            raise _Closing(NOT_SIGNED_IN, "This is another user's token: open another WebSocket.")
        if self._caller is not None and caller.is_admin != self._caller.is_admin:
            # What one sees was asked for at the beginning.
            raise _Closing(NOT_SIGNED_IN, "Your rights have changed: open another WebSocket.")
        self._caller, self._expires_at = caller, caller.expires_at

    async def _listen(self) -> None:
        while True:
            message = await self._message()
            if message.type != "token":
                raise _Closing(BAD_MESSAGE, 'Only {"type": "token"} may follow.')
            await self._sign_in(message.token)

    async def _tell(self, following: Following) -> None:
        while True:
            expires_at = self._expires_at
            changes = await taken(following, expires_at)
            if changes is None:
                if self._expires_at > expires_at:
                    continue
                await self._send({"type": "expired"})
                raise _Closing(NOT_SIGNED_IN, "The token has expired.")
            for change in changes:
                # The id goes first; the rest is the same for everybody.
                head = b'{"id":%s,' % to_json(change.id)
                await self._send_text(head + change.to_json()[1:])
            if not changes and following.has_ended:
                raise _Closing(TOO_SLOW, "The stream has ended; go on from the last id.")
            if not changes:
                await self._send({"id": following.cursor, "type": "alive"})

    async def _message(self) -> Hello:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text: str | bytes = message.get("text") or message.get("bytes") or ""
        if len(text) > _LARGEST_MESSAGE:
            raise _Closing(BAD_MESSAGE, f"A message may have {_LARGEST_MESSAGE} bytes.")
        try:
            return Hello.model_validate_json(text)
        except ValidationError:
            # Without pydantic's words, which would repeat the token.
            raise _Closing(BAD_MESSAGE, "The message is none that is known here.") from None

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_text(to_json(message))

    async def _send_text(self, text: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_text(text.decode())
        except TimeoutError:
            raise _Closing(TOO_SLOW, "Nothing was taken for too long.") from None

    async def _close(self, code: int, reason: str) -> None:
        # A reason has room for 123 bytes. Whoever has gone, or takes nothing, hears none of it.
        if self._socket.application_state is not WebSocketState.CONNECTED:
            return
        with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(5):
                await self._socket.close(code, reason.encode()[:123].decode(errors="ignore"))


def _token_in(offered: list[str]) -> str | None:
    # Browsers can set nothing else in a handshake. It is not answered with, so no proxy logs it.
    tokens = [each for each in offered if each.startswith(_TOKEN_PREFIX)]
    return tokens[0].removeprefix(_TOKEN_PREFIX) if tokens else None
