"""Behind a transaction pooler, beyond what the contract's tests show there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from blocking import BlockingManager
from people import ADA, BOB

from loop_thread import LoopThread
from parts import Parts, transaction_pooler
from videojobs import (
    AsyncVideoJobManager,
    NewVideoJob,
    PermissionDeniedError,
    Settings,
    VideoJobManager,
    VideoJobsError,
)
from videojobs.local import LocalStack
from videojobs.migrations import migrate

Sql = Callable[..., list[Any]]
Open = Callable[..., Any]

WHO_AM_I = """
select current_user, current_setting('role'), current_setting('request.jwt.claims', true) as claims
"""


@pytest.fixture(scope="module")
def narrow_url(stack: LocalStack, parts: Parts) -> Iterator[str]:
    """Leads through a pooler with one connection, which all clients share in turn."""
    with transaction_pooler(parts, stack.database_url, connections=1) as url:
        yield url


@pytest.fixture
def open_narrow(narrow_url: str, sdk_settings: Settings, clean: None) -> Open:
    """Open a manager on that pooler."""

    def open_(*, pooled: bool = True) -> VideoJobManager:
        return VideoJobManager.from_url(narrow_url, settings=sdk_settings, pooled=pooled)

    return open_


@pytest.fixture
def open_narrow_async(
    narrow_url: str, sdk_settings: Settings, loop_thread: LoopThread, clean: None
) -> Open:
    """Open an async manager on that pooler."""

    def open_() -> Any:
        manager = AsyncVideoJobManager.from_url(narrow_url, settings=sdk_settings, pooled=True)
        return closing(BlockingManager(manager, loop_thread))

    return open_


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A bare connection, which prepares nothing."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        yield connection


# What does not work there, and so what the others prove


def test_prepared_statements_break_there(open_narrow: Open):
    """Two managers that take the pooler for a server get in each other's way."""
    with open_narrow(pooled=False) as one, open_narrow(pooled=False) as other:
        one.create_job(user_id=ADA)

        with pytest.raises(VideoJobsError, match=r"prepared statement .* already exists"):
            for _ in range(10):
                one.list_jobs()
                other.list_jobs()


def test_listening_is_in_vain_there(narrow_url: str, stack: LocalStack):
    """What is announced reaches those who listen directly, and nobody behind the pooler."""
    with connected(narrow_url) as behind, connected(stack.database_url) as direct:
        behind.execute("listen truth")
        direct.execute("listen truth")

        direct.execute("notify truth, 'heard'")

        assert [each.payload for each in direct.notifies(timeout=10, stop_after=1)] == ["heard"]
        assert list(behind.notifies(timeout=0.2)) == []


# What does


def test_a_users_rights_end_with_each_call(
    open_narrow: Open, narrow_url: str, stack: LocalStack, sql: Sql
):
    """On one connection for all, a user's and a service's calls in turn have each their own rights."""
    with open_narrow() as service, open_narrow() as other, connected(narrow_url) as bare:
        ada = other.as_user(stack.user_token(ADA))
        bob = other.as_user(stack.user_token(BOB))
        seen = []
        for _ in range(3):
            ada.create_job()
            service.create_job(user_id=BOB)
            counts = [len(each.list_jobs()) for each in (ada, service, bob, service)]
            seen.append((counts, bare.execute(WHO_AM_I).fetchone()))

    owner = sql("select current_user")[0][0]
    nobody = (owner, "none", "")
    assert seen == [
        ([1, 2, 1, 2], nobody),
        ([2, 4, 2, 4], nobody),
        ([3, 6, 3, 6], nobody),
    ]


def test_a_users_calls_keep_no_connection(open_narrow: Open, stack: LocalStack):
    """After each of a user's calls the pooler's connection is free for others at once.

    PgBouncer binds a connection to whoever sends anything, and frees it with the answer. A pipeline
    of psycopg ends in a Flush, which has none: if it arrives after the answer to all before it, the
    connection is lost to the others. That happens about once in 200 calls.
    """
    with open_narrow() as service, open_narrow() as other:
        ada = other.as_user(stack.user_token(ADA))

        calls = [len(each.list_jobs()) for each in (ada, service) * 1_000]

    assert calls == [0] * 2_000


def test_an_async_users_calls_keep_no_connection(
    open_narrow: Open, open_narrow_async: Open, stack: LocalStack
):
    """The same is true for asyncio."""
    with open_narrow() as service, open_narrow_async() as other:
        ada = other.as_user(stack.user_token(ADA))

        calls = [len(each.list_jobs()) for each in (ada, service) * 1_000]

    assert calls == [0] * 2_000


def test_a_users_rights_end_with_a_refused_call(
    open_narrow: Open, narrow_url: str, stack: LocalStack, sql: Sql
):
    """A call that the database refuses leaves nothing of the user on the connection either."""
    with open_narrow() as service, connected(narrow_url) as bare:
        ada = service.as_user(stack.user_token(ADA))

        with pytest.raises(PermissionDeniedError):
            ada.create_job(user_id=BOB)

        owner = sql("select current_user")[0][0]
        assert bare.execute(WHO_AM_I).fetchone() == (owner, "none", "")
        assert service.create_job(user_id=BOB).user_id == BOB


def test_all_clients_share_the_one_connection(open_narrow: Open, narrow_url: str, clean: None):
    """The pooler of these tests does what they rely on: one server process serves everyone."""
    pid = "select pg_backend_pid()"
    with connected(narrow_url) as one, connected(narrow_url) as other, open_narrow() as manager:
        before = one.execute(pid).fetchone()
        manager.create_job(user_id=ADA)

        assert other.execute(pid).fetchone() == before


def test_thousands_are_created_in_order(open_narrow: Open):
    """Several batches through the pooler have their receipts in the order of the wishes."""
    wishes = [NewVideoJob(user_id=ADA, idempotency_key=f"talk {n}") for n in range(3_000)]

    with open_narrow() as manager:
        receipts = manager.create_jobs(wishes)
        again = manager.create_jobs(wishes)
        stored = {job.id: job.idempotency_key for job in manager.iter_jobs()}

    assert [stored[receipt.id] for receipt in receipts] == [wish.idempotency_key for wish in wishes]
    assert [receipt.id for receipt in again] == [receipt.id for receipt in receipts]
    assert {receipt.created for receipt in again} == {False}


def test_threads_share_a_manager(
    pooler_url: str, sdk_settings: Settings, stack: LocalStack, clean: None
):
    """Eight threads on two connections of the pooler, half of them a user's: all get their answers."""
    with (
        VideoJobManager.from_url(pooler_url, settings=sdk_settings, pooled=True) as service,
        ThreadPoolExecutor(8) as threads,
    ):
        ada = service.as_user(stack.user_token(ADA))
        wishes = [(ada, ADA), (service, BOB)] * 50

        made = list(threads.map(lambda wish: wish[0].create_job(user_id=wish[1]), wishes))

        assert [job.user_id for job in made] == [ADA, BOB] * 50
        assert {job.user_id for job in ada.iter_jobs()} == {ADA}
        assert len(list(service.iter_jobs())) == 100


def test_jobs_commit_with_the_callers_rows(pooler_url: str, clean: None, sql: Sql):
    """Within a caller's transaction, which keeps its connection, a rollback takes the job along."""
    with connected(pooler_url) as connection:
        manager = VideoJobManager.from_connection(connection)
        with connection.transaction():
            kept = manager.create_job(user_id=ADA)
        with connection.transaction(force_rollback=True):
            manager.create_job(user_id=ADA)

    assert sql("select id from public.video_jobs") == [(kept.id,)]


def test_migrating_again_changes_nothing(pooler_url: str, clean: None):
    """`videojobs migrate` finds its way through the pooler as well."""
    assert migrate(pooler_url) == []
