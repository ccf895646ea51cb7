"""From a video file to finished files: probe, plan, run, verify. No database is needed."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.media.execution import Execution, MadeOutput, SegmentKeeper
from videojobs.media.ffmpeg import find_ffmpeg, inspect_ffmpeg
from videojobs.media.inspector import Inspector
from videojobs.media.launching import isolation
from videojobs.media.workspace import attempt_folder, sweep_stale_folders, work_root
from videojobs.models import OutputFile
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.plan import SOURCE_NAME, Machine, Plan
from videojobs.pipelines.progress import Progress
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.storage.local import move_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

logger = logging.getLogger("videojobs.worker")


class Planner(Protocol):
    """A pipeline: facts and wishes in, a plan out. Pure; it must not touch the file."""

    def __call__(
        self,
        facts: SourceFacts,
        settings: ProcessingSettings,
        /,
        *,
        machine: Machine,
        limits: SourceLimits,
    ) -> Plan:
        """The plan for one source.

        Raises:
            ProcessingError: The source cannot be used.
        """
        ...


#: The pipelines that every processor knows.
PIPELINES: Mapping[str, Planner] = {"clips": plan_clips, "renditions": plan_renditions}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingResult:
    """What one source became."""

    output_files: tuple[OutputFile, ...]
    """Verified files with their facts; paths are relative to the output folder."""
    warnings: tuple[str, ...]
    """What a person should know: fewer clips than asked for, no sound, damaged parts."""
    processing_seconds: float
    source: SourceFacts


class VideoProcessor:
    """Turns sources into clips and renditions with ffmpeg. Safe to use from several threads.

    Args:
        ffmpeg: The executable; the one of imageio-ffmpeg, or PATH's, when ``None``.
        work_dir: Where attempts keep their private folders; the system's temporary folder when
            ``None``. Best on the file system of the outputs, which are then renamed, not copied.
        cores: How many processor cores one call of `process` may use; all when ``None``.
        pipelines: Your own pipelines by name, beside the built-in ones.
        limits: What a source may be.

    Raises:
        ConfigurationError: The configured ffmpeg is not there.
        MissingExtraError: No ffmpeg is installed.
    """

    def __init__(
        self,
        *,
        ffmpeg: str | None = None,
        work_dir: Path | str | None = None,
        cores: int | None = None,
        pipelines: Mapping[str, Planner] | None = None,
        limits: SourceLimits | None = None,
    ) -> None:
        self.ffmpeg = find_ffmpeg(ffmpeg)
        self._work_dir = None if work_dir is None else Path(work_dir)
        self._cores = cores or _usable_cores()
        self._pipelines = {**PIPELINES, **(pipelines or {})}
        self._limits = limits or SourceLimits()

    @property
    def pipelines(self) -> tuple[str, ...]:
        """The names of the pipelines that it can run."""
        return tuple(self._pipelines)

    @property
    def machine(self) -> Machine:
        """What this ffmpeg can do, and the cores that plans are made for."""
        return inspect_ffmpeg(self.ffmpeg, cores=self._cores)

    def check(self) -> None:
        """Look whether ffmpeg runs, once, before work is taken on.

        What the system lacks to close ffmpeg off from network and files is logged as a warning.

        Raises:
            ConfigurationError: It does not; every job would fail on it.
        """
        _ = self.machine
        _warn_of_gaps()

    def probe(self, source: str | Path) -> SourceFacts:
        """What the source is, found by a process of its own in bounded time.

        Raises:
            ProcessingError: It is missing, damaged or no video.
        """
        with Inspector() as inspector:
            return inspector.source(_existing(source))

    def plan(self, source: str | Path | SourceFacts, settings: ProcessingSettings) -> Plan:
        """What `process` would do, as a value; nothing is encoded.

        ``plan.commands(processor.ffmpeg)`` gives the bare command lines.

        Raises:
            ProcessingError: The source cannot be used.
        """
        facts = source if isinstance(source, SourceFacts) else self.probe(source)
        planner = self._planner(settings.pipeline)
        return planner(facts, settings, machine=self.machine, limits=self._limits)

    def process(
        self,
        source: str | Path,
        settings: ProcessingSettings,
        *,
        output_dir: Path | str,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
        keeper: SegmentKeeper | None = None,
    ) -> ProcessingResult:
        """All planned files are in *output_dir*, verified; or an error is raised and none is.

        *on_progress* is called from the threads that watch ffmpeg, one call at a time; what it
        raises ends the work and is raised here. Setting *cancel* ends ffmpeg within 2 seconds.
        Files of the same names are replaced. A *keeper* keeps the segments of long films, and gives
        back those that an earlier call with the same source and settings had finished.

        Raises:
            ProcessingError: See its `code`, `retryable` and `advice`.
            ProcessingCancelledError: *cancel* was set.
        """
        started_at = time.monotonic()
        output_dir = Path(output_dir)
        report = on_progress or _ignore
        should_stop = (cancel or threading.Event()).is_set
        report(Progress(percent=0, stage="probing"))
        root = work_root(self._work_dir)
        sweep_stale_folders(root)
        with (
            _folder_for_outputs(output_dir),
            attempt_folder(root) as folder,
            Inspector(should_stop=should_stop) as inspector,
        ):
            (folder / SOURCE_NAME).symlink_to(_existing(source))
            facts = inspector.source(folder / SOURCE_NAME)
            plan = self.plan(facts, settings)
            execution = Execution(
                plan,
                ffmpeg=self.ffmpeg,
                folder=folder,
                inspector=inspector,
                should_stop=should_stop,
                report=report,
                keeper=keeper,
            )
            made = execution.perform()
            if should_stop():
                raise ProcessingCancelledError
            _publish(made, output_dir)
        execution.finish()
        return ProcessingResult(
            output_files=tuple(map(_output_file, made)),
            warnings=(*plan.warnings, *execution.warnings),
            processing_seconds=round(time.monotonic() - started_at, 3),
            source=facts,
        )

    def _planner(self, name: str) -> Planner:
        try:
            return self._pipelines[name]
        except KeyError:
            advice = f"Use one of {sorted(self._pipelines)}, or give the processor your own."
            raise ProcessingError(
                f"this processor has no pipeline {name!r}. {advice}",
                code="unknown_pipeline",
                advice=advice,
            ) from None


@functools.cache
def _warn_of_gaps() -> None:
    if gaps := isolation().gaps:
        logger.warning(
            "should a hostile video take over ffmpeg, it could %s: this system offers no means "
            "against that. Run the worker in a container without network and with a read-only root",
            " and ".join(gaps),
        )


def _ignore(_: Progress) -> None:
    pass


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _existing(source: str | Path) -> Path:
    path = Path(source).resolve()
    if not path.is_file():  # a pipe or a device would never end
        advice = "Check the path; it must be a file that this machine can read."
        raise ProcessingError(
            f"there is no video file at {str(source)!r}. {advice}",
            code="missing_source",
            advice=advice,
        )
    if path.stat().st_size == 0:
        advice = "The upload probably broke off. Upload the file again."
        raise ProcessingError(
            f"the source is empty. {advice}", code="corrupt_source", advice=advice
        )
    return path


@contextlib.contextmanager
def _folder_for_outputs(output_dir: Path) -> Generator[None]:
    """The folder is there, and after a failure it is as it was: made now, since encoding takes long."""
    new = [path for path in (output_dir, *output_dir.parents) if not path.exists()]
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(output_dir, error) from error
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _publish(made: tuple[MadeOutput, ...], output_dir: Path) -> None:
    placed: list[Path] = []
    try:
        for output in made:
            target = output_dir / output.planned.file_name
            move_file(output.path, target)
            placed.append(target)
    except BaseException as error:
        for path in placed:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(output_dir, error) from error
        raise


def _unwritable(output_dir: Path, error: OSError) -> ProcessingError:
    advice = "Free some space, or choose a folder that this user can write."
    return ProcessingError(
        f"the outputs cannot be written to {output_dir} ({error.strerror}). {advice}",
        code="output_dir_unwritable",
        retryable=True,
        advice=advice,
    )


def _output_file(made: MadeOutput) -> OutputFile:
    planned, facts, loudness = made.planned, made.facts, made.loudness
    return OutputFile(
        path=planned.file_name,
        kind=planned.kind,
        name=planned.name,
        size_bytes=facts.size_bytes,
        duration_seconds=round(facts.duration_seconds, 3) or None,
        width=facts.width,
        height=facts.height,
        frame_rate=round(float(facts.frame_rate), 3) if facts.frame_rate else None,
        video_codec=facts.video_codec,
        audio_codec=facts.audio_codec,
        bitrate_kbps=facts.bitrate_kbps,
        loudness_lufs=loudness.integrated_lufs if loudness else None,
        sha256=made.sha256,
        source_start_seconds=planned.source_start_seconds,
        source_end_seconds=planned.source_end_seconds,
    )


__all__ = [
    "PIPELINES",
    "Planner",
    "ProcessingResult",
    "ProcessingSettings",
    "Progress",
    "SegmentKeeper",
    "SourceFacts",
    "SourceLimits",
    "VideoProcessor",
]
