"""Managers and readers of what changes, on one real stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from videojobs import AsyncVideoJobManager, Settings
from videojobs.live import Following, JobChange, LiveJobs
from videojobs.local import LocalStack

ADA = UUID("00000000-0000-4000-8000-00000000000a")
BOB = UUID("00000000-0000-4000-8000-00000000000b")
EVE = UUID("00000000-0000-4000-8000-00000000000e")
TEAM = UUID("00000000-0000-4000-8000-0000000000f0")


@pytest.fixture
async def sql(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection of the owner of the emptied database; each statement commits."""
    connection = await psycopg.AsyncConnection.connect(
        database, autocommit=True, row_factory=dict_row
    )
    async with connection:
        yield connection


@pytest.fixture
async def manager(database: str, stack: LocalStack) -> AsyncIterator[AsyncVideoJobManager]:
    """A service's manager on a direct connection, the database emptied."""
    settings = Settings(jwt_secret=stack.jwt_secret)
    async with AsyncVideoJobManager.from_url(database, settings=settings) as manager:
        yield manager


@pytest.fixture
async def rest_manager(database: str, stack: LocalStack) -> AsyncIterator[AsyncVideoJobManager]:
    """The same over PostgREST, where nothing can be listened to."""
    settings = Settings(
        supabase_url=stack.api_url,
        supabase_key=stack.service_role_key,
        publishable_key=stack.anon_key,
        poll_seconds=0.3,
    )
    environ = {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "SUPABASE_ANON_KEY": stack.anon_key,
    }
    async with AsyncVideoJobManager.from_env(environ) as manager:
        manager.settings = settings
        yield manager


@pytest.fixture
async def live(manager: AsyncVideoJobManager) -> AsyncIterator[LiveJobs]:
    """Tells changes quickly, and renews sights twice a second."""
    async with LiveJobs(manager, tick_seconds=0.01, sight_seconds=0.5) as live:
        yield live


Follow = Callable[..., AbstractAsyncContextManager[Following]]


@pytest.fixture
def follow(live: LiveJobs, manager: AsyncVideoJobManager, stack: LocalStack) -> Follow:
    """Follow as a user, or as a service, past the first reset."""

    @asynccontextmanager
    async def follow(user: UUID | None = None, **options: Any) -> AsyncIterator[Following]:
        viewer = None if user is None else manager.as_user(stack.user_token(user))
        async with live.follow(viewer, **options) as following:
            if "since" not in options:
                first = await told(following)
                assert (first.type, first.reason) == ("reset", "begin")
            yield following

    return follow


async def told(following: Following, seconds: float = 5) -> JobChange:
    """The next change; an error after so many seconds without."""
    async with asyncio.timeout(seconds):
        return await anext(following)


async def told_until(
    following: Following, is_last: Callable[[JobChange], bool], seconds: float = 10
) -> list[JobChange]:
    """All changes up to one."""
    changes: list[JobChange] = []
    async with asyncio.timeout(seconds):
        async for change in following:
            changes.append(change)
            if is_last(change):
                break
    return changes


async def is_silent(following: Following, seconds: float = 0.3) -> bool:
    """Whether nothing is told for so long."""
    try:
        async with asyncio.timeout(seconds):
            await anext(following)
    except TimeoutError:
        return True
    return False


@pytest.fixture
async def team(sql: psycopg.AsyncConnection[Any]) -> UUID:
    """Ada and Bob are in a team."""
    await sql.execute("insert into public.teams (id, name) values (%s, 'Cutters')", [TEAM])
    await sql.execute(
        "insert into public.team_members (team_id, user_id, role) "
        "values (%s, %s, 'member'), (%s, %s, 'admin')",
        [TEAM, ADA, TEAM, BOB],
    )
    return TEAM
