"""What OpenAPI tells of answers: each route names every one that it can give."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from videojobs.web import problems
from videojobs.web.request_ids import HEADER

Responses = dict[int | str, dict[str, Any]]

_REQUEST_ID = {
    "description": "Names the request in our log. Yours, if you sent a plain one.",
    "schema": {"type": "string"},
}
_HEADERS: dict[str, dict[str, Any]] = {
    HEADER: _REQUEST_ID,
    "ETag": {
        "description": "Names this state; send it as If-None-Match.",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'The pages beside this one, as `rel="next"` and the like, relative to it.',
        "schema": {"type": "string"},
    },
    "Location": {"description": "Where it is, relative to this.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}},
}
_WHY = {
    304: "You have this state already.",
    400: "The request cannot be read.",
    401: "There is no token, or it is not valid, or not a signed-in user's.",
    403: "You may see it, but not do this.",
    404: "There is none, or none that you may see: the two look alike.",
    408: "Nothing of the request came for a while.",
    409: "The job's status, or what the Idempotency-Key names already, does not allow it.",
    413: "It is larger than allowed.",
    415: "It is not of a kind that is taken.",
    416: "There is nothing in this range.",
    422: "Parts of it were refused; `errors` names them.",
    429: "Too many requests; Retry-After says when to come again.",
    500: "Something is wrong here.",
    503: "The database or the storage is not there; Retry-After says when to come again.",
}
# Written out: FastAPI knows models of one media type for each route only.
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:videojobs:job-not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "allowed"],
                "properties": {"field": {"type": "string"}, "allowed": {"type": "string"}},
            },
        },
    },
}
_ALWAYS = (401, 422, 429, 500, 503)
_WITH_BODY = (400, 408, 413)
_OF_PROBLEM = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def answers(
    model: type[BaseModel] | None,
    *also: int,
    status: int = 200,
    described: str = "Done.",
    headers: tuple[str, ...] = (),
    has_body: bool = False,
) -> Responses:
    """What a route answers: its model, the problems that any route has, and those named."""
    found: Responses = {
        status: {
            "description": described,
            "headers": {name: _HEADERS[name] for name in (HEADER, *headers)},
            **({} if model is None else {"model": model}),
        }
    }
    for problem in sorted({*_ALWAYS, *(_WITH_BODY if has_body else ()), *also}):
        found[problem] = _problem(problem)
    return found


def _problem(status: int) -> dict[str, Any]:
    names = [HEADER, *([_OF_PROBLEM[status]] if status in _OF_PROBLEM else [])]
    described = {
        "description": _WHY.get(status, HTTPStatus(status).phrase),
        "headers": {name: _HEADERS[name] for name in names},
    }
    if status == 304:
        return described
    return {**described, "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}}}
