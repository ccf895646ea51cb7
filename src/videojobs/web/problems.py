"""Every error as an answer: problem details by RFC 9457, which say what to do next."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount

from videojobs import errors
from videojobs.requests import without_secrets
from videojobs.web.request_ids import HEADER, REQUEST_ID, request_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

logger = logging.getLogger("videojobs.web")

MEDIA_TYPE = "application/problem+json"
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_INTERNAL = (
    "Something went wrong here, and it was written to the log under this request_id. "
    "Nothing in the request needs to be changed."
)
_AWAY = "The database could not be reached, or is too busy. Try again later."
_UNKNOWN = (
    "The database's answer was lost, so the change may have been made or not. "
    "Read the job before you try again."
)


class FieldProblem(BaseModel):
    """One part of the request that was refused."""

    field: str = Field(examples=["clip_count"])
    allowed: str = Field(examples=["Input should be less than or equal to 100"])


class Problem(BaseModel):
    """What went wrong, and what to do next (RFC 9457)."""

    type: str = Field(examples=["urn:videojobs:job-not-found"])
    """Names the kind; it does not lead anywhere."""
    title: str = Field(examples=["No such job"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no job 01a1…, or it is not yours"])
    code: str | None = Field(default=None, examples=["VJ001"])
    request_id: str = Field(examples=["5f0c2a7e9b1d4c8f"])
    errors: list[FieldProblem] | None = None


@dataclass(eq=False)
class ProblemError(Exception):
    """A request that is refused before any call; it becomes the answer as it stands."""

    status: int
    kind: str
    detail: str
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    problems: tuple[FieldProblem, ...] = ()

    def __str__(self) -> str:
        return self.detail


# The first kind that fits counts: being told to slow down is also a trouble of the connection.
_KINDS: tuple[tuple[type[errors.VideoJobsError], int, str], ...] = (
    (errors.SupabaseValidationError, 422, "invalid-input"),
    (errors.AuthenticationError, 401, "not-signed-in"),
    (errors.PermissionDeniedError, 403, "not-allowed"),
    (errors.JobNotFoundError, 404, "job-not-found"),
    (errors.InvalidTransitionError, 409, "invalid-transition"),
    (errors.IdempotencyConflictError, 409, "idempotency-conflict"),
    (errors.RateLimitedError, 429, "too-many-requests"),
    (errors.OutcomeUnknownError, 503, "outcome-unknown"),
    (errors.SupabaseConnectionError, 503, "database-unavailable"),
)
_TITLES = {
    "invalid-input": "The input was refused",
    "not-signed-in": "Not signed in",
    "not-allowed": "Not allowed",
    "job-not-found": "No such job",
    "output-not-found": "No such output",
    "invalid-transition": "The job's status does not allow this",
    "idempotency-conflict": "The Idempotency-Key names another job",
    "too-many-requests": "Too many requests",
    "outcome-unknown": "The outcome is not known",
    "database-unavailable": "The database is not there",
}
# Words of the transport name hosts and ports, which are not for callers.
_OWN_WORDS = {"outcome-unknown": _UNKNOWN, "database-unavailable": _AWAY}


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer for an error, with the request's name; for ``app.add_exception_handler``."""
    reset = REQUEST_ID.set(request_id_of(request))
    try:
        response = reply_to(error)
        if response.status_code == 405:
            allowed = {*_allowed(request), *_listed(response.headers.get("Allow", ""))}
            response.headers["Allow"] = ", ".join(sorted(allowed - {request.method}))
        response.headers[HEADER] = REQUEST_ID.get()
    finally:
        REQUEST_ID.reset(reset)
    return response


def _listed(methods: str) -> list[str]:
    return [method.strip() for method in methods.split(",") if method.strip()]


def _allowed(request: Request) -> list[str]:
    """The methods of all routes at this path; Starlette names only those of the first."""
    # What is mounted takes any method, and answers by itself.
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    scopes = ((method, {**request.scope, "method": method}) for method in _METHODS)
    return [
        method
        for method, scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


def reply_to(error: Exception) -> Response:
    """The answer for any error; what is ours to mend is logged, and told to nobody."""
    match error:
        case ProblemError():
            return _reply(
                error.status,
                error.kind,
                error.detail,
                code=error.code,
                headers=error.headers,
                problems=error.problems,
            )
        case errors.VideoJobsError():
            return _reply_to_ours(error)
        case RequestValidationError():
            return _reply(
                422,
                "invalid-input",
                "Parts of the request were refused; `errors` names them.",
                problems=tuple(_found(each) for each in error.errors()),
            )
        case HTTPException(__cause__=ProblemError() as problem):
            return reply_to(problem)  # what FastAPI made of a body that was cut off
        case HTTPException():
            return _reply_to_http(error)
        case _:
            return _reply_to_fault(error)


def _reply_to_ours(error: errors.VideoJobsError) -> Response:
    known = next((known for known in _KINDS if isinstance(error, known[0])), None)
    if known is None:
        return _reply_to_fault(error)
    _, status, name = known
    if status == 503:
        logger.warning("request %s: %s: %s", REQUEST_ID.get(), name, error)
    headers: dict[str, str] = {}
    if status in (429, 503):
        headers["Retry-After"] = str(ceil(error.retry_after or 1))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if error.code else "Bearer"
    problems = getattr(error, "problems", ())
    return _reply(
        status,
        name,
        _OWN_WORDS.get(name, str(error)),
        code=error.code,
        headers=headers,
        problems=tuple(FieldProblem(field=field, allowed=rule) for field, _, rule in problems),
    )


def _found(error: Mapping[str, Any]) -> FieldProblem:
    # Without the place where it stood ("body", "query"), and without its value, which may be long.
    place = [str(part) for part in error["loc"]]
    return FieldProblem(
        field=".".join(place[1:] or place), allowed=str(without_secrets("", error["msg"]))
    )


def _reply_to_http(error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    kind = phrase.lower().replace(" ", "-").replace("'", "")
    return _reply(error.status_code, kind, str(error.detail), headers=dict(error.headers or {}))


def _reply_to_fault(error: Exception) -> Response:
    logger.error("request %s failed", REQUEST_ID.get(), exc_info=error)
    return _reply(500, "internal", _INTERNAL)


def _reply(
    status: int,
    kind: str,
    detail: str,
    *,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
    problems: tuple[FieldProblem, ...] = (),
) -> Response:
    body = Problem(
        type=f"urn:videojobs:{kind}",
        title=_TITLES.get(kind, HTTPStatus(status).phrase),
        status=status,
        detail=detail,
        code=code,
        request_id=REQUEST_ID.get(),
        errors=list(problems) or None,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status,
        {"Cache-Control": "no-store", **(headers or {})},
        MEDIA_TYPE,
    )
