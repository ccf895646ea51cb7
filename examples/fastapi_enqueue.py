"""A FastAPI backend that creates jobs for its signed-in users, and shows them.

Run it:  pip install 'videojobs' fastapi uvicorn
         SUPABASE_URL=... SUPABASE_SECRET_KEY=... uvicorn fastapi_enqueue:app
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from videojobs import (
    AsyncVideoJobManager,
    AuthenticationError,
    CreatedJob,
    IdempotencyConflictError,
    InvalidTransitionError,
    JobFilter,
    JobNotFoundError,
    PermissionDeniedError,
    PlatformTarget,
    RateLimitedError,
    SupabaseConnectionError,
    SupabaseValidationError,
    VideoJob,
    VideoJobsError,
)

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One manager for the whole process: it holds the connections."""
    async with AsyncVideoJobManager.from_env() as app.state.jobs:
        yield


app = FastAPI(lifespan=lifespan)


def jobs_of_caller(
    request: Request, authorization: Annotated[str | None, Header()] = None
) -> AsyncVideoJobManager:
    """The manager with the caller's rights; the database decides what they may do."""
    if authorization is None or not authorization.startswith("Bearer "):
        raise HTTPException(401, "sign in first")
    return request.app.state.jobs.as_user(authorization.removeprefix("Bearer "))


Jobs = Annotated[AsyncVideoJobManager, Depends(jobs_of_caller)]

# The first kind that fits counts: being told to slow down is also a trouble of the connection.
_STATUS: tuple[tuple[type[VideoJobsError], int], ...] = (
    (SupabaseValidationError, 422),
    (AuthenticationError, 401),
    (PermissionDeniedError, 403),
    (JobNotFoundError, 404),
    (InvalidTransitionError, 409),
    (IdempotencyConflictError, 409),
    (RateLimitedError, 429),
    (SupabaseConnectionError, 503),
)


@app.exception_handler(VideoJobsError)
async def tell(request: Request, error: VideoJobsError) -> JSONResponse:
    """Every error of the library as a reply; what is ours to mend is told to nobody."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return JSONResponse({"detail": "something went wrong here"}, status_code=500)
    headers = {"Retry-After": str(ceil(error.retry_after or 1))} if status == 429 else None
    return JSONResponse(
        {"detail": str(error), "code": error.code}, status_code=status, headers=headers
    )


class Wish(BaseModel):
    """What a user asks for."""

    # Checked here, since a worker reads whatever path a job names. Where uploads of all users share
    # one folder, do not take a path at all: take an upload's id, look up whose it is, and make the
    # path from that.
    path: str = Field(pattern=r"^uploads/[^/\\]+$", examples=["uploads/talk.mp4"])
    clips: int = 3
    platform: PlatformTarget = PlatformTarget.TIKTOK


@app.post("/videos", status_code=201)
async def cut_clips(
    wish: Wish,
    jobs: Jobs,
    response: Response,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> CreatedJob:
    """Create a job; the same Idempotency-Key again returns the same job, with 200."""
    job = await jobs.create_job(
        source_url=wish.path,
        clip_count=wish.clips,
        platform_target=wish.platform,
        idempotency_key=idempotency_key,
    )
    if not job.created:
        response.status_code = 200
    return job


@app.get("/videos")
async def my_videos(jobs: Jobs, cursor: str | None = None) -> dict[str, object]:
    """A page of the caller's jobs, newest first."""
    page = await jobs.list_jobs(JobFilter(), limit=20, cursor=cursor)
    return {"items": page.items, "next_cursor": page.next_cursor}


@app.get("/videos/{job_id}")
async def one_video(job_id: UUID, jobs: Jobs) -> VideoJob:
    """One of the caller's jobs, with its progress."""
    return await jobs.get_job(job_id)


@app.post("/videos/{job_id}/cancel")
async def cancel(job_id: UUID, jobs: Jobs) -> VideoJob:
    """Stop it."""
    return await jobs.cancel_job(job_id)
