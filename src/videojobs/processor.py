"""From a video file to finished files: probe, plan, run, verify. No database is needed."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.given_files import captions_of_file, existing_source
from videojobs.media.analysing import Analyser
from videojobs.media.complexity import measure_complexity, sampling_cost
from videojobs.media.execution import Execution, SegmentKeeper
from videojobs.media.ffmpeg import find_ffmpeg, inspect_ffmpeg
from videojobs.media.inspector import Inspector
from videojobs.media.launching import isolation
from videojobs.media.workspace import attempt_folder, sweep_stale_folders, work_root
from videojobs.models import OutputFile
from videojobs.outputs import folder_for_outputs, output_file, places_of, put_in_place
from videojobs.pipelines.analysis import SourceAnalysis
from videojobs.pipelines.choosing import choose_clips
from videojobs.pipelines.chosen import ChosenClip, ClipChooser
from videojobs.pipelines.clips import plan_clips
from videojobs.pipelines.hls import plan_hls
from videojobs.pipelines.plan import SOURCE_NAME, Machine, Plan
from videojobs.pipelines.progress import PROBED_PERCENT, Progress
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import Complexity, SourceFacts, SourceLimits, usable_video
from videojobs.requests import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger("videojobs.worker")
ResultT = TypeVar("ResultT")


class Planner(Protocol):
    """A pipeline: facts and wishes in, a plan out. Pure; it must not touch the file.

    One that also has a keyword parameter ``analysis`` is given a `SourceAnalysis`, or ``None``
    where none was made; it may be called without one first, to know what the plan costs. One with
    ``chooser`` is given the processor's `ClipChooser`. `plan_clips` has both.
    """

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
PIPELINES: Mapping[str, Planner] = {
    "clips": plan_clips,
    "renditions": plan_renditions,
    "hls": plan_hls,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingResult:
    """What one source became."""

    output_files: tuple[OutputFile, ...]
    """Verified files with their facts; paths are relative to the output folder."""
    files: tuple[str, ...]
    """Every file to be published, relative to the output folder, in the order to do so.

    More than `output_files`: an HLS package stands there as its master playlist alone, and has
    thousands of segments, which come first.
    """
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
        chooser: What decides which parts of a source become clips.

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
        chooser: ClipChooser = choose_clips,
    ) -> None:
        self.ffmpeg = find_ffmpeg(ffmpeg)
        self._work_dir = None if work_dir is None else Path(work_dir)
        self._cores = cores or _usable_cores()
        self._pipelines = {**PIPELINES, **(pipelines or {})}
        self._limits = limits or SourceLimits()
        self._chooser = chooser

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
            return inspector.source(existing_source(source))

    def analyse(self, source: str | Path, settings: ProcessingSettings) -> SourceAnalysis:
        """Where the source is loud, lively, silent and cut; about as costly as playing it through.

        Raises:
            ProcessingError: The source cannot be used.
        """
        return self._in_a_folder(source, lambda folder, facts: self._look(facts, settings, folder))

    def measure(
        self,
        source: str | Path,
        settings: ProcessingSettings,
        *,
        cancel: threading.Event | None = None,
    ) -> Complexity:
        """What each rung needs of this source, by at most three samples of 2 s.

        Raises:
            ProcessingError: The source cannot be used, or a sample cannot be encoded.
            ProcessingCancelledError: *cancel* was set.
        """
        should_stop = (cancel or threading.Event()).is_set
        with (
            attempt_folder(work_root(self._work_dir)) as folder,
            Inspector(should_stop=should_stop) as inspector,
        ):
            (folder / SOURCE_NAME).symlink_to(existing_source(source))
            return measure_complexity(
                inspector.source(folder / SOURCE_NAME),
                settings,
                machine=self.machine,
                limits=self._limits,
                ffmpeg=self.ffmpeg,
                folder=folder,
                inspector=inspector,
                should_stop=should_stop,
            )

    def plan(
        self,
        source: str | Path | SourceFacts,
        settings: ProcessingSettings,
        *,
        analysis: SourceAnalysis | None = None,
    ) -> Plan:
        """What `process` would do, as a value; nothing is encoded.

        ``plan.clips`` tells the clips with their scores and reasons, and
        ``plan.commands(processor.ffmpeg)`` the bare command lines. A path is analysed first, where
        the pipeline and the settings want it; facts are not, so that their clips are spread evenly
        unless *analysis* is given.

        Raises:
            ProcessingError: The source cannot be used.
        """
        if isinstance(source, SourceFacts):
            return self._planned(source, settings, analysis)
        if analysis is not None:
            return self._planned(self.probe(source), settings, analysis)
        return self._in_a_folder(
            source, lambda folder, facts: self._prepared(facts, settings, folder)[0]
        )

    def process(
        self,
        source: str | Path,
        settings: ProcessingSettings,
        *,
        output_dir: Path | str,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
        keeper: SegmentKeeper | None = None,
        captions: str | Path | None = None,
        complexity: Complexity | None = None,
        on_complexity: Callable[[Complexity], None] | None = None,
    ) -> ProcessingResult:
        """All planned files are in *output_dir*, verified; or an error is raised and none is.

        *on_progress* is called from the threads that watch ffmpeg, one call at a time; what it
        raises ends the work and is raised here. Setting *cancel* ends ffmpeg within 2 seconds.
        Files of the same names are replaced. A *keeper* keeps the segments of long films, and gives
        back those that an earlier call with the same source and settings had finished.
        *captions* is an SRT or WebVTT file in the source's time; the settings' `captions_mode` says
        what becomes of it.
        *complexity* is what `measure`, or an earlier call by *on_complexity*, found the source to
        need: with ``per_title``, nothing is sampled then.

        Raises:
            ProcessingError: See its `code`, `retryable` and `advice`.
            ProcessingCancelledError: *cancel* was set.
            SupabaseValidationError: The settings have a `captions_url`, and there are no *captions*.
        """
        started_at = time.monotonic()
        output_dir = Path(output_dir)
        report = on_progress or _ignore
        should_stop = (cancel or threading.Event()).is_set
        report(Progress(percent=0, stage="probing"))

        def go_on() -> None:
            if should_stop():
                raise ProcessingCancelledError

        if settings.captions_url is not None and captions is None:
            raise refuse(
                "process", "captions_url", "…", "a worker's to fetch; give captions, a path, here"
            )
        given_captions = () if captions is None else captions_of_file(Path(captions), go_on)
        root = work_root(self._work_dir)
        sweep_stale_folders(root)
        with (
            folder_for_outputs(output_dir),
            attempt_folder(root) as folder,
            Inspector(should_stop=should_stop) as inspector,
        ):
            (folder / SOURCE_NAME).symlink_to(existing_source(source))
            facts = inspector.source(folder / SOURCE_NAME)
            facts = replace(facts, complexity=complexity or _told_complexity(settings))
            warnings: tuple[str, ...] = ()
            percent = PROBED_PERCENT
            if wants_samples(settings) and facts.complexity is None:
                facts, warnings, percent = self._sampled(
                    facts, settings, folder, inspector, should_stop, report
                )
                if facts.complexity is not None and on_complexity is not None:
                    on_complexity(facts.complexity)
            plan, percent = self._prepared(
                replace(facts, captions=given_captions),
                settings,
                folder,
                should_stop=should_stop,
                report=report,
                first_percent=percent,
            )
            execution = Execution(
                plan,
                first_percent=percent,
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
            places = places_of(made, folder)
            put_in_place(places, output_dir)
        execution.finish()
        return ProcessingResult(
            output_files=tuple(map(output_file, made)),
            files=tuple(places),
            warnings=(*warnings, *plan.warnings, *execution.warnings),
            processing_seconds=round(time.monotonic() - started_at, 3),
            source=facts,
        )

    def _sampled(
        self,
        facts: SourceFacts,
        settings: ProcessingSettings,
        folder: Path,
        inspector: Inspector,
        should_stop: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> tuple[SourceFacts, tuple[str, ...], int]:
        """The facts with what samples needed, and the percentage that they stand for.

        Or a warning, for the usual ladder can still be made.
        """
        telling = _StageProgress(report, "sampling")
        cost = sampling_cost(facts, settings, machine=self.machine, limits=self._limits)
        telling.last_percent = _share(cost, self._planned(facts, settings, None).cost_seconds)
        telling(0.0)
        try:
            complexity = measure_complexity(
                facts,
                settings,
                machine=self.machine,
                limits=self._limits,
                ffmpeg=self.ffmpeg,
                folder=folder,
                inspector=inspector,
                should_stop=should_stop,
                on_fraction=telling,
            )
        except ProcessingCancelledError:
            raise
        except ProcessingError as error:
            warning = f"per title: no sample could be measured, so all is made ({error})"
            return facts, (warning,), telling.last_percent
        return replace(facts, complexity=complexity), (), telling.last_percent

    def _in_a_folder(
        self, source: str | Path, work: Callable[[Path, SourceFacts], ResultT]
    ) -> ResultT:
        with attempt_folder(work_root(self._work_dir)) as folder, Inspector() as inspector:
            (folder / SOURCE_NAME).symlink_to(existing_source(source))
            return work(folder, inspector.source(folder / SOURCE_NAME))

    def _prepared(
        self,
        facts: SourceFacts,
        settings: ProcessingSettings,
        folder: Path,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        report: Callable[[Progress], None] = lambda _: None,
        first_percent: int = PROBED_PERCENT,
    ) -> tuple[Plan, int]:
        """The plan, and the percentage at which its work begins."""
        takes_analysis = _takes(self._planner(settings.pipeline), "analysis")
        if not (settings.wants_analysis and takes_analysis):
            return self._planned(facts, settings, None), first_percent
        # Refuses what is not worth a look.
        rough = self._planned(replace(facts, captions=()), settings, None)
        telling = _StageProgress(report, "analysing", first_percent)
        analyser = self._analyser(facts, settings, folder, should_stop, telling)
        share = _share(analyser.cost_seconds, rough.cost_seconds)
        telling.last_percent = max(first_percent, share)
        analysis, warnings = _analysis_or_warnings(analyser)
        plan = self._planned(facts, settings, analysis)
        return replace(plan, warnings=(*warnings, *plan.warnings)), telling.last_percent

    def _planned(
        self, facts: SourceFacts, settings: ProcessingSettings, analysis: SourceAnalysis | None
    ) -> Plan:
        planner = self._planner(settings.pipeline)
        offered: dict[str, Any] = {"analysis": analysis, "chooser": self._chooser}
        more = {name: value for name, value in offered.items() if _takes(planner, name)}
        return planner(facts, settings, machine=self.machine, limits=self._limits, **more)

    def _look(
        self, facts: SourceFacts, settings: ProcessingSettings, folder: Path
    ) -> SourceAnalysis:
        usable_video(facts, self._limits)
        return self._analyser(facts, settings, folder).perform()

    def _analyser(
        self,
        facts: SourceFacts,
        settings: ProcessingSettings,
        folder: Path,
        should_stop: Callable[[], bool] = lambda: False,
        on_fraction: Callable[[float], None] = lambda _: None,
    ) -> Analyser:
        return Analyser(
            facts,
            settings,
            ffmpeg=self.ffmpeg,
            folder=folder,
            threads=self._cores,
            should_stop=should_stop,
            on_fraction=on_fraction,
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


class _StageProgress:
    """Tells the percentages of a stage before the encoding, each once."""

    def __init__(
        self,
        report: Callable[[Progress], None],
        stage: str,
        first_percent: int = PROBED_PERCENT,
    ) -> None:
        self._report = report
        self._stage = stage
        self._told: int | None = None
        self._first_percent = self.last_percent = first_percent

    def __call__(self, fraction: float) -> None:
        percent = self._first_percent + int(fraction * (self.last_percent - self._first_percent))
        if self._told is None or percent > self._told:
            self._told = percent
            self._report(Progress(percent=percent, stage=self._stage))


def wants_samples(settings: ProcessingSettings) -> bool:
    """Whether the ladder depends on what samples of the source need."""
    return settings.per_title and settings.pipeline != "clips"


def _told_complexity(settings: ProcessingSettings) -> Complexity | None:
    if settings.rung_kbps is None or not wants_samples(settings):
        return None
    return Complexity(kbps=settings.rung_kbps, vmaf=None, fixed_vmaf=None)


def _share(analysis_seconds: float, encoding_seconds: float) -> int:
    """The percentage at which the encoding begins."""
    share = analysis_seconds / max(analysis_seconds + encoding_seconds, 1e-9)
    return PROBED_PERCENT + int(share * (98 - PROBED_PERCENT))


def _analysis_or_warnings(analyser: Analyser) -> tuple[SourceAnalysis | None, tuple[str, ...]]:
    """A source that is damaged somewhere may still give clips elsewhere."""
    try:
        return analyser.perform(), ()
    except ProcessingCancelledError:
        raise
    except ProcessingError as error:
        if error.retryable or error.code == "truncated_source":
            raise
        return None, (f"the clips are spread evenly: {error}",)


def _takes(planner: Planner, name: str) -> bool:
    return name in inspect.signature(planner).parameters


def _ignore(_: Progress) -> None:
    pass


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


__all__ = [
    "PIPELINES",
    "ChosenClip",
    "ClipChooser",
    "Planner",
    "ProcessingResult",
    "ProcessingSettings",
    "Progress",
    "SegmentKeeper",
    "SourceAnalysis",
    "SourceFacts",
    "SourceLimits",
    "VideoProcessor",
    "choose_clips",
]
