"""The checker sees each violation, on histories made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from chaos.checker import violations
from chaos.history import Event, History, Job, LeaseRow, Wish

ID = UUID(int=7)
OTHER = UUID(int=8)
BEGUN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
PATH = f"{ID}/1/clip_01.mp4"
WISH = Wish(key="a", job_id=ID)

COMPLETED = Job(
    id=ID,
    idempotency_key="a",
    status="completed",
    attempt=1,
    max_attempts=3,
    lost_count=0,
    run_token=1,
    error_code=None,
    error_message=None,
    output_files=[{"path": PATH, "size_bytes": 5}],
)
QUEUED = replace(COMPLETED, status="queued", attempt=0, run_token=0, output_files=[])
PROCESSING = replace(COMPLETED, status="processing", output_files=[])
FAILED = replace(PROCESSING, status="failed", error_code="corrupt_source")
CANCELLED = replace(PROCESSING, status="cancelled")

CREATED = ("created", None)
CLAIMED = ("claimed", 1)
DONE = ("completed", 1)


def history(
    *events: tuple[str, int | None] | tuple[str, int | None, str],
    job: Job = COMPLETED,
    wishes: Sequence[Wish] = (WISH,),
    leases: Sequence[LeaseRow] = (),
    error_code: str | None = None,
) -> History:
    """A job with these events: type, token and, where it is not "w1", the worker."""
    attempt, stored = 0, []
    for number, (kind, token, *worker) in enumerate(events, start=1):
        attempt = {"claimed": attempt + 1, "released": attempt - 1, "rescued": attempt - 1}.get(
            kind, attempt
        )
        data = {"claimed": {"attempt": attempt}}.get(kind, {"error_code": error_code})
        stored.append(
            Event(
                id=number,
                job_id=ID,
                type=kind,
                at=BEGUN + timedelta(seconds=number),
                run_token=token,
                worker_id=worker[0] if worker else "w1",
                data=data,
            )
        )
    return History(
        jobs=(job,),
        events=tuple(stored),
        leases=tuple(leases),
        wishes=tuple(wishes),
        files={PATH: 5},
        begun_at=BEGUN,
        read_at=BEGUN + timedelta(minutes=1),
    )


def only(found: list[str]) -> str:
    """The one violation, without the ids."""
    (violation,) = found
    return violation.removeprefix(f"job {ID}: ")


GOOD = history(CREATED, CLAIMED, DONE)


def second_attempt(*ending: tuple[str, int | None]) -> History:
    """The first attempt ended so, and the second one completed the job with token 5."""
    path = f"{ID}/5/clip_01.mp4"
    job = replace(COMPLETED, run_token=5, output_files=[{"path": path, "size_bytes": 5}])
    told = history(CREATED, CLAIMED, *ending, ("claimed", 5, "w2"), ("completed", 5, "w2"), job=job)
    return replace(told, files={path: 5})


@pytest.mark.parametrize(
    "kept",
    [
        GOOD,
        second_attempt(("released", 1)),
        second_attempt(("logged", 1), ("released", 1)),
        history(
            CREATED,
            CLAIMED,
            ("failed", 1),
            job=FAILED,
            wishes=[replace(WISH, expected_error="corrupt_source")],
        ),
        history(
            CREATED,
            ("cancelled", 0),
            job=replace(CANCELLED, attempt=0, run_token=0),
            wishes=[replace(WISH, cancel_was_asked=True)],
        ),
        history(
            CREATED,
            CLAIMED,
            ("cancel_requested", 1),
            ("cancelled", 2),
            job=replace(CANCELLED, run_token=2),
            wishes=[replace(WISH, cancel_was_asked=True)],
        ),
        history(
            CREATED,
            CLAIMED,
            ("lost", 2),
            job=replace(FAILED, run_token=2, lost_count=1, error_code="worker_lost"),
        ),
    ],
    ids=["plain", "released", "logged", "failed", "cancelled", "forced", "lost"],
)
def test_kept_promises_are_no_violation(kept: History):
    """Every way in which a job may rightly go."""
    assert violations(kept) == []


def test_a_rescued_job_may_be_completed_by_another_worker():
    """The recovery's token is one above the silent worker's."""
    told = second_attempt(("rescued", 2))

    assert violations(replace(told, jobs=(replace(told.jobs[0], lost_count=1),))) == []


def test_a_retried_job_counts_its_attempt():
    """The second attempt is number 2."""
    told = second_attempt(("retried", 1))

    assert violations(replace(told, jobs=(replace(told.jobs[0], attempt=2),))) == []


def test_a_lost_job_is_seen():
    """A client was told that it is stored, and it is not."""
    lost = replace(GOOD, jobs=(), events=())

    assert violations(lost) == [f"key a: its job {ID} is lost"]


def test_a_job_created_twice_is_seen():
    """Two jobs with one key."""
    twin = replace(QUEUED, id=OTHER)
    created = Event(id=9, job_id=OTHER, type="created", at=BEGUN)
    twice = replace(GOOD, jobs=(*GOOD.jobs, twin), events=(*GOOD.events, created))

    assert violations(twice) == [
        f"key a: is job {ID} and no other, but there is {[ID, OTHER]}",
    ]


def test_another_id_than_the_client_was_told_is_seen():
    """The reply named a job that is not the stored one."""
    told = replace(GOOD, wishes=(replace(WISH, job_id=OTHER),))

    assert "is job" in only(violations(told))


def test_a_job_that_nobody_asked_for_is_seen():
    """No client has this key."""
    assert only(violations(replace(GOOD, wishes=()))) == "key a: nobody asked for such a job"


def test_events_of_no_job_are_seen():
    """A history without its job."""
    stray = Event(id=9, job_id=OTHER, type="created", at=BEGUN)

    found = violations(replace(GOOD, events=(*GOOD.events, stray)))

    assert found == [f"event 9 (created) is of job {OTHER}, which is not there"]


def test_a_second_completion_is_seen():
    """At most one, whatever its token."""
    found = violations(history(CREATED, CLAIMED, DONE, DONE))

    assert only(found) == "event 4 (completed) happened to a job that was completed"


@pytest.mark.parametrize("kind", ["completed", "failed", "retried", "released", "logged"])
def test_a_write_with_an_old_token_is_seen(kind: str):
    """The first attempt writes while the second one holds the lease."""
    told = history(
        *(CREATED, CLAIMED, ("rescued", 2), ("claimed", 3, "w2"), (kind, 1, "w2")),
        job=PROCESSING,
    )

    assert any(f"event 5 ({kind}) has token 1 after token 3" in each for each in violations(told))


@pytest.mark.parametrize("kind", ["completed", "failed", "retried", "released", "rescued"])
def test_a_write_by_another_worker_is_seen(kind: str):
    """Only the worker that claimed it settles the attempt."""
    told = history(CREATED, CLAIMED, (kind, 2 if kind == "rescued" else 1, "w2"), job=PROCESSING)

    assert any("is by w2, but w1 held the lease" in each for each in violations(told))


@pytest.mark.parametrize("kind", ["rescued", "lost"])
def test_a_recovery_without_a_new_token_is_seen(kind: str):
    """The silent worker could still write."""
    told = history(CREATED, CLAIMED, (kind, 1), job=PROCESSING)

    assert any(f"({kind}) has token 1 after token 1" in each for each in violations(told))


@pytest.mark.parametrize(
    "kind", ["failed", "retried", "released", "rescued", "logged", "cancel_requested", "lost"]
)
def test_an_event_after_the_attempts_end_is_seen(kind: str):
    """A final job stays as it is."""
    told = history(CREATED, CLAIMED, DONE, (kind, 1))

    found = f"event 4 ({kind}) happened to a job that was completed"
    assert any(found in each for each in violations(told))


def test_a_token_that_does_not_rise_is_seen():
    """Two attempts with one token could not be told apart."""
    told = history(CREATED, CLAIMED, ("released", 1), CLAIMED, DONE)

    assert only(violations(told)) == "event 4 (claimed) has token 1 after token 1"


def test_a_claim_of_a_running_job_is_seen():
    """Two workers at one job."""
    path = f"{ID}/2/clip_01.mp4"
    job = replace(COMPLETED, attempt=2, run_token=2, output_files=[{"path": path, "size_bytes": 5}])
    told = history(CREATED, CLAIMED, ("claimed", 2), ("completed", 2), job=job)

    found = violations(replace(told, files={path: 5}))

    assert only(found) == "event 3 (claimed) happened to a job that was processing"


def test_an_unknown_event_is_seen():
    """The checker has no opinion on it, and says so."""
    told = history(CREATED, CLAIMED, ("exploded", 1), DONE)

    assert only(violations(told)) == "event 3 (exploded) is an event that nobody knows"


@pytest.mark.parametrize(
    ("field", "value"), [("status", "failed"), ("run_token", 2), ("attempt", 2), ("lost_count", 1)]
)
def test_a_row_that_contradicts_its_events_is_seen(field: str, value: object):
    """The row is what the events lead to."""
    told = replace(GOOD, jobs=(replace(COMPLETED, **{field: value}),))

    assert any(f": {field} is {value}, but " in each for each in violations(told))


def test_too_many_attempts_are_seen():
    """No job is tried more often than it may be."""
    told = replace(GOOD, jobs=(replace(COMPLETED, attempt=4),))

    assert f"job {ID}: attempt 4 of 3" in violations(told)


def test_a_lease_left_over_is_seen():
    """A final job is nobody's."""
    told = replace(GOOD, leases=(LeaseRow(job_id=ID, run_token=1),))

    assert only(violations(told)) == "has a lease, and is completed"


def test_a_running_job_without_a_lease_is_seen():
    """Nobody would take it back."""
    told = history(CREATED, CLAIMED, job=PROCESSING)

    assert f"job {ID}: is processing without a lease" in violations(told)


def test_a_lease_of_another_attempt_is_seen():
    """Its holder is not who the row says."""
    told = history(CREATED, CLAIMED, job=PROCESSING, leases=[LeaseRow(job_id=ID, run_token=9)])

    assert f"job {ID}: has a lease for token 9, not 1" in violations(told)


@pytest.mark.parametrize("job", [QUEUED, PROCESSING], ids=["queued", "processing"])
def test_a_job_that_did_not_end_is_seen(job: Job):
    """Some time after the faults, all work is done."""
    told = replace(GOOD, jobs=(job,))

    assert any("did not end in time" in each for each in violations(told))


def test_outputs_of_a_loser_are_seen():
    """The job names files of an attempt that did not win."""
    path = f"{ID}/4/clip_01.mp4"
    job = replace(COMPLETED, output_files=[{"path": path, "size_bytes": 5}])

    found = violations(replace(GOOD, jobs=(job,), files={path: 5}))

    assert only(found) == f"names {path}, which is not of attempt 1"


def test_an_output_that_is_not_stored_is_seen():
    """The file is gone."""
    assert only(violations(replace(GOOD, files={}))) == f"names {PATH}, which is not stored"


def test_a_damaged_output_is_seen():
    """The file is shorter than it was."""
    found = only(violations(replace(GOOD, files={PATH: 4})))

    assert found == f"says that {PATH} has 5 bytes, and it has 4"


def test_a_completed_job_without_outputs_is_seen():
    """There is nothing to show for it."""
    told = replace(GOOD, jobs=(replace(COMPLETED, output_files=[]),))

    assert only(violations(told)) == "is completed without outputs"


def test_outputs_of_an_unfinished_job_are_seen():
    """Only completed jobs have any."""
    told = history(
        *(CREATED, CLAIMED, ("failed", 1)),
        job=replace(FAILED, output_files=COMPLETED.output_files),
        wishes=[replace(WISH, expected_error="corrupt_source")],
    )

    assert only(violations(told)) == "is failed and names outputs"


def test_a_cancel_that_nobody_wanted_is_seen():
    """No client asked for it."""
    told = history(CREATED, CLAIMED, ("cancelled", 1), job=CANCELLED)

    assert only(violations(told)) == "is cancelled, and nobody wanted it"


def test_a_good_video_that_failed_is_seen():
    """The faults are no reason to give up on it."""
    told = history(CREATED, CLAIMED, ("failed", 1), job=FAILED)

    assert only(violations(told)) == "failed with corrupt_source: None"


def test_a_bad_video_that_was_completed_is_seen():
    """What cannot work did."""
    told = replace(GOOD, wishes=(replace(WISH, expected_error="corrupt_source"),))

    assert only(violations(told)) == "is completed, and should have failed: corrupt_source"


def test_a_wrong_clock_is_seen():
    """An event that a worker dated."""
    late = replace(GOOD.events[1], at=BEGUN + timedelta(minutes=10))

    found = violations(replace(GOOD, events=(GOOD.events[0], late, GOOD.events[2])))

    assert "outside of the run" in only(found)
