"""The figures are sums, and the sums are exact: after every operation, folded or not, and while others write."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from videojobs import VideoJobManager

USER = UUID("00000000-0000-4000-8000-000000000001")
OTHER_USER = UUID("00000000-0000-4000-8000-000000000002")
TEAM = UUID("00000000-0000-4000-8000-0000000000ff")

NEW_TEAM = """
with team as (insert into public.teams (id, name) values (%s, 'Harbour Studio'))
insert into public.team_members (team_id, user_id) values (%s, %s)
"""
COUNTED = """
select e.status, count(j.id) as jobs
from unnest(enum_range(null::public.video_job_status)) e (status)
left join public.video_jobs j on j.status = e.status
group by 1
"""
DROP_A_JOB_UNSEEN = """
alter table public.video_jobs disable trigger video_jobs_tally_deleted;
delete from public.video_jobs where id = (select id from public.video_jobs order by seq limit 1);
alter table public.video_jobs enable trigger video_jobs_tally_deleted;
"""


def drift(sql) -> list[dict]:
    """Return where the sums differ from what is there."""
    return sql.execute("select * from public.reconcile_video_job_stats()").fetchall()


def fold(sql, limit: int = 20_000) -> int:
    """Fold the changes into the sums, and return how many there were."""
    return sql.execute("select videojobs.fold_tallies(%s) as folded", (limit,)).fetchone()["folded"]


def stats(sql, group_by: str | None = None, **filters: object) -> dict:
    """Return the figures."""
    return sql.execute(
        "select * from public.get_video_job_stats(%s, %s)", (Jsonb(filters), group_by)
    ).fetchone()


def assert_exact(sql) -> None:
    """The figures are what counting gives: before folding, after a part of it, and after all."""
    counted = {row["status"]: row["jobs"] for row in sql.execute(COUNTED)}
    for _ in range(3):
        assert drift(sql) == []
        assert stats(sql)["by_status"] == counted
        fold(sql, 2)
    fold(sql)
    assert drift(sql) == []
    assert stats(sql)["by_status"] == counted


@contextmanager
def as_user(sql, user: UUID) -> Iterator[None]:
    """Be a signed-in user for the statements inside."""
    claims = Jsonb({"sub": str(user), "role": "authenticated"})
    with sql.transaction():
        sql.execute("set local role authenticated")
        sql.execute("select set_config('request.jwt.claims', %s::text, true)", (claims,))
        yield


def insert(sql, number: int = 1, **columns: Any) -> list[UUID]:
    """Store jobs of the user's and return their ids."""
    row = {"user_id": USER, **columns}
    rows = sql.execute(
        f"insert into public.video_jobs ({', '.join(row)}) "
        f"select {', '.join(['%s'] * len(row))} from generate_series(1, {number}) returning id",
        list(row.values()),
    )
    return [each["id"] for each in rows]


def took(sql, seconds: list[float]) -> None:
    """Store completed jobs that took so long."""
    sql.execute(
        "insert into public.video_jobs (user_id, status, progress, completed_at, processing_time) "
        "select %s, 'completed', 100, now(), s from unnest(%s::float8[]) s",
        (USER, seconds),
    )


# One operation after the other


def _as_a_user(sql, manager) -> None:
    sql.execute(NEW_TEAM, (TEAM, TEAM, OTHER_USER))
    with as_user(sql, OTHER_USER):
        sql.execute("insert into public.video_jobs (source_url) values ('a.mp4'), ('b.mp4')")
        sql.execute("insert into public.video_jobs (team_id) values (%s)", (TEAM,))


def _in_bulk(sql, manager) -> None:
    wishes = [{"user_id": USER, "queue": ["films", "clips"][n % 2]} for n in range(20)]
    manager.create_jobs(wishes)


def _again_by_its_key(sql, manager) -> None:
    for _ in range(2):
        manager.create_job(user_id=USER, idempotency_key="one")


def _complete(sql, manager) -> None:
    (lease,) = manager.claim_jobs("worker-1")
    manager.complete_job(lease, [], 12.3456)


def _fail_and_retry(sql, manager) -> None:
    (lease,) = manager.claim_jobs("worker-1")
    manager.retry_job(manager.fail_job(lease, "boom", retryable=False).id)


def _retried_by_itself(sql, manager) -> None:
    (lease,) = manager.claim_jobs("worker-1")
    manager.fail_job(lease, "boom")


def _release(sql, manager) -> None:
    (lease,) = manager.claim_jobs("worker-1")
    manager.release_job(lease)


def _rescue(sql, manager) -> None:
    manager.claim_jobs("worker-1")
    sql.execute(
        "update videojobs.leases set claimed_at = now() - interval '1 hour', expires_at = now() - interval '1 second'"
    )
    manager.recover_stuck_jobs()


def _settle_many(sql, manager) -> None:
    leases = manager.claim_jobs("worker-1", limit=3)
    outcomes = ("completed", "failed", "released")
    settlements = [
        {"job_id": str(lease.job_id), "run_token": lease.run_token, "outcome": outcome}
        for lease, outcome in zip(leases, outcomes, strict=True)
    ]
    claim = {"worker": "worker-1", "claim_key": str(USER), "job_limit": 2}
    sql.execute("select public.settle_video_jobs(%s, %s)", (Jsonb(settlements), Jsonb(claim)))


def _cancel(sql, manager) -> None:
    manager.cancel_job(next(job.id for job in manager.list_jobs() if job.status == "queued"))


def _cancel_running(sql, manager) -> None:
    (lease,) = manager.claim_jobs("worker-1")
    manager.cancel_job(lease.job_id)
    manager.confirm_cancel(lease)


def _delete(sql, manager) -> None:
    _complete(sql, manager)
    manager.delete_job(next(job.id for job in manager.list_jobs() if job.status == "completed"))


def _clear(sql, manager) -> None:
    _complete(sql, manager)
    _cancel(sql, manager)
    manager.clear_jobs()


def _archive(sql, manager) -> None:
    _complete(sql, manager)
    _cancel(sql, manager)
    sql.execute("select public.archive_video_jobs()")


def _leave_the_archive(sql, manager) -> None:
    _archive(sql, manager)
    sql.execute("delete from videojobs.archived_jobs where status = 'completed'")


def _change_queues(sql, manager) -> None:
    sql.execute(
        "select public.bulk_update_video_jobs(%s, filter => '{}')",
        (Jsonb({"queue": "films", "priority": 1}),),
    )


def _update(assignments: str) -> Callable[[Any, Any], None]:
    def run(sql, manager) -> None:
        sql.execute(f"update public.video_jobs set {assignments}")

    return run


def _truncate(sql, manager) -> None:
    _archive(sql, manager)
    fold(sql, 3)
    sql.execute("truncate public.video_jobs")
    # Their holders' leases would end by themselves.
    sql.execute("delete from videojobs.leases")


def _roll_back(sql, manager) -> None:
    with sql.transaction(force_rollback=True):
        insert(sql, 5)
        sql.execute("update public.video_jobs set queue = 'films'")
        sql.execute("select public.cancel_video_job(id) from public.video_jobs limit 2")


def _copy_in(sql, manager) -> None:
    with (
        sql.cursor() as cursor,
        cursor.copy("copy public.video_jobs (user_id, queue) from stdin") as copy,
    ):
        for queue in ("films", "films", "clips"):
            copy.write_row((USER, queue))


def _upsert(sql, manager) -> None:
    sql.execute(
        "insert into public.video_jobs (id, user_id) select id, user_id from public.video_jobs limit 2 "
        "on conflict (id) do update set queue = 'upserted', team_id = %s",
        (TEAM,),
    )


OPERATIONS = {
    "inserted by a service": lambda sql, manager: insert(sql, 3, platform_target="tiktok"),
    "inserted by a user": _as_a_user,
    "created in bulk": _in_bulk,
    "created again by its key": _again_by_its_key,
    "completed": _complete,
    "failed and retried": _fail_and_retry,
    "retried by itself": _retried_by_itself,
    "released": _release,
    "rescued": _rescue,
    "settled together": _settle_many,
    "cancelled": _cancel,
    "cancelled while running": _cancel_running,
    "deleted": _delete,
    "cleared": _clear,
    "archived": _archive,
    "deleted from the archive": _leave_the_archive,
    "moved to another queue": _change_queues,
    "given to another user": _update(f"user_id = '{OTHER_USER}'"),
    "given to a team": _update(f"team_id = '{TEAM}'"),
    "taken from a team": _update("team_id = null"),
    "moved to another pipeline": _update("pipeline = 'renditions'"),
    "moved to another platform": _update("platform_target = 'youtube_shorts'"),
    "created on another day": _update("created_at = created_at - interval '3 days'"),
    "moved and started by hand": _update(
        "queue = 'films', status = 'processing', started_at = now(), worker_id = 'by hand'"
    ),
    "touched": _update("settings = settings"),
    "truncated": _truncate,
    "rolled back": _roll_back,
    "copied in": _copy_in,
    "upserted": _upsert,
}


@pytest.mark.parametrize("is_folded", [False, True], ids=["before folding", "after folding"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_figures_are_exact_after_every_operation(sql, manager, operation, is_folded):
    """Whether what was there is in the sums already or not, they are what counting gives."""
    insert(sql, 3)
    insert(sql, 2, team_id=TEAM, queue="default")
    if is_folded:
        fold(sql)

    OPERATIONS[operation](sql, manager)

    assert_exact(sql)
    # The health check of the manager wants leases for what runs.
    manager.recover_stuck_jobs()


def test_all_operations_in_a_row_leave_exact_figures(sql, manager):
    """With changes folded in small steps between them."""
    for number, operation in enumerate(OPERATIONS.values()):
        if operation is _as_a_user:
            continue
        insert(sql, 4)
        operation(sql, manager)
        fold(sql, number)

    assert_exact(sql)
    manager.recover_stuck_jobs()


@pytest.mark.parametrize("group_by", ["user_id", "team_id", "platform_target", "pipeline"])
def test_groups_and_filters_are_of_the_sums_too(sql, group_by):
    """Each filter that sums know gives, folded or not, what a filter gives that counts the jobs."""
    insert(sql, 2)
    insert(
        sql, 3, user_id=OTHER_USER, team_id=TEAM, platform_target="tiktok", pipeline="renditions"
    )
    took(sql, [2.0, 4.0])
    # Of all jobs, but counted, since the sums do not know this filter.
    filters = {"resource_type": "upload"}

    found = [stats(sql, group_by)]
    fold(sql)
    found.append(stats(sql, group_by))

    assert found == [stats(sql, group_by, **filters)] * 2
    for name, value in (
        ("user_id", str(OTHER_USER)),
        ("team_id", str(TEAM)),
        ("pipeline", "clips"),
    ):
        assert stats(sql, group_by, **{name: value}) == stats(
            sql, group_by, **{name: value}, **filters
        )


@pytest.mark.parametrize("seed", range(8))
def test_percentiles_are_within_2_2_percent(sql, seed):
    """Of times from a second to a day, however they are spread, folded or not."""
    chance = random.Random(seed)
    spread = chance.choice([0.05, 0.5, 2.0])
    seconds = [
        min(max(chance.lognormvariate(5, spread), 1), 86_400)
        for _ in range(chance.choice([1, 2, 7, 100]))
    ]
    took(sql, seconds)
    exact = sql.execute(
        "select percentile_cont(array[0.5, 0.95]) within group (order by s) as exact, avg(s), sum(s) from unnest(%s::float8[]) s",
        (seconds,),
    ).fetchone()

    before = stats(sql)
    fold(sql)
    after = stats(sql)

    assert after == before
    assert [after["median_processing_seconds"], after["p95_processing_seconds"]] == pytest.approx(
        exact["exact"], rel=0.022
    )
    assert after["average_processing_seconds"] == pytest.approx(exact["avg"], abs=0.001)
    assert after["total_processing_seconds"] == pytest.approx(
        exact["sum"], abs=0.001 * len(seconds)
    )


# At the same time


def test_a_long_open_create_blocks_nobody_and_counts_after_its_commit(sql, manager, database):
    """Others create, work, fold and read meanwhile; what is open is in no figure until it is committed."""
    sql.execute("set lock_timeout = '1s'")
    with psycopg.connect(database, row_factory=dict_row) as enqueuing:
        insert(enqueuing, 3)

        insert(sql, 2)
        _complete(sql, manager)
        assert_exact(sql)
        meanwhile = stats(sql)["total"]
        enqueuing.commit()

    assert (meanwhile, stats(sql)["total"]) == (2, 5)
    assert_exact(sql)


def test_an_open_transaction_that_is_rolled_back_counts_for_nothing(sql, database):
    """Folding while it is open does not take its changes along."""
    insert(sql, 2)
    with psycopg.connect(database, row_factory=dict_row) as enqueuing:
        insert(enqueuing, 3)
        fold(sql)
        enqueuing.rollback()

    assert stats(sql)["total"] == 2
    assert_exact(sql)


def test_of_two_that_fold_at_once_one_does(sql, database):
    """The second returns at once with nothing folded, and no change is counted twice or not at all."""
    insert(sql, 3)
    insert(sql, 2)
    with psycopg.connect(database, row_factory=dict_row) as other:
        first = fold(other)

        second = fold(sql)

        exact_meanwhile = drift(sql)
        insert(sql)
    # The fold of the other was committed at its end.
    assert (first, second, exact_meanwhile) == (2, 0, [])
    assert fold(sql) == 1
    assert_exact(sql)


def test_a_fold_that_is_rolled_back_folded_nothing(sql, database):
    """The changes are there for the next one."""
    insert(sql, 3)
    with psycopg.connect(database, row_factory=dict_row) as other:
        fold(other)
        other.rollback()

    assert fold(sql) == 1
    assert_exact(sql)


CANCEL_ONE = """
select videojobs.cancel_job(id, null)
  from (select id
          from public.video_jobs
         where status = 'queued'
         limit 1
           for update skip locked) as picked
"""
"""Cancels a job that no other session may cancel, clear or archive meanwhile."""


def work_at_random(database: str, seed: int, rounds: int) -> None:
    """Create, claim, settle, cancel, move, clear and archive jobs, one after the other."""
    chance = random.Random(seed)
    with (
        VideoJobManager.from_url(database) as manager,
        psycopg.connect(database, autocommit=True, row_factory=dict_row) as sql,
    ):
        for _ in range(rounds):
            insert(sql, chance.randint(1, 4), queue=chance.choice(["default", "films"]))
            for lease in manager.claim_jobs(f"worker-{seed}", limit=2):
                if chance.random() < 0.7:
                    manager.complete_job(lease, [], chance.uniform(1, 100))
                else:
                    manager.fail_job(lease, "boom", retryable=chance.random() < 0.5)
            sql.execute(CANCEL_ONE)
            if chance.random() < 0.3:
                sql.execute("select public.clear_video_jobs(row_limit => 3)")
            if chance.random() < 0.3:
                sql.execute("select public.archive_video_jobs(row_limit => 3)")


@pytest.fixture
def at_work(database: str) -> Iterator[Callable[[], bool]]:
    """Three sessions that work at random; tells whether they still do."""
    with ThreadPoolExecutor() as threads:
        sessions = [threads.submit(work_at_random, database, seed, 25) for seed in range(3)]
        yield lambda: not all(session.done() for session in sessions)
        for session in sessions:
            session.result(60)


def test_the_figures_are_exact_at_any_moment(sql, at_work):
    """While three sessions work and the changes are folded all the time, no snapshot shows a drift."""
    drifts = []

    while at_work():
        fold(sql, 50)
        drifts += drift(sql)

    assert drifts == []
    assert_exact(sql)


# Mending


def test_a_drift_is_found_and_mended(sql):
    """Each wrong sum is told with what it should be, for its owner and for all; mending makes it right."""
    insert(sql, 3)
    fold(sql)
    sql.execute(DROP_A_JOB_UNSEEN)

    told = drift(sql)
    mended = sql.execute("select * from public.reconcile_video_job_stats(true)").fetchall()

    assert sorted(
        (row["measure"], row["user_id"] is None, row["counted"], row["summed"]) for row in told
    ) == [
        ("created", False, 2, 3),
        ("created", True, 2, 3),
        ("queued", False, 2, 3),
        ("queued", True, 2, 3),
    ]
    assert sorted(map(str, mended)) == sorted(map(str, told))
    assert_exact(sql)


def test_looking_mends_nothing(sql):
    """Without being asked to, the call changes no sum."""
    insert(sql, 3)
    fold(sql)
    sql.execute("update videojobs.tallies set jobs = jobs + 1, milliseconds = milliseconds + 5")
    before = drift(sql)

    assert len(before) == 4
    assert drift(sql) == before


def test_a_drift_is_mended_exactly_while_others_write(sql, at_work):
    """Whatever comes meanwhile is counted once: before the snapshot of the call, or after it."""
    sql.execute("update videojobs.tallies set jobs = jobs + 7, milliseconds = milliseconds + 5")

    while at_work():
        sql.execute("update videojobs.tallies set jobs = jobs + 1 where measure = 'queued'")
        sql.execute("select from public.reconcile_video_job_stats(true)")
        fold(sql, 50)

    assert_exact(sql)


def test_two_that_mend_at_once_mend_once(sql, database, in_background, someone_waits):
    """The second finds nothing left to mend."""
    insert(sql)
    fold(sql)
    sql.execute("update videojobs.tallies set jobs = jobs + 5")
    with (
        psycopg.connect(database) as first,
        psycopg.connect(database, autocommit=True) as second,
    ):
        first.execute("select from public.reconcile_video_job_stats(true)")
        mending = in_background(
            second.execute, "select from public.reconcile_video_job_stats(true)"
        )
        someone_waits()
        first.commit()
        mending.result(10)

    assert drift(sql) == []


def test_emptying_the_table_leaves_the_archives_days(sql, manager):
    """TRUNCATE takes all jobs out of the figures at once; archived ones keep their days."""
    insert(sql, 2)
    _archive(sql, manager)
    insert(sql, 5)

    sql.execute("truncate public.video_jobs")

    figures = stats(sql)
    assert (figures["total"], set(figures["by_status"].values())) == (0, {0})
    assert [(day["created"], day["completed"], day["cancelled"]) for day in figures["by_day"]] == [
        (2, 1, 1)
    ]
    assert_exact(sql)


def test_the_health_check_counts_with_the_sums(sql, manager):
    """Queued jobs are as many as there are, folded or not, also beside an archive."""
    insert(sql, 4)
    _archive(sql, manager)
    before = manager.check().queued
    fold(sql)
    insert(sql)

    assert (before, manager.check().queued) == (2, 3)
