"""One job: read it, change it, stop it, repeat it, remove it."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import InvalidTransitionError, JobNotFoundError, PermissionDeniedError
from videojobs.models import JobEvent, UpdateOutcome, UpdateResult, VideoJob
from videojobs.requests import BATCH_LIMIT, JobChanges, ShortText
from videojobs.web.caching import PRIVATE, json_answer, tagged_answer
from videojobs.web.dependencies import JobId, SignedIn
from videojobs.web.documentation import answers

_PATH = "/api/v1/jobs/{job_id}"
_EXAMPLES = {
    "later": {
        "summary": "Later, and behind others",
        "value": {"run_at": "2026-12-01T02:00:00Z", "priority": 1},
    },
    "stop": {"summary": "Stop it", "value": {"status": "cancelled"}},
}


class Events(BaseModel):
    """A job's history, oldest first."""

    items: tuple[JobEvent, ...]
    next_after_id: int | None
    """Ask for what came after it, if there may be more."""


class Changes(JobChanges):
    """What to set."""

    # Built now: FastAPI cannot build what was put off.
    model_config = ConfigDict(defer_build=False)


class Cancellation(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: ShortText | None = Field(default=None, examples=["the wrong file"])


_events = TypeAdapter(Events)


def add_routes(api: APIRouter) -> None:
    """The routes of one job."""
    add = partial(api.add_api_route, response_model=None, tags=["jobs"])
    of_job = partial(answers, VideoJob, 404)
    add(
        _PATH,
        get_job,
        methods=["GET"],
        summary="Read a job",
        responses=of_job(304, described="The job as it is now.", headers=("ETag",)),
    )
    add(
        _PATH,
        change_job,
        methods=["PATCH"],
        summary="Change a job",
        responses=of_job(403, 409, described="The changed job.", has_body=True),
    )
    add(
        _PATH,
        delete_job,
        methods=["DELETE"],
        summary="Remove a finished job",
        status_code=204,
        responses=answers(None, 403, 404, 409, status=204, described="It is gone.", has_body=True),
    )
    add(
        f"{_PATH}/events",
        list_events,
        methods=["GET"],
        summary="Read a job's history",
        responses=answers(Events, 404, described="What happened to it."),
    )
    add(
        f"{_PATH}/cancel",
        cancel_job,
        methods=["POST"],
        summary="Stop a job",
        responses=of_job(403, 409, described="Cancelled, or asked to stop.", has_body=True),
    )
    add(
        f"{_PATH}/retry",
        retry_job,
        methods=["POST"],
        summary="Repeat a failed or cancelled job",
        responses=of_job(403, 409, described="Queued again.", has_body=True),
    )


async def get_job(job_id: JobId, visitor: SignedIn, request: Request) -> Response:
    """The job as it is now. With `If-None-Match`, 304 while it is unchanged."""
    return tagged_answer(request, _json(await visitor.jobs.get_job(job_id)))


async def change_job(
    job_id: JobId,
    changes: Annotated[Changes, Body(openapi_examples=_EXAMPLES)],  # pyright: ignore[reportArgumentType] # FastAPI's own type for examples is a TypedDict
    visitor: SignedIn,
) -> Response:
    """Priority, time and queue of a waiting job; its status to `cancelled`, or to `queued` again."""
    jobs = visitor.jobs
    (result,) = await jobs.bulk_update_jobs(changes, job_ids=[job_id])
    _refuse_unless_done(job_id, result, changes)
    return json_answer(_json(await jobs.get_job(job_id)))


def _refuse_unless_done(job_id: UUID, result: UpdateResult, changes: JobChanges) -> None:
    match result.outcome:
        case UpdateOutcome.NOT_FOUND:
            raise JobNotFoundError(
                f"there is no job {job_id}, or it is not yours", job_id=job_id, code="VJ001"
            )
        case UpdateOutcome.NOT_ALLOWED:
            raise PermissionDeniedError(
                f"job {job_id} is not yours to change like this: only its owner, the team's admins "
                "and admins may, and the highest priorities are for services",
                code="VJ005",
            )
        case UpdateOutcome.INVALID_TRANSITION:
            wished = ", ".join(changes.to_json())
            raise InvalidTransitionError(
                f"job {job_id} is {result.status}, which does not allow to change {wished}",
                code="VJ002",
            )
        case UpdateOutcome.UPDATED | UpdateOutcome.UNCHANGED:
            return


async def delete_job(job_id: JobId, visitor: SignedIn) -> Response:
    """A finished job and its history are gone; its files stay."""
    await visitor.jobs.delete_job(job_id)
    return Response(status_code=204, headers=PRIVATE)


async def list_events(
    job_id: JobId,
    visitor: SignedIn,
    after_id: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only what came later.")] = 0,
    limit: Annotated[int, Query(ge=1, le=BATCH_LIMIT)] = 100,
) -> Response:
    """What happened to the job, oldest first."""
    jobs = visitor.jobs
    events = await jobs.get_job_events(job_id, after_id=after_id, limit=limit)
    if not events:
        await jobs.get_job(job_id)  # nothing happened, or there is no such job: only it knows
    more = events[-1].id if len(events) == limit else None
    return json_answer(_events.dump_json(Events(items=tuple(events), next_after_id=more)))


async def cancel_job(
    job_id: JobId, visitor: SignedIn, wish: Cancellation | None = None
) -> Response:
    """A waiting job is cancelled; a running one is asked to stop. Repeating it is harmless."""
    jobs: AsyncVideoJobManager = visitor.jobs
    return json_answer(_json(await jobs.cancel_job(job_id, reason=wish and wish.reason)))


async def retry_job(job_id: JobId, visitor: SignedIn) -> Response:
    """The job waits again, with all its attempts. Its earlier result stays in the history."""
    return json_answer(_json(await visitor.jobs.retry_job(job_id)))


def _json(job: VideoJob) -> bytes:
    return job.__pydantic_serializer__.to_json(job)
