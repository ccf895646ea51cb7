"""Many readers cost little, slow ones cost nothing, and nobody sees what is not his to see."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest

from live.conftest import ADA, BOB, EVE, Follow, is_silent, told, told_until
from videojobs import AsyncVideoJobManager, AuthenticationError, ConfigurationError
from videojobs.backlog import Backlog
from videojobs.changes import JobChange
from videojobs.live import LiveJobs
from videojobs.local import LocalStack

Sql = psycopg.AsyncConnection[Any]
LISTENERS = "select pid from pg_stat_activity where datname = current_database() and query ilike 'listen videojobs%'"


async def test_the_end_comes_though_a_cancel_is_swallowed(
    manager: AsyncVideoJobManager, monkeypatch: pytest.MonkeyPatch
):
    """As asyncio's wait_for does before Python 3.12, where a result comes at the same moment."""
    cancels: list[int] = []

    async def stubborn(_: LiveJobs) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancels.append(1)
                if len(cancels) > 1:
                    raise

    monkeypatch.setattr(LiveJobs, "_renew_sights", stubborn)
    async with asyncio.timeout(10):
        async with LiveJobs(manager):
            await asyncio.sleep(0.01)

    assert len(cancels) == 2


async def test_a_context_that_nobody_entered_says_so(live: LiveJobs):
    """It would wait for ever; the error shows what to write."""
    following = live.follow()

    with pytest.raises(ConfigurationError, match=r"async with live.follow\(...\) as changes"):
        await anext(following)
    with pytest.raises(ConfigurationError, match="enter what"):
        await following.take()


async def test_a_member_who_is_removed_sees_no_more_of_the_team(
    follow: Follow, manager: AsyncVideoJobManager, sql: Sql, team: UUID
):
    """Within the time that sights last, a reset says that the teams changed; then only own jobs come."""
    async with follow(ADA) as following, follow(BOB) as bobs:
        before = await manager.create_job(user_id=BOB, team_id=team)
        assert (await told(following)).job_id == before.id
        await sql.execute("delete from public.team_members where user_id = %s", [ADA])
        reset = await told(following)
        await manager.create_job(user_id=BOB, team_id=team)
        own = await manager.create_job(user_id=ADA)
        next_one = await told(following)

        assert (reset.type, reset.reason) == ("reset", "teams")
        assert next_one.job_id == own.id
        assert await is_silent(following)
        assert len(await told_until(bobs, lambda change: change.job_id != before.id)) == 2


async def test_who_joins_a_team_sees_it(
    follow: Follow, manager: AsyncVideoJobManager, sql: Sql, team: UUID
):
    """Within the same time, somebody new is told to read anew, and then hears of the team's jobs."""
    async with follow(EVE) as following:
        await sql.execute(
            "insert into public.team_members (team_id, user_id) values (%s, %s)", [team, EVE]
        )
        assert (await told(following)).reason == "teams"
        job = await manager.create_job(user_id=BOB, team_id=team)

        assert (await told(following)).job_id == job.id


async def test_who_is_nobody_sees_nothing(rest_manager: AsyncVideoJobManager, stack: LocalStack):
    """A token of no user is believed by PostgREST; going back, it finds nobody's jobs."""
    nobody = rest_manager.as_user(_token_of_nobody(stack))
    async with LiveJobs(rest_manager) as live:
        async with live.follow() as following:
            begin = await told(following)
        await rest_manager.create_job(user_id=ADA)

        async with live.follow(nobody, since=begin.id) as following:
            assert await is_silent(following)


def _token_of_nobody(stack: LocalStack) -> str:
    claims = {"role": "authenticated", "exp": int(time.time()) + 60}
    return jwt.encode(claims, stack.jwt_secret, algorithm="HS256")


async def test_an_admin_sees_all(live: LiveJobs, manager: AsyncVideoJobManager, stack: LocalStack):
    """By app_metadata, which users cannot write; by user_metadata nobody becomes one."""
    admin = manager.as_user(stack.user_token(EVE, app_metadata={"role": "admin"}))
    pretender = manager.as_user(stack.user_token(EVE, user_metadata={"role": "admin"}))
    async with live.follow(admin) as all_jobs, live.follow(pretender) as none:
        await told(all_jobs)
        await told(none)
        job = await manager.create_job(user_id=ADA)

        assert (await told(all_jobs)).job_id == job.id
        assert await is_silent(none)


async def test_a_bad_token_is_refused_on_entering(live: LiveJobs, manager: AsyncVideoJobManager):
    """Who cannot be told apart is told nothing, and does not count as a reader."""
    with pytest.raises(AuthenticationError):
        async with live.follow(manager.as_user("x.y.z")):
            pass

    assert live.reader_count == 0


async def test_it_must_be_opened_first(manager: AsyncVideoJobManager):
    """Outside of its context nothing would ever be told."""
    with pytest.raises(ConfigurationError, match="async with LiveJobs"):
        LiveJobs(manager).follow()


async def test_without_readers_nothing_is_listened_to(
    follow: Follow, live: LiveJobs, sql: Sql, manager: AsyncVideoJobManager
):
    """The connection comes with the first reader, serves all, and goes with the last."""

    async def listeners() -> int:
        return len(await (await sql.execute(LISTENERS)).fetchall())

    async with asyncio.timeout(5):
        while await listeners():  # noqa: ASYNC110 # of a test before
            await asyncio.sleep(0.01)
    async with follow(ADA), follow(BOB), follow():
        assert await listeners() == 1
    async with asyncio.timeout(5):
        while await listeners():
            await manager.create_job(user_id=ADA)
    async with follow(ADA) as again:  # and comes back
        await manager.create_job(user_id=ADA)
        assert (await told(again)).type == "changed"


async def test_two_hundred_readers_cost_no_more_queries_than_one(
    manager: AsyncVideoJobManager, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
):
    """Changes are read once for all: the number of reads does not grow with the readers."""
    asked: list[str] = []
    perform = manager.perform

    async def counted(call: Any, *rest: Any) -> Any:
        asked.append(call.function)
        return await perform(call, *rest)

    users = [uuid4() for _ in range(20)]
    async with LiveJobs(manager) as live, AsyncExitStack() as opened:
        readers = [
            await opened.enter_async_context(
                live.follow(manager.as_user(stack.user_token(users[i % 20])))
            )
            for i in range(200)
        ]
        assert {(await told(reader)).reason for reader in readers} == {"begin"}
        monkeypatch.setattr(manager, "perform", counted)
        jobs = [await manager.create_job(user_id=user) for user in users]
        seen = [
            (await told_until(reader, lambda change: change.type == "changed"))[-1].job_id
            for reader in readers
        ]

    assert seen == [jobs[i % 20].id for i in range(200)]
    assert asked.count("read_video_job_changes") < 20
    assert set(asked) == {"create_video_jobs", "read_video_job_changes"}


async def test_a_slow_reader_is_dropped_and_others_are_not(
    manager: AsyncVideoJobManager,
):
    """Who takes nothing for too long is told to read anew, and that was the last message."""
    async with (
        LiveJobs(manager, tick_seconds=0.01, patience_seconds=0.4) as live,
        live.follow() as slow,
        live.follow() as quick,
    ):
        assert (await told(slow)).reason == "begin"
        assert (await told(quick)).reason == "begin"
        job = await manager.create_job(user_id=ADA)
        assert (await told(quick)).job_id == job.id
        async with asyncio.timeout(5):
            while live.reader_count == 2:
                later = await manager.create_job(user_id=ADA)
                assert (await told(quick)).job_id == later.id

        last = await told(slow)

        assert (last.type, last.reason) == ("reset", "slow")
        assert [change async for change in slow] == []
        await manager.create_job(user_id=ADA)
        assert (await told(quick)).type == "changed"


async def test_too_many_at_once_are_a_reset_for_those_whom_it_concerns(
    follow: Follow, manager: AsyncVideoJobManager
):
    """A thousand jobs of Ada's come as one reset to her and to services, and as nothing to Bob."""
    async with follow(ADA) as adas, follow(BOB) as bobs, follow() as services:
        await manager.create_jobs([{"user_id": ADA}] * 1000)

        assert (await told(adas)).reason == "too_many"
        assert (await told(services)).reason == "too_many"
        assert await is_silent(bobs)
        job = await manager.create_job(user_id=ADA)
        assert (await told(adas)).job_id == job.id


def change_of(number: int, place: str, kind: Any = "changed") -> JobChange:
    """A change of the job of that number."""
    return JobChange(place, kind, UUID(int=number))


async def test_what_waits_lies_behind_what_was_taken():
    """A job that changes again keeps its turn and its place, and the latest is told."""
    backlog = Backlog(10)
    backlog.put(change_of(1, "a"))
    backlog.put(change_of(2, "b"))
    backlog.put(change_of(1, "c", "deleted"))

    assert backlog.first_id("z") == "a"
    assert [(c.id, c.type) for c in await backlog.take()] == [("a", "deleted"), ("b", "changed")]
    assert backlog.first_id("z") == "z"


async def test_a_full_backlog_becomes_one_reset():
    """It never holds more than its limit; the reset says from where, and covers what follows."""
    backlog = Backlog(3)
    for number in range(100):
        backlog.put(change_of(number, f"p{number}"))
        assert len(backlog) <= 3

    (reset,) = await backlog.take()
    backlog.put(change_of(7, "later"))

    assert (reset.type, reset.reason, reset.id) == ("reset", "too_many", "p0")
    assert [c.id for c in await backlog.take()] == ["later"]
