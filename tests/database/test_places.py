"""Where a job stands, and for how long queues have been waiting."""

from __future__ import annotations

from uuid import UUID

import pytest

USER = UUID("00000000-0000-4000-8000-000000000001")


def queued(sql, **columns) -> UUID:
    """Store a queued job."""
    names = ", ".join(["user_id", *columns])
    values = [USER, *columns.values()]
    marks = ", ".join(["%s"] * len(values))
    row = sql.execute(
        f"insert into public.video_jobs ({names}) values ({marks}) returning id", values
    ).fetchone()
    return row["id"]


def place(sql, job_id: UUID) -> dict | None:
    """Where it stands."""
    return sql.execute("select * from public.get_video_job_place(%s)", [job_id]).fetchone()


def test_due_jobs_of_higher_priority_and_older_ones_are_ahead(sql):
    """Whatever their pipeline; later ones, other queues' and those that are not due are not."""
    queued(sql, priority=8, pipeline="hls")
    queued(sql, priority=9, run_at="2999-01-01")
    queued(sql, priority=5, pipeline="renditions")
    queued(sql, priority=9, queue="bulk")
    queued(sql, priority=1)
    mine = queued(sql, priority=5)
    queued(sql, priority=5)
    queued(sql, priority=8)

    found = place(sql, mine)

    assert (found["jobs_ahead"], found["is_exact"], found["is_due"]) == (3, True, True)


def test_a_job_that_is_not_due_stands_behind_all_that_come_before(sql):
    """By its own time."""
    queued(sql)
    queued(sql, run_at="2998-01-01")
    mine = queued(sql, run_at="2999-01-01")

    found = place(sql, mine)

    assert (found["jobs_ahead"], found["is_due"]) == (2, False)


def test_a_running_job_tells_its_lease(sql):
    """And no place in the queue."""
    mine = queued(sql)
    sql.execute("select from public.claim_video_jobs('w', gen_random_uuid())")

    found = place(sql, mine)

    assert (found["status"], found["jobs_ahead"]) == ("processing", None)
    assert found["claimed_at"] < found["expires_at"]


@pytest.mark.parametrize("columns", ["pipeline) select 'p' || n", "queue) select 'default'"])
def test_counting_ends_somewhere(sql, columns: str):
    """Neither a thousand pipelines nor thousands of jobs make it slow; it then is not exact."""
    sql.execute(
        f"insert into public.video_jobs (user_id, priority, {columns.replace(') select', ') select %s, 9,')}"
        " from generate_series(1, 1500) n",
        [USER],
    )
    mine = queued(sql)

    found = place(sql, mine)

    assert not found["is_exact"]
    assert 100 <= found["jobs_ahead"] <= 1000


def test_queues_tell_how_long_they_wait(sql):
    """The oldest due job of each queue and pipeline."""
    queued(sql, run_at="2020-01-01")
    queued(sql, queue="bulk", pipeline="hls")
    queued(sql, queue="later", run_at="2999-01-01")

    waits = sql.execute("select * from public.list_video_job_waits()").fetchall()

    assert [(wait["queue"], wait["pipeline"]) for wait in waits] == [
        ("default", "clips"),
        ("bulk", "hls"),
    ]
    assert waits[0]["oldest_due_seconds"] > 86_400
