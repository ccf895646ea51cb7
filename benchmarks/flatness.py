"""Whether what workers and pages ask stays as fast when very many jobs wait."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg

from benchmarks.queue.rounds import in_turns
from benchmarks.queue.systems import OURS, settle
from videojobs import JobFilter, Settings, VideoJobManager
from videojobs.local import LocalStack

SMALL = 10_000
LARGE = int(os.environ.get("VIDEOJOBS_BENCH_BACKLOG", "1000000"))
ROUNDS = 8
CALLS = 20
GOAL_GROWTH = 1.5
HELD_SECONDS = 20

USER = UUID("00000000-0000-4000-8000-000000000001")
"""Has a tenth of all jobs, and is in three teams with a hundredth of all jobs each."""
FEW_JOBS = UUID(int=2)
"""One of the other 999 users."""
HOUR = timedelta(hours=1)

# Of 26 jobs 20 wait, half of them for a day of the next month and with the highest priority; four are
# completed, one failed and one was cancelled. All are from the same ten days, however many there are:
# sums are kept by day, so that figures of more days are more rows.
_JOBS = """
insert into public.video_jobs (
  user_id, team_id, pipeline, status, priority, run_at, attempt, progress, source_url, error_code,
  created_at, updated_at, started_at, completed_at, cancelled_at, processing_time)
select
  case when mod(i, 10) = 0 then '00000000-0000-4000-8000-000000000001'::uuid
    else lpad(to_hex(mod(i, 999) + 1), 32, '0')::uuid end,
  case when mod(i, 10) <> 0 and mod(i / 10, 100) < 3 then lpad(to_hex(mod(i / 10, 100) + 1), 32, 'f')::uuid end,
  case when mod(i / 7, 4) = 0 then 'previews' else 'clips' end,
  s.status::public.video_job_status,
  case when s.is_delayed then 9 when mod(i / 13, 10) = 0 then 8 when mod(i / 13, 10) = 1 then 3 else 5 end,
  case when s.is_delayed then now() + make_interval(secs => 86400 + mod(i, 2592000)) else c.at end,
  case s.status when 'queued' then 0 else 1 end,
  case s.status when 'completed' then 100 else 0 end,
  'uploads/' || i || '.mp4',
  case s.status when 'failed' then 'processing_failed' end,
  c.at, c.at,
  case when s.status <> 'queued' then c.at end,
  case when s.status in ('completed', 'failed') then c.at + interval '1 hour' end,
  case s.status when 'cancelled' then c.at + interval '1 hour' end,
  case s.status when 'completed' then 60 + mod(i, 60) end
from generate_series(0, %(rows)s::integer - 1) i
cross join lateral (select now() - interval '10 days' * (1 - i::float / %(rows)s) as at) c
cross join lateral (
  select case
      when mod(i, 13) < 10 then 'queued'
      when mod(i, 13) < 12 then 'completed'
      when mod(i / 13, 2) = 0 then 'failed'
      else 'cancelled'
    end as status,
    mod(i, 13) < 10 and mod(i / 130, 2) = 0 as is_delayed
) s
"""
_EVENTS = """
insert into public.video_job_events (job_id, type, at)
select j.id, 'created', j.created_at from public.video_jobs j
"""
_TEAMS = """
with made as (
  insert into public.teams (id, name)
  select lpad(to_hex(i), 32, 'f')::uuid, 'Team ' || i from generate_series(1, 3) i
  returning id
)
insert into public.team_members (team_id, user_id) select m.id, %s from made m
"""
# As the migrations do for jobs that are there before them.
_TALLIES = """
insert into videojobs.tally_changes (
  user_id, team_id, queue, pipeline, platform_target, created_on, jobs,
  entered_status, entered_ended_on, entered_milliseconds)
select
  j.user_id, j.team_id, j.queue, j.pipeline, j.platform_target,
  (j.created_at at time zone 'utc')::date, count(*),
  j.status, (coalesce(j.completed_at, j.cancelled_at) at time zone 'utc')::date,
  case j.status when 'completed' then round(j.processing_time * 1000)::bigint end
from public.video_jobs j
group by 1, 2, 3, 4, 5, 6, 8, 9, 10
"""

Calls = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]


def lines(stack: LocalStack) -> Iterator[str]:
    """The median of each call with few and with many waiting, in turns, and what it grew by."""
    with ExitStack() as databases:
        urls = {size: databases.enter_context(OURS.database(stack)) for size in (SMALL, LARGE)}
        calls: dict[int, Calls] = {}
        for size, url in urls.items():
            fill(url, size)
            calls[size] = databases.enter_context(_calls(stack, url, size))
        found: dict[int, Times] = {size: {name: [] for name in calls[size]} for size in urls}
        for size in in_turns(tuple(urls), ROUNDS):
            for name, call in calls[size].items():
                found[size][name] += _timed(call)
        for name in found[SMALL]:
            yield _growth(name, found[SMALL][name], found[LARGE][name])
        yield _counting(urls[LARGE], found[LARGE]["stats of everything"])
        yield from _under_held_snapshot(urls[LARGE])


def fill(url: str, queued: int) -> None:
    """So many jobs wait, with three tenths as many final ones, true sums, and fresh statistics."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # no triggers
        made = connection.execute(_JOBS, {"rows": queued * 13 // 10}).rowcount
        assert made == queued * 13 // 10
        connection.execute(_EVENTS)
        connection.execute(_TEAMS, [USER])
        connection.execute(_TALLIES)
        connection.execute("reset session_replication_role")
        while connection.execute("select videojobs.fold_tallies()").fetchone() != (0,):
            pass
        drift = connection.execute("select public.reconcile_video_job_stats()").fetchall()
        assert drift == [], drift
    settle(url)


@contextmanager
def _calls(stack: LocalStack, url: str, size: int) -> Iterator[Calls]:
    settings = Settings(jwt_secret=stack.jwt_secret)
    failed, queued = JobFilter(status="failed"), JobFilter(status="queued")
    with VideoJobManager.from_url(url, settings=settings) as service:
        user = service.as_user(stack.user_token(USER))
        deep = service.list_jobs(limit=1, offset=size // 2)
        job_id = deep.items[0].id
        of_user = service.get_user_jobs(USER, limit=1, offset=size // 20)
        yield {
            "claim": lambda: _claim(service),
            "claim for one pipeline": lambda: _claim(service, pipelines=["previews"]),
            "claim of ten": lambda: _claim(service, limit=10),
            "get": lambda: service.get_job(job_id),
            "first page": service.list_jobs,
            "page deep inside": lambda: service.list_jobs(cursor=deep.next_cursor),
            "user's page, as service": lambda: service.get_user_jobs(USER),
            "user's page deep inside": lambda: service.get_user_jobs(
                USER, cursor=of_user.next_cursor
            ),
            "user's page, as that user": user.list_jobs,
            "page of failed": lambda: service.list_jobs(failed),
            "page of queued": lambda: service.list_jobs(queued),
            "user's page of failed, as service": lambda: service.get_user_jobs(
                USER, filters=failed
            ),
            "user's page of failed, as that user": lambda: user.list_jobs(failed),
            "stats of everything": service.get_job_stats,
            "stats by pipeline": lambda: service.get_job_stats(group_by="pipeline"),
            "stats of one user": lambda: service.get_job_stats(JobFilter(user_id=USER)),
            "stats as that user": user.get_job_stats,
            "check": service.check,
            "upkeep": service.maintain,
        }


def _claim(manager: VideoJobManager, **more: object) -> None:
    leases = manager.claim_jobs("bench", lease=HOUR, **more)  # type: ignore[arg-type]
    assert len(leases) == more.get("limit", 1)


def _timed(call: Callable[[], object], count: int = CALLS) -> list[float]:
    """Milliseconds of each, after one that warms up."""
    call()
    times: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _growth(name: str, small: list[float], large: list[float]) -> str:
    before, after = statistics.median(small), statistics.median(large)
    ratio = after / before
    verdict = "ok" if ratio <= GOAL_GROWTH else "ABOVE GOAL"
    return (
        f"{name:44} {SMALL:,} p50 {before:7.3f} ms  {LARGE:,} p50 {after:7.3f} ms"
        f"  ratio {ratio:5.2f} (goal {GOAL_GROWTH:.2f}) {verdict}"
    )


def _counting(url: str, summed: list[float]) -> str:
    query = "select status, count(*) from public.video_jobs group by status"
    with psycopg.connect(url, autocommit=True) as connection:
        counted = statistics.median(_timed(lambda: connection.execute(query).fetchall(), 5))
    sums = statistics.median(summed)
    return (
        f"{f'stats against counting {LARGE:,}':44} sums {sums:7.3f} ms"
        f"  count {counted:8.3f} ms  {counted / sums:5.0f} times"
    )


def _under_held_snapshot(url: str) -> Iterator[str]:
    """Claims while a transaction that stays open keeps vacuum from removing what they leave."""
    with VideoJobManager.from_url(url) as manager, psycopg.connect(url) as holder:
        before = statistics.median(_timed(lambda: _claim(manager), 200))
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("select count(*) from videojobs.leases")
        cycles = 0
        until = time.monotonic() + HELD_SECONDS
        while time.monotonic() < until:
            manager.complete_job(manager.claim_jobs("bench", lease=HOUR)[0], output_files=[])
            cycles += 1
        held = statistics.median(_timed(lambda: _claim(manager), 200))
        holder.rollback()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum")
        after = statistics.median(_timed(lambda: _claim(manager), 200))
    yield (
        f"{f'claim, {cycles:,} jobs done under a snapshot':44} before {before:7.3f} ms"
        f"  held {held:7.3f} ms  ratio {held / before:5.2f}  vacuumed {after:7.3f} ms"
    )
