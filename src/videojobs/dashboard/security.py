"""What every answer of the dashboard carries, and which requests it does not take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Vue compiles its templates in the browser, and NiceGUI writes its start into the page.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        # Outputs may come by a signed address of the storage.
        "img-src 'self' data: blob: https: {storage}",
        "media-src 'self' blob: https: {storage}",
        "connect-src 'self' ws: wss:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_LARGEST_BODY = 1_048_576
"""Of what a page says at once where WebSockets do not get through, and more than any form of ours."""
_SOCKET = "/_nicegui_ws/"
_OTHER_NAME = (
    "This dashboard runs on the embedded stack and answers to localhost and 127.0.0.1 only.\n"
)


class Guard:
    """Puts the headers on each answer; on the embedded stack, answers to this machine's names only.

    A development sign-in asks for no password, so a page elsewhere must not reach it by a name of
    its own that leads to this machine (DNS rebinding).
    """

    def __init__(self, app: App, *, only_this_machine: bool, project: str | None) -> None:
        self._app = app
        self._only_this_machine = only_this_machine
        # A project of one's own may do without TLS.
        storage = project if project and project.startswith("http://") else ""
        self._headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(storage=storage)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        if self._only_this_machine and host_of(headers) not in _LOOPBACK:
            return await _refuse(scope, receive, send, 421, _OTHER_NAME)
        # NiceGUI's socket answers the pages of any site, over WebSocket and over HTTP.
        is_socket = scope["type"] == "websocket" or _SOCKET in scope["path"]
        if is_socket and not comes_from_here(headers):
            return await _refuse(scope, receive, send, 403, "It was asked from another site.\n")
        if _announced_size(headers) > _LARGEST_BODY:
            return await _refuse(scope, receive, send, 413, "It is larger than any form here.\n")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    answer.setdefault(name, value)
            await send(message)

        return await self._app(scope, _limited(receive), send_guarded)


def host_of(headers: Mapping[str, str]) -> str | None:
    """The name by which the dashboard was asked for, without its port; none if it is no name."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return None


def comes_from_here(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent the request from a page of ours, or no browser sent it."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False


def _announced_size(headers: Mapping[str, str]) -> int:
    told = headers.get("content-length", "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 20 else 0


def _limited(receive: Receive) -> Receive:
    """Ends a body that goes on for too long, as if the caller had left."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
        return message if size <= _LARGEST_BODY else {"type": "http.disconnect"}

    return limited


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await PlainTextResponse(reason, status_code=status)(scope, receive, send)
