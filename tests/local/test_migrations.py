"""The migration runner applies each file once, wholly or not at all, and agrees with Supabase's own tool."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from parts import Parts, postgres15
from videojobs import migrations
from videojobs.errors import ConfigurationError, SupabaseConnectionError

ONE = """-- a comment; with a semicolon
create table public.one (id int);
create function public.f() returns int language plpgsql as $$ begin return 1; end $$;

comment on table public.one is 'it''s; fine';
create function public.g() returns text language sql as $body$ select '$$;'::text; $body$;
/* block; comment */ insert into public.one (id) select 1 as "odd;name";
"""
TWO = "insert into public.one values (2)"

LEDGER = (
    "select version, name, statements from supabase_migrations.schema_migrations order by version"
)


@pytest.fixture
def project(folder: Path) -> Path:
    """A project folder with two migrations in ``supabase/migrations``."""
    source = folder / "supabase" / "migrations"
    source.mkdir(parents=True)
    (source / "20260101000000_one.sql").write_text(ONE)
    (source / "20260102000000_two_words.sql").write_text(TWO)
    (source / "README.md").write_text("not a migration")
    return folder


@pytest.fixture
def source(project: Path) -> Path:
    """The folder of the project's migrations."""
    return project / "supabase" / "migrations"


def rows(database_url: str, sql: str) -> list[tuple]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def supabase_migration_up(parts: Parts, project: Path, database_url: str) -> str:
    done = subprocess.run(
        [
            parts.supabase,
            "migration",
            "up",
            "--yes",
            f"--remote={database_url}",
            f"--workdir={project}",
        ],
        capture_output=True,
        text=True,
        check=True,
        env=parts.environment(),
        timeout=60,
    )
    return done.stdout + done.stderr


def test_migrations_are_applied_in_order(empty_database, source):
    """A plain database gets the bootstrap and then each file; the report says so."""
    applied = migrations.migrate(empty_database, source=source)

    assert [(each.version, each.name) for each in applied] == [
        (None, "bootstrap"),
        ("20260101000000", "one"),
        ("20260102000000", "two_words"),
    ]
    assert rows(empty_database, "select id from public.one order by id") == [(1,), (2,)]


def test_migrating_twice_changes_nothing(empty_database, source):
    """The second run applies nothing."""
    migrations.migrate(empty_database, source=source)
    before = rows(empty_database, LEDGER)

    applied = migrations.migrate(empty_database, source=source)

    assert applied == []
    assert rows(empty_database, LEDGER) == before


def test_a_late_file_is_applied(empty_database, source):
    """A file that sorts between applied ones, as two branches produce it, is not left out."""
    migrations.migrate(empty_database, source=source)
    (source / "20260101120000_between.sql").write_text("insert into public.one values (3)")

    applied = migrations.migrate(empty_database, source=source)

    assert [each.name for each in applied] == ["between"]


def test_pending_tells_and_changes_nothing(empty_database, source):
    """Pending names what migrate would apply, before and after."""
    before = [each.file_name for each in migrations.pending(empty_database, source=source)]
    untouched = rows(empty_database, "select to_regnamespace('supabase_migrations')::text")
    migrations.migrate(empty_database, source=source)
    after = migrations.pending(empty_database, source=source)

    assert before == ["20260101000000_one.sql", "20260102000000_two_words.sql"]
    assert untouched == [(None,)]
    assert after == []


def test_a_failed_migration_leaves_no_trace(empty_database, source):
    """What came before it stays, nothing of it is kept, and the error names file, line and reason."""
    (source / "20260103000000_bad.sql").write_text(
        "create table public.bad ();\n\nselect nonsense;\n"
    )

    with pytest.raises(
        ConfigurationError, match=r"20260103000000_bad\.sql failed at line 3: .*nonsense"
    ):
        migrations.migrate(empty_database, source=source)

    assert rows(empty_database, "select to_regclass('public.bad')::text") == [(None,)]
    assert [row[1] for row in rows(empty_database, LEDGER)] == ["one", "two_words"]


def test_four_at_once_apply_each_file_once(empty_database, source):
    """Runners that start together take turns; each file is in exactly one report."""
    with ThreadPoolExecutor(4) as pool:
        reports = list(
            pool.map(lambda _: migrations.migrate(empty_database, source=source), range(4))
        )

    versions = sorted(each.version for report in reports for each in report if each.version)
    assert versions == ["20260101000000", "20260102000000"]
    assert rows(empty_database, "select count(*) from public.one") == [(2,)]


def test_the_supabase_tool_sees_what_we_applied(empty_database, parts, project, source):
    """After our run `supabase migration up` finds nothing to do."""
    migrations.migrate(empty_database, source=source)
    before = rows(empty_database, LEDGER)

    said = supabase_migration_up(parts, project, empty_database)

    assert "up to date" in said
    assert "Applying" not in said
    assert rows(empty_database, LEDGER) == before


def test_we_see_what_the_supabase_tool_applied(empty_database, parts, project, source):
    """After `supabase migration up` our run finds nothing to do but the bootstrap."""
    supabase_migration_up(parts, project, empty_database)

    applied = migrations.migrate(empty_database, source=source)

    assert [each.name for each in applied] == ["bootstrap"]


def test_both_tools_write_the_same_ledger(bare_stack, empty_database, parts, project, source):
    """Versions, names and the statements of each file are equal, whoever applied them."""
    migrations.migrate(empty_database, source=source)
    ours = rows(empty_database, LEDGER)
    with psycopg.connect(bare_stack.database_url, autocommit=True) as connection:
        connection.execute("create database ledger_of_supabase")
    other = bare_stack.database_url.replace("/postgres?", "/ledger_of_supabase?")

    supabase_migration_up(parts, project, other)

    assert rows(other, LEDGER) == ours


def test_a_locked_table_stops_the_runner(empty_database, source):
    """Rather than queue behind another session's lock, and block all others, the run ends and says so."""
    migrations.migrate(empty_database, source=source)
    (source / "20260103000000_more.sql").write_text("alter table public.one add column more int")

    with psycopg.connect(empty_database) as other:
        other.execute("select from public.one")
        with pytest.raises(SupabaseConnectionError, match=r"more\.sql stopped: .*lock timeout"):
            migrations.migrate(empty_database, source=source)


def test_a_search_path_does_not_outlive_its_migration(empty_database, source):
    """A file that sets the search path, as dumps do, does not change where the next one looks."""
    (source / "20260101110000_path.sql").write_text("set search_path = ''")
    (source / "20260101120000_next.sql").write_text("insert into one values (3)")

    applied = migrations.migrate(empty_database, source=source)

    assert "next" in [each.name for each in applied]


def test_warnings_are_reported(empty_database, source):
    """What the database warns of stands in the report."""
    (source / "20260103000000_loud.sql").write_text(
        "do $$ begin raise warning 'mind the gap'; end $$"
    )

    applied = migrations.migrate(empty_database, source=source)

    assert applied[-1].warnings == ("mind the gap",)


def test_a_login_without_rights_is_told(bare_stack, empty_database, source):
    """A login that may not create schemas learns which login to use."""
    rows(empty_database, "select 1")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("drop role if exists weak")
        connection.execute("create role weak login password 'weak'")
    weak = "postgresql://weak:weak@" + empty_database.split("@")[1]

    with pytest.raises(ConfigurationError, match="use the owner of the database") as caught:
        migrations.migrate(weak, source=source)

    assert caught.value.code == "42501"


def test_an_unreachable_database_is_told():
    """A database that does not answer is a connection error with the reason."""
    with pytest.raises(SupabaseConnectionError, match="could not be reached"):
        migrations.migrate("postgresql://postgres:hidden@127.0.0.1:1/postgres")


def test_a_bad_url_does_not_show_its_password():
    """The error about a malformed URL repeats nothing of it."""
    with pytest.raises(ConfigurationError, match="not valid") as caught:
        migrations.migrate("postgresql//postgres:hidden@127.0.0.1/postgres")

    assert "hidden" not in str(caught.value)


def test_urls_may_be_odd(empty_database, source):
    """Options in the URL, and a key=value string, connect as well."""
    spelled = empty_database + "&application_name=odd%20name&options=-c%20statement_timeout%3D1000"
    keyed = psycopg.conninfo.make_conninfo(**psycopg.conninfo.conninfo_to_dict(empty_database))

    first = migrations.migrate(spelled, source=source)
    second = migrations.migrate(keyed, source=source)

    assert len(first) == 3
    assert second == []


def test_two_files_of_one_version_are_refused(source):
    """The error names both."""
    (source / "20260101000000_uno.sql").write_text("select 1")

    with pytest.raises(
        ConfigurationError, match=r"000_one\.sql and .*000_uno\.sql|000_uno.*000_one"
    ):
        migrations.migrations(source)


def test_migrations_are_copied_into_a_project(folder, source):
    """A user's own folder gets each file once; a second copy adds nothing."""
    target = folder / "my project" / "supabase" / "migrations"

    first = migrations.copy_migrations(target, source=source)
    second = migrations.copy_migrations(target, source=source)

    assert [path.name for path in first] == [
        "20260101000000_one.sql",
        "20260102000000_two_words.sql",
    ]
    assert first[0].read_bytes() == ONE.encode()
    assert second == []


def test_a_users_file_is_never_overwritten(folder, source):
    """A different file of the same name is an error, and nothing at all is written."""
    target = folder / "target"
    target.mkdir()
    (target / "20260102000000_two_words.sql").write_text("mine")

    with pytest.raises(ConfigurationError, match=r"two_words\.sql differs"):
        migrations.copy_migrations(target, source=source)

    assert [path.name for path in target.iterdir()] == ["20260102000000_two_words.sql"]


def test_our_migrations_apply_twice_on_postgres_18(empty_database):
    """On the embedded server this version's own migrations go in, and a second run changes nothing."""
    first = migrations.migrate(empty_database)
    second = migrations.migrate(empty_database)

    assert [each.version for each in first][1:] == [
        each.version for each in migrations.migrations()
    ]
    assert second == []


def test_our_migrations_apply_twice_on_postgres_15(parts):
    """On Debian's PostgreSQL 15 too."""
    with postgres15(parts) as database_url:
        first = migrations.migrate(database_url)
        second = migrations.migrate(database_url)

    assert [each.version for each in first][1:] == [
        each.version for each in migrations.migrations()
    ]
    assert [warning for each in first for warning in each.warnings] == []
    assert second == []
