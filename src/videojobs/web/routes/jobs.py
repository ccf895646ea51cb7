"""One job: read it, change it, stop it, repeat it, remove it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from videojobs.models import VideoJob
from videojobs.web.caching import tagged_answer
from videojobs.web.dependencies import JobId, SignedIn
from videojobs.web.documentation import answers

_PATH = "/api/v1/jobs/{job_id}"


def add_routes(api: APIRouter) -> None:
    """The routes of one job."""
    api.add_api_route(
        _PATH,
        get_job,
        methods=["GET"],
        summary="Read a job",
        response_model=None,
        responses=answers(VideoJob, 304, 404, described="The job as it is now.", headers=("ETag",)),
        tags=["jobs"],
    )


async def get_job(job_id: JobId, visitor: SignedIn, request: Request) -> Response:
    """The job as it is now. With `If-None-Match`, 304 while it is unchanged."""
    job = await visitor.jobs.get_job(job_id)
    return tagged_answer(request, job.__pydantic_serializer__.to_json(job))
