"""Answers that a caller may keep, and is told to be unchanged. Nobody else may keep them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

#: A caller's own cache, which asks each time; and no cache of one caller answers for another.
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
_JSON = "application/json"


def json_answer(
    body: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON that was made once, by pydantic, and is not looked at again."""
    return Response(body, status, {**PRIVATE, **(headers or {})}, _JSON)


def tagged_answer(request: Request, body: bytes) -> Response:
    """The same with an ETag; 304 without a body where the caller has it already.

    The tag is made of the body, and only after the caller was allowed to read it: nobody learns of
    a job by guessing its tag.
    """
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    if _is_named(tag, request.headers.get("If-None-Match")):
        return Response(status_code=304, headers={**PRIVATE, "ETag": tag})
    return Response(body, 200, {**PRIVATE, "ETag": tag}, _JSON)


def _is_named(tag: str, named: str | None) -> bool:
    # Compared weakly, as RFC 9110 wants it here: proxies that compress make tags weak.
    if named is None:
        return False
    tags = {each.strip().removeprefix("W/") for each in named.split(",")}
    return tag in tags or named.strip() == "*"
