"""`make check` finds what it is there to find, and finds nothing in the migrations as they are."""

from __future__ import annotations

import psycopg
import pytest

import check_sql
from videojobs.migrations import migrate

BROKEN_FUNCTION = """
create function videojobs.broken() returns integer language plpgsql set search_path = ''
as $$ begin return (select j.no_such_column from public.video_jobs j); end $$
"""
BROKEN_TRIGGER = """
create function videojobs.broken_trigger() returns trigger language plpgsql set search_path = ''
as $$ begin perform fresh.no_such_column from fresh; return null; end $$;
create trigger broken after insert on public.video_jobs
  referencing new table as fresh for each statement execute function videojobs.broken_trigger();
"""
OPEN_TABLE = """
create table public.open_to_all (id int primary key);
grant select on public.open_to_all to anon;
"""
NEW_COLUMN = "alter table public.video_jobs add column mood text"


@pytest.fixture
def migrated(new_database) -> str:
    """The URL of a PostgreSQL 15 database with the migrations."""
    url = new_database(15)
    migrate(url)
    return url


def change(url: str, statements: str) -> None:
    """Run statements as the owner."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements)


def test_the_migrations_are_clean(migrated, parts, capsys):
    """plpgsql_check and the advisors report nothing to mend, and the types are those of the database."""
    found = list(check_sql.findings(parts, migrated))

    assert found == []
    assert "advisors: 0 at warn or above" in capsys.readouterr().out


@pytest.mark.parametrize("statements", [BROKEN_FUNCTION, BROKEN_TRIGGER])
def test_a_broken_function_is_found(migrated, statements):
    """A column that does not exist is reported, also where only a trigger's rows show it."""
    change(migrated, statements)

    found = check_sql.plpgsql_findings(migrated)

    assert "no_such_column does not exist" in found[0]


def test_a_table_without_policies_is_found(migrated, parts):
    """A table that everybody could read is an error of the advisors."""
    change(migrated, OPEN_TABLE)

    serious, _ = check_sql.advisor_findings(parts, migrated)

    assert [line.split(":")[0] for line in serious] == ["ERROR rls_disabled_in_public"]


def test_types_that_drift_are_found(migrated, parts):
    """After a change of the schema the message says how to write the types anew."""
    change(migrated, NEW_COLUMN)

    (finding,) = check_sql.types_finding(parts, migrated)

    assert "run `python tests/check_sql.py --write-types`" in finding


def test_missing_types_are_found(migrated, parts, tmp_path):
    """A file that is not there differs too."""
    found = check_sql.types_finding(parts, migrated, tmp_path / "database.types.ts")

    assert len(found) == 1
