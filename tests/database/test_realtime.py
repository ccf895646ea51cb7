"""Broadcasts where Supabase Realtime is; nothing where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import realtime_server
from videojobs.migrations import migrate

ADA = "00000000-0000-4000-8000-00000000000a"
BOB = "00000000-0000-4000-8000-00000000000b"
EVE = "00000000-0000-4000-8000-00000000000e"
TEAM = "00000000-0000-4000-8000-0000000000f0"

MESSAGES = (
    "select topic, event, payload, private from realtime.messages order by inserted_at, topic"
)

Sql = psycopg.Connection[dict[str, Any]]
VERSIONS = pytest.mark.parametrize("version", [15, 18])


@pytest.fixture
def with_realtime(new_database: Callable[[int], str]) -> Iterator[Callable[[int], Sql]]:
    """A database that had Realtime before our migrations, and a team with Ada in it."""
    opened: list[Sql] = []

    def make(version: int, *, later: bool = False) -> Sql:
        url = new_database(version)
        sql = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        opened.append(sql)
        if not later:
            sql.execute(realtime_server.SCHEMA)
        migrate(url)
        if later:
            sql.execute(realtime_server.SCHEMA)
        sql.execute("insert into public.teams (id, name) values (%s, 'Crew')", [TEAM])
        sql.execute(
            "insert into public.team_members (team_id, user_id) values (%s, %s)", [TEAM, ADA]
        )
        return sql

    yield make
    for sql in opened:
        sql.close()


def told(sql: Sql, services: bool = False) -> list[tuple[str, str, Any]]:
    """Topic, event and message of all broadcasts so far to people, or to services; all are then forgotten."""
    rows = sql.execute(MESSAGES).fetchall()
    sql.execute("truncate realtime.messages")
    assert all(row["private"] for row in rows)
    return [
        (row["topic"], row["event"], row["payload"])
        for row in rows
        if row["topic"].startswith("videojobs:service:") is services
    ]


def called(sql: Sql) -> list[tuple[str, list[str]]]:
    """The channels of services that were called so far, and the names."""
    messages = told(sql, services=True)
    assert {event for _, event, _ in messages} <= {"called"}
    return [
        (topic.removeprefix("videojobs:service:"), message["names"])
        for topic, _, message in messages
    ]


def new_job(sql: Sql, team: str | None = None) -> str:
    """A job of Ada's."""
    query = "insert into public.video_jobs (user_id, team_id) values (%s, %s) returning id"
    row = sql.execute(query, [ADA, team]).fetchone()
    assert row is not None
    return str(row["id"])


@VERSIONS
def test_the_life_of_a_job_is_broadcast_to_its_owner_and_team(with_realtime, version: int):
    """Creation, status and every five percent; id, status and progress, and nothing else."""
    sql = with_realtime(version)
    job = new_job(sql, TEAM)
    created = told(sql)
    sql.execute("select public.start_video_job(%s, 'w', gen_random_uuid())", [job])
    told(sql)
    for progress in (1, 4, 6, 7, 11):
        beats = json.dumps([{"job_id": job, "run_token": 1, "progress": progress}])
        sql.execute("select public.heartbeat_video_jobs(%s)", [beats])
    moved = [message["progress"] for topic, _, message in told(sql) if ":user:" in topic]
    sql.execute("select public.complete_video_job(%s, 1)", [job])
    completed = told(sql)
    sql.execute("select public.delete_video_job(%s)", [job])

    message = {"id": job, "status": "queued", "progress": 0}
    topics = [f"videojobs:team:{TEAM}", f"videojobs:user:{ADA}"]
    assert created == [(topic, "job.changed", message) for topic in topics]
    assert moved == [6, 11]
    assert [m["status"] for _, _, m in completed] == ["completed"] * 2
    assert [event for _, event, _ in told(sql)] == ["job.deleted"] * 2


def test_many_at_once_are_one_message(with_realtime):
    """Of a thousand new jobs the owner hears once: to read anew."""
    sql = with_realtime(18)

    sql.execute(
        "insert into public.video_jobs (user_id) select %s from generate_series(1, 1000)", [ADA]
    )

    assert told(sql) == [(f"videojobs:user:{ADA}", "jobs.reset", {"jobs": 1000})]


@VERSIONS
def test_services_are_called(with_realtime, version: int):
    """Of new jobs and of changes; and workers of jobs in their queue and of cancels."""
    sql = with_realtime(version)
    job = new_job(sql)
    created = called(sql)
    sql.execute("select public.start_video_job(%s, 'w', gen_random_uuid())", [job])
    started = called(sql)
    sql.execute("select public.cancel_video_job(%s)", [job])
    cancelled = called(sql)
    sql.execute("select public.confirm_video_job_cancel(%s, 1)", [job])
    sql.execute("select public.retry_video_job(%s)", [job])
    retried = called(sql)
    sql.execute(
        "insert into public.video_jobs (user_id) select %s from generate_series(1, 99)", [ADA]
    )
    many = called(sql)
    sql.execute("select public.claim_video_jobs('w', gen_random_uuid(), job_limit => 50)")
    claimed = called(sql)
    sql.execute("select count(*) from public.video_jobs j, lateral public.cancel_video_job(j.id) c")
    cancelled_many = called(sql)
    sql.execute("delete from public.video_jobs where status = 'cancelled'")

    assert sorted(created) == [("changes", [job]), ("queue", ["default"])]
    assert started == [("changes", [job])]
    assert sorted(cancelled) == [("changes", [job]), ("queue", ["w"])]
    assert sorted(retried) == [("changes", [job]), ("changes", [job]), ("queue", ["default"])]
    assert sorted(many) == [("changes", []), ("queue", ["default"])]
    assert called(sql) == [("changes", [])]
    assert claimed == [("changes", [])]
    assert ("queue", ["w"]) in cancelled_many


def test_a_queue_is_called_once_for_a_transaction(with_realtime):
    """However many of its jobs get ready, of however many owners, and in however many statements."""
    sql = with_realtime(18)
    with sql.transaction():
        for _ in "ab":
            sql.execute(
                "insert into public.video_jobs (user_id, queue) "
                "select gen_random_uuid(), 'q' || n % 2 from generate_series(1, 100) n"
            )

    queues = [names for channel, names in called(sql) if channel == "queue"]
    assert sorted(queues) == [["q0"], ["q1"]]


def test_many_changes_are_one_message_to_an_owner(with_realtime):
    """Not one for each job."""
    sql = with_realtime(18)
    sql.execute(
        "insert into public.video_jobs (user_id) select %s from generate_series(1, 50)", [ADA]
    )
    told(sql)
    sql.execute("select public.claim_video_jobs('w', gen_random_uuid(), job_limit => 50)")

    assert told(sql) == [(f"videojobs:user:{ADA}", "jobs.reset", {"jobs": 50})]


def test_senders_of_webhooks_are_called(with_realtime):
    """Once there is something to send."""
    sql = with_realtime(18)
    sql.execute(
        "select public.add_video_job_webhook(gen_random_uuid(), 'standard', 'https://example.com', "
        "'https://example.com', 'whsec_' || repeat('A', 32), '{job.cancelled}')"
    )
    job = new_job(sql)
    before = called(sql)
    sql.execute("select public.cancel_video_job(%s)", [job])

    assert [channel for channel, _ in before if channel == "webhooks"] == []
    assert ("webhooks", []) in called(sql)


def test_services_are_called_no_more_where_the_settings_say_so(with_realtime):
    """The same settings spare a busy database the NOTIFYs."""
    sql = with_realtime(18)
    sql.execute("update videojobs.settings set announces_changes = false, queue_wakeups = 'off'")
    job = new_job(sql)
    sql.execute("select public.start_video_job(%s, 'w', gen_random_uuid())", [job])

    assert called(sql) == []


@pytest.mark.parametrize(
    ("user", "topic", "hears"),
    [
        (ADA, f"videojobs:user:{ADA}", True),
        (ADA, f"videojobs:team:{TEAM}", True),
        (EVE, f"videojobs:user:{ADA}", False),
        (EVE, f"videojobs:team:{TEAM}", False),
        (EVE, f"videojobs:user:{EVE}", True),
        (None, f"videojobs:user:{ADA}", False),
        (ADA, "videojobs:service:changes", False),
        (ADA, "videojobs:service:queue", False),
    ],
)
def test_only_owner_and_team_may_join_a_channel(
    with_realtime, user: str | None, topic: str, hears: bool
):
    """Realtime asks the policy, of a message of its own, whether a user may read the topic he joins."""
    sql = with_realtime(18)
    new_job(sql, TEAM)
    with sql.transaction():
        sql.execute("set local role authenticated")
        claims = json.dumps({"sub": user, "role": "authenticated"} if user else {})
        sql.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        sql.execute("select set_config('realtime.topic', %s, true)", [topic])
        rows = sql.execute("select topic from realtime.messages").fetchall()

    assert bool(rows) is hears


@pytest.mark.parametrize(
    "harm",
    [
        "drop function realtime.send(jsonb, text, text, boolean)",
        "drop table realtime.messages cascade",
        "create or replace function realtime.send(payload jsonb, event text, topic text, "
        "private boolean default true) returns void language plpgsql "
        "as $$ begin raise exception 'away'; end $$",
    ],
)
def test_a_broken_realtime_breaks_no_job(with_realtime, harm: str):
    """Whatever is wrong with it, jobs are created, run and deleted."""
    sql = with_realtime(18)
    sql.execute(harm)

    job = new_job(sql, TEAM)
    sql.execute("select public.start_video_job(%s, 'w', gen_random_uuid())", [job])
    sql.execute("select public.complete_video_job(%s, 1)", [job])
    sql.execute("select public.delete_video_job(%s)", [job])

    assert sql.execute("select from public.video_jobs").fetchall() == []


def test_a_busy_realtime_keeps_no_job_waiting(with_realtime):
    """While its table is locked, as when its partitions are made, a job ends well within a timeout."""
    sql = with_realtime(18)
    job = new_job(sql, TEAM)
    sql.execute("set statement_timeout = '4s'")
    with psycopg.connect(sql.info.dsn, password=sql.info.password) as other:
        other.execute("lock table realtime.messages in access exclusive mode")

        sql.execute("select public.start_video_job(%s, 'w', gen_random_uuid())", [job])
        sql.execute("select public.complete_video_job(%s, 1)", [job])

    row = sql.execute("select status::text from public.video_jobs").fetchone()
    assert row == {"status": "completed"}


def test_a_busy_realtime_keeps_many_jobs_waiting_no_longer_than_one(with_realtime):
    """Of many owners, in many queues: a transaction waits for it once."""
    sql = with_realtime(18)
    sql.execute("set statement_timeout = '4s'")
    with psycopg.connect(sql.info.dsn, password=sql.info.password) as other:
        other.execute("lock table realtime.messages in access exclusive mode")

        sql.execute(
            "insert into public.video_jobs (user_id, queue) "
            "select gen_random_uuid(), 'q' || n from generate_series(1, 40) n"
        )

    row = sql.execute("select count(*) as jobs from public.video_jobs").fetchone()
    assert row == {"jobs": 40}


@VERSIONS
def test_it_can_be_switched_on_later_and_off_again(with_realtime, version: int):
    """Without Realtime nothing is sent; after installing it, one call does; repeating it is harmless."""
    sql = with_realtime(version, later=True)
    new_job(sql)
    before = told(sql)
    enabled = [sql.execute("select videojobs.enable_realtime() as is_on").fetchone() for _ in "ab"]
    new_job(sql)
    after = told(sql)
    sql.execute("select videojobs.disable_realtime()")
    new_job(sql)

    assert (before, told(sql)) == ([], [])
    assert enabled == [{"is_on": True}] * 2
    assert len(after) == 1


def test_without_realtime_there_is_no_trigger(sql: Sql):
    """And so no cost."""
    rows = sql.execute(
        "select tgname from pg_trigger where tgname ~ '_(broadcast|call)_'"
    ).fetchall()

    assert rows == []
    assert sql.execute("select videojobs.enable_realtime() as is_on").fetchone() == {"is_on": False}
