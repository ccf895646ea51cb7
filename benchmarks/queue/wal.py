"""What our own calls write to the write-ahead log."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg

from benchmarks.queue.figures import most
from benchmarks.queue.systems import OURS, settle
from videojobs import Beat, VideoJobManager
from videojobs.local import LocalStack

BEATS = 2_000
JOBS = 500
GOAL_BYTES = 150


def lines(stack: LocalStack) -> Iterator[str]:
    """A heartbeat without news, and a job from its creation to its completion."""
    with OURS.database(stack) as url, VideoJobManager.from_url(url) as manager:
        owner = uuid4()
        manager.create_job(user_id=owner)
        (lease,) = manager.claim_jobs("bench", lease=timedelta(hours=1))
        beat = Beat(job_id=lease.job_id, run_token=lease.run_token)
        a_beat = _written(url, BEATS, lambda: manager.heartbeat([beat]))
        yield most("WAL of a heartbeat", a_beat, unit="bytes", goal=GOAL_BYTES)

        def live() -> None:
            manager.create_job(user_id=owner, source_url="talk.mp4")
            (claimed,) = manager.claim_jobs("bench")
            manager.complete_job(claimed)

        a_life = _written(url, JOBS, live)
        yield f"{'WAL of a job: create, claim, complete':44} ours {a_life:8.0f} bytes"


def position(url: str) -> int:
    """How many bytes the server has written so far."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def _written(url: str, count: int, do: Callable[[], object]) -> float:
    """The median of twenty stretches: an autovacuum elsewhere on the server falls into few."""
    do()
    settle(url)
    return statistics.median(_stretch(url, count // 20, do) for _ in range(20))


def _stretch(url: str, count: int, do: Callable[[], object]) -> float:
    before = position(url)
    for _ in range(count):
        do()
    return (position(url) - before) / count
