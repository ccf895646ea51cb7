"""A worker on the real database, with the real ffmpeg."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psutil
import psycopg
import pytest

from videojobs import (
    ConfigurationError,
    JobEventType,
    JobStatus,
    Lease,
    ProcessingCancelledError,
    ProcessingError,
    RefusedError,
    SchemaMismatchError,
    VideoJob,
    VideoJobManager,
)
from videojobs.outcomes import Outcome
from videojobs.pipelines.progress import Progress
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker

#: Of ``long.mp4``, a clip that is never done, and begins to be encoded at once.
ENDLESS = {"clip_seconds": 500, "clip_choice": "spread"}


class Spectator:
    """Notes what a worker tells, and lets tests wait for it."""

    def __init__(self) -> None:
        self.encoding = threading.Event()
        self.done = threading.Event()
        self.percents: list[int] = []
        self.stages: list[str] = []
        self.ended: list[tuple[str, JobStatus | None]] = []

    def claimed(self, lease: Lease) -> None:
        """Nothing to note."""

    def progressed(self, lease: Lease, progress: Progress) -> None:
        self.percents.append(progress.percent)
        self.stages.append(progress.stage)
        if progress.stage == "encoding" and progress.percent > 1:
            self.encoding.set()

    def settled(self, lease: Lease, outcome: Outcome, job: VideoJob | None) -> None:
        self.ended.append((type(outcome).__name__, job.status if job else None))
        self.done.set()


@contextmanager
def running(worker: Worker):
    """The worker runs in a thread, and is stopped at the end."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        worker.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def until(holds, seconds=20.0):
    """Look again and again until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def types_of(manager: VideoJobManager, job_id: UUID) -> list[JobEventType]:
    """What happened to the job, in order."""
    return [event.type for event in manager.get_job_events(job_id)]


def ffmpegs_under(process_id: int) -> list[psutil.Process]:
    """The ffmpeg processes that a process has started."""
    children = psutil.Process(process_id).children(recursive=True)
    return [child for child in children if "ffmpeg" in child.name()]


def test_a_worker_looks_for_the_best_clip(manager, storage, create):
    """It tells that it does, and the outputs say why; the poster lies beside the clip."""
    spectator = Spectator()
    size = {"clip_width": 90, "clip_height": 160}
    job_id = create(quality_preset="standard", settings={"clip_seconds": 1, **size})

    Worker(manager, storage=storage, observer=spectator).run(until_idle=True)

    clip, poster = manager.get_job(job_id).output_files
    assert clip.score is not None
    assert clip.reason
    assert (poster.kind, poster.path) == ("poster", f"{job_id}/1/clip_01.jpg")
    assert "analysing" in spectator.stages


def test_a_job_is_run_to_its_verified_outputs(manager, storage, storage_dir, create):
    """A clips job ends completed, its file lies below job id and run token, and its facts are stored."""
    job_id = create()

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert job.status is JobStatus.COMPLETED
    assert job.progress == 100
    (video,) = [output for output in job.output_files if output.kind == "video"]
    assert video.path == f"{job_id}/1/clip_01.mp4"
    assert (video.width, video.height) == (90, 160)
    assert (storage_dir / video.path).stat().st_size == video.size_bytes
    assert types_of(manager, job_id) == ["created", "claimed", "completed"]


def test_a_worker_runs_behind_a_transaction_pooler(manager, storage, pooler_url, create):
    """Where nobody is woken and nothing is prepared, a waiting worker finds a job and completes it."""
    spectator = Spectator()

    with (
        VideoJobManager.from_url(pooler_url, settings=manager.settings, pooled=True) as behind,
        running(Worker(behind, storage=storage, observer=spectator)),
    ):
        job_id = create()
        spectator.done.wait(60)

    assert spectator.ended == [("Completed", JobStatus.COMPLETED)]
    assert types_of(manager, job_id) == ["created", "claimed", "completed"]


def test_progress_only_grows_and_ends_at_100(manager, storage, create):
    """What the observer hears never goes back."""
    spectator = Spectator()
    create()

    Worker(manager, storage=storage, observer=spectator).run(until_idle=True)

    assert spectator.percents == sorted(spectator.percents)
    assert spectator.percents[-1] == 100


def test_both_built_in_pipelines_are_claimed(manager, storage, create):
    """One worker runs a clips job and a renditions job, two at once if it may."""
    clips, film = create(), create(pipeline="renditions", settings={}, clip_count=None)

    Worker(manager, storage=storage, concurrency=2).run(until_idle=True)

    statuses = {manager.get_job(job_id).status for job_id in (clips, film)}
    assert statuses == {JobStatus.COMPLETED}


def test_jobs_of_other_pipelines_are_left_alone(manager, storage, create):
    """A pipeline that the processor does not know stays queued for somebody who does."""
    foreign = create(pipeline="upscale")

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(foreign).status is JobStatus.QUEUED


def test_a_source_that_is_not_there_fails_for_good(manager, storage, create):
    """No second attempt can help; the error says what to check."""
    job_id = create(source_url="gone.mp4")

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error_code == "missing_source"
    assert "gone.mp4" in job.error_message


def test_settings_that_make_no_sense_fail_with_the_field(manager, storage, insert):
    """A value that the pipeline cannot use is named in the job's error."""
    job_id = insert({"clip_seconds": -1})

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "invalid_settings")
    assert "clip_seconds" in job.error_message


def test_a_pipeline_that_breaks_is_tried_again_later(manager, storage, work_dir, create):
    """A bug in a user's own pipeline queues the job for another attempt, and does not stop the worker."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the planner broke")

    processor = VideoProcessor(pipelines={"mine": broken})
    job_id = create(pipeline="mine")

    Worker(manager, processor, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.QUEUED, "internal_error", 1)
    assert job.run_at > job.updated_at


def test_a_cancelled_run_stops_its_ffmpeg_and_leaves_nothing(
    manager, storage, storage_dir, work_dir, create
):
    """Cancelling a running job ends cancelled, without ffmpeg, temporary files or outputs."""
    spectator = Spectator()
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    worker = Worker(manager, storage=storage, observer=spectator, lease=timedelta(seconds=4))

    with running(worker):
        assert spectator.encoding.wait(30)
        manager.cancel_job(job_id)
        job = manager.wait_for_job(job_id, timeout=15)

    assert job.status is JobStatus.CANCELLED
    assert types_of(manager, job_id)[-2:] == ["cancel_requested", "cancelled"]
    assert ffmpegs_under(os.getpid()) == []
    assert list(work_dir.iterdir()) == []
    assert not (storage_dir / str(job_id)).exists()


def test_a_stopping_worker_gives_its_job_back_at_no_cost(manager, storage, create):
    """After the grace time the job is queued again, with its attempt restored."""
    spectator = Spectator()
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    worker = Worker(manager, storage=storage, observer=spectator, shutdown_grace=timedelta(0))

    with running(worker) as thread:
        assert spectator.encoding.wait(30)
        worker.stop()
        thread.join(timeout=20)

    job = manager.get_job(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 0)
    assert types_of(manager, job_id)[-1] == "released"


def test_a_stopping_worker_finishes_what_is_short(manager, storage, create):
    """Within the grace time a running job is completed, and no other is claimed."""
    spectator = Spectator()
    first, second = create(priority=9), create(priority=0)
    worker = Worker(manager, storage=storage, observer=spectator)
    spectator.claimed = lambda lease: worker.stop()

    worker.run()

    assert manager.get_job(first).status is JobStatus.COMPLETED
    assert manager.get_job(second).status is JobStatus.QUEUED


def test_an_attempt_that_lost_its_lease_writes_nothing(
    manager, storage, storage_dir, work_dir, create
):
    """When the job is taken back while ffmpeg runs, the worker stops it and leaves the job alone."""
    spectator = Spectator()
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    worker = Worker(
        manager, storage=storage, observer=spectator, lease=timedelta(seconds=4), queues=["default"]
    )

    with running(worker):
        assert spectator.encoding.wait(30)
        with psycopg.connect(manager._transport._conninfo) as connection:
            connection.execute("update videojobs.leases set expires_at = claimed_at + '1 ms'")
            connection.execute("update public.video_jobs set queue = 'elsewhere'")
        recovered = manager.recover_stuck_jobs()
        assert spectator.done.wait(15)

    assert [job.job_id for job in recovered] == [job_id]
    assert spectator.ended == [("Abandoned", None)]
    assert manager.get_job(job_id).status is JobStatus.QUEUED
    assert not (storage_dir / str(job_id)).exists()
    assert list(work_dir.iterdir()) == []


def test_a_worker_that_cannot_beat_stops_before_its_lease_ends(
    manager, storage, create, monkeypatch
):
    """With no heartbeat getting through, ffmpeg is stopped by the worker's own clock."""
    from videojobs import SupabaseConnectionError

    spectator, beat = Spectator(), manager.heartbeat

    def fails_from_then_on(*given: object, **named: object) -> object:
        if spectator.encoding.is_set():
            raise SupabaseConnectionError("the network is gone")
        return beat(*given, **named)

    create(source_url="long.mp4", settings=ENDLESS)
    worker = Worker(manager, storage=storage, observer=spectator, lease=timedelta(seconds=6))
    monkeypatch.setattr(manager, "heartbeat", fails_from_then_on)

    with running(worker):
        assert spectator.encoding.wait(30)
        assert spectator.done.wait(15)

    assert spectator.ended == [("Abandoned", None)]


@pytest.fixture
def worker_process(database, storage_dir, work_dir):
    """Starts ``videojobs worker`` as a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "SUPABASE_DB_URL": database,
            "VIDEOJOBS_TRANSPORT": "postgres",
            "VIDEOJOBS_WORK_DIR": str(work_dir),
        }
        command = [sys.executable, "-m", "videojobs", "worker", "--storage-dir", str(storage_dir)]
        process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def encoding(manager: VideoJobManager, job_id: UUID) -> bool:
    """Wait until the job's progress shows that ffmpeg encodes."""
    return any(job.progress > 1 for job in manager.watch_job(job_id))


def test_a_killed_worker_leaves_no_ffmpeg_and_its_files_are_swept(
    manager, work_dir, worker_process, create
):
    """After kill -9 ffmpeg is gone at once, and the next worker's start removes the temporary files."""
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    process = worker_process()
    assert encoding(manager, job_id)
    ffmpegs = ffmpegs_under(process.pid)

    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(ffmpegs, timeout=5)

    assert ffmpegs and not alive and len(gone) == len(ffmpegs)
    assert list(work_dir.glob("attempt-*"))
    manager.update_job_status(job_id, "cancelled")
    second = worker_process("--until-idle")
    assert second.wait(timeout=30) == 0
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_gently(manager, worker_process, create, number: signal.Signals):
    """On SIGTERM and SIGINT, once the grace time is over, the job is released and the exit code is 0."""
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    process = worker_process("--grace-seconds", "0")
    assert encoding(manager, job_id)

    process.send_signal(number)
    code = process.wait(timeout=20)

    assert code == 0
    assert types_of(manager, job_id)[-1] == "released"
    assert manager.get_job(job_id).status is JobStatus.QUEUED


def test_a_second_signal_hurries_the_worker(manager, worker_process, create):
    """It does not wait for the end of the grace time."""
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    process = worker_process("--grace-seconds", "3600")
    assert encoding(manager, job_id)

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=20)

    assert code == 0
    assert types_of(manager, job_id)[-1] == "released"


def test_a_worker_needs_service_rights(manager, stack, storage, create, stranger):
    """A user's manager is refused before anything is claimed."""
    from videojobs import PermissionDeniedError, Settings

    settings = Settings(jwt_secret=stack.jwt_secret)
    job_id = create()

    with VideoJobManager.from_url(stack.database_url, settings=settings) as service:
        user = service.as_user(stack.user_token(stranger))
        with pytest.raises(PermissionDeniedError):
            Worker(user, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.QUEUED


def test_an_observer_that_raises_does_not_harm_the_work(manager, storage, create):
    """The job is completed all the same."""

    class Broken(Spectator):
        def progressed(self, lease: Lease, progress: Progress) -> None:
            raise RuntimeError("the observer broke")

    job_id = create()

    Worker(manager, storage=storage, observer=Broken()).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.COMPLETED


def test_a_worker_is_woken_by_a_new_job(manager, storage, create):
    """On a direct connection an idle worker claims within its pause, whatever the pause."""
    woken = threading.Event()
    spectator = Spectator()
    spectator.claimed = lambda lease: woken.set()
    worker = Worker(manager, storage=storage, observer=spectator)

    with manager.listen_for_work() as listener:
        create()
        announced = listener.wait(["default"], 20)
    with running(worker):
        claimed = woken.wait(20)

    assert announced
    assert claimed


def test_a_beat_that_hangs_does_not_keep_ffmpeg_running(manager, storage, create, monkeypatch):
    """A network that swallows the heartbeat: ffmpeg is stopped before the lease ends all the same."""
    never = threading.Event()
    spectator = Spectator()
    create(source_url="long.mp4", settings=ENDLESS)
    worker = Worker(manager, storage=storage, observer=spectator, lease=timedelta(seconds=6))
    monkeypatch.setattr(manager, "heartbeat", lambda *_, **__: never.wait(60))

    with running(worker):
        assert spectator.done.wait(15)
        never.set()

    assert spectator.ended == [("Abandoned", None)]


def test_a_worker_can_run_again(manager, storage, create):
    """A second run keeps its leases like the first one."""
    spectator = Spectator()
    worker = Worker(manager, storage=storage, observer=spectator, lease=timedelta(seconds=4))
    worker.run(until_idle=True)
    job_id = create(source_url="long.mp4", settings=ENDLESS)

    with running(worker):
        assert spectator.encoding.wait(30)
        manager.cancel_job(job_id)
        job = manager.wait_for_job(job_id, timeout=15)

    assert job.status is JobStatus.CANCELLED
    assert types_of(manager, job_id).count("claimed") == 1


def test_a_beat_that_breaks_is_followed_by_another(manager, storage, create, monkeypatch):
    """Whatever the first beat raises, the next one keeps the lease."""
    beat, calls = manager.heartbeat, []

    def broken_once(*given: object, **named: object) -> object:
        calls.append(given)
        if len(calls) == 1:
            raise ZeroDivisionError
        return beat(*given, **named)

    spectator = Spectator()
    job_id = create(source_url="long.mp4", settings=ENDLESS)
    worker = Worker(manager, storage=storage, observer=spectator, lease=timedelta(seconds=4))
    monkeypatch.setattr(manager, "heartbeat", broken_once)

    with running(worker):
        assert spectator.encoding.wait(30)
        manager.cancel_job(job_id)
        job = manager.wait_for_job(job_id, timeout=15)

    assert job.status is JobStatus.CANCELLED


def test_a_worker_that_gets_no_answer_is_not_idle(manager, storage, create, monkeypatch):
    """With until_idle it goes on until the database has said that nothing is ready."""
    from videojobs import SupabaseConnectionError

    perform, keys = manager.perform, []

    def fails_twice(call, deadline_seconds=None):
        if call.function == "settle_video_jobs":
            keys.append(call.arguments["claim"].value["claim_key"])
            if len(keys) <= 2:
                raise SupabaseConnectionError("the network is gone")
        return perform(call, deadline_seconds)

    job_id = create()
    monkeypatch.setattr(manager, "perform", fails_twice)

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.COMPLETED
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_job_that_cannot_be_read_does_not_stop_the_worker(manager, database, storage, create):
    """A row of a newer version, or one changed by hand, is left to its lease; the next one is run."""
    strange, plain = create(priority=9), create()
    with psycopg.connect(database) as connection:
        connection.execute(
            "update public.video_jobs set progress_detail = '{}', output_files = '[1]' where id = %s",
            [strange],
        )

    worker = Worker(manager, storage=storage)
    worker.run(until_idle=True)
    worker.run(until_idle=True)

    assert manager.get_job(plain).status is JobStatus.COMPLETED
    with pytest.raises(SchemaMismatchError, match="cannot be read by this version"):
        manager.get_job(strange)


def test_a_finished_job_is_told_as_long_as_its_lease_lives(manager, storage, create, monkeypatch):
    """An outage longer than a call's patience, at the very end, does not cost the work."""
    from videojobs import SupabaseConnectionError

    perform, refused = manager.perform, []

    def out_of_reach(call, deadline_seconds=None):
        settles = call.function == "settle_video_jobs" and call.arguments["settlements"].value
        if settles and len(refused) < 2:
            refused.append(deadline_seconds)
            raise SupabaseConnectionError("the network is gone")
        return perform(call, deadline_seconds)

    job_id = create()
    monkeypatch.setattr(manager, "perform", out_of_reach)

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.COMPLETED
    assert types_of(manager, job_id) == ["created", "claimed", "completed"]
    assert len(refused) == 2


def test_an_idle_worker_takes_back_what_does_not_stop(manager, database, storage, create):
    """A job whose worker ignores a wish to cancel is cancelled by another worker after the grace time."""
    job_id = create()
    manager.start_processing(job_id)
    manager.cancel_job(job_id)
    with psycopg.connect(database) as connection:
        connection.execute(
            "update public.video_jobs set cancel_requested_at = now() - interval '1 hour'"
        )

    worker = Worker(manager, storage=storage, lease=timedelta(seconds=4))
    with running(worker):
        job = manager.wait_for_job(job_id, timeout=15)

    assert job.status is JobStatus.CANCELLED


@pytest.mark.parametrize(
    "path",
    [
        "{theirs}/1/clip_01.mp4",
        "./{theirs}/./1/clip_01.mp4",
        "{theirs}%2F1%2Fclip_01.mp4",
        "{theirs}/x/../1/clip_01.mp4",
        "{own}/1/../../{theirs}/1/clip_01.mp4",
        "link/1/clip_01.mp4",
        "file://{root}/{theirs}/1\t/../1/clip_01.mp4",
    ],
)
def test_another_tenants_output_is_no_source(manager, storage, storage_dir, create, stranger, path):
    """Outputs lie in the same storage as sources; only their own tenant may use them again, by
    whatever way a path leads there."""
    theirs, strangers = create(), create(user_id=stranger)
    Worker(manager, storage=storage).run(until_idle=True)
    (storage_dir / str(theirs) / "x").mkdir()
    (storage_dir / "link").symlink_to(str(theirs))
    named = path.format(theirs=theirs, own=strangers, root=storage_dir)
    job_id = create(user_id=stranger, source_url=named)
    own = create(source_url=f"{theirs}/1/clip_01.mp4")

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "source_refused")
    assert manager.get_job(own).status is JobStatus.COMPLETED


def test_another_tenants_output_is_no_captions_file(manager, storage, create, stranger):
    """A sidecar of theirs is theirs, as a clip is."""
    theirs = create()
    Worker(manager, storage=storage).run(until_idle=True)
    job_id = create(user_id=stranger, settings={"captions_url": f"{theirs}/1/clip_01.vtt"})

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).error_code == "source_refused"


def test_captions_come_from_the_storage(manager, storage, storage_dir, create):
    """The worker fetches them, and stores each clip's own beside it."""
    (storage_dir / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nHello\n")
    job_id = create(settings={"captions_url": "talk.srt", "captions_mode": "sidecar"})

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert [output.kind for output in job.output_files] == ["video", "poster", "captions"]
    assert "Hello" in (storage_dir / f"{job_id}/1/clip_01.vtt").read_text()


@pytest.mark.parametrize(
    ("url", "code"),
    [("gone.srt", "missing_captions"), ("../secret", "source_refused"), ("short.mp4", "bad_captions"),
     (7, "invalid_settings")],
)  # fmt: skip
def test_captions_that_cannot_be_used_fail_the_job(manager, storage, insert, url, code):
    """For good, and with a code that tells why."""
    job_id = insert({"captions_url": url})

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).error_code == code


def test_what_is_said_of_captions_that_are_not_there(manager, storage, create):
    """It names them and their setting, not the source that is there."""
    job_id = create(settings={"captions_url": "gone.srt"})

    Worker(manager, storage=storage).run(until_idle=True)

    said = str(manager.get_job(job_id).error_message)
    assert said.startswith("there is no captions file at 'gone.srt'. Check captions_url")
    assert types_of(manager, job_id) == ["created", "claimed", "failed"]


def test_captions_beyond_their_own_limit_fail_for_good(manager, storage, storage_dir, create):
    """It is not a source's limit, which no setting of the workers would help."""
    (storage_dir / "long.srt").write_bytes(b"a" * 1_000_001)
    job_id = create(settings={"captions_url": "long.srt"})

    Worker(manager, storage=storage).run(until_idle=True)

    job = manager.get_job(job_id)
    assert job.error_code == "bad_captions"
    assert "more than 1,000,000 bytes" in str(job.error_message)
    assert "SOURCE" not in str(job.error_message)
    assert types_of(manager, job_id) == ["created", "claimed", "failed"]


def test_warnings_are_part_of_the_history(manager, storage, create, caplog):
    """Fewer clips than asked for: the completed event says so, and the worker's log."""
    job_id = create(clip_count=20)

    Worker(manager, storage=storage).run(until_idle=True)

    (event,) = [each for each in manager.get_job_events(job_id) if each.type == "completed"]
    assert "of 20 clips" in event.data["warnings"][0]
    assert f"job {job_id}: {event.data['warnings'][0]}" in caplog.messages


def test_until_idle_does_not_wait_for_what_others_hold(manager, storage, create):
    """A dead worker's job comes back when its lease ends; the run is over before."""
    job_id = create()
    manager.start_processing(job_id)

    Worker(manager, storage=storage).run(until_idle=True)

    assert manager.get_job(job_id).status is JobStatus.PROCESSING


def test_a_worker_without_its_storage_claims_nothing(manager, tmp_path, create):
    """A folder that is not there, such as a disk that is not mounted yet, costs no job."""
    job_id = create()

    with pytest.raises(ConfigurationError, match="storage folder"):
        Worker(manager, storage=LocalStorage(tmp_path / "nowhere")).run(until_idle=True)

    assert types_of(manager, job_id) == ["created"]


class Endless(VideoProcessor):
    """Works without end and without progress, so that nothing but an order makes a beat come early."""

    def process(self, source, settings, *, output_dir, on_progress=None, cancel=None, keeper=None):
        cancel.wait()
        raise ProcessingCancelledError


def test_a_running_job_hears_of_a_cancel_at_once(manager, storage, create):
    """On a direct connection the worker is called by its name, long before its next beat."""
    job_id = create()

    with running(Worker(manager, Endless(), storage=storage, lease=timedelta(hours=1))):
        until(lambda: manager.get_job(job_id).status is JobStatus.PROCESSING)
        manager.cancel_job(job_id)
        job = manager.wait_for_job(job_id, timeout=10)

    assert job.status is JobStatus.CANCELLED
    assert types_of(manager, job_id) == ["created", "claimed", "cancel_requested", "cancelled"]


def test_a_worker_drains_when_asked_to(manager, storage, create):
    """It finishes what it runs, claims no more, says goodbye, and run returns."""
    running_one, waiting_one = create(), create()
    worker = Worker(manager, storage=storage, lease=timedelta(hours=1))

    with running(worker) as thread:
        until(lambda: worker.id in {each.worker_id for each in manager.list_workers()})
        manager.drain_worker(worker.id)
        thread.join(timeout=30)

        assert not thread.is_alive()
    statuses = {manager.get_job(job_id).status for job_id in (running_one, waiting_one)}
    assert JobStatus.PROCESSING not in statuses
    assert manager.list_workers() == []


def test_a_worker_without_jobs_drains_too(manager, storage):
    """An idle worker hears the order as well, though it has no lease to keep."""
    worker = Worker(manager, storage=storage, lease=timedelta(hours=1))

    with running(worker) as thread:
        until(lambda: worker.id in {each.worker_id for each in manager.list_workers()})
        manager.drain_worker(worker.id)
        thread.join(timeout=30)

        assert not thread.is_alive()


def test_one_bad_report_does_not_keep_the_others_from_being_settled(
    manager, storage, create, monkeypatch
):
    """What the database refuses is left to its lease; what ended beside it is completed."""
    bad, good = create(), create()
    perform = manager.perform

    def refuses_the_bad_one(call, deadline_seconds=None):
        if call.function == "settle_video_jobs" and str(bad) in {
            each["job_id"] for each in call.arguments["settlements"].value
        }:
            raise RefusedError("told so")
        return perform(call, deadline_seconds)

    monkeypatch.setattr(manager, "perform", refuses_the_bad_one)

    Worker(manager, storage=storage, concurrency=2).run(until_idle=True)

    assert manager.get_job(good).status is JobStatus.COMPLETED
    assert manager.get_job(bad).status is JobStatus.PROCESSING


def test_a_checkpoint_is_there_for_the_next_attempt(manager, database, storage, create):
    """What an attempt saves goes with the next beat, and its successor finds it in its lease."""
    job_id = create()
    found: list[object] = []

    class Saves(VideoProcessor):
        def process(
            self, source, settings, *, output_dir, on_progress=None, cancel=None, keeper=None
        ):
            (attempt,) = worker._in_hand
            found.append(attempt.lease.checkpoint)
            attempt.save({"segment": len(found)})
            until(lambda: attempt._checkpoint is None)
            raise ProcessingError("the disk is full", code="disk_full", retryable=True)

    worker = Worker(manager, Saves(), storage=storage)
    worker.run(until_idle=True)
    with psycopg.connect(database) as connection:
        connection.execute("update public.video_jobs set run_at = now() - interval '1 second'")
    worker.run(until_idle=True)

    assert found == [None, {"segment": 1}]
    assert manager.get_job(job_id).error_code == "disk_full"


def test_a_worker_whose_ffmpeg_does_not_run_says_so_at_once(manager, storage, create, tmp_path):
    """It claims nothing: every job would fail on it."""
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    job_id = create()

    with pytest.raises(ConfigurationError, match="does not run as ffmpeg"):
        Worker(manager, VideoProcessor(ffmpeg=str(broken)), storage=storage).run()

    assert manager.get_job(job_id).status is JobStatus.QUEUED
