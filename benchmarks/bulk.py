"""How fast `create_jobs` makes many."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from uuid import uuid4

from videojobs import NewVideoJob, VideoJobManager
from videojobs.local import LocalStack

COUNT = 10_000
GOAL_ROWS_A_SECOND = 30_000


def create_many(stack: LocalStack) -> list[str]:
    """10,000 jobs in one call over Postgres, five times; the medians."""
    owner = uuid4()
    fields = [{"user_id": owner, "source_url": f"uploads/{i}.mp4"} for i in range(COUNT)]
    with VideoJobManager.from_url(stack.database_url) as manager:
        return [
            _line("NewVideoJobs", manager, [NewVideoJob(**each) for each in fields]),
            _line("dicts, validated", manager, fields),
        ]


def _line(
    kind: str, manager: VideoJobManager, wishes: Sequence[NewVideoJob | dict[str, object]]
) -> str:
    rate = COUNT / statistics.median(_timed(manager, wishes) for _ in range(5))
    verdict = "ok" if rate >= GOAL_ROWS_A_SECOND else "BELOW GOAL"
    return (
        f"{f'create_jobs of 10,000 {kind}':40} {rate:8.0f} rows/s"
        f" (goal {GOAL_ROWS_A_SECOND}) {verdict}"
    )


def _timed(manager: VideoJobManager, wishes: Sequence[NewVideoJob | dict[str, object]]) -> float:
    start = time.perf_counter()
    receipts = manager.create_jobs(wishes)
    taken = time.perf_counter() - start
    assert len(receipts) == COUNT
    return taken
