"""Many claimers at once: no job twice, none left, no limit passed; and whose turn it is, counted in claims."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from statistics import mean
from threading import Event
from time import monotonic
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

JOBS = int(os.environ.get("VIDEOJOBS_LOAD_JOBS", "100000"))
CLAIMERS = 32
QUEUES, PIPELINES = ("default", "night", "bulk"), ("clips", "renditions", "posters")

CREATE = """
insert into public.video_jobs (user_id, queue, pipeline, priority)
select
  ('00000000-0000-4000-8000-' || lpad((g %% %(tenants)s)::text, 12, '0'))::uuid,
  (%(queues)s::text[])[1 + g %% cardinality(%(queues)s::text[])],
  (%(pipelines)s::text[])[1 + g / 7 %% cardinality(%(pipelines)s::text[])],
  g %% %(priorities)s
from generate_series(0, %(jobs)s - 1) g
"""
CREATE_FOR = """
insert into public.video_jobs (user_id, pipeline, priority, run_at)
select %s, %s, %s, clock_timestamp() + %s * interval '1 day' from generate_series(1, %s)
"""
CREATE_DELAYED = """
insert into public.video_jobs (user_id, run_at)
select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, now() + interval '1 day'
from generate_series(1, %s) g
"""
CLAIM = """
select (c.job ->> 'id')::uuid, c.run_token, (c.job ->> 'tenant_id')::uuid
from public.claim_video_jobs(%s, gen_random_uuid(), %s, %s, %s, 3600) c
"""
SETTLE_AND_CLAIM = """
select (l ->> 'run_token')::bigint, (l -> 'job' ->> 'id')::uuid, s.refused
from (
  select
    s.leased,
    (select count(*) from jsonb_array_elements(s.settled) e where e ->> 'verdict' <> 'ok') as refused
  from public.settle_video_jobs(%s, %s) s
) s
left join lateral jsonb_array_elements(s.leased) l on true
"""
STATUSES = "select by_status from public.get_video_job_stats()"
DRIFT = "select count(*) from public.reconcile_video_job_stats()"
# From what was written: a claim's event is written after it saw that an end was committed, so in the
# order of ids the number of jobs that run never looks higher than it was.
MOST_AT_ONCE = """
select kind, key, max(running)
from (
  select k.kind, k.key, sum(case e.type when 'claimed' then 1 else -1 end) over (partition by k.kind, k.key order by e.id) as running
  from public.video_job_events e
  join public.video_jobs j on j.id = e.job_id
  cross join lateral (values ('tenant', j.tenant_id::text), ('queue', j.queue), ('pipeline', j.pipeline)) k (kind, key)
  where e.type in ('claimed', 'completed', 'released')
) moments
group by kind, key
"""
RUN_NOW = """
select k.kind, k.key, count(*)
from videojobs.leases l
cross join lateral (values ('tenant', l.tenant_id::text), ('queue', l.queue), ('pipeline', l.pipeline)) k (kind, key)
group by 1, 2
"""
SERVED = """
select j.tenant_id
from public.video_job_events e
join public.video_jobs j on j.id = e.job_id
where e.type = 'claimed'
order by e.id
"""

Connect = Callable[[], psycopg.Connection]


def tenant(number: int) -> UUID:
    """Return the tenant of that number; they take turns in the order of numbers."""
    return UUID(f"00000000-0000-4000-8000-{number:012}")


@pytest.fixture
def connect(database: str) -> Connect:
    """Open a connection as the owner; each statement commits."""
    return lambda: psycopg.connect(database, autocommit=True)


@pytest.fixture
def owner(connect: Connect) -> Iterator[psycopg.Connection]:
    """The owner's connection to the emptied database."""
    with connect() as connection:
        yield connection


def create(sql: psycopg.Connection, jobs: int, *, tenants: int, priorities: int = 1) -> None:
    """Store so many jobs, spread over tenants, queues, pipelines and priorities."""
    spread = {"queues": list(QUEUES), "pipelines": list(PIPELINES)}
    sql.execute(CREATE, {"jobs": jobs, "tenants": tenants, "priorities": priorities, **spread})


def create_for(
    sql: psycopg.Connection,
    who: int,
    jobs: int = 1,
    *,
    pipeline: str = "clips",
    priority: int = 5,
    days: int = 0,
) -> None:
    """Store so many jobs of one tenant."""
    sql.execute(CREATE_FOR, (tenant(who), pipeline, priority, days, jobs))


def claim(
    sql: psycopg.Connection, limit: int = 1, *, pipelines: list[str] | None = None
) -> list[int]:
    """Claim from the default queue; return the numbers of the tenants whose jobs they are, in order."""
    rows = sql.execute(CLAIM, ("worker", ["default"], pipelines, limit)).fetchall()
    return [int(owner.hex[-12:]) for _, _, owner in rows]


def claim_from(sql: psycopg.Connection, queue: str) -> list[UUID]:
    """Claim one job from the queue; return its id."""
    return [row[0] for row in sql.execute(CLAIM, ("worker", [queue], None, 1))]


def settle_and_claim(
    sql: psycopg.Connection,
    held: list[tuple[UUID, int]],
    outcome: str,
    queues: list[str],
    limit: int,
) -> list[tuple[UUID, int]]:
    """Settle what is held, which must be accepted, and claim the next in the same call."""
    settlements = [{"job_id": str(j), "run_token": t, "outcome": outcome} for j, t in held]
    wish = {"worker": "worker", "claim_key": str(uuid4()), "queues": queues}
    wish |= {"job_limit": limit, "lease_seconds": 3600}
    rows = sql.execute(SETTLE_AND_CLAIM, (Jsonb(settlements), Jsonb(wish))).fetchall()
    assert rows[0][2] == 0, "a settlement was refused"
    return [(job_id, run_token) for run_token, job_id, _ in rows if job_id]


# Nothing twice, nothing left


def claim_until_empty(connect: Connect, seed: int) -> list[tuple[UUID, int]]:
    """Claim in batches until nothing is left; return the jobs and tokens, still running."""
    mine: list[tuple[UUID, int]] = []
    limits = cycle(random.Random(seed).sample([25, 50, 100], 3))
    with connect() as sql:
        while rows := sql.execute(CLAIM, ("worker", list(QUEUES), None, next(limits))).fetchall():
            mine += [(job_id, run_token) for job_id, run_token, _ in rows]
    return mine


def work_until_empty(connect: Connect, seed: int) -> list[tuple[UUID, int]]:
    """Complete each batch and claim the next in one call until nothing is left; return all of them."""
    mine: list[tuple[UUID, int]] = []
    queues = random.Random(seed).sample(QUEUES, 3)
    with connect() as sql:
        held = settle_and_claim(sql, [], "completed", queues, 50)
        while held:
            mine += held
            held = settle_and_claim(sql, held, "completed", queues, 50)
    return mine


@pytest.mark.timeout(900)
def test_many_claimers_take_each_job_once_and_leave_none(connect, owner):
    """32 claimers, half of them completing as they go: every job is claimed once, and the figures are exact."""
    create(owner, JOBS, tenants=200, priorities=3)

    with ThreadPoolExecutor(CLAIMERS) as threads:
        claimers = [
            threads.submit(work_until_empty if seed % 2 else claim_until_empty, connect, seed)
            for seed in range(CLAIMERS)
        ]
        claimed = [each.result() for each in claimers]

    completed = sum(len(each) for each in claimed[1::2])
    jobs = Counter(job_id for each in claimed for job_id, _ in each)
    assert (len(jobs), set(jobs.values())) == (JOBS, {1})
    assert {run_token for each in claimed for _, run_token in each} == {1}
    (statuses,) = owner.execute(STATUSES).fetchone()
    others = {"queued": 0, "failed": 0, "cancelled": 0}
    assert statuses == {"completed": completed, "processing": JOBS - completed, **others}
    assert owner.execute(DRIFT).fetchone() == (0,)
    while owner.execute("select videojobs.fold_tallies()").fetchone() != (0,):
        pass
    assert owner.execute(DRIFT).fetchone() == (0,)
    assert owner.execute(STATUSES).fetchone() == (statuses,)


# Limits

LIMITS = {
    ("tenant", "*"): 3,
    ("tenant", str(tenant(0))): 1,
    ("queue", "night"): 4,
    ("pipeline", "posters"): 5,
}
LIMITED_JOBS = 900


def most_allowed(kind: str, key: str) -> int:
    """Return how many may run at once under a key."""
    return LIMITS.get((kind, key), LIMITS.get((kind, "*"), LIMITED_JOBS))


def work_within_limits(connect: Connect, seed: int, done: Event) -> int:
    """Claim, hold, complete (or give back at times), until nothing is queued; return the claims."""
    chance = random.Random(seed)
    claims = 0
    with connect() as sql:
        held: list[tuple[UUID, int]] = []
        while held or not done.is_set():
            outcome = "released" if chance.random() < 0.1 else "completed"
            queues, limit = chance.sample(QUEUES, 3), chance.randint(1, 4)
            held = settle_and_claim(sql, held, outcome, queues, limit)
            claims += len(held)
            done.wait(chance.random() / 20 if held else 0.01)
    return claims


def watch_limits(connect: Connect, done: Event) -> tuple[int, dict[tuple[str, str], int]]:
    """Look at what runs again and again; return how often, and the most that was seen of each kind."""
    looks, most = 0, Counter()
    with connect() as sql:
        while True:
            for kind, key, running in sql.execute(RUN_NOW):
                most[kind, key] = max(most[kind, key], running)
            looks += 1
            statuses = sql.execute(STATUSES).fetchone()[0]
            if statuses["completed"] == LIMITED_JOBS:
                done.set()
            if done.wait(0.02):
                return looks, most


@pytest.mark.timeout(600)
def test_limits_are_never_passed_and_starve_nobody(connect, owner):
    """Limits of tenants, a queue and a pipeline hold at every moment, and all jobs are done all the same."""
    create(owner, LIMITED_JOBS, tenants=12)
    for (kind, key), most in LIMITS.items():
        owner.execute("select public.set_video_job_limit(%s, %s, %s)", (kind, key, most))
    done = Event()

    with ThreadPoolExecutor(17) as threads:
        watcher = threads.submit(watch_limits, connect, done)
        workers = [threads.submit(work_within_limits, connect, seed, done) for seed in range(16)]
        try:
            claims = sum(worker.result(timeout=300) for worker in workers)
        finally:
            done.set()
        looks, seen = watcher.result()

    told = {(kind, key): running for kind, key, running in owner.execute(MOST_AT_ONCE)}
    assert {key: most for key, most in seen.items() if most > most_allowed(*key)} == {}
    assert {key: most for key, most in told.items() if most > most_allowed(*key)} == {}
    # They were reached, so it was the limits that held.
    assert {key: told[key] for key in LIMITS if key[1] != "*"} == {
        key: most for key, most in LIMITS.items() if key[1] != "*"
    }
    assert (claims >= LIMITED_JOBS, looks > 10) == (True, True)
    assert owner.execute(DRIFT).fetchone() == (0,)


# Fairness, counted in claims

SMALL_TENANTS = range(1, 50)
JOBS_OF_SMALL = 20
JOBS_OF_BIG = 2_000
ALL_SMALL = len(SMALL_TENANTS) * JOBS_OF_SMALL


def create_one_big_and_many_small(sql: psycopg.Connection, big: int) -> None:
    """Store 2,000 jobs of one tenant, and then 20 of each of 49 others."""
    create_for(sql, big, JOBS_OF_BIG)
    for small in SMALL_TENANTS:
        create_for(sql, small, JOBS_OF_SMALL)


def mean_waits(served: list[int]) -> dict[int, float]:
    """Return how many claims were served before a job of each small tenant, on average."""
    waits = {
        small: [place for place, who in enumerate(served) if who == small]
        for small in SMALL_TENANTS
    }
    assert {len(places) for places in waits.values()} == {JOBS_OF_SMALL}
    return {small: mean(places) for small, places in waits.items()}


def serve_until_small_are_done(sql: psycopg.Connection, limits: list[int]) -> list[int]:
    """Claim in turns with several limits, as several claimers would; return the tenants in order."""
    served: list[int] = []
    turns = cycle(limits)
    while sum(1 for who in served if who in SMALL_TENANTS) < ALL_SMALL:
        served += claim(sql, next(turns))
    return served


@pytest.mark.parametrize("big", [0, 50])
@pytest.mark.parametrize("limits", [[1], [1, 5, 10]], ids=["one by one", "in batches"])
def test_a_tenant_with_many_jobs_makes_nobody_wait(owner, big, limits):
    """Behind 2,000 jobs of one tenant, each small one's jobs go every 50th claim, whoever it is."""
    create_one_big_and_many_small(owner, big)

    served = serve_until_small_are_done(owner, limits)

    waits = mean_waits(served)
    print(
        f"fair, limits {limits}: mean {mean(waits.values()):.0f}, worst {max(waits.values()):.0f}"
    )
    assert len(served) <= 50 * JOBS_OF_SMALL + max(limits)
    assert max(waits.values()) <= 1.1 * mean(waits.values())
    assert mean(waits.values()) <= 50 * JOBS_OF_SMALL / 2 + max(limits)


def test_first_come_first_served_lets_the_many_go_first(owner):
    """In a queue that is not fair, small tenants wait for all 2,000: five times as long."""
    create_one_big_and_many_small(owner, big=50)
    owner.execute("select public.set_video_job_queue('default', false)")

    served = serve_until_small_are_done(owner, [100])

    waits = mean_waits(served)
    print(f"fifo: mean {mean(waits.values()):.0f}, worst {max(waits.values()):.0f}")
    assert served[:JOBS_OF_BIG] == [50] * JOBS_OF_BIG
    assert mean(waits.values()) >= JOBS_OF_BIG + ALL_SMALL / 2 - 1


def test_claimers_at_once_are_fair_together(connect, owner):
    """Eight claimers pass over each other's locks and turns: less evenly, but nobody waits twice the mean."""
    create_one_big_and_many_small(owner, big=50)

    def serve(seed: int) -> None:
        with connect() as sql:
            for _ in range(90):
                claim(sql, 1 + seed % 4)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(serve, range(8)))

    served = [int(who.hex[-12:]) for (who,) in owner.execute(SERVED)]
    waits = mean_waits(served)
    print(f"fair, 8 at once: mean {mean(waits.values()):.0f}, worst {max(waits.values()):.0f}")
    assert max(waits.values()) <= 2 * mean(waits.values())
    assert mean(waits.values()) <= 1.3 * 50 * JOBS_OF_SMALL / 2


def test_whoever_comes_is_served_within_a_round_and_whoever_goes_is_missed_by_nobody(owner):
    """New tenants, before and after the one served last, wait for one round; one that is gone costs no turn."""
    for who in (20, 40, 60):
        create_for(owner, who, 3)
    first = [claim(owner) for _ in range(2)]
    create_for(owner, 10)
    create_for(owner, 50)
    owner.execute(
        "select public.cancel_video_job(id) from public.video_jobs where user_id = %s and status = 'queued'",
        (tenant(60),),
    )

    then = [claim(owner) for _ in range(6)]

    assert first == [[20], [40]]
    assert then == [[50], [10], [20], [40], [20], [40]]


def test_a_queue_that_is_not_fair_stays_so_under_a_limit(owner):
    """First come, first served, as long as nobody is held back."""
    for who in (3, 3, 2, 1):
        create_for(owner, who)
    owner.execute("select public.set_video_job_queue('default', false)")
    owner.execute("select public.set_video_job_limit('queue', 'default', 10)")

    assert [claim(owner) for _ in range(4)] == [[3], [3], [2], [1]]


def test_tenants_whose_jobs_are_delayed_do_not_hold_up_the_one_that_is_due(owner):
    """Behind 1,000 tenants with nothing due, the due job is claimed at once, and so is the next."""
    owner.execute(CREATE_DELAYED, (1_000,))
    create_for(owner, 5_000, 2)

    assert [claim(owner) for _ in range(3)] == [[5_000], [5_000], []]


def test_nor_do_they_when_somebody_is_at_a_limit(owner):
    """The due job is claimed at once, too, while another tenant is held back."""
    owner.execute(CREATE_DELAYED, (1_000,))
    create_for(owner, 5_000, 2)
    create_for(owner, 6_000)
    owner.execute("select public.set_video_job_limit('tenant', '*', 1)")

    assert [claim(owner) for _ in range(3)] == [[5_000], [6_000], []]


def test_priority_goes_before_turns(owner):
    """A tenant's ten urgent jobs all go before another's first ordinary one."""
    create_for(owner, 1, 3, priority=5)
    create_for(owner, 2, 10, priority=9)
    create_for(owner, 3, 1, priority=9)

    served = [claim(owner)[0] for _ in range(13)]

    assert served == [2, 3, *[2] * 9, 1, 1]


@contextmanager
def few_pages_read(sql: psycopg.Connection, most: int) -> Iterator[None]:
    """Fail if the connection read more pages of jobs and their indexes than that."""
    query = """
    select pg_stat_get_xact_blocks_fetched('public.video_jobs'::regclass)
      + (select sum(pg_stat_get_xact_blocks_fetched(i.indexrelid)) from pg_index i where i.indrelid = 'public.video_jobs'::regclass)
    """
    with sql.transaction():
        before = sql.execute(query).fetchone()[0]
        yield
        read = sql.execute(query).fetchone()[0] - before
    assert read <= most, f"{read} pages were read"


def test_a_worker_finds_its_pipeline_behind_5000_jobs_of_another(owner):
    """It claims at once what it runs, its tenants in turn, and does not read what it does not run."""
    create_for(owner, 1, 5_000, pipeline="renditions")
    create_for(owner, 2, 2, pipeline="clips")
    create_for(owner, 3, 2, pipeline="clips")
    owner.execute("vacuum analyze public.video_jobs")

    with few_pages_read(owner, 400):
        served = [claim(owner, pipelines=["clips"]) for _ in range(5)]

    assert served == [[2], [3], [2], [3], []]


# What is waited for, by whom, in which order

WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0
"""
CREATE_ONE = "insert into public.video_jobs (user_id, queue) values (%s, %s) returning id"
START = "select run_token from public.start_video_job(%s, 'worker', gen_random_uuid())"
GO_SILENT = """
update videojobs.leases
set claimed_at = now() - interval '1 hour', expires_at = now() - %s * interval '1 second'
where job_id = %s
"""


def wait_for_waiting(sql: psycopg.Connection, count: int) -> None:
    """Return when so many connections wait for a lock; fail after ten seconds."""
    until = monotonic() + 10
    while sql.execute(WAITING).fetchone()[0] < count:
        assert monotonic() < until, f"there are not {count} that wait"


def test_settling_locks_jobs_in_the_order_of_their_ids(connect, owner, in_background):
    """As bulk updates do; so one that has the first job and wants the second waits for nobody."""
    for number in (1, 2):
        owner.execute(
            "insert into public.video_jobs (id, user_id) values (%s, %s)",
            (UUID(int=number), tenant(1)),
        )
        owner.execute(START, (UUID(int=number),))
    settlements = [
        {"job_id": str(UUID(int=1)), "run_token": 1, "outcome": "released"},
        {"job_id": str(UUID(int=2)), "run_token": 1, "outcome": "completed"},
    ]
    change = "select outcome from public.bulk_update_video_jobs('{\"priority\": 1}', %s)"

    with connect() as settler, connect() as changer:
        with changer.transaction():
            changer.execute(change, ([UUID(int=1)],))
            settling = in_background(
                settler.execute,
                "select settled from public.settle_video_jobs(%s)",
                (Jsonb(settlements),),
            )
            wait_for_waiting(owner, 1)
            changer.execute(change, ([UUID(int=2)],))
        (settled,) = settling.result(10).fetchone()

    assert [each["verdict"] for each in settled] == ["ok", "ok"]


def test_claims_that_recover_under_limits_do_not_wait_for_each_other(connect, owner, in_background):
    """Each has a job of one tenant, and rescues jobs of the other's: both claims go through."""
    silent = []
    for queue, due, lost in (("default", 1, 2), ("night", 2, 1)):
        for _ in range(3):
            (job_id,) = owner.execute(CREATE_ONE, (tenant(lost), queue)).fetchone()
            owner.execute(START, (job_id,))
            owner.execute(GO_SILENT, (100 - len(silent), job_id))
            silent.append(job_id)
        owner.execute(CREATE_ONE, (tenant(due), queue))
    owner.execute("select public.set_video_job_limit('tenant', '*', 50)")

    with connect() as first, connect() as second, connect() as other:
        with other.transaction():
            other.execute("select from public.video_jobs where id = any (%s) for update", (silent,))
            claims = [in_background(first.execute, CLAIM, ("worker", ["default"], None, 3))]
            wait_for_waiting(owner, 1)
            claims.append(in_background(second.execute, CLAIM, ("worker", ["night"], None, 3)))
            wait_for_waiting(owner, 2)
        claimed = [len(claim.result(20).fetchall()) for claim in claims]

    assert min(claimed) >= 1


def test_claims_that_are_the_first_of_their_queues_do_not_wait_for_each_other(connect, owner):
    """Two claims that ask two new queues in opposite orders both go through."""
    create(owner, 60, tenants=4)

    with connect() as first, connect() as second:
        for sql in (first, second):
            sql.execute("set lock_timeout = '5s'")
        with first.transaction(), second.transaction():
            took = [len(claim_from(first, "default")), len(claim_from(second, "night"))]
            took += [len(claim_from(first, "night")), len(claim_from(second, "default"))]

    assert took == [1, 1, 1, 1]
