"""What attempts leave in the storage is removed, whoever died; and nothing else ever is."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from videojobs import JobFilter, JobStatus, ProcessingError, VideoJobManager
from videojobs.leftovers import Sweeper, mark_of
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker

FILM = {"pipeline": "renditions", "source_url": "film.mp4", "settings": {"segment_seconds": 12}}
SHARED = {**FILM, "settings": {"segment_seconds": 60, "fan_out": True}}

KILLED = """
import os, signal, sys
from videojobs import VideoJobManager
from videojobs.storage import LocalStorage
from videojobs.worker import Worker
from datetime import timedelta

class Storage(LocalStorage):
    def publish(self, files, prefix, *, cancel=None):
        super().publish(files, prefix, cancel=cancel)
        os.kill(os.getpid(), signal.SIGKILL)

manager = VideoJobManager.from_url(sys.argv[1])
Worker(manager, storage=Storage(sys.argv[2]), lease=timedelta(seconds=2)).run()
"""


class KeepsOne(VideoProcessor):
    """Keeps a segment, and then fails; for good or not."""

    retryable = True

    def process(self, source, settings, *, keeper=None, **others):
        folder = others["output_dir"].parent
        (folder / "a.part").write_bytes(b"picture")
        assert not keeper.restore("key", "segment_0001", {"a.mp4": folder / "a.mp4"})
        keeper.keep("key", "segment_0001", {"a.mp4": folder / "a.part"})
        raise ProcessingError("no", code="corrupt_source", retryable=self.retryable)


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., list[tuple]]]:
    """Runs a statement as the owner."""
    with psycopg.connect(database, autocommit=True) as connection:

        def sql(statement: str, *values: object) -> list[tuple]:
            done = connection.execute(statement.encode(), values)
            return done.fetchall() if done.description else []

        yield sql


@pytest.fixture
def listed(sql) -> Callable[[], dict[str, int]]:
    """The leftovers, and how often each was tried."""
    return lambda: dict(sql("select prefix, tries from videojobs.leftovers"))


@pytest.fixture
def sweep(manager, sql, listed) -> Callable[..., None]:
    """The time has come, and a worker works until nothing is listed."""

    def sweep(storage: LocalStorage) -> None:
        sql("update videojobs.leftovers set due_at = now()")
        worker = Worker(manager, storage=storage, queues=["nothing"])
        with running(worker):
            until(lambda: not listed())

    return sweep


@contextlib.contextmanager
def running(worker: Worker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(30)


def until(is_so: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def files(root: Path, job_id: UUID) -> set[str]:
    """What lies in the storage of the job, by path."""
    folder = root / str(job_id)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def waiting_film(manager: VideoJobManager, storage, create) -> UUID:
    """A film whose first attempt kept a segment and failed; it waits for the next."""
    job_id = create(**FILM, retry_base_seconds=3600)
    Worker(manager, KeepsOne(), storage=storage).run(until_idle=True)
    assert manager.get_job(job_id).status is JobStatus.QUEUED
    return job_id


# Films


def test_a_film_that_is_cancelled_while_it_waits(
    manager, storage, storage_dir, create, sweep, listed
):
    """No attempt follows that could remove the segments: any worker does."""
    job_id = waiting_film(manager, storage, create)
    assert listed() == {}

    manager.cancel_job(job_id)

    assert listed() == {f"{job_id}/1.segments": 0}
    assert files(storage_dir, job_id) == {"1.segments/segment_0001/a.mp4"}
    sweep(storage)
    assert files(storage_dir, job_id) == set()


def test_a_film_that_silences_its_workers(
    manager, storage, storage_dir, create, sweep, sql, listed
):
    """What they kept and what they may have published goes when the film has failed."""
    job_id = waiting_film(manager, storage, create)
    sql("update public.video_jobs set lost_count = 2")
    manager.start_processing(job_id)
    storage.publish({"a.mp4": made(storage_dir / "a.part")}, f"{job_id}/2")
    sql("update videojobs.leases set claimed_at = '2020-01-01', expires_at = '2020-01-02'")

    manager.maintain()

    assert manager.get_job(job_id).error_code == "worker_lost"
    assert set(listed()) == {f"{job_id}/{name}" for name in ("1.segments", "2", "2.segments")}
    sweep(storage)
    assert files(storage_dir, job_id) == set()


def made(path: Path) -> Path:
    path.write_bytes(b"picture")
    return path


def test_a_film_that_is_retried_keeps_what_it_makes_anew(
    manager, storage, storage_dir, create, sweep, sql
):
    """The leftovers of its cancelled life go; the new one's segments stay for its next attempt."""
    job_id = waiting_film(manager, storage, create)
    manager.cancel_job(job_id)
    manager.retry_job(job_id)
    Worker(manager, KeepsOne(), storage=storage).run(until_idle=True)
    assert len(files(storage_dir, job_id)) == 2

    sweep(storage)

    assert files(storage_dir, job_id) == {"3.segments/segment_0001/a.mp4"}


def test_a_film_that_ends_by_itself_leaves_nothing_to_look_for(
    manager, storage, storage_dir, create, listed
):
    """Its worker removes the segments at once, and takes them off the list."""
    job_id = create(**FILM)
    processor = KeepsOne()
    processor.retryable = False

    Worker(manager, processor, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.FAILED
    assert files(storage_dir, job_id) == set()
    assert listed() == {}


def test_segments_that_fit_no_more(manager, storage, storage_dir, create, sweep, sql):
    """Their film goes on with others: of another source, other settings, or in another storage."""
    job_id = waiting_film(manager, storage, create)

    class KeepsAnother(VideoProcessor):
        def process(self, source, settings, *, keeper=None, **others):
            folder = others["output_dir"].parent
            keeper.keep("other", "segment_0001", {"a.mp4": made(folder / "a.part")})
            raise ProcessingError("no", code="corrupt_source", retryable=True)

    sql("update public.video_jobs set run_at = now()")
    Worker(manager, KeepsAnother(), storage=storage).run(until_idle=True)

    sweep(storage)

    assert files(storage_dir, job_id) == {"2.segments/segment_0001/a.mp4"}


def test_a_worker_on_another_storage_asks_for_no_segments(
    manager, storage, storage_dir, create, sweep, sql, tmp_path
):
    """It makes them itself. The others are removed by those who can reach them, and by nobody else."""
    job_id = waiting_film(manager, storage, create)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "film.mp4").hardlink_to(storage_dir / "film.mp4")
    sql("update public.video_jobs set run_at = now()")

    Worker(manager, KeepsOne(), storage=LocalStorage(elsewhere)).run(until_idle=True)
    sql("update videojobs.leftovers set due_at = now()")
    Sweeper(manager, LocalStorage(elsewhere)).sweep()

    assert sql("select prefix, storage, tries from videojobs.leftovers") == [
        (f"{job_id}/1.segments", mark_of(storage), 0)
    ]
    assert files(elsewhere, job_id) == {"2.segments/segment_0001/a.mp4"}
    sweep(storage)
    assert files(storage_dir, job_id) == set()


# Films in jobs of their own


def test_a_deleted_film_takes_its_segments_files_with_it(
    manager, storage, storage_dir, create, sweep, listed
):
    """The whole folders of its segments' jobs, which nobody else's are."""
    job_id = create(**SHARED)

    class FailsAtTwo(VideoProcessor):
        def process(self, source, settings, **others):
            if settings.only_segment == 2:
                raise ProcessingError("a bad disk", code="corrupt_source")
            return super().process(source, settings, **others)

    Worker(manager, FailsAtTwo(), storage=storage).run(until_idle=True)
    made = list(manager.iter_jobs(JobFilter(parent_job_id=job_id, status=JobStatus.COMPLETED)))
    listed_before = set(listed())

    manager.delete_job(job_id)

    assert made
    assert all(files(storage_dir, each.id) for each in made)
    assert set(listed()) - listed_before == {str(each.id) for each in made}
    sweep(storage)
    assert not any(files(storage_dir, each.id) for each in made)


# Attempts


def test_outputs_of_a_worker_that_was_killed_before_it_could_tell(
    manager, storage, storage_dir, database, create, sweep, listed
):
    """They lie there whole, of no job; those of the attempt that completed it stay, even on later deletion."""
    job_id = create()
    command = [sys.executable, "-c", KILLED, database, str(storage_dir)]
    killed = subprocess.run(command, env=os.environ, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    until(lambda: manager.maintain().recovered)

    Worker(manager, storage=storage).run(until_idle=True)
    job = manager.get_job(job_id)
    assert job.status is JobStatus.COMPLETED
    assert {path.split("/")[0] for path in files(storage_dir, job_id)} == {"1", "3"}
    manager.delete_job(job_id)
    sweep(storage)

    assert files(storage_dir, job_id) == {
        each.path.removeprefix(f"{job_id}/") for each in job.output_files
    }


def test_what_is_wanted_is_never_removed(manager, storage, storage_dir, create, sql, listed):
    """Neither a completed job's outputs, nor a running attempt's, nor segments that the next one asks for."""
    film = waiting_film(manager, storage, create)
    done = create()
    Worker(manager, storage=storage, pipelines=["clips"]).run(until_idle=True)
    running = create()
    lease = manager.start_processing(running)
    storage.publish({"a.mp4": made(storage_dir / "a.part")}, f"{running}/{lease.run_token}")
    before = {job: files(storage_dir, job) for job in (film, done, running)}
    sql(
        "insert into videojobs.leftovers (prefix, due_at) select p, now() from unnest(%s::text[]) p",
        [f"{film}/1.segments", f"{done}/1", str(done), f"{running}/1", str(running)],
    )

    Sweeper(manager, storage).sweep()

    assert {job: files(storage_dir, job) for job in (film, done, running)} == before
    assert all(before.values())
    # The running ones are looked at again, an hour later.
    assert set(listed()) == {f"{running}/1", str(running)}
    assert sql("select count(*) from videojobs.leftovers where due_at < now()") == [(0,)]


# The list


@pytest.mark.parametrize(
    "prefix", ["", "uploads", "{id}/1/a.mp4", "{id}/../x", "{id}/1.segments/x", "{id}/", "x{id}"]
)
def test_only_places_of_attempts_can_be_listed(sql, prefix: str):
    """No slip can have a user's file removed."""
    with pytest.raises(psycopg.errors.CheckViolation, match="leftovers_are_places_of_attempts"):
        sql(
            "insert into videojobs.leftovers (prefix) values (%s)",
            prefix.replace("{id}", str(uuid4())),
        )


@pytest.fixture
def leftover(storage: LocalStorage, storage_dir: Path, sql) -> str:
    """A prefix with a file, listed and due."""
    prefix = f"{uuid4()}/1"
    storage.publish({"a.mp4": made(storage_dir / "a.part")}, prefix)
    sql("insert into videojobs.leftovers (prefix, due_at) values (%s, now())", prefix)
    return prefix


def test_sweeping_again_is_harmless(manager, storage, storage_dir, sql, listed, leftover):
    """Also when the database was not told of the first time; and of two at once, one comes to it."""
    Sweeper(manager, storage).sweep()
    assert not (storage_dir / leftover).exists()
    sql("insert into videojobs.leftovers (prefix, due_at) values (%s, now())", leftover)

    threads = [threading.Thread(target=Sweeper(manager, storage).sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert listed() == {}


class Broken(LocalStorage):
    """Removes nothing."""

    error: Exception = ProcessingError("the store is down", code="storage_failed", retryable=True)

    def remove(self, prefix: str) -> None:
        raise self.error


@pytest.mark.parametrize("error", [Broken.error, PermissionError("no"), RuntimeError("a driver")])
def test_a_storage_that_fails(
    manager, storage, storage_dir, sql, listed, leftover, sweep, caplog, error: Exception
):
    """It is tried again later and later; the others on the list do not wait for it."""
    broken = Broken(storage_dir)
    broken.error = error
    Sweeper(manager, broken).sweep()
    sql("update videojobs.leftovers set due_at = now()")
    Sweeper(manager, broken).sweep()

    assert listed() == {leftover: 2}
    ((pause,),) = sql("select due_at - now() from videojobs.leftovers")
    assert timedelta(minutes=9) < pause <= timedelta(minutes=10)
    assert f"{leftover} stays in the storage, will try again" in caplog.text
    sweep(storage)
    assert not (storage_dir / leftover).exists()


def test_a_storage_that_never_works(manager, storage_dir, sql, listed, leftover, caplog):
    """After eight tries, it is left to people, who are told."""
    broken = Broken(storage_dir)
    for _ in range(9):
        sql("update videojobs.leftovers set due_at = now()")
        Sweeper(manager, broken).sweep()

    assert listed() == {}
    (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert f"{leftover} stays in its storage for good: it could not be removed in 8 tries" in (
        told.getMessage()
    )


def test_a_storage_that_nobody_works_on_any_more(manager, storage, sql, listed, leftover, caplog):
    """After a month, any worker tells of it."""
    sql(
        "update videojobs.leftovers set storage = 'gone', due_at = now() - '29 days 23 hours'::interval"
    )
    Sweeper(manager, storage).sweep()
    assert listed() == {leftover: 0}
    sql("update videojobs.leftovers set due_at = now() - '31 days'::interval")

    Sweeper(manager, storage).sweep()

    assert listed() == {}
    assert "no worker on that storage came by for a month" in caplog.text


def test_a_folder_that_is_not_mounted(manager, storage, storage_dir, listed, leftover, sweep):
    """Is empty, and yet its disk is not: nothing is taken for removed."""
    away = storage_dir.rename(storage_dir.with_name("away"))
    Sweeper(manager, storage).sweep()
    away.rename(storage_dir)

    assert listed() == {leftover: 1}
    assert (storage_dir / leftover).exists()
    sweep(storage)
    assert not (storage_dir / leftover).exists()
