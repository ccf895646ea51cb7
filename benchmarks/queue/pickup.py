"""How long a job waits for an idle worker."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.queue.figures import most, percentile, times
from benchmarks.queue.rounds import in_turns
from benchmarks.queue.systems import OURS, System, settle
from videojobs.local import LocalStack

ROUNDS = 3
COUNT = 70
WARM_UP = 10
GAP_SECONDS = (0.03, 0.08)
SETTLING_SECONDS = 1.0
"""A worker that says it is ready may still have to begin listening."""
GOAL_MS = 3.0


def lines(stack: LocalStack, peers: Sequence[System]) -> Iterator[str]:
    """From just before the call that creates the job to the first line of its handler."""
    found: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as databases:
        systems = [
            (system, databases.enter_context(system.database(stack))) for system in (OURS, *peers)
        ]
        for system, url in in_turns(systems, ROUNDS):
            found[system.name] += _waits(system, url)
    p50 = {name: percentile(waits, 50) for name, waits in found.items()}
    p99 = {name: percentile(waits, 99) for name, waits in found.items()}
    yield most("pickup by an idle worker, p50", p50[OURS.name], unit="ms", goal=GOAL_MS)
    if peers:
        yield times("pickup by an idle worker, p50", p50)
    yield times("pickup by an idle worker, p99", p99)


def _waits(system: System, url: str) -> list[float]:
    settle(url)
    worker = system.start(url, "work", count=WARM_UP + COUNT)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "ready"
        time.sleep(SETTLING_SECONDS)
        system.ask(url, "trickle", count=WARM_UP + COUNT, gap_seconds=GAP_SECONDS)
        return system.answer_of(worker)[WARM_UP:]
    finally:
        worker.kill()
