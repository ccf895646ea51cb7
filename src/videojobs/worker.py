"""Runs jobs: claims them, keeps their leases, does the work, and settles each attempt."""

from __future__ import annotations

import contextlib
import logging
import random
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from types import FrameType
from typing import Protocol

from videojobs import attempts
from videojobs.attempts import Attempt, boot_seconds
from videojobs.calls import Call
from videojobs.errors import (
    ConfigurationError,
    LeaseLostError,
    SupabaseConnectionError,
    VideoJobsError,
)
from videojobs.heartbeats import Heartbeats
from videojobs.identity import new_key, worker_name
from videojobs.manager import VideoJobManager
from videojobs.media.workspace import sweep_stale_folders, work_root
from videojobs.models import Lease, VideoJob
from videojobs.outcomes import Completed, Outcome, Released, settle
from videojobs.pipelines.progress import Progress
from videojobs.processor import VideoProcessor
from videojobs.storage import LocalStorage, Storage
from videojobs.transports import Listener

logger = logging.getLogger("videojobs.worker")

_FIRST_PAUSE_SECONDS = 0.25
_LEAST_SETTLING_SECONDS = 5.0


class Observer(Protocol):
    """Somebody who watches a worker, from its threads; what it raises is logged and ignored."""

    def claimed(self, lease: Lease) -> None:
        """An attempt begins."""
        ...

    def progressed(self, lease: Lease, progress: Progress) -> None:
        """It has come so far."""
        ...

    def settled(self, lease: Lease, outcome: Outcome, job: VideoJob | None) -> None:
        """It has ended; *job* is as stored, or ``None`` when the database could not be told."""
        ...


class Worker:
    """Claims jobs and runs them until it is stopped.

    Any number of workers, on any number of machines, may share one database.

    Args:
        manager: With service rights.
        processor: Does the work; one of your own settings' ffmpeg if not given.
        storage: Where sources are and outputs go; the settings' folder if not given.
        queues: Which queues, first things first.
        pipelines: Only jobs of these; those that the processor knows if not given.
        concurrency: How many jobs at once. Each uses about all cores: 1 is best on small machines.
        lease: How long the database waits for a silent worker.
        hard_limit: How long one attempt may take; no limit if not given.
        shutdown_grace: How long running jobs may go on after `stop`, before they are given back.
        observer: Is told what happens.
    """

    def __init__(
        self,
        manager: VideoJobManager,
        processor: VideoProcessor | None = None,
        *,
        storage: Storage | None = None,
        queues: Sequence[str] = ("default",),
        pipelines: Sequence[str] | None = None,
        concurrency: int = 1,
        lease: timedelta | None = None,
        hard_limit: timedelta | None = None,
        shutdown_grace: timedelta = timedelta(seconds=30),
        observer: Observer | None = None,
    ) -> None:
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency} must be 1 or more")
        settings = manager.settings
        self.id = worker_name()
        self._manager = manager
        self._processor = processor or VideoProcessor(
            ffmpeg=settings.ffmpeg, work_dir=settings.work_dir
        )
        self._storage = storage or LocalStorage(settings.storage_dir)
        self._queues = tuple(queues)
        self._pipelines = tuple(self._processor.pipelines if pipelines is None else pipelines)
        self._concurrency = concurrency
        self._lease = lease or timedelta(seconds=settings.lease_seconds)
        self._hard_limit = hard_limit
        self._shutdown_grace = shutdown_grace
        self._observer = observer
        self._work_root = work_root(settings.work_dir)
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._running: dict[Future[None], Attempt] = {}
        self._heartbeats = Heartbeats(manager, self._lease)
        self._claim_key = new_key()
        self._next_rescue = 0.0

    def run(self, *, until_idle: bool = False, handle_signals: bool = True) -> None:
        """Work until `stop` is called, or a SIGTERM or SIGINT comes; a second signal hurries it.

        Args:
            until_idle: Also end when no job is ready and none is running.
            handle_signals: Whether to react to signals; only possible in the main thread.

        Raises:
            ConfigurationError: The storage is not there; every job would fail on it.
            PermissionDeniedError: The manager's key has no service rights.
            SupabaseConnectionError: The database could not be reached at the start. Later
                troubles are logged, and waited out.
        """
        self._storage.check()
        sweep_stale_folders(self._work_root)
        self._manager.recover_stuck_jobs()
        self._next_rescue = self._after_about_half_a_lease()
        with (
            _signals(self._on_signal) if handle_signals else contextlib.nullcontext(),
            self._manager.listen_for_work() as listener,
            self._heartbeats,
            ThreadPoolExecutor(self._concurrency, thread_name_prefix="videojobs-attempt") as pool,
        ):
            logger.info("worker %s works on %s", self.id, ", ".join(self._queues))
            try:
                self._work(pool, listener, until_idle)
            finally:
                self._wind_down()
                self._stopping.clear()
                self._hurry.clear()

    def stop(self) -> None:
        """Claim no more. `run` returns when the running jobs are finished, or given back."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        logger.info("got %s: finishing up", signal.Signals(number).name)
        self.stop()

    def _work(self, pool: ThreadPoolExecutor, listener: Listener, until_idle: bool) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            self._forget_finished()
            self._rescue_when_due()
            free = self._concurrency - len(self._running)
            if free == 0 or not self._heartbeats.is_healthy():
                self._wait_for_a_free_place()
                continue
            claimed = self._claim(free)
            for attempt in claimed or ():
                self._running[pool.submit(self._attempt, attempt)] = attempt
            if claimed:
                pause = _FIRST_PAUSE_SECONDS
            elif until_idle and claimed is not None and not self._running:
                return
            else:
                self._idle(listener, pause)
                pause = min(pause * 2, self._manager.settings.poll_seconds)

    def _idle(self, listener: Listener, seconds: float) -> None:
        # In short steps, so that a signal does not wait for the end of a long pause.
        end = boot_seconds() + seconds * random.uniform(0.75, 1)  # noqa: S311 # jitter
        while (left := end - boot_seconds()) > 0 and not self._stopping.is_set():
            if listener.wait(self._queues, min(left, _FIRST_PAUSE_SECONDS)):
                return

    def _wait_for_a_free_place(self) -> None:
        if self._running:
            wait(self._running, timeout=_FIRST_PAUSE_SECONDS, return_when="FIRST_COMPLETED")
        else:
            self._stopping.wait(_FIRST_PAUSE_SECONDS)

    def _rescue_when_due(self) -> None:
        """Take jobs back from silent workers, and from those that do not stop when asked to."""
        if boot_seconds() < self._next_rescue:
            return
        self._next_rescue = self._after_about_half_a_lease()
        try:
            self._manager.recover_stuck_jobs()
        except VideoJobsError as error:
            logger.warning("recovering stuck jobs failed, will try again: %s", error)

    def _after_about_half_a_lease(self) -> float:
        return boot_seconds() + self._lease.total_seconds() * random.uniform(0.25, 0.75)  # noqa: S311 # jitter

    def _claim(self, limit: int) -> list[Attempt] | None:
        """New attempts, none if nothing is ready, or ``None`` if the database did not answer."""
        asked_at = boot_seconds()
        try:
            leases = self._manager.claim_jobs(
                self.id,
                queues=self._queues,
                pipelines=self._pipelines,
                limit=limit,
                lease=self._lease,
                hard_limit=self._hard_limit,
                claim_key=self._claim_key,
            )
        except VideoJobsError as error:
            # The same key again: if only the reply was lost, it brings the same leases.
            logger.warning("claiming failed, will try again: %s", error)
            return None
        self._claim_key = new_key()
        valid_until = asked_at + self._lease.total_seconds()
        claimed = [self._new_attempt(lease, valid_until) for lease in leases]
        for attempt in claimed:
            self._heartbeats.watch(attempt)
        return claimed

    def _new_attempt(self, lease: Lease, valid_until: float) -> Attempt:
        def report(progress: Progress) -> None:
            self._tell("progressed", lease, progress)

        return Attempt(lease, valid_until=valid_until, report=report)

    def _attempt(self, attempt: Attempt) -> None:
        lease = attempt.lease
        self._tell("claimed", lease)
        outcome = self._outcome(attempt)
        job: VideoJob | None = None
        try:
            job = self._settle(attempt, outcome)
        finally:
            self._heartbeats.forget(attempt)
            self._tell("settled", lease, outcome, job)

    def _outcome(self, attempt: Attempt) -> Outcome:
        return attempts.perform(
            attempt,
            self._processor,
            self._storage,
            work_root=self._work_root,
            tenant_of=lambda job_id: self._manager.get_job(job_id).tenant_id,
        )

    def _settle(self, attempt: Attempt, outcome: Outcome) -> VideoJob | None:
        lease = attempt.lease
        call = settle(lease, outcome)
        if call is None:
            return None
        try:
            return self._told(attempt, call)
        except LeaseLostError:
            logger.warning("job %s: the lease was lost before the end", lease.job_id)
            if isinstance(outcome, Completed):
                self._storage.remove(attempts.prefix_of(lease))
        except VideoJobsError as error:
            # The lease will run out, and another attempt will follow.
            logger.error("job %s: could not be settled: %s", lease.job_id, error)
        return None

    def _told(self, attempt: Attempt, call: Call[VideoJob]) -> VideoJob:
        """The stored job. Work that is done is worth an effort: it goes on trying to tell while
        the lease is valid, which the heartbeats prolong."""
        while True:
            left = max(attempt.valid_until - boot_seconds(), _LEAST_SETTLING_SECONDS)
            try:
                return self._manager.perform(call, left)
            except SupabaseConnectionError:
                if self._hurry.is_set() or attempt.valid_until <= boot_seconds():
                    raise

    def _forget_finished(self) -> None:
        for future in [future for future in self._running if future.done()]:
            del self._running[future]
            if error := future.exception():
                logger.error("an attempt's thread broke", exc_info=error)

    def _wind_down(self) -> None:
        end = boot_seconds() + self._shutdown_grace.total_seconds()
        while self._running and boot_seconds() < end and not self._hurry.is_set():
            wait(self._running, timeout=_FIRST_PAUSE_SECONDS)
            self._forget_finished()
        for attempt in self._running.values():
            attempt.end(Released())
        wait(self._running)
        self._forget_finished()

    def _tell(self, event: str, *facts: object) -> None:
        if self._observer is None:
            return
        try:
            getattr(self._observer, event)(*facts)
        except Exception:
            logger.exception("the observer's %s failed", event)


@contextlib.contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
