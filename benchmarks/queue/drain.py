"""How fast a worker works through jobs that ask nothing of it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.queue.figures import rates
from benchmarks.queue.rounds import in_turns
from benchmarks.queue.systems import OURS, System, settle
from benchmarks.queue.wal import position
from videojobs.local import LocalStack

COUNTS = {1: 2_000, 10: 5_000}
ROUNDS = 3
GOAL = 1.0
BY_HAND = "videojobs by hand"


def lines(stack: LocalStack, peers: Sequence[System]) -> Iterator[str]:
    """Jobs a second until all are final in the database, and what a job writes to the WAL."""
    with ExitStack() as databases:
        urls = {
            system.name: databases.enter_context(system.database(stack))
            for system in (OURS, *peers)
        }
        for concurrency, count in COUNTS.items():
            yield from _at(concurrency, count, urls, peers)


def _at(
    concurrency: int, count: int, urls: dict[str, str], peers: Sequence[System]
) -> Iterator[str]:
    found: dict[str, list[float]] = defaultdict(list)
    written: dict[str, list[float]] = defaultdict(list)

    def run(name: str, system: System, command: str) -> None:
        url = urls[system.name]
        before = position(url)
        system.ask(url, "create", count=count)
        created = position(url) - before
        settle(url)
        before = position(url)
        seconds = system.ask(url, command, count=count, concurrency=concurrency)
        written[name].append((created + position(url) - before) / count)
        found[name].append(count / seconds)

    runs = [(OURS.name, OURS, "drain"), (BY_HAND, OURS, "drain_by_hand")]
    runs += [(peer.name, peer, "drain") for peer in peers]
    for each in in_turns(runs, ROUNDS):
        run(*each)
    medians = {name: statistics.median(each) for name, each in found.items()}
    by_hand = medians.pop(BY_HAND)
    title = f"drain, concurrency {concurrency}"
    yield rates(f"{title}, Worker", medians, unit="jobs/s", goal=GOAL, aim=", aim 2")
    medians[OURS.name] = by_hand
    yield rates(f"{title}, manager in a loop", medians, unit="jobs/s", goal=GOAL)
    wal = ", ".join(f"{name} {statistics.median(each):.0f}" for name, each in written.items())
    yield f"{f'{title}, bytes of WAL a job':44} {wal}"
