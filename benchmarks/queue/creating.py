"""How fast many jobs are created at once."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.queue.figures import rates
from benchmarks.queue.rounds import in_turns
from benchmarks.queue.systems import OURS, System
from videojobs.local import LocalStack

COUNT = 10_000
ROUNDS = 3
GOAL = 1.0


def lines(stack: LocalStack, peers: Sequence[System]) -> Iterator[str]:
    """10,000 jobs in one call of each client."""
    systems = (OURS, *peers)
    found: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as databases:
        urls = {system.name: databases.enter_context(system.database(stack)) for system in systems}
        for system in systems:
            system.ask(urls[system.name], "create", count=COUNT)  # a warm-up
        for system in in_turns(systems, ROUNDS):
            seconds = system.ask(urls[system.name], "create", count=COUNT)
            found[system.name].append(COUNT / seconds)
    medians = {name: statistics.median(each) for name, each in found.items()}
    yield rates("create 10,000 jobs in one call", medians, unit="rows/s", goal=GOAL)
