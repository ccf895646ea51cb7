"""Who may do what: every role times every function, table and column, asked through PostgREST."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from database.world import OTHER, OWNER, PEOPLE, ROLES, TEAM, Json, World, new_wish
from videojobs.local import LocalStack

# allowed      done, or something to see
# denied       the database has no right for the role, or a policy refuses the row (42501)
# empty        a list without the job
# not_found    as if there were no such job (VJ001)
# not_allowed  may see it, but not do this (VJ005)
# invalid      allowed in general, and this wish lacks something (VJ004, 23502)
# archived     may see it and would be allowed to, but nothing can be done to it (VJ002)
# read_only    nobody can, whatever their rights (55000)
FUNCTIONS = """
operation                  job       anon    owner      other        member       team_admin   app_admin    pretender    service
get_video_job              personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
get_video_job              team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
get_video_job_place        personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
get_video_job_place        team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
list_video_jobs            personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
list_video_jobs            team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
list_video_job_events      personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
list_video_job_events      team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
get_video_job_stats        personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
get_video_job_stats        team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
get_video_job_times        personal  denied  empty      empty        empty        empty        empty        empty        empty
create_video_jobs          personal  denied  allowed    allowed      allowed      allowed      allowed      allowed      invalid
create_video_jobs          team      denied  allowed    not_allowed  allowed      allowed      not_allowed  not_allowed  invalid
create_for_the_owner       personal  denied  allowed    not_allowed  not_allowed  not_allowed  not_allowed  not_allowed  allowed
create_for_the_owner       team      denied  allowed    not_allowed  not_allowed  not_allowed  not_allowed  not_allowed  allowed
cancel_video_job           personal  denied  allowed    not_found    not_found    not_found    allowed      not_found    allowed
cancel_video_job           team      denied  allowed    not_found    not_allowed  allowed      allowed      not_found    allowed
cancel_again               personal  denied  allowed    not_found    not_found    not_found    allowed      not_found    allowed
cancel_again               team      denied  allowed    not_found    not_allowed  allowed      allowed      not_found    allowed
retry_video_job            personal  denied  allowed    not_found    not_found    not_found    allowed      not_found    allowed
retry_video_job            team      denied  allowed    not_found    not_allowed  allowed      allowed      not_found    allowed
delete_video_job           personal  denied  allowed    not_found    not_found    not_found    allowed      not_found    allowed
delete_video_job           team      denied  allowed    not_found    not_allowed  allowed      allowed      not_found    allowed
clear_video_jobs           personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
clear_video_jobs           team      denied  allowed    empty        empty        allowed      allowed      empty        allowed
bulk_update_video_jobs     personal  denied  allowed    not_found    not_found    not_found    allowed      not_found    allowed
bulk_update_video_jobs     team      denied  allowed    not_found    not_allowed  allowed      allowed      not_found    allowed
bulk_update_by_filter      personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
bulk_update_by_filter      team      denied  allowed    empty        not_allowed  allowed      allowed      empty        allowed
claim_video_jobs           personal  denied  denied     denied       denied       denied       denied       denied       allowed
claim_video_jobs           team      denied  denied     denied       denied       denied       denied       denied       allowed
start_video_job            personal  denied  denied     denied       denied       denied       denied       denied       allowed
start_video_job            team      denied  denied     denied       denied       denied       denied       denied       allowed
heartbeat_video_jobs       personal  denied  denied     denied       denied       denied       denied       denied       allowed
heartbeat_video_jobs       team      denied  denied     denied       denied       denied       denied       denied       allowed
complete_video_job         personal  denied  denied     denied       denied       denied       denied       denied       allowed
complete_video_job         team      denied  denied     denied       denied       denied       denied       denied       allowed
fail_video_job             personal  denied  denied     denied       denied       denied       denied       denied       allowed
fail_video_job             team      denied  denied     denied       denied       denied       denied       denied       allowed
release_video_job          personal  denied  denied     denied       denied       denied       denied       denied       allowed
release_video_job          team      denied  denied     denied       denied       denied       denied       denied       allowed
confirm_video_job_cancel   personal  denied  denied     denied       denied       denied       denied       denied       allowed
confirm_video_job_cancel   team      denied  denied     denied       denied       denied       denied       denied       allowed
update_video_job_status    personal  denied  denied     denied       denied       denied       denied       denied       allowed
update_video_job_status    team      denied  denied     denied       denied       denied       denied       denied       allowed
recover_video_jobs         personal  denied  denied     denied       denied       denied       denied       denied       allowed
find_stuck_video_jobs      personal  denied  denied     denied       denied       denied       denied       denied       allowed
check_video_jobs           personal  denied  denied     denied       denied       denied       denied       denied       allowed
settle_video_jobs          personal  denied  denied     denied       denied       denied       denied       denied       allowed
settle_video_jobs          team      denied  denied     denied       denied       denied       denied       denied       allowed
log_video_job              personal  denied  denied     denied       denied       denied       denied       denied       allowed
log_video_job              team      denied  denied     denied       denied       denied       denied       denied       allowed
archive_video_jobs         personal  denied  denied     denied       denied       denied       denied       denied       allowed
maintain_video_jobs        personal  denied  denied     denied       denied       denied       denied       denied       allowed
configure_video_jobs       personal  denied  denied     denied       denied       denied       denied       denied       allowed
set_video_job_limit        personal  denied  denied     denied       denied       denied       denied       denied       allowed
set_video_job_queue        personal  denied  denied     denied       denied       denied       denied       denied       allowed
list_video_job_waits       personal  denied  denied     denied       denied       denied       denied       denied       allowed
list_video_job_workers     personal  denied  denied     denied       denied       denied       denied       denied       allowed
drain_video_job_worker     personal  denied  denied     denied       denied       denied       denied       denied       allowed
remove_video_job_worker    personal  denied  denied     denied       denied       denied       denied       denied       allowed
reconcile_video_job_stats  personal  denied  denied     denied       denied       denied       denied       denied       empty
reconcile_a_drift          personal  denied  denied     denied       denied       denied       denied       denied       allowed
diagnose_video_jobs        personal  denied  denied     denied       denied       denied       denied       denied       allowed
probe_video_job_rows       personal  denied  denied     denied       denied       denied       denied       denied       allowed
get_video_job_sight        personal  denied  allowed    allowed      allowed      allowed      allowed      allowed      allowed
read_video_job_changes     personal  denied  denied     denied       denied       denied       denied       denied       allowed
list_video_job_teams       personal  denied  denied     denied       denied       denied       denied       denied       allowed
list_video_job_webhooks          personal  denied  denied     denied       denied       denied       denied       denied       empty
add_video_job_webhook            personal  denied  denied     denied       denied       denied       denied       denied       allowed
remove_video_job_webhook         personal  denied  denied     denied       denied       denied       denied       denied       allowed
list_video_job_webhook_deliveries personal  denied  denied     denied       denied       denied       denied       denied       empty
send_video_job_webhook           personal  denied  denied     denied       denied       denied       denied       denied       empty
claim_video_job_webhooks         personal  denied  denied     denied       denied       denied       denied       denied       empty
settle_video_job_webhook         personal  denied  denied     denied       denied       denied       denied       denied       allowed
claim_video_job_leftovers  personal  denied  denied     denied       denied       denied       denied       denied       empty
settle_video_job_leftovers personal  denied  denied     denied       denied       denied       denied       denied       empty
get_archived_job           personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
get_archived_job           team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
list_events_of_archived    personal  denied  allowed    empty        empty        empty        allowed      empty        allowed
list_events_of_archived    team      denied  allowed    empty        allowed      allowed      allowed      empty        allowed
list_archived_jobs         personal  denied  empty      empty        empty        empty        empty        empty        empty
list_archived_jobs         team      denied  empty      empty        empty        empty        empty        empty        empty
cancel_archived_job        personal  denied  archived   not_found    not_found    not_found    archived     not_found    archived
cancel_archived_job        team      denied  archived   not_found    not_allowed  archived     archived     not_found    archived
retry_archived_job         personal  denied  archived   not_found    not_found    not_found    archived     not_found    archived
retry_archived_job         team      denied  archived   not_found    not_allowed  archived     archived     not_found    archived
delete_archived_job        personal  denied  archived   not_found    not_found    not_found    archived     not_found    archived
delete_archived_job        team      denied  archived   not_found    not_allowed  archived     archived     not_found    archived
bulk_update_archived_job   personal  denied  not_found  not_found    not_found    not_found    not_found    not_found    not_found
bulk_update_archived_job   team      denied  not_found  not_found    not_found    not_found    not_found    not_found    not_found
"""

TABLES = """
operation                   job       anon       owner      other      member     team_admin  app_admin  pretender  service
select_video_jobs           personal  denied     allowed    empty      empty      empty       allowed    empty      allowed
select_video_jobs           team      denied     allowed    empty      allowed    allowed     allowed    empty      allowed
insert_video_jobs           personal  denied     allowed    allowed    allowed    allowed     allowed    allowed    invalid
insert_video_jobs           team      denied     allowed    denied     allowed    allowed     denied     denied     invalid
insert_video_jobs_of_owner  personal  denied     allowed    denied     denied     denied      denied     denied     allowed
insert_video_jobs_of_owner  team      denied     allowed    denied     denied     denied      denied     denied     allowed
update_video_jobs           personal  denied     denied     denied     denied     denied      denied     denied     allowed
update_video_jobs           team      denied     denied     denied     denied     denied      denied     denied     allowed
delete_video_jobs           personal  denied     denied     denied     denied     denied      denied     denied     allowed
delete_video_jobs           team      denied     denied     denied     denied     denied      denied     denied     allowed
select_video_job_events     personal  denied     allowed    empty      empty      empty       allowed    empty      allowed
select_video_job_events     team      denied     allowed    empty      allowed    allowed     allowed    empty      allowed
select_archived_video_jobs  personal  denied     allowed    empty      empty      empty       allowed    empty      allowed
select_archived_video_jobs  team      denied     allowed    empty      allowed    allowed     allowed    empty      allowed
select_events_of_archived   personal  denied     allowed    empty      empty      empty       allowed    empty      allowed
select_events_of_archived   team      denied     allowed    empty      allowed    allowed     allowed    empty      allowed
insert_archived_video_jobs  personal  read_only  read_only  read_only  read_only  read_only   read_only  read_only  read_only
update_archived_video_jobs  personal  read_only  read_only  read_only  read_only  read_only   read_only  read_only  read_only
delete_archived_video_jobs  personal  read_only  read_only  read_only  read_only  read_only   read_only  read_only  read_only
insert_video_job_events     personal  denied     denied     denied     denied     denied      denied     denied     allowed
update_video_job_events     personal  denied     denied     denied     denied     denied      denied     denied     denied
delete_video_job_events     personal  denied     denied     denied     denied     denied      denied     denied     allowed
select_teams                team      denied     allowed    empty      allowed    allowed     empty      empty      allowed
insert_teams                team      denied     denied     denied     denied     denied      denied     denied     allowed
update_teams                team      denied     denied     denied     denied     denied      denied     denied     allowed
delete_teams                team      denied     denied     denied     denied     denied      denied     denied     allowed
select_team_members         team      denied     allowed    empty      allowed    allowed     empty      empty      allowed
insert_team_members         team      denied     denied     denied     denied     denied      denied     denied     allowed
update_team_members         team      denied     denied     denied     denied     denied      denied     denied     allowed
delete_team_members         team      denied     denied     denied     denied     denied      denied     denied     allowed
"""

# With a value that the constraints accept, so that only the right decides. "generated": nobody can
# set it, which Postgres says before it looks at rights. "user" is each of the six signed-in people.
COLUMNS = """
column               value                   anon       user_insert  user_update  service
id                   "new"                   denied     allowed      denied       allowed
seq                  7                       generated  generated    generated    generated
user_id              "self"                  denied     allowed      denied       allowed
team_id              null                    denied     allowed      denied       allowed
tenant_id            "self"                  generated  generated    generated    generated
queue                "films"                 denied     allowed      denied       allowed
pipeline             "renditions"            denied     allowed      denied       allowed
status               "queued"                denied     denied       denied       allowed
priority             4                       denied     allowed      denied       allowed
run_at               "2030-01-01T00:00:00Z"  denied     allowed      denied       allowed
attempt              1                       denied     denied       denied       allowed
max_attempts         25                      denied     allowed      denied       allowed
lost_count           0                       denied     denied       denied       allowed
run_token            9                       denied     denied       denied       allowed
progress             50                      denied     denied       denied       allowed
progress_detail      {}                      denied     denied       denied       allowed
stage                "probe"                 denied     denied       denied       allowed
original_filename    "a.mp4"                 denied     allowed      denied       allowed
original_filesize    10                      denied     allowed      denied       allowed
source_url           "a.mp4"                 denied     allowed      denied       allowed
clip_count           3                       denied     allowed      denied       allowed
quality_preset       "pro"                   denied     allowed      denied       allowed
enhancement_level    "basic"                 denied     allowed      denied       allowed
platform_target      "tiktok"                denied     allowed      denied       allowed
settings             {"a":1}                 denied     allowed      denied       allowed
resource_type        "upload"                denied     allowed      denied       allowed
resource_id          "x"                     denied     allowed      denied       allowed
resource_name        "x"                     denied     allowed      denied       allowed
resource_parent_id   null                    denied     allowed      denied       allowed
output_files         []                      denied     denied       denied       allowed
error_code           "x"                     denied     denied       denied       allowed
error_message        "x"                     denied     denied       denied       allowed
worker_id            "x"                     denied     denied       denied       allowed
idempotency_key      "new"                   denied     allowed      denied       allowed
cancel_requested_at  null                    denied     denied       denied       allowed
created_at           "2030-01-01T00:00:00Z"  denied     denied       denied       allowed
updated_at           "2030-01-01T00:00:00Z"  denied     denied       denied       allowed
started_at           "2030-01-01T00:00:00Z"  denied     denied       denied       allowed
completed_at         null                    denied     denied       denied       allowed
cancelled_at         null                    denied     denied       denied       allowed
processing_time      1.5                     denied     denied       denied       allowed
max_runtime_seconds  60                      denied     allowed      denied       allowed
retry_base_seconds   0                       denied     allowed      denied       allowed
retry_cap_seconds    604800                  denied     allowed      denied       allowed
parent_job_id        null                    denied     denied       denied       allowed
"""

_CODES = {
    "42501": "denied",
    "VJ001": "not_found",
    "VJ002": "archived",
    "VJ004": "invalid",
    "VJ005": "not_allowed",
    "23502": "invalid",
    "55000": "read_only",
    "428C9": "generated",
}
_USERS = tuple(PEOPLE)


def rows_of(table: str) -> list[Json]:
    """Return a literal table's lines, by the names in its first line."""
    names, *lines = (line.split() for line in table.strip().splitlines())
    return [dict(zip(names, line, strict=True)) for line in lines]


def matrix(table: str) -> pytest.MarkDecorator:
    """Run the test once for each line."""
    lines = [
        (line["operation"], line["job"], {role: line[role] for role in ROLES})
        for line in rows_of(table)
    ]
    return pytest.mark.parametrize(
        ("operation", "whose", "expected"), lines, ids=[f"{line[0]}-{line[1]}" for line in lines]
    )


@pytest.fixture
def world(stack: LocalStack, database: str) -> Iterator[World]:
    """The people and an empty database."""
    world = World(stack, database)
    yield world
    world.close()


def outcome(answer: httpx.Response) -> str:
    """Return what an answer means, in the words of the tables above."""
    body = answer.json() if answer.content else []
    if not answer.is_success:
        return _CODES.get(body["code"], f"{answer.status_code} {body}")
    match body:
        case [] | [{"total": 0}]:
            return "empty"
        case [{"outcome": "not_found" | "not_allowed" as told}]:
            return told
        case [{"verdict": verdict}] if verdict != "ok":
            return verdict
        case _:
            return "allowed"


_STATUS = {
    "cancel_again": "cancelled",
    "retry_video_job": "failed",
    "delete_video_job": "failed",
    "clear_video_jobs": "failed",
    "heartbeat_video_jobs": "processing",
    "complete_video_job": "processing",
    "fail_video_job": "processing",
    "release_video_job": "processing",
    "confirm_video_job_cancel": "processing",
    "recover_video_jobs": "overdue",
    "find_stuck_video_jobs": "overdue",
    "settle_video_jobs": "processing",
    "log_video_job": "processing",
    "list_video_job_workers": "processing",
    "archive_video_jobs": "failed",
    "reconcile_a_drift": "drift",
    "get_archived_job": "archived",
    "list_events_of_archived": "archived",
    "list_archived_jobs": "archived",
    "cancel_archived_job": "archived",
    "retry_archived_job": "archived",
    "delete_archived_job": "archived",
    "bulk_update_archived_job": "archived",
}


def job_for(world: World, operation: str, whose: str) -> Json:
    """Return a new job of the owner's to which the operation fits."""
    status = _STATUS.get(operation, "queued")
    if status == "overdue":
        return world.new_job(whose, "processing", overdue=True)
    if status == "cancelled":
        job = world.new_job(whose)
        world.ask("service", "POST", "rpc/cancel_video_job", {"job_id": job["id"]})
        return world.stored(job)
    if status == "archived":
        return world.new_archived_job(whose)
    if status == "drift":
        return world.new_uncounted_job(whose)
    return world.new_job(whose, status)


def call_of(operation: str, job: Json) -> tuple[str, Json]:
    """Return the function and the arguments of somebody who knows all about the job."""
    this = {"job_id": job["id"]}
    held = {**this, "run_token": 1}
    mark = {"filter": {"queue": job["queue"]}}
    key = "00000000-0000-4000-8000-0000000000c1"
    known = {
        "get_video_job": this,
        "get_video_job_place": this,
        "list_video_jobs": mark,
        "list_video_job_events": this,
        "get_video_job_stats": mark,
        "get_video_job_times": mark,
        "create_video_jobs": {"jobs": [new_wish(job)]},
        "create_for_the_owner": {"jobs": [new_wish(job, user_id=str(OWNER))]},
        "cancel_video_job": this,
        "cancel_again": this,
        "retry_video_job": this,
        "delete_video_job": this,
        "clear_video_jobs": mark,
        "bulk_update_video_jobs": {"changes": {"priority": 4}, "job_ids": [job["id"]]},
        "bulk_update_by_filter": {"changes": {"priority": 4}, **mark},
        "claim_video_jobs": {"worker": "w", "claim_key": key, "queues": [job["queue"]]},
        "start_video_job": {**this, "worker": "w", "claim_key": key},
        "heartbeat_video_jobs": {"beats": [held]},
        "complete_video_job": held,
        "fail_video_job": held,
        "release_video_job": held,
        "confirm_video_job_cancel": held,
        "update_video_job_status": {**this, "status": "processing"},
        "recover_video_jobs": {},
        "find_stuck_video_jobs": {},
        "check_video_jobs": {},
        "settle_video_jobs": {"settlements": [{**held, "outcome": "completed"}]},
        "log_video_job": {**held, "message": "half of it is done"},
        "archive_video_jobs": {},
        "maintain_video_jobs": {},
        "configure_video_jobs": {},
        "set_video_job_limit": {"kind": "queue", "key": job["queue"], "max_running": 1},
        "set_video_job_queue": {"queue": job["queue"], "is_fair": False},
        "list_video_job_waits": {},
        "list_video_job_workers": {},
        "drain_video_job_worker": {"worker": "worker-1"},
        "remove_video_job_worker": {"worker": "worker-1"},
        "reconcile_video_job_stats": {},
        "reconcile_a_drift": {},
        "diagnose_video_jobs": {},
        "probe_video_job_rows": {"row_count": 1},
        "get_video_job_sight": {},
        "read_video_job_changes": {},
        "list_video_job_teams": {"user_ids": []},
        "list_video_job_webhooks": {},
        "add_video_job_webhook": {
            "id": key,
            "kind": "standard",
            "url": "https://example.com/",
            "address": "https://example.com",
            "secret": "whsec_x",
            "events": ["job.failed"],
            "is_enabled": False,
        },
        "remove_video_job_webhook": {"id": key},
        "list_video_job_webhook_deliveries": {},
        "send_video_job_webhook": {"endpoint_id": key},
        "claim_video_job_webhooks": {},
        "settle_video_job_webhook": {"id": key, "claim": key, "is_delivered": True},
        "claim_video_job_leftovers": {"storage": ""},
        "settle_video_job_leftovers": {"prefixes": []},
        "get_archived_job": this,
        "list_events_of_archived": this,
        "list_archived_jobs": mark,
        "cancel_archived_job": this,
        "retry_archived_job": this,
        "delete_archived_job": this,
        "bulk_update_archived_job": {"changes": {"priority": 4}, "job_ids": [job["id"]]},
    }
    functions = {
        "create_for_the_owner": "create_video_jobs",
        "cancel_again": "cancel_video_job",
        "bulk_update_by_filter": "bulk_update_video_jobs",
        "reconcile_a_drift": "reconcile_video_job_stats",
        "get_archived_job": "get_video_job",
        "list_events_of_archived": "list_video_job_events",
        "list_archived_jobs": "list_video_jobs",
        "cancel_archived_job": "cancel_video_job",
        "retry_archived_job": "retry_video_job",
        "delete_archived_job": "delete_video_job",
        "bulk_update_archived_job": "bulk_update_video_jobs",
    }
    return functions.get(operation, operation), known[operation]


@matrix(FUNCTIONS)
def test_functions(world, operation, whose, expected):
    """Each role gets from each function what the table says, and who gets nothing changes nothing."""
    found, touched = {}, []
    for role in ROLES:
        job = job_for(world, operation, whose)
        function, arguments = call_of(operation, job)

        answer = world.ask(role, "POST", f"rpc/{function}", arguments)

        found[role] = outcome(answer)
        if found[role] != "allowed" and world.stored(job) != job:
            touched.append(role)
    assert found == expected
    assert touched == []


def test_every_function_stands_in_the_table(sql):
    """No function of the API is without a line for it."""
    functions = sql.execute(
        "select p.proname from pg_proc p where p.pronamespace = 'public'::regnamespace"
    )

    names = {row["proname"] for row in functions}

    job = {"id": None, "queue": None, "team_id": None}
    assert names == {call_of(line["operation"], job)[0] for line in rows_of(FUNCTIONS)}


def request_of(operation: str, job: Json, role: str) -> tuple[str, str, Any]:
    """Return method, path and body of a request on the table that the operation names."""
    verb, _, table = operation.partition("_")
    table = {"events_of_archived": "video_job_events"}.get(table, table.removesuffix("_of_owner"))
    method = {"select": "GET", "insert": "POST", "update": "PATCH", "delete": "DELETE"}[verb]
    caller = str(PEOPLE.get(role, OTHER))
    place = {
        "video_jobs": f"id=eq.{job['id']}",
        "video_job_events": f"job_id=eq.{job['id']}",
        "archived_video_jobs": f"id=eq.{job['id']}",
        "teams": f"id=eq.{TEAM}",
        "team_members": f"team_id=eq.{TEAM}&user_id=eq.{OWNER}",
    }[table]
    row = {
        "insert_video_jobs": {"team_id": job["team_id"], "source_url": "a.mp4"},
        "insert_video_jobs_of_owner": {"team_id": job["team_id"], "user_id": str(OWNER)},
        "update_video_jobs": {"priority": 9},
        "insert_video_job_events": {"job_id": job["id"], "type": "completed"},
        "update_video_job_events": {"type": "completed"},
        "insert_archived_video_jobs": {"id": job["id"]},
        "update_archived_video_jobs": {"priority": 4},
        "insert_teams": {"name": "Mine"},
        "update_teams": {"name": "Mine"},
        "insert_team_members": {"team_id": str(TEAM), "user_id": caller, "role": "admin"},
        "update_team_members": {"role": "admin"},
    }.get(operation)
    return method, table if verb == "insert" else f"{table}?{place}", row


@matrix(TABLES)
def test_tables(world, operation, whose, expected):
    """Each role gets from each table what the table says, and who gets nothing changes nothing."""
    found, touched = {}, []
    for role in ROLES:
        job = world.new_archived_job(whose) if "archived" in operation else world.new_job(whose)

        answer = world.ask(role, *request_of(operation, job, role))

        found[role] = outcome(answer)
        if found[role] != "allowed" and world.stored(job) != job:
            touched.append(role)
    assert found == expected
    assert touched == []


def value_of(line: Json, role: str, job: Json) -> Any:
    """Return the column's value, with the caller's or a new id where the table says so."""
    value = json.loads(line["value"])
    if value == "self":
        return str(PEOPLE.get(role, OWNER))
    return new_wish(job)["id"] if value == "new" else value


@pytest.mark.parametrize("line", rows_of(COLUMNS), ids=lambda line: line["column"])
def test_columns_of_an_insert(world, line):
    """A user's insert may name the columns that are theirs, and no other; the service's all that are not generated."""
    job = world.new_job("personal")
    found = {}

    for role in ROLES:
        row = {"user_id": str(PEOPLE.get(role, OWNER)), line["column"]: value_of(line, role, job)}
        found[role] = outcome(world.ask(role, "POST", "video_jobs", row))

    by_users = dict.fromkeys(_USERS, line["user_insert"])
    assert found == {"anon": line["anon"], **by_users, "service": line["service"]}


@pytest.mark.parametrize("line", rows_of(COLUMNS), ids=lambda line: line["column"])
def test_columns_of_an_update(world, line):
    """No user may set any column of any job, not even of their own; the service may."""
    found = {}

    for role in ROLES:
        job = world.new_job("team")
        row = {line["column"]: value_of(line, role, job)}
        found[role] = outcome(world.ask(role, "PATCH", f"video_jobs?id=eq.{job['id']}", row))

    by_users = dict.fromkeys(_USERS, line["user_update"])
    assert found == {"anon": line["anon"], **by_users, "service": line["service"]}


def test_every_column_stands_in_the_table(sql):
    """No column of a job is without a line for it."""
    columns = sql.execute(
        "select attname from pg_attribute where attrelid = 'public.video_jobs'::regclass and attnum > 0"
    )

    names = [row["attname"] for row in columns]

    assert names == [line["column"] for line in rows_of(COLUMNS)]


# Who may jump the queue


@pytest.fixture
def cap(sql) -> Iterator[Callable[[int], None]]:
    """Set the highest priority that users may ask for; what it was comes back in the end."""

    def set_cap(priority: int) -> None:
        sql.execute("update videojobs.settings set max_user_priority = %s", (priority,))

    yield set_cap
    set_cap(5)


# An application's admin is a user like any other here: only services may jump the queue.
BY_ROLE = pytest.mark.parametrize(
    ("role", "allowed"), [(role, role == "service") for role in ROLES if role != "anon"]
)


@BY_ROLE
def test_a_new_jobs_priority_is_capped_for_users(world, role, allowed):
    """Users may ask for 5 at the most, in a function and in a plain insert; services for any."""
    owner = str(PEOPLE.get(role, OWNER))
    told = []

    for priority in (5, 6, 9):
        row = new_wish({"team_id": None}, user_id=owner, priority=priority)
        told.append(outcome(world.ask(role, "POST", "rpc/create_video_jobs", {"jobs": [row]})))
        row = {"user_id": owner, "priority": priority}
        told.append(outcome(world.ask(role, "POST", "video_jobs", row)))

    refused = "allowed" if allowed else "not_allowed"
    assert told == ["allowed", "allowed", *[refused] * 4]


def test_one_job_above_the_cap_refuses_the_whole_batch(world):
    """The error says the highest priority, and none of the batch was made."""
    job = {"team_id": None}
    wishes = [new_wish(job, queue="batch"), new_wish(job, queue="batch", priority=6)]

    answer = world.ask("owner", "POST", "rpc/create_video_jobs", {"jobs": wishes})

    told = answer.json()
    assert (told["code"], told["message"]) == (
        "VJ005",
        "priority: signed-in users may ask for 5 at the most",
    )
    assert told["hint"] == "leave priority out, or create the job as a service"
    assert world.ask("service", "GET", "video_jobs?queue=eq.batch").json() == []


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("owner", ["updated", "not_allowed", "not_allowed"]),
        ("team_admin", ["updated", "not_allowed", "not_allowed"]),
        ("app_admin", ["updated", "not_allowed", "not_allowed"]),
        ("member", ["not_allowed", "not_allowed", "not_allowed"]),
        ("service", ["updated", "updated", "updated"]),
    ],
)
def test_a_bulk_updates_priority_is_capped_for_users(world, role, told):
    """Who may change the job may raise it to 5 and no further; services may go on to 9."""
    found = []

    for priority in (4, 6, 9):
        job = world.new_job("team")
        call = {"changes": {"priority": priority}, "job_ids": [job["id"]]}
        (answer,) = world.ask(role, "POST", "rpc/bulk_update_video_jobs", call).json()
        found.append(answer["outcome"])
        stored = world.stored(job)["priority"]
        assert stored == (priority if answer["outcome"] == "updated" else 5)
    assert found == told


def test_a_job_above_the_cap_can_still_be_changed_otherwise(world, sql):
    """A user may cancel what a service put before the others, and lower it, but not set it anew."""
    job = world.new_job("personal")
    sql.execute("update public.video_jobs set priority = 9 where id = %s", (job["id"],))

    found = [
        world.ask(
            "owner",
            "POST",
            "rpc/bulk_update_video_jobs",
            {"changes": changes, "job_ids": [job["id"]]},
        ).json()[0]["outcome"]
        for changes in (
            {"priority": 9},
            {"queue": "mine"},
            {"priority": 5},
            {"status": "cancelled"},
        )
    ]

    assert found == ["not_allowed", "updated", "updated", "updated"]


@pytest.mark.parametrize(
    ("highest", "told"), [(9, ["allowed"] * 3), (7, ["allowed", "allowed", "not_allowed"])]
)
def test_the_cap_is_a_setting(world, cap, highest, told):
    """A raised cap holds for creating and for changing from the next statement on."""
    cap(highest)
    job = world.new_job("personal")
    created, changed = [], []

    for priority in (6, 7, 9):
        row = {"priority": priority}
        call = {"changes": {"priority": priority}, "job_ids": [job["id"]]}
        created.append(outcome(world.ask("owner", "POST", "video_jobs", row)))
        changed.append(outcome(world.ask("owner", "POST", "rpc/bulk_update_video_jobs", call)))

    assert (created, changed) == (told, told)


# Tokens


def test_an_expired_token_is_refused(world, stack):
    """A token that ended ten minutes ago opens nothing."""
    token = stack.user_token(OWNER, expires_in=timedelta(minutes=-10))

    answer = world.ask_with(token, "GET", "video_jobs")

    assert answer.status_code == 401
    assert answer.json()["code"] == "PGRST301"


def test_a_token_signed_by_somebody_else_is_refused(world):
    """Claims of an admin and of the service, signed with another secret, open nothing."""
    forged = [
        jwt.encode({"sub": str(OWNER), "role": role, "exp": 4_102_444_800}, "x" * 64)
        for role in ("authenticated", "service_role")
    ]

    answers = [world.ask_with(token, "GET", "video_jobs") for token in forged]

    assert [answer.status_code for answer in answers] == [401, 401]


def test_a_token_without_a_signature_is_refused(world):
    """The algorithm "none" opens nothing."""
    token = jwt.encode({"sub": str(OWNER), "role": "service_role"}, None, algorithm="none")

    answer = world.ask_with(token, "GET", "video_jobs")

    assert answer.status_code == 401


def test_a_token_of_another_database_role_is_refused(world, stack):
    """Not even a well-signed token makes its bearer the owner of the database."""
    token = jwt.encode({"role": "postgres", "exp": 4_102_444_800}, stack.jwt_secret)

    answer = world.ask_with(token, "GET", "video_jobs")

    assert answer.status_code in {401, 403}
    assert answer.json()["code"] == "42501"


def test_a_token_of_nobody_sees_and_makes_nothing(world, stack):
    """A signed token that names no user has no jobs, and cannot create any, for anybody."""
    job = world.new_job("team")
    claims = {"role": "authenticated", "exp": 4_102_444_800}
    token = jwt.encode(claims, stack.jwt_secret)
    wishes = {"jobs": [new_wish(job, user_id=str(OWNER))]}

    seen = world.ask_with(token, "GET", "video_jobs")
    made = world.ask_with(token, "POST", "rpc/create_video_jobs", wishes)
    cancelled = world.ask_with(token, "POST", "rpc/cancel_video_job", {"job_id": job["id"]})

    assert seen.json() == []
    assert (outcome(made), outcome(cancelled)) == ("not_allowed", "not_found")


# The schema behind


@pytest.mark.parametrize("role", ["owner", "app_admin", "service"])
@pytest.mark.parametrize(
    "path",
    [
        "archived_jobs",
        "checkpoints",
        "leases",
        "leftovers",
        "limits",
        "settings",
        "tallies",
        "tally_changes",
        "transitions",
        "workers",
    ],
)
def test_the_internal_tables_cannot_be_reached(world, role, path):
    """PostgREST does not serve the schema videojobs, by its name or without it."""
    without_name = world.ask(role, "GET", path)
    by_name = world.ask_with(world.tokens[role], "GET", path, **{"Accept-Profile": "videojobs"})

    assert without_name.status_code == 404
    assert by_name.status_code == 406
    assert by_name.json()["code"] == "PGRST106"


@pytest.mark.parametrize("role", ["owner", "service"])
@pytest.mark.parametrize(
    "function",
    [
        "archive_jobs",
        "cancel_job",
        "change_job",
        "condition",
        "delete_jobs",
        "drop_months",
        "is_service",
        "reconcile_stats",
        "tallied",
    ],
)
def test_the_internal_functions_cannot_be_called(world, role, function):
    """PostgREST does not serve the functions of the schema videojobs."""
    without_name = world.ask(role, "POST", f"rpc/{function}", {})
    by_name = world.ask_with(
        world.tokens[role], "POST", f"rpc/{function}", {}, **{"Content-Profile": "videojobs"}
    )

    assert without_name.status_code == 404
    assert by_name.status_code == 406


# What a browser does


def test_a_row_inserted_by_a_browser_is_a_proper_job(world):
    """An insert as supabase-js sends it gives a queued job of the caller's, with its event, that a worker can claim."""
    row = {"source_url": "uploads/a.mp4", "queue": "browser", "clip_count": 3}

    (job,) = world.ask("owner", "POST", "video_jobs", row).json()

    events = world.ask("owner", "GET", f"video_job_events?job_id=eq.{job['id']}").json()
    claim = {"worker": "w", "claim_key": job["id"], "queues": ["browser"]}
    (lease,) = world.ask("service", "POST", "rpc/claim_video_jobs", claim).json()
    assert (job["user_id"], job["status"], job["run_token"]) == (str(OWNER), "queued", 0)
    assert [(event["type"], event["actor_id"]) for event in events] == [("created", str(OWNER))]
    assert lease["job"]["id"] == job["id"]


def test_a_browsers_upsert_can_create_and_cannot_change(world):
    """With "ignore-duplicates" the second insert does nothing; with "merge-duplicates" it is refused."""
    job = world.new_job("personal")
    row = {"id": job["id"], "priority": 9}
    token = world.tokens["owner"]

    ignored = world.ask_with(
        token, "POST", "video_jobs", row, Prefer="resolution=ignore-duplicates"
    )
    merged = world.ask_with(token, "POST", "video_jobs", row, Prefer="resolution=merge-duplicates")

    assert ignored.is_success
    assert outcome(merged) == "denied"
    assert world.stored(job) == job


# The same on a direct connection, where the role and the claims are set by hand


@pytest.mark.parametrize("role", _USERS)
def test_policies_hold_on_a_direct_connection(world, role):
    """Without PostgREST, a user's rows are their own, their teams' and, for an admin, all."""
    world.new_job("personal")
    world.new_job("team")

    (seen,) = world.as_role(role, "select count(*) from public.video_jobs")

    assert (
        seen
        == {
            "owner": (2,),
            "other": (0,),
            "member": (1,),
            "team_admin": (1,),
            "app_admin": (2,),
            "pretender": (0,),
        }[role]
    )


@pytest.mark.parametrize("role", ["anon", *_USERS])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from videojobs.leases",
        "select * from videojobs.settings",
        "select * from videojobs.limits",
        "select * from videojobs.workers",
        "select * from videojobs.tallies",
        "select * from videojobs.tally_changes",
        "select * from videojobs.pending_tallies",
        "select * from videojobs.archived_tallies",
        "select * from videojobs.archived_jobs_other",
        "select * from videojobs.video_job_events_other",
        "insert into videojobs.tally_changes (user_id, queue, pipeline, created_on) "
        "values ('00000000-0000-4000-8000-000000000001', 'q', 'p', now())",
        "delete from videojobs.archived_jobs",
        "select videojobs.archive_jobs('failed', '0', 1)",
        "select videojobs.drop_months('events', 'infinity')",
        "select videojobs.fold_tallies()",
        "select videojobs.make_partitions()",
        "select videojobs.reconcile_stats(true)",
        "select videojobs.schedule_upkeep()",
        "select * from videojobs.memberships('00000000-0000-4000-8000-000000000001')",
        "select videojobs.lease_jobs(array[]::uuid[], 'w', gen_random_uuid(), 60, null)",
        "select videojobs.end_attempt(null, 'completed')",
        "select * from public.claim_video_jobs('w', gen_random_uuid())",
        "select nextval('public.video_jobs_seq_seq')",
        "update public.video_jobs set status = 'completed' returning 1",
        "truncate public.video_jobs",
    ],
)
def test_internals_are_closed_on_a_direct_connection(world, role, statement):
    """Without PostgREST, no user reads leases, becomes a worker or writes a row."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        world.as_role(role, statement)


@pytest.mark.parametrize("role", ["other", "member", "team_admin", "pretender"])
@pytest.mark.parametrize(
    "changes", ['{"priority": 9}', '{"queue": "mine"}', '{"status": "cancelled"}']
)
def test_a_stranger_cannot_change_a_job_behind_the_api(world, role, changes):
    """The definer function under the bulk update finds no job for who may not see it, a team's admin included."""
    job = world.new_job("personal")

    ((told, status),) = world.as_role(
        role, "select outcome, status from videojobs.change_job(%s, %s, false)", job["id"], changes
    )

    assert (told, status) == ("not_found", None)
    assert world.stored(job) == job


@pytest.mark.parametrize("role", ["owner", "other", "member", "team_admin", "pretender"])
def test_the_right_to_change_is_never_unknown(world, role):
    """It is true or false and never NULL, which "if not ..." would let pass."""
    query = """
        select videojobs.may_change(whose.user_id, whose.team_id)
        from (values (null::uuid, null::uuid), (%s, null), (null, %s)) whose (user_id, team_id)
    """

    answers = world.as_role(role, query, OTHER, TEAM)

    assert {answer for (answer,) in answers} <= {True, False}


# Grants


CALLABLE = {
    "anon": "",
    "authenticated": """
        public.bulk_update_video_jobs
        public.cancel_video_job
        public.clear_video_jobs
        public.create_video_jobs
        public.delete_video_job
        public.get_video_job
        public.get_video_job_place
        public.get_video_job_sight
        public.get_video_job_stats
        public.get_video_job_times
        public.list_video_job_events
        public.list_video_jobs
        public.retry_video_job
        videojobs.archived_job
        videojobs.are_readable_settings
        videojobs.are_seconds_within_a_week
        videojobs.are_short_texts
        videojobs.cancel_job
        videojobs.change_job
        videojobs.check_owners
        videojobs.condition
        videojobs.delete_job
        videojobs.delete_jobs
        videojobs.find_jobs
        videojobs.is_admin
        videojobs.is_service
        videojobs.job_of_wish
        videojobs.job_place
        videojobs.may_change
        videojobs.my_admin_team_ids
        videojobs.my_team_ids
        videojobs.my_topics
        videojobs.retry_job
        videojobs.tallied
        videojobs.uuid7
    """,
    "service_role": """
        public.add_video_job_webhook
        public.archive_video_jobs
        public.bulk_update_video_jobs
        public.cancel_video_job
        public.check_video_jobs
        public.claim_video_job_leftovers
        public.claim_video_job_webhooks
        public.claim_video_jobs
        public.clear_video_jobs
        public.complete_video_job
        public.configure_video_jobs
        public.confirm_video_job_cancel
        public.create_video_jobs
        public.delete_video_job
        public.diagnose_video_jobs
        public.drain_video_job_worker
        public.fail_video_job
        public.find_stuck_video_jobs
        public.get_video_job
        public.get_video_job_place
        public.get_video_job_sight
        public.get_video_job_stats
        public.get_video_job_times
        public.heartbeat_video_jobs
        public.list_video_job_events
        public.list_video_job_teams
        public.list_video_job_waits
        public.list_video_job_webhook_deliveries
        public.list_video_job_webhooks
        public.list_video_job_workers
        public.list_video_jobs
        public.log_video_job
        public.maintain_video_jobs
        public.probe_video_job_rows
        public.read_video_job_changes
        public.reconcile_video_job_stats
        public.recover_video_jobs
        public.release_video_job
        public.remove_video_job_webhook
        public.remove_video_job_worker
        public.retry_video_job
        public.send_video_job_webhook
        public.set_video_job_limit
        public.set_video_job_queue
        public.settle_video_job_leftovers
        public.settle_video_job_webhook
        public.settle_video_jobs
        public.start_video_job
        public.update_video_job_status
        videojobs.archive_jobs
        videojobs.archived_job
        videojobs.are_readable_settings
        videojobs.are_seconds_within_a_week
        videojobs.are_short_texts
        videojobs.cancel_job
        videojobs.change_job
        videojobs.changes_since
        videojobs.check_owners
        videojobs.choose_jobs
        videojobs.choose_within_limits
        videojobs.claim_jobs
        videojobs.claim_ready
        videojobs.complete_attempts
        videojobs.condition
        videojobs.delete_job
        videojobs.delete_jobs
        videojobs.diagnosis
        videojobs.drop_months
        videojobs.end_attempt
        videojobs.end_turn
        videojobs.find_jobs
        videojobs.fold_tallies
        videojobs.forget_deleted_jobs
        videojobs.give_up_lease
        videojobs.is_admin
        videojobs.is_being_made
        videojobs.is_fair
        videojobs.is_service
        videojobs.is_wanted
        videojobs.job_of_wish
        videojobs.job_place
        videojobs.job_to_change
        videojobs.lease_jobs
        videojobs.leases_of_claim
        videojobs.live_workers
        videojobs.lock_of_limit
        videojobs.make_partitions
        videojobs.may_change
        videojobs.may_see
        videojobs.my_admin_team_ids
        videojobs.my_team_ids
        videojobs.my_topics
        videojobs.queued_pipelines
        videojobs.reconcile_stats
        videojobs.refuse_transition
        videojobs.retry_delay
        videojobs.retry_job
        videojobs.room
        videojobs.schema_version
        videojobs.segments_left
        videojobs.settled_before
        videojobs.split_job
        videojobs.tallied
        videojobs.teams_of
        videojobs.tenants_in_turn
        videojobs.tidy_webhooks
        videojobs.uuid7
        videojobs.waiting
    """,
}

# A month's table stands for those of all months.
RELATIONS = """
relation                           anon  authenticated  service_role
public.archived_video_jobs         -     select         select
public.team_members                -     select         select,insert,update,delete
public.teams                       -     select         select,insert,update,delete
public.video_job_events            -     select         select,insert,delete
public.video_jobs                  -     select         select,insert,update,delete
videojobs.archived_jobs            -     select         select,insert,delete
videojobs.archived_jobs_MONTH      -     -              -
videojobs.archived_jobs_other      -     -              -
videojobs.archived_tallies         -     -              -
videojobs.change_feed              -     -              -
videojobs.checkpoints              -     -              select,insert,update,delete
videojobs.deleted_jobs             -     -              -
videojobs.job_measures             -     select         select
videojobs.leases                   -     -              select,insert,update,delete
videojobs.leftovers                -     -              select,insert,update,delete
videojobs.limits                   -     -              select,insert,update,delete
videojobs.pending_tallies          -     -              select
videojobs.queues                   -     -              select,insert,update,delete
videojobs.settings                 -     -              select,update
videojobs.tallies                  -     -              select
videojobs.tally_changes            -     -              select,insert
videojobs.transitions              -     -              select
videojobs.turns                    -     -              select,insert,update,delete
videojobs.video_job_events_MONTH   -     -              -
videojobs.video_job_events_other   -     -              -
videojobs.webhook_deliveries       -     -              select,insert,update,delete
videojobs.webhook_endpoints        -     -              select,insert,update,delete
videojobs.workers                  -     -              select,insert,update,delete
"""


@pytest.mark.parametrize("role", CALLABLE)
def test_every_function_is_granted_to_whom_it_is_meant_for(sql, role):
    """A role can call the functions of this list and no other: a new one must be decided on here."""
    functions = sql.execute(
        """
        select p.pronamespace::regnamespace || '.' || p.proname as name
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, 'videojobs'::regnamespace)
          and has_function_privilege(%s, p.oid, 'execute')
        """,
        (role,),
    )

    names = sorted(row["name"] for row in functions)

    assert names == CALLABLE[role].split()


def test_every_table_is_granted_to_whom_it_is_meant_for(sql):
    """A role has the rights of this list on whole tables and no other: a new table must be decided on here."""
    tables = sql.execute(
        """
        select
          c.relnamespace::regnamespace || '.' || regexp_replace(c.relname, '_[0-9]{4}_[0-9]{2}$', '_MONTH') as relation,
          role.name as role,
          array_agg(distinct granted.rights) as granted
        from pg_class c
        cross join unnest(array['anon', 'authenticated', 'service_role']) role (name)
        cross join lateral (
          select coalesce(string_agg(wish.name, ',' order by wish.position)
            filter (where has_table_privilege(role.name, c.oid, wish.name)), '-')
          from unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'])
            with ordinality wish (name, position)
        ) granted (rights)
        where c.relnamespace in ('public'::regnamespace, 'videojobs'::regnamespace) and c.relkind in ('r', 'v', 'm', 'f', 'p')
        group by 1, 2
        """
    )

    found = {(row["relation"], row["role"]): row["granted"] for row in tables}

    assert found == {
        (line["relation"], role): [line[role]]
        for line in rows_of(RELATIONS)
        for role in ("anon", "authenticated", "service_role")
    }


def test_nobody_has_rights_on_sequences(sql):
    """The counters behind the identity columns are nobody's to read or to set."""
    granted = sql.execute(
        """
        select c.oid::regclass::text, role, wish
        from pg_class c,
          unnest(array['anon', 'authenticated', 'service_role']) role,
          unnest(array['usage', 'select', 'update']) wish
        where c.relnamespace in ('public'::regnamespace, 'videojobs'::regnamespace)
          and case when c.relkind = 'S' then has_sequence_privilege(role, c.oid, wish) end
        """
    ).fetchall()

    assert granted == []


def test_no_definer_function_can_be_called_through_the_api(sql):
    """The schema public holds no SECURITY DEFINER function (the linter's 0028 and 0029, which the CLI lacks)."""
    found = sql.execute(
        "select proname from pg_proc where pronamespace = 'public'::regnamespace and prosecdef"
    ).fetchall()

    assert found == []


def test_every_function_has_an_empty_search_path(sql):
    """No function of ours can be led to objects of another schema."""
    found = sql.execute(
        """
        select p.oid::regprocedure::text
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, 'videojobs'::regnamespace)
          and not coalesce('search_path=""' = any (p.proconfig), false)
        """
    ).fetchall()

    assert found == []


def test_every_public_table_has_row_level_security(sql):
    """No table that PostgREST serves is without policies."""
    found = sql.execute(
        """
        select c.relname from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity
        """
    ).fetchall()

    assert found == []


def test_the_service_role_passes_the_policies(sql):
    """service_role bypasses row level security, without which workers would see no job."""
    row = sql.execute("select rolbypassrls from pg_roles where rolname = 'service_role'").fetchone()

    assert row == {"rolbypassrls": True}
