"""Which files the database lists as leftovers, when, and for whom."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

USER = UUID("00000000-0000-4000-8000-000000000001")
ONE_KEPT = {"segments": {"key": "k", "storage": "s", "kept": {"1": ["segment_0001"]}}}


def created(sql, **columns) -> UUID:
    """Store a queued job."""
    names = ", ".join(["user_id", *columns])
    values = [USER, *columns.values()]
    marks = ", ".join(["%s"] * len(values))
    row = sql.execute(
        f"insert into public.video_jobs ({names}) values ({marks}) returning id", values
    ).fetchone()
    return row["id"]


def claimed(sql, job_id: UUID, worker: str = "w") -> int:
    """Start the job, and return its token."""
    row = sql.execute(
        "select run_token from public.start_video_job(%s, %s, gen_random_uuid())", (job_id, worker)
    ).fetchone()
    return row["run_token"]


def beaten(sql, job_id: UUID, token: int, checkpoint: dict) -> None:
    """Let the attempt keep a checkpoint."""
    beat = {"job_id": str(job_id), "run_token": token, "checkpoint": checkpoint}
    sql.execute("select public.heartbeat_video_jobs(%s)", (Jsonb([beat]),))


def settled(sql, job_id: UUID, token: int, outcome: str, **more) -> None:
    """End the attempt."""
    wish = {"job_id": str(job_id), "run_token": token, "outcome": outcome, **more}
    sql.execute("select public.settle_video_jobs(%s)", (Jsonb([wish]),))


def silenced(sql) -> None:
    """All workers have gone silent, and are found out."""
    sql.execute(
        "update videojobs.leases set claimed_at = now() - interval '1 day', expires_at = now() - interval '1 second'"
    )
    sql.execute("select public.recover_video_jobs()")


def listed(sql) -> dict[str, str]:
    """The leftovers and their storages."""
    rows = sql.execute("select prefix, storage from videojobs.leftovers").fetchall()
    return {row["prefix"]: row["storage"] for row in rows}


def film_with_segments(sql, *numbers: int) -> tuple[UUID, list[UUID]]:
    """A film that waits for its segments' jobs."""
    film = created(sql, pipeline="renditions", settings=Jsonb({"fan_out": True}))
    settled(sql, film, claimed(sql, film), "split", segments=list(numbers))
    rows = sql.execute(
        "select id from public.video_jobs where parent_job_id = %s order by seq", (film,)
    ).fetchall()
    return film, [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("outcome", "is_listed"),
    [("completed", True), ("cancelled", True), ("failed", True), ("released", False)],
)
def test_segments_are_listed_when_their_film_ends(sql, outcome: str, is_listed: bool):
    """However it does; while it goes on, they are wanted."""
    film = created(sql, max_attempts=1)
    token = claimed(sql, film)
    beaten(sql, film, token, ONE_KEPT)

    settled(sql, film, token, outcome)

    assert listed(sql) == ({f"{film}/1.segments": "s"} if is_listed else {})


@pytest.mark.parametrize(
    "checkpoint", [{}, {"mine": 1}, {"segments": 7}, {"segments": {"kept": []}}]
)
def test_other_checkpoints_list_nothing(sql, checkpoint: dict):
    """A pipeline of one's own may keep what it likes."""
    job = created(sql)
    token = claimed(sql, job)
    beaten(sql, job, token, checkpoint)

    settled(sql, job, token, "completed")

    assert listed(sql) == {}


def test_a_name_that_is_no_token_is_not_listed(sql):
    """Nothing beside an attempt's own folder."""
    job = created(sql)
    token = claimed(sql, job)
    kept = {"../../uploads": [], "1/../2": [], "": [], "3": []}
    beaten(sql, job, token, {"segments": {"kept": kept}})

    settled(sql, job, token, "completed")

    assert listed(sql) == {f"{job}/3.segments": ""}


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled", "released"])
def test_an_attempt_that_settles_itself_is_not_listed(sql, outcome: str):
    """Jobs without segments and accidents never write to the list."""
    job = created(sql)

    settled(sql, job, claimed(sql, job), outcome)

    assert listed(sql) == {}


def test_an_attempt_that_went_silent_is_listed_with_its_workers_storage(sql):
    """Its token is gone for good; the next attempt's is not listed."""
    job = created(sql)
    sql.execute(
        "select public.heartbeat_video_jobs('[]', 60, 'w', %s)", (Jsonb({"storage": "mine"}),)
    )
    assert claimed(sql, job) == 1

    silenced(sql)

    assert listed(sql) == {f"{job}/1": "mine", f"{job}/1.segments": "mine"}
    assert claimed(sql, job) == 3


@pytest.mark.parametrize(("max_runtime", "hours"), [(None, 1), (36000.0, 11)])
def test_a_silent_attempt_may_go_on_for_as_long_as_it_was_allowed(sql, max_runtime, hours: int):
    """And for an hour; nobody sweeps under a twin that still runs."""
    job = created(sql, max_runtime_seconds=max_runtime)
    claimed(sql, job)

    silenced(sql)

    row = sql.execute("select min(due_at) - now() as pause from videojobs.leftovers").fetchone()
    assert hours * 3600 - 60 < row["pause"].total_seconds() <= hours * 3600
    assert sql.execute("select * from public.claim_video_job_leftovers('')").fetchall() == []


def test_a_segments_files_stay_while_its_film_may_be_retried(sql):
    """What was made is used then. Who deletes the film gives them up."""
    film, (first, second) = film_with_segments(sql, 1, 2)
    outputs = [{"path": f"{first}/1/a.mp4", "storage": "mine"}]
    settled(sql, first, claimed(sql, first), "completed", output_files=outputs)
    claimed(sql, second)
    sql.execute("select public.cancel_video_job(%s)", (film,))
    assert listed(sql) == {}

    sql.execute("select public.delete_video_job(%s)", (film,))

    assert listed(sql) == {str(first): "mine"}


@pytest.mark.parametrize("outcome", ["completed", "cancelled"])
def test_a_segment_that_ends_after_its_film_was_deleted_goes_too(sql, outcome: str):
    """It was running then. Its row goes as well, which nobody would ever look for."""
    film, (segment,) = film_with_segments(sql, 1)
    token = claimed(sql, segment)
    sql.execute("select public.cancel_video_job(%s)", (film,))
    sql.execute("select public.delete_video_job(%s)", (film,))

    settled(sql, segment, token, outcome)

    assert listed(sql) == {str(segment): ""}
    assert sql.execute("select * from public.get_video_job(%s)", (segment,)).fetchall() == []


def test_an_archived_segment_is_of_no_use_to_its_film(sql):
    """The film, archived or not, makes it anew if it is tried again."""
    film, (segment,) = film_with_segments(sql, 1)
    outputs = [{"path": f"{segment}/1/a.mp4", "storage": "mine"}]
    settled(sql, segment, claimed(sql, segment), "completed", output_files=outputs)
    sql.execute("select public.cancel_video_job(%s)", (film,))
    sql.execute("select public.archive_video_jobs()")
    sql.execute("update videojobs.leftovers set due_at = now()")

    rows = sql.execute("select * from public.claim_video_job_leftovers('mine')").fetchall()

    assert rows == [{"leftover": str(segment), "tries": 1, "is_given_up": False}]


def test_an_archived_jobs_outputs_are_its_result(sql):
    """They stay, whoever listed them."""
    job = created(sql)
    token = claimed(sql, job)
    settled(sql, job, token, "completed", output_files=[{"path": f"s3://b/{job}/1/a.mp4"}])
    sql.execute("select public.archive_video_jobs()")
    sql.execute(
        "insert into videojobs.leftovers (prefix, due_at) values (%s, now())", (f"{job}/1",)
    )

    assert sql.execute("select * from public.claim_video_job_leftovers('')").fetchall() == []
    assert listed(sql) == {}


def test_a_tenants_folder_is_no_jobs(sql):
    """Whoever gives a job somebody's id as its own has none of their files removed."""
    job = created(sql, id=USER)
    claimed(sql, job)
    silenced(sql)
    sql.execute("update videojobs.leftovers set due_at = now()")

    assert sql.execute("select * from public.claim_video_job_leftovers('')").fetchall() == []
    assert listed(sql) == {}


def test_two_workers_never_get_the_same(sql, database):
    """What one has locked, the other passes over; and a worker gets its storage's and nobody's only."""
    sql.execute(
        "insert into videojobs.leftovers (prefix, storage, due_at)"
        " select gen_random_uuid()::text || '/' || n, s, now() from generate_series(1, 3) n, unnest('{a,b,\"\"}'::text[]) s"
    )
    claim = "select leftover from public.claim_video_job_leftovers('a', 4)"
    with psycopg.connect(database) as first, psycopg.connect(database) as second:
        found = {row[0] for row in first.execute(claim).fetchall()}
        others = {row[0] for row in second.execute(claim).fetchall()}

    assert (len(found), len(others)) == (4, 2)
    assert not found & others
    assert {s for prefix, s in listed(sql).items() if prefix in found | others} == {"a", ""}
