"""Film and episode jobs in the words of a Node/BullMQ studio server, for pages that speak them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import InvalidTransitionError, JobNotFoundError
from videojobs.models import JobStatus, ResourceType, VideoJob
from videojobs.requests import JobFilter
from videojobs.web import studio
from videojobs.web.caching import PRIVATE, json_answer, tagged_answer
from videojobs.web.dependencies import JobId, SignedIn
from videojobs.web.documentation import answers
from videojobs.web.studio import (
    Cleared,
    Done,
    JobDetail,
    JobList,
    Retried,
    StudioStatus,
    StudioType,
)

_PATH = "/api/v1/studio/processing-jobs"
_LARGEST_PAGE = 200


class ListQuery(BaseModel):
    """Which jobs, and which page of them."""

    model_config = ConfigDict(extra="forbid")

    status: StudioStatus | None = None
    type: StudioType | None = None
    limit: int = Field(default=50, ge=1, le=_LARGEST_PAGE)
    cursor: str | None = Field(
        default=None, max_length=512, description="`nextCursor` of the page before."
    )


class ClearWish(BaseModel):
    """What to remove."""

    model_config = ConfigDict(extra="forbid")

    status: studio.Clearable = Field(examples=["completed"])


def add_routes(api: APIRouter) -> None:
    """The studio's routes."""
    add = partial(api.add_api_route, response_model=None, tags=["studio"])
    one = f"{_PATH}/{{job_id}}"
    of_job = partial(answers, has_body=True)
    add(
        _PATH,
        list_jobs,
        methods=["GET"],
        summary="List film and episode jobs, with their statistics",
        responses=answers(JobList, described="A page, newest first, and the counts by status."),
    )
    add(
        f"{_PATH}/clear",
        clear,
        methods=["POST"],
        summary="Remove finished film and episode jobs",
        responses=of_job(Cleared, described="They are gone."),
    )
    add(
        one,
        get_job,
        methods=["GET"],
        summary="Read a film's or episode's job, with its place in the queue",
        responses=answers(JobDetail, 304, 404, described="The job.", headers=("ETag",)),
    )
    add(
        f"{one}/cancel",
        cancel_job,
        methods=["POST"],
        summary="Stop a waiting or active job",
        responses=of_job(Done, 403, 404, 409, described="Cancelled, or asked to stop."),
    )
    add(
        f"{one}/retry",
        retry_job,
        methods=["POST"],
        summary="Repeat a failed job",
        responses=of_job(Retried, 403, 404, 409, described="It waits for its new attempt."),
    )
    add(
        one,
        delete_job,
        methods=["DELETE"],
        summary="Remove a finished job",
        status_code=204,
        responses=of_job(None, 403, 404, 409, status=204, described="It is gone."),
    )


async def list_jobs(query: Annotated[ListQuery, Query()], visitor: SignedIn) -> Response:
    """Those that you may see, your teams' too, newest first. `stats` counts them by status, whatever
    `status` is asked for.
    """
    found = await studio.listed(
        visitor.jobs, status=query.status, only=query.type, limit=query.limit, cursor=query.cursor
    )
    return json_answer(studio.to_json(found))


async def get_job(job_id: JobId, visitor: SignedIn, request: Request) -> Response:
    """The job; `queue` has its position while it waits, and its lease while it is active."""
    jobs = visitor.jobs
    job = await _studio_job(jobs, job_id)
    try:
        place = await jobs.get_job_place(job_id)
    except JobNotFoundError:  # archived, or gone since
        place = None
    return tagged_answer(request, studio.to_json(studio.detail_of(job, place)))


async def cancel_job(job_id: JobId, visitor: SignedIn) -> Response:
    """A waiting job is cancelled; an active one is asked to stop."""
    jobs = visitor.jobs
    await _studio_job(jobs, job_id)
    job = await jobs.cancel_job(job_id)
    return json_answer(studio.to_json(Done(job=studio.job_of(job))))


async def retry_job(job_id: JobId, visitor: SignedIn) -> Response:
    """The same job waits again; `attemptId` names its new attempt, below whose folder its outputs
    will lie.
    """
    jobs = visitor.jobs
    job = await _studio_job(jobs, job_id)
    if job.status is not JobStatus.FAILED:
        raise InvalidTransitionError(
            f"job {job_id} is {studio.STATUS_OF[job.status]}; only failed jobs are retried here",
            job_id=job_id,
            code="VJ002",
        )
    again = await jobs.retry_job(job_id)
    told = Retried(
        job=studio.job_of(again), job_id=again.id, attempt_id=studio.next_attempt_of(again)
    )
    return json_answer(studio.to_json(told))


async def delete_job(job_id: JobId, visitor: SignedIn) -> Response:
    """A completed, failed or cancelled job is gone, with its history."""
    jobs = visitor.jobs
    await _studio_job(jobs, job_id)
    await jobs.delete_job(job_id)
    return Response(status_code=204, headers=PRIVATE)


async def clear(wish: Annotated[ClearWish, Body()], visitor: SignedIn) -> Response:
    """Those with this status, or all finished ones, that you may change."""
    cleared = 0
    for resource in studio.TYPES:
        filters = JobFilter(
            resource_type=ResourceType(resource), status=studio.statuses_to_clear(wish.status)
        )
        cleared += await visitor.jobs.clear_jobs(filters)
    return json_answer(studio.to_json(Cleared(cleared=cleared)))


async def _studio_job(jobs: AsyncVideoJobManager, job_id: JobId) -> VideoJob:
    job = await jobs.get_job(job_id)
    if job.resource_type is ResourceType.UPLOAD:
        # As for a job that is not there: in these words, it is none.
        raise JobNotFoundError(
            f"there is no job {job_id}, or it is not yours", job_id=job_id, code="VJ001"
        )
    return job
