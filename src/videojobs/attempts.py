"""One attempt at one job: what is known of it while it runs, and the work itself."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from videojobs.errors import (
    ProcessingCancelledError,
    ProcessingError,
    VideoJobsError,
)
from videojobs.kept_ladders import KeptLadder
from videojobs.kept_segments import KeptSegments
from videojobs.leftovers import mark_of
from videojobs.media.workspace import folder_within
from videojobs.models import Beat, JobStatus, Lease, OutputFile, VideoJob
from videojobs.outcomes import (
    Abandoned,
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    Split,
    failure_of,
)
from videojobs.pipelines.plan import Plan
from videojobs.pipelines.progress import Progress
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.processor import ProcessingResult, VideoProcessor, wants_samples
from videojobs.settings import SourcePolicy
from videojobs.sources import JobSources
from videojobs.storage import Storage

logger = logging.getLogger("videojobs.worker")


def boot_seconds() -> float:
    """A clock that goes on while the machine is suspended, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class Attempt:
    """A leased job that this process works on. Shared by its thread and the heartbeat's."""

    def __init__(
        self, lease: Lease, *, valid_until: float, report: Callable[[Progress], None]
    ) -> None:
        self.lease = lease
        self.valid_until = valid_until
        """On the boot clock: from then on, the job may be somebody else's."""
        self.stop = threading.Event()
        self._report = report
        self._lock = threading.Lock()
        self._stopped_with: Outcome | None = None
        self._progress: Progress | None = None
        self._told: tuple[int, str] | None = None
        self._checkpoint: Mapping[str, Any] | None = None
        self._is_kept = threading.Event()
        self._saved = lease.checkpoint
        self.segment_jobs: Sequence[VideoJob] = ()
        """Of a film whose segments are jobs of their own: those jobs."""

    def end(self, outcome: Cancelled | Released | Abandoned) -> None:
        """Stop the work. A lost lease outweighs every other reason, for it forbids to write."""
        with self._lock:
            if self._stopped_with is None or isinstance(outcome, Abandoned):
                self._stopped_with = outcome
        self.stop.set()

    @property
    def stopped_with(self) -> Outcome | None:
        """Why it was stopped; ``None`` if it was not."""
        with self._lock:
            return self._stopped_with

    def note(self, progress: Progress) -> None:
        """Remember how far the work is, for the next beat, and pass it on."""
        with self._lock:
            self._progress = progress
        self._report(progress)

    def save(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep a small JSON for the next attempt, should this one not come to its end.

        It goes with the next beat, within a second; a later one replaces it. The next attempt
        finds it as its lease's ``checkpoint``.
        """
        with self._lock:
            self._checkpoint = self._saved = checkpoint
            self._is_kept.clear()

    def wait_until_kept(self, seconds: float) -> bool:
        """Whether the database has what was saved last, within so many seconds."""
        return self._is_kept.wait(seconds)

    @property
    def checkpoint(self) -> Mapping[str, Any] | None:
        """What was saved last, by this attempt or one before it."""
        with self._lock:
            return self._saved

    def has_news(self) -> bool:
        """Whether a whole percent or a stage went by since the last beat, or a checkpoint waits."""
        with self._lock:
            if self._checkpoint is not None:
                return True
            progress = self._progress
            return progress is not None and (progress.percent, progress.stage) != self._told

    def beat(self) -> Beat:
        """What to tell the database now. 100 % is for the completion to say."""
        with self._lock:
            progress, checkpoint = self._progress, self._checkpoint
            self._told = None if progress is None else (progress.percent, progress.stage)
            self._checkpoint = None
        return Beat(
            job_id=self.lease.job_id,
            run_token=self.lease.run_token,
            progress=None if progress is None else max(0, min(progress.percent, 99)),
            progress_detail=None if progress is None else progress.detail,
            stage=None if progress is None else progress.stage,
            checkpoint=checkpoint,
        )

    def was_heard(self, beat: Beat) -> None:
        """The database knows what the beat told."""
        with self._lock:
            if beat.checkpoint is not None and self._checkpoint is None:
                self._is_kept.set()

    def was_not_heard(self, beat: Beat) -> None:
        """The beat got lost: what it told is news again."""
        with self._lock:
            self._told = None
            if self._checkpoint is None:
                self._checkpoint = beat.checkpoint


def perform(
    attempt: Attempt,
    processor: VideoProcessor,
    storage: Storage,
    *,
    work_dir: Path,
    tenant_of: Callable[[UUID], UUID],
    segments_of: Callable[[UUID], Sequence[VideoJob]],
    source_policy: SourcePolicy = "any",
) -> Outcome:
    """Do the work, and tell how it ended; nothing is raised and no file is left behind."""
    try:
        sources = JobSources(
            job=attempt.lease.job, storage=storage, policy=source_policy, tenant_of=tenant_of
        )
        sources.refuse_what_is_not_its_own()
        return _worked(attempt, processor, sources, work_dir, segments_of)
    except ProcessingCancelledError:
        return attempt.stopped_with or Failed("cancelled", "the run was stopped", retryable=True)
    except (ProcessingError, VideoJobsError) as error:
        return attempt.stopped_with or failure_of(error)
    except Exception as error:  # a plugin's pipeline or storage may raise anything
        logger.exception("job %s: the attempt broke", attempt.lease.job_id)
        return attempt.stopped_with or failure_of(error)


def _worked(
    attempt: Attempt,
    processor: VideoProcessor,
    sources: JobSources,
    work_dir: Path,
    segments_of: Callable[[UUID], Sequence[VideoJob]],
) -> Outcome:
    job, storage = attempt.lease.job, sources.storage
    settings = ProcessingSettings.from_job(job)
    with folder_within(work_dir) as folder:
        source = sources.source(folder, cancel=attempt.stop)
        ladder = KeptLadder(attempt) if wants_samples(settings) else None
        if settings.fan_out:
            attempt.segment_jobs = segments_of(job.id)
            # Facts, not the path: what the source shows and sounds like changes no segment.
            plan = processor.plan(processor.probe(source), settings)
            if missing := _missing_segments(plan, attempt.segment_jobs):
                if ladder is not None:
                    ladder.measure(processor, source, settings)
                return attempt.stopped_with or Split(missing)
        captions = sources.captions(folder / "captions", cancel=attempt.stop)
        result = processor.process(
            source,
            settings,
            output_dir=folder / "outputs",
            on_progress=attempt.note,
            cancel=attempt.stop,
            keeper=KeptSegments(attempt, storage, attempt.segment_jobs),
            # Only when there are some: a processor of your own need not know of them.
            **({"captions": captions} if captions else {}),
            **(ladder.arguments if ladder else {}),
        )
        if attempt.stopped_with is not None:
            return attempt.stopped_with
        return _stored(attempt, result, folder / "outputs", storage)


def _missing_segments(plan: Plan, jobs: Sequence[VideoJob]) -> tuple[int, ...]:
    """Those that are still to be made by jobs of their own.

    Raises:
        ProcessingError: One of them failed for good.
    """
    for job in jobs:
        if job.status is JobStatus.FAILED:
            raise ProcessingError(
                f"segment {job.settings['only_segment']} failed: {job.error_message}",
                code=job.error_code or "processing_failed",
            )
    made = {job.settings["only_segment"] for job in jobs if job.status is JobStatus.COMPLETED}
    return tuple(number for number in plan.segment_numbers if number not in made)


def prefix_of(lease: Lease) -> str:
    """Where the attempt's outputs go. A late twin's token differs, so it never touches them."""
    return f"{lease.job_id}/{lease.run_token}"


def _stored(
    attempt: Attempt, result: ProcessingResult, folder: Path, storage: Storage
) -> Completed:
    made = {name: folder / name for name in result.files}
    places = storage.publish(made, prefix_of(attempt.lease), cancel=attempt.stop)
    # A segment's files go when its job does, by a worker on the same storage.
    more = {"storage": mark_of(storage)} if attempt.lease.job.parent_job_id else {}
    output_files: list[OutputFile] = [
        output.model_copy(update={"path": places[output.path], **more})
        for output in result.output_files
    ]
    return Completed(tuple(output_files), result.processing_seconds, result.warnings)
