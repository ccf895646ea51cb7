"""A film whose worker is killed goes on at the segment where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import av
import psycopg
import pytest

from videojobs import JobStatus, NewVideoJob, ProcessingError, VideoJobManager
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker

FILM = {"pipeline": "renditions", "source_url": "film.mp4", "settings": {"segment_seconds": 12}}


@pytest.fixture
def start(database: str, storage_dir: Path, work_dir: Path):
    """Starts a worker as a process of its own, whose log tells every ffmpeg command."""
    started: list[subprocess.Popen[bytes]] = []

    def start(log: Path) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "SUPABASE_DB_URL": database,
            "VIDEOJOBS_TRANSPORT": "postgres",
            "VIDEOJOBS_WORK_DIR": str(work_dir),
        }
        command = [sys.executable, "-m", "videojobs", "-vv", "worker", "--lease-seconds", "5"]
        with log.open("wb") as lines:
            process = subprocess.Popen(
                [*command, "--storage-dir", str(storage_dir)], env=environment, stderr=lines
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def kept_segments(database: str, job_id: UUID) -> set[str]:
    """The segments that the job's checkpoint names."""
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "select checkpoint from videojobs.checkpoints where job_id = %s", (job_id,)
        ).fetchone()
    kept = row[0]["segments"]["kept"] if row else {}
    return {name for names in kept.values() for name in names}


def until_some_are_kept(database: str, job_id: UUID, count: int) -> set[str]:
    end = time.monotonic() + 60
    while len(names := kept_segments(database, job_id)) < count:
        assert time.monotonic() < end, "no segment was kept"
        time.sleep(0.05)
    return names


def segments_encoded(log: Path) -> set[str]:
    """The segments that ffmpeg was called for."""
    text = log.read_text()
    return {f"segment_{n:04}" for n in range(1, 14) if f"180p_{n:04}.mp4.part" in text}


def test_the_successor_of_a_killed_worker_goes_on_at_the_segment(
    manager: VideoJobManager, database, storage_dir, start, create, tmp_path
):
    """After kill -9 no segment that was kept is encoded again, the film is whole, and nothing is left over."""
    job_id = create(**FILM)
    first = start(tmp_path / "first.log")
    kept = until_some_are_kept(database, job_id, 2)

    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(tmp_path / "second.log")
    job = manager.wait_for_job(job_id, timeout=90)
    second.send_signal(signal.SIGTERM)

    assert second.wait(30) == 0
    assert job.status is JobStatus.COMPLETED
    assert job.lost_count == 1
    encoded = segments_encoded(tmp_path / "second.log")
    assert encoded
    assert not encoded & kept
    (video,) = (each for each in job.output_files if each.kind == "video")
    with av.open(str(storage_dir / video.path)) as container:
        assert container.streams.video[0].frames == 1500
    # The rescue took the second token, to revoke the first.
    assert [path.name for path in (storage_dir / str(job_id)).iterdir()] == ["3"]


def test_a_film_that_fails_for_good_leaves_no_segments(
    manager: VideoJobManager, storage: LocalStorage, storage_dir, create
):
    """They are no use without an attempt that will follow."""
    job_id = create(**FILM, max_attempts=1)

    class Fails(VideoProcessor):
        def process(self, source, settings, *, keeper=None, **others):
            folder = others["output_dir"].parent
            (folder / "a.part").write_bytes(b"picture")
            keeper.keep("key", "segment_0001", {"a.mp4": folder / "a.part"})
            assert list((storage_dir / str(job_id)).glob("*.segments/segment_0001/a.mp4"))
            raise ProcessingError("no", code="corrupt_source")

    Worker(manager, Fails(), storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.FAILED
    assert list((storage_dir / str(job_id)).iterdir()) == []


def test_another_tenants_segments_are_no_source(
    manager: VideoJobManager, storage, create, stranger
):
    """They lie in the storage that sources come from."""
    theirs = create()
    job = manager.create_job(
        NewVideoJob(user_id=stranger, source_url=f"{theirs}/1.segments/segment_0001/180p_0001.mp4")
    )

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job.id).error_code == "source_refused"
