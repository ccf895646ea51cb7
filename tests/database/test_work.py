"""What a worker does with a job: claim it, keep it, settle it, or go silent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from videojobs import (
    Beat,
    InvalidTransitionError,
    JobNotFoundError,
    LeaseLostError,
    VideoJobManager,
)

USER = UUID("00000000-0000-4000-8000-000000000001")
OTHER_USER = UUID("00000000-0000-4000-8000-000000000002")
TOMORROW = datetime.now(UTC) + timedelta(days=1)
CLAIM = "select job ->> 'original_filename' as name, run_token from public.claim_video_jobs(%s, %s, job_limit => %s)"


def new_job(manager: VideoJobManager, name: str = "a.mp4", **more):
    """Create a job of the user's."""
    return manager.create_job(user_id=USER, original_filename=name, **more)


def claimed(manager: VideoJobManager, **more):
    """Create a job and claim it."""
    new_job(manager, **more)
    (lease,) = manager.claim_jobs("worker-1")
    return lease


def story(manager: VideoJobManager, job_id: UUID) -> list[str]:
    """Return what happened to the job, in order."""
    return [event.type.value for event in manager.get_job_events(job_id)]


def go_silent(sql, lease) -> None:
    """Let the lease have ended a second ago."""
    sql.execute(
        "update videojobs.leases set claimed_at = now() - interval '1 hour', expires_at = now() - interval '1 second' "
        "where job_id = %s",
        (lease.job_id,),
    )


def make_due(sql, job_id: UUID) -> None:
    """End a retried job's wait."""
    sql.execute("update public.video_jobs set run_at = now() where id = %s", (job_id,))


def count(sql, table: str, job_id: UUID) -> int:
    """Return how many rows an internal table has for the job."""
    query = f"select count(*) as rows from {table} where job_id = %s"
    return sql.execute(query, (job_id,)).fetchone()["rows"]


# Claiming


def test_a_claim_follows_priority_then_run_at_then_age(manager):
    """Higher priority goes first, then the earlier run_at, then the job that was created first."""
    past = datetime(2026, 1, 1, tzinfo=UTC)
    new_job(manager, "fourth", priority=5, run_at=past)
    new_job(manager, "second", priority=9, run_at=past)
    new_job(manager, "third", priority=9, run_at=past)
    new_job(manager, "first", priority=9, run_at=past - timedelta(days=1))

    leases = [manager.claim_jobs("worker-1")[0] for _ in range(4)]

    names = [lease.job.original_filename for lease in leases]
    assert names == ["first", "second", "third", "fourth"]


def test_a_batch_comes_in_the_same_order(manager):
    """One claim of several gives them in the order in which single claims would."""
    new_job(manager, "second", priority=2)
    new_job(manager, "first", priority=3)
    new_job(manager, "third", priority=1)

    leases = manager.claim_jobs("worker-1", limit=3)

    assert [lease.job.original_filename for lease in leases] == ["first", "second", "third"]


def test_the_queues_are_served_in_the_order_given(manager):
    """The first queue named is emptied before the second, whatever the priorities are."""
    new_job(manager, "slow", queue="slow", priority=9)
    new_job(manager, "quick", queue="quick", priority=0)
    new_job(manager, "elsewhere", queue="elsewhere", priority=9)

    leases = manager.claim_jobs("worker-1", queues=["quick", "slow"], limit=9)

    # The answer is in the order of priorities; what counts is which were taken.
    assert {lease.job.original_filename for lease in leases} == {"quick", "slow"}
    assert manager.claim_jobs("worker-1", queues=["quick", "slow"]) == []


def test_one_place_goes_to_the_first_queue(manager):
    """With room for one job, the lower priority of the first queue beats the higher of the second."""
    new_job(manager, "slow", queue="slow", priority=9)
    new_job(manager, "quick", queue="quick", priority=0)

    (lease,) = manager.claim_jobs("worker-1", queues=["quick", "slow"])

    assert lease.job.original_filename == "quick"


def test_only_the_pipelines_asked_for_are_claimed(manager):
    """A worker that knows one pipeline leaves the others' jobs."""
    new_job(manager, "clip", pipeline="clips")
    new_job(manager, "film", pipeline="renditions")

    leases = manager.claim_jobs("worker-1", pipelines=["renditions"], limit=9)

    assert [lease.job.original_filename for lease in leases] == ["film"]


def test_a_delayed_job_waits_and_does_not_hold_up_others(manager):
    """A job for tomorrow is not claimed today, and one of a lower priority behind it is."""
    new_job(manager, "tomorrow", priority=9, run_at=TOMORROW)
    new_job(manager, "today", priority=0)

    leases = manager.claim_jobs("worker-1", limit=9)

    assert [lease.job.original_filename for lease in leases] == ["today"]


def test_a_claimed_job_shows_its_worker(manager):
    """The job is processing, in its first attempt, under a new token, and the lease ends as asked."""
    job = new_job(manager)

    (lease,) = manager.claim_jobs(
        "worker-1", lease=timedelta(minutes=5), hard_limit=timedelta(hours=2)
    )

    stored = manager.get_job(job.id)
    assert (stored.status, stored.attempt, stored.run_token) == ("processing", 1, 1)
    assert (stored.worker_id, stored.started_at) == ("worker-1", lease.claimed_at)
    assert lease.expires_at - lease.claimed_at == timedelta(minutes=5)
    assert lease.hard_deadline - lease.claimed_at == timedelta(hours=2)
    assert story(manager, job.id) == ["created", "claimed"]


def test_the_same_claim_key_returns_the_same_leases(sql, manager):
    """A claim whose reply was lost can be repeated: the same jobs under the same tokens, and no more."""
    manager.create_jobs([{"user_id": USER, "original_filename": name} for name in "abc"])
    key = uuid4()

    first = sql.execute(CLAIM, ("worker-1", key, 2)).fetchall()
    again = sql.execute(CLAIM, ("worker-1", key, 2)).fetchall()

    assert first == [{"name": "a", "run_token": 1}, {"name": "b", "run_token": 1}]
    assert again == first


def test_six_callers_with_one_claim_key_get_one_job(database, manager):
    """Repeats that overtake each other still lease one job."""
    manager.create_jobs([{"user_id": USER, "original_filename": name} for name in "abcdef"])
    key = uuid4()

    def claim(_):
        with psycopg.connect(database, autocommit=True) as connection:
            return connection.execute(CLAIM, ("worker-1", key, 1)).fetchall()

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(claim, range(6)))

    assert answers == [answers[0]] * 6
    assert manager.check().processing == 1


def test_claims_of_many_connections_never_overlap(database, manager):
    """Eight workers empty a queue of 300 jobs, and each job goes to one of them, once."""
    manager.create_jobs([{"user_id": USER, "priority": n % 10} for n in range(300)])

    def claim_all(name):
        with VideoJobManager.from_url(database) as worker:
            leases = []
            while batch := worker.claim_jobs(name, limit=7):
                leases += [(lease.job_id, lease.run_token) for lease in batch]
            return leases

    with ThreadPoolExecutor(8) as threads:
        shares = list(threads.map(claim_all, [f"worker-{n}" for n in range(8)]))

    taken = [lease for share in shares for lease in share]
    assert len(taken) == 300
    assert len(set(taken)) == 300


def test_a_claim_does_not_wait_for_another(database, manager):
    """While one worker's claim is not committed, another gets the next job at once."""
    new_job(manager, "first", priority=9)
    new_job(manager, "second")

    with psycopg.connect(database) as connection:
        slow = VideoJobManager.from_connection(connection).claim_jobs("slow")
        quick = manager.claim_jobs("quick")
        connection.commit()

    names = [lease.job.original_filename for lease in slow + quick]
    assert names == ["first", "second"]


def test_a_claim_takes_a_hundred_jobs_at_most(sql, manager):
    """Whoever asks for more, or for no number, gets what PostgREST's row limit cannot cut off."""
    manager.create_jobs([{"user_id": USER} for _ in range(102)])

    many = sql.execute(CLAIM, ("worker-1", uuid4(), 100_000)).fetchall()
    unsaid = sql.execute(CLAIM, ("worker-2", uuid4(), None)).fetchall()

    assert len(many) == 100
    assert len(unsaid) == 1


def test_a_lease_left_behind_by_hand_does_not_stop_the_queue(sql, manager):
    """A running job that somebody set to queued is claimed anew, and its old worker has lost it."""
    old = claimed(manager)
    sql.execute("update public.video_jobs set status = 'queued' where id = %s", (old.job_id,))

    (new,) = manager.claim_jobs("worker-2")

    (reply,) = manager.heartbeat([Beat(job_id=old.job_id, run_token=old.run_token)])
    assert (new.job_id, new.run_token) == (old.job_id, 2)
    assert reply.verdict == "lost"


def test_a_named_job_can_be_started_before_its_time(manager):
    """`start_processing` leases the job whatever its run_at; a second one is refused."""
    job = new_job(manager, run_at=TOMORROW)

    lease = manager.start_processing(job.id, "by hand")

    assert (lease.job.status, lease.worker_id) == ("processing", "by hand")
    with pytest.raises(InvalidTransitionError, match="is processing and cannot be started"):
        manager.start_processing(job.id)


# Keeping


def test_a_heartbeat_moves_the_leases_end(manager):
    """The answer is ok, and the lease then ends the asked time from now."""
    lease = claimed(manager)

    (reply,) = manager.heartbeat(
        [Beat(job_id=lease.job_id, run_token=lease.run_token)], lease=timedelta(hours=3)
    )

    assert reply.verdict == "ok"
    assert reply.expires_at > lease.expires_at + timedelta(hours=2)


def test_a_heartbeat_stores_progress_and_stage(manager):
    """The wide row takes what the beat says, and progress never goes back."""
    lease = claimed(manager)
    held = {"job_id": lease.job_id, "run_token": lease.run_token}
    manager.heartbeat([Beat(**held, progress=40, progress_detail={"720p": 40}, stage="encode")])

    manager.heartbeat([Beat(**held, progress=30, stage="verify")])

    job = manager.get_job(lease.job_id)
    assert (job.progress, job.progress_detail, job.stage) == (40, {"720p": 40}, "verify")


def test_the_first_stage_is_stored_before_any_progress(manager):
    """A worker that is still downloading can say so."""
    lease = claimed(manager)

    manager.heartbeat([Beat(job_id=lease.job_id, run_token=lease.run_token, stage="download")])

    assert manager.get_job(lease.job_id).stage == "download"


def test_a_beat_that_says_nothing_new_leaves_the_row(manager):
    """The wide row is not written by a beat without a whole percent or another stage."""
    lease = claimed(manager)
    held = {"job_id": lease.job_id, "run_token": lease.run_token}
    manager.heartbeat([Beat(**held, progress=40, stage="encode")])
    before = manager.get_job(lease.job_id).updated_at

    manager.heartbeat([Beat(**held), Beat(**held, progress=40, stage="encode")])

    assert manager.get_job(lease.job_id).updated_at == before


def test_one_call_answers_for_each_job(manager):
    """A running, a cancelled-to-be, a settled and a lost job get their own verdicts, in one heartbeat."""
    for name in ("running", "stopping", "done", "taken"):
        new_job(manager, name)
    running, stopping, done, taken = manager.claim_jobs("worker-1", limit=4)
    manager.cancel_job(stopping.job_id)
    manager.complete_job(done)
    beats = [Beat(job_id=each.job_id, run_token=each.run_token) for each in (running, stopping)]
    beats += [
        Beat(job_id=done.job_id, run_token=done.run_token),
        Beat(job_id=taken.job_id, run_token=99),
    ]

    replies = {reply.job_id: reply.verdict for reply in manager.heartbeat(beats)}

    assert replies == {
        running.job_id: "ok",
        stopping.job_id: "cancel_requested",
        done.job_id: "final",
        taken.job_id: "lost",
    }


def test_two_beats_for_one_job_in_a_call_are_taken(manager):
    """A beat that was queued twice, checkpoint and all, does not cost the other jobs their beats."""
    lease = claimed(manager)
    beat = Beat(job_id=lease.job_id, run_token=lease.run_token, checkpoint={"done": ["720p"]})

    replies = manager.heartbeat([beat, beat])

    assert {reply.verdict.value for reply in replies} == {"ok"}


def test_a_heartbeat_locks_jobs_in_the_order_of_their_ids(
    database, manager, in_background, someone_waits
):
    """Its jobs are written as bulk updates go, so that the two cannot wait for each other."""
    first, second = sorted(new_job(manager).id for _ in range(2))
    for job_id in (second, first):  # which is their order on the disk from now on
        manager.start_processing(job_id)
    beats = [Beat(job_id=each, run_token=1, progress=10) for each in (second, first)]

    with psycopg.connect(database) as changing:
        changing.execute("set lock_timeout = '500ms'")  # before Postgres looks for a deadlock
        lock = "select from public.video_jobs where id = %s for no key update"
        changing.execute(lock, (first,))
        beating = in_background(manager.heartbeat, beats)
        someone_waits()
        changing.execute(lock, (second,))
        changing.commit()

    assert {reply.verdict.value for reply in beating.result()} == {"ok"}


def test_a_job_past_its_hard_deadline_cannot_be_kept(sql, manager):
    """After the deadline a heartbeat hears "lost", although the lease has not ended."""
    lease = claimed(manager)
    sql.execute("update videojobs.leases set hard_deadline = now() - interval '1 second'")

    (reply,) = manager.heartbeat([Beat(job_id=lease.job_id, run_token=lease.run_token)])

    assert (reply.verdict, reply.expires_at) == ("lost", None)


# Settling


def test_completing_ends_the_lease(manager):
    """The job is completed at 100 percent with its outputs and times, and its lease is gone."""
    lease = claimed(manager)

    job = manager.complete_job(lease, ["clips/1.mp4", "clips/2.mp4"], 12.5)

    assert (job.status, job.progress, job.processing_time) == ("completed", 100, 12.5)
    assert [
        output["path"] if isinstance(output, dict) else output.path for output in job.output_files
    ] == ["clips/1.mp4", "clips/2.mp4"]
    assert manager.check().processing == 0
    assert story(manager, job.id) == ["created", "claimed", "completed"]


@pytest.mark.parametrize("settle", ["complete", "fail", "release", "confirm_cancel"])
def test_repeating_a_last_write_changes_nothing(manager, settle):
    """A worker whose reply was lost repeats, hears how the job was settled, and adds no event."""
    lease = claimed(manager)
    write = {
        "complete": lambda: manager.complete_job(lease, ["a.mp4"]),
        "fail": lambda: manager.fail_job(lease, "boom"),
        "release": lambda: manager.release_job(lease),
        "confirm_cancel": lambda: manager.confirm_cancel(lease),
    }[settle]
    first = write()
    events = story(manager, lease.job_id)

    again = write()

    assert again == first
    assert story(manager, lease.job_id) == events


@pytest.mark.parametrize("settle", ["complete", "fail", "release", "confirm_cancel"])
def test_a_stale_token_settles_nothing(sql, manager, settle):
    """The worker of an earlier attempt hears that its lease is lost, and the running attempt goes on."""
    old = claimed(manager)
    go_silent(sql, old)
    manager.recover_stuck_jobs()
    (new,) = manager.claim_jobs("worker-2")
    before = manager.get_job(old.job_id)
    write = {
        "complete": lambda: manager.complete_job(old, ["a.mp4"]),
        "fail": lambda: manager.fail_job(old, "boom"),
        "release": lambda: manager.release_job(old),
        "confirm_cancel": lambda: manager.confirm_cancel(old),
    }[settle]

    with pytest.raises(LeaseLostError):
        write()

    assert manager.get_job(old.job_id) == before
    assert manager.complete_job(new).status == "completed"


def test_a_failed_attempt_is_followed_by_a_later_one(manager):
    """The first failure sends the job back for 5 to 10 seconds, with the reason in the row and the events."""
    lease = claimed(manager)

    job = manager.fail_job(lease, "no space", error_code="disk_full", detail={"free": 0})

    event = manager.get_job_events(job.id)[-1]
    wait = (job.run_at - event.at).total_seconds()
    assert (job.status, job.attempt, job.progress) == ("queued", 1, 0)
    assert (job.error_code, job.error_message) == ("disk_full", "no space")
    assert 4.9 <= wait <= 10
    assert event.type == "retried"
    assert {
        "error_code": "disk_full",
        "error_message": "no space",
        "free": 0,
    }.items() <= event.data.items()


@pytest.mark.parametrize(
    ("job", "shortest", "longest"),
    [
        ({"attempt": 1}, 5, 10),
        ({"attempt": 2}, 10, 20),
        ({"attempt": 3}, 20, 40),
        ({"attempt": 20}, 1800, 3600),
        ({"attempt": 3, "retry_base_seconds": 1}, 2, 4),
        ({"attempt": 20, "retry_base_seconds": 1, "retry_cap_seconds": 60}, 30, 60),
        ({"attempt": 1, "retry_base_seconds": 7200}, 3600, 7200),
        ({"attempt": 2, "retry_cap_seconds": 8}, 4, 8),
    ],
)
def test_the_wait_doubles_up_to_a_cap(sql, job, shortest, longest):
    """Each wait is spread over the upper half of its ceiling: the job's own, or the database's."""
    rows = sql.execute(
        """
        select extract(epoch from videojobs.retry_delay(j))::float8 as seconds
        from jsonb_populate_record(null::public.video_jobs, %s) j, generate_series(1, 50)
        """,
        (Jsonb(job),),
    )

    waits = [row["seconds"] for row in rows]

    assert shortest <= min(waits) < max(waits) <= longest


def test_the_last_attempt_fails_for_good(sql, manager):
    """With two attempts allowed, the second failure is final."""
    lease = claimed(manager, max_attempts=2)
    manager.fail_job(lease, "first")
    make_due(sql, lease.job_id)
    (second,) = manager.claim_jobs("worker-1")

    job = manager.fail_job(second, "second")

    assert (job.status, job.attempt, job.error_message) == ("failed", 2, "second")
    assert job.completed_at is not None
    assert story(manager, job.id) == ["created", "claimed", "retried", "claimed", "failed"]


def test_a_permanent_error_fails_at_once(manager):
    """What another attempt cannot mend is final with the first."""
    lease = claimed(manager)

    job = manager.fail_job(lease, "not a video", error_code="corrupt_source", retryable=False)

    assert (job.status, job.attempt, job.error_code) == ("failed", 1, "corrupt_source")


def test_a_released_job_keeps_its_attempts(manager):
    """A shutdown costs nothing: the job is queued at once, as if this attempt had not been."""
    lease = claimed(manager)

    job = manager.release_job(lease)

    (again,) = manager.claim_jobs("worker-2")
    assert (job.status, job.attempt) == ("queued", 0)
    assert (again.job.attempt, again.run_token) == (1, 2)
    assert story(manager, job.id) == ["created", "claimed", "released", "claimed"]


def test_who_asked_to_stop_gets_a_cancelled_job(manager):
    """A failure, or a shutdown, after a wish to cancel ends the job as cancelled."""
    new_job(manager, "failing")
    new_job(manager, "stopping")
    failing, stopping = manager.claim_jobs("worker-1", limit=2)
    manager.cancel_job(failing.job_id)
    manager.cancel_job(stopping.job_id)

    jobs = [manager.fail_job(failing, "boom"), manager.release_job(stopping)]

    assert [job.status.value for job in jobs] == ["cancelled", "cancelled"]
    assert manager.claim_jobs("worker-1") == []


def test_a_wish_to_cancel_that_meets_a_failure_is_not_forgotten(
    database, manager, in_background, someone_waits
):
    """The worker's failure waits for a cancel under way, and then ends the job as cancelled."""
    lease = claimed(manager)

    with psycopg.connect(database) as canceller:
        canceller.execute("select public.cancel_video_job(%s)", (lease.job_id,))
        failing = in_background(manager.fail_job, lease, "boom")
        someone_waits()
        canceller.commit()

    assert failing.result().status == "cancelled"


def test_a_finished_job_beats_a_wish_to_cancel(manager):
    """Work that was done when the wish arrived is kept; the event remembers the wish."""
    lease = claimed(manager)
    manager.cancel_job(lease.job_id)

    job = manager.complete_job(lease, ["a.mp4"])

    assert job.status == "completed"
    assert manager.get_job_events(job.id)[-1].data["cancel_was_requested"] is True


def test_a_service_settles_a_job_by_its_id(manager):
    """Without a lease in hand, the status guards: once completed, it cannot be failed."""
    job = new_job(manager)
    manager.start_processing(job.id)

    done = manager.complete_job(job.id, ["a.mp4"], 120)

    assert (done.status, done.processing_time) == ("completed", 120)
    assert manager.complete_job(job.id, ["a.mp4"]) == done
    with pytest.raises(InvalidTransitionError, match="is completed and cannot be"):
        manager.fail_job(job.id, "late")


def test_setting_a_status_takes_every_way_of_the_machine(manager):
    """`update_job_status` starts, reports, gives back, completes, and refuses what has no edge."""
    job = new_job(manager)

    seen = [
        manager.update_job_status(job.id, "processing", worker_id="script").worker_id,
        manager.update_job_status(job.id, "processing", progress=50, stage="encode").progress,
        manager.update_job_status(job.id, "queued").status.value,
        manager.update_job_status(job.id, "processing").attempt,
        manager.update_job_status(job.id, "completed", output_files=["a.mp4"]).progress,
    ]

    assert seen == ["script", 50, "queued", 1, 100]
    with pytest.raises(InvalidTransitionError):
        manager.update_job_status(job.id, "processing")
    with pytest.raises(InvalidTransitionError):
        manager.update_job_status(job.id, "failed")


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled", "queued"])
def test_a_status_of_a_job_that_is_not_there_is_refused(manager, status):
    """Setting a status on an unknown id says that there is no such job."""
    with pytest.raises(JobNotFoundError):
        manager.update_job_status(uuid4(), status)


def test_no_status_is_refused(sql, manager):
    """NULL is not taken for a wish to queue the job."""
    lease = claimed(manager)

    with pytest.raises(psycopg.Error, match="status: it must be given") as caught:
        sql.execute("select public.update_video_job_status(%s, null)", (lease.job_id,))

    assert caught.value.sqlstate == "VJ004"


def test_setting_a_status_locks_as_workers_do(database, manager, in_background, someone_waits):
    """It waits for the lease before it holds the job, so that it and a heartbeat cannot wait for each other."""
    lease = claimed(manager)

    with psycopg.connect(database) as beating:
        beating.execute("set lock_timeout = '500ms'")  # before Postgres looks for a deadlock
        beating.execute(
            "select from videojobs.leases where job_id = %s for update", (lease.job_id,)
        )
        completing = in_background(manager.update_job_status, lease.job_id, "completed")
        someone_waits()
        beating.execute("update public.video_jobs set progress = 10 where id = %s", (lease.job_id,))
        beating.commit()

    assert completing.result().status == "completed"


# Checkpoints


def test_a_checkpoint_outlives_the_attempts(sql, manager):
    """What a worker saved reaches the next one after a failure and after a silence."""
    lease = claimed(manager)
    saved = {"done": ["720p"]}
    manager.heartbeat([Beat(job_id=lease.job_id, run_token=lease.run_token, checkpoint=saved)])
    manager.fail_job(lease, "boom")
    make_due(sql, lease.job_id)

    (second,) = manager.claim_jobs("worker-2")
    go_silent(sql, second)
    manager.recover_stuck_jobs()
    (third,) = manager.claim_jobs("worker-3")

    assert (lease.checkpoint, second.checkpoint, third.checkpoint) == (None, saved, saved)


def test_a_stale_worker_cannot_save_a_checkpoint(manager):
    """A beat under another token leaves what the holder saved."""
    lease = claimed(manager)
    manager.heartbeat([Beat(job_id=lease.job_id, run_token=99, checkpoint={"from": "stale"})])

    manager.release_job(lease)

    (again,) = manager.claim_jobs("worker-2")
    assert again.checkpoint is None


@pytest.mark.parametrize("settle", ["complete", "fail", "confirm_cancel"])
def test_a_checkpoint_ends_with_the_job(sql, manager, settle):
    """A final job keeps no checkpoint."""
    lease = claimed(manager)
    manager.heartbeat([Beat(job_id=lease.job_id, run_token=lease.run_token, checkpoint={"a": 1})])
    saved = count(sql, "videojobs.checkpoints", lease.job_id)

    {
        "complete": lambda: manager.complete_job(lease),
        "fail": lambda: manager.fail_job(lease, "boom", retryable=False),
        "confirm_cancel": lambda: manager.confirm_cancel(lease),
    }[settle]()

    assert (saved, count(sql, "videojobs.checkpoints", lease.job_id)) == (1, 0)


# Going silent


def test_a_silent_workers_job_is_rescued(sql, manager):
    """After the lease has ended the job is queued again at once, at no cost to its attempts."""
    lease = claimed(manager)
    go_silent(sql, lease)

    (recovered,) = manager.recover_stuck_jobs()

    job = manager.get_job(lease.job_id)
    assert (recovered.job_id, recovered.outcome, recovered.worker_id) == (
        lease.job_id,
        "rescued",
        "worker-1",
    )
    assert (job.status, job.attempt, job.lost_count) == ("queued", 0, 1)
    assert story(manager, job.id) == ["created", "claimed", "rescued"]


def test_a_claim_recovers_what_is_overdue(sql, manager):
    """A worker that asks for work finds a silent worker's job, without anybody else's help."""
    lease = claimed(manager)
    go_silent(sql, lease)

    (again,) = manager.claim_jobs("worker-2")

    assert (again.job_id, again.run_token) == (lease.job_id, 3)


def test_the_third_silence_fails_the_job(sql, manager):
    """A job on which three workers went silent may be what silences them: it fails with worker_lost."""
    job = new_job(manager)
    outcomes = []

    for _ in range(3):
        (lease,) = manager.claim_jobs("worker-1")
        go_silent(sql, lease)
        outcomes += [each.outcome.value for each in manager.recover_stuck_jobs()]

    lost = manager.get_job(job.id)
    assert outcomes == ["rescued", "rescued", "lost"]
    assert (lost.status, lost.error_code, lost.lost_count) == ("failed", "worker_lost", 3)


def test_a_silent_worker_that_was_asked_to_stop_leaves_a_cancelled_job(sql, manager):
    """Recovery does not run a job again that somebody wants stopped."""
    lease = claimed(manager)
    manager.cancel_job(lease.job_id)
    go_silent(sql, lease)

    (recovered,) = manager.recover_stuck_jobs()

    assert recovered.outcome == "cancelled"
    assert manager.get_job(lease.job_id).status == "cancelled"


def test_a_worker_that_does_not_stop_loses_the_job(sql, manager):
    """When the grace time after a wish to cancel is over, the job is cancelled and its worker's writes are refused."""
    lease = claimed(manager)
    manager.cancel_job(lease.job_id)
    before_its_end = manager.recover_stuck_jobs()
    sql.execute("update public.video_jobs set cancel_requested_at = now() - interval '31 seconds'")

    (recovered,) = manager.recover_stuck_jobs()

    assert before_its_end == []
    assert recovered.outcome == "cancelled"
    with pytest.raises(LeaseLostError):
        manager.complete_job(lease, ["late.mp4"])


@pytest.mark.parametrize(
    ("max_attempts", "outcome", "status"), [(2, "retried", "queued"), (1, "failed", "failed")]
)
def test_a_job_past_its_hard_deadline_is_taken_back(sql, manager, max_attempts, outcome, status):
    """An attempt that runs too long has failed: the job is retried, or failed when no attempts are left."""
    lease = claimed(manager, max_attempts=max_attempts)
    sql.execute("update videojobs.leases set hard_deadline = now() - interval '1 second'")

    rows = sql.execute("select job_id, outcome from public.recover_video_jobs()").fetchall()

    job = manager.get_job(lease.job_id)
    assert rows == [{"job_id": lease.job_id, "outcome": outcome}]
    assert (job.status, job.attempt, job.error_code) == (status, 1, "deadline_exceeded")


def test_a_job_that_was_set_running_by_hand_is_rescued(sql, manager):
    """Processing without a lease, which only a hand can make, does not last: recovery queues it again."""
    job = new_job(manager)
    sql.execute(
        "update public.video_jobs set status = 'processing', started_at = now() where id = %s",
        (job.id,),
    )
    stuck = manager.find_stuck_jobs()

    (recovered,) = manager.recover_stuck_jobs()

    assert [each.id for each in stuck] == [job.id]
    assert (recovered.job_id, recovered.outcome) == (job.id, "rescued")
    assert manager.claim_jobs("worker-1")[0].job_id == job.id


def test_the_lease_of_a_job_that_is_gone_ends(sql, manager):
    """A running job that somebody deleted by hand leaves a lease, which recovery removes."""
    lease = claimed(manager)
    sql.execute("delete from public.video_jobs where id = %s", (lease.job_id,))
    go_silent(sql, lease)

    recovered = manager.recover_stuck_jobs()

    assert recovered == []
    assert count(sql, "videojobs.leases", lease.job_id) == 0


def test_recovery_of_a_batch_takes_no_more_than_asked(sql, manager):
    """The limit bounds the work of one call."""
    manager.create_jobs([{"user_id": USER} for _ in range(5)])
    for lease in manager.claim_jobs("worker-1", limit=5):
        go_silent(sql, lease)

    numbers = [len(manager.recover_stuck_jobs(limit=2)) for _ in range(4)]

    assert numbers == [2, 2, 1, 0]


def test_two_recoveries_at_once_share_the_work(database, sql, manager):
    """Each overdue job is recovered by one of them."""
    manager.create_jobs([{"user_id": USER} for _ in range(60)])
    for lease in manager.claim_jobs("worker-1", limit=60):
        go_silent(sql, lease)

    def recover(_):
        with VideoJobManager.from_url(database) as other:
            return [each.job_id for each in other.recover_stuck_jobs(limit=20)]

    with ThreadPoolExecutor(4) as threads:
        shares = list(threads.map(recover, range(4)))

    recovered = [job_id for share in shares for job_id in share]
    assert len(recovered) == len(set(recovered)) >= 20
    assert manager.check().processing == 60 - len(recovered)
    manager.recover_stuck_jobs()


def test_recovery_locks_jobs_in_the_order_of_their_ids(
    database, sql, manager, in_background, someone_waits
):
    """It goes as bulk updates go, so that the two cannot wait for each other."""
    first, second = sorted(new_job(manager).id for _ in range(2))
    for lease in manager.claim_jobs("worker-1", limit=2):
        go_silent(sql, lease)
    sql.execute(
        "update videojobs.leases set expires_at = now() - interval '9 minutes' where job_id = %s",
        (second,),
    )

    with psycopg.connect(database) as changing:
        changing.execute("set lock_timeout = '500ms'")  # before Postgres looks for a deadlock
        lock = "select from public.video_jobs where id = %s for no key update"
        changing.execute(lock, (first,))
        recovering = in_background(manager.recover_stuck_jobs)
        someone_waits()
        changing.execute(lock, (second,))
        changing.commit()

    assert [each.job_id for each in recovering.result()] == [first, second]


def test_stuck_jobs_are_found_and_left(sql, manager):
    """`find_stuck_jobs` lists a silent worker's job, or one that runs for too long, and changes neither."""
    silent, long_running = claimed(manager), claimed(manager)
    go_silent(sql, silent)
    sql.execute(
        "update public.video_jobs set started_at = now() - interval '2 hours' where id = %s",
        (long_running.job_id,),
    )

    stuck = [each.id for each in manager.find_stuck_jobs()]
    slow = [each.id for each in manager.find_stuck_jobs(running_longer_than=timedelta(hours=1))]

    assert stuck == [silent.job_id]
    assert slow == [long_running.job_id, silent.job_id]
    assert manager.check().processing == 2


def test_stuck_jobs_are_found_without_reading_the_history(sql):
    """The plan uses the index of running jobs, whatever number of jobs has ended."""
    sql.execute("set enable_seqscan = off")

    rows = sql.execute(
        "explain select j.* from public.video_jobs j where j.status = 'processing' order by j.started_at"
    )

    plan = " ".join(row["QUERY PLAN"] for row in rows)
    sql.execute("reset enable_seqscan")
    assert "video_jobs_running" in plan
