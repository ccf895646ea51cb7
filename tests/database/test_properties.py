"""Whatever people and workers do, in whatever order: the database does what the model of it says.

Hypothesis makes up programs of operations, runs each on the real database and on the model, and
compares the answers and all that is stored after every step. HYPOTHESIS_PROFILE=long runs more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.types.json import Jsonb

from database.laws import Laws, Row, Stored
from database.model import FINAL, MAX_LOST, Attempt, Queue, Wish

PROFILES = {
    "default": settings(max_examples=70, stateful_step_count=50),
    "long": settings(max_examples=1_000, stateful_step_count=80),
}
PROFILE = settings(
    PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "default")],
    deadline=None,  # a database on a busy machine has no pace to keep
    derandomize="CI" in os.environ,
    print_blob=True,
)

TENANTS = tuple(UUID(f"00000000-0000-4000-8000-00000000000{digit}") for digit in "123")
QUEUES, PIPELINES, WORKERS = ("quick", "slow"), ("clips", "renditions"), ("worker-1", "worker-2")
PRIORITIES = (5, 5, 5, 0, 9)
"""Most jobs have the same, so that it is often turns and age that decide."""
WAYS = ("complete", "fail", "fail for good", "release", "confirm the cancel")
OUTCOMES = ("completed", "completed", "retryable", "failed", "released", "cancelled")
STAGES = ("encode", "upload")
LIMITED = [
    *[("tenant", key) for key in ("*", "0", "1")],
    *[("queue", key) for key in ("*", *QUEUES)],
    *[("pipeline", key) for key in ("*", *PIPELINES)],
]
HOURS_SECONDS = 36_000

# No wait ends while a program runs, unless the program says so; and a few losses are many.
PATIENCE = f"""
update videojobs.settings
set retry_base_seconds = 36000, retry_cap_seconds = 72000, cancel_grace_seconds = 36000, max_lost = {MAX_LOST}
"""
USUAL = """
update videojobs.settings
set retry_base_seconds = 10, retry_cap_seconds = 3600, cancel_grace_seconds = 30, max_lost = 3
"""
# Truncating takes half a second, since history has a table for each month. The sums last: triggers write them.
EMPTY = """
delete from public.video_jobs;
delete from public.video_job_events;
delete from videojobs.archived_jobs;
delete from videojobs.leases;
delete from videojobs.checkpoints;
delete from videojobs.limits;
delete from videojobs.queues;
delete from videojobs.turns;
delete from videojobs.tally_changes;
delete from videojobs.tallies;
"""
CREATE = "select id from public.create_video_jobs(%s)"
CLAIM = """
select c.job ->> 'id' as id, c.run_token, c.expires_at, c.checkpoint, c.worker_id
from public.claim_video_jobs(%s, %s, queues => %s, pipelines => %s, job_limit => %s, lease_seconds => %s) c
"""
START = "select run_token, expires_at from public.start_video_job(%s, %s, %s, lease_seconds => %s)"
BEAT = "select job_id, run_token, verdict::text, expires_at from public.heartbeat_video_jobs(%s, lease_seconds => %s)"
COMPLETE = "select verdict::text from public.complete_video_job(%s, %s, output_files => %s)"
FAIL = "select verdict::text from public.fail_video_job(%s, %s, retryable => %s)"
RELEASE = "select verdict::text from public.release_video_job(%s, %s)"
CONFIRM = "select verdict::text from public.confirm_video_job_cancel(%s, %s)"
SETTLE = "select settled, leased from public.settle_video_jobs(%s, %s)"
LOG = "select verdict::text from public.log_video_job(%s, %s, 'a note')"
ARCHIVE = "select archived_id as id from public.archive_video_jobs(%s, row_limit => %s)"
SET_LIMIT = "select * from public.set_video_job_limit(%s, %s, %s)"
SET_QUEUE = "select * from public.set_video_job_queue(%s, %s)"
MAINTAIN = "select recovered, archived, dropped from public.maintain_video_jobs()"
FOLD = "select videojobs.fold_tallies(%s)"
FIGURES = "select total, by_status from public.get_video_job_stats(%s)"
MEDDLE = "update public.video_jobs set {} where id = %s"
RECOVER = "select job_id, outcome::text from public.recover_video_jobs(%s)"
CANCEL = "select id from public.cancel_video_job(%s)"
RETRY = "select id from public.retry_video_job(%s, %s)"
DELETE = "select deleted_id as id from public.delete_video_job(%s)"
CLEAR = "select deleted_id as id from public.clear_video_jobs(%s, row_limit => %s)"
CHANGE = "select job_id, outcome from public.bulk_update_video_jobs(%s, %s)"
SET_STATUS = "select id from public.update_video_job_status(%s, %s::public.video_job_status, progress => %s, worker => %s)"

# Each moves the expiry apart from all others, since the order of expiry decides who is recovered first.
EXPIRE = """
update videojobs.leases
set claimed_at = claimed_at - interval '20 days', expires_at = now() - interval '10 days' + %s * interval '1 second'
where job_id = %s
returning expires_at
"""
PASS_DEADLINE = (
    "update videojobs.leases set hard_deadline = now() - interval '1 second' where job_id = %s"
)
PASS_GRACE = (
    "update public.video_jobs set cancel_requested_at = now() - interval '20 days' where id = %s"
)
FALL_DUE = "update public.video_jobs set run_at = clock_timestamp() where id = %s"
LEASE = "select run_token, expires_at from videojobs.leases where job_id = %s"

wishes = st.builds(
    Wish,
    tenant=st.integers(0, 2),
    key=st.sampled_from([None, 1, 2]),
    content=st.sampled_from("ab"),
    queue=st.sampled_from([*QUEUES, QUEUES[0]]),
    pipeline=st.sampled_from(PIPELINES),
    priority=st.sampled_from(PRIORITIES),
    max_attempts=st.integers(1, 3),
    is_due=st.sampled_from([True, True, True, False]),
)
workers = st.sampled_from(WORKERS)
limits = st.integers(1, 3)


@st.composite
def jobs(draw: st.DrawFn, *statuses: str) -> int:
    """One of the jobs, in one of the statuses for most of the time; a deleted one at times."""
    machine = draw(st.runner())
    wanted = machine.model.jobs_that_are(*statuses)
    if wanted and draw(st.integers(0, 4)):
        return draw(st.sampled_from(wanted))
    return draw(st.integers(1, machine.last_number))


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """One of the attempts: one that holds its lease, one whose job another holds, or any."""
    machine = draw(st.runner())
    holders = machine.model.attempts()
    held = {number for number, _ in holders}
    zombies = [each for each in machine.attempts if each[0] in held and each not in holders]
    groups = [group for group in (holders, holders, zombies, machine.attempts) if group]
    return draw(st.sampled_from(draw(st.sampled_from(groups))))


def chosen_by(choice: Callable[[Queue], list[int]]) -> st.SearchStrategy[int]:
    """One of the jobs that the model chooses."""
    return st.runner().flatmap(lambda machine: st.sampled_from(choice(machine.model)))


def queued(model: Queue) -> list[int]:
    """The jobs that wait for a worker."""
    return model.jobs_that_are("queued")


def running(model: Queue) -> list[int]:
    """The jobs that are processing."""
    return model.jobs_that_are("processing")


def to_cancel(model: Queue) -> list[int]:
    """The jobs that nobody has cancelled or asked to."""
    return [*queued(model), *(n for n in running(model) if not model.jobs[n].is_asked_to_stop)]


def final(model: Queue) -> list[int]:
    """The jobs that are over."""
    return model.jobs_that_are(*FINAL)


def without_success(model: Queue) -> list[int]:
    """The jobs that may be retried."""
    return model.jobs_that_are("failed", "cancelled")


def asked_to_stop(model: Queue) -> list[int]:
    """The jobs whose workers have been asked to stop."""
    return [n for n in running(model) if model.jobs[n].is_asked_to_stop]


def overdue(model: Queue) -> list[int]:
    """The jobs that their workers have lost."""
    return [n for n in running(model) if model.jobs[n].is_overdue]


def queued_or_overdue(model: Queue) -> list[int]:
    """The jobs that a claim may be about."""
    return [*queued(model), *overdue(model)]


def when(choice: Callable[[Queue], list[int]]) -> Callable[[Any], Any]:
    """A rule that applies while the model has something to choose from, so that few steps are idle."""
    return precondition(lambda machine: bool(choice(machine.model)))


any_attempt = precondition(lambda machine: bool(machine.attempts))


class QueueMachine(RuleBasedStateMachine):
    """A database and its model, which are asked for the same."""

    def __init__(self, sql: psycopg.Connection[Row]) -> None:
        super().__init__()
        self.model = Queue()
        self.attempts: list[Attempt] = []
        self.last_number = 0
        self._sql = sql
        self._laws = Laws(sql)
        self._before = Stored.read(sql)
        self._keys = count(1_000)
        self._claims: list[tuple[str, int]] = []
        self._accepted: set[Attempt] = set()

    # People

    @initialize(wishes=st.lists(wishes, min_size=1, max_size=8), limit=limits)
    def begin(self, wishes: list[Wish], limit: int) -> None:
        for wish in wishes:
            self._create(self.last_number + 1, wish)
        self._claims.append((WORKERS[0], next(self._keys)))
        self._claim(*self._claims[-1], list(QUEUES), None, limit)

    @precondition(lambda machine: len(queued(machine.model)) < 8)
    @rule(wish=wishes)
    def create(self, wish: Wish) -> None:
        self._create(self.last_number + 1, wish)

    @when(Queue.numbers)
    @rule(number=jobs("queued"), wish=wishes, is_same=st.booleans())
    def create_again(self, number: int, wish: Wish, is_same: bool) -> None:
        job = self.model.jobs.get(number)
        if number in self.model.archived:
            number = self.last_number + 1
        self._create(number, job.wish if job and is_same else wish)

    @rule(wish=wishes, key=st.integers(1, 2))
    def create_with_one_key_for_two_tenants(self, wish: Wish, key: int) -> None:
        for tenant in (0, 1, 0, 1):
            self._create(self.last_number + 1, replace(wish, tenant=tenant, key=key))

    @when(to_cancel)
    @rule(number=jobs("queued", "processing"))
    def cancel(self, number: int) -> None:
        expected = self.model.cancel(number)

        assert self._outcome(CANCEL, UUID(int=number)) == expected

    @when(final)
    @rule(number=jobs("failed", "cancelled"), retry_key=st.integers(1, 3), times=st.integers(1, 2))
    def retry(self, number: int, retry_key: int, times: int) -> None:
        expected = [self.model.retry(number, retry_key) for _ in range(times)]

        answers = [self._outcome(RETRY, UUID(int=number), UUID(int=retry_key)) for _ in expected]

        assert answers == expected

    @when(without_success)
    @rule(
        number=chosen_by(without_success), keys=st.lists(st.integers(1, 3), min_size=2, max_size=3)
    )
    def retry_after_each_cancel(self, number: int, keys: list[int]) -> None:
        for retry_key in keys:
            retried, cancelled = self.model.retry(number, retry_key), self.model.cancel(number)

            assert self._outcome(RETRY, UUID(int=number), UUID(int=retry_key)) == retried
            assert self._outcome(CANCEL, UUID(int=number)) == cancelled

    @when(final)
    @rule(
        number=chosen_by(final),
        change=st.sampled_from(
            [
                "stage = 'x'",
                "priority = 1",
                "worker_id = 'x'",
                "output_files = '[1, 2]'",
                "status = 'completed', progress = 100, completed_at = now(), cancelled_at = null",
                "status = 'processing', started_at = now(), completed_at = null, cancelled_at = null",
            ]
        ),
    )
    def change_by_hand(self, number: int, change: str) -> None:
        assert self._ask(MEDDLE.format(change), UUID(int=number)) == "VJ002"

    @when(Queue.numbers)
    @rule(number=jobs(*FINAL))
    def delete(self, number: int) -> None:
        expected = self.model.delete(number)

        assert self._outcome(DELETE, UUID(int=number)) == expected

    @when(final)
    @rule(queue=st.sampled_from(QUEUES), limit=limits)
    def clear(self, queue: str, limit: int) -> None:
        expected = self.model.clear(queue, limit)

        rows = self._ask(CLEAR, Jsonb({"queue": queue}), limit)

        assert {row["id"].int for row in rows} == expected

    @when(Queue.numbers)
    @rule(
        numbers=st.lists(jobs("queued"), min_size=1, max_size=3, unique=True),
        changes=st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from(["queued", "cancelled"]),
                "priority": st.sampled_from(PRIORITIES),
                "queue": st.sampled_from(QUEUES),
            },
        ),
    )
    def change(self, numbers: list[int], changes: Row) -> None:
        wish = {"status": None, "priority": None, "queue": None, **changes}
        expected = {number: self.model.change(number, **wish) for number in sorted(numbers)}

        rows = self._ask(CHANGE, Jsonb(changes), [UUID(int=number) for number in numbers])

        assert {row["job_id"].int: row["outcome"] for row in rows} == expected

    # Workers

    @when(queued_or_overdue)
    @rule(
        worker=workers,
        queues=st.permutations(QUEUES) | st.sampled_from(QUEUES).map(lambda queue: [queue]),
        pipelines=st.none() | st.sampled_from(PIPELINES).map(lambda pipeline: [pipeline]),
        limit=limits,
    )
    def claim(
        self, worker: str, queues: list[str], pipelines: list[str] | None, limit: int
    ) -> None:
        self._claims.append((worker, next(self._keys)))
        self._claim(*self._claims[-1], queues, pipelines, limit)

    @precondition(lambda machine: bool(machine._claims))
    @rule(back=st.integers(1, 3), limit=limits)
    def claim_again(self, back: int, limit: int) -> None:
        worker, claim_key = self._claims[-back:][0]
        self._claim(worker, claim_key, list(QUEUES), None, limit)

    @when(queued)
    @rule(number=jobs("queued"), worker=workers)
    def start(self, number: int, worker: str) -> None:
        self._start(number, worker)

    @any_attempt
    @rule(
        attempt=attempts(),
        said=st.lists(
            st.tuples(
                st.none() | st.integers(0, 100),
                st.none() | st.sampled_from(STAGES),
                st.none() | st.integers(1, 9),
            ),
            min_size=1,
            max_size=2,
        ),
        others=st.lists(attempts(), max_size=2),
    )
    def beat(
        self,
        attempt: Attempt,
        said: list[tuple[int | None, str | None, int | None]],
        others: list[Attempt],
    ) -> None:
        # One of them holds its lease at most: two expiries at one moment have no order.
        for progress, stage, checkpoint in said:
            self._beat(
                {attempt, *(set(others) - set(self.model.attempts()))}, progress, stage, checkpoint
            )

    @any_attempt
    @rule(attempt=attempts(), way=st.sampled_from(WAYS))
    def settle(self, attempt: Attempt, way: str) -> None:
        answer = self._settle(way, attempt)

        if answer == "ok":
            self._accept(attempt)

    @any_attempt
    @rule(
        outcomes=st.dictionaries(attempts(), st.sampled_from(OUTCOMES), min_size=1, max_size=4),
        worker=workers,
        limit=st.none() | limits,
        times=st.integers(1, 2),
    )
    def settle_and_claim(
        self, outcomes: dict[Attempt, str], worker: str, limit: int | None, times: int
    ) -> None:
        wish = None
        if limit is not None:
            self._claims.append((worker, next(self._keys)))
            wish = _claim_wish(*self._claims[-1], limit)
        for _ in range(times):
            (row,) = self._ask(SETTLE, Jsonb(_settlements(outcomes)), wish and Jsonb(wish))
            leased = _read_leases(row["leased"])

            expected = self.model.settle(outcomes, [1])
            answers = {_attempt(each): each["verdict"] for each in row["settled"]}
            assert (answers, len(row["settled"])) == (expected, len(outcomes))
            self._accept(*(attempt for attempt, answer in answers.items() if answer == "ok"))
            if limit is None:
                assert leased == []
            else:
                self._check_claim(leased, *self._claims[-1], QUEUES, None, limit)

    @any_attempt
    @rule(attempt=attempts())
    def log(self, attempt: Attempt) -> None:
        self._log(attempt)

    @when(Queue.attempts)
    @rule(
        attempt=chosen_by(Queue.attempts),
        progress=st.integers(1, 100),
        way=st.sampled_from(WAYS),
        is_cancelled=st.booleans(),
    )
    def save_and_settle(
        self, attempt: Attempt, progress: int, way: str, is_cancelled: bool
    ) -> None:
        for said in (progress, progress - 1):
            self._beat({attempt}, said, STAGES[said % 2], said)
        self._accept(attempt)
        self._settle(way, attempt)
        if is_cancelled:
            expected = self.model.cancel(attempt[0])
            assert self._outcome(CANCEL, UUID(int=attempt[0])) == expected

    @when(Queue.attempts)
    @rule(attempt=chosen_by(Queue.attempts), worker=workers, way=st.permutations(WAYS))
    def work_on_when_another_has_the_job(
        self, attempt: Attempt, worker: str, way: list[str]
    ) -> None:
        number, _ = attempt
        self._expire(number)
        self._recover(100)
        if self.model.start(number) == "ok":
            self._start(number, worker)

        self._beat({attempt}, 99, "upload", 9)
        self._log(attempt)
        for each in way:
            assert self._settle(each, attempt) == "lost"

    @when(running)
    @rule(number=jobs("processing"), way=st.sampled_from(WAYS[:3]))
    def settle_without_token(self, number: int, way: str) -> None:
        expected, answer = self._end(way, number, None)

        assert answer == expected

    @when(overdue)
    @rule(limit=limits)
    def recover(self, limit: int) -> None:
        self._recover(limit)

    @when(Queue.numbers)
    @rule(
        number=jobs("processing"),
        status=st.sampled_from(["queued", "processing", *FINAL]),
        progress=st.none() | st.integers(0, 100),
    )
    def set_status(self, number: int, status: str, progress: int | None) -> None:
        starts = status == "processing" and number not in running(self.model)
        progress = None if starts else progress
        expected = self.model.set_status(number, status, progress=progress)

        answer = self._outcome(SET_STATUS, UUID(int=number), status, progress, "worker-1")

        assert answer == expected
        if starts and expected == "ok":
            (row,) = self._ask(LEASE, UUID(int=number))
            self._started(number, "worker-1", 0, row)

    # Time

    @when(running)
    @rule(number=chosen_by(running), limit=st.none() | limits)
    def expire(self, number: int, limit: int | None) -> None:
        self._expire(number)
        self._recover(limit)

    @when(Queue.attempts)
    @rule(attempt=chosen_by(Queue.attempts), beats=st.booleans(), limit=st.none() | limits)
    def pass_deadline(self, attempt: Attempt, beats: bool, limit: int | None) -> None:
        number, _ = attempt
        self._sql.execute(PASS_DEADLINE, (UUID(int=number),))
        self.model.pass_deadline(number)
        if beats:
            self._beat({attempt}, 99, "upload", 9)
        self._recover(limit)

    @when(asked_to_stop)
    @rule(number=chosen_by(asked_to_stop), limit=st.none() | limits)
    def pass_grace(self, number: int, limit: int | None) -> None:
        self._sql.execute(PASS_GRACE, (UUID(int=number),))
        self.model.pass_grace(number)
        self._recover(limit)

    @when(Queue.waiting)
    @rule(number=chosen_by(Queue.waiting))
    def fall_due(self, number: int) -> None:
        self._sql.execute(FALL_DUE, (UUID(int=number),))
        self.model.fall_due(number)

    # Operators

    @when(final)
    @rule(
        statuses=st.lists(st.sampled_from(FINAL), min_size=1, max_size=3, unique=True),
        limit=limits,
        status=st.sampled_from(["queued", "processing", *FINAL]),
    )
    def archive(self, statuses: list[str], limit: int, status: str) -> None:
        expected = self.model.archive(statuses, limit)

        rows = self._ask(ARCHIVE, statuses, limit)

        assert sorted(row["id"].int for row in rows) == sorted(expected)
        for number in expected:
            self._disturb_the_archive(number, status)

    @rule(limited=st.sampled_from(LIMITED), most=st.none() | st.integers(0, 3))
    def limit(self, limited: tuple[str, str], most: int | None) -> None:
        self._limit(*limited, most)

    @when(queued)
    @rule(
        number=chosen_by(queued),
        kind=st.sampled_from(["tenant", "queue", "pipeline"]),
        room=st.integers(0, 1),
        most_of_each=st.none() | st.integers(0, 3),
    )
    def claim_at_a_limit(self, number: int, kind: str, room: int, most_of_each: int | None) -> None:
        key = self.model.jobs[number].key(kind)
        self._limit(kind, key, self.model.running_under(kind, key) + room)
        self._limit(kind, "*", most_of_each)
        self._claims.append((WORKERS[0], next(self._keys)))
        self._claim(*self._claims[-1], QUEUES, None, 3)

    @precondition(lambda machine: bool(machine.model.limits))
    @rule()
    def lift_all_limits(self) -> None:
        for kind, key in list(self.model.limits):
            self._limit(kind, key, None)

    @rule(queue=st.sampled_from(QUEUES), is_fair=st.booleans(), limit=limits)
    def set_queue_and_claim(self, queue: str, is_fair: bool, limit: int) -> None:
        self.model.set_queue(queue, is_fair=is_fair)

        rows = self._ask(SET_QUEUE, queue, is_fair)

        assert rows == [{"queue_name": queue, "queue_is_fair": is_fair}]
        self._claims.append((WORKERS[0], next(self._keys)))
        self._claim(*self._claims[-1], [queue], None, limit)

    @when(overdue)
    @rule()
    def maintain(self) -> None:
        expected = self.model.recover(500)

        (row,) = self._ask(MAINTAIN)

        recovered = [(UUID(each["job_id"]).int, each["outcome"]) for each in row["recovered"]]
        assert (recovered, row["archived"], row["dropped"]) == (expected, 0, [])

    @rule(limit=st.sampled_from([1, 5, 20_000]))
    def fold(self, limit: int) -> None:
        self._sql.execute(FOLD, (limit,))

    @when(Queue.numbers)
    @rule(
        tenant=st.none() | st.integers(0, 2),
        queue=st.none() | st.sampled_from(QUEUES),
        pipeline=st.none() | st.sampled_from(PIPELINES),
    )
    def count(self, tenant: int | None, queue: str | None, pipeline: str | None) -> None:
        wanted = {"user_id": tenant, "queue": queue, "pipeline": pipeline}
        counted = Counter(
            job.status
            for job in self.model.jobs.values()
            for facts in [(job.wish.tenant, job.queue, job.wish.pipeline)]
            if all(want in (None, fact) for want, fact in zip(wanted.values(), facts, strict=True))
        )
        user_id = {} if tenant is None else {"user_id": str(TENANTS[tenant])}
        asked = {name: want for name, want in wanted.items() if want is not None} | user_id

        (row,) = self._ask(FIGURES, Jsonb(asked))

        assert (row["total"], Counter(row["by_status"])) == (counted.total(), counted)

    # What holds after every step

    @invariant()
    def the_model_and_the_laws_hold(self) -> None:
        now = Stored.read(self._sql)

        assert [_seen(row) for row in now.jobs.values()] == [
            _expected(job) for job in self.model.jobs.values()
        ]
        assert {number: now.history(number) for number in now.events} == {
            number: job.history for number, job in (self.model.jobs | self.model.archived).items()
        }
        assert now.archived.keys() == self.model.archived.keys()
        self._laws.check(self._before, now)
        self._before = now

    # What the rules share

    def _ask(self, query: str, *values: Any) -> list[Row] | str:
        """Return the rows of the answer, or the SQLSTATE with which the database refused."""
        try:
            cursor = self._sql.execute(query, values)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("VJ"):
                raise
            return error.sqlstate

    def _outcome(self, query: str, *values: Any) -> str:
        return _outcome(self._ask(query, *values))

    def _create(self, number: int, wish: Wish) -> None:
        self.last_number = max(self.last_number, number)
        if (
            number not in self.model.jobs
        ):  # a new job under a deleted one's id counts from one again
            self._accepted = {attempt for attempt in self._accepted if attempt[0] != number}
        expected = self.model.create(number, wish)

        answer = self._ask(CREATE, Jsonb([_content(number, wish)]))

        assert (answer if isinstance(answer, str) else answer[0]["id"].int) == expected

    def _claim(
        self,
        worker: str,
        claim_key: int,
        queues: Sequence[str],
        pipelines: Sequence[str] | None,
        limit: int,
    ) -> None:
        key = UUID(int=claim_key)
        rows = self._ask(CLAIM, worker, key, list(queues), pipelines, limit, HOURS_SECONDS)

        self._check_claim(rows, worker, claim_key, queues, pipelines, limit)

    def _check_claim(
        self,
        rows: list[Row],
        worker: str,
        claim_key: int,
        queues: Sequence[str],
        pipelines: Sequence[str] | None,
        limit: int,
    ) -> None:
        expected = self.model.claim(
            worker, claim_key, queues=queues, pipelines=pipelines, limit=limit
        )

        assert [(UUID(row["id"]).int, row["run_token"]) for row in rows] == expected
        for attempt, row in zip(expected, rows, strict=True):
            self._take(attempt, row)
            assert row["checkpoint"] == self.model.jobs[attempt[0]].checkpoint

    def _start(self, number: int, worker: str) -> None:
        key = next(self._keys)
        expected = self.model.start(number)

        answer = self._ask(START, UUID(int=number), worker, UUID(int=key), HOURS_SECONDS)

        assert _outcome(answer) == expected
        if expected == "ok":
            self._started(number, worker, key, answer[0])

    def _started(self, number: int, worker: str, claim_key: int, row: Row) -> None:
        attempt = self.model.started(number, worker, claim_key)
        assert attempt[1] == row["run_token"]
        self._take(attempt, row)

    def _take(self, attempt: Attempt, row: Row) -> None:
        self.model.jobs[attempt[0]].lease.expires_at = row["expires_at"]
        if attempt not in self.attempts:
            self.attempts.append(attempt)

    def _beat(
        self, beats: set[Attempt], progress: int | None, stage: str | None, checkpoint: int | None
    ) -> None:
        said = [
            {"job_id": str(UUID(int=number)), "run_token": run_token, "progress": progress}
            | ({} if checkpoint is None else {"checkpoint": checkpoint})
            | ({} if stage is None else {"stage": stage})
            for number, run_token in sorted(beats)
        ]

        rows = self._ask(BEAT, Jsonb(said), HOURS_SECONDS)

        answers = {(row["job_id"].int, row["run_token"]): row for row in rows}
        assert len(rows) == len(beats)
        for each in sorted(beats):
            expected = self.model.beat(
                each,
                progress=progress,
                stage=stage,
                checkpoint=checkpoint,
                until=answers[each]["expires_at"],
            )
            assert answers[each]["verdict"] == expected

    def _log(self, attempt: Attempt) -> None:
        number, run_token = attempt
        expected = self.model.log(attempt)

        assert self._outcome(LOG, UUID(int=number), run_token) == expected

    def _settle(self, way: str, attempt: Attempt) -> str:
        expected, answer = self._end(way, *attempt)

        assert answer == expected
        return answer

    def _accept(self, *attempts: Attempt) -> None:
        for attempt in attempts:
            assert attempt not in self._accepted, f"{attempt} was settled twice"
            self._accepted.add(attempt)

    def _disturb_the_archive(self, number: int, status: str) -> None:
        job_id = UUID(int=number)
        assert self._outcome(CANCEL, job_id) == "VJ002"
        assert self._outcome(RETRY, job_id, UUID(int=1)) == "VJ002"
        assert self._outcome(DELETE, job_id) == "VJ002"
        assert self._outcome(START, job_id, "worker-1", UUID(int=next(self._keys)), 60) == "VJ002"
        assert self._outcome(SET_STATUS, job_id, status, None, None) == "VJ002"
        rows = self._ask(CHANGE, Jsonb({"priority": 1}), [job_id])
        assert [row["outcome"] for row in rows] == ["not_found"]

    def _limit(self, kind: str, key: str, most: int | None) -> None:
        expected = self.model.set_limit(kind, key, most)

        rows = self._ask(SET_LIMIT, kind, _stored_key(kind, key), most)

        assert [tuple(row.values()) for row in rows] == sorted(
            (kind, _stored_key(kind, key), *figures) for kind, key, *figures in expected
        )

    def _expire(self, number: int) -> None:
        (row,) = self._ask(EXPIRE, next(self._keys), UUID(int=number))
        self.model.expire(number, row["expires_at"])

    def _recover(self, limit: int | None) -> None:
        if limit is None:
            return
        expected = self.model.recover(limit)

        rows = self._ask(RECOVER, limit)

        assert [(row["job_id"].int, row["outcome"]) for row in rows] == expected

    def _end(self, way: str, number: int, run_token: int | None) -> tuple[str, str]:
        """End an attempt in the model and in the database; return both answers."""
        job_id, model, ask = UUID(int=number), self.model, self._outcome
        match way:
            case "complete":
                outputs = [] if run_token is None else [run_token]
                expected = model.complete(number, run_token, outputs)
                return expected, ask(COMPLETE, job_id, run_token, Jsonb(outputs))
            case "fail" | "fail for good":
                retryable = way == "fail"
                expected = model.fail(number, run_token, retryable=retryable)
                return expected, ask(FAIL, job_id, run_token, retryable)
            case "release":
                return model.release(number, run_token), ask(RELEASE, job_id, run_token)
            case _:
                return model.confirm_cancel(number, run_token), ask(CONFIRM, job_id, run_token)


def _outcome(answer: list[Row] | str) -> str:
    """Return the verdict in the answer, the refusal, or "ok"."""
    if isinstance(answer, str):
        return answer
    (row,) = answer
    return row.get("verdict", "ok")


def _stored_key(kind: str, key: str) -> str:
    """Return a limit's key as the database knows it."""
    return str(TENANTS[int(key)]) if kind == "tenant" and key != "*" else key


def _attempt(row: Row) -> Attempt:
    """Return the attempt that a settlement is about."""
    return UUID(row["job_id"]).int, row["run_token"]


def _settlements(outcomes: dict[Attempt, str]) -> list[Row]:
    """Return the outcomes as `settle_video_jobs` takes them."""
    said = {"retryable": {"outcome": "failed", "retryable": True}}
    return [
        {"job_id": str(UUID(int=number)), "run_token": run_token, "output_files": [1]}
        | said.get(outcome, {"outcome": outcome, "retryable": False})
        for (number, run_token), outcome in outcomes.items()
    ]


def _claim_wish(worker: str, claim_key: int, limit: int) -> Row:
    """Return what is to be claimed as `settle_video_jobs` takes it."""
    return {
        "worker": worker,
        "claim_key": str(UUID(int=claim_key)),
        "queues": QUEUES,
        "job_limit": limit,
        "lease_seconds": HOURS_SECONDS,
    }


def _read_leases(leased: list[Row]) -> list[Row]:
    """Return leases in JSON as the rows of a claim."""
    return [
        {
            **lease,
            "id": lease["job"]["id"],
            "expires_at": datetime.fromisoformat(lease["expires_at"]),
        }
        for lease in leased
    ]


def _content(number: int, wish: Wish) -> Row:
    """Return the wish as `create_video_jobs` takes it."""
    return {
        "id": str(UUID(int=number)),
        "user_id": str(TENANTS[wish.tenant]),
        "idempotency_key": wish.key and str(wish.key),
        "original_filename": wish.content,
        "queue": wish.queue,
        "pipeline": wish.pipeline,
        "priority": wish.priority,
        "max_attempts": wish.max_attempts,
        "run_at": None if wish.is_due else "2999-01-01T00:00:00Z",
        "quality_preset": "standard",
        "enhancement_level": "none",
        "settings": {},
        "resource_type": "upload",
    }


def _seen(row: Row) -> Row:
    """Return what is stored of a job, as far as the model says it."""
    is_queued, is_running = row["status"] == "queued", row["status"] == "processing"
    return {
        "number": row["id"].int,
        "status": row["status"],
        "place": (row["queue"], row["priority"]),
        "is_due": row["is_due"] if is_queued else None,
        "counts": (row["attempt"], row["max_attempts"], row["lost_count"], row["run_token"]),
        "progress": row["progress"],
        "stage": row["stage"],
        "outputs": row["outputs"],
        "checkpoint": row["checkpoint"],
        "leased": (row["leased_to"], row["leased_until"]),
        "is_asked_to_stop": row["is_asked_to_stop"] if is_running else None,
    }


def _expected(job: Any) -> Row:
    """Return what the model says of a job, in the same form."""
    is_queued, is_running = job.status == "queued", job.status == "processing"
    return {
        "number": job.number,
        "status": job.status,
        "place": (job.queue, job.priority),
        "is_due": job.is_due if is_queued else None,
        "counts": (job.attempt, job.wish.max_attempts, job.lost_count, job.run_token),
        "progress": job.progress,
        "stage": job.stage,
        "outputs": job.outputs,
        "checkpoint": job.checkpoint,
        "leased": (job.lease.worker, job.lease.expires_at) if job.lease else (None, None),
        "is_asked_to_stop": job.is_asked_to_stop if is_running else None,
    }


@pytest.fixture
def patient_sql(sql: psycopg.Connection[Row]) -> Iterator[psycopg.Connection[Row]]:
    """The connection, with all waits too long to end by themselves."""
    sql.execute(PATIENCE)
    yield sql
    sql.execute(USUAL)


@pytest.mark.timeout(3_600)  # shrinking a failure takes its time, and so does the long profile
def test_the_database_does_what_the_model_says(patient_sql):
    """After any program of operations, every answer and all that is stored is as the model says."""

    def machine() -> QueueMachine:
        patient_sql.execute(EMPTY)
        return QueueMachine(patient_sql)

    run_state_machine_as_test(machine, settings=PROFILE)
