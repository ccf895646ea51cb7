"""Removes what attempts left in the storage when nobody could: the database lists it."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Sequence

from videojobs import calls
from videojobs.calls.leftovers import LEFTOVERS_AT_ONCE
from videojobs.errors import VideoJobsError
from videojobs.manager import VideoJobManager
from videojobs.reports import Leftover
from videojobs.storage import Storage

logger = logging.getLogger("videojobs.worker")

_PAUSE_SECONDS = 60.0


def mark_of(storage: Storage) -> str:
    """The same for all workers on the storage, and tells nobody where it is.

    It is made of what ``str(storage)`` says: the folder's path, or the URL. Two folders of one path
    on two machines look like one storage; a storage that does not say its place, like all of its class.
    """
    says_nothing = type(storage).__str__ is object.__str__
    name = type(storage).__qualname__ if says_nothing else str(storage)
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]


class Sweeper:
    """Removes leftovers from a worker's storage, a few at a time; any number may do it at once."""

    def __init__(self, manager: VideoJobManager, storage: Storage) -> None:
        self._manager = manager
        self._storage = storage
        self._mark = mark_of(storage)
        self._pause = 0.0

    def pause(self) -> float:
        """Seconds until the next round: none before the first, and while there is more to do."""
        return self._pause * random.uniform(0.5, 1)  # noqa: S311 # jitter

    def sweep(self) -> None:
        """What is due is removed. What cannot be is tried again later, by whoever comes first."""
        self._pause = _PAUSE_SECONDS
        try:
            found = self._manager.perform(calls.claim_leftovers(self._mark))
            due = [each for each in found if not self._is_given_up(each)]
            removed = self._removed(due)
            if removed:
                self._manager.perform(calls.settle_leftovers(removed))
        except VideoJobsError as error:
            logger.warning("leftovers stay in the storage, will try again: %s", error)
            return
        if len(removed) >= LEFTOVERS_AT_ONCE:
            self._pause = 0.0

    def _removed(self, due: Sequence[Leftover]) -> list[str]:
        if due:
            # A folder that is not mounted is empty: nothing would be left in it, and all on its disk.
            self._storage.check()
        return [each.prefix for each in due if self._is_removed(each)]

    def _is_removed(self, leftover: Leftover) -> bool:
        try:
            self._storage.remove(leftover.prefix)
        except (VideoJobsError, OSError) as error:
            logger.warning(
                "%s stays in the storage, will try again (try %d): %s",
                leftover.prefix,
                leftover.tries,
                error,
            )
            return False
        except Exception:  # a storage of your own may raise anything, and others wait
            logger.exception("%s stays in the storage, will try again", leftover.prefix)
            return False
        logger.info("removed from the storage: %s, which is no use any more", leftover.prefix)
        return True

    def _is_given_up(self, leftover: Leftover) -> bool:
        if leftover.is_given_up:
            logger.error(
                "%s stays in its storage for good: %s. Remove it by hand",
                leftover.prefix,
                f"it could not be removed in {leftover.tries} tries"
                if leftover.tries
                else "no worker on that storage came by for a month",
            )
        return leftover.is_given_up
