"""Our queue against others in Python, on one durable PostgreSQL, each in a database of its own.

The peers are procrastinate, pgqueuer (asyncpg under uvloop) and BullMQ's Python port on its
Postgres backend. All commit with ``fsync`` and ``synchronous_commit`` on, are warmed up, and take
turns in an order that changes each round; figures are medians. Each runs its own worker, in the mode that
serves it best at the concurrency asked for. pgqueuer accepts no cap below two tasks, so it runs
with two where the others have one.

They do not leave the same behind. A drained job costs

- us: the row, updated twice; a row of history for each of three transitions, one of them at its
  creation; a lease, inserted and deleted; two notifications for those who watch the job;
- procrastinate: the row, updated twice; a row of history for each of three transitions;
- pgqueuer: the row, updated and deleted; a row in its log for each of three transitions;
- BullMQ: the row, updated twice; entries in a stream of events that is cut at about 10,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks.queue import claims, creating, drain, pickup, wal
from benchmarks.queue.systems import PEERS, System, installed_peers
from videojobs.local import LocalStack


def _against_peers(
    lines: Callable[[LocalStack, Sequence[System]], Iterable[str]],
) -> Callable[[LocalStack], Iterator[str]]:
    def measured(stack: LocalStack) -> Iterator[str]:
        peers = installed_peers()
        if missing := [peer.name for peer in PEERS if peer not in peers]:
            yield f"NOT COMPARED with {', '.join(missing)}: make peers installs them"
        yield from lines(stack, peers)

    return measured


PARTS: dict[str, Callable[[LocalStack], Iterable[str]]] = {
    "drain": _against_peers(drain.lines),
    "pickup": _against_peers(pickup.lines),
    "claims": _against_peers(claims.lines),
    "creating": _against_peers(creating.lines),
    "wal": wal.lines,
}
