"""Many jobs: a user's, a team's, and the figures over them."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from videojobs.models import JobStats, Page, VideoJob
from videojobs.requests import JobFilter
from videojobs.web.caching import json_answer
from videojobs.web.dependencies import SignedIn
from videojobs.web.documentation import answers
from videojobs.web.pagination import PageQuery, StatsQuery, page_answer


def add_routes(api: APIRouter) -> None:
    """The routes of many jobs."""
    add = partial(api.add_api_route, methods=["GET"], response_model=None, tags=["lists"])
    page = answers(Page[VideoJob], described="A page, newest first.", headers=("Link",))
    add("/api/v1/user/jobs", list_user_jobs, summary="List your jobs", responses=page)
    add("/api/v1/team/{team_id}/jobs", list_team_jobs, summary="List a team's jobs", responses=page)
    add(
        "/api/v1/user/jobs/stats",
        get_stats,
        summary="Figures over your jobs",
        responses=answers(JobStats, described="Counts, times and days."),
    )


async def list_user_jobs(
    query: Annotated[PageQuery, Query()], visitor: SignedIn, request: Request
) -> Response:
    """Your own jobs, newest first; with `user_id`, those of another user that you may see."""
    page = await visitor.jobs.list_jobs(
        _of(query.filter(), visitor.caller.user_id),
        limit=query.limit,
        offset=query.offset,
        cursor=query.cursor,
    )
    return page_answer(request, query, page)


async def list_team_jobs(
    team_id: Annotated[UUID, Path(description="The team's id.")],
    query: Annotated[PageQuery, Query()],
    visitor: SignedIn,
    request: Request,
) -> Response:
    """A team's jobs, newest first; empty for those who are not in it."""
    page = await visitor.jobs.get_team_jobs(
        team_id, query.limit, query.offset, query.filter(), cursor=query.cursor
    )
    return page_answer(request, query, page)


async def get_stats(query: Annotated[StatsQuery, Query()], visitor: SignedIn) -> Response:
    """Counts by status and day, and processing times, over your own jobs or those of `user_id`."""
    chosen = _of(query.filter(), visitor.caller.user_id)
    stats = await visitor.jobs.get_job_stats(chosen, group_by=query.group_by)
    return json_answer(stats.__pydantic_serializer__.to_json(stats))


def _of(filters: JobFilter, caller: UUID) -> JobFilter:
    """Those of the caller, unless the filter names a user or a team."""
    if filters.user_id is not None or filters.team_id is not None:
        return filters
    return filters.model_copy(update={"user_id": caller})
