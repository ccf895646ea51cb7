"""A PostgreSQL 15 with pg_cron, as Supabase has it, and what its clock takes."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from parts import Parts, postgres15
from videojobs.migrations import bootstrap, migrate

EXPIRE = """
update videojobs.leases
set claimed_at = now() - interval '1 hour', expires_at = now() - interval '1 minute'
"""
HAS_PG_CRON = "select extversion from pg_extension where extname = 'pg_cron'"


@pytest.fixture
def cron_database(parts: Parts) -> Iterator[str]:
    """The URL of a bootstrapped database where pg_cron can be created; without our migrations.

    The server is its own: pg_cron serves one database of each.
    """
    assert parts.pg_cron
    with postgres15(
        parts, "shared_preload_libraries=pg_cron", "cron.database_name=postgres"
    ) as url:
        bootstrap(url)
        yield url


def run(url: str, statement: str) -> list[tuple]:
    """Run a statement as the database's owner, and give its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


SCHEDULED = "select jobname, schedule, command, username from cron.job"
UPKEEP = ("videojobs upkeep", "* * * * *", "select public.maintain_video_jobs()", "postgres")


def test_the_migrations_schedule_the_upkeep_where_the_extension_is(cron_database: str):
    """On a database with pg_cron the upkeep is scheduled once, and applying again does not double it."""
    run(cron_database, "create extension pg_cron")

    migrate(cron_database)
    first = run(cron_database, SCHEDULED)
    again = migrate(cron_database)

    assert first == [UPKEEP]
    assert again == []
    assert run(cron_database, SCHEDULED) == [UPKEEP]


def test_the_extension_may_come_after_the_migrations(cron_database: str):
    """The migrations pass without it; creating it schedules nothing, and asking for the schedule does, once."""
    migrate(cron_database)
    before = run(cron_database, HAS_PG_CRON)
    without = run(cron_database, "select videojobs.schedule_upkeep()")

    run(cron_database, "create extension pg_cron")
    created = run(cron_database, SCHEDULED)
    told = [run(cron_database, "select videojobs.schedule_upkeep()") for _ in range(2)]

    assert (before, without, created) == ([], [(False,)], [])
    assert told == [[(True,)], [(True,)]]
    assert run(cron_database, SCHEDULED) == [UPKEEP]


def test_a_dropped_extension_is_no_extension(cron_database: str):
    """Where pg_cron was and is not any more, asking for the schedule says so."""
    run(cron_database, "create extension pg_cron")
    migrate(cron_database)
    run(cron_database, "drop extension pg_cron")

    assert run(cron_database, "select videojobs.schedule_upkeep()") == [(False,)]


def test_what_is_scheduled_takes_jobs_back(cron_database: str):
    """The command, run as pg_cron would, gives the job of a silent worker back to its queue."""
    run(cron_database, "create extension pg_cron")
    migrate(cron_database)
    run(cron_database, "insert into public.video_jobs (user_id) values (gen_random_uuid())")
    run(cron_database, "select public.claim_video_jobs('worker-1', gen_random_uuid())")
    run(cron_database, EXPIRE)
    ((command,),) = run(cron_database, "select command from cron.job")

    run(cron_database, command)

    assert run(cron_database, "select status::text, lost_count from public.video_jobs") == [
        ("queued", 1)
    ]
    assert run(cron_database, "select from videojobs.leases") == []
    assert run(cron_database, "select from videojobs.tally_changes where jobs > 0 limit 1") == []


def test_a_name_has_one_schedule(cron_database: str):
    """Scheduling under the same name again replaces what was there, and keeps its number."""
    run(cron_database, "create extension pg_cron")

    first = run(cron_database, "select cron.schedule('x', '* * * * *', 'select 1')")
    second = run(cron_database, "select cron.schedule('x', '*/5 * * * *', 'select 2')")

    assert first == second
    assert run(cron_database, "select jobname, schedule, command, username from cron.job") == [
        ("x", "*/5 * * * *", "select 2", "postgres")
    ]


def test_old_versions_know_no_seconds(cron_database: str):
    """Version 1.4, Debian's, takes minutes and longer only; intervals in seconds came with 1.5."""
    run(cron_database, "create extension pg_cron")
    ((version,),) = run(cron_database, HAS_PG_CRON)

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="invalid schedule: 10 seconds"):
        run(cron_database, "select cron.schedule('x', '10 seconds', 'select 1')")

    assert version == "1.4-1"
