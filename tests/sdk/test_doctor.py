"""The doctor over every transport, and what it makes of facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from people import ADA
from scripted import ScriptedTransport

from videojobs import Settings, VideoJobManager, diagnosis
from videojobs.facts import Facts
from videojobs.local import LocalStack
from videojobs.reports import Finding, Severity
from videojobs.retries import Failure, Sent

HEALTH = {
    "schema_version": diagnosis.SCHEMA_VERSION,
    "server_time": "2027-01-01T00:00:00+00:00",
    "server_version": "17.4",
    "is_service": True,
    "queued": 0,
    "processing": 0,
    "expired_leases": 0,
    "processing_without_lease": 0,
    "leases_without_job": 0,
}
FACTS = {
    "sees_all_sessions": True,
    "vacuum_blockers": [],
    "has_autovacuum": True,
    "hot_tables": [],
    "expired_leases": 0,
    "longest_expired_seconds": None,
    "unfolded_changes": 0,
    "index_faults": [],
    "wide_grants": [],
    "unguarded_relations": [],
    "is_exposed": None,
    "histories": [],
    "upkeep_schedule": "absent",
    "workers_seen": 1,
    "waiting": [],
}
SLOT = {
    "kind": "replication slot",
    "pid": None,
    "name": "standby's",
    "state": "inactive",
    "age_seconds": None,
    "transactions": 2_000_000,
}
SESSION = {
    "kind": "session",
    "pid": 4711,
    "name": "etl",
    "state": "idle in transaction",
    "age_seconds": 61.0,
    "transactions": 12,
}
TABLE = {
    "name": "videojobs.leases",
    "dead_rows": 0,
    "vacuum_at": 500,
    "vacuumed_seconds_ago": 30.0,
    "is_vacuumed": True,
}
HISTORY = {
    "name": "public.video_job_events",
    "months": 4,
    "has_next_month": True,
    "rows_without_month": 0,
}


def finding_of(findings: tuple[Finding, ...] | list[Finding], check: str) -> Finding:
    """The one finding of a check."""
    (finding,) = [each for each in findings if each.check == check]
    return finding


def findings_of(**facts: Any) -> list[Finding]:
    """What is worth telling of good facts, but for what is said."""
    found = diagnosis.of_facts(Facts.model_validate({**FACTS, **facts}))
    return [finding for finding in found if finding.severity is not Severity.OK]


def test_a_good_database_is_called_good(manager: VideoJobManager, sql: Callable[..., list[Any]]):
    """Over each transport no check finds a problem, and each could be made."""
    # What the tests before this one left dead.
    sql("vacuum public.video_jobs, videojobs.leases, videojobs.tally_changes, videojobs.turns")

    findings = manager.doctor(deep=True)

    assert {finding.severity for finding in findings} == {Severity.OK}, findings
    assert {finding.check for finding in findings} == {
        "answers",
        "autovacuum",
        "clock",
        "database",
        "dead rows",
        "expired leases",
        "grants",
        "indexes",
        "jobs",
        "months",
        "old transactions",
        "orphans",
        "row-level security",
        "schema",
        "statistics",
        "unfolded changes",
        "upkeep",
        "workers",
    }


def test_a_problem_is_found_over_each_transport(
    manager: VideoJobManager, sql: Callable[..., list[Any]]
):
    """A lease that ended long ago is told with its age and what to do."""
    manager.create_job(user_id=ADA)
    manager.claim_jobs("worker-1")
    sql(
        "update videojobs.leases set claimed_at = claimed_at - interval '1 day', "
        "expires_at = clock_timestamp() - interval '3 hours'"
    )

    finding = finding_of(manager.doctor(), "expired leases")

    assert finding.severity is Severity.PROBLEM
    assert finding.found == "1, the oldest for 3 h: nobody takes them back"
    assert "videojobs worker" in finding.advice


@pytest.fixture
def short_answers(stack: LocalStack, sql: Callable[..., list[Any]]) -> Iterator[None]:
    """PostgREST cuts answers off after 300 rows, as a project's setting may say."""

    sql("alter role authenticator set pgrst.db_max_rows = '300'")
    stack.stop_rest()
    stack.start_rest()
    yield
    sql("alter role authenticator reset pgrst.db_max_rows")
    stack.stop_rest()
    stack.start_rest()


def test_answers_that_are_cut_off_are_found(
    managers: dict[str, VideoJobManager], short_answers: None
):
    """Through PostgREST the doctor sees how many rows arrive; a direct connection loses none."""
    through_api = finding_of(managers["supabase"].doctor(), "answers")
    direct = finding_of(managers["postgres"].doctor(), "answers")

    assert through_api.severity is Severity.PROBLEM
    assert through_api.found.startswith("of 501 rows 300 arrive")
    assert "Max rows" in through_api.advice
    assert direct.severity is Severity.OK


def test_statistics_are_counted_only_by_a_deep_look(manager: VideoJobManager):
    """The doctor says what it left out, and how to have it looked at."""
    finding = finding_of(manager.doctor(), "statistics")

    assert finding.severity is Severity.NOTE
    assert "deep=True" in finding.advice and "--deep" in finding.advice


def test_an_old_schema_is_asked_for_no_more_than_it_has():
    """It gets one question that every version answers, and the advice to migrate."""
    transport = ScriptedTransport([{**HEALTH, "schema_version": 1}])

    findings = VideoJobManager(transport).doctor()

    assert finding_of(findings, "schema").advice == "Run `videojobs migrate`."
    assert finding_of(findings, "everything else").severity is Severity.UNKNOWN
    assert [call.function for call in transport.sent] == ["check_video_jobs"]


def test_a_newer_schema_is_no_problem():
    """An old library keeps working on it, and is told to follow when it can."""
    transport = ScriptedTransport(
        [{**HEALTH, "schema_version": 99}], [{"facts": FACTS}], [{"number": 1}] * 501
    )

    finding = finding_of(VideoJobManager(transport).doctor(), "schema")

    assert finding.severity is Severity.NOTE
    assert "upgrade videojobs" in finding.advice


def test_a_check_that_fails_hides_no_other():
    """What could not be read is a finding, and the rest is looked at all the same."""
    broken = Failure(
        "canceling statement due to statement timeout", sent=Sent.ANSWERED, code="57014"
    )
    transport = ScriptedTransport([HEALTH], broken, [{"number": 1}] * 501, broken)

    findings = VideoJobManager(transport, Settings(deadline_seconds=0.001)).doctor(deep=True)

    failed = finding_of(findings, "diagnose_video_jobs")
    assert failed.severity is Severity.UNKNOWN
    assert "statement timeout" in failed.found
    assert finding_of(findings, "answers").severity is Severity.OK
    assert finding_of(findings, "reconcile_video_job_stats").severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("asked", "answered", "severity", "seconds"),
    [
        (0, 0, Severity.OK, "0.0"),
        (-30, 30, Severity.OK, "0.0"),  # a slow reply says nothing of the clocks
        (3600, 3601, Severity.PROBLEM, "3600.0"),
        (-61, -60, Severity.PROBLEM, "60.0"),
    ],
)
def test_clocks_that_differ_are_found(asked: int, answered: int, severity: Severity, seconds: str):
    """The database's clock has to lie between the question and the answer."""
    health = ScriptedTransport([HEALTH])
    server_time = VideoJobManager(health).check()
    moments = [
        datetime.fromtimestamp(server_time.server_time.timestamp() + each, UTC)
        for each in (asked, answered)
    ]

    finding = finding_of(diagnosis.of_health(server_time, *moments), "clock")

    assert finding.severity is severity
    assert f"differ by {seconds} s" in finding.found


def test_good_facts_leave_nothing_to_tell():
    """No finding without a reason."""
    assert findings_of() == []


def test_young_transactions_are_no_problem():
    """Everybody's transactions hold back vacuum for a moment."""
    assert findings_of(vacuum_blockers=[{**SESSION, "age_seconds": 60.0}]) == []


def test_old_transactions_are_told_one_by_one():
    """Each with the command that ends it."""
    found = findings_of(vacuum_blockers=[SESSION, {**SESSION, "pid": 4712, "age_seconds": 7300.0}])

    assert [finding.severity for finding in found] == [Severity.PROBLEM, Severity.PROBLEM]
    assert "pg_terminate_backend(4711)" in found[0].advice
    assert "(pid 4712, idle in transaction, 2 h old)" in found[1].found


def test_a_slot_that_is_left_behind_is_found():
    """A slot has no age, only a distance; its name is quoted as SQL wants it."""
    (finding,) = findings_of(vacuum_blockers=[SLOT])

    assert "2000000 transactions behind" in finding.found
    assert "pg_drop_replication_slot('standby''s')" in finding.advice
    assert findings_of(vacuum_blockers=[{**SLOT, "transactions": 100}]) == []


def test_a_prepared_transaction_is_to_be_decided():
    """Both ways are named."""
    prepared = {**SESSION, "kind": "prepared transaction", "pid": None, "name": "tx"}

    (finding,) = findings_of(vacuum_blockers=[prepared])

    assert finding.advice == "Decide it: `commit prepared 'tx'` or `rollback prepared 'tx'`."


def test_sessions_that_hide_their_age_are_told():
    """Where the owner of the schema may not see other roles' sessions, the doctor does not guess."""
    hidden = {**SESSION, "age_seconds": None, "state": None}

    (finding,) = findings_of(sees_all_sessions=False, vacuum_blockers=[hidden])

    assert finding.severity is Severity.UNKNOWN
    assert "pg_read_all_stats" in finding.found


def test_autovacuum_that_is_off_is_found():
    """For the server as a whole."""
    (finding,) = findings_of(has_autovacuum=False)

    assert (finding.check, finding.severity) == ("autovacuum", Severity.PROBLEM)


@pytest.mark.parametrize(
    ("dead_rows", "vacuumed_seconds_ago", "told"),
    [
        (5000, None, None),
        (5001, 299.0, None),
        (5001, 3600.0, "videojobs.leases has 5001, a vacuum is due at 500 and came 60 min ago"),
        (5001, None, "videojobs.leases has 5001, a vacuum is due at 500 and came never"),
    ],
)
def test_dead_rows_that_nobody_removes_are_found(
    dead_rows: int, vacuumed_seconds_ago: float | None, told: str | None
):
    """Ten times what calls for a vacuum, and none came for five minutes."""
    table = {**TABLE, "dead_rows": dead_rows, "vacuumed_seconds_ago": vacuumed_seconds_ago}

    found = [finding.found for finding in findings_of(hot_tables=[table])]

    assert found == ([told] if told else [])


def test_leases_that_have_just_ended_are_a_note():
    """Workers need a moment to take them back."""
    (finding,) = findings_of(expired_leases=2, longest_expired_seconds=8.0)

    assert (finding.severity, finding.found) == (Severity.NOTE, "2, for 8 s")


def test_many_grants_are_not_all_spelled_out():
    """Five, and how many more."""
    grants = [
        {"target": f"table videojobs.t{n}", "role": "anon", "privileges": "SELECT"}
        for n in range(9)
    ]

    (finding,) = findings_of(wide_grants=grants)

    assert finding.found.startswith("9 too wide: anon has SELECT on table videojobs.t0; ")
    assert finding.found.endswith("; and 4 more")


def test_many_months_are_a_note():
    """Each read of a job's history looks into all of them."""
    (finding,) = findings_of(histories=[{**HISTORY, "months": 25}])

    assert finding.severity is Severity.NOTE
    assert "drop_events_after_days=365" in finding.advice


@pytest.mark.parametrize(
    ("schedule", "severities"),
    [
        ("scheduled", []),
        ("absent", []),
        ("unscheduled", [Severity.NOTE]),
        ("unreadable", [Severity.UNKNOWN]),
    ],
)
def test_upkeep_without_a_schedule_is_at_most_a_note(schedule: str, severities: list[Severity]):
    """Workers do it as well."""
    assert [finding.severity for finding in findings_of(upkeep_schedule=schedule)] == severities
