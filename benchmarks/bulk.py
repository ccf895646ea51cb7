"""How fast `create_jobs` makes many."""

from __future__ import annotations

import statistics
import time
from uuid import uuid4

from videojobs import VideoJobManager
from videojobs.local import LocalStack

COUNT = 10_000
GOAL_ROWS_A_SECOND = 30_000


def create_many(stack: LocalStack) -> str:
    """10,000 jobs in one call over Postgres, five times; the median."""
    owner = uuid4()
    wishes = [{"user_id": owner, "source_url": f"uploads/{i}.mp4"} for i in range(COUNT)]
    with VideoJobManager.from_url(stack.database_url) as manager:
        times = [_timed(manager, wishes) for _ in range(5)]
    rate = COUNT / statistics.median(times)
    verdict = "ok" if rate >= GOAL_ROWS_A_SECOND else "BELOW GOAL"
    return f"{'Postgres create_jobs of 10,000':34} {rate:8.0f} rows/s (goal {GOAL_ROWS_A_SECOND}) {verdict}"


def _timed(manager: VideoJobManager, wishes: list[dict[str, object]]) -> float:
    start = time.perf_counter()
    receipts = manager.create_jobs(wishes)
    taken = time.perf_counter() - start
    assert len(receipts) == COUNT
    return taken
