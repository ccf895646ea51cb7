"""A FastAPI backend that creates jobs for its signed-in users, and shows them.

Run it:  pip install 'videojobs' fastapi uvicorn
         SUPABASE_URL=... SUPABASE_SECRET_KEY=... uvicorn fastapi_enqueue:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from videojobs import (
    AsyncVideoJobManager,
    AuthenticationError,
    JobFilter,
    JobNotFoundError,
    PlatformTarget,
    SupabaseValidationError,
    VideoJob,
    VideoJobsError,
)


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

_STATUS = {SupabaseValidationError: 422, JobNotFoundError: 404, AuthenticationError: 401}


@app.exception_handler(VideoJobsError)
async def tell(request: Request, error: VideoJobsError) -> JSONResponse:
    """Every error of the library as a reply; its message is meant for people."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 409)
    return JSONResponse({"detail": str(error), "code": error.code}, status_code=status)


class Wish(BaseModel):
    """What a user asks for."""

    path: str
    clips: int = 3
    platform: PlatformTarget = PlatformTarget.TIKTOK


@app.post("/videos", status_code=201)
async def cut_clips(
    wish: Wish, jobs: Jobs, idempotency_key: Annotated[str | None, Header()] = None
) -> VideoJob:
    """Create a job; the same Idempotency-Key again returns the same job."""
    return await jobs.create_job(
        source_url=wish.path,
        clip_count=wish.clips,
        platform_target=wish.platform,
        idempotency_key=idempotency_key,
    )


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
