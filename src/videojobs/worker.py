"""Runs jobs: claims them, keeps their leases, does the work, and settles each attempt."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol
from uuid import UUID

from videojobs import attempts, calls
from videojobs.attempts import Attempt, boot_seconds
from videojobs.calls import ClaimWish
from videojobs.calls.work import CLAIM_LIMIT
from videojobs.duties import Duty
from videojobs.errors import ConfigurationError, SupabaseConnectionError, VideoJobsError
from videojobs.heartbeats import Heartbeats
from videojobs.identity import new_key, worker_name
from videojobs.kept_segments import remove_segments
from videojobs.leftovers import Sweeper, mark_of
from videojobs.manager import VideoJobManager
from videojobs.media.workspace import attempt_folder, sweep_stale_folders, work_root
from videojobs.models import Lease, SettledAttempt, Verdict, VideoJob
from videojobs.outcomes import Completed, Failed, Outcome, Released, settlement_of
from videojobs.pipelines.progress import Progress
from videojobs.processor import VideoProcessor
from videojobs.requests import JobFilter
from videojobs.storage import Storage, open_storage
from videojobs.transports import Listener
from videojobs.turns import Queues, QueueTurns

logger = logging.getLogger("videojobs.worker")

_FIRST_PAUSE_SECONDS = 0.25
_STEP_SECONDS = 0.5
"""The longest rest of the loop."""
_LISTENING_SECONDS = 0.25
"""The listener ends no later than so."""
_TRIES_PER_LEASE = 4
_GATHERING_SECONDS = 0.005
_LONGEST_UPKEEP_PAUSE_SECONDS = 15.0
"""A lease of 60 seconds and this: a dead worker's job is noticed within 75."""
_FAREWELL_SECONDS = 2.0


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
        storage: Where sources are and outputs go; the settings' storage if not given.
        queues: Which queues, first things first; or with weights, such as
            ``{"default": 3, "bulk": 1}``: then each gets its share, and what one does not need
            goes to the others.
        pipelines: Only jobs of these; those that the processor knows if not given.
        concurrency: How many jobs at once. Each uses about all cores: 1 is best on small machines.
        lease: How long the database waits for a silent worker. Others notice within a quarter
            more.
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
        queues: Queues = ("default",),
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
        self._storage = storage or open_storage(None, settings)
        self._turns = QueueTurns(queues)
        self._pipelines = tuple(self._processor.pipelines if pipelines is None else pipelines)
        self._concurrency = concurrency
        self._lease = lease or timedelta(seconds=settings.lease_seconds)
        self._hard_limit = hard_limit
        self._shutdown_grace = shutdown_grace
        self._observer = observer
        self._work_root = work_root(settings.work_dir)
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._news = threading.Event()
        """Something happened that the loop should look at."""
        self._in_hand: set[Attempt] = set()
        """Claimed and not settled."""
        self._ended: deque[tuple[Attempt, Outcome]] = deque()
        """At their end, and not settled yet. The attempts' threads append here."""
        self._claim_key = new_key()
        self._asked_at: float | None = None
        """When the key was used first: its leases may be as old as that."""
        self._look_at = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._found_nothing = False
        self._heartbeats = Heartbeats(
            manager, self.id, self._lease, facts=self._facts(queues), on_drain=self._drain
        )

    def run(self, *, until_idle: bool = False, handle_signals: bool = True) -> None:
        """Work until `stop` is called, or a SIGTERM or SIGINT comes; a second signal hurries it.

        Args:
            until_idle: Also end when nothing is left to claim and none of its own jobs runs. Jobs
                that other workers hold, also dead ones, are not waited for, nor are later tries.
            handle_signals: Whether to react to signals; only possible in the main thread.

        Raises:
            ConfigurationError: The storage is not there, or ffmpeg does not run; every job would
                fail on it.
            PermissionDeniedError: The manager's key has no service rights.
            SupabaseConnectionError: The database could not be reached at the start. Later
                troubles are logged, and waited out.
        """
        self._storage.check()
        self._processor.check()
        sweep_stale_folders(self._work_root)
        self._manager.maintain()
        self._look_at, self._pause, self._found_nothing = 0.0, _FIRST_PAUSE_SECONDS, False
        sweeper = Sweeper(self._manager, self._storage)
        with (
            _signals(self._on_signal) if handle_signals else contextlib.nullcontext(),
            self._manager.listen_for_work() as listener,
            Duty("listener", partial(self._listen, listener), lambda: 0.0, joins=True),
            Duty("upkeep", self._maintain, self._until_upkeep),
            Duty("sweeper", sweeper.sweep, sweeper.pause, joins=True),
            self._heartbeats,
            attempt_folder(self._work_root) as work_dir,
            ThreadPoolExecutor(self._concurrency, thread_name_prefix="videojobs-attempt") as pool,
        ):
            logger.info("worker %s works on %s", self.id, ", ".join(self._turns.names))
            try:
                self._work(
                    lambda attempt: pool.submit(self._attempt, work_dir, attempt), until_idle
                )
            finally:
                for attempt in self._in_hand:
                    attempt.end(Released())
                self._in_hand.clear()
                self._ended.clear()
                self._stopping.clear()
                self._hurry.clear()
        self._say_goodbye()

    def stop(self) -> None:
        """Claim no more. `run` returns when the running jobs are finished, or given back."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        self._news.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        logger.info("got %s: finishing up", signal.Signals(number).name)
        # Not here: the handler may have interrupted the loop within the very event that it would set.
        threading.Thread(target=self.stop, daemon=True).start()

    def _drain(self) -> None:
        if not self._stopping.is_set():
            logger.info("worker %s was asked to drain: finishing up", self.id)
            self.stop()

    def _facts(self, queues: Queues) -> dict[str, Any]:
        return {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "queues": dict(queues) if isinstance(queues, Mapping) else list(queues),
            "pipelines": list(self._pipelines),
            "concurrency": self._concurrency,
            "lease_seconds": self._lease.total_seconds(),
            "storage": mark_of(self._storage),
        }

    # The loop: whatever has ended is settled and whatever is free is filled, in one call.

    def _work(self, begin: Callable[[Attempt], object], until_idle: bool) -> None:
        released_at: float | None = None
        while True:
            if self._stopping.is_set():
                released_at = released_at or boot_seconds() + self._shutdown_grace.total_seconds()
                self._release_when_due(released_at)
            self._gather()
            ended = self._take_ended()
            wanted = self._wanted()
            if ended or wanted:
                self._exchange(begin, ended, wanted)
            elif not self._in_hand and (
                self._stopping.is_set() or (until_idle and self._found_nothing)
            ):
                return
            else:
                self._rest()

    def _release_when_due(self, released_at: float) -> None:
        if self._hurry.is_set() or boot_seconds() >= released_at:
            for attempt in self._in_hand:
                attempt.end(Released())

    def _gather(self) -> None:
        """Attempts that end within milliseconds of each other are settled together."""
        end = boot_seconds() + _GATHERING_SECONDS
        while 0 < len(self._ended) < len(self._in_hand) and (left := end - boot_seconds()) > 0:
            self._news.wait(left)
            self._news.clear()

    def _take_ended(self) -> list[tuple[Attempt, Outcome]]:
        return [self._ended.popleft() for _ in range(len(self._ended))]

    def _wanted(self) -> int:
        """How many jobs to ask for now."""
        if self._stopping.is_set() or boot_seconds() < self._look_at:
            return 0
        free = self._concurrency - len(self._in_hand) + len(self._ended)
        return min(free, CLAIM_LIMIT) if self._heartbeats.is_healthy() else 0

    def _rest(self) -> None:
        until_look = self._look_at - boot_seconds()
        # In steps at the longest: a health that came back and a grace that ends send no news.
        self._news.wait(until_look if 0 < until_look < _STEP_SECONDS else _STEP_SECONDS)
        self._news.clear()

    def _look_again(self) -> None:
        """Ask for jobs at once: something may be ready."""
        self._look_at, self._pause = 0.0, _FIRST_PAUSE_SECONDS
        self._news.set()

    def _look_later(self) -> None:
        pause = self._pause * random.uniform(0.75, 1)  # noqa: S311 # jitter
        self._look_at = boot_seconds() + pause
        self._pause = min(self._pause * 2, self._manager.settings.poll_seconds)

    def _exchange(
        self,
        begin: Callable[[Attempt], object],
        ended: Sequence[tuple[Attempt, Outcome]],
        wanted: int,
    ) -> None:
        """Settle what has ended, and fill its places and the free ones, in one commit."""
        settlements = [
            settlement
            for attempt, outcome in ended
            if (settlement := settlement_of(attempt.lease, outcome)) is not None
        ]
        if ended and not wanted:
            wanted = self._places_of(len(ended))
        if wanted:
            self._age_claim_key()
        try:
            reply = self._manager.perform(
                calls.settle_jobs(settlements, self._wish(wanted) if wanted else None),
                self._lease.total_seconds() / _TRIES_PER_LEASE,
            )
        except SupabaseConnectionError as error:
            logger.warning("the database could not be told, will try again: %s", error)
            self._look_later()
            self._try_again_later(ended)
        except VideoJobsError as error:
            logger.warning("settling and claiming failed, will go on one by one: %s", error)
            self._look_later()
            for each in ended:
                self._settle_alone(*each)
        else:
            self._note(ended, reply.settled)
            if wanted:
                self._begin(begin, reply.leases, wanted)

    def _places_of(self, ended: int) -> int:
        # A place that has just become free is worth a look, which costs no round trip of its own.
        healthy = self._heartbeats.is_healthy() and not self._stopping.is_set()
        return min(ended + self._concurrency - len(self._in_hand), CLAIM_LIMIT) if healthy else 0

    def _age_claim_key(self) -> None:
        """Leases that a lost reply told of are worth having while most of them is left."""
        now = boot_seconds()
        if self._asked_at is not None and now > self._asked_at + self._lease.total_seconds() / 2:
            self._claim_key, self._asked_at = new_key(), None
        self._asked_at = now if self._asked_at is None else self._asked_at

    def _wish(self, wanted: int) -> ClaimWish:
        # The same key until an answer came: if only the reply was lost, it brings the same leases.
        return ClaimWish(
            worker=self.id,
            claim_key=self._claim_key,
            queues=self._turns.next_order(),
            pipelines=self._pipelines,
            limit=wanted,
            lease_seconds=self._lease.total_seconds(),
            hard_limit_seconds=None
            if self._hard_limit is None
            else self._hard_limit.total_seconds(),
        )

    def _begin(
        self,
        begin: Callable[[Attempt], object],
        leases: Sequence[Lease],
        wanted: int,
    ) -> None:
        valid_until = (self._asked_at or boot_seconds()) + self._lease.total_seconds()
        self._claim_key, self._asked_at = new_key(), None
        self._found_nothing = not leases
        for lease in leases:
            attempt = self._new_attempt(lease, valid_until)
            self._in_hand.add(attempt)
            self._heartbeats.watch(attempt)
            begin(attempt)
        if leases:
            self._look_again()
        if len(leases) < wanted:
            self._look_later()

    def _new_attempt(self, lease: Lease, valid_until: float) -> Attempt:
        def report(progress: Progress) -> None:
            self._tell("progressed", lease, progress)

        return Attempt(lease, valid_until=valid_until, report=report)

    def _attempt(self, work_dir: Path, attempt: Attempt) -> None:
        """In a thread of its own: do the work, and hand the outcome to the loop."""
        self._tell("claimed", attempt.lease)
        # Should even a SystemExit come out of a plugin: a lease that nobody ends is kept for ever.
        outcome: Outcome = Failed("internal_error", "the attempt's thread ended", retryable=True)
        try:
            outcome = attempts.perform(
                attempt,
                self._processor,
                self._storage,
                work_dir=work_dir,
                tenant_of=lambda job_id: self._manager.get_job(job_id).tenant_id,
                segments_of=self._segments_of,
                source_policy=self._manager.settings.source_policy,
            )
        finally:
            self._ended.append((attempt, outcome))
            self._news.set()

    def _segments_of(self, job_id: UUID) -> Sequence[VideoJob]:
        return tuple(self._manager.iter_jobs(JobFilter(parent_job_id=job_id)))

    # The ends of attempts

    def _note(
        self, ended: Sequence[tuple[Attempt, Outcome]], settled: Sequence[SettledAttempt]
    ) -> None:
        answers = {(answer.job_id, answer.run_token): answer for answer in settled}
        for attempt, outcome in ended:
            answer = answers.get((attempt.lease.job_id, attempt.lease.run_token))
            if answer is None or answer.verdict is Verdict.LOST:
                self._lost(attempt, outcome)
            self._finish(attempt, outcome, None if answer is None else answer.job)

    def _lost(self, attempt: Attempt, outcome: Outcome) -> None:
        logger.warning("job %s: the lease was lost before the end", attempt.lease.job_id)
        if isinstance(outcome, Completed):
            self._remove_outputs(attempt)

    def _remove_outputs(self, attempt: Attempt) -> None:
        try:
            self._storage.remove(attempts.prefix_of(attempt.lease))
        except VideoJobsError as error:
            logger.warning("job %s: its outputs are left behind: %s", attempt.lease.job_id, error)

    def _finish(self, attempt: Attempt, outcome: Outcome, job: VideoJob | None) -> None:
        self._in_hand.discard(attempt)
        self._heartbeats.forget(attempt)
        if job is not None and job.status.is_final:
            self._forget_leftovers(remove_segments(job, attempt, self._storage))
            _log_warnings(job, outcome)
        self._tell("settled", attempt.lease, outcome, job)

    def _forget_leftovers(self, prefixes: Sequence[str]) -> None:
        if not prefixes:
            return
        try:
            self._manager.perform(calls.settle_leftovers(prefixes), _FAREWELL_SECONDS)
        except VideoJobsError as error:
            logger.info("will be looked for again in an hour: %s: %s", ", ".join(prefixes), error)

    def _settle_alone(self, attempt: Attempt, outcome: Outcome) -> None:
        """One attempt's bad report must not keep the others from being settled."""
        settlement = settlement_of(attempt.lease, outcome)
        try:
            reply = self._manager.perform(calls.settle_jobs([settlement] if settlement else []))
        except SupabaseConnectionError:
            self._try_again_later([(attempt, outcome)])
        except VideoJobsError as error:
            # The lease will run out, and another attempt will follow.
            logger.error("job %s: could not be settled: %s", attempt.lease.job_id, error)
            self._finish(attempt, outcome, None)
        else:
            self._note([(attempt, outcome)], reply.settled)

    def _try_again_later(self, ended: Sequence[tuple[Attempt, Outcome]]) -> None:
        """Work that is done is worth an effort: while the lease is valid, which the heartbeats
        prolong, it is told again and again."""
        for attempt, outcome in ended:
            if self._hurry.is_set() or attempt.valid_until <= boot_seconds():
                logger.error(
                    "job %s: could not be settled before its lease ended", attempt.lease.job_id
                )
                self._finish(attempt, outcome, None)
            else:
                self._ended.append((attempt, outcome))
        # The call itself has tried for a while, with growing pauses; this one is for its refusals.
        self._hurry.wait(_FIRST_PAUSE_SECONDS)

    # Duties of other threads

    def _listen(self, listener: Listener) -> None:
        heard = listener.wait((*self._turns.names, self.id), _LISTENING_SECONDS)
        if self.id in heard:
            self._heartbeats.beat_now()
        if any(name in heard for name in self._turns.names):
            self._look_again()

    def _until_upkeep(self) -> float:
        longest = min(self._lease.total_seconds() / 4, _LONGEST_UPKEEP_PAUSE_SECONDS)
        return longest * random.uniform(0.5, 1)  # noqa: S311 # jitter

    def _maintain(self) -> None:
        """Take jobs back from silent workers and from those that do not stop, and clean up."""
        try:
            done = self._manager.maintain()
        except VideoJobsError as error:
            logger.warning("upkeep failed, will try again: %s", error)
            return
        for job in done.recovered:
            logger.warning("job %s: taken back from %s: %s", job.job_id, job.worker_id, job.outcome)

    def _say_goodbye(self) -> None:
        try:
            self._manager.perform(calls.remove_worker(self.id), _FAREWELL_SECONDS)
        except VideoJobsError as error:
            logger.info("could not say goodbye: %s", error)

    def _tell(self, event: str, *facts: object) -> None:
        if self._observer is None:
            return
        try:
            getattr(self._observer, event)(*facts)
        except Exception:
            logger.exception("the observer's %s failed", event)


def _log_warnings(job: VideoJob, outcome: Outcome) -> None:
    told = outcome.warnings if isinstance(outcome, Completed) else ()
    # A segment repeats what its film says.
    level = logging.WARNING if job.parent_job_id is None else logging.INFO
    for warning in told:
        logger.log(level, "job %s: %s", job.id, warning)


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
