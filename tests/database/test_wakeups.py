"""Whoever listens is woken when a job gets ready, at commit and as often as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

USER = UUID("00000000-0000-4000-8000-000000000001")
INSERT = "insert into public.video_jobs (user_id, queue) values (%s, %s) returning id"
QUEUE_LOCK = "select pg_advisory_xact_lock(hashtextextended('videojobs wakes ' || %s, 0))"


@pytest.fixture
def heard(sql: psycopg.Connection) -> Iterator[Callable[[str], list[str]]]:
    """Return what was told on a channel since the last time, in the order of the commits."""
    with psycopg.connect(sql.info.dsn, password=sql.info.password, autocommit=True) as listener:
        listener.execute("listen videojobs_queue")
        listener.execute("listen videojobs_changes")

        def hear(channel: str) -> list[str]:
            sql.execute("select pg_notify('videojobs_queue', 'that is all')")
            told = []
            for notice in listener.notifies(timeout=10):
                if notice.payload == "that is all":
                    return [payload for where, payload in told if where == channel]
                told.append((notice.channel, notice.payload))
            raise AssertionError("the last notification did not come")

        yield hear


def running(sql, worker: str = "worker-1", **more) -> UUID:
    """Store a job that the worker runs, and return its id."""
    facts = {"max_attempts": 3, **more}
    job_id = sql.execute(
        "insert into public.video_jobs (user_id, max_attempts) values (%s, %s) returning id",
        (USER, facts["max_attempts"]),
    ).fetchone()["id"]
    sql.execute("select public.start_video_job(%s, %s, gen_random_uuid())", (job_id, worker))
    return job_id


def test_a_committed_job_wakes_its_queue(sql, heard):
    """One wake-up carries the queue's name."""
    sql.execute(INSERT, (USER, "films"))

    assert heard("videojobs_queue") == ["films"]


def test_jobs_that_are_created_together_wake_each_queue_once(sql, heard):
    """Ten jobs of two queues in one transaction are two wake-ups."""
    with sql.transaction():
        for number in range(10):
            sql.execute(INSERT, (USER, ["films", "clips"][number % 2]))

    assert sorted(heard("videojobs_queue")) == ["clips", "films"]


def test_nothing_is_told_before_the_commit(sql, heard, database):
    """A worker that was woken earlier would find nothing."""
    with psycopg.connect(database) as other:
        other.execute(INSERT, (USER, "films"))
        before = heard("videojobs_queue")
        other.commit()

    assert (before, heard("videojobs_queue")) == ([], ["films"])


def test_a_rolled_back_job_wakes_nobody(sql, heard):
    """What was not committed is not told."""
    with sql.transaction(force_rollback=True):
        sql.execute(INSERT, (USER, "films"))

    assert heard("videojobs_queue") == []


def test_of_those_that_commit_together_one_wakes_for_all(sql, heard, database):
    """While another transaction is about to tell the queue, a commit leaves it to that one."""
    with psycopg.connect(database) as other:
        other.execute(QUEUE_LOCK, ("films",))
        sql.execute(INSERT, (USER, "films"))
        sql.execute(INSERT, (USER, "clips"))

        meanwhile = heard("videojobs_queue")

    sql.execute(INSERT, (USER, "films"))
    assert (meanwhile, heard("videojobs_queue")) == (["clips"], ["films"])


def test_each_commit_can_be_told(sql, heard, database, configure):
    """With "each" nobody leaves it to another."""
    configure(queue_wakeups="each")
    with psycopg.connect(database) as other:
        other.execute(QUEUE_LOCK, ("films",))

        for _ in range(3):
            sql.execute(INSERT, (USER, "films"))

    assert heard("videojobs_queue") == ["films"] * 3


def test_wake_ups_can_be_off(sql, heard, configure):
    """With "off" workers look by themselves: neither new, nor retried, nor moved jobs are told."""
    configure(queue_wakeups="off")

    job_id = sql.execute(INSERT, (USER, "films")).fetchone()["id"]
    sql.execute(
        "select public.bulk_update_video_jobs(%s, array[%s]::uuid[])",
        (Jsonb({"queue": "clips"}), job_id),
    )
    sql.execute("select public.cancel_video_job(%s)", (job_id,))
    sql.execute("select public.retry_video_job(%s)", (job_id,))

    assert heard("videojobs_queue") == []


@pytest.mark.parametrize(
    "call",
    [
        "select public.fail_video_job(%s)",
        "select public.release_video_job(%s, 1)",
        "update videojobs.leases set claimed_at = now() - interval '1 hour', expires_at = now() - interval '1 minute' "
        "where job_id = %s",
    ],
    ids=["retried", "released", "rescued"],
)
def test_a_job_that_comes_back_wakes_its_queue(sql, heard, call):
    """Whatever made it ready again, its queue hears of it."""
    job_id = running(sql)
    heard("videojobs_queue")

    sql.execute(call, (job_id,))
    sql.execute("select public.recover_video_jobs()")

    row = sql.execute("select status from public.video_jobs where id = %s", (job_id,)).fetchone()
    assert row == {"status": "queued"}
    assert heard("videojobs_queue") == ["default"]


def test_a_retried_job_wakes_its_queue(sql, heard):
    """A person's retry is told like a new job."""
    job_id = running(sql, max_attempts=1)
    sql.execute("select public.fail_video_job(%s)", (job_id,))
    heard("videojobs_queue")

    sql.execute("select public.retry_video_job(%s)", (job_id,))

    assert heard("videojobs_queue") == ["default"]


def test_a_job_that_moves_wakes_its_new_queue(sql, heard):
    """By the function or by a service's plain update."""
    job_id = sql.execute(INSERT, (USER, "films")).fetchone()["id"]
    heard("videojobs_queue")

    sql.execute(
        "select public.bulk_update_video_jobs(%s, array[%s]::uuid[])",
        (Jsonb({"queue": "clips"}), job_id),
    )
    by_function = heard("videojobs_queue")
    sql.execute("update public.video_jobs set queue = 'trailers' where id = %s", (job_id,))

    assert (by_function, heard("videojobs_queue")) == (["clips"], ["trailers"])


@pytest.mark.parametrize("event", ["completed", "failed", "cancelled", "deleted", "archived"])
def test_what_leaves_the_queue_wakes_nobody(sql, heard, event):
    """An end is no work for anybody."""
    job_id = running(sql, max_attempts=1)
    heard("videojobs_queue")

    if event == "completed":
        sql.execute("select public.complete_video_job(%s)", (job_id,))
    elif event == "cancelled":
        sql.execute("select public.confirm_video_job_cancel(%s, 1)", (job_id,))
    else:
        sql.execute("select public.fail_video_job(%s)", (job_id,))
    if event == "deleted":
        sql.execute("select public.delete_video_job(%s)", (job_id,))
    if event == "archived":
        sql.execute("select public.archive_video_jobs()")

    assert heard("videojobs_queue") == []


def test_folding_wakes_nobody(sql, heard):
    """The upkeep of the figures is not news."""
    sql.execute(INSERT, (USER, "films"))
    heard("videojobs_queue")

    sql.execute("select public.maintain_video_jobs()")

    assert heard("videojobs_queue") == []


@pytest.mark.parametrize("wakeups", ["coalesced", "off"])
def test_a_wish_to_cancel_calls_the_worker_by_its_name(sql, heard, configure, wakeups):
    """Once, also where queues are silent: a repeated wish changes nothing and calls nobody."""
    configure(queue_wakeups=wakeups)
    job_id = running(sql, "worker-7")
    heard("videojobs_queue")

    sql.execute("select public.cancel_video_job(%s)", (job_id,))
    first = heard("videojobs_queue")
    sql.execute("select public.cancel_video_job(%s)", (job_id,))

    assert (first, heard("videojobs_queue")) == (["worker-7"], [])


def test_a_cancelled_waiting_job_calls_nobody(sql, heard):
    """It has no worker."""
    job_id = sql.execute(INSERT, (USER, "films")).fetchone()["id"]
    heard("videojobs_queue")

    sql.execute("select public.cancel_video_job(%s)", (job_id,))

    assert heard("videojobs_queue") == []


@pytest.mark.parametrize(("announces", "times"), [(True, 3), (False, 0)])
def test_changes_are_announced_where_the_settings_say_so(sql, heard, configure, announces, times):
    """A claim, a heartbeat with progress and the end are told by the job's id, or none of them."""
    configure(announces_changes=announces)
    job_id = running(sql)
    beat = Jsonb([{"job_id": str(job_id), "run_token": 1, "progress": 50}])

    sql.execute("select public.heartbeat_video_jobs(%s)", (beat,))
    sql.execute("select public.complete_video_job(%s)", (job_id,))

    assert heard("videojobs_changes") == [str(job_id)] * times


def test_a_heartbeat_without_progress_announces_nothing(sql, heard):
    """Those who watch hear of what they could see."""
    job_id = running(sql)
    heard("videojobs_changes")

    sql.execute(
        "select public.heartbeat_video_jobs(%s)",
        (Jsonb([{"job_id": str(job_id), "run_token": 1, "progress": 0}]),),
    )

    assert heard("videojobs_changes") == []
