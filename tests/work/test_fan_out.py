"""One film, several workers: its segments are jobs of their own, and the queue is all that coordinates them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import av
import psycopg
import pytest

from videojobs import JobFilter, JobStatus, ProcessingError, VideoJob, VideoJobManager
from videojobs import processor as processor_module
from videojobs.media.complexity import measure_complexity
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker

SETTINGS = {"segment_seconds": 30, "fan_out": True}
FILM = {"pipeline": "renditions", "source_url": "film.mp4", "settings": SETTINGS}


@contextlib.contextmanager
def running(*workers: Worker) -> Iterator[None]:
    """The workers run in threads of their own, and have ended after the block."""
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
            worker.stop()
        for thread in threads:
            thread.join(30)


def until(is_so: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def segments(manager: VideoJobManager, job_id: UUID) -> list[VideoJob]:
    return list(manager.iter_jobs(JobFilter(parent_job_id=job_id)))


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return container.streams.video[0].frames


def corners(path: Path) -> tuple[float, float]:
    """How light the upper left corner is in the first and in the last picture."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    rows = [bytes(each.planes[0])[:40] for each in (pictures[0], pictures[-1])]
    return sum(rows[0]) / 40, sum(rows[1]) / 40


def test_two_workers_share_one_film(manager, storage, storage_dir, create, database):
    """Each segment is claimed once, both workers make some, and what is joined is whole."""
    job_id = create(**FILM)
    seen: dict[UUID, VideoJob] = {}

    with running(Worker(manager, storage=storage), Worker(manager, storage=storage)):
        until(lambda: len(segments(manager, job_id)) == 5)
        while not (job := manager.get_job(job_id)).is_final:
            seen.update({each.id: each for each in segments(manager, job_id)})
            time.sleep(0.05)

    assert job.status is JobStatus.COMPLETED
    assert {each.settings["only_segment"] for each in seen.values()} == {1, 2, 3, 4, 5}
    with psycopg.connect(database) as connection:
        claims = connection.execute(
            "select job_id, worker_id from public.video_job_events where type = 'claimed' and job_id = any (%s)",
            (list(seen),),
        ).fetchall()
    assert len(claims) == 5
    assert len({worker for _, worker in claims}) == 2
    (video,) = (output for output in job.output_files if output.kind == "video")
    assert frames(storage_dir / video.path) == 1500
    assert segments(manager, job_id) == []
    assert [path.name for path in storage_dir.iterdir() if path.is_dir()] == [str(job_id)]
    with psycopg.connect(database) as connection:
        assert connection.execute("select prefix from videojobs.leftovers").fetchall() == []


def test_a_shared_film_is_packaged_when_it_is_joined(
    manager, storage, storage_dir, create, monkeypatch
):
    """The segments' jobs make no packages; the film has one, with its thumbnails and per title.

    It is sampled once, by the film's own job: the others are told what that found.
    """
    sampled: list[int | None] = []

    def counted(facts, settings, **others):
        sampled.append(settings.only_segment)
        return measure_complexity(facts, settings, **others)

    monkeypatch.setattr(processor_module, "measure_complexity", counted)
    more = {"rendition_heights": [360], "per_title": True, "thumbnails": True}
    job_id = create(**(FILM | {"pipeline": "hls", "settings": SETTINGS | more}))

    with running(Worker(manager, storage=storage), Worker(manager, storage=storage)):
        job = manager.wait_for_job(job_id, timeout=90)

    assert job.status is JobStatus.COMPLETED, job.error_message
    kinds = [output.kind for output in job.output_files]
    assert kinds == ["video", "poster", "sprite", "thumbnails", "playlist"]
    video, *_, package = job.output_files
    assert frames(storage_dir / video.path) == 1500
    assert sampled == [None]
    master = storage_dir / package.path
    assert master.name == "master.m3u8"
    assert len(list((master.parent / video.name).glob("*.m4s"))) == 25
    (event,) = [each for each in manager.get_job_events(job_id) if each.type == "completed"]
    assert any(warning.startswith("per title: ") for warning in event.data["warnings"])


def test_a_film_that_waits_holds_no_place(manager, storage, create):
    """One worker that runs one job at a time, under a limit of one for the tenant, gets through."""
    job_id = create(**FILM)
    manager.set_limit(1, tenant="*")

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert job.status is JobStatus.COMPLETED
    assert job.attempt == 1


def test_segments_are_not_in_lists(manager, storage, create):
    """People see the films that they asked for, with their progress, and no segments."""
    job_id = create(**FILM)

    with running(Worker(manager, storage=storage)):
        until(lambda: manager.get_job(job_id).progress_detail.get("segments", 0) >= 2)
        film = manager.get_job(job_id)
        listed = [job.id for job in manager.iter_jobs()]

    assert listed == [job_id]
    assert film.status is JobStatus.QUEUED
    assert film.stage == "segments"
    assert film.progress >= 38


def test_a_cancelled_film_stops_its_segments(manager, storage, create):
    """Nobody works for a film that nobody wants any more."""
    job_id = create(**FILM)

    with running(Worker(manager, storage=storage)):
        until(lambda: len(segments(manager, job_id)) == 5)
        manager.cancel_job(job_id)
        until(lambda: all(job.is_final for job in segments(manager, job_id)))

    assert manager.get_job(job_id).status is JobStatus.CANCELLED
    assert JobStatus.CANCELLED in {job.status for job in segments(manager, job_id)}


class FailsAtThree(VideoProcessor):
    """Cannot make the third segment, as long as it is broken."""

    is_broken = True

    def process(self, source, settings, **others):
        if settings.only_segment == 3 and self.is_broken:
            raise ProcessingError("a bad disk", code="corrupt_source")
        return super().process(source, settings, **others)


def test_a_segment_that_fails_for_good_fails_its_film(manager, storage, create, work_dir):
    """The film says which one, and why; retried, it makes only what is missing."""
    job_id = create(**FILM)
    processor = FailsAtThree(work_dir=work_dir)
    worker = Worker(manager, processor, storage=storage)

    worker.run(until_idle=True)
    failed, left = manager.get_job(job_id), segments(manager, job_id)
    processor.is_broken = False
    manager.retry_job(job_id)
    worker.run(until_idle=True)

    assert failed.status is JobStatus.FAILED
    assert failed.error_code == "corrupt_source"
    assert failed.error_message == "segment 3 failed: a bad disk"
    assert {job.settings["only_segment"] for job in left} <= {1, 2, 4, 5}
    assert manager.get_job(job_id).status is JobStatus.COMPLETED
    made = [event for event in manager.get_job_events(job_id) if event.data.get("segments")]
    assert made[-1].data["segments"] == 5 - len(left)


def test_segments_of_another_file_are_made_again(
    manager, storage, storage_dir, create, videos, work_dir
):
    """Whoever replaces a source that failed gets a film of the new one alone."""
    shutil.copy(videos / "film.mp4", storage_dir / "mine.mp4")
    job_id = create(**(FILM | {"source_url": "mine.mp4"}))
    processor = FailsAtThree(work_dir=work_dir)
    worker = Worker(manager, processor, storage=storage)
    worker.run(until_idle=True)
    made = [each for each in segments(manager, job_id) if each.status is JobStatus.COMPLETED]
    (storage_dir / "mine.mp4").unlink()
    other = ("-vf", "negate", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy")
    command = (find_ffmpeg(), "-loglevel", "error", "-i", videos / "film.mp4", *other)
    subprocess.run([*command, storage_dir / "mine.mp4"], check=True)

    processor.is_broken = False
    manager.retry_job(job_id)
    worker.run(until_idle=True)

    (video,) = (each for each in manager.get_job(job_id).output_files if each.kind == "video")
    assert made
    # A blue bar, of shade 81, which is yellow in the other file.
    assert all(shade > 150 for shade in corners(storage_dir / video.path))


def test_a_users_own_jobs_take_no_segments_place(manager, storage, create):
    """Whatever keys they have."""
    job_id = create(**FILM)
    for number in range(1, 6):
        create(source_url="short.mp4", idempotency_key=f"segment {number} of {job_id}")

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.COMPLETED


def test_a_deleted_film_takes_its_segments_with_it(
    manager, storage: LocalStorage, create, work_dir
):
    """No row is left that belongs to nothing."""
    job_id = create(**FILM)
    Worker(manager, FailsAtThree(work_dir=work_dir), storage=storage).run(until_idle=True)

    manager.delete_job(job_id)

    assert segments(manager, job_id) == []


def test_a_short_source_is_not_split(manager, storage, create):
    """There is nothing to share."""
    job_id = create(pipeline="renditions", settings={"fan_out": True})

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.COMPLETED
    assert [event.type for event in manager.get_job_events(job_id)] == [
        "created",
        "claimed",
        "completed",
    ]


@pytest.mark.parametrize("name", ["fan_out", "segment_seconds"])
def test_clips_are_not_cut_into_segments(manager, storage, insert, name: str):
    """Who asks for it is told, and nothing is made that was not asked for."""
    job_id = insert({name: {"fan_out": True, "segment_seconds": 6}[name]})

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "invalid_settings")
    assert "clips are not cut into segments: leave out segment_seconds" in str(job.error_message)


@pytest.mark.parametrize("number", [6, 99])
def test_a_segment_beyond_the_end_is_refused(manager, storage, create, number: int):
    """The job says how many there are."""
    job_id = create(
        pipeline="renditions",
        source_url="film.mp4",
        settings={"segment_seconds": 30, "only_segment": number},
    )

    Worker(manager, storage=storage).run(until_idle=True)

    assert "the source gives 5" in str(manager.get_job(job_id).error_message)
