"""A manager on the real database, a storage folder with small videos, and workers to run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from videojobs import Settings, VideoJobManager
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.storage import LocalStorage

USER = UUID("aaaaaaaa-0000-4000-8000-000000000001")


def ffmpeg(*arguments: str | Path) -> None:
    command = (find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin")
    subprocess.run([*command, *map(str, arguments)], check=True)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``short.mp4`` (4 s), ``film.mp4`` (150 s) and ``long.mp4`` (ten minutes, which never end)."""
    folder = tmp_path_factory.mktemp("videos")
    for name, seconds in (("short", 4), ("film", 150), ("minute", 60)):
        ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=10:duration={seconds}"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", folder / f"{name}.mp4"),
        )
    minute = (folder / "minute.mp4").rename(tmp_path_factory.mktemp("parts") / "minute.mp4")
    ffmpeg("-stream_loop", "9", "-i", minute, "-c", "copy", folder / "long.mp4")
    return folder


@pytest.fixture
def storage_dir(tmp_path: Path, videos: Path) -> Path:
    """A storage root of the test's own, with the videos in it."""
    root = tmp_path / "storage"
    root.mkdir()
    for video in videos.iterdir():
        (root / video.name).hardlink_to(video)
    return root


@pytest.fixture
def storage(storage_dir: Path) -> LocalStorage:
    """The storage of that root."""
    return LocalStorage(storage_dir)


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """Where attempts keep their files; empty before and after each of them."""
    return tmp_path / "work"


@pytest.fixture
def manager(database: str, work_dir: Path) -> Iterator[VideoJobManager]:
    """A service's manager on an empty database."""
    settings = Settings(work_dir=work_dir, poll_seconds=0.5)
    with VideoJobManager.from_url(database, settings=settings) as manager:
        yield manager


@pytest.fixture
def create(manager: VideoJobManager) -> Callable[..., UUID]:
    """Create a quick clips job for ``short.mp4``, or what the fields say, and give its id."""

    def create(**fields: object) -> UUID:
        wishes = {
            "user_id": USER,
            "source_url": "short.mp4",
            "clip_count": 1,
            "quality_preset": "draft",
            "settings": {"clip_width": 90, "clip_height": 160, "clip_choice": "spread"},
            **fields,
        }
        return manager.create_job(**wishes).id

    return create


@pytest.fixture
def insert(create: Callable[..., UUID], database: str) -> Callable[..., UUID]:
    """Like `create`, with settings that nobody has looked at, as where a browser inserts the row."""

    def insert(settings: object) -> UUID:
        job_id = create()
        with psycopg.connect(database) as sql:
            sql.execute(
                "update public.video_jobs set settings = %s where id = %s",
                [Jsonb(settings), job_id],
            )
        return job_id

    return insert


@pytest.fixture
def stranger() -> UUID:
    """A user who has nothing to do with the jobs."""
    return uuid4()
