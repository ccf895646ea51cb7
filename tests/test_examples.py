"""The examples run as they stand, on the real stack."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from videojobs import (
    AuthenticationError,
    IdempotencyConflictError,
    InvalidTransitionError,
    JobNotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    SchemaMismatchError,
    SupabaseConnectionError,
    SupabaseValidationError,
    VideoJobManager,
)
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.sample import make_sample
from videojobs.web import answer_error

EXAMPLES = Path(__file__).parents[1] / "examples"


def loaded(name: str) -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pydantic looks up the names in annotations
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The example as a script."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        env={**os.environ, "VIDEOJOBS_TRANSPORT": "postgres", **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_fastapi_example_serves_the_router_and_a_route_of_its_own(stack, database, monkeypatch):
    """Both as the caller: what one made the other shows, to them and to nobody else."""
    monkeypatch.setenv("SUPABASE_URL", stack.api_url)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", stack.service_role_key)
    monkeypatch.setenv("SUPABASE_JWT_SECRET", stack.jwt_secret)
    mine = {"Authorization": f"Bearer {stack.user_token(uuid4())}"}
    theirs = {"Authorization": f"Bearer {stack.user_token(uuid4())}"}

    with TestClient(loaded("fastapi_app").app) as client:
        created = client.post("/films/metropolis/renditions", headers=mine)
        again = client.post("/films/metropolis/renditions", headers=mine)
        listed = client.get("/video/api/v1/user/jobs", headers=mine).json()["items"]
        shown = client.get(f"/video/api/v1/jobs/{created.json()['id']}", headers=mine)
        strangers = client.get(f"/video/api/v1/jobs/{created.json()['id']}", headers=theirs)
        outside = client.post("/films/..%2Fetc/renditions", headers=mine)
        forged = client.post("/films/a/renditions", headers={"Authorization": "Bearer not.a.token"})
        unsigned = client.post("/films/a/renditions")

    assert created.status_code == 201, created.text
    assert again.json()["id"] == created.json()["id"] == listed[0]["id"] == shown.json()["id"]
    assert (strangers.status_code, outside.status_code) == (404, 404)
    assert (forged.status_code, unsigned.status_code) == (401, 401)
    assert forged.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SupabaseValidationError("refused"), 422),
        (AuthenticationError("expired"), 401),
        (PermissionDeniedError("not yours"), 403),
        (JobNotFoundError("not there"), 404),
        (InvalidTransitionError("completed"), 409),
        (IdempotencyConflictError("other content"), 409),
        (RateLimitedError("slower", retry_after=2.5), 429),
        (SupabaseConnectionError("away"), 503),
        (SchemaMismatchError("old"), 500),
    ],
)
async def test_each_error_is_answered_with_its_status(error, status):
    """The caller's fault, the database's absence and our own trouble look different."""
    request = Request({"type": "http", "method": "GET", "path": "/videos", "headers": []})

    reply = await answer_error(request, error)

    assert (reply.status_code, json.loads(reply.body)["status"]) == (status, status)
    assert reply.headers.get("retry-after") == {429: "3", 503: "1"}.get(status)


def test_the_worker_script_runs_the_jobs(database, tmp_path: Path):
    """It completes what is queued, and ends when it is told to end when idle."""
    make_sample(tmp_path / "sample.mp4", find_ffmpeg())
    with VideoJobManager.from_url(database) as manager:
        job = manager.create_job(
            user_id=uuid4(),
            source_url="sample.mp4",
            clip_count=1,
            quality_preset="draft",
            settings={"clip_seconds": 3, "clip_width": 180, "clip_height": 320},
        )

        result = run("worker_script", "--until-idle", str(tmp_path), SUPABASE_DB_URL=database)

        assert result.returncode == 0, result.stderr
        assert manager.get_job(job.id).status == "completed"


def test_the_analytics_example_prints_the_figures(database):
    """Counts and failures of what is there."""
    with VideoJobManager.from_url(database) as manager:
        job = manager.create_job(user_id=uuid4(), platform_target="tiktok")
        manager.start_processing(job.id)
        manager.fail_job(job.id, "broken", error_code="corrupt_source", retryable=False)

    result = run("analytics", SUPABASE_DB_URL=database)

    assert result.returncode == 0, result.stderr
    assert "1 jobs" in result.stdout
    assert "tiktok" in result.stdout
    assert "failed with corrupt_source: 1" in result.stdout
