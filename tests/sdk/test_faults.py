"""Nothing is lost and nothing is done twice, whatever dies: request, reply, gateway, connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from people import ADA

from black_hole import BlackHole
from fault_proxy import FAULTS, FaultProxy
from loop_thread import LoopThread
from videojobs import (
    AsyncVideoJobManager,
    Settings,
    SupabaseConnectionError,
    VideoJobManager,
    connecting,
)
from videojobs.local import LocalStack

Sql = Callable[..., list[Any]]

_HOW_IT_ENDED = """
select
  (select count(*) from public.video_jobs),
  (select count(*) from public.video_jobs where status = 'completed' and attempt = 1),
  (select count(*) from public.video_job_events where type = 'claimed'),
  (select count(*) from public.video_job_events where type = 'completed'),
  (select count(*) from videojobs.leases)
"""

_KILL = """
select pg_terminate_backend(pid, 5000)
from pg_stat_activity
where application_name = %s
"""


@pytest.fixture
def faulty(stack: LocalStack, clean: None) -> Iterator[FaultProxy]:
    """The stack behind a proxy at which three of ten requests come to harm."""
    assert stack.api_url
    with FaultProxy(stack.api_url, share=0.3, seed=20261121) as proxy:
        yield proxy


@pytest.fixture
def impatient(faulty: FaultProxy, sdk_settings: Settings) -> Settings:
    """How to reach the stack through the proxy; a reply that hangs is given up."""
    return replace(sdk_settings, supabase_url=faulty.url, read_timeout_seconds=0.5)


def test_400_creates_make_400_jobs(faulty: FaultProxy, impatient: Settings, sql: Sql):
    """Through all faults, 400 creates succeed and leave exactly 400 rows."""
    with (
        VideoJobManager(connecting.open_transport(impatient), impatient) as manager,
        ThreadPoolExecutor(8) as pool,
    ):
        jobs = list(
            pool.map(lambda n: manager.create_job(user_id=ADA, priority=n % 10), range(400))
        )

    assert sql("select count(*) from public.video_jobs") == [(400,)]
    assert len({job.id for job in jobs}) == 400
    assert all(job.created for job in jobs)
    assert set(faulty.happened) == {"none", *FAULTS}
    assert faulty.happened.total() - faulty.happened["none"] > 120


def test_each_job_is_worked_once(faulty: FaultProxy, impatient: Settings, sql: Sql):
    """Through all faults, 80 jobs are claimed once and completed once; no lease is left over."""
    with (
        VideoJobManager(connecting.open_transport(impatient), impatient) as manager,
        ThreadPoolExecutor(4) as pool,
    ):
        manager.create_jobs([{"user_id": ADA}] * 80)
        done = [job for jobs in pool.map(_work, [manager] * 4, "abcd") for job in jobs]

    assert len(done) == len(set(done)) == 80
    assert sql(_HOW_IT_ENDED) == [(80, 80, 80, 80, 0)]


def _work(manager: VideoJobManager, name: str) -> list[Any]:
    done: list[Any] = []
    while leases := manager.claim_jobs(name, limit=5):
        done += [manager.complete_job(lease, [f"{lease.job_id}.mp4"]).id for lease in leases]
    return done


def test_async_creates_and_work(
    faulty: FaultProxy, impatient: Settings, sql: Sql, loop_thread: LoopThread
):
    """The asyncio manager loses and doubles nothing either."""

    async def run() -> int:
        transport = connecting.open_async_transport(impatient)
        async with AsyncVideoJobManager(transport, impatient) as manager:
            await asyncio.gather(*(manager.create_job(user_id=ADA) for _ in range(60)))
            done = 0
            while leases := await manager.claim_jobs("w", limit=20):
                done += len(await asyncio.gather(*map(manager.complete_job, leases)))
            return done

    assert loop_thread.run(run()) == 60
    assert sql(_HOW_IT_ENDED) == [(60, 60, 60, 60, 0)]


def test_postgrest_may_be_restarted(
    stack: LocalStack, sdk_settings: Settings, clean: None, sql: Sql
):
    """Creates go on over the end and the new start of PostgREST: 200 calls, 200 rows."""
    with (
        VideoJobManager(connecting.open_transport(sdk_settings), sdk_settings) as manager,
        ThreadPoolExecutor(4) as pool,
    ):
        calls = [pool.submit(manager.create_job, user_id=ADA) for _ in range(200)]
        calls[20].result()
        stack.stop_rest()
        was_busy = not calls[-1].done()
        stack.start_rest()
        jobs = [call.result() for call in calls]

    assert was_busy
    assert sql("select count(*) from public.video_jobs") == [(200,)]
    assert len({job.id for job in jobs}) == 200


@pytest.mark.parametrize("transport", ["postgres", "async postgres"])
def test_connections_may_be_killed(
    stack: LocalStack,
    open_manager: Callable[[str, Settings], VideoJobManager],
    sdk_settings: Settings,
    clean: None,
    sql: Sql,
    transport: str,
):
    """Creates go on while the database ends their connections: 200 calls, 200 rows."""
    settings = replace(sdk_settings, database_url=f"{stack.database_url}&application_name=doomed")
    manager = open_manager(transport, settings)

    def create(n: int) -> Any:
        if n % 8 == 7:  # while the other three threads are in the middle of theirs
            killed.extend(sql(_KILL, "doomed"))
        return manager.create_job(user_id=ADA).id

    killed: list[Any] = []
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(create, range(200)))
    manager.close()

    assert sql("select count(*) from public.video_jobs") == [(200,)]
    assert len(set(ids)) == 200
    assert len(killed) >= 25


@pytest.mark.parametrize("transport", ["postgres", "async postgres"])
def test_an_idle_connection_may_be_killed(
    stack: LocalStack,
    open_manager: Callable[[str, Settings], VideoJobManager],
    sdk_settings: Settings,
    clean: None,
    sql: Sql,
    transport: str,
):
    """A connection that ended while nobody used it makes no call's outcome unknown."""
    settings = replace(sdk_settings, database_url=f"{stack.database_url}&application_name=idle")
    manager = open_manager(transport, settings)
    job = manager.create_job(user_id=ADA)

    killed = sql(_KILL, "idle")
    started = manager.update_job_status(job.id, "processing")
    manager.close()

    assert killed == [(True,)]
    assert started.attempt == 1


# Behind a transaction pooler


def test_a_pooler_gets_no_prepared_statements(stack: LocalStack, clean: None):
    """With pooled=True nothing is prepared, which a later transaction would not find again."""
    counts: dict[bool, int] = {}

    for pooled in (True, False):
        with VideoJobManager.from_url(stack.database_url, pooled=pooled) as manager:
            for _ in range(10):
                manager.list_jobs()
            with manager._transport._pool().connection() as connection:  # pyright: ignore
                (row,) = connection.execute(
                    "select count(*) from pg_prepared_statements"
                ).fetchall()
                counts[pooled] = row["count"]

    assert counts == {True: 0, False: 1}


def test_a_pooler_is_not_listened_on(stack: LocalStack, clean: None, sql: Sql):
    """With pooled=True a watcher polls, since nobody would be woken there."""
    listening: dict[bool, int] = {}

    for pooled in (True, False):
        url = f"{stack.database_url}&application_name=watcher{pooled}"
        with VideoJobManager.from_url(url, pooled=pooled) as manager:
            next(seen := manager.watch_job(manager.create_job(user_id=ADA).id))
            ((listening[pooled],),) = sql(
                "select count(*) from pg_stat_activity "
                "where application_name = %s and query like 'listen%%'",
                f"watcher{pooled}",
            )
            seen.close()  # pyright: ignore[reportAttributeAccessIssue]

    assert listening == {True: 0, False: 1}


@pytest.mark.parametrize(
    ("url", "pooled"),
    [
        ("postgresql://ada@pooler.example:6543/postgres", True),
        ("host=pooler.example port=6543", True),
        ("postgresql://ada@db.example:5432/postgres", False),
        ("postgresql://ada@db.example/postgres", False),
    ],
)
def test_a_pooler_is_known_by_its_port(url: str, pooled: bool):
    """Port 6543 is taken for a transaction pooler, unless the caller knows better."""
    with (
        VideoJobManager.from_url(url) as guessed,
        VideoJobManager.from_url(url, pooled=False) as told,
    ):
        assert guessed._transport._pooled is pooled  # pyright: ignore
        assert told._transport._pooled is False  # pyright: ignore


# A peer that is there and silent


@pytest.fixture
def silent(stack: LocalStack) -> Iterator[tuple[BlackHole, str]]:
    """A proxy before Postgres that can fall silent, and the URL through it."""
    place = urlsplit(stack.database_url)
    with BlackHole(place.port) as hole:
        yield hole, stack.database_url.replace(f":{place.port}/", f":{hole.port}/")


def test_a_call_ends_though_its_peer_only_acknowledges(silent: tuple[BlackHole, str]):
    """A hung proxy keeps nobody waiting for ever; when it is gone, calls work again."""
    hole, url = silent
    settings = Settings(read_timeout_seconds=1, deadline_seconds=2, connect_timeout_seconds=2)
    with VideoJobManager.from_url(url, settings=settings) as manager:
        manager.check()
        hole.fall_silent()

        with pytest.raises(SupabaseConnectionError):
            manager.check()

        hole.break_and_resume()
        assert manager.check().is_service


async def test_an_async_call_ends_though_its_peer_only_acknowledges(
    silent: tuple[BlackHole, str],
):
    """The same within an event loop."""
    hole, url = silent
    settings = Settings(read_timeout_seconds=1, deadline_seconds=2, connect_timeout_seconds=2)
    async with AsyncVideoJobManager.from_url(url, settings=settings) as manager:
        await manager.check()
        hole.fall_silent()

        with pytest.raises(SupabaseConnectionError):
            await manager.check()

        hole.break_and_resume()
        assert (await manager.check()).is_service
