"""Whether the API is there, and how it is."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from videojobs.errors import PermissionDeniedError, VideoJobsError
from videojobs.web import metrics
from videojobs.web.documentation import answers
from videojobs.web.problems import ProblemError
from videojobs.web.services import services_of, token_of

logger = logging.getLogger("videojobs.web")

_PATIENCE_SECONDS = 3.0
_NO_STORE = {"Cache-Control": "no-store"}


class Health(BaseModel):
    """Said to everybody, and so nothing more."""

    status: str = Field(default="ok", examples=["ok"])


def add_routes(api: APIRouter) -> None:
    """For orchestrators and scrapers."""
    add: Any = api.add_api_route
    health = answers(Health, described="It is.")
    for status in (401, 422, 429):
        del health[status]
    options = {"methods": ["GET"], "response_model": None, "tags": ["operation"]}
    add("/healthz", ready, summary="Whether jobs can be reached", responses=health, **options)
    add("/healthz/live", live, summary="Whether the process answers", responses=health, **options)
    # Load balancers ask without wanting words.
    for path, answer in (("/healthz", ready), ("/healthz/live", live)):
        add(path, answer, methods=["HEAD"], response_model=None, include_in_schema=False)
    figures = answers(None, 403, described="Figures, in Prometheus' format.")
    figures[200]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    add("/metrics", get_metrics, summary="Figures for Prometheus", responses=figures, **options)


async def live() -> Response:
    """Whether the process answers; it asks nobody."""
    return Response(Health().model_dump_json(), headers=_NO_STORE, media_type="application/json")


async def ready(request: Request) -> Response:
    """Whether the database answers, within three seconds. Asked at most once a second."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await services_of(request).look_at_database()
    except (VideoJobsError, TimeoutError) as error:
        logger.warning("not ready: %s", error or "the database did not answer in time")
        raise ProblemError(
            503, "not-ready", "The database does not answer.", headers={"Retry-After": "5"}
        ) from None
    return await live()


async def get_metrics(request: Request) -> Response:
    """For the bearer of `VIDEOJOBS_WEB_METRICS_TOKEN`, and for admins."""
    services = services_of(request)
    wanted, token = services.web.metrics_token, token_of(request)
    if not (wanted and token and hmac.compare_digest(wanted.encode(), token.encode())):
        caller = await services.caller_of(request)
        if not caller.is_admin:
            raise PermissionDeniedError(
                "only admins and the scraper may read figures", code="admins_only"
            )
    body = await services.metrics.exposition(services.manager)
    return Response(body, headers=_NO_STORE, media_type=metrics.MEDIA_TYPE)
