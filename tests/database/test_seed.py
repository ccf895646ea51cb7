"""The sample data loads anywhere, again and again, and the library reads it."""

from __future__ import annotations

import subprocess
from uuid import UUID

import psycopg
import pytest

from parts import ROOT
from videojobs import JobFilter, VideoJobManager
from videojobs.migrations import migrate

SEED = (ROOT / "supabase" / "seed.sql").read_text(encoding="utf-8")

ADA, BEN, CLEO = (UUID(f"5eed0000-0000-4000-8000-00000000000{digit}") for digit in "abc")
TEAM = UUID("5eed0000-0000-4000-8000-0000000000f0")
RUNNING = UUID("5eed0000-0000-4000-8000-000000000009")

# Columns that Supabase's own table has and the bootstrap's has not; Auth cannot read NULL in them.
SUPABASE_COLUMNS = """
alter table auth.users
  add confirmation_token varchar(255), add recovery_token varchar(255),
  add email_change varchar(255), add email_change_token_new varchar(255)
"""
COUNTS = """
select
  (select count(*) from auth.users) as users,
  (select count(*) from public.teams) as teams,
  (select count(*) from public.team_members) as members,
  (select count(*) from public.video_jobs) as jobs,
  (select count(*) from public.video_job_events) as events,
  (select count(*) from videojobs.leases) as leases
"""
LOADED = {"users": 3, "teams": 1, "members": 2, "jobs": 12, "events": 32, "leases": 1}


@pytest.fixture
def seeded(sql) -> None:
    """The stack's database with the sample data."""
    sql.execute(SEED)


def test_loading_twice_is_loading_once(sql):
    """The second time adds nothing and changes nothing."""
    sql.execute(SEED)
    first = sql.execute("select * from public.video_jobs order by id").fetchall()

    sql.execute(SEED)

    assert sql.execute("select * from public.video_jobs order by id").fetchall() == first
    assert sql.execute(COUNTS).fetchone() == LOADED


@pytest.mark.parametrize("version", [15, 18])
def test_the_cli_loads_it_behind_the_migrations(new_database, parts, version):
    """`supabase db push --include-seed` with our config.toml takes migrations and sample data as they are."""
    url = new_database(version)
    command = [parts.supabase, "db", "push", "--include-seed", "--yes", "--remote", url]

    done = subprocess.run(
        [*command, "--workdir", ROOT],
        env=parts.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        assert connection.execute(COUNTS).fetchone() == LOADED


def test_it_loads_into_supabases_own_users_table(new_database):
    """Where Auth's further columns exist, they hold what Auth can read."""
    url = new_database(15)
    migrate(url)

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SUPABASE_COLUMNS)
        connection.execute(SEED)
        connection.execute(SEED)
        rows = connection.execute(
            "select distinct confirmation_token, recovery_token, email_change, email_change_token_new from auth.users"
        ).fetchall()

    assert rows == [("", "", "", "")]


def test_a_signed_in_user_of_the_sample_sees_their_share(seeded, sql, stack):
    """Ben sees his own job and the team's, Cleo her own, and Ada, the admin, all."""
    numbers = {}

    with VideoJobManager.from_url(
        stack.database_url, settings=_with_secret(stack.jwt_secret)
    ) as manager:
        for name, person, metadata in (
            ("ada", ADA, {"role": "admin"}),
            ("ben", BEN, {}),
            ("cleo", CLEO, {}),
        ):
            token = stack.user_token(person, app_metadata=metadata)
            numbers[name] = len(manager.as_user(token).list_jobs(limit=50))

    assert numbers == {"ada": 12, "ben": 8, "cleo": 4}


def _with_secret(secret: str):
    from videojobs.settings import Settings

    return Settings(jwt_secret=secret)


def test_the_lists_read_it(seeded, manager):
    """Pages, filters and one person's and one team's jobs hold the sample's."""
    everything = manager.list_jobs(limit=100)
    season = manager.list_jobs(JobFilter(resource_parent_id="tides-s01"))

    assert len(everything) == 12
    assert [job.resource_name for job in season] == [
        "Tides, episode 2: Flood",
        "Tides, episode 1: Ebb",
    ]
    assert len(manager.get_user_jobs(CLEO)) == 4
    assert len(manager.get_team_jobs(TEAM)) == 7


def test_the_figures_read_it(seeded, manager):
    """The statistics have every status, both pipelines and several days."""
    stats = manager.get_job_stats(group_by="pipeline")

    assert {status.value: number for status, number in stats.by_status.items()} == {
        "queued": 3,
        "processing": 1,
        "completed": 5,
        "failed": 2,
        "cancelled": 1,
    }
    assert {group.key: group.total for group in stats.groups} == {"clips": 9, "renditions": 3}
    assert stats.median_processing_seconds == pytest.approx(312.4, rel=0.022)
    assert len(stats.by_day) >= 6


def test_every_job_has_its_story_in_order(seeded, manager):
    """Each history begins with "created", its times do not go back, and its end fits the status."""
    stories = [(job, manager.get_job_events(job.id)) for job in manager.iter_jobs()]

    for job, events in stories:
        last = {"queued": "created", "processing": "claimed"}.get(
            job.status.value, job.status.value
        )
        assert (events[0].type, events[-1].type) == ("created", last)
        assert [event.at for event in events] == sorted(event.at for event in events)


def test_the_sample_can_be_worked_on(seeded, manager):
    """The running job has its lease, and a worker gets the next one that is due, by priority."""
    stuck = manager.find_stuck_jobs()

    (lease,) = manager.claim_jobs("worker-1")

    assert stuck == []
    assert manager.get_job(RUNNING).status == "processing"
    assert lease.job.original_filename == "market_square.mp4"


def test_loading_after_work_was_done_leaves_the_work(seeded, sql, manager):
    """Jobs that have moved on since stay where they are."""
    (lease,) = manager.claim_jobs("worker-1")
    manager.complete_job(lease, ["a.mp4"])
    manager.complete_job(RUNNING, ["b.mp4"])

    sql.execute(SEED)

    assert manager.get_job(lease.job_id).status == "completed"
    assert manager.get_job(RUNNING).status == "completed"
