"""Whether a claim stays as fast when very many jobs wait."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.queue.figures import most, percentile, times
from benchmarks.queue.rounds import in_turns
from benchmarks.queue.systems import OURS, System
from videojobs.local import LocalStack

SMALL = 10_000
LARGE = int(os.environ.get("VIDEOJOBS_BENCH_BACKLOG", "1000000"))
ROUNDS = 8
CLAIMS = 25
WARM_UP = 10
GOAL_MS = 0.8
GOAL_GROWTH = 1.2


def lines(stack: LocalStack, peers: Sequence[System]) -> Iterator[str]:
    """A claim of one job through each client, from a small and a large backlog in turns."""
    found = _claims(stack, (OURS, *peers))
    for size in (SMALL, LARGE):
        for share in (50, 99):
            at_size = {name: percentile(each[size], share) for name, each in found.items()}
            title = f"claim with {size:,} waiting, p{share}"
            if (size, share) == (LARGE, 50):
                yield most(title, at_size[OURS.name], unit="ms", goal=GOAL_MS)
            if peers or (size, share) != (LARGE, 50):
                yield times(title, at_size)
    growth = {name: _growth(each) for name, each in found.items()}
    title = f"claim p50, {LARGE:,} over {SMALL:,} waiting"
    yield most(title, growth[OURS.name], unit="x ", goal=GOAL_GROWTH)
    if peers:
        others = ", ".join(f"{peer.name} {growth[peer.name]:.2f}" for peer in peers)
        yield f"{title:44} {others}"


def _claims(stack: LocalStack, systems: Sequence[System]) -> dict[str, dict[int, list[float]]]:
    found: dict[str, dict[int, list[float]]] = {
        system.name: {SMALL: [], LARGE: []} for system in systems
    }
    with ExitStack() as databases:
        backlogs: list[tuple[System, int, str]] = []
        for system in systems:
            for size in (SMALL, LARGE):
                url = databases.enter_context(system.database(stack))
                system.make_backlog(url, size)
                backlogs.append((system, size, url))
        for system, size, url in in_turns(backlogs, ROUNDS):
            found[system.name][size] += system.ask(url, "claim", count=CLAIMS, warm_up=WARM_UP)
    return found


def _growth(found: dict[int, list[float]]) -> float:
    return percentile(found[LARGE], 50) / percentile(found[SMALL], 50)
