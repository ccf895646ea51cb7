"""What one follower has still to be told: bounded, and of each job only the latest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from uuid import UUID

from videojobs.changes import JobChange


class Backlog:
    """Changes on their way to one reader, in the order in which their jobs first changed.

    A job that changes again before it is told keeps its turn and its ``id``: so everything that is
    still here lies behind the id of what was taken last, and nothing is missed by going on from it.

    Args:
        limit: So many jobs may wait. One more, and a single ``reset`` takes the place of them all.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[UUID, JobChange] = {}
        self._reset: JobChange | None = None
        self._since: float | None = None
        self._filled = asyncio.Event()
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._waiting) + (self._reset is not None)

    def put(self, change: JobChange) -> None:
        """The change waits, or what it says is in a reset that waits."""
        if self.is_closed or self._reset is not None:
            return
        job_id = change.job_id
        if job_id is None:
            self.put_reset(change)
            return
        earlier = self._waiting.get(job_id)
        if earlier is None and len(self._waiting) >= self._limit:
            self.put_reset(JobChange(self._first_id(change.id), "reset", reason="too_many"))
            return
        if earlier is not None and earlier.id != change.id:
            change = JobChange(earlier.id, change.type, job_id, change.job)
        self._waiting[job_id] = change
        self._fill()

    def put_first(self, changes: Iterable[JobChange]) -> None:
        """These changes, which lie before all that wait, wait before them."""
        later, self._waiting = self._waiting, {}
        for change in changes:
            self.put(change)
        for job_id, change in later.items():
            self.put(_newer(self._waiting.get(job_id), change))

    def put_reset(self, change: JobChange) -> None:
        """To read anew takes the place of all that waits."""
        if not self.is_closed and self._reset is None:
            self._waiting.clear()
            self._reset = change
            self._fill()

    def close(self, last: JobChange) -> None:
        """Nothing comes any more but this last message."""
        self._waiting.clear()
        self._reset = last
        self.is_closed = True
        self._fill()

    def age_seconds(self) -> float:
        """For how long the reader has left alone what waits for it."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def first_id(self, otherwise: str) -> str:
        """Where to go on from, as long as what waits is not told."""
        return self._first_id(otherwise)

    async def take(self) -> list[JobChange]:
        """All that waits, as soon as something does; nothing after the last message."""
        while not self._filled.is_set():
            if self.is_closed:
                return []
            await self._filled.wait()
        taken = [self._reset] if self._reset is not None else list(self._waiting.values())
        self._reset = None
        self._waiting = {}
        self._since = None
        self._filled.clear()
        return taken

    def _fill(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
        self._filled.set()

    def _first_id(self, otherwise: str) -> str:
        if self._reset is not None:
            return self._reset.id
        return next((change.id for change in self._waiting.values()), otherwise)


def _newer(earlier: JobChange | None, change: JobChange) -> JobChange:
    if (
        earlier is None
        or earlier.job is None
        or change.job is None
        or earlier.job.updated_at <= change.job.updated_at
    ):
        return change
    return earlier
