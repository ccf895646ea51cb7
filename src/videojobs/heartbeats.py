"""Keeps a worker's leases, from threads of their own, and hears what the database wants."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from videojobs.attempts import Attempt, boot_seconds
from videojobs.duties import Duty
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

    Args:
        manager: Where the beats go.
        worker_id: Whose they are; a worker without jobs beats too, to be seen and to hear orders.
        lease: From each beat on.
        facts: What the worker says of itself, with its first beat.
        on_drain: Called when somebody wants the worker to end.
    """

    def __init__(
        self,
        manager: VideoJobManager,
        worker_id: str,
        lease: timedelta,
        *,
        facts: Mapping[str, Any],
        on_drain: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._worker_id = worker_id
        self._lease = lease
        self._lease_seconds = lease.total_seconds()
        self._safe_seconds = self._lease_seconds * (1 - 1 / _SAFETY_SHARE)
        self._interval = min(self._lease_seconds / _BEATS_PER_LEASE, _LONGEST_INTERVAL_SECONDS)
        self._step = min(_STEP_SECONDS, self._interval)
        self._facts = facts
        self._on_drain = on_drain
        self._attempts: dict[tuple[UUID, int], Attempt] = {}
        self._lock = threading.Lock()
        self._healthy = True
        self._introduced = False
        self._is_called = False
        self._last_beat = self._heard_at = boot_seconds()
        self._beating = Duty(
            "heartbeat", self._beat_when_due, lambda: self._step, on_error=self._broke
        )
        self._watching = Duty("lease-watch", self._stop_when_overdue, lambda: self._step)
        self._duties = ExitStack()

    def __enter__(self) -> Self:
        self._healthy = True
        self._introduced = False
        self._last_beat = self._heard_at = boot_seconds()
        with ExitStack() as stack:
            stack.enter_context(self._beating)
            stack.enter_context(self._watching)
            self._duties = stack.pop_all()
        self._beating.call()  # to be seen from the beginning
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._duties.close()

    def watch(self, attempt: Attempt) -> None:
        """Keep its lease from now on."""
        with self._lock:
            self._attempts[_key(attempt)] = attempt

    def forget(self, attempt: Attempt) -> None:
        """It is settled."""
        with self._lock:
            self._attempts.pop(_key(attempt), None)

    def is_healthy(self) -> bool:
        """Whether beats get through: a worker that cannot beat should claim nothing.

        One that hangs has not failed yet: so its silence counts as well.
        """
        return self._healthy and boot_seconds() < self._heard_at + self._safe_seconds

    def beat_now(self) -> None:
        """Ask the database at once; it has something to say."""
        self._is_called = True
        self._beating.call()

    def _broke(self) -> None:
        self._healthy = False

    def _current(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts.values())

    def _stop_when_overdue(self) -> None:
        margin = self._lease_seconds - self._safe_seconds
        for attempt in self._current():
            if boot_seconds() > attempt.valid_until - margin and not attempt.stop.is_set():
                logger.error("job %s: no beat got through, stopping", attempt.lease.job_id)
                attempt.end(Abandoned())

    def _is_due(self) -> bool:
        waited = boot_seconds() - self._last_beat
        if not self._healthy:
            return waited >= self._step
        return (
            self._is_called
            or not self._introduced
            or waited >= self._interval
            or any(attempt.has_news() for attempt in self._current())
        )

    def _beat_when_due(self) -> None:
        if self._is_due():
            self._beat()

    def _beat(self) -> None:
        self._is_called = False
        current = [each for each in self._current() if each.stopped_with != Abandoned()]
        beats = [attempt.beat() for attempt in current]
        sent_at = self._last_beat = boot_seconds()
        try:
            replies = self._manager.heartbeat(
                beats,
                lease=self._lease,
                worker_id=self._worker_id,
                facts=None if self._introduced else self._facts,
                deadline_seconds=self._lease_seconds / _BEATS_PER_LEASE,
            )
        except VideoJobsError as error:
            self._healthy = False
            for attempt, beat in zip(current, beats, strict=True):
                attempt.was_not_heard(beat)
            logger.warning("the heartbeat failed, will try again: %s", error)
            return
        self._healthy = self._introduced = True
        self._heard_at = sent_at
        for attempt, beat in zip(current, beats, strict=True):
            attempt.was_heard(beat)
        by_key = {_key(attempt): attempt for attempt in current}
        for reply in replies:
            if reply.drain:
                self._on_drain()
            if reply.job_id is not None and reply.run_token is not None:
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
                pass  # it was settled while the beat was on its way


def _key(attempt: Attempt) -> tuple[UUID, int]:
    return attempt.lease.job_id, attempt.lease.run_token
