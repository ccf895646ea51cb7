"""One dashboard server, one worker and one Chromium for the session; a browser window for each test.

The server and the worker are the real commands, in processes of their own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from browsing import CHROMIUM_OPTIONS, Person, Server, Windows, bare_environment, new_server
from parts import Parts
from videojobs import Settings, VideoJobManager
from videojobs.local import LocalStack
from videojobs.media.ffmpeg import find_ffmpeg


def ffmpeg(*arguments: str | Path) -> None:
    command = (find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y")
    subprocess.run([*command, *map(str, arguments)], check=True)


@pytest.fixture(scope="session")
def stack(parts: Parts) -> Iterator[LocalStack]:
    """One of their own, since the worker here would take the jobs of all other tests."""
    with LocalStack.start(rest=True, durable=False, postgrest=parts.postgrest) as stack:
        yield stack


@pytest.fixture(scope="session")
def storage_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker's storage: ``short.mp4`` of 4 s, and ``long.mp4``, which takes a while."""
    folder = tmp_path_factory.mktemp("storage")
    for name, seconds in (("short", 4), ("part", 30)):
        ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={seconds}"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", folder / f"{name}.mp4"),
        )
    part = folder / "part.mp4"
    ffmpeg("-stream_loop", "19", "-i", part, "-c", "copy", folder / "long.mp4")
    part.unlink()
    return folder


@pytest.fixture(scope="session")
def server(
    stack: LocalStack, storage_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The dashboard on the session's stack."""
    server = new_server(stack, storage_dir, tmp_path_factory.mktemp("server") / "log")
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="session")
def worker(
    stack: LocalStack, storage_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A worker of the queue ``default``; a job of any other queue waits."""
    folder = tmp_path_factory.mktemp("worker")
    command = [sys.executable, "-m", "videojobs", "worker", "--storage-dir", str(storage_dir)]
    command += ["--database-url", stack.database_url, "--grace-seconds", "0"]
    environment = {**bare_environment(), "VIDEOJOBS_WORK_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    yield
    process.terminate()
    process.wait(15)


@pytest.fixture(scope="session")
def manager(stack: LocalStack) -> Iterator[VideoJobManager]:
    """A service's manager."""
    with VideoJobManager.from_url(stack.database_url, settings=Settings()) as manager:
        yield manager


@pytest.fixture(scope="session")
def sql(stack: LocalStack) -> Iterator[psycopg.Connection[Any]]:
    """The database, as its owner."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def new_person(stack: LocalStack) -> Callable[[str], Person]:
    """A new user, who has no jobs: each test has people of its own, and nobody is in its way."""

    def new(name: str) -> Person:
        email = f"{name}-{uuid4().hex[:6]}@example.com"
        return Person(email, stack.create_user(email))

    return new


@pytest.fixture
def ada(new_person: Callable[[str], Person]) -> Person:
    """Somebody with jobs."""
    return new_person("ada")


@pytest.fixture
def create(manager: VideoJobManager) -> Callable[..., UUID]:
    """Create a job, by default a quick one of ``short.mp4`` that waits, and give its id."""

    def create(person: Person, **fields: Any) -> UUID:
        wishes: dict[str, Any] = {
            "user_id": person.user_id,
            "source_url": "short.mp4",
            "original_filename": "short.mp4",
            "clip_count": 1,
            "quality_preset": "draft",
            "queue": "held",
            "settings": {"clip_width": 90, "clip_height": 160, "clip_choice": "spread"},
            **fields,
        }
        return manager.create_job(**wishes).id

    return create


@pytest_asyncio.fixture(scope="session")
async def chromium(parts: Parts) -> AsyncIterator[Browser]:
    """The browser; each test has windows of its own in it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=parts.chromium, args=list(CHROMIUM_OPTIONS)
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def windows(chromium: Browser, server: Server) -> AsyncIterator[Windows]:
    """Windows of the session's browser. An error in a page, or a request elsewhere, fails the test."""
    windows = Windows(chromium, server)
    yield windows
    for context in windows.contexts:
        await context.close()
    assert windows.complaints == []
