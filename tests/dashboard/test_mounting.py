"""The dashboard in an application of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from browsing import bare_environment
from videojobs.local import LocalStack
from videojobs.local.postgres import free_port

_APPLICATION = """
import os, sys
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from nicegui import Client
from videojobs import AsyncVideoJobManager, ConfigurationError, Settings
from videojobs.access import TokenVerifier
from videojobs.dashboard import mount

settings = Settings(
    database_url=os.environ["STACK"], jwt_secret="x" * 32, supabase_url="http://127.0.0.1:1",
    publishable_key="sb_publishable_x", transport="postgres",
)
manager = AsyncVideoJobManager.from_url(settings.database_url, settings=settings)
begun = []

@asynccontextmanager
async def lifespan(app):
    begun.append("mine")
    async with manager:
        yield

app = FastAPI(lifespan=lifespan)

@app.get("/pages")
async def pages():
    return len(Client.instances)

@app.get("/hello")
async def hello():
    return begun

mount(app, manager, path="/ops/jobs")
try:
    mount(FastAPI(), manager)
except ConfigurationError as error:
    print(error, flush=True)
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


@pytest.fixture(scope="module")
def application(
    stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The address of an application with routes and a lifespan of its own, and its log."""
    port, log = free_port(None), tmp_path_factory.mktemp("application") / "log"
    environment = {**bare_environment(), "STACK": stack.database_url}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _APPLICATION, str(port)],
            stdout=file,
            stderr=file,
            env=environment,
        )
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(f"{url}/hello", timeout=10)
            break
        except httpx.HTTPError:
            time.sleep(0.05)
    yield url, log
    process.terminate()
    process.wait(15)


def test_ones_own_routes_and_lifespan_stay(application: tuple[str, Path]):
    """They work beside the dashboard, whose answers alone carry its headers."""
    url, _ = application

    answer = httpx.get(f"{url}/hello")

    assert answer.json() == ["mine"]
    assert "content-security-policy" not in answer.headers


def test_it_lives_below_its_path(application: tuple[str, Path]):
    """Its sign-in, its cookie's path and its files are there."""
    url, _ = application

    first = httpx.get(f"{url}/ops/jobs/", follow_redirects=True)
    icon = httpx.get(f"{url}/ops/jobs/assets/icon.svg")

    assert first.url == f"{url}/ops/jobs/sign-in?next=%2F"
    assert 'href="/ops/jobs/assets/dashboard.css"' in first.text
    assert icon.status_code == 200


def test_who_is_not_signed_in_costs_nothing(application: tuple[str, Path]):
    """No page is kept for them, however many they ask for."""
    url, _ = application

    answers = [httpx.get(f"{url}/ops/jobs/jobs/{number}").status_code for number in range(5)]

    assert answers == [303] * 5
    assert httpx.get(f"{url}/pages").json() == 0


def test_a_process_has_one(application: tuple[str, Path]):
    """The second is refused, and told where the first is."""
    _, log = application

    assert "has a dashboard already, at /ops/jobs" in log.read_text()


def test_a_missing_extra_is_named():
    """Without NiceGUI, the import says what to install."""
    code = "import sys; sys.modules['nicegui'] = None; import videojobs.dashboard"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )

    assert "pip install 'videojobs[dashboard]'" in done.stderr
