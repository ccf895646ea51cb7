"""What owners and services do with jobs: create, list, cancel, retry, delete, clear and change many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from videojobs import (
    IdempotencyConflictError,
    InvalidTransitionError,
    JobChanges,
    JobFilter,
    JobNotFoundError,
    NewVideoJob,
    VideoJobManager,
    calls,
)

USER = UUID("00000000-0000-4000-8000-000000000001")
OTHER_USER = UUID("00000000-0000-4000-8000-000000000002")


def new_job(manager: VideoJobManager, name: str = "a.mp4", **more):
    """Create a job of the user's."""
    return manager.create_job(**{"user_id": USER, "original_filename": name, **more})


def failed(manager: VideoJobManager, name: str = "a.mp4", **more):
    """Create a job and let it fail."""
    job = new_job(manager, name, **more)
    manager.start_processing(job.id, "worker-1")
    return manager.fail_job(job.id, "boom", error_code="corrupt_source", retryable=False)


def story(manager: VideoJobManager, job_id: UUID) -> list[str]:
    """Return what happened to the job, in order."""
    return [event.type.value for event in manager.get_job_events(job_id)]


# Creating


def test_the_same_wish_with_the_same_key_is_the_same_job(manager):
    """A key that the user has used returns the first job, also after it has moved on."""
    wish = {"source_url": "a.mp4", "settings": {"b": 1, "a": [1.0]}, "idempotency_key": "order-7"}
    first = new_job(manager, **wish)
    manager.start_processing(first.id)

    again = new_job(manager, **wish)

    assert (first.created, again.created) == (True, False)
    assert (again.id, again.status) == (first.id, "processing")
    assert story(manager, first.id) == ["created", "claimed"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("original_filename", "b.mp4"),
        ("source_url", "b.mp4"),
        ("clip_count", 4),
        ("pipeline", "renditions"),
        ("settings", {"a": 2}),
        ("quality_preset", "pro"),
        ("platform_target", "tiktok"),
        ("resource_id", "x"),
    ],
)
def test_another_wish_with_the_same_key_is_refused(manager, field, value):
    """Other content under a used key is an error that names the job and what differs."""
    first = new_job(manager, idempotency_key="order-7")

    with pytest.raises(IdempotencyConflictError, match=field) as caught:
        new_job(manager, **{"idempotency_key": "order-7", field: value})

    assert str(first.id) in str(caught.value)
    assert manager.check().queued == 1


def test_when_a_job_runs_is_not_its_content(manager):
    """A repeat with another priority or time is the same wish, and changes nothing."""
    first = new_job(manager, idempotency_key="order-7", priority=5)

    again = new_job(manager, idempotency_key="order-7", priority=9, queue="quick")

    assert (again.id, again.priority, again.queue) == (first.id, 5, "default")


def test_two_users_may_have_the_same_key(manager):
    """A key is its user's own."""
    mine = new_job(manager, idempotency_key="order-7")

    theirs = new_job(manager, user_id=OTHER_USER, idempotency_key="order-7")

    assert theirs.created
    assert theirs.id != mine.id


def test_a_batch_answers_in_its_order_with_old_and_new(manager):
    """Of several wishes, some known and one given twice, each gets the id of its job."""
    known = new_job(manager, "known", idempotency_key="k")
    twice = {"user_id": USER, "original_filename": "twice", "idempotency_key": "t"}

    receipts = manager.create_jobs(
        [
            {"user_id": USER, "original_filename": "new"},
            {"user_id": USER, "original_filename": "known", "idempotency_key": "k"},
            twice,
            twice,
        ]
    )

    assert [receipt.created for receipt in receipts] == [True, False, True, False]
    assert receipts[1].id == known.id
    assert receipts[2].id == receipts[3].id
    assert manager.check().queued == 3


def test_a_batch_with_one_bad_wish_makes_nothing(manager):
    """All or none: a conflict in the middle leaves no job behind."""
    new_job(manager, "known", idempotency_key="k")

    with pytest.raises(IdempotencyConflictError):
        manager.create_jobs(
            [
                {"user_id": USER, "original_filename": "new"},
                {"user_id": USER, "original_filename": "another", "idempotency_key": "k"},
            ]
        )

    assert manager.check().queued == 1


def test_a_create_that_meets_its_twin_waits_and_returns_it(
    database, manager, in_background, someone_waits
):
    """While the first is not committed the second waits; then both have the same job."""
    wish = NewVideoJob(user_id=USER, source_url="a.mp4", idempotency_key="order-7")

    with psycopg.connect(database) as connection:
        first = VideoJobManager.from_connection(connection).create_job(wish)
        second = in_background(manager.create_job, wish)
        someone_waits()
        connection.commit()

    assert second.result().id == first.id
    assert not second.result().created
    assert story(manager, first.id) == ["created"]


def test_a_create_whose_twin_is_rolled_back_makes_the_job(
    database, manager, in_background, someone_waits
):
    """If the first gives up, the second's wish is not lost."""
    wish = NewVideoJob(user_id=USER, source_url="a.mp4", idempotency_key="order-7")

    with psycopg.connect(database) as connection:
        VideoJobManager.from_connection(connection).create_job(wish)
        second = in_background(manager.create_job, wish)
        someone_waits()
        connection.rollback()

    assert second.result().created
    assert manager.check().queued == 1


def test_many_creates_with_few_keys_make_one_job_for_each(database, manager):
    """Eight connections that repeat ten wishes make ten jobs, each with one "created" event."""
    wishes = [
        NewVideoJob(user_id=USER, source_url=f"{n}.mp4", idempotency_key=f"order-{n}")
        for n in range(10)
    ]

    def create_all(_):
        with VideoJobManager.from_url(database) as other:
            return [other.create_job(wish).id for wish in wishes]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create_all, range(8)))

    assert answers == [answers[0]] * 8
    assert manager.check().queued == 10
    assert {tuple(story(manager, job_id)) for job_id in answers[0]} == {("created",)}


def test_two_imports_of_one_list_from_both_ends_make_each_job_once(database, manager):
    """Batches that lock each other out are repeated by the library, and agree about every job."""
    wishes = [{"user_id": USER, "idempotency_key": f"row-{n}"} for n in range(300)]

    def import_all(order):
        with VideoJobManager.from_url(database) as other:
            return [receipt.id for receipt in other.create_jobs(order)]

    with ThreadPoolExecutor(2) as threads:
        forwards, backwards = threads.map(import_all, [wishes, wishes[::-1]])

    assert forwards == backwards[::-1]
    assert manager.check().queued == 300


def test_a_repeated_call_finds_what_the_first_made(sql, manager):
    """Without a key of the user's, the id that the library made guards: the same call gives the same job."""
    wishes = calls.create_job(NewVideoJob(user_id=USER, source_url="a.mp4"), uuid4()).arguments
    create = "select id from public.create_video_jobs(%s)"

    first, again = (sql.execute(create, (Jsonb(wishes["jobs"].value),)).fetchone() for _ in "12")

    assert first == again
    assert manager.check().queued == 1


# Listing


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ([], "non-object"),
        ("text", "non-object"),
        ({"user_id": "me"}, "uuid"),
        ({"status": ["done"]}, "video_job_status"),
        ({"platform_target": "vimeo"}, "video_job_platform_target"),
        ({"quality_preset": "best"}, "video_job_quality_preset"),
        ({"resource_type": "book"}, "video_job_resource_type"),
        ({"created_from": "yesterday-ish"}, "timestamp"),
        ({"created_before": "2026-13-01"}, "date/time"),
        ({"priority": 9}, "priority is not a field"),
        ({"1=1; --": 9}, "is not a field"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        "public.list_video_jobs(%s)",
        "public.get_video_job_stats(%s)",
        "public.clear_video_jobs(%s)",
        "public.bulk_update_video_jobs('{}', filter => %s)",
    ],
)
def test_a_malformed_filter_is_refused_as_such(sql, function, filters, told):
    """Whoever calls the functions without the library hears that it is the filter, under our own code."""
    with pytest.raises(psycopg.Error, match=told) as caught:
        sql.execute(f"select * from {function}", (Jsonb(filters),))

    assert caught.value.sqlstate == "VJ004"


@pytest.mark.parametrize(
    "field",
    ["pipeline", "queue", "resource_id", "resource_parent_id", "worker_id", "error_code", "search"],
)
@pytest.mark.parametrize(
    "value", ["' or 'a' = 'a", "\\' or true --", "%", "x', 'y') or (true", "$1"]
)
def test_a_filter_is_only_ever_a_value(sql, manager, field, value):
    """Text that tries to become SQL, or a pattern, matches no job."""
    new_job(manager)

    rows = sql.execute(
        "select 1 from public.list_video_jobs(%s)", (Jsonb({field: value}),)
    ).fetchall()

    assert rows == []


@pytest.mark.parametrize(
    ("filters", "number"), [({"status": []}, 0), ({"status": "queued"}, 1), ({}, 1), (None, 1)]
)
def test_an_unusual_filter_has_a_plain_meaning(sql, manager, filters, number):
    """No status matches nothing, one status may stand alone, and no filter matches all."""
    new_job(manager)

    rows = sql.execute(
        "select 1 from public.list_video_jobs(%s)", (None if filters is None else Jsonb(filters),)
    ).fetchall()

    assert len(rows) == number


# Cancelling


def test_a_waiting_job_is_cancelled_at_once(manager):
    """The reason is in the history, and no worker gets the job."""
    job = new_job(manager)

    cancelled = manager.cancel_job(job.id, reason="wrong file")

    assert (cancelled.status, cancelled.cancelled_at is not None) == ("cancelled", True)
    assert manager.get_job_events(job.id)[-1].data == {"reason": "wrong file"}
    assert manager.claim_jobs("worker-1") == []


def test_a_running_job_is_asked_to_stop_and_confirms(manager):
    """The wish is stored once; the worker's word makes it so."""
    job = new_job(manager)
    lease = manager.start_processing(job.id)

    asked = manager.cancel_job(job.id)
    again = manager.cancel_job(job.id)
    stopped = manager.confirm_cancel(lease)

    assert (asked.status, asked.cancel_requested_at) == ("processing", again.cancel_requested_at)
    assert stopped.status == "cancelled"
    assert story(manager, job.id) == ["created", "claimed", "cancel_requested", "cancelled"]


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_an_ended_job_cannot_be_cancelled(manager, status):
    """What is done stays done; a repeated cancel of a cancelled job is harmless."""
    job = new_job(manager)
    manager.start_processing(job.id)
    manager.update_job_status(job.id, status)

    with pytest.raises(InvalidTransitionError, match=f"is {status} and cannot be cancelled"):
        manager.cancel_job(job.id)


def test_a_claim_and_a_cancel_at_once_leave_one_of_two_stories(database, manager):
    """Whoever is first, the job is cancelled, or runs and knows of the wish."""
    ids = [new_job(manager).id for _ in range(40)]

    def claim_all(_):
        with VideoJobManager.from_url(database) as worker:
            while worker.claim_jobs("worker-1", limit=3):
                pass

    with ThreadPoolExecutor(3) as threads:
        claims = threads.map(claim_all, range(2))
        for job_id in ids:
            manager.cancel_job(job_id)
        list(claims)

    stories = {tuple(story(manager, job_id)) for job_id in ids}
    assert stories <= {("created", "cancelled"), ("created", "claimed", "cancel_requested")}


# Retrying


def test_a_failed_job_is_retried_with_all_its_attempts(manager):
    """It is queued as new; what it had come to stays in the history."""
    job = failed(manager)

    again = manager.retry_job(job.id)

    event = manager.get_job_events(job.id)[-1]
    assert (again.status, again.attempt, again.lost_count) == ("queued", 0, 0)
    assert (again.error_code, again.completed_at, again.processing_time) == (None, None, None)
    assert (event.type, event.data["status"], event.data["error_code"]) == (
        "requeued",
        "failed",
        "corrupt_source",
    )
    assert again.run_token == job.run_token + 1


def test_the_same_retry_key_is_one_retry(sql, manager):
    """A retry whose reply was lost can be repeated, also when a worker has the job by then."""
    job = failed(manager)
    retry = "select status from public.retry_video_job(%s, %s)"
    key = uuid4()
    sql.execute(retry, (job.id, key))
    manager.claim_jobs("worker-2")

    again = sql.execute(retry, (job.id, key)).fetchone()

    assert again == {"status": "processing"}
    assert story(manager, job.id).count("requeued") == 1


@pytest.mark.parametrize("status", ["queued", "processing", "completed"])
def test_only_a_failed_or_cancelled_job_can_be_retried(manager, status):
    """Another is refused, with its status in the message."""
    job = new_job(manager)
    if status != "queued":
        manager.start_processing(job.id)
    if status == "completed":
        manager.complete_job(job.id)

    with pytest.raises(InvalidTransitionError, match=f"is {status} and cannot be retried"):
        manager.retry_job(job.id)


def test_of_two_retries_at_once_one_is_refused(database, manager):
    """Two people who press the button start one run."""
    job = failed(manager)

    def retry(_):
        with VideoJobManager.from_url(database) as other:
            try:
                return other.retry_job(job.id).status.value
            except InvalidTransitionError:
                return "refused"

    with ThreadPoolExecutor(2) as threads:
        answers = sorted(threads.map(retry, range(2)))

    assert answers == ["queued", "refused"]
    assert story(manager, job.id).count("requeued") == 1


# Deleting


def test_a_final_job_goes_with_its_history(sql, manager):
    """Nothing of it is left in any table."""
    job = failed(manager)

    manager.delete_job(job.id)

    left = sql.execute(
        "select 1 from public.video_job_events union all select 1 from videojobs.checkpoints"
    ).fetchall()
    assert left == []
    with pytest.raises(JobNotFoundError):
        manager.delete_job(job.id)


@pytest.mark.parametrize("status", ["queued", "processing"])
def test_a_job_that_is_not_final_cannot_be_deleted(manager, status):
    """It has to be cancelled first."""
    job = new_job(manager)
    manager.update_job_status(job.id, "processing") if status == "processing" else None

    with pytest.raises(InvalidTransitionError, match=f"is {status} and cannot be deleted"):
        manager.delete_job(job.id)


def test_clearing_takes_the_final_jobs_that_match(manager):
    """Running and waiting jobs stay, and so do those that the filter or the age leaves out."""
    waiting = new_job(manager, "waiting")
    running = new_job(manager, "running")
    manager.start_processing(running.id)
    kept = failed(manager, "kept", pipeline="renditions")
    failed(manager, "gone")

    too_young = manager.clear_jobs(older_than=timedelta(hours=1))
    cleared = manager.clear_jobs(JobFilter(pipeline="clips"))

    assert (too_young, cleared) == (0, 1)
    assert {job.id for job in manager.list_jobs()} == {waiting.id, running.id, kept.id}


def test_deleting_locks_jobs_in_the_order_of_their_ids(
    database, manager, in_background, someone_waits
):
    """It goes as bulk updates go, so that the two cannot wait for each other."""
    first, second = sorted(new_job(manager).id for _ in range(2))
    for job_id in (second, first):  # which is their order on the disk from now on
        manager.cancel_job(job_id)

    with psycopg.connect(database) as changing:
        changing.execute("set lock_timeout = '500ms'")  # before Postgres looks for a deadlock
        lock = "select from public.video_jobs where id = %s for no key update"
        changing.execute(lock, (first,))
        clearing = in_background(manager.clear_jobs)
        someone_waits()
        changing.execute(lock, (second,))
        changing.commit()

    assert clearing.result() == 2


# Changing many


def test_each_job_gets_its_outcome(manager):
    """Of five jobs named, each is changed or left as its status allows, in the order of the ids."""
    waiting, cancelled, running = (new_job(manager, name) for name in "abc")
    manager.cancel_job(cancelled.id)
    manager.start_processing(running.id)
    unknown = uuid4()
    ids = [running.id, waiting.id, unknown, cancelled.id]

    results = manager.bulk_update_jobs(JobChanges(status="cancelled"), job_ids=ids)

    told = [(result.job_id, result.outcome.value, result.status) for result in results]
    assert told == [
        (running.id, "updated", "processing"),
        (waiting.id, "updated", "cancelled"),
        (unknown, "not_found", None),
        (cancelled.id, "unchanged", "cancelled"),
    ]
    assert story(manager, running.id)[-1] == "cancel_requested"


def test_a_dry_run_tells_the_same_and_changes_nothing(manager):
    """What it says would happen is what then happens."""
    waiting, running = (new_job(manager, name) for name in "ab")
    manager.start_processing(running.id)
    ids = [waiting.id, running.id, failed(manager).id]
    changes = JobChanges(priority=9)

    told = manager.bulk_update_jobs(changes, job_ids=ids, dry_run=True)
    before = manager.get_job(waiting.id).priority
    done = manager.bulk_update_jobs(changes, job_ids=ids)

    assert told == done
    assert [result.outcome.value for result in done] == [
        "updated",
        "invalid_transition",
        "invalid_transition",
    ]
    assert (before, manager.get_job(waiting.id).priority) == (5, 9)


def test_jobs_are_retried_and_rescheduled_in_one_go(manager):
    """Failed jobs go back to the queue with another priority, and the history says both."""
    job = failed(manager)
    when = datetime.now(UTC) + timedelta(days=1)

    manager.bulk_update_jobs(
        JobChanges(status="queued", priority=0, run_at=when), filters=JobFilter(status="failed")
    )

    again = manager.get_job(job.id)
    assert (again.status, again.priority, again.run_at) == ("queued", 0, when)
    assert story(manager, job.id)[-2:] == ["requeued", "changed"]


@pytest.mark.parametrize(
    "changes", [None, [], "text", {"status": "completed"}, {"user_id": str(USER)}, {"stage": "x"}]
)
def test_changes_that_are_not_changes_are_refused(sql, manager, changes):
    """Whoever calls the function without the library cannot set another status or column."""
    job = failed(manager)

    with pytest.raises(psycopg.Error, match="changes: an object of") as caught:
        sql.execute(
            "select * from public.bulk_update_video_jobs(%s, %s)", (Jsonb(changes), [job.id])
        )

    assert caught.value.sqlstate == "VJ004"
    assert manager.get_job(job.id) == job


def test_bulk_updates_in_opposite_orders_do_not_block_each_other(database, manager):
    """Callers with the same ids in all orders come through, each with an answer for every id."""
    ids = [new_job(manager).id for _ in range(30)]

    def change(n):
        with VideoJobManager.from_url(database) as other:
            order = ids if n % 2 else ids[::-1]
            return len(other.bulk_update_jobs(JobChanges(priority=n), job_ids=order))

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(change, range(6)))

    assert answers == [30] * 6


def test_a_large_list_of_ids_is_answered_in_full(sql):
    """Ten thousand unknown ids get ten thousand answers."""
    rows = sql.execute(
        "select outcome, count(*) as number from public.bulk_update_video_jobs("
        "  '{\"priority\": 1}', array(select gen_random_uuid() from generate_series(1, 10000))"
        ") group by outcome"
    ).fetchall()

    assert rows == [{"outcome": "not_found", "number": 10_000}]
