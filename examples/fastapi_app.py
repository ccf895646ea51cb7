"""A FastAPI backend with the video jobs API mounted, and a route of its own beside it.

Run it:  pip install 'videojobs[web]'
         SUPABASE_URL=... SUPABASE_SECRET_KEY=... uvicorn fastapi_app:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Path
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from videojobs import AsyncVideoJobManager, CreatedJob, Settings, VideoJobsError
from videojobs.access import Caller, TokenVerifier
from videojobs.web import answer_error, router

settings = Settings.from_env()
verifier = TokenVerifier.from_settings(settings)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One manager for the whole process: it holds the connections."""
    async with AsyncVideoJobManager.from_env() as app.state.jobs:
        yield


app = FastAPI(lifespan=lifespan)

# /video/api/v1/user/jobs, /video/api/v1/process and so on, each as the user who calls; /docs has all.
app.include_router(router(lambda: app.state.jobs, auth=verifier), prefix="/video")

# Errors of the library in your own routes: 401, 403, 404, 409, 422, 429, 503, as problem details.
app.add_exception_handler(VideoJobsError, answer_error)


async def signed_in(
    sent: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> Caller:
    """Who calls, by their Supabase token."""
    return await verifier.verify(sent.credentials if sent else "")


# Your own words for a path: a worker reads whatever file a job names, so nobody may write it freely.
FilmId = Annotated[str, Path(pattern="^[a-z0-9-]{1,64}$", examples=["metropolis"])]


@app.post("/films/{film_id}/renditions", status_code=201)
async def render_film(film_id: FilmId, caller: Annotated[Caller, Depends(signed_in)]) -> CreatedJob:
    """Renditions of one of our films; asking again finds the same job."""
    jobs: AsyncVideoJobManager = app.state.jobs.as_user(caller.token)
    return await jobs.create_job(
        source_url=f"films/{film_id}.mkv",
        pipeline="renditions",
        resource_type="film",
        resource_id=film_id,
        idempotency_key=f"renditions of {film_id}",
    )
