"""History lies in months that can be dropped, and final jobs may move to an archive; the figures know both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from database.test_migrations import folder_of
from videojobs import InvalidTransitionError, VideoJobManager
from videojobs.migrations import migrate

USER = UUID("00000000-0000-4000-8000-000000000001")

# Jobs with a history, made by the functions of the schema before the months.
OLD_HISTORY = """
select count(*) from public.create_video_jobs((
  select jsonb_agg(jsonb_build_object(
    'id', gen_random_uuid(), 'user_id', %(user)s::text, 'queue', 'default', 'pipeline', 'clips', 'priority', 5,
    'max_attempts', 1, 'quality_preset', 'standard', 'enhancement_level', 'none', 'settings', '{}'::jsonb,
    'resource_type', 'upload'))
  from generate_series(1, 6)));
create temporary table claimed as
select (c.job ->> 'id')::uuid as id, c.run_token from public.claim_video_jobs('worker-1', gen_random_uuid(), job_limit => 5) c;
select public.complete_video_job(id, run_token, '[]', 12.5) from claimed order by id limit 2;
select public.fail_video_job(id, run_token) from claimed order by id offset 2 limit 1;
select public.release_video_job(id, run_token) from claimed order by id offset 3 limit 1;
select public.cancel_video_job(id) from public.video_jobs where status = 'queued' order by seq limit 1;
insert into public.video_jobs (user_id, created_at, original_filename) values (%(user)s, now() - interval '400 days', 'old.mp4');
"""
EVENTS = "select * from public.video_job_events order by id"
NEW_FINAL_JOB = """
insert into public.video_jobs (
  user_id, status, original_filename, created_at, completed_at, cancelled_at, progress, error_code, processing_time)
select
  %(user)s, %(status)s::public.video_job_status, %(name)s, ended.at - interval '1 hour',
  case when %(status)s <> 'cancelled' then ended.at end, case %(status)s when 'cancelled' then ended.at end,
  case %(status)s when 'completed' then 100 else 0 end, case %(status)s when 'failed' then 'boom' end,
  case %(status)s when 'completed' then 60.0 end
from (select now() - %(days)s * interval '1 day') ended (at)
returning id
"""
MONTHS = """
select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bound
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = %s::regclass
order by 1
"""


def month(months: int) -> str:
    """Return the month so many after this one, as it stands in the names of tables."""
    now = datetime.now(UTC)
    count = now.year * 12 + now.month - 1 + months
    return f"{count // 12:04}_{count % 12 + 1:02}"


def start_of(months: int) -> datetime:
    """Return the first moment of the month so many after this one."""
    return datetime.strptime(month(months), "%Y_%m").replace(tzinfo=UTC)


def months_of(sql, table: str) -> list[str]:
    """Return the names of a table's partitions."""
    return [row["name"] for row in sql.execute(MONTHS, (table,))]


def final_job(sql, name: str, *, status: str = "completed", days: float = 0) -> UUID:
    """Store a job that ended so many days ago and return its id."""
    facts = {"user": USER, "status": status, "name": name, "days": days}
    return sql.execute(NEW_FINAL_JOB, facts).fetchone()["id"]


def archived(sql, statuses=("completed", "failed", "cancelled"), days=0, limit=500) -> list[UUID]:
    """Archive statuses of an age, up to a number, and return the ids."""
    rows = sql.execute(
        "select archived_id from public.archive_video_jobs(%s, %s, %s)",
        (list(statuses), days * 86_400, limit),
    )
    return [row["archived_id"] for row in rows]


def names_in_archive(sql) -> list[str]:
    """Return the file names of the archived jobs, by when they ended."""
    rows = sql.execute("select original_filename from public.archived_video_jobs order by ended_at")
    return [row["original_filename"] for row in rows]


def drift(sql) -> list[dict]:
    """Return where the sums differ from what is there."""
    return sql.execute("select * from public.reconcile_video_job_stats()").fetchall()


@pytest.fixture
def months(sql):
    """The stack's database, whose further months of the archive go again in the end."""
    made = set(months_of(sql, "videojobs.archived_jobs"))
    yield sql
    for name in set(months_of(sql, "videojobs.archived_jobs")) - made:
        sql.execute(f"drop table videojobs.{name}")


@pytest.fixture
def fresh(new_database):
    """A connection to a migrated database of its own, whose months may be dropped."""
    url = new_database(18)
    migrate(url)
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


# Months of events


@pytest.mark.parametrize("version", [15, 18])
def test_the_history_so_far_becomes_the_first_month(new_database, tmp_path, version):
    """Migrating a database with events loses none, their ids go on rising, and the figures are exact."""
    url = new_database(version)
    migrate(url, source=folder_of(tmp_path / "first", 6))
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as old:
        psycopg.ClientCursor(old).execute(OLD_HISTORY, {"user": str(USER)})
        before = old.execute(EVENTS).fetchall()
        stats = old.execute("select * from public.get_video_job_stats()").fetchone()

    migrate(url)

    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as sql:
        after = sql.execute(EVENTS).fetchall()
        sql.execute("insert into public.video_jobs (user_id) values (%s)", (USER,))
        newest = sql.execute(EVENTS).fetchall()[-1]
        first_month = f"videojobs.video_job_events_{month(0)}"
        in_first = sql.execute(f"select count(*) as number from {first_month}").fetchone()["number"]
        assert len(before) == 17
        assert [event.pop("tx") for event in after] == [None] * len(before)
        assert after == before
        assert (newest["type"], newest["id"]) == ("created", before[-1]["id"] + 1)
        assert in_first == len(before) + 1
        assert drift(sql) == []
        sql.execute("delete from public.video_jobs where id = %s", (newest["job_id"],))
        now = sql.execute("select * from public.get_video_job_stats()").fetchone()
        assert {name: now[name] for name in ("total", "by_status", "by_day")} == {
            name: stats[name] for name in ("total", "by_status", "by_day")
        }
        assert now["average_processing_seconds"] == stats["average_processing_seconds"] == 12.5


@pytest.mark.parametrize("version", [15, 18])
def test_leases_of_the_old_schema_go_on(new_database, tmp_path, version):
    """A worker that holds a job while the schema changes keeps it, and completes it afterwards."""
    url = new_database(version)
    migrate(url, source=folder_of(tmp_path / "first", 6))
    with psycopg.connect(url, autocommit=True) as old:
        psycopg.ClientCursor(old).execute(OLD_HISTORY, {"user": str(USER)})

    migrate(url)

    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as sql:
        lease = sql.execute("select * from videojobs.leases").fetchone()
        reply = sql.execute(
            "select verdict from public.complete_video_job(%s, %s)",
            (lease["job_id"], lease["run_token"]),
        ).fetchone()
        assert (lease["tenant_id"], lease["queue"], lease["pipeline"]) == (USER, "default", "clips")
        assert reply == {"verdict": "ok"}
        assert drift(sql) == []


def test_a_future_event_does_not_stop_the_migration(new_database, tmp_path):
    """A service's job of the year 2030 has its event then; the schema changes all the same."""
    url = new_database(18)
    migrate(url, source=folder_of(tmp_path / "first", 6))
    with psycopg.connect(url, autocommit=True) as old:
        old.execute(
            "insert into public.video_jobs (user_id, created_at) values (%s, '2030-01-01')", (USER,)
        )

    migrate(url)

    with psycopg.connect(url) as sql:
        events = sql.execute("select type from public.video_job_events").fetchall()
    assert events == [("created",)]


def test_an_empty_history_has_the_next_months(fresh):
    """This month holds all that was before, three more are made, and one takes what has no month."""
    rows = fresh.execute(MONTHS, ("public.video_job_events",)).fetchall()

    names = [row["name"] for row in rows]

    assert names == [
        *[f"video_job_events_{month(months)}" for months in range(4)],
        "video_job_events_other",
    ]
    assert "FROM (MINVALUE)" in rows[0]["bound"]
    assert rows[-1]["bound"] == "DEFAULT"


def test_an_event_without_a_month_is_moved_when_its_month_is_made(fresh):
    """Nothing is refused because no month was there; making it later takes the rows along."""
    job_id = uuid4()
    later = start_of(7) + timedelta(days=3)
    fresh.execute(
        "insert into public.video_job_events (job_id, type, at) values (%s, 'logged', %s)",
        (job_id, later),
    )
    (before,) = fresh.execute(
        "select tableoid::regclass::text as place, * from public.video_job_events"
    ).fetchall()

    made = fresh.execute("select videojobs.make_partitions() as made").fetchone()["made"]

    (after,) = fresh.execute(
        "select tableoid::regclass::text as place, * from public.video_job_events"
    ).fetchall()
    assert made == 1
    assert before.pop("place") == "videojobs.video_job_events_other"
    assert after.pop("place") == f"videojobs.video_job_events_{month(7)}"
    assert after == before


def test_making_months_again_makes_none(fresh):
    """It may be called at any time, by anybody who maintains."""
    more = fresh.execute("select videojobs.make_partitions(5) as made").fetchone()["made"]

    again = fresh.execute("select videojobs.make_partitions(5) as made").fetchone()["made"]

    # Two more months of events and of the archive.
    assert (more, again) == (4, 0)


def test_making_months_waits_for_nobody_long(fresh):
    """While somebody writes history the call gives up after two seconds, and the next one does it."""
    with psycopg.connect(fresh.info.dsn, password=fresh.info.password) as other:
        other.execute(
            "insert into public.video_job_events (job_id, type, at) values (gen_random_uuid(), 'logged', %s)",
            (start_of(9),),
        )

        meanwhile = fresh.execute("select videojobs.make_partitions(4) as made").fetchone()["made"]

    assert meanwhile == 0
    # One more month of events, the one of the event, and one more of the archive.
    assert fresh.execute("select videojobs.make_partitions(4) as made").fetchone()["made"] == 3


@pytest.mark.parametrize(
    ("moment", "dropped"),
    [
        (start_of(2) - timedelta(seconds=1), [month(0)]),
        (start_of(2), [month(0), month(1)]),
        (start_of(1) - timedelta(seconds=1), []),
    ],
    ids=["a second before the end", "at the end", "this month"],
)
def test_only_whole_months_that_ended_are_dropped(fresh, moment, dropped):
    """A month goes when its last moment is before the given one; later ones and the default stay."""
    for months in range(4):
        fresh.execute(
            "insert into public.video_job_events (job_id, type, at) values (%s, 'logged', %s)",
            (USER, start_of(months)),
        )

    rows = fresh.execute("select videojobs.drop_months('events', %s) as name", (moment,))

    assert [row["name"] for row in rows] == [f"video_job_events_{each}" for each in dropped]
    left = fresh.execute("select count(*) as number from public.video_job_events").fetchone()
    assert left == {"number": 4 - len(dropped)}


def test_history_goes_on_where_a_month_was_dropped(fresh):
    """Events of a dropped month that come late find their place, and jobs of it stay as they are."""
    job_id = fresh.execute(
        "insert into public.video_jobs (user_id) values (%s) returning id", (USER,)
    ).fetchone()["id"]
    fresh.execute("select videojobs.drop_months('events', %s)", (start_of(1),)).fetchall()

    fresh.execute("select public.cancel_video_job(%s)", (job_id,))

    rows = fresh.execute("select type from public.list_video_job_events(%s)", (job_id,)).fetchall()
    assert rows == [{"type": "cancelled"}]
    assert drift(fresh) == []


def test_a_month_that_is_read_is_dropped_with_a_later_round(fresh):
    """The call waits two seconds for a reader and leaves the month; the other one is dropped."""
    with psycopg.connect(fresh.info.dsn, password=fresh.info.password) as reader:
        reader.execute(f"select from videojobs.video_job_events_{month(1)}")

        rows = fresh.execute("select videojobs.drop_months('events', %s) as name", (start_of(2),))

        assert month(1) not in "".join(row["name"] for row in rows)
    rows = fresh.execute("select videojobs.drop_months('events', %s) as name", (start_of(2),))
    assert f"video_job_events_{month(1)}" in [row["name"] for row in rows]


def test_an_endless_moment_does_not_stop_the_upkeep(fresh):
    """An event at "infinity", which a service can write, has no month; everything else is maintained."""
    fresh.execute(
        "insert into public.video_job_events (job_id, type, at) values (%s, 'logged', 'infinity')",
        (USER,),
    )
    fresh.execute("insert into public.video_jobs (user_id) values (%s)", (USER,))

    row = fresh.execute("select folded from public.maintain_video_jobs()").fetchone()

    assert row == {"folded": 1}


# The archive


def test_jobs_of_a_status_and_an_age_are_archived(sql):
    """Only final jobs that ended longer ago than that go, and only those of the statuses."""
    old = [
        final_job(sql, status, status=status, days=10)
        for status in ("completed", "failed", "cancelled")
    ]
    final_job(sql, "young", days=2)
    sql.execute(
        "insert into public.video_jobs (user_id, created_at) values (%s, now() - interval '90 days')",
        (USER,),
    )

    only_failed = archived(sql, ["failed"], 5)
    rest = archived(sql, ["completed", "failed", "cancelled"], 5)

    assert only_failed == [old[1]]
    assert set(rest) == {old[0], old[2]}
    left = sql.execute(
        "select status::text, original_filename as name from public.video_jobs order by seq"
    )
    assert [tuple(row.values()) for row in left] == [("completed", "young"), ("queued", None)]
    assert drift(sql) == []


def test_a_long_job_is_as_old_as_its_end(sql):
    """What was created long ago and ended just now stays."""
    job_id = final_job(sql, "a.mp4", days=0)
    sql.execute("alter table public.video_jobs disable trigger video_jobs_guard")
    sql.execute("update public.video_jobs set created_at = now() - interval '30 days'")
    sql.execute("alter table public.video_jobs enable trigger video_jobs_guard")

    assert archived(sql, ["completed"], 5) == []
    assert archived(sql, ["completed"], 0) == [job_id]


def test_batches_are_bounded_and_the_oldest_go_first(sql):
    """Each call takes up to its number over all statuses, until none are left."""
    ids = [final_job(sql, f"{days}.mp4", days=days) for days in (1, 3, 5)]
    other = final_job(sql, "failed.mp4", status="failed", days=9)

    batches = [archived(sql, ["completed", "failed"], 0, 2) for _ in range(3)]

    assert batches == [[ids[2], ids[1]], [ids[0], other], []]
    assert names_in_archive(sql) == ["failed.mp4", "5.mp4", "3.mp4", "1.mp4"]


def test_a_job_that_somebody_changes_is_left_for_later(sql, database):
    """The archive takes what nobody holds, and does not wait for the rest."""
    held, free = (
        final_job(sql, "a.mp4", status="failed", days=2),
        final_job(sql, "b.mp4", status="failed", days=1),
    )
    with psycopg.connect(database) as other:
        other.execute("select public.retry_video_job(%s)", (held,))

        taken = archived(sql, ["failed"], 0)

    assert taken == [free]
    assert archived(sql, ["failed"], 0) == []


@pytest.mark.parametrize("status", ["queued", "processing", "ended"])
def test_only_final_statuses_are_archived(sql, status):
    """Anything else is refused by name."""
    with pytest.raises(psycopg.Error, match=f"'{status}' is not final") as caught:
        archived(sql, [status], 0)

    assert caught.value.sqlstate == "VJ004"


def test_an_archived_job_is_found_as_it_was(sql, manager):
    """By its id it comes back with every column and its whole history; in lists it is not any more."""
    created = manager.create_job(
        user_id=USER, original_filename="a.mp4", settings={"crf": 23.5, "text": "é"}, clip_count=3
    )
    (lease,) = manager.claim_jobs("worker-1")
    manager.complete_job(lease, ["out/a.mp4"], processing_time=1.0625)
    before = manager.get_job(created.id)
    events = manager.get_job_events(created.id)

    archived(sql)

    assert manager.get_job(created.id) == before
    assert manager.get_job_events(created.id) == events
    assert list(manager.list_jobs()) == []
    assert list(manager.get_user_jobs(USER)) == []
    row = sql.execute("select * from public.archived_video_jobs").fetchone()
    assert (row["id"], row["ended_at"]) == (created.id, before.completed_at)
    assert drift(sql) == []


@pytest.mark.parametrize(
    "call",
    [
        "select public.cancel_video_job(%s)",
        "select public.retry_video_job(%s)",
        "select public.delete_video_job(%s)",
        "select public.update_video_job_status(%s, 'processing')",
        "select public.complete_video_job(%s)",
        "select public.fail_video_job(%s)",
        "select public.start_video_job(%s, 'worker-1', gen_random_uuid())",
    ],
)
def test_an_archived_job_cannot_be_changed(sql, call):
    """Whatever would change it is refused, with what to do instead, and it stays in the archive."""
    job_id = final_job(sql, "a.mp4", status="failed")
    archived(sql)

    with pytest.raises(psycopg.Error, match="is archived and cannot be changed any more") as caught:
        sql.execute(call, (job_id,))

    assert (caught.value.sqlstate, caught.value.diag.message_hint) == (
        "VJ002",
        "create a new job from it",
    )
    assert names_in_archive(sql) == ["a.mp4"]


def test_the_library_tells_that_a_job_is_archived(sql, manager):
    """Its error is the one of a transition that does not exist, with the advice."""
    job_id = final_job(sql, "a.mp4", status="failed")
    archived(sql)

    with pytest.raises(InvalidTransitionError, match="archived"):
        manager.retry_job(job_id)

    with pytest.raises(InvalidTransitionError, match="archived"):
        manager.delete_job(job_id)


def test_bulk_changes_and_clearing_pass_over_the_archive(sql):
    """They are about the jobs of the table: an archived one is not found there, and is not cleared."""
    job_id = final_job(sql, "a.mp4", status="failed")
    archived(sql)

    changed = sql.execute(
        "select outcome from public.bulk_update_video_jobs(%s, array[%s]::uuid[])",
        (Jsonb({"status": "queued"}), job_id),
    ).fetchall()
    cleared = sql.execute("select * from public.clear_video_jobs()").fetchall()

    assert (changed, cleared) == ([{"outcome": "not_found"}], [])
    assert names_in_archive(sql) == ["a.mp4"]


def test_an_archived_job_counts_for_its_days_alone(sql, manager):
    """The statuses and times are those of the table; the days keep what was created and ended on them."""
    final_job(sql, "a.mp4", days=3)
    final_job(sql, "b.mp4", status="failed", days=3)
    before = manager.get_job_stats()

    archived(sql)

    after = manager.get_job_stats()
    assert (before.total, after.total) == (2, 0)
    assert set(after.by_status.values()) == {0}
    assert after.median_processing_seconds is None
    assert after.by_day == before.by_day
    assert [
        sum(getattr(day, name) for day in after.by_day)
        for name in ("created", "completed", "failed")
    ] == [2, 1, 1]
    assert drift(sql) == []


@pytest.mark.parametrize("is_folded", [False, True])
def test_dropping_a_month_of_the_archive_takes_it_out_of_the_figures(months, manager, is_folded):
    """The days of its jobs are gone, those of the others are not, and the sums are exact throughout."""
    sql = months
    for days in (100, 101, 200):
        final_job(sql, f"{days}.mp4", days=days)
    kept = final_job(sql, "kept.mp4", days=0)
    archived(sql)
    sql.execute("select videojobs.make_partitions()")
    if is_folded:
        sql.execute("select videojobs.fold_tallies()")
    assert drift(sql) == []

    rows = sql.execute(
        "select videojobs.drop_months('archive', now() - interval '50 days') as name"
    ).fetchall()

    assert 2 <= len(rows) <= 3
    assert manager.get_job(kept).original_filename == "kept.mp4"
    assert names_in_archive(sql) == ["kept.mp4"]
    assert drift(sql) == []
    assert sum(day.completed for day in manager.get_job_stats().by_day) == 1
    sql.execute("select videojobs.fold_tallies()")
    assert drift(sql) == []


def test_a_month_that_is_archived_into_meanwhile_is_counted_in_full(
    months, database, in_background, someone_waits
):
    """What comes into a month while it is about to be dropped is taken out of the figures too."""
    sql = months
    for name in ("a.mp4", "b.mp4"):
        final_job(sql, name, days=200)
    archived(sql, ["completed"], 0, 1)
    sql.execute("select videojobs.make_partitions()")
    with (
        psycopg.connect(database, row_factory=dict_row) as other,
        psycopg.connect(database, autocommit=True) as third,
    ):
        archived(other, ["completed"], 0, 1)
        dropping = in_background(
            third.execute, "select videojobs.drop_months('archive', now() - interval '50 days')"
        )
        someone_waits()
        other.commit()
        dropping.result(10)

    assert names_in_archive(sql) == []
    assert drift(sql) == []


# By the upkeep


def test_the_upkeep_archives_as_the_settings_say(sql, configure):
    """Each status has its age; without one its jobs stay."""
    configure(archive_completed_after_days=5, archive_cancelled_after_days=50)
    for status in ("completed", "failed", "cancelled"):
        for days in (3, 30, 60):
            final_job(sql, f"{status} {days}", status=status, days=days)

    row = sql.execute("select archived, dropped from public.maintain_video_jobs()").fetchone()

    assert row == {"archived": 3, "dropped": []}
    assert sorted(names_in_archive(sql)) == ["cancelled 60", "completed 30", "completed 60"]
    assert drift(sql) == []


def test_the_upkeep_archives_in_batches(sql, configure):
    """One call takes up to its number of each status."""
    configure(archive_completed_after_days=1)
    for days in (2, 3, 4):
        final_job(sql, f"{days}.mp4", days=days)

    rows = [
        sql.execute("select archived from public.maintain_video_jobs(2)").fetchone()
        for _ in range(3)
    ]

    assert [row["archived"] for row in rows] == [2, 1, 0]


def test_without_settings_everything_is_kept(sql):
    """From the beginning nothing is archived and nothing is dropped."""
    final_job(sql, "a.mp4", days=3_000)

    row = sql.execute("select archived, dropped from public.maintain_video_jobs()").fetchone()

    assert row == {"archived": 0, "dropped": []}
    assert sql.execute("select count(*) as number from public.video_jobs").fetchone() == {
        "number": 1
    }


def test_the_upkeep_drops_old_months_of_the_archive(months, configure):
    """Months of the archive that ended longer ago go, and their names are told."""
    sql = months
    final_job(sql, "old.mp4", days=400)
    final_job(sql, "young.mp4", days=10)
    archived(sql)
    sql.execute("select videojobs.make_partitions()")
    configure(drop_archive_after_days=300)

    row = sql.execute("select dropped from public.maintain_video_jobs()").fetchone()

    (name,) = row["dropped"]
    assert name.startswith("archived_jobs_20")
    assert names_in_archive(sql) == ["young.mp4"]
    assert drift(sql) == []


def test_the_upkeep_drops_old_months_of_events(fresh):
    """Months of events that ended longer ago go; the running month stays."""
    fresh.execute("select videojobs.drop_months('events', %s)", (start_of(1),)).fetchall()
    old = datetime.now(UTC) - timedelta(days=100)
    for at in (old, datetime.now(UTC)):
        fresh.execute(
            "insert into public.video_job_events (job_id, type, at) values (%s, 'logged', %s)",
            (USER, at),
        )
    fresh.execute("select videojobs.make_partitions()")
    fresh.execute(
        "select public.configure_video_jobs(%s)", (Jsonb({"drop_events_after_days": 40}),)
    )

    row = fresh.execute("select dropped from public.maintain_video_jobs()").fetchone()

    assert row["dropped"] == [f"video_job_events_{old:%Y_%m}"]
    assert len(fresh.execute("select from public.video_job_events").fetchall()) == 1


def test_a_dropped_month_keeps_no_job_from_its_end(fresh):
    """Without its history a job still runs to its end."""
    with VideoJobManager.from_url(fresh.info.dsn + f" password={fresh.info.password}") as manager:
        job = manager.create_job(user_id=USER)
        fresh.execute("select videojobs.drop_months('events', %s)", (start_of(1),)).fetchall()
        (lease,) = manager.claim_jobs("worker-1")

        done = manager.complete_job(lease, ["a.mp4"])

        assert (done.id, done.status) == (job.id, "completed")
        assert [event.type for event in manager.get_job_events(job.id)] == ["claimed", "completed"]
