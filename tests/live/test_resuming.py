"""Nothing is missed: whatever commits when, whoever loses which connection, and however long."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from live.conftest import ADA, BOB, Follow, told, told_until
from videojobs import AsyncVideoJobManager, Beat, JobFilter, VideoJob
from videojobs.live import LiveJobs
from videojobs.local import LocalStack

Sql = psycopg.AsyncConnection[Any]
INSERT = "insert into public.video_jobs (id, user_id) values (%s, %s)"
LISTENERS = "select pid from pg_stat_activity where datname = current_database() and query ilike 'listen videojobs%'"


async def test_what_commits_late_is_told_late_and_not_missed(
    follow: Follow, manager: AsyncVideoJobManager, database: str
):
    """A transaction that began first and commits last is told to who follows and to who comes back."""
    late = uuid4()
    async with await psycopg.AsyncConnection.connect(database) as slow, follow(ADA) as following:
        await slow.execute(INSERT, [late, ADA])
        early = await manager.create_job(user_id=ADA)
        first = await told(following)
        await manager.cancel_job(early.id)
        second = await told(following)
        await slow.commit()
        third = await told(following)

    assert (first.job_id, second.job_id, third.job_id) == (early.id, early.id, late)
    for cursor in (first.id, second.id):
        async with follow(ADA, since=cursor) as again:
            missed = await told_until(again, lambda change: change.job_id == late)
        assert {change.job_id for change in missed} <= {early.id, late}


async def test_who_comes_back_is_told_what_was_deleted_and_what_runs(
    follow: Follow, manager: AsyncVideoJobManager
):
    """A deletion is told by the job's id; progress, which is no event, with the running jobs."""
    running = await manager.create_job(user_id=ADA)
    (lease,) = await manager.claim_jobs("w")
    doomed = await manager.create_job(user_id=ADA)
    others = await manager.create_job(user_id=BOB)
    async with follow(ADA) as following:
        cursor = following.cursor
    await manager.heartbeat([Beat(job_id=running.id, run_token=lease.run_token, progress=70)])
    for job in (doomed, others):
        await manager.cancel_job(job.id)
        await manager.delete_job(job.id)

    async with follow(ADA, since=cursor) as again:
        gone, moved = await told(again), await told(again)
        await manager.complete_job(lease)
        rest = await told_until(again, lambda c: c.job is not None and c.job.is_final)

    assert (gone.type, gone.job_id) == ("deleted", doomed.id)
    assert moved.job is not None
    assert (moved.job_id, moved.job.progress) == (running.id, 70)
    # At least once: the same deletion may be told again.
    assert {change.job_id for change in rest} - {doomed.id} == {running.id}


async def test_archived_jobs_are_gone_from_the_lists(
    follow: Follow, manager: AsyncVideoJobManager, sql: Sql
):
    """To be archived is told as deleted: no list has the job any more."""
    job = await manager.create_job(user_id=ADA)
    await manager.cancel_job(job.id)
    async with follow(ADA) as following:
        await sql.execute("select public.archive_video_jobs()")

        assert (await told(following)).type == "deleted"


@pytest.mark.parametrize(
    "since",
    [
        "",
        "nonsense",
        "9" * 4001,
        "00000000.1800000000.1:1:",
        "{feed}.1000000000.5:5:",
        "{feed}.{now}.9:5:",
        "{feed}.{now}.999999999999:999999999999:",
        "{feed}.{now}.99999999999999999999999:99999999999999999999999:",
        "{feed}.{now}.5:9:3",
    ],
)
async def test_a_place_that_cannot_be_gone_back_to_is_a_reset(
    follow: Follow, live: LiveJobs, since: str
):
    """Garbage, another database's, a too old and an impossible place: read anew."""
    async with follow() as following:
        feed, now, _ = following.cursor.split(".")
        since = since.replace("{feed}", feed).replace("{now}", now)

        async with follow(ADA, since=since) as again:
            change = await told(again)

    assert (change.type, change.reason) == ("reset", "too_old")


async def test_a_killed_connection_hides_nothing(
    follow: Follow, manager: AsyncVideoJobManager, sql: Sql
):
    """What changes while the listening connection is dead is told, progress included."""
    job = await manager.create_job(user_id=ADA)
    (lease,) = await manager.claim_jobs("w")
    async with follow(ADA) as following:
        killed = await (
            await sql.execute(f"select pg_terminate_backend(l.pid) from ({LISTENERS}) l")
        ).fetchall()
        beat = Beat(job_id=job.id, run_token=lease.run_token, progress=55)
        await manager.heartbeat([beat])
        created = await manager.create_job(user_id=ADA)

        changes = await told_until(following, lambda change: change.job_id == created.id)
        if job.id not in {change.job_id for change in changes}:
            changes += await told_until(following, lambda change: change.job_id == job.id)

    assert killed
    assert max(c.job.progress for c in changes if c.job is not None) == 55


async def test_over_postgrest_changes_are_found_by_looking(
    rest_manager: AsyncVideoJobManager, manager: AsyncVideoJobManager, stack: LocalStack
):
    """Where nothing can be listened to, each kind of change is told all the same."""
    async with LiveJobs(rest_manager) as live:
        viewer = rest_manager.as_user(stack.user_token(ADA))
        async with live.follow(viewer) as following:
            assert (await told(following)).reason == "begin"
            job = await manager.create_job(user_id=ADA)
            created = await told(following)
            (lease,) = await manager.claim_jobs("w")
            claimed = await told(following)
            await manager.heartbeat([Beat(job_id=job.id, run_token=lease.run_token, progress=9)])
            moved = await told(following)
            await manager.complete_job(lease)
            await told(following)
            await manager.delete_job(job.id)
            deleted = await told(following)

    assert [c.job and c.job.status for c in (created, claimed)] == ["queued", "processing"]
    assert moved.job is not None
    assert moved.job.progress == 9
    assert deleted.type == "deleted"


async def test_a_filter_holds_back_other_pipelines_but_not_a_change_of_status(
    follow: Follow, manager: AsyncVideoJobManager
):
    """A job that leaves the filter by its status is told once more; another pipeline's never."""
    wanted = JobFilter(pipeline="clips", status="queued")
    async with follow(ADA, filters=wanted) as following:
        await manager.create_job(user_id=ADA, pipeline="renditions")
        job = await manager.create_job(user_id=ADA)
        created = await told(following)
        await manager.cancel_job(job.id)
        cancelled = await told(following)

    assert created.job is not None
    assert cancelled.job is not None
    assert (created.job_id, cancelled.job_id) == (job.id, job.id)
    assert (wanted.matches(created.job), wanted.matches(cancelled.job)) == (True, False)


async def test_a_restless_reader_knows_in_the_end_what_the_database_knows(
    follow: Follow, manager: AsyncVideoJobManager, database: str, sql: Sql
):
    """Writers with transactions of all lengths, and a reader who leaves and comes back all the time."""
    dice = random.Random(7)
    known: dict[UUID, VideoJob] = {}
    begun, done = asyncio.Event(), asyncio.Event()
    resets = 0

    async def write() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            for _ in range(25):
                ids = [uuid4() for _ in range(dice.randint(1, 3))]
                for each in ids:
                    await connection.execute(INSERT, [each, ADA])
                await asyncio.sleep(dice.choice([0, 0.001, 0.02, 0.2]))
                await connection.commit()
                await connection.execute("select public.cancel_video_job(%s)", [ids[0]])
                await asyncio.sleep(dice.choice([0, 0.005, 0.05]))
                if dice.random() < 0.3:
                    await connection.execute("select public.delete_video_job(%s)", [ids[0]])
                await connection.commit()

    async def read() -> None:
        nonlocal resets
        options: dict[str, Any] = {}
        while True:
            async with follow(ADA, **options) as following:
                options["since"] = options.get("since") or following.cursor
                begun.set()
                for _ in range(dice.randint(5, 80)):
                    try:
                        async with asyncio.timeout(1.5 if done.is_set() else 0.3):
                            change = await anext(following)
                    except TimeoutError:
                        if done.is_set():
                            return
                        break
                    options["since"] = change.id
                    if change.type == "deleted":
                        known.pop(change.job_id or uuid4(), None)
                    elif change.job is not None:
                        known[change.job.id] = change.job
                    else:
                        resets += 1

    reader = asyncio.create_task(read())
    await begun.wait()
    await asyncio.gather(*(write() for _ in range(4)))
    done.set()
    async with asyncio.timeout(20):
        await reader

    rows = await (await sql.execute("select id, status::text from public.video_jobs")).fetchall()
    assert {job_id: job.status for job_id, job in known.items()} == {
        row["id"]: row["status"] for row in rows
    }
    assert resets == 0


@pytest.mark.parametrize("what", ["deletions", "events"])
async def test_too_much_behind_a_place_is_a_reset_and_not_a_part(
    follow: Follow, sql: Sql, what: str
):
    """More than twenty thousand events or deletions are not read one by one, and none is left out."""
    inserts = {
        "deletions": "insert into videojobs.deleted_jobs (job_id, user_id) select gen_random_uuid(), %s "
        "from generate_series(1, 20001)",
        "events": "insert into public.video_job_events (job_id, type, actor_id) "
        "select gen_random_uuid(), 'changed', %s from generate_series(1, 20001)",
    }
    async with follow(ADA) as following, follow(BOB):
        cursor = following.cursor
        await sql.execute(inserts[what], [ADA])
        live = await told(following, seconds=15)
    async with follow(ADA, since=cursor) as again:
        resumed = await told(again)

    assert (live.type, live.reason) == ("reset", "too_many")
    assert resumed.type == "reset"
