"""Whoever applies the migrations, on whatever they find, gets the same schema with the same rights."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from database.catalog import rights_of, schema_of
from parts import ROOT, Parts
from videojobs import VideoJobManager
from videojobs.migrations import migrate

MIGRATIONS = ROOT / "supabase" / "migrations"
VERSIONS = pytest.mark.parametrize("version", [15, 18])

LEGACY_DEFAULTS = """
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
"""

OTHER_TEAMS = """
create type public.team_role as enum ('owner', 'guest');
create table public.teams (team_no int primary key, title text);
create table public.team_members (
  team_no int not null references public.teams,
  person uuid not null,
  role public.team_role not null,
  public_id uuid not null
);
insert into public.teams values (7, 'Sales');
insert into public.team_members values
  (7, '00000000-0000-4000-8000-00000000000a', 'owner', '00000000-0000-4000-8000-0000000000f0'),
  (7, '00000000-0000-4000-8000-00000000000b', 'guest', '00000000-0000-4000-8000-0000000000f0');
grant select on public.teams to anon;
"""

OUR_MEMBERSHIPS = """
create or replace function videojobs.memberships(of_user uuid)
returns table (team_id uuid, is_admin boolean)
language sql stable security definer set search_path = ''
as $$
  select m.public_id, m.role = 'owner'
  from public.team_members m
  where m.person = memberships.of_user
$$;
"""

OWNER, GUEST, STRANGER = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in "abc")
TEAM = "00000000-0000-4000-8000-0000000000f0"


@pytest.fixture
def supabase(parts: Parts, tmp_path: Path) -> Callable[[str], str]:
    """Run `supabase migration up` with the migrations, or with the first so many of them; return what it said."""

    def up(url: str, *, first: int | None = None) -> str:
        workdir = tmp_path / f"first_{first}"
        folder_of(workdir / "supabase" / "migrations", first)
        command = [parts.supabase, "migration", "up", "--yes", "--remote", url, "--workdir"]
        done = subprocess.run(
            [*command, workdir],
            env=parts.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    return up


def folder_of(target: Path, first: int | None) -> Path:
    """Copy the first so many migrations to a folder; all of them for None."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(MIGRATIONS.glob("*.sql"))[:first]:
        shutil.copy(file, target)
    return target


def seen_by(url: str, user_id: str) -> list[str]:
    """Return the file names of the jobs that the user sees under the policies."""
    claims = f'{{"sub": "{user_id}", "role": "authenticated"}}'
    with psycopg.connect(url) as connection:
        connection.execute("set local role authenticated")
        connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        rows = connection.execute("select original_filename from public.video_jobs order by seq")
        return [name for (name,) in rows]


@VERSIONS
def test_both_tools_make_the_same_schema(new_database, supabase, version):
    """`videojobs migrate` and the Supabase CLI leave the same tables, functions, policies and grants."""
    by_us, by_supabase = new_database(version), new_database(version)

    migrate(by_us)
    supabase(by_supabase)

    assert schema_of(by_supabase) == schema_of(by_us)
    assert rights_of(by_supabase) == rights_of(by_us)


@VERSIONS
def test_applying_again_changes_nothing(new_database, supabase, version):
    """A second run of either tool, after the other, applies no migration and leaves the schema as it was."""
    url = new_database(version)
    migrate(url)
    before = schema_of(url)

    again = migrate(url)
    told = supabase(url)

    assert again == []
    assert "up to date" in told
    assert schema_of(url) == before


@VERSIONS
def test_our_tool_goes_on_where_the_cli_stopped(new_database, supabase, version):
    """After the CLI applied the first three, `migrate` applies the others, and all is as from one tool."""
    url, whole = new_database(version), new_database(version)
    migrate(whole)
    supabase(url, first=3)

    applied = migrate(url)

    assert [each.name for each in applied] == [
        "job_functions",
        "worker_functions",
        "statistics_and_bulk",
        "settings_and_limits",
        "history",
        "tallies",
        "queue",
        "lists_and_bulk",
        "upkeep",
        "schedule",
        "diagnosis",
        "segments",
        "places_and_waits",
        "live",
        "webhooks",
        "realtime",
        "live_diagnosis",
        "leftovers",
        "ladders_of_segments",
        "times_by_day",
    ]
    assert schema_of(url) == schema_of(whole)


@VERSIONS
def test_the_cli_goes_on_where_our_tool_stopped(new_database, supabase, tmp_path, version):
    """After `migrate` applied the first three, the CLI applies the others, and all is as from one tool."""
    url, whole = new_database(version), new_database(version)
    migrate(whole)
    migrate(url, source=folder_of(tmp_path / "first", 3))

    told = supabase(url)

    assert "000300_state_machine" not in told
    assert "000400_job_functions" in told
    assert schema_of(url) == schema_of(whole)


@VERSIONS
def test_old_projects_default_grants_give_nobody_more(new_database, version):
    """Where Supabase grants everything on new objects by default, the effective rights are the same as elsewhere."""
    new, old = new_database(version), new_database(version)
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute(LEGACY_DEFAULTS)

    migrate(new)
    migrate(old)

    assert rights_of(old) == rights_of(new)


@VERSIONS
def test_existing_teams_are_left_alone(new_database, version):
    """Tables and types that a product has under our teams' names keep their shape, rows, policies and grants."""
    url = new_database(version)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(OTHER_TEAMS)
    before = [line for line in schema_of(url) if "team" in line]

    migrate(url)

    after = set(schema_of(url))
    assert before == [line for line in before if line in after]
    assert not [line for line in after if line.startswith("policy") and "on public.team" in line]
    with psycopg.connect(url) as connection:
        assert connection.execute("select title from public.teams").fetchall() == [("Sales",)]
        assert len(connection.execute("select from public.team_members").fetchall()) == 2


@VERSIONS
def test_without_a_team_lookup_nobody_shares(new_database, version):
    """Beside a product's own teams, jobs stay their owners' until the lookup of members is replaced."""
    url = new_database(version)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(OTHER_TEAMS)
        migrate(url)
        connection.execute(
            "insert into public.video_jobs (user_id, team_id, original_filename) values (%s, %s, 'ours.mp4')",
            (OWNER, TEAM),
        )

    names = {person: seen_by(url, person) for person in (OWNER, GUEST)}

    assert names == {OWNER: ["ours.mp4"], GUEST: []}


@VERSIONS
def test_replacing_the_lookup_shares_with_the_products_own_teams(new_database, version):
    """After `videojobs.memberships(uuid)` reads the product's tables, its members see and create team jobs."""
    url = new_database(version)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(OTHER_TEAMS)
        migrate(url)
        connection.execute(OUR_MEMBERSHIPS)

    with VideoJobManager.from_url(url) as manager:
        manager.create_job(user_id=GUEST, team_id=TEAM, original_filename="ours.mp4")

    assert [seen_by(url, person) for person in (OWNER, GUEST, STRANGER)] == [
        ["ours.mp4"],
        ["ours.mp4"],
        [],
    ]


def test_both_versions_give_the_same_rights(new_database):
    """What a role may do does not depend on the version of PostgreSQL."""
    fifteen, eighteen = new_database(15), new_database(18)

    migrate(fifteen)
    migrate(eighteen)

    assert rights_of(fifteen) == rights_of(eighteen)
