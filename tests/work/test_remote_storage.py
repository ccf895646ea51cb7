"""A worker whose sources and outputs lie in Supabase Storage or S3: fetched, made, stored."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import s3fs

from s3_server import CREDENTIALS, s3_server
from storage_server import Fault, StorageServer
from videojobs import JobStatus, Settings, VideoJobManager
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.settings import FetchLimits
from videojobs.storage import Storage, open_storage
from videojobs.storage.fsspec import FsspecStorage
from videojobs.storage.supabase import SupabaseStorage
from videojobs.worker import Worker

USER = UUID("aaaaaaaa-0000-4000-8000-000000000001")


@pytest.fixture
def server(tmp_path: Path, videos: Path) -> Iterator[StorageServer]:
    """Supabase Storage's stand-in, with the videos in its bucket."""
    with StorageServer(tmp_path / "server") as server:
        server.put("videos", "short.mp4", videos / "short.mp4")
        yield server


@pytest.fixture
def supabase(server: StorageServer) -> Iterator[SupabaseStorage]:
    """That bucket."""
    storage = SupabaseStorage(server.url, server.key, bucket="videos")
    yield storage
    storage.close()


@dataclass(frozen=True)
class Place:
    """A storage, and what it has by path."""

    storage: Storage
    read: Callable[[str], bytes]


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """A real S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture(params=["supabase", "s3"])
def place(request: pytest.FixtureRequest, videos: Path) -> Place:
    """Either storage, with the videos in it."""
    if request.param == "supabase":
        server: StorageServer = request.getfixturevalue("server")
        storage = request.getfixturevalue("supabase")
        return Place(storage, lambda path: server.content(f"videos/{path}"))
    options = {"endpoint_url": request.getfixturevalue("s3_url"), **CREDENTIALS}
    files, bucket = s3fs.S3FileSystem(**options), f"videos-{secrets.token_hex(4)}"
    files.mkdir(bucket)
    files.pipe_file(f"{bucket}/app/short.mp4", (videos / "short.mp4").read_bytes())
    storage = FsspecStorage(f"s3://{bucket}/app", **options)
    return Place(storage, lambda path: files.cat_file(f"{bucket}/app/{path}"))


def test_a_remote_source_becomes_remote_outputs(
    manager: VideoJobManager, place: Place, create, work_dir: Path, tmp_path: Path
):
    """The stored clip has the size and frame that the job tells, it decodes, and the work folder is empty."""
    job_id = create()

    Worker(manager, storage=place.storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert job.status is JobStatus.COMPLETED, job.error_message
    (video,) = [output for output in job.output_files if output.kind == "video"]
    content = place.read(video.path)
    assert video.path == f"{job_id}/1/clip_01.mp4"
    assert len(content) == video.size_bytes
    (tmp_path / "clip.mp4").write_bytes(content)
    decode(tmp_path / "clip.mp4")
    assert list(work_dir.iterdir()) == []


def decode(path: Path) -> None:
    """Every frame of it, without a complaint."""
    command = [find_ffmpeg(), "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    subprocess.run(command, check=True)


def test_a_network_that_breaks_costs_no_attempt(
    manager: VideoJobManager, supabase: SupabaseStorage, server: StorageServer, create
):
    """The download and the upload go on where they broke."""
    server.faults += [
        Fault("GET", "object/authenticated", "cut", at=10_000),
        Fault("POST", "object/videos", "lose"),
        Fault("POST", "object/videos", "status", at=503),
    ]
    job_id = create()

    Worker(manager, storage=supabase).run(until_idle=True)

    job = manager.get_job(job_id)
    assert (job.status, job.attempt) == (JobStatus.COMPLETED, 1)
    assert not server.faults


def test_a_source_that_is_not_there_fails_for_good(manager: VideoJobManager, place: Place, create):
    """No second attempt can help."""
    job_id = create(source_url="gone.mp4")

    Worker(manager, storage=place.storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "missing_source")


@pytest.mark.timeout(25)  # a silent connection is given up after 30 seconds
@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "object/authenticated", "stall", at=1_000),
        Fault("POST", "object/videos", "hang"),
    ],
    ids=["fetching", "publishing"],
)
def test_a_job_is_cancelled_while_its_files_are_on_the_way(
    manager: VideoJobManager,
    supabase: SupabaseStorage,
    server: StorageServer,
    videos: Path,
    create,
    fault: Fault,
):
    """Though the server is silent; nothing of the attempt is left there."""
    server.faults.append(fault)
    job_id = create()
    worker = Worker(manager, storage=supabase)
    thread = threading.Thread(target=worker.run)
    thread.start()
    while server.faults:
        assert thread.is_alive()

    manager.cancel_job(job_id)
    job = manager.wait_for_job(job_id, timeout=20)

    worker.stop()
    thread.join(timeout=20)
    assert job.status is JobStatus.CANCELLED
    assert set(server.objects) == {"videos/short.mp4"}


@pytest.mark.parametrize("failures", [0, 6], ids=["storage up", "storage down"])
def test_outputs_of_a_lost_lease_are_removed(
    manager: VideoJobManager, server: StorageServer, database: str, create, failures: int
):
    """Where that fails, the worker goes on all the same; the files are nobody's."""
    job_id = create()
    # Nothing but the removal asks for lists.
    server.faults += [Fault("POST", "object/list", "status", at=503)] * failures

    class Robbed(SupabaseStorage):
        """Its worker loses the lease as soon as the outputs are stored."""

        def publish(self, files, prefix, *, cancel=None):
            places = super().publish(files, prefix, cancel=cancel)
            with psycopg.connect(database) as connection:
                connection.execute("update videojobs.leases set expires_at = claimed_at + '1 ms'")
                connection.execute("update public.video_jobs set queue = 'elsewhere'")
                # Within the same transaction, so that no heartbeat renews the lease before.
                connection.execute("select public.recover_video_jobs(100)")
            return places

    storage = Robbed(server.url, server.key, bucket="videos")
    Worker(manager, storage=storage).run(until_idle=True)

    storage.close()
    left = {name for name in server.objects if str(job_id) in name}
    assert manager.get_job(job_id).status is JobStatus.QUEUED
    assert not server.faults
    assert bool(left) is bool(failures)


def test_a_source_that_finds_no_room_is_left_for_another_worker(
    manager: VideoJobManager, server: StorageServer, create
):
    """The job is queued again, and says how much is needed."""
    limits = FetchLimits(space_margin_bytes=2**60)
    storage = SupabaseStorage(server.url, server.key, bucket="videos", limits=limits)
    job_id = create()

    Worker(manager, storage=storage).run(until_idle=True)

    storage.close()
    job = manager.get_job(job_id)
    assert (job.status, job.error_code) == (JobStatus.QUEUED, "disk_full")
    assert str(2**60)[:3] in job.error_message


@pytest.mark.parametrize(
    ("folder", "status"), [(str(USER), JobStatus.COMPLETED), ("uploads", JobStatus.FAILED)]
)
def test_a_worker_may_insist_on_tenants_own_sources(
    database: str, work_dir: Path, storage_dir: Path, folder: str, status: JobStatus
):
    """With ``own_prefix``, a source beside the tenant's folder is refused for good."""
    settings = Settings(work_dir=work_dir, source_policy="own_prefix", storage=storage_dir.as_uri())
    (storage_dir / folder).mkdir()
    (storage_dir / "short.mp4").rename(storage_dir / folder / "short.mp4")
    with VideoJobManager.from_url(database, settings=settings) as manager:
        job_id = manager.create_job(
            user_id=USER,
            source_url=f"{folder}/short.mp4",
            clip_count=1,
            quality_preset="draft",
            settings={"clip_width": 90, "clip_height": 160},
        ).id

        Worker(manager).run(until_idle=True)
        job = manager.get_job(job_id)

    assert job.status is status
    assert job.error_code == (None if status is JobStatus.COMPLETED else "source_refused")
    assert str(open_storage(None, replace(settings, storage=None))) != str(storage_dir)


def test_tenants_own_captions_too(database: str, work_dir: Path, storage_dir: Path):
    """With ``own_prefix``, the text of a file beside the tenant's folder is nobody's to ask for."""
    settings = Settings(work_dir=work_dir, source_policy="own_prefix", storage=storage_dir.as_uri())
    (storage_dir / str(USER)).mkdir()
    (storage_dir / "short.mp4").rename(storage_dir / str(USER) / "short.mp4")
    (storage_dir / "theirs.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nSecret\n")
    with VideoJobManager.from_url(database, settings=settings) as manager:
        job_id = manager.create_job(
            user_id=USER,
            source_url=f"{USER}/short.mp4",
            settings={"captions_url": "theirs.srt", "captions_mode": "sidecar"},
        ).id

        Worker(manager).run(until_idle=True)

        assert manager.get_job(job_id).error_code == "source_refused"


def test_captions_that_a_remote_storage_does_not_have_fail_the_job(
    manager: VideoJobManager, place: Place, create, tmp_path: Path
):
    """For good, each in words of captions: what is not there, and what is too long."""
    (tmp_path / "long.srt").write_bytes(b"a" * 1_000_001)
    stored = place.storage.publish({"long.srt": tmp_path / "long.srt"}, "captions")
    gone, long = (
        create(settings={"captions_url": url}) for url in ("gone.srt", stored["long.srt"])
    )

    Worker(manager, storage=place.storage).run(until_idle=True)

    assert manager.get_job(gone).error_code == "missing_captions"
    assert manager.get_job(long).error_code == "bad_captions"


def test_captions_come_from_a_remote_storage(
    manager: VideoJobManager, place: Place, create, tmp_path: Path
):
    """They are fetched beside the source, not over it, and each clip's own is stored with it."""
    (tmp_path / "talk.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:09.000\nHello\n")
    stored = place.storage.publish({"talk.vtt": tmp_path / "talk.vtt"}, "captions")
    job_id = create(settings={"captions_url": stored["talk.vtt"], "captions_mode": "sidecar"})

    Worker(manager, storage=place.storage).run(until_idle=True)

    job = manager.get_job(job_id)
    kinds = [output.kind for output in job.output_files]
    assert kinds == ["video", "poster", "captions"], job.error_message
    assert b"Hello" in place.read(f"{job_id}/1/clip_01.vtt")


def test_the_command_takes_a_storage(
    manager: VideoJobManager, database: str, storage_dir: Path, create, monkeypatch
):
    """``--storage`` with a URL; its place is in the first line, and two storages are one too many."""
    job_id = create()
    monkeypatch.setenv("SUPABASE_DB_URL", database)
    command = [sys.executable, "-m", "videojobs", "worker", "--storage", storage_dir.as_uri()]

    done = subprocess.run([*command, "--until-idle"], capture_output=True, text=True, check=False)
    both = subprocess.run([*command, "--storage-dir", "/tmp"], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert f"storage {storage_dir}" in done.stderr
    assert manager.get_job(job_id).status is JobStatus.COMPLETED
    assert both.returncode == 2
