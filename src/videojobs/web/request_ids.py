"""The name of a request: taken from whoever calls, given back, and in each line of our log."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

HEADER = "X-Request-ID"
REQUEST_ID: ContextVar[str] = ContextVar("videojobs_request_id", default="-")
# Nothing that could begin another line of a log, or another header.
_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def request_id_of(connection: HTTPConnection) -> str:
    """The caller's own name for the request, if it is a plain one, else a new name."""
    given = connection.headers.get(HEADER, "")
    return given if _GIVEN.fullmatch(given) else secrets.token_hex(8)
