"""What the two Supabase transports share: requests out, answers and failures in. No I/O."""

from __future__ import annotations

import base64
import json
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx
from pydantic_core import from_json, to_json

from videojobs.calls import Call, Json
from videojobs.errors import ConfigurationError
from videojobs.models import Rows
from videojobs.retries import Failure, Sent
from videojobs.settings import Settings

_SHOWN_TEXT_LENGTH = 200
#: What sending a request may raise.
ERRORS = (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError)


def timeout(settings: Settings) -> httpx.Timeout:
    """As an `httpx.Timeout`: supabase-py cuts plain numbers down to whole seconds, 0.5 to 0."""
    return httpx.Timeout(
        settings.read_timeout_seconds,
        connect=settings.connect_timeout_seconds,
        pool=settings.connect_timeout_seconds,
    )


def limits(settings: Settings) -> httpx.Limits:
    """Enough connections for the manager's threads, kept for the pauses between heartbeats."""
    return httpx.Limits(
        max_connections=settings.pool_size * 2,
        max_keepalive_connections=settings.pool_size,
        keepalive_expiry=30,
    )


def url_of(base_url: str, call: Call[Any]) -> str:
    """Where the function is."""
    columns = f"?select={','.join(call.columns)}" if call.columns else ""
    return f"{base_url}/rpc/{call.function}{columns}"


def body_of(call: Call[Any]) -> bytes:
    """The named arguments as JSON."""
    plain = {
        name: value.value if isinstance(value, Json) else value
        for name, value in call.arguments.items()
    }
    # What is no number, such as the loudness of silence, is absent in JSON.
    return to_json(plain, inf_nan_mode="null")


def headers_with(headers: dict[str, str], token: str) -> dict[str, str]:
    """With the user's token, and no second Authorization header in another case."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Failure("the token is empty, or no token", sent=Sent.ANSWERED, status=401)
    kept = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return {**kept, "Authorization": f"Bearer {token}"}


def rows_of(response: httpx.Response) -> Rows:
    """The rows of a good answer, or a `Failure`."""
    if not response.is_success:
        raise _failure_of_answer(response)
    try:
        rows: object = from_json(response.content)
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        raise Failure(
            f"HTTP {response.status_code}, but no JSON rows: {_shown(response)}; "
            "is there a proxy or another site at this URL?",
            sent=Sent.ANSWERED,
            status=response.status_code,
        )
    return rows  # pyright: ignore[reportUnknownVariableType] # decoded by the call


def _failure_of_answer(response: httpx.Response) -> Failure:
    told: dict[str, Any] = {}
    try:
        body: object = from_json(response.content)
        if isinstance(body, dict):
            told = body  # pyright: ignore[reportUnknownVariableType] # an error object of PostgREST or a gateway
    except ValueError:
        pass
    message = told.get("message") or told.get("msg") or told.get("error")
    return Failure(
        str(message) if message else f"HTTP {response.status_code} {_shown(response)}",
        sent=Sent.ANSWERED,
        status=response.status_code,
        code=_code(told, response),
        hint=told.get("hint"),
        retry_after=_retry_after(response.headers.get("Retry-After")),
    )


def _code(told: dict[str, Any], response: httpx.Response) -> str | None:
    if (code := told.get("code")) is not None:
        return str(code)  # it may be empty, which tells something too
    # Newer servers name their code here too, where a HEAD or a gateway hides the body.
    for part in response.headers.get("Proxy-Status", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "error" and value.startswith("PGRST"):
            return value
    return None


def _shown(response: httpx.Response) -> str:
    if "html" in response.headers.get("Content-Type", ""):
        return (
            f"{HTTPStatus(response.status_code).phrase} (an HTML page)"
            if _is_known(response.status_code)
            else "an HTML page"
        )
    return " ".join(response.text.split())[:_SHOWN_TEXT_LENGTH] or "an empty answer"


def _is_known(status: int) -> bool:
    return status in HTTPStatus._value2member_map_


def _retry_after(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def failure_of(error: Exception, *, worked_before: bool) -> Failure:
    """The same for an exception of httpx. Header values, which hold keys, are never repeated."""
    kind = type(error).__name__
    match error:
        case httpx.ConnectError() if _is_unknown_host(error) and not worked_before:
            return Failure(f"{error}: check the host in SUPABASE_URL", sent=Sent.NEVER)
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Failure(f"{kind}: {error or 'no connection in time'}", sent=Sent.NO)
        case (
            httpx.UnsupportedProtocol()
            | httpx.InvalidURL()
            | httpx.LocalProtocolError()
            | ValueError()
            | RuntimeError()
        ):
            return Failure(
                f"{kind}: the request cannot be sent; check the URL and the key for stray "
                "characters",
                sent=Sent.NEVER,
            )
        case _:
            return Failure(f"{kind}: {error or 'no reply in time'}", sent=Sent.PERHAPS)


def cause(error: Exception, failure: Failure) -> Exception | None:
    """What a traceback may show: an illegal header's error quotes the header, and so a key."""
    return None if failure.sent is Sent.NEVER else error


def _is_unknown_host(error: BaseException) -> bool:
    cause: BaseException | None = error
    seen: set[int] = set()  # a chain of causes may be a ring
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, socket.gaierror):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False


def require_service_key(key: str) -> None:
    """Refuse a key that can do nothing without a signed-in user."""
    if key.startswith("sb_publishable_") or _role_in(key) == "anon":
        raise ConfigurationError(
            "this is a publishable (anon) key, which may not create or run jobs by itself; "
            "set SUPABASE_SECRET_KEY or SUPABASE_SERVICE_ROLE_KEY for a backend or worker, "
            "and use manager.as_user(token) for a signed-in user"
        )


def _role_in(key: str) -> str | None:
    """The role of a legacy key, which is a JWT. Read, not verified: the server does that."""
    parts = key.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return str(claims["role"])
    except (ValueError, KeyError, TypeError):
        return None
