"""Workers are seen, hear orders with their heartbeats, leave, and write into the history of their jobs."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

USER = UUID("00000000-0000-4000-8000-000000000001")
NOBODY = UUID("00000000-0000-4000-8000-00000000dead")


def beat(
    sql, worker: str | None = "worker-1", beats: list | None = None, facts: dict | None = None
) -> list[dict]:
    """Send a heartbeat and return its answer."""
    return sql.execute(
        "select verdict, drain from public.heartbeat_video_jobs(%s, 60, %s, %s)",
        (Jsonb(beats or []), worker, Jsonb(facts) if facts is not None else None),
    ).fetchall()


def workers(sql) -> list[dict]:
    """Return the workers as operators see them."""
    return sql.execute("select * from public.list_video_job_workers()").fetchall()


def claimed(sql, worker: str = "worker-1", **columns) -> dict:
    """Store a job, let the worker claim it, and return its part of a beat."""
    names = ", ".join(["user_id", *columns])
    values = [USER, *columns.values()]
    sql.execute(
        f"insert into public.video_jobs ({names}) values ({', '.join(['%s'] * len(values))})",
        values,
    )
    row = sql.execute(
        "select job ->> 'id' as job_id, run_token from public.claim_video_jobs(%s, gen_random_uuid())",
        (worker,),
    ).fetchone()
    return dict(row)


def drain(sql, worker: str = "worker-1") -> bool:
    """Order the worker to drain, and return whether it is known."""
    return sql.execute(
        "select drained from public.drain_video_job_worker(%s)", (worker,)
    ).fetchone()["drained"]


def seen_ago(sql, interval: str) -> None:
    """Let all workers have been seen so long ago."""
    sql.execute("update videojobs.workers set seen_at = now() - %s::interval", (interval,))


# Presence


def test_a_first_beat_makes_a_worker_known(sql):
    """Its name, its facts and since when it is there; it runs nothing and has no orders."""
    answer = beat(sql, facts={"host": "studio-1"})

    (worker,) = workers(sql)
    assert answer == []
    assert (worker["worker_id"], worker["facts"]) == ("worker-1", {"host": "studio-1"})
    assert worker["seen_at"] >= worker["started_at"]
    assert (worker["drain_requested_at"], worker["running"]) == (None, [])


def test_presence_is_refreshed_once_a_minute(sql):
    """A beat soon after the last one writes nothing; a minute later it does. Facts stay."""
    beat(sql, facts={"host": "studio-1"})
    seen_ago(sql, "50 seconds")
    (soon,) = workers(sql)

    beat(sql)
    (unchanged,) = workers(sql)
    seen_ago(sql, "70 seconds")
    beat(sql)
    (refreshed,) = workers(sql)

    assert unchanged == soon
    assert refreshed["seen_at"] > soon["seen_at"]
    assert refreshed["facts"] == {"host": "studio-1"}


def test_new_facts_are_written_at_once(sql):
    """What a worker says of itself replaces what it said before."""
    beat(sql, facts={"host": "studio-1", "slots": 2})

    beat(sql, facts={"slots": 4})

    (worker,) = workers(sql)
    assert worker["facts"] == {"slots": 4}


def test_without_its_name_a_beat_makes_nobody_known(sql):
    """Older clients send no name: they keep their leases and are not seen."""
    held = claimed(sql)

    answer = beat(sql, None, [held])

    assert answer == [{"verdict": "ok", "drain": False}]
    assert sql.execute("select from videojobs.workers").fetchall() == []


def test_the_list_shows_what_each_runs(sql):
    """Workers that were never seen are in it if they hold a job."""
    first, second = claimed(sql), claimed(sql, "worker-2")
    beat(sql, "worker-3")
    beat(sql, "worker-1", [first])

    listed = workers(sql)

    assert [(row["worker_id"], row["seen_at"] is not None) for row in listed] == [
        ("worker-1", True),
        ("worker-2", False),
        ("worker-3", True),
    ]
    assert [[run["job_id"] for run in row["running"]] for row in listed] == [
        [first["job_id"]],
        [second["job_id"]],
        [],
    ]
    assert listed[0]["running"][0].keys() == {"job_id", "run_token", "claimed_at", "expires_at"}


# Drain


def test_the_order_to_drain_comes_with_every_answer(sql):
    """It stands beside the verdict of each job that the worker runs, until the worker has gone."""
    first, second = claimed(sql), claimed(sql)
    before = beat(sql, beats=[first, second])

    assert drain(sql)

    after = [beat(sql, beats=[first, second]) for _ in range(2)]
    assert before == [{"verdict": "ok", "drain": False}] * 2
    assert after == [[{"verdict": "ok", "drain": True}] * 2] * 2


def test_a_worker_without_jobs_hears_the_order_too(sql):
    """In one row without a job."""
    beat(sql)
    drain(sql)

    row = sql.execute("select * from public.heartbeat_video_jobs('[]', 60, 'worker-1')").fetchall()

    assert row == [
        {"job_id": None, "run_token": None, "verdict": "ok", "expires_at": None, "drain": True}
    ]


def test_only_the_named_worker_is_drained(sql):
    """The others go on."""
    held = claimed(sql, "worker-2")
    beat(sql)
    drain(sql)

    assert beat(sql, "worker-2", [held]) == [{"verdict": "ok", "drain": False}]
    assert beat(sql, "worker-2") == []


def test_an_unknown_worker_cannot_be_drained(sql):
    """The answer says so, and nobody is made known by it."""
    assert drain(sql, "nobody") is False
    assert workers(sql) == []


def test_a_repeated_order_keeps_its_time(sql):
    """The second order is the first one."""
    beat(sql)
    drain(sql)
    (first,) = workers(sql)

    drain(sql)

    assert workers(sql) == [first]


def test_a_drained_worker_keeps_its_order_with_its_facts(sql):
    """Neither a later beat nor new facts take the order back."""
    beat(sql)
    drain(sql)
    seen_ago(sql, "1 hour")

    answer = beat(sql, facts={"slots": 1})

    (worker,) = workers(sql)
    assert answer == [{"verdict": "ok", "drain": True}]
    assert worker["drain_requested_at"] is not None


def test_the_order_calls_the_worker_by_its_name(sql, database):
    """A worker that listens hears of it at once."""
    beat(sql)
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute("listen videojobs_queue")

        drain(sql)

        (notice,) = listener.notifies(timeout=10, stop_after=1)
    assert notice.payload == "worker-1"


# Goodbye


def test_a_worker_that_says_goodbye_is_gone(sql):
    """With its order; the same name that comes again is a new worker."""
    beat(sql)
    drain(sql)

    removed = [
        sql.execute("select removed from public.remove_video_job_worker('worker-1')").fetchone()[
            "removed"
        ]
        for _ in range(2)
    ]

    assert removed == [True, False]
    assert workers(sql) == []
    assert beat(sql, beats=[claimed(sql)]) == [{"verdict": "ok", "drain": False}]


def test_goodbye_leaves_the_jobs_that_it_still_holds(sql):
    """They are its until their leases end."""
    beat(sql)
    held = claimed(sql)

    sql.execute("select public.remove_video_job_worker('worker-1')")

    (worker,) = workers(sql)
    assert [run["job_id"] for run in worker["running"]] == [held["job_id"]]


@pytest.mark.parametrize(
    ("interval", "left"), [("23 hours 59 minutes", 1), ("24 hours 1 minute", 0)]
)
def test_the_upkeep_forgets_workers_after_a_day(sql, interval, left):
    """One that was not seen for a day is gone."""
    beat(sql)
    seen_ago(sql, interval)

    sql.execute("select public.maintain_video_jobs()")

    assert len(workers(sql)) == left


def test_the_upkeep_keeps_workers_that_hold_jobs(sql):
    """However long they were not seen, as long as they have a lease."""
    beat(sql)
    claimed(sql)
    seen_ago(sql, "3 days")

    sql.execute("select public.maintain_video_jobs()")

    (worker,) = workers(sql)
    assert worker["seen_at"] is not None


# Notes


def note(
    sql, held: dict, message: str | None = "half of it is done", detail: dict | None = None
) -> str:
    """Write a note as the holder would, and return the verdict."""
    return sql.execute(
        "select verdict from public.log_video_job(%s, %s, %s, %s)",
        (held["job_id"], held["run_token"], message, Jsonb(detail or {})),
    ).fetchone()["verdict"]


def notes(sql) -> list[dict]:
    """Return the notes of all jobs."""
    return sql.execute(
        "select type, run_token, worker_id, data from public.video_job_events where type = 'logged' order by id"
    ).fetchall()


def test_the_holder_writes_a_note(sql):
    """It stands in the history with the attempt, the worker and what the worker told."""
    held = claimed(sql)

    verdict = note(sql, held, detail={"frame": 250})

    assert verdict == "ok"
    assert notes(sql) == [
        {
            "type": "logged",
            "run_token": 1,
            "worker_id": "worker-1",
            "data": {"frame": 250, "message": "half of it is done"},
        }
    ]


def test_a_note_changes_nothing_else(sql):
    """Neither the job nor its lease."""
    held = claimed(sql)
    query = "select to_jsonb(j) as job, to_jsonb(l) as lease from public.video_jobs j join videojobs.leases l on l.job_id = j.id"
    before = sql.execute(query).fetchone()

    note(sql, held)

    assert sql.execute(query).fetchone() == before


def test_a_note_tells_that_the_job_shall_stop(sql):
    """It is written all the same."""
    held = claimed(sql)
    sql.execute("select public.cancel_video_job(%s)", (held["job_id"],))

    assert note(sql, held) == "cancel_requested"
    assert len(notes(sql)) == 1


def test_a_worker_that_lost_the_job_writes_nothing(sql):
    """Its attempt was taken back and another one runs: the note would be about the wrong attempt."""
    zombie = claimed(sql)
    sql.execute(
        "update videojobs.leases set claimed_at = now() - interval '1 hour', expires_at = now() - interval '1 second'"
    )
    sql.execute("select public.claim_video_jobs('worker-2', gen_random_uuid())")

    assert note(sql, zombie) == "lost"
    assert notes(sql) == []


@pytest.mark.parametrize(
    "settle", ["complete_video_job", "fail_video_job", "confirm_video_job_cancel"]
)
def test_a_settled_attempt_writes_nothing(sql, settle):
    """The attempt is over, and so is its story."""
    held = claimed(sql, max_attempts=1)
    sql.execute(f"select public.{settle}(%s, %s)", (held["job_id"], held["run_token"]))

    assert note(sql, held) == "final"
    assert notes(sql) == []


def test_a_note_on_no_job_is_lost(sql):
    """Nothing holds what is not there."""
    assert note(sql, {"job_id": NOBODY, "run_token": 1}) == "lost"
    assert notes(sql) == []


def test_a_long_message_is_cut(sql):
    """At four thousand characters."""
    held = claimed(sql)

    note(sql, held, "é" * 5_000)

    assert notes(sql)[0]["data"] == {"message": "é" * 4_000}


@pytest.mark.parametrize(
    "detail", [{"text": "x" * 16_384}, ["a", "list"], "a text"], ids=["large", "list", "text"]
)
def test_a_detail_is_an_object_of_up_to_16_kb(sql, detail):
    """Anything else is refused, whoever holds the job."""
    held = claimed(sql)

    with pytest.raises(psycopg.Error, match="detail: an object of up to 16 kB") as caught:
        note(sql, held, detail=detail)

    assert caught.value.sqlstate == "VJ004"
    assert notes(sql) == []


def test_a_detail_of_16_kb_is_taken(sql):
    """The bound itself belongs to it."""
    held = claimed(sql)

    verdict = note(sql, held, detail={"text": "x" * (16_384 - len('{"text": ""}'))})

    assert verdict == "ok"


def test_the_message_of_a_note_is_its_own(sql):
    """A detail's own "message" gives way to the note's."""
    held = claimed(sql)

    note(sql, held, "the note", {"message": "the detail"})

    assert notes(sql)[0]["data"] == {"message": "the note"}
