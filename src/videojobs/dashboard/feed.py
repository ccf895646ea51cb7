"""What happens to the jobs, as one open page hears of it: gathered, and at most so often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import AuthenticationError, VideoJobsError
from videojobs.live import Following, JobChange, LiveJobs
from videojobs.models import VideoJob

logger = logging.getLogger("videojobs.dashboard")

_GATHER_SECONDS = 0.2
_AFTER_FAILURE_SECONDS = 3.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_SHORTEST_SECONDS = 1.0


@dataclass(slots=True)
class Batch:
    """What came together: each job once, as it was last."""

    changed: dict[UUID, VideoJob] = field(default_factory=dict[UUID, VideoJob])
    deleted: set[UUID] = field(default_factory=set[UUID])
    missed: bool = False
    """Changes may have been missed: read everything anew."""

    def add(self, change: JobChange) -> None:
        """Take one change in."""
        if change.type == "reset":
            self.missed = True
        elif change.job_id is None:
            return
        elif change.type == "deleted" or change.job is None:
            self.changed.pop(change.job_id, None)
            self.deleted.add(change.job_id)
        else:
            self.deleted.discard(change.job_id)
            self.changed[change.job_id] = change.job


class Feed:
    """Follows the jobs that one viewer may see, for as long as the page is open.

    Args:
        live: Tells what changes.
        viewer: The manager with the viewer's rights.
        tell: Draws what came together.
        seconds_left: For how long the viewer's token is good. What he may see is asked for anew
            with the next one.
    """

    def __init__(
        self,
        live: LiveJobs,
        viewer: AsyncVideoJobManager,
        tell: Callable[[Batch], Awaitable[None]],
        *,
        seconds_left: Callable[[], float],
    ) -> None:
        self._live = live
        self._viewer = viewer
        self._seconds_left = seconds_left
        self._tell = tell
        self._batch = Batch()
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled, or until the viewer is signed out."""
        telling = asyncio.create_task(self._tell_in_turns())
        pause = _FIRST_PAUSE_SECONDS
        try:
            while True:
                begun = time.monotonic()
                try:
                    await self._follow()
                except AuthenticationError:
                    return
                except (VideoJobsError, TimeoutError) as error:
                    logger.warning("live changes are interrupted: %s", error)
                is_short = time.monotonic() - begun < _LONGEST_PAUSE_SECONDS
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS) if is_short else _FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                self._note(missed=True)
        finally:
            telling.cancel()

    async def _follow(self) -> None:
        is_renewed = True
        while is_renewed:
            async with self._live.follow(self._viewer) as changes:
                is_renewed = await self._take_until_renewal(changes)

    async def _take_until_renewal(self, changes: Following) -> bool:
        """Whether the token ended; else the changes did."""
        try:
            async with asyncio.timeout(max(_SHORTEST_SECONDS, self._seconds_left())):
                while taken := await changes.take():
                    for change in taken:
                        self._batch.add(change)
                    self._arrived.set()
        except TimeoutError:
            return True
        return False

    def _note(self, *, missed: bool) -> None:
        self._batch.missed |= missed
        self._arrived.set()

    async def _tell_in_turns(self) -> None:
        while True:
            await self._arrived.wait()
            # The first of many is told at once; those behind it wait for each other.
            self._arrived.clear()
            batch, self._batch = self._batch, Batch()
            try:
                await self._tell(batch)
            except Exception:  # a page that cannot be drawn now is drawn by the next change
                logger.exception("a change could not be shown")
            await asyncio.sleep(_GATHER_SECONDS)


class Soon:
    """Runs something as often as it is asked for, but never twice within so many seconds."""

    def __init__(self, run: Callable[[], Awaitable[None]], *, every_seconds: float) -> None:
        self._run = run
        self._every = every_seconds
        self._task: asyncio.Task[None] | None = None
        self._is_wanted = False
        self._ended_at = float("-inf")

    def ask(self) -> None:
        """Have it run: now, or as soon as it may."""
        self._is_wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    def stop(self) -> None:
        """Nothing runs any more."""
        self._is_wanted = False
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._is_wanted:
            await asyncio.sleep(max(0.0, self._ended_at + self._every - time.monotonic()))
            self._is_wanted = False
            try:
                await self._run()
            except AuthenticationError:
                return
            except VideoJobsError as error:
                logger.warning("the page could not be read anew, will try again: %s", error)
                self._is_wanted = True
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            self._ended_at = time.monotonic()
