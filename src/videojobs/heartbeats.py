"""Keeps a worker's leases, from threads of their own, and hears what the database wants."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from videojobs.attempts import Attempt, boot_seconds
from videojobs.errors import VideoJobsError
from videojobs.manager import VideoJobManager
from videojobs.models import BeatReply, Verdict
from videojobs.outcomes import Abandoned, Cancelled

logger = logging.getLogger("videojobs.worker")

_BEATS_PER_LEASE = 4
_LONGEST_INTERVAL_SECONDS = 20.0
_STEP_SECONDS = 1.0
"""How often progress may be written, and how soon a beat notices that it is needed."""
_SAFETY_SHARE = 6
"""A worker stops a sixth of its lease before the end, so that ffmpeg is gone when it is over."""


class Heartbeats:
    """One call for all attempts: every quarter of a lease, and sooner when progress was made.

    What the reply says is done at once: a lost lease or a wish to cancel stops the attempt. An
    attempt whose lease could not be kept is stopped before the lease runs out, by a clock that
    counts the time that the machine was suspended; and by a thread of its own, which waits for
    no reply: the beat may hang on a network that has gone silent.
    """

    def __init__(self, manager: VideoJobManager, lease: timedelta) -> None:
        self._manager = manager
        self._lease = lease
        self._lease_seconds = lease.total_seconds()
        self._interval = min(self._lease_seconds / _BEATS_PER_LEASE, _LONGEST_INTERVAL_SECONDS)
        self._step = min(_STEP_SECONDS, self._interval)
        self._attempts: dict[tuple[UUID, int], Attempt] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._healthy = True
        self._last_beat = boot_seconds()

    def __enter__(self) -> Self:
        self._end = threading.Event()
        self._healthy = True
        self._last_beat = boot_seconds()
        for duty in (self._beat_when_due, self._stop_when_overdue):
            # Daemons: at the end, a beat that hangs keeps nobody waiting.
            name = f"videojobs-{duty.__name__.strip('_')}"
            threading.Thread(
                target=self._repeat, args=(duty, self._end), name=name, daemon=True
            ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()

    def watch(self, attempt: Attempt) -> None:
        """Keep its lease from now on."""
        with self._lock:
            self._attempts[_key(attempt)] = attempt

    def forget(self, attempt: Attempt) -> None:
        """It is settled."""
        with self._lock:
            self._attempts.pop(_key(attempt), None)

    def is_healthy(self) -> bool:
        """Whether the last beat got through: a worker that cannot beat should claim nothing."""
        return self._healthy

    def _repeat(self, duty: Callable[[], None], end: threading.Event) -> None:
        while not end.wait(self._step):
            try:
                duty()
            except Exception:  # a silent end of this thread would cost every lease
                self._healthy = False
                logger.exception("a heartbeat broke, will try again")

    def _current(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts.values())

    def _stop_when_overdue(self) -> None:
        margin = self._lease_seconds / _SAFETY_SHARE
        for attempt in self._current():
            if boot_seconds() > attempt.valid_until - margin and not attempt.stop.is_set():
                logger.error("job %s: no beat got through, stopping", attempt.lease.job_id)
                attempt.end(Abandoned())

    def _is_due(self) -> bool:
        current = self._current()
        waited = boot_seconds() - self._last_beat
        if not self._healthy:
            return waited >= self._step
        return bool(current) and (
            waited >= self._interval or any(attempt.has_news() for attempt in current)
        )

    def _beat_when_due(self) -> None:
        if self._is_due():
            self._beat()

    def _beat(self) -> None:
        current = [each for each in self._current() if each.stopped_with != Abandoned()]
        sent_at = self._last_beat = boot_seconds()
        try:
            replies = self._manager.heartbeat(
                [attempt.beat() for attempt in current],
                lease=self._lease,
                deadline_seconds=self._lease_seconds / _BEATS_PER_LEASE,
            )
        except VideoJobsError as error:
            self._healthy = False
            logger.warning("the heartbeat failed, will try again: %s", error)
            return
        self._healthy = True
        by_key = {_key(attempt): attempt for attempt in current}
        for reply in replies:
            self._heed(by_key[reply.job_id, reply.run_token], reply, sent_at)

    def _heed(self, attempt: Attempt, reply: BeatReply, sent_at: float) -> None:
        match reply.verdict:
            case Verdict.OK:
                attempt.valid_until = sent_at + self._lease_seconds
            case Verdict.CANCEL_REQUESTED:
                attempt.valid_until = sent_at + self._lease_seconds
                attempt.end(Cancelled())
            case Verdict.LOST:
                attempt.end(Abandoned())
            case Verdict.FINAL:
                pass


def _key(attempt: Attempt) -> tuple[UUID, int]:
    return attempt.lease.job_id, attempt.lease.run_token
