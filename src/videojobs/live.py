"""Follow jobs as they change: one connection to the database for any number of readers.

One `LiveJobs` for each process reads what has changed, once for all, and passes each change to
those who may see it. See `LiveJobs.follow`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from videojobs import calls
from videojobs.async_manager import AsyncVideoJobManager
from videojobs.audience import Audience
from videojobs.backlog import Backlog
from videojobs.changes import Changes, JobChange, Owner, Place, Sight
from videojobs.errors import ConfigurationError, SupabaseConnectionError, VideoJobsError
from videojobs.models import VideoJob
from videojobs.requests import BATCH_LIMIT, JobFilter

__all__ = ["Following", "JobChange", "LiveJobs"]

logger = logging.getLogger("videojobs.live")

_OVERLAP = timedelta(seconds=5)
"""Progress that was written before the last look may have been committed after it."""
_REMEMBERED_JOBS = 5_000
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_WAIT_AFTER_ERROR = 5.0
_FIRST_LOOK_SECONDS = 10.0


class Following(AsyncIterator[JobChange]):
    """The changes that one reader is told, while its context lasts.

    Iterate over it, or take all that waits with `take`, which costs less where there is much.
    It ends when the reader was too slow: the last message is then a reset with the reason ``slow``.
    """

    def __init__(
        self,
        live: LiveJobs,
        viewer: AsyncVideoJobManager | None,
        since: str | None,
        filters: JobFilter,
    ) -> None:
        self._live = live
        self._viewer = viewer
        self._since = since
        self._filters = filters
        self._taken: list[JobChange] = []
        self._is_entered = False
        self.sight = Sight(user_id=None)
        self.backlog = Backlog(live.backlog)

    async def __aenter__(self) -> Self:
        self._is_entered = True
        self.sight = await _sight_of(self._viewer)
        await self._live.add(self, self._since)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobChange:
        if not self._taken:
            self._taken = (await self.take())[::-1]
        if not self._taken:
            raise StopAsyncIteration
        return self._taken.pop()

    async def take(self) -> list[JobChange]:
        """All changes that wait, as soon as there is one; empty at the end.

        Raises:
            ConfigurationError: Nobody has entered the context: nothing would ever come.
        """
        if not self._is_entered:
            raise ConfigurationError(
                "enter what follow() gives: async with live.follow(...) as changes"
            )
        taken, self._taken = self._taken[::-1], []
        return taken or await self.backlog.take()

    @property
    def cursor(self) -> str:
        """Where to go on from, also when nothing has come for a while."""
        if self._taken:
            return self._taken[-1].id
        return self.backlog.first_id(self._live.cursor)

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self.backlog.is_closed and not self.backlog and not self._taken

    def may_match(self, job: VideoJob) -> bool:
        """Whether the reader wants to hear of the job."""
        return self._filters.may_match(job)


class LiveJobs:
    """Tells any number of readers what changes, each what he may see.

    It is called by the database: on a direct connection by NOTIFY, over Supabase by Realtime.
    Where neither is, it looks again and again, with pauses that grow up to the manager's
    ``poll_seconds``. Without readers it does nothing.
    Use it as a context manager, in one event loop.

    Args:
        manager: A service's manager.
        tick_seconds: Changes within such a time are read and told together.
        backlog: So many changed jobs may wait for one reader; beyond, a reset takes their place.
        patience_seconds: A reader who takes nothing for so long, while something waits, is dropped.
        sight_seconds: How soon somebody who has left a team sees no more of it.

    Example:
        >>> async with LiveJobs(manager) as live:
        ...     async with live.follow(manager.as_user(token)) as changes:
        ...         async for change in changes:
        ...             print(change.type, change.job)
    """

    def __init__(
        self,
        manager: AsyncVideoJobManager,
        *,
        tick_seconds: float = 0.08,
        backlog: int = 500,
        patience_seconds: float = 30.0,
        sight_seconds: float = 10.0,
    ) -> None:
        self._manager = manager
        self._tick_seconds = tick_seconds
        self._patience_seconds = patience_seconds
        self._sight_seconds = sight_seconds
        self.backlog = backlog
        self._audience: Audience[Following] = Audience()
        self._wishing: set[Following] = set()
        self._place: Place | None = None
        self._moment: datetime | None = None
        self._told: OrderedDict[UUID, datetime] = OrderedDict()
        self._wanted = asyncio.Event()
        self._placed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._watch(), name="videojobs-live"),
            asyncio.create_task(self._renew_sights(), name="videojobs-live-sights"),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            # And again: before Python 3.12, wait_for swallows a cancel that comes with its result.
            _, pending = await asyncio.wait(pending, timeout=0.5)
        self._tasks = []
        for reader in self._audience:
            reader.backlog.close(JobChange(self.cursor, "reset", reason="closed"))

    def follow(
        self,
        viewer: AsyncVideoJobManager | None = None,
        *,
        since: str | None = None,
        filters: JobFilter | None = None,
    ) -> Following:
        """A context that gives the changes of jobs as they happen, each at least once.

        It begins with a ``reset``, unless `since` can be gone on from: then with what was
        missed, and with the viewer's running jobs. On each reset, read what you show.

        Args:
            viewer: ``manager.as_user(token)``: he is told of what he may see. All jobs if ``None``.
            since: The ``id`` of the last change that was taken care of.
            filters: Which jobs. A job that leaves the filter by what changes (its status, queue,
                worker or error) is told all the same: ask `JobFilter.matches`.

        Raises:
            AuthenticationError: On entering: the viewer's token is not valid.
            SupabaseConnectionError: On entering: the database cannot be reached.
        """
        if not self._tasks:
            raise ConfigurationError("open LiveJobs first: async with LiveJobs(manager) as live")
        return Following(self, viewer, since, filters or JobFilter())

    @property
    def cursor(self) -> str:
        """The present place, as text; empty before the first look."""
        return "" if self._place is None else str(self._place)

    @property
    def reader_count(self) -> int:
        """How many follow now."""
        return len(self._audience)

    # Readers

    async def add(self, reader: Following, since: str | None) -> None:
        """The reader is told of all that changes from now on, and of what it missed."""
        self._wishing.add(reader)
        self._wanted.set()
        try:
            place = await self._first_place()
            self._audience.add(reader)
            await self._catch_up(reader, since, place)
        except BaseException:
            self.remove(reader)
            raise

    def remove(self, reader: Following) -> None:
        """The reader is told nothing more."""
        self._audience.discard(reader)
        self._wishing.discard(reader)
        if not self._wishing:
            self._wanted.clear()

    async def _first_place(self) -> Place:
        try:
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await self._placed.wait()
        except TimeoutError:
            raise SupabaseConnectionError(
                "the changes could not be read in time; the database may be out of reach",
                operation="read_video_job_changes",
            ) from None
        if self._place is None:
            raise AssertionError("a place is known while readers are wanted")
        return self._place

    async def _catch_up(self, reader: Following, since: str | None, place: Place) -> None:
        snapshot = None if since is None else place.snapshot_of(since)
        if since is None or snapshot is None:
            reason = "begin" if since is None else "too_old"
            reader.backlog.put_reset(JobChange(str(place), "reset", reason=reason))
            return
        missed = await self._manager.perform(
            calls.read_changes(snapshot, running_since=_LONG_AGO, sight=reader.sight)
        )
        if missed.state == "ok":
            now = str(Place(missed.feed, missed.place))
            reader.backlog.put_first(_messages(missed, since, now, reader))
        else:
            reason = "too_many" if missed.state == "crowded" else "too_old"
            reader.backlog.put_reset(JobChange(str(place), "reset", reason=reason))

    # What changes

    async def _watch(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._watch_for_readers()
            except VideoJobsError as error:
                logger.warning("changes cannot be read, will try again: %s", error)
                await asyncio.sleep(_LONGEST_WAIT_AFTER_ERROR / 5)
            except Exception:  # a silent end of this task would leave all readers waiting
                logger.exception("following broke, will try again")
                await asyncio.sleep(_LONGEST_WAIT_AFTER_ERROR)

    async def _watch_for_readers(self) -> None:
        """Look, and look again when the database calls, while there are readers."""
        async with self._manager.listen_for_changes() as announcements:
            pause, breaks = 0.0, announcements.breaks
            heard: frozenset[str] = frozenset()
            while self._wanted.is_set():
                quiet = not heard or announcements.breaks != breaks
                breaks = announcements.breaks
                moved = await self._look(heard, with_running=quiet)
                self._drop_slow_readers()
                pause = self._pause(pause, announcements.silence_seconds, moved=moved)
                heard = await announcements.hear(pause, self._tick_seconds)
            # Before anything is awaited: whoever comes from now on waits for the next place.
            self._place = None
            self._placed.clear()

    def _pause(self, pause: float, silence_seconds: float, *, moved: bool) -> float:
        if silence_seconds:
            return self._tick_seconds if moved else min(max(pause * 2, 0.1), silence_seconds)
        longest = self._manager.settings.poll_seconds
        return min(_FIRST_PAUSE_SECONDS if moved else max(pause * 1.5, 0.25), longest)

    async def _look(self, heard: Iterable[str], *, with_running: bool) -> bool:
        """Read what is new, tell it, and say whether there was something."""
        named = [job_id for text in heard if (job_id := _as_id(text)) is not None]
        crowd = len(named) > BATCH_LIMIT
        since = self._place
        changes = await self._manager.perform(
            calls.read_changes(
                None if since is None else since.snapshot,
                job_ids=() if crowd else named,
                running_since=self._running_since() if crowd or with_running else None,
            )
        )
        self._place = Place(changes.feed, changes.place)
        self._moment = changes.moment
        self._placed.set()
        if since is None:
            return False
        return self._tell(changes, since)

    def _running_since(self) -> datetime | None:
        return None if self._moment is None else self._moment - _OVERLAP

    def _tell(self, changes: Changes, since: Place) -> bool:
        cursor = str(since)
        match changes.state:
            case "lost":
                self._reset_all(self._audience, "too_many")
            case "crowded":
                for owner in changes.owners:
                    who = self._audience.of(Owner(owner.user_id, owner.team_id))
                    self._reset_all(who, "too_many")
            case _:
                for job in changes.jobs:
                    self._tell_of(job, cursor)
                for gone in changes.deleted:
                    self._told.pop(gone.job_id, None)
                    change = JobChange(cursor, "deleted", gone.job_id)
                    for reader in self._audience.of(gone.owner):
                        reader.backlog.put(change)
        return bool(changes.jobs or changes.deleted or changes.owners)

    def _tell_of(self, job: VideoJob, cursor: str) -> None:
        if self._told.get(job.id) == job.updated_at:
            return
        self._told[job.id] = job.updated_at
        self._told.move_to_end(job.id)
        if len(self._told) > _REMEMBERED_JOBS:
            self._told.popitem(last=False)
        change = JobChange(cursor, "changed", job.id, job)
        for reader in self._audience.of(Owner(job.user_id, job.team_id)):
            if reader.may_match(job):
                reader.backlog.put(change)

    def _reset_all(self, readers: Iterable[Following], reason: str) -> None:
        change = JobChange(self.cursor, "reset", reason=reason)
        for reader in readers:
            reader.backlog.put_reset(change)

    def _drop_slow_readers(self) -> None:
        for reader in self._audience:
            if reader.backlog.age_seconds() > self._patience_seconds:
                cursor = reader.backlog.first_id(self.cursor)
                reader.backlog.close(JobChange(cursor, "reset", reason="slow"))
                self._audience.discard(reader)

    # Who sees what

    async def _renew_sights(self) -> None:
        while True:
            await asyncio.sleep(self._sight_seconds)
            try:
                await self._renew()
            except VideoJobsError as error:  # without a database nothing is told either
                logger.debug("teams cannot be read, will try again: %s", error)
            except Exception:  # a silent end of this task would go on telling those who have left
                logger.exception("reading teams broke, will try again")

    async def _renew(self) -> None:
        users = self._audience.users()
        for start in range(0, len(users), BATCH_LIMIT):
            some = users[start : start + BATCH_LIMIT]
            teams = await self._manager.perform(calls.list_teams(some))
            # Also takes back what waits of a team that somebody has left.
            self._reset_all(self._audience.change_teams(teams), "teams")


_LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


async def _sight_of(viewer: AsyncVideoJobManager | None) -> Sight:
    if viewer is None:
        return Sight(user_id=None, sees_all=True)
    return await viewer.perform(calls.get_sight())


def _messages(missed: Changes, since: str, now: str, reader: Following) -> list[JobChange]:
    messages = [JobChange(since, "deleted", gone.job_id) for gone in missed.deleted]
    messages += [
        JobChange(since, "changed", job.id, job) for job in missed.jobs if reader.may_match(job)
    ]
    # Whoever has taken all of them need not be told again.
    return [*messages[:-1], *(replace(last, id=now) for last in messages[-1:])]


def _as_id(text: str) -> UUID | None:
    with suppress(ValueError):
        return UUID(text)
    return None
