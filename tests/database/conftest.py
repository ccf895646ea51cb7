"""Databases of both versions, the people of the role matrix, and managers on direct connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from parts import Parts, postgres15
from videojobs import VideoJobManager, migrations
from videojobs.local import LocalStack

_WAITING = """
select pid from pg_stat_activity
where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0
"""


@pytest.fixture(scope="session")
def servers(stack: LocalStack, parts: Parts) -> Iterator[dict[int, str]]:
    """The URL of a PostgreSQL 15 and of an 18, with Supabase's roles."""
    with postgres15(parts) as url:
        migrations.bootstrap(url)
        yield {15: url, 18: stack.database_url}


@pytest.fixture
def new_database(servers: dict[int, str]) -> Iterator[Callable[[int], str]]:
    """Make a database on one of the servers, with the bootstrap and nothing of ours; return its URL."""
    made: list[tuple[str, str]] = []

    def make(version: int) -> str:
        name = f"made_{uuid4().hex}"
        with psycopg.connect(servers[version], autocommit=True) as connection:
            connection.execute(f"create database {name}")
        made.append((servers[version], name))
        url = servers[version].replace("/postgres?", f"/{name}?")
        migrations.bootstrap(url)
        return url

    yield make
    for server, name in made:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def sql(database: str) -> Iterator[psycopg.Connection[dict]]:
    """A connection as the owner of the emptied database; each statement commits."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def manager(database: str) -> Iterator[VideoJobManager]:
    """A service's manager on a direct connection, the database emptied."""
    with VideoJobManager.from_url(database) as manager:
        yield manager
        health = manager.check()
    # After every test that used it: a job is processing if and only if it has a lease.
    assert (health.processing_without_lease, health.leases_without_job) == (0, 0)


@pytest.fixture
def in_background() -> Iterator[Callable[..., Future]]:
    """Call something in a thread of its own and return its future."""
    with ThreadPoolExecutor() as threads:
        yield threads.submit


@pytest.fixture
def someone_waits(sql: psycopg.Connection[dict]) -> Callable[[], None]:
    """Return when some connection of this database waits for a lock; fail after ten seconds."""

    def look() -> None:
        until = time.monotonic() + 10
        while not sql.execute(_WAITING).fetchall():
            assert time.monotonic() < until, "nobody waits for a lock"
            time.sleep(0.005)

    return look


@pytest.fixture
def configure(sql: psycopg.Connection[dict]) -> Iterator[Callable[..., None]]:
    """Change settings of the database; what they were comes back in the end."""
    query = "select settings from public.configure_video_jobs(%s)"
    before = sql.execute(query, (Jsonb({}),)).fetchone()["settings"]

    def change(**settings: object) -> None:
        sql.execute(query, (Jsonb(settings),))

    yield change
    sql.execute(query, (Jsonb(before),))
