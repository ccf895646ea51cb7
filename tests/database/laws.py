"""What is true of every database of ours, whatever was asked of it: laws over what is stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg

from database.model import FINAL, MAX_LOST

Row = dict[str, Any]

STATUSES = ("queued", "processing", "completed", "failed", "cancelled")

_JOBS = """
select
  to_jsonb(j) as row, j.id, j.status::text, j.queue, j.priority, j.attempt, j.max_attempts, j.lost_count,
  j.run_token, j.progress, j.stage, j.output_files as outputs, j.run_at <= clock_timestamp() as is_due,
  j.cancel_requested_at is not null as is_asked_to_stop,
  l.run_token as leased_under, l.worker_id as leased_to, l.expires_at as leased_until, c.checkpoint
from public.video_jobs j
left join videojobs.leases l on l.job_id = j.id
left join videojobs.checkpoints c on c.job_id = j.id
order by j.seq
"""
_EVENTS = """
select e.job_id, e.type::text, e.run_token, e.worker_id
from public.video_job_events e
order by e.job_id, e.id
"""
_ARCHIVED = """
select a.id, a.status::text, to_jsonb(j) as row
from videojobs.archived_jobs a
cross join lateral public.get_video_job(a.id) j
"""
_COUNTS = "select s.total, s.by_status, s.by_day from public.get_video_job_stats() s"
_DRIFT = "select r.* from public.reconcile_video_job_stats() r"
_STRAYS = """
select
  (select count(*) from videojobs.leases l where not exists (select from public.video_jobs j where j.id = l.job_id)) as leases,
  (select count(*) from videojobs.checkpoints c where not exists (select from public.video_jobs j where j.id = c.job_id))
    as checkpoints
"""
_EDGES = "select t.from_status::text, t.event::text, t.to_status::text from videojobs.transitions t"


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that is stored, at one moment."""

    jobs: dict[int, Row]
    archived: dict[int, Row]
    events: dict[int, list[Row]]
    counts: Row
    drift: list[Row]
    strays: Row

    @classmethod
    def read(cls, sql: psycopg.Connection[Row]) -> Stored:
        """Read it, with the jobs by the numbers that their ids are made of."""
        jobs = {row["id"].int: row for row in sql.execute(_JOBS)}
        events: dict[int, list[Row]] = {}
        for event in sql.execute(_EVENTS):
            events.setdefault(event["job_id"].int, []).append(event)
        archived = {row["id"].int: row for row in sql.execute(_ARCHIVED)}
        counts = sql.execute(_COUNTS).fetchone()
        drift = sql.execute(_DRIFT).fetchall()
        return cls(jobs, archived, events, counts, drift, sql.execute(_STRAYS).fetchone())

    def history(self, number: int) -> list[str]:
        """Return what happened to the job, in order."""
        return [event["type"] for event in self.events.get(number, [])]


class Laws:
    """The laws, with the edges that the database says it has."""

    def __init__(self, sql: psycopg.Connection[Row]) -> None:
        self._edges = {
            (row["from_status"], row["event"]): row["to_status"] for row in sql.execute(_EDGES)
        }

    def check(self, before: Stored, now: Stored) -> None:
        """Fail if what is stored breaks a law, or could not have come from what was stored before."""
        a_lease_is_held_by_running_jobs_only(now)
        attempts_and_losses_are_within_their_limits(now)
        the_counts_are_those_of_the_rows(now)
        the_sums_have_not_drifted(now)
        nothing_is_left_of_deleted_jobs(now)
        an_attempt_ends_once(now)
        self.the_history_leads_to_the_status(now)
        no_token_falls(before, now)
        final_rows_do_not_change(before, now)
        archived_rows_are_as_they_were(before, now)

    def the_history_leads_to_the_status(self, now: Stored) -> None:
        """Each job's events follow the table of transitions from its creation to where it is."""
        for number, job in now.jobs.items():
            created, *later = now.history(number)
            assert created == "created"
            status = "queued"
            for event in later:
                if event not in ("changed", "cancel_requested", "logged"):
                    assert (status, event) in self._edges, f"job {number} was {event} when {status}"
                    status = self._edges[status, event]
            assert status == job["status"], f"the history of job {number} ends elsewhere"


def a_lease_is_held_by_running_jobs_only(now: Stored) -> None:
    """A job is processing if and only if it has a lease, under its own token."""
    for number, job in now.jobs.items():
        token = job["run_token"] if job["status"] == "processing" else None
        assert job["leased_under"] == token, f"job {number} is {job['status']}"


def attempts_and_losses_are_within_their_limits(now: Stored) -> None:
    """No job is tried or lost more often than it may be; a running one has been tried."""
    for number, job in now.jobs.items():
        least = 1 if job["status"] == "processing" else 0
        assert least <= job["attempt"] <= job["max_attempts"], f"job {number}"
        most = MAX_LOST if job["status"] == "failed" else MAX_LOST - 1
        assert 0 <= job["lost_count"] <= most, f"job {number}"


def the_counts_are_those_of_the_rows(now: Stored) -> None:
    """The statistics count every job once, under its status; and by day, archived ones too."""
    counted = Counter(job["status"] for job in now.jobs.values())
    ended = counted + Counter(job["status"] for job in now.archived.values())
    by_day = {"created": len(now.jobs) + len(now.archived), **{each: ended[each] for each in FINAL}}
    assert now.counts["total"] == len(now.jobs)
    assert now.counts["by_status"] == {status: counted[status] for status in STATUSES}
    assert {what: sum(day[what] for day in now.counts["by_day"]) for what in by_day} == by_day


def the_sums_have_not_drifted(now: Stored) -> None:
    """Folded or not, the sums of every owner, queue and day are what a count of the rows gives."""
    assert now.drift == []


def nothing_is_left_of_deleted_jobs(now: Stored) -> None:
    """Leases, checkpoints and histories belong to jobs that exist."""
    assert now.strays == {"leases": 0, "checkpoints": 0}
    assert set(now.events) == set(now.jobs) | set(now.archived)


def an_attempt_ends_once(now: Stored) -> None:
    """No token claims twice, and none has two ends that a worker, or its silence, brought about."""
    for number, events in now.events.items():
        seen = Counter(
            (event["run_token"], event["type"] == "claimed")
            for event in events
            if event["worker_id"] is not None and event["type"] != "logged"
        )
        assert set(seen.values()) <= {1}, f"job {number}: {seen}"


def no_token_falls(before: Stored, now: Stored) -> None:
    """A job's run token only grows, and with it the claims to write."""
    for number in before.jobs.keys() & now.jobs.keys():
        was, is_now = before.jobs[number], now.jobs[number]
        if was["row"]["seq"] == is_now["row"]["seq"]:
            assert was["run_token"] <= is_now["run_token"], f"job {number}"


def final_rows_do_not_change(before: Stored, now: Stored) -> None:
    """A final job is as it was in every column, or retried under another token, or gone."""
    for number, was in before.jobs.items():
        is_now = now.jobs.get(number)
        if was["status"] in FINAL and is_now and is_now["run_token"] == was["run_token"]:
            assert is_now["row"] == was["row"], f"job {number} was final"


def archived_rows_are_as_they_were(before: Stored, now: Stored) -> None:
    """An archived job is read as it was in the table, and stays in the archive."""
    assert before.archived.keys() <= now.archived.keys()
    for number, job in now.archived.items():
        was = before.archived.get(number) or before.jobs[number]
        assert job["row"] == was["row"], f"job {number} is archived"
        assert job["status"] == was["status"] and number not in now.jobs
