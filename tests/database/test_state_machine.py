"""The database is the state machine: it takes the edges of its table and refuses every other row."""

from __future__ import annotations

from itertools import product
from uuid import UUID

import psycopg
import pytest
from psycopg import sql as statement
from psycopg.types.json import Jsonb

USER = UUID("00000000-0000-4000-8000-000000000001")

QUEUED, PROCESSING, COMPLETED, FAILED, CANCELLED = STATUSES = (
    "queued",
    "processing",
    "completed",
    "failed",
    "cancelled",
)
EDGES = {
    (QUEUED, PROCESSING),
    (QUEUED, CANCELLED),
    (PROCESSING, COMPLETED),
    (PROCESSING, QUEUED),
    (PROCESSING, FAILED),
    (PROCESSING, CANCELLED),
    (FAILED, QUEUED),
    (CANCELLED, QUEUED),
}
FINAL = (COMPLETED, FAILED, CANCELLED)

# What else has to be said in a row of that status.
COLUMNS = """
  started_at = case %(status)s when 'processing' then now() end,
  progress = case %(status)s when 'completed' then 100 else 0 end,
  completed_at = case when %(status)s in ('completed', 'failed') then now() end,
  cancelled_at = case %(status)s when 'cancelled' then now() end,
  error_code = case %(status)s when 'failed' then 'boom' end
"""
INSERT = """
insert into public.video_jobs (user_id, status, started_at, progress, completed_at, cancelled_at, error_code)
values (
  %(user)s, %(status)s::public.video_job_status,
  case %(status)s when 'processing' then now() end,
  case %(status)s when 'completed' then 100 else 0 end,
  case when %(status)s in ('completed', 'failed') then now() end,
  case %(status)s when 'cancelled' then now() end,
  case %(status)s when 'failed' then 'boom' end
)
returning id
"""

# Each row breaks the named rule and no other. The table is video_jobs where none is named.
REFUSED = {
    "video_jobs_queue_is_a_slug": {"queue": "Big Films"},
    "video_jobs_pipeline_is_a_slug": {"pipeline": "clips; drop table"},
    "video_jobs_priority_is_0_to_9": {"priority": 10},
    "video_jobs_max_attempts_is_1_to_25": {"max_attempts": 26},
    "video_jobs_attempt_is_within_max_attempts": {"attempt": 4},
    "video_jobs_progress_is_0_to_100": {"progress": 101},
    "video_jobs_original_filesize_is_not_negative": {"original_filesize": -1},
    "video_jobs_clip_count_is_1_to_100": {"clip_count": 0},
    "video_jobs_texts_are_short": {"original_filename": "x" * 256},
    "video_jobs_settings_are_an_object_of_64_kb_and_32_levels": {
        "settings": Jsonb({"a": "x" * 65_536})
    },
    "video_jobs_times_are_up_to_a_week": {"max_runtime_seconds": 604_801},
    "video_jobs_run_at_is_in_1970_to_9998": {"run_at": "infinity"},
    "video_jobs_progress_detail_is_an_object": {"progress_detail": "[]"},
    "video_jobs_output_files_is_an_array": {"output_files": "{}"},
    "video_jobs_films_and_episodes_have_an_id": {"resource_type": "film"},
    "video_jobs_only_episodes_have_a_parent": {"resource_parent_id": "season-1"},
    "video_jobs_processing_has_started": {"status": "processing"},
    "video_jobs_completed_at_iff_completed_or_failed": {"completed_at": "2026-01-01"},
    "video_jobs_cancelled_at_iff_cancelled": {"cancelled_at": "2026-01-01"},
    "video_jobs_completed_is_at_100": {
        "status": "completed",
        "completed_at": "2026-01-01",
        "progress": 99,
    },
    "video_jobs_failed_has_an_error_code": {"status": "failed", "completed_at": "2026-01-01"},
    "video_jobs_queued_has_no_cancel_request": {"cancel_requested_at": "2026-01-01"},
    "teams_name_is_not_blank": {"name": "  "},
    "leases_end_after_they_begin": {
        "job_id": USER,
        "run_token": 1,
        "worker_id": "w",
        "claim_key": USER,
        "claimed_at": "2026-01-02",
        "expires_at": "2026-01-01",
    },
    "settings_is_one_row": {"only_row": False},
    "settings_retry_base_is_positive": {"retry_base_seconds": 0},
    "settings_retry_cap_is_not_below_base": {"retry_cap_seconds": 5},
    "settings_max_lost_is_positive": {"max_lost": 0},
    "settings_cancel_grace_is_positive": {"cancel_grace_seconds": 0},
    "settings_max_user_priority_is_5_to_9": {"max_user_priority": 10},
    "settings_queue_wakeups_is_known": {"queue_wakeups": "sometimes"},
    "settings_days_are_positive": {"drop_events_after_days": 0},
    "limits_kind_is_known": {"kind": "worker", "key": "*", "max_running": 1},
    "limits_key_is_short": {"kind": "queue", "key": "", "max_running": 1},
    "limits_max_running_is_not_negative": {"kind": "queue", "key": "*", "max_running": -1},
    "workers_worker_id_is_short": {"worker_id": "w" * 256},
    "workers_facts_are_an_object_of_4_kb": {
        "worker_id": "w",
        "facts": Jsonb({"a": "x" * 4_096}),
    },
    "archived_jobs_are_final": {
        "id": USER,
        "user_id": USER,
        "status": "queued",
        "ended_at": "2026-01-01",
        "job": "{}",
    },
    "transitions_lead_elsewhere": {
        "from_status": "completed",
        "event": "changed",
        "to_status": "completed",
    },
}
ENDPOINT = {
    "id": USER,
    "kind": "standard",
    "url": "https://example.com",
    "address": "https://example.com",
    "secret": "whsec_",
    "events": ["job.completed"],
}
DELIVERY = {"endpoint_id": USER, "event": "job.completed", "payload": "{}"}
REFUSED |= {
    "change_feed_is_one_row": {"only_row": False},
    "leftovers_are_places_of_attempts": {"prefix": "uploads"},
    "webhook_endpoints_kind_is_known": {**ENDPOINT, "kind": "pigeon", "secret": None},
    "webhook_endpoints_url_is_short": {**ENDPOINT, "url": ""},
    "webhook_endpoints_address_is_short": {**ENDPOINT, "address": ""},
    "webhook_endpoints_standard_ones_have_a_secret": {**ENDPOINT, "secret": None},
    "webhook_endpoints_events_are_known": {**ENDPOINT, "events": []},
    "webhook_deliveries_state_is_known": {**DELIVERY, "state": "lost", "ended_at": "2026-01-01"},
    "webhook_deliveries_ended_iff_not_pending": {**DELIVERY, "state": "dead"},
    "webhook_deliveries_last_error_is_short": {**DELIVERY, "last_error": "x" * 501},
}
TABLES = {
    "video_jobs": ("public", "video_jobs"),
    "teams": ("public", "teams"),
    "leases": ("videojobs", "leases"),
    "settings": ("videojobs", "settings"),
    "limits": ("videojobs", "limits"),
    "workers": ("videojobs", "workers"),
    "archived_jobs": ("videojobs", "archived_jobs"),
    "transitions": ("videojobs", "transitions"),
    "change_feed": ("videojobs", "change_feed"),
    "leftovers": ("videojobs", "leftovers"),
    "webhook_endpoints": ("videojobs", "webhook_endpoints"),
    "webhook_deliveries": ("videojobs", "webhook_deliveries"),
}


@pytest.fixture
def service(sql):
    """A connection with the rights of the service and no more."""
    sql.execute("set role service_role")
    yield sql
    sql.execute("reset role")


def new_row(connection, status: str) -> UUID:
    """Store a job of that status and return its id."""
    return connection.execute(INSERT, {"user": USER, "status": status}).fetchone()["id"]


def set_status(connection, job_id: UUID, status: str) -> str:
    """Write the status past all functions, and return what is stored."""
    query = f"update public.video_jobs set status = %(status)s::public.video_job_status, {COLUMNS} where id = %(id)s returning status"
    return connection.execute(query, {"status": status, "id": job_id}).fetchone()["status"]


@pytest.mark.parametrize(("before", "after"), sorted(EDGES))
def test_an_edge_of_the_table_can_be_taken(service, before, after):
    """The service may bring a job by hand where the table of transitions leads."""
    job_id = new_row(service, before)

    status = set_status(service, job_id, after)

    assert status == after


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in product(STATUSES, STATUSES) if pair not in EDGES and pair[0] != pair[1]],
)
def test_any_other_edge_is_refused(service, before, after):
    """Not even the service may take a job where no transition leads."""
    job_id = new_row(service, before)

    with pytest.raises(psycopg.Error, match=f"cannot go from {before} to {after}") as caught:
        set_status(service, job_id, after)

    assert caught.value.sqlstate == "VJ002"


@pytest.mark.parametrize("status", FINAL)
def test_a_final_row_cannot_be_changed(service, status):
    """Once completed, failed or cancelled, no column of a job changes."""
    job_id = new_row(service, status)

    with pytest.raises(psycopg.Error, match="cannot be changed any more") as caught:
        service.execute("update public.video_jobs set priority = 9 where id = %s", (job_id,))

    assert caught.value.sqlstate == "VJ002"


@pytest.mark.parametrize("status", [QUEUED, PROCESSING])
def test_another_row_can_be_changed_and_says_when(service, status):
    """A waiting or running job takes changes, and each moves its updated_at."""
    job_id = new_row(service, status)

    row = service.execute(
        "update public.video_jobs set priority = 9, updated_at = 'epoch' where id = %s "
        "returning updated_at > created_at as moved",
        (job_id,),
    ).fetchone()

    assert row == {"moved": True}


def test_the_table_of_transitions_is_the_edges_of_the_design(sql):
    """The stored edges are those of the documented table, each under its event."""
    rows = sql.execute("select * from videojobs.transitions order by from_status, event")

    edges = [(row["from_status"], row["event"], row["to_status"]) for row in rows]

    assert edges == [
        ("queued", "claimed", "processing"),
        ("queued", "cancelled", "cancelled"),
        ("processing", "completed", "completed"),
        ("processing", "retried", "queued"),
        ("processing", "released", "queued"),
        ("processing", "rescued", "queued"),
        ("processing", "failed", "failed"),
        ("processing", "lost", "failed"),
        ("processing", "cancelled", "cancelled"),
        ("failed", "requeued", "queued"),
        ("cancelled", "requeued", "queued"),
    ]


def test_nobody_may_write_the_table_of_transitions(service):
    """The edges are the migrations' to change, not the service's."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        service.execute(
            "insert into videojobs.transitions values ('completed', 'changed', 'queued')"
        )


def insert(connection, constraint: str, values: dict) -> None:
    """Insert a row, into the table that the constraint's name begins with, with a user for a job."""
    table = next(name for name in TABLES if constraint.startswith(name))
    row = {"user_id": USER, **values} if table == "video_jobs" else values
    query = statement.SQL("insert into {} ({}) values ({})").format(
        statement.Identifier(*TABLES[table]),
        statement.SQL(", ").join(map(statement.Identifier, row)),
        statement.SQL(", ").join(statement.Placeholder() * len(row)),
    )
    connection.execute(query, list(row.values()))


@pytest.mark.parametrize("constraint", REFUSED)
def test_a_row_that_breaks_a_rule_is_refused(sql, constraint):
    """Each CHECK refuses a row, under the name that says the rule."""
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        insert(sql, constraint, REFUSED[constraint])

    assert caught.value.diag.constraint_name == constraint


def test_every_check_has_its_example(sql):
    """No CHECK of ours is without a row here that it refuses."""
    rows = sql.execute(
        "select conname from pg_constraint where contype = 'c' "
        "and connamespace in ('public'::regnamespace, 'videojobs'::regnamespace)"
    )

    names = {row["conname"] for row in rows}

    assert names == set(REFUSED)


@pytest.mark.parametrize(
    "settings",
    [
        '{"rate": 1e400}',
        '{"rate": [-1e400]}',
        '{"a":' * 33 + "1" + "}" * 33,
        '{"a":"' + "x" * 65_529 + '"}',
        "[]",
        '"text"',
        "null",
    ],
    ids=["huge", "hugely negative", "33 levels", "64 kB and a byte", "list", "text", "null"],
)
def test_settings_that_python_could_not_read_are_refused(sql, settings):
    """A tenant cannot store JSON that would break the pages and claims of everybody else."""
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        sql.execute(
            "insert into public.video_jobs (user_id, settings) values (%s, %s)", (USER, settings)
        )

    assert (
        caught.value.diag.constraint_name
        == "video_jobs_settings_are_an_object_of_64_kb_and_32_levels"
    )


@pytest.mark.parametrize(
    ("column", "length"),
    [
        ("original_filename", 256),
        ("source_url", 2_049),
        ("resource_id", 256),
        ("resource_name", 256),
        ("resource_parent_id", 256),
        ("idempotency_key", 256),
    ],
)
def test_each_text_is_neither_empty_nor_too_long(sql, column, length):
    """One CHECK holds for all six texts: an empty one and one that is a character too long are refused."""
    refused = []

    for text in ("", "x" * length):
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            sql.execute(
                f"insert into public.video_jobs (user_id, resource_type, resource_id, {column}) "
                "values (%s, 'episode', 'x', %s)"
                if column != "resource_id"
                else "insert into public.video_jobs (user_id, resource_id) values (%s, %s)",
                (USER, text),
            )
        refused.append(caught.value.diag.constraint_name)

    assert refused == ["video_jobs_texts_are_short"] * 2


@pytest.mark.parametrize(
    ("column", "seconds"),
    [
        ("max_runtime_seconds", 0.5),
        ("max_runtime_seconds", 604_801),
        ("max_runtime_seconds", float("nan")),
        ("retry_base_seconds", -1),
        ("retry_base_seconds", 604_801),
        ("retry_cap_seconds", -1),
        ("retry_cap_seconds", float("inf")),
    ],
)
def test_times_beyond_a_week_or_below_nothing_are_refused(sql, column, seconds):
    """No job waits or runs longer than a week, or for less than no time."""
    with pytest.raises(psycopg.errors.CheckViolation, match="video_jobs_times_are_up_to_a_week"):
        sql.execute(
            f"insert into public.video_jobs (user_id, {column}) values (%s, %s)", (USER, seconds)
        )


def test_times_up_to_a_week_are_taken(sql):
    """The bounds themselves belong to the range."""
    row = sql.execute(
        "insert into public.video_jobs (user_id, max_runtime_seconds, retry_base_seconds, retry_cap_seconds) "
        "values (%s, 1, 0, 604800) "
        "returning max_runtime_seconds, retry_base_seconds, retry_cap_seconds",
        (USER,),
    ).fetchone()

    assert list(row.values()) == [1, 0, 604_800]


@pytest.mark.parametrize(
    "setting",
    [
        "archive_completed_after_days",
        "archive_failed_after_days",
        "archive_cancelled_after_days",
        "drop_archive_after_days",
        "drop_events_after_days",
    ],
)
def test_history_is_kept_for_a_day_at_least(sql, setting):
    """Zero days would archive what has just ended; never is said with null."""
    with pytest.raises(psycopg.errors.CheckViolation, match="settings_days_are_positive"):
        sql.execute(f"update videojobs.settings set {setting} = 0")


@pytest.mark.parametrize(
    "settings",
    ['{"rate": 1e308}', '{"rate": 1e-400}', '{"a":' * 32 + "1" + "}" * 32],
    ids=["large", "tiny", "32 levels"],
)
def test_settings_within_the_limits_are_read_back(sql, manager, settings):
    """What the constraint lets through, the library reads."""
    row = sql.execute(
        "insert into public.video_jobs (user_id, settings) values (%s, %s) returning id",
        (USER, settings),
    ).fetchone()

    job = manager.get_job(row["id"])

    assert set(job.settings) <= {"rate", "a"}


def test_the_moment_of_creation_orders_the_ids(sql):
    """Ids are RFC 9562 version 7: of the right version and variant, and later ones are larger."""
    rows = sql.execute(
        "select videojobs.uuid7() as id, pg_sleep(0.002) from generate_series(1, 20)"
    )

    ids = [row["id"] for row in rows]

    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert ids == sorted(ids)
