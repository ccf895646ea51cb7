"""Which index each function reads, and how little of it, however many jobs there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from database.plans import Plans, Watched, watched
from videojobs import migrations

USER = UUID("00000000-0000-4000-8000-000000000001")
"""Has a tenth of the jobs, and is in three teams."""
LONELY = UUID("00000000-0000-4000-8000-000000000002")
"""Has no team, and as many jobs as each other tenant."""
TEAM = UUID("00000000-0000-4000-8000-0000000000f1")
PEOPLE = {"service": None, "member": USER, "lonely": LONELY}
LARGE = {"video_jobs", "leases", "video_job_events"}
"""What must not be read from end to end."""
FEW = 6_000
MANY = 60_000

# Of 13 jobs ten are queued, half of these delayed and of the highest priority. The final ones are
# older than all queued ones: in the order of their age nothing but queued jobs comes for long.
_FILL = """
set session_replication_role = replica;
insert into public.teams (id, name)
select ('00000000-0000-4000-8000-0000000000f' || i)::uuid, 'Team ' || i from generate_series(1, 3) i;
insert into public.team_members (team_id, user_id)
select t.id, '00000000-0000-4000-8000-000000000001' from public.teams t;
insert into public.video_jobs (
  user_id, team_id, pipeline, status, priority, run_at, attempt, progress, run_token, worker_id,
  resource_id, error_code, created_at, started_at, completed_at, cancelled_at, processing_time)
select
  case
    when mod(i, 10) = 0 then '00000000-0000-4000-8000-000000000001'
    else '00000000-0000-4000-8000-' || lpad((2 + mod(i, 1000))::text, 12, '0')
  end::uuid,
  case when mod(i, 40) in (1, 2, 3) then ('00000000-0000-4000-8000-0000000000f' || mod(i, 40))::uuid end,
  case when mod(i / 7, 4) = 0 then 'previews' else 'clips' end,
  s.status::public.video_job_status,
  case when s.is_delayed then 9 else 3 + mod(i / 130, 4) end,
  case when s.is_delayed then now() + interval '1 day' else c.at end,
  case s.status when 'queued' then 0 else 1 end,
  case s.status when 'completed' then 100 else 0 end,
  case s.status when 'queued' then 0 else 1 end,
  case when s.status <> 'queued' then 'worker-1' end,
  'film-' || mod(i, rows / 10),
  case s.status when 'failed' then 'processing_failed' end,
  c.at,
  case when s.status <> 'queued' then c.at end,
  case when s.status in ('completed', 'failed') then c.at end,
  case when s.status = 'cancelled' then c.at end,
  case when s.status = 'completed' then 60 end
from (values (ROWS)) given (rows)
cross join generate_series(0, rows - 1) i
cross join lateral (
  select case
      when mod(i, 13) < 10 then 'queued'
      when mod(i, 13) < 11 then 'completed'
      when mod(i, 13) < 12 then 'failed'
      else 'cancelled'
    end as status,
    mod(i, 13) < 10 and mod(i / 13, 2) = 0 as is_delayed
) s
cross join lateral (
  select now() - interval '1 hour' - make_interval(secs => i)
    - case s.status when 'queued' then interval '0' else interval '5 days' end as at
) c;
insert into public.video_job_events (job_id, type, at)
select j.id, e.type::public.video_job_event_type, j.created_at
from public.video_jobs j, (values ('created'), ('claimed')) e (type);
reset session_replication_role;
"""
_PLACES = """
select
  (select j.id from public.video_jobs j where j.status = 'completed' order by j.seq limit 1) as done,
  (select j.user_id from public.video_jobs j where j.status = 'completed' order by j.seq limit 1) as owner,
  (select l.job_id from videojobs.leases l order by l.job_id limit 1) as running,
  (select l.run_token from videojobs.leases l order by l.job_id limit 1) as token,
  (select j.created_at from public.video_jobs j where j.status = 'failed' order by j.created_at offset %(depth)s limit 1)
    as deep_at,
  0 as deep_seq
"""


@dataclass(frozen=True)
class Filled:
    """A database with many jobs, another with a tenth of them, and places in each."""

    few: str
    many: str
    places: dict[str, dict[str, Any]]

    def plans(self, statement: str, user_id: UUID | None = None) -> tuple[Plans, Plans]:
        """The plans for few jobs and for many, of a second call: the first fills the caches."""
        return self._plans(self.few, statement, user_id), self._plans(self.many, statement, user_id)

    def _plans(self, url: str, statement: str, user_id: UUID | None) -> Plans:
        values = {
            name: value for name, value in self.places[url].items() if f"%({name})s" in statement
        }
        with watched(url, user_id=user_id) as connection:
            connection.connection.execute("savepoint before")
            connection.run(statement, **values)
            connection.connection.execute("rollback to before")
            return connection.run(statement, **values)


@pytest.fixture(scope="module", params=[18, 15])
def filled(request: pytest.FixtureRequest, servers: dict[int, str]) -> Iterator[Filled]:
    """Databases of their own on each version."""
    server = servers[request.param]
    names = [f"plans_{uuid4().hex}" for _ in (FEW, MANY)]
    urls = [urlsplit(server)._replace(path=f"/{name}").geturl() for name in names]
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f"create database {name}".encode())
        places = {url: fill(url, rows) for url, rows in zip(urls, (FEW, MANY), strict=True)}
        yield Filled(*urls, places)
        for name in names:
            connection.execute(f"drop database {name} with (force)".encode())


def fill(url: str, rows: int) -> dict[str, Any]:
    """Bring the schema and so many jobs, twenty of them running, and tell places among them."""
    migrations.bootstrap(url)
    migrations.migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_FILL.replace("ROWS", str(rows)).encode())
        connection.execute("analyze")
        for _ in range(2):
            connection.execute(
                "select from public.claim_video_jobs('w', gen_random_uuid(), job_limit => 10, lease_seconds => 3600)"
            )
        connection.execute("vacuum (analyze)")
        connection.row_factory = psycopg.rows.dict_row
        return connection.execute(_PLACES, {"depth": rows // 26}).fetchone() or {}


BEAT = "jsonb_build_array(jsonb_build_object('job_id', %(running)s::uuid, 'run_token', %(token)s::bigint, 'progress', 50))"
DONE = (
    "jsonb_build_array(jsonb_build_object("
    "'job_id', %(running)s::uuid, 'run_token', %(token)s::bigint, 'outcome', 'completed'))"
)
CLAIM = """'{"worker": "w", "claim_key": "00000000-0000-4000-8000-000000000009", "queues": ["default"],
  "job_limit": 1, "lease_seconds": 60}'"""
DEEP = "before_created_at => %(deep_at)s, before_seq => %(deep_seq)s"
READY = {"video_jobs_ready", "video_jobs_ready_by_tenant", "video_jobs_pkey"}
KEY = {"video_jobs_pkey"}

IDLE = "claim_video_jobs('w', gen_random_uuid(), queues => array['none'])"

WORKERS = {
    # name: the statement, the indexes of jobs that it reads, and the most jobs that it reads
    "claim": ("claim_video_jobs('w', gen_random_uuid())", READY, 20),
    "claim for a pipeline": (
        "claim_video_jobs('w', gen_random_uuid(), pipelines => array['previews'])",
        READY,
        20,
    ),
    "claim of 20": ("claim_video_jobs('w', gen_random_uuid(), job_limit => 20)", READY, 300),
    "complete": ("complete_video_job(%(running)s, %(token)s)", KEY, 5),
    "settle": (f"settle_video_jobs({DONE})", KEY, 5),
    "settle and claim": (f"settle_video_jobs({DONE}, {CLAIM})", READY, 25),
    "fail": ("fail_video_job(%(running)s, %(token)s)", KEY, 5),
    "release": ("release_video_job(%(running)s, %(token)s)", KEY, 5),
    "heartbeat": (f"heartbeat_video_jobs({BEAT})", KEY, 5),
    "log": ("log_video_job(%(running)s, %(token)s, 'half')", KEY, 5),
    "archive": (
        "archive_video_jobs(row_limit => 20)",
        {"video_jobs_by_status", "video_jobs_pkey", "video_jobs_of_parent"},
        45,
    ),
    "find stuck": ("find_stuck_video_jobs()", {"video_jobs_running"}, 100),
}


@pytest.mark.parametrize("name", WORKERS)
def test_what_workers_call_reads_its_indexes_and_a_few_rows(filled: Filled, name: str):
    """However many jobs wait, half of them delayed and with the highest priority."""
    call, indexes, most = WORKERS[name]

    few, many = filled.plans(f"select * from public.{call}")

    assert many.indexes_of("video_jobs") == indexes
    assert_small(few, many, rows=most)


@pytest.mark.parametrize("call", ["recover_video_jobs()", "check_video_jobs()", IDLE])
def test_recovery_and_claims_that_find_nothing_read_what_runs(filled: Filled, call: str):
    """Leases are read from end to end: there are as few as jobs that run."""
    _, many = filled.plans(f"select * from public.{call}")

    assert many.indexes_of("video_jobs") <= {
        "video_jobs_running",
        "video_jobs_pkey",
        "video_jobs_ready",
    }
    assert many.rows_of("video_jobs") <= 5 * 20
    assert "video_jobs" not in many.scanned


OWN = '"user_id": "00000000-0000-4000-8000-000000000001"'
OF_TEAM = '"team_id": "00000000-0000-4000-8000-0000000000f1"'
PAGES = [
    # Who asks, for what, and what is read: one index for each owner whose jobs they may see.
    ("service", "{}", "by_age"),
    ("service", '{"status": "failed"}', "by_status"),
    ("service", '{"status": "completed"}', "by_status"),
    ("service", '{"status": ["failed", "cancelled"]}', "by_status"),
    ("service", f"{{{OWN}}}", "of_user"),
    ("service", f'{{{OWN}, "status": "failed"}}', "of_user_by_status"),
    ("service", f'{{{OWN}, "status": "completed"}}', "of_user_by_status"),
    ("service", f"{{{OF_TEAM}}}", "of_team"),
    ("service", f'{{{OF_TEAM}, "status": "failed"}}', "of_team_by_status"),
    ("service", '{"resource_id": "film-26"}', "of_resource"),
    ("service", '{"status": "processing"}', "running"),
    ("member", "{}", "of_user of_team"),
    ("member", '{"status": "failed"}', "of_user_by_status of_team_by_status"),
    ("member", '{"status": ["failed", "cancelled"]}', "of_user_by_status of_team_by_status"),
    ("member", f"{{{OWN}}}", "of_user"),
    ("member", f'{{{OWN}, "status": "completed"}}', "of_user_by_status"),
    ("member", f"{{{OF_TEAM}}}", "of_team"),
    ("member", f'{{{OF_TEAM}, "status": "failed"}}', "of_team_by_status"),
    ("lonely", "{}", "of_user"),
    ("lonely", '{"status": "failed"}', "of_user_by_status"),
    ("lonely", '{"status": ["failed", "cancelled"]}', "of_user_by_status"),
    # Somebody else's: refused without a look.
    ("lonely", f"{{{OWN}}}", ""),
    ("lonely", f'{{{OWN}, "status": "failed"}}', ""),
]


@pytest.mark.parametrize("place", ["", f", {DEEP}"], ids=["first", "deep"])
@pytest.mark.parametrize(("person", "filters", "indexes"), PAGES)
def test_a_page_reads_the_index_of_its_filter(
    filled: Filled, person: str, filters: str, indexes: str, place: str
):
    """Behind policies too, and however deep inside."""
    few, many = filled.plans(
        f"select * from public.list_video_jobs('{filters}', 6{place})", PEOPLE[person]
    )

    assert many.indexes_of("video_jobs") - KEY == {f"video_jobs_{each}" for each in indexes.split()}
    # Where a few hundred are left, they may be read and sorted: that is as fast.
    assert_small(few, many, rows=600)


@pytest.mark.parametrize("person", PEOPLE)
def test_a_job_and_its_history_are_read_by_their_keys(filled: Filled, person: str):
    """Policies add the look at the job's row, and nothing that grows."""
    few, many = filled.plans("select * from public.get_video_job(%(done)s)", PEOPLE[person])
    assert many.indexes_of("video_jobs") == KEY
    assert_small(few, many, rows=2)

    few, many = filled.plans("select * from public.list_video_job_events(%(done)s)", PEOPLE[person])
    assert many.indexes_of("video_jobs") <= KEY
    assert_small(few, many, rows=2)


BULK = """bulk_update_video_jobs('{"priority": 4}', filter => '{"status": "queued"}', row_limit => 20)"""


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("call", ["clear_video_jobs(row_limit => 20)", BULK])
def test_bulk_calls_read_what_they_change(filled: Filled, call: str, person: str):
    """By the indexes of their filter, in batches."""
    few, many = filled.plans(f"select * from public.{call}", PEOPLE[person])

    assert "video_jobs_by_age" not in many.indexes_of("video_jobs")
    assert_small(few, many, rows=20 * 15)


@pytest.mark.parametrize("storage", ["mine", "others"])
def test_leftovers_are_found_by_their_storage(filled: Filled, storage: str):
    """However many are due in storages of others, and whatever jobs there are."""
    with watched(filled.many) as connection:
        connection.connection.execute(
            "insert into videojobs.leftovers (prefix, storage, due_at)"
            " select gen_random_uuid() || '/1', 'others', now() from generate_series(1, 5000)"
        )
        plans = connection.run(f"select * from public.claim_video_job_leftovers('{storage}', 5)")

    assert "leftovers_due" in plans.indexes_of("leftovers")
    assert plans.rows_of("leftovers") <= 30
    assert plans.rows_of("video_jobs") <= 10
    assert plans.scanned & (LARGE | {"leftovers"}) == set()


@pytest.mark.parametrize("name", ["settle and claim", "fail", "release", "heartbeat"])
def test_jobs_without_segments_pay_nothing_for_leftovers(filled: Filled, name: str):
    """No statement of theirs reads or writes the list, and no trigger's function runs for it."""
    _, many = filled.plans(f"select * from public.{WORKERS[name][0]}")

    assert "leftovers" not in str(many.trees)


def test_stats_never_read_the_jobs(filled: Filled):
    """They are sums, whoever asks."""
    for user_id in PEOPLE.values():
        _, many = filled.plans("select * from public.get_video_job_stats()", user_id)

        assert many.rows_of("video_jobs") == 0


def test_changes_are_read_by_their_index(filled: Filled):
    """Since a moment just past, with the running jobs: however long the history is."""
    since = "(select pg_current_snapshot()::text)"
    call = f"read_video_job_changes({since}, array[%(done)s], '1970-01-01')"

    few, many = filled.plans(f"select * from public.{call}")

    assert many.indexes_of("video_jobs") == {"video_jobs_pkey", "video_jobs_running"}
    assert_small(few, many, rows=100)


@pytest.mark.parametrize(
    "call",
    [
        "complete_video_job(%(running)s, %(token)s)",
        "cancel_video_job((select j.id from public.video_jobs j where j.status = 'queued' and j.queue = 'default' "
        "and j.priority = 3 order by j.priority desc, j.pipeline, j.run_at limit 1))",
    ],
)
def test_what_a_webhook_is_told_is_read_by_its_key(filled: Filled, call: str):
    """The message about a job costs no more where there are many."""
    found = []
    for url in (filled.few, filled.many):
        values = {k: v for k, v in filled.places[url].items() if f"%({k})s" in call}
        with watched(url) as connection:
            connection.connection.execute(
                "insert into videojobs.webhook_endpoints (id, kind, url, address, secret, events) values "
                "(gen_random_uuid(), 'standard', 'https://x', 'https://x', 'x', array['job.completed', 'job.cancelled'])"
            )
            found.append(connection.run(f"select * from public.{call}", **values))

    assert_small(*found, rows=25)


def test_plans_of_an_empty_table_serve_a_full_one(new_database):
    """A worker that connected before the jobs came keeps its plans, and they are right."""
    url = new_database(18)
    migrations.migrate(url)
    with watched(url) as worker, psycopg.connect(url, autocommit=True) as others:
        # No statistics: they would make the worker plan anew.
        others.execute("alter table public.video_jobs set (autovacuum_enabled = false)")
        others.execute("insert into public.video_jobs (user_id) values (gen_random_uuid())")
        round_of_work(worker)
        others.execute(_FILL.replace("ROWS", str(FEW)).encode())
        others.execute(
            "select from public.claim_video_jobs('other', gen_random_uuid(), job_limit => 100)"
        )

        plans = round_of_work(worker)

    assert plans.indexes_of("video_jobs") == READY
    assert plans.rows_of("video_jobs") <= 40
    assert plans.scanned & LARGE == set()


def round_of_work(worker: Watched) -> Plans:
    """Claim a job, beat for it and settle it, and commit."""
    claimed = worker.run(f"select * from public.settle_video_jobs('[]', {CLAIM})")
    (lease,) = worker.connection.execute(
        "select job_id as running, run_token as token from videojobs.leases where worker_id = 'w'"
    ).fetchall()
    held = {"running": lease[0], "token": lease[1]}
    beaten = worker.run(f"select * from public.heartbeat_video_jobs({BEAT})", **held)
    settled = worker.run(f"select * from public.settle_video_jobs({DONE})", **held)
    worker.connection.commit()
    return Plans([*claimed.trees, *beaten.trees, *settled.trees])


def test_a_pipeline_behind_another_is_one_probe_away(filled: Filled):
    """A worker for a pipeline of one job reads past none of the others' tens of thousands."""
    with watched(filled.many) as connection:
        connection.connection.execute(
            "insert into public.video_jobs (user_id, pipeline, priority) values (%s, 'rare', 1)",
            [LONELY],
        )
        plans = connection.run(
            "select * from public.claim_video_jobs('w', gen_random_uuid(), pipelines => array['rare'])"
        )

    assert plans.rows_of("video_jobs") <= 25
    assert plans.indexes_of("video_jobs") == READY


def assert_small(few: Plans, many: Plans, *, rows: int) -> None:
    """At the most so many rows were read, pages as for few jobs, and no table from end to end."""
    assert many.rows_of("video_jobs") <= rows
    assert many.buffers <= 1.5 * few.buffers + rows
    assert many.scanned & LARGE == set()
