"""Waking, transactions, processes and threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from blocking import BlockingManager
from people import ADA, BOB, NOBODYS_JOB
from scripted import AsyncScriptedTransport, ScriptedTransport, job_row

from loop_thread import LoopThread
from videojobs import (
    AsyncVideoJobManager,
    ConfigurationError,
    InvalidTransitionError,
    Settings,
    SupabaseConnectionError,
    VideoJobManager,
)
from videojobs.local import LocalStack

Sql = Callable[..., list[Any]]
Open = Callable[[str, Settings], VideoJobManager]

HOURS_SECONDS = 7200.0
ENOUGH_SECONDS = 20.0
both_postgres = pytest.mark.parametrize("transport", ["postgres", "async postgres"])


@pytest.fixture
def sleeper(
    transport: str, open_manager: Open, sdk_settings: Settings, clean: None
) -> Iterator[VideoJobManager]:
    """A manager that looks every two hours, unless it is woken."""
    manager = open_manager(transport, replace(sdk_settings, poll_seconds=HOURS_SECONDS))
    yield manager
    manager.close()


@pytest.fixture
def listening(sql: Sql) -> Callable[[], None]:
    """Return once a connection listens and waits."""

    def until() -> None:
        end = time.monotonic() + ENOUGH_SECONDS
        query = "select pid from pg_stat_activity where query like 'listen%' and state = 'idle'"
        while not sql(query):
            assert time.monotonic() < end

    return until


# Looking from time to time

QUEUED = [job_row(NOBODYS_JOB)]
RUNNING = [job_row(NOBODYS_JOB, status="processing", updated_at="2027-01-01T00:00:01+00:00")]
DONE = [job_row(NOBODYS_JOB, status="completed", updated_at="2027-01-01T00:00:02+00:00")]


def test_a_waiter_looks_less_and_less_often():
    """The pauses between two looks double from a quarter of a second to the longest."""
    transport = ScriptedTransport(*[QUEUED] * 7, DONE)

    job = VideoJobManager(transport, Settings(poll_seconds=5)).wait_for_job(NOBODYS_JOB)

    assert job.status == "completed"
    assert transport.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_watcher_looks_often_again_after_a_change():
    """What has just changed may soon change again."""
    transport = ScriptedTransport(*[QUEUED] * 4, RUNNING, RUNNING, RUNNING, DONE)

    seen = list(VideoJobManager(transport, Settings(poll_seconds=5)).watch_job(NOBODYS_JOB))

    assert [job.status for job in seen] == ["queued", "processing", "completed"]
    assert transport.pauses == [0.25, 0.5, 1.0, 2.0, 0.25, 0.5, 1.0]


async def test_async_waiters_look_alike():
    """The pauses of asyncio are the same."""
    transport = AsyncScriptedTransport(*[QUEUED] * 4, RUNNING, RUNNING, DONE)
    manager = AsyncVideoJobManager(transport, Settings(poll_seconds=1))

    seen = [job.status async for job in manager.watch_job(NOBODYS_JOB)]

    assert seen == ["queued", "processing", "completed"]
    assert transport.pauses == [0.25, 0.5, 1.0, 1.0, 0.25, 0.5]


def test_a_waiter_never_sleeps_past_its_timeout():
    """The last pause is what is left of the time."""
    transport = ScriptedTransport(QUEUED, DONE)

    VideoJobManager(transport).wait_for_job(NOBODYS_JOB, timeout=0.1)

    assert transport.pauses == [0.1]


# Woken by the database


@both_postgres
def test_waiting_is_woken(sleeper: VideoJobManager, listening: Callable[[], None]):
    """Whoever waits over Postgres hears of the end at once, however seldom they would look."""
    job = sleeper.create_job(user_id=ADA)

    # The first looks are quick; by the time of 0.25 + 0.5 + 1 + 2 + 4 s the pause is 8 s long.
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sleeper.wait_for_job, job.id)
        listening()
        sleeper.cancel_job(job.id)
        ended = waiting.result(ENOUGH_SECONDS)

    assert ended.status == "cancelled"


@both_postgres
def test_watching_is_woken_by_each_change(
    sleeper: VideoJobManager, monkeypatch: pytest.MonkeyPatch
):
    """A watcher over Postgres, whose every pause lasts for hours, sees each step as it is made."""
    monkeypatch.setattr("videojobs.flows._FIRST_PAUSE_SECONDS", HOURS_SECONDS)
    job = sleeper.create_job(user_id=ADA)
    seen = sleeper.watch_job(job.id)

    steps = [next(seen).status]
    for change in (
        lambda: sleeper.start_processing(job.id),
        lambda: sleeper.update_job_status(job.id, "processing", progress=40),
        lambda: sleeper.complete_job(job.id),
    ):
        change()
        steps.append((next(seen).status, sleeper.get_job(job.id).progress))

    assert steps == ["queued", ("processing", 0), ("processing", 40), ("completed", 100)]
    assert list(seen) == []


@both_postgres
def test_a_waiter_is_not_woken_by_other_jobs(
    sleeper: VideoJobManager, monkeypatch: pytest.MonkeyPatch
):
    """What happens to other jobs wakes nobody: the job is read twice, at the start and at the end."""
    monkeypatch.setattr("videojobs.flows._FIRST_PAUSE_SECONDS", HOURS_SECONDS)
    job, other = sleeper.create_job(user_id=ADA), sleeper.create_job(user_id=ADA)
    seen = sleeper.watch_job(job.id)
    next(seen)

    sleeper.cancel_job(other.id)
    sleeper.cancel_job(job.id, reason="enough")

    assert next(seen).id == job.id
    assert list(seen) == []


@both_postgres
def test_work_is_announced(sleeper: VideoJobManager):
    """A worker that waits for its queue hears of a new job, and not of another queue's."""
    heard: dict[str, Collection[str]] = {}

    with _listening_for_work(sleeper) as wait:
        sleeper.create_job(user_id=ADA, queue="other")
        heard["other"] = wait({"mine"}, 0.2)
        sleeper.create_job(user_id=ADA, queue="mine")
        heard["mine"] = wait({"mine"}, HOURS_SECONDS)

    assert heard == {"other": (), "mine": {"mine"}}


@contextmanager
def _listening_for_work(manager: Any) -> Iterator[Callable[..., Collection[str]]]:
    context = manager.listen_for_work()
    if isinstance(manager, BlockingManager):
        loop: LoopThread = manager._loop
        listener = loop.run(context.__aenter__())
        yield lambda *args: loop.run(listener.wait(*args))
        loop.run(context.__aexit__(None, None, None))
    else:
        with context as listener:
            yield listener.wait


@both_postgres
def test_a_waiter_outlives_its_connection(
    sleeper: VideoJobManager, listening: Callable[[], None], sql: Sql
):
    """When the listening connection is ended, waiting goes on by looking."""
    sleeper.settings = replace(sleeper.settings, poll_seconds=0.05)
    job = sleeper.create_job(user_id=ADA)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sleeper.wait_for_job, job.id)
        listening()
        sql("select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%'")
        sleeper.cancel_job(job.id)
        ended = waiting.result(ENOUGH_SECONDS)

    assert ended.status == "cancelled"


# Within the caller's transaction


@pytest.fixture
def connection(stack: LocalStack, clean: None) -> Iterator[psycopg.Connection[Any]]:
    """The caller's own connection."""
    with psycopg.connect(stack.database_url) as connection:
        yield connection


def test_a_job_is_committed_with_its_transaction(connection: psycopg.Connection[Any], sql: Sql):
    """A job created within a transaction is there when, and only when, that is committed."""
    manager = VideoJobManager.from_connection(connection)

    job = manager.create_job(user_id=ADA)
    before = sql("select count(*) from public.video_jobs")
    connection.commit()
    after = sql("select id from public.video_jobs")

    assert (before, after) == ([(0,)], [(job.id,)])


def test_a_job_is_rolled_back_with_its_transaction(connection: psycopg.Connection[Any], sql: Sql):
    """A transaction that fails leaves no job behind."""
    manager = VideoJobManager.from_connection(connection)

    with pytest.raises(ZeroDivisionError), connection.transaction():
        manager.create_job(user_id=ADA)
        manager.create_jobs([{"user_id": BOB}] * 3)
        raise ZeroDivisionError

    assert sql("select count(*) from public.video_jobs") == [(0,)]


async def test_async_jobs_share_the_transaction(stack: LocalStack, clean: None, sql: Sql):
    """The same for asyncio: rolled back with the one, committed with the other transaction."""
    async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
        manager = AsyncVideoJobManager.from_connection(connection)

        await manager.create_job(user_id=ADA)
        await connection.rollback()
        kept = await manager.create_job(user_id=ADA)
        await connection.commit()

    assert sql("select id from public.video_jobs") == [(kept.id,)]


def test_a_refusal_leaves_the_transaction_usable(connection: psycopg.Connection[Any], sql: Sql):
    """What was refused is undone alone; the rest can go on, and be committed."""
    manager = VideoJobManager.from_connection(connection)
    job = manager.create_job(user_id=ADA)

    with pytest.raises(InvalidTransitionError) as caught:
        manager.retry_job(job.id)
    manager.cancel_job(job.id)
    connection.commit()

    assert caught.value.attempts == 1
    assert sql("select status::text from public.video_jobs") == [("cancelled",)]


async def test_async_refusals_leave_the_transaction_usable(
    stack: LocalStack, clean: None, sql: Sql
):
    """The same for asyncio."""
    async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
        manager = AsyncVideoJobManager.from_connection(connection)
        job = await manager.create_job(user_id=ADA)

        with pytest.raises(InvalidTransitionError):
            await manager.retry_job(job.id)
        await manager.cancel_job(job.id)
        await connection.commit()

    assert sql("select status::text from public.video_jobs") == [("cancelled",)]


def test_a_broken_listener_is_made_anew(database: str, sql: Sql):
    """After its connection was killed it reports a possible change, and hears the next one."""
    with VideoJobManager.from_url(database) as manager, manager.listen_for_work() as listener:
        sql("select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen %'")
        while not listener.wait(["default"], 0.1):
            continue
        manager.create_job(user_id=ADA)
        heard = listener.wait(["default"], 20)

    assert heard


def test_a_broken_connection_of_the_caller_is_not_repeated(
    connection: psycopg.Connection[Any], sql: Sql
):
    """The caller's transaction went with its connection: nothing is tried again."""
    manager = VideoJobManager.from_connection(connection)
    manager.create_job(user_id=ADA)

    sql("select pg_terminate_backend(%s, 5000)", connection.info.backend_pid)
    with pytest.raises(SupabaseConnectionError) as caught:
        manager.create_job(user_id=ADA)

    assert caught.value.attempts == 1
    assert sql("select count(*) from public.video_jobs") == [(0,)]


def test_a_callers_connection_keeps_its_role(connection: psycopg.Connection[Any]):
    """as_user would change the role of the caller's connection, and is refused."""
    manager = VideoJobManager.from_connection(connection)

    with pytest.raises(ConfigurationError, match="make a manager with from_url"):
        manager.as_user("token")


def test_closing_leaves_the_callers_connection_open(connection: psycopg.Connection[Any]):
    """The connection is the caller's to close."""
    VideoJobManager.from_connection(connection).close()

    assert connection.execute("select 1").fetchone() == (1,)


# Processes

# Forking beside threads is what these tests are about; Python 3.12 and later warn of it.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@forks
@pytest.mark.parametrize("transport", ["supabase", "postgres"])
def test_a_child_process_may_use_its_parents_manager(
    transport: str,
    open_manager: Open,
    sdk_settings: Settings,
    stack: LocalStack,
    clean: None,
    sql: Sql,
):
    """After a fork, parent and child both go on with the manager, a user's too, and close it."""
    manager = open_manager(transport, sdk_settings)
    user = manager.as_user(stack.user_token(ADA))
    user.create_job(original_filename="before")
    token = stack.user_token(BOB)

    def in_child() -> None:
        user.create_job(original_filename="child's user")
        manager.create_job(user_id=ADA, original_filename="child's service")
        manager.as_user(token).create_job(original_filename="child's other user")
        manager.close()

    exit_codes = [_in_a_child(in_child), _in_a_child(manager.close)]
    user.create_job(original_filename="after")
    manager.create_job(user_id=ADA, original_filename="after")
    manager.close()

    assert exit_codes == [0, 0]
    assert {name for (name,) in sql("select original_filename from public.video_jobs")} == {
        "before",
        "child's user",
        "child's service",
        "child's other user",
        "after",
    }


@forks
@pytest.mark.parametrize("transport", ["supabase", "postgres"])
def test_a_child_shares_no_connection(
    transport: str, open_manager: Open, sdk_settings: Settings, clean: None
):
    """While the child works, the parent works too, and each gets its own answers."""
    manager = open_manager(transport, sdk_settings)
    mine, childs = (manager.create_job(user_id=user).id for user in (ADA, BOB))

    def read(job_id: Any) -> None:
        assert all(manager.get_job(job_id).id == job_id for _ in range(50))

    child = os.fork()
    if child == 0:
        _run_and_exit(lambda: read(childs))
    read(mine)
    _, status = os.waitpid(child, 0)
    manager.close()

    assert os.waitstatus_to_exitcode(status) == 0


def _in_a_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        _run_and_exit(work)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run_and_exit(work: Callable[[], object]) -> None:
    signal.alarm(20)  # a child that hangs ends itself
    exit_code = 1
    try:
        work()
        exit_code = 0
    finally:
        os._exit(exit_code)


# Threads


@pytest.mark.parametrize("transport", ["supabase", "postgres", "async supabase", "async postgres"])
def test_threads_share_a_manager(
    transport: str, managers: dict[str, VideoJobManager], stack: LocalStack
):
    """Eight threads, each with its user, use one manager: each gets its own answers."""
    manager = managers[transport]
    start = threading.Barrier(8)

    def work(n: int) -> tuple[int, set[str | None]]:
        user = manager.as_user(stack.user_token(f"00000000-0000-4000-8000-00000000000{n}"))
        start.wait()
        for _ in range(10):
            user.create_job(original_filename=f"{n}")
        return n, {job.original_filename for job in user.iter_jobs(page_size=3)}

    with ThreadPoolExecutor(8) as pool:
        seen = dict(pool.map(work, range(8)))

    assert seen == {n: {f"{n}"} for n in range(8)}
    assert manager.check().queued == 80


def test_more_threads_than_connections(
    open_manager: Open, sdk_settings: Settings, stack: LocalStack, clean: None
):
    """Threads wait for a free connection instead of failing."""
    settings = replace(sdk_settings, pool_size=2)

    with open_manager("postgres", settings) as manager, ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: manager.create_job(user_id=ADA), range(40)))

    assert len({job.id for job in jobs}) == 40
