"""The managers over each of the four transports, on one real stack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

# Tests are imported by path (--import-mode=importlib), so this folder has to be named for its helpers.
sys.path.insert(0, str(Path(__file__).parent))

from blocking import BlockingManager
from people import ADA, BOB, TEAM

from emptying import EMPTY_ALL
from loop_thread import LoopThread
from videojobs import AsyncVideoJobManager, Settings, VideoJobManager, connecting
from videojobs.local import LocalStack

TRANSPORTS = ("supabase", "postgres", "async supabase", "async postgres")
POOLED = ("pooled postgres", "async pooled postgres")
"""The Postgres transports behind a transaction pooler."""


@pytest.fixture(scope="session")
def sdk_settings(stack: LocalStack) -> Settings:
    """What a service needs to reach the stack either way; polls often, so that tests are short."""
    return Settings(
        supabase_url=stack.api_url,
        supabase_key=stack.service_role_key,
        publishable_key=stack.anon_key,
        database_url=stack.database_url,
        jwt_secret=stack.jwt_secret,
        poll_seconds=0.05,
    )


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    """The event loop of the async managers."""
    loop = LoopThread()
    yield loop
    loop.close()


OpenManager = Callable[[str, Settings], VideoJobManager]


@pytest.fixture(scope="session")
def open_manager(loop_thread: LoopThread) -> OpenManager:
    """Open a manager over the named transport; the caller closes it."""

    def open_(transport: str, settings: Settings) -> Any:
        chosen = replace(settings, transport=transport.removeprefix("async "))
        if transport.startswith("async "):
            manager = AsyncVideoJobManager(connecting.open_async_transport(chosen), chosen)
            return BlockingManager(manager, loop_thread)
        return VideoJobManager(connecting.open_transport(chosen), chosen)

    return open_


@pytest.fixture(scope="session")
def all_managers(
    open_manager: OpenManager, sdk_settings: Settings
) -> Iterator[dict[str, VideoJobManager]]:
    """A service's manager over each transport, by its name."""
    with ExitStack() as stack:
        managers = {name: open_manager(name, sdk_settings) for name in TRANSPORTS}
        for manager in managers.values():
            stack.callback(manager.close)
        yield managers


@pytest.fixture(scope="session")
def pooled_managers(
    pooler_url: str, sdk_settings: Settings, loop_thread: LoopThread
) -> Iterator[dict[str, Any]]:
    """A service's manager, and an async one, behind the transaction pooler, by their transport's name."""
    blocking = VideoJobManager.from_url(pooler_url, settings=sdk_settings, pooled=True)
    of_asyncio = AsyncVideoJobManager.from_url(pooler_url, settings=sdk_settings, pooled=True)
    with blocking, closing(BlockingManager(of_asyncio, loop_thread)) as driven:
        yield dict(zip(POOLED, (blocking, driven), strict=True))


@pytest.fixture(scope="session")
def owner(stack: LocalStack) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the database's owner, to arrange what no function would."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sql(owner: psycopg.Connection[Any]) -> Callable[..., list[Any]]:
    """Run a statement as the database's owner, and give its rows."""

    def run(query: str, *values: Any) -> list[Any]:
        cursor = owner.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def wipe(sql: Callable[..., list[Any]]) -> Callable[[], list[Any]]:
    """Remove all jobs and all else that tests write, and begin to count from 1 again."""
    return lambda: sql(EMPTY_ALL)


@pytest.fixture
def clean(wipe: Callable[[], list[Any]]) -> None:
    """There are no jobs."""
    wipe()


@pytest.fixture
def managers(all_managers: dict[str, VideoJobManager], clean: None) -> dict[str, VideoJobManager]:
    """A service's manager over each transport, on a database without jobs."""
    return all_managers


@pytest.fixture(params=[*TRANSPORTS, *POOLED])
def manager(request: pytest.FixtureRequest, clean: None) -> VideoJobManager:
    """A service's manager on a database without jobs; the test runs once over each transport."""
    # Asked for by name: without PgBouncer only the tests that need it fail.
    fixture = "pooled_managers" if request.param in POOLED else "all_managers"
    return request.getfixturevalue(fixture)[request.param]


@pytest.fixture
def team(sql: Callable[..., list[Any]]) -> None:
    """Ada is a member of the team, and Bob its admin."""
    sql("insert into public.teams (id, name) values (%s, 'Cutters') on conflict do nothing", TEAM)
    sql(
        "insert into public.team_members (team_id, user_id, role) "
        "values (%s, %s, 'member'), (%s, %s, 'admin') on conflict do nothing",
        *(TEAM, ADA, TEAM, BOB),
    )


AsUser = Callable[..., VideoJobManager]


@pytest.fixture
def as_user(manager: VideoJobManager, stack: LocalStack) -> AsUser:
    """The manager with a signed-in user's rights."""
    return lambda user: manager.as_user(stack.user_token(user))


@pytest.fixture
def expire(sql: Callable[..., list[Any]]) -> Callable[[], list[Any]]:
    """Every lease has ended a minute ago, as if its worker had gone silent."""
    return lambda: sql(
        "update videojobs.leases set claimed_at = claimed_at - interval '1 hour', "
        "expires_at = clock_timestamp() - interval '1 minute'"
    )
