"""Measures what a source needs: short samples at every rung, with their rates and their quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from videojobs.media.execution import Execution, MadeOutput
from videojobs.media.runner import RunLimits, run_ffmpeg
from videojobs.pipelines.failures import run_error
from videojobs.pipelines.per_title import SAMPLE_SECONDS, read_vmaf, sample_starts
from videojobs.pipelines.plan import SOURCE_NAME, Plan
from videojobs.pipelines.samples import FIXED_NAME, PlannedSample, plan_sample
from videojobs.pipelines.source import Complexity

if TYPE_CHECKING:
    from videojobs.media.inspector import Inspector
    from videojobs.pipelines.plan import Machine
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import SourceFacts, SourceLimits


def measure_complexity(
    facts: SourceFacts,
    settings: ProcessingSettings,
    *,
    machine: Machine,
    limits: SourceLimits,
    ffmpeg: str,
    folder: Path,
    inspector: Inspector,
    should_stop: Callable[[], bool],
    on_fraction: Callable[[float], None] = lambda _: None,
) -> Complexity:
    """The rate of each rung at the preset's quality, in the hardest of at most three samples of 2 s.

    Its cost does not grow with the source. *on_fraction* is told from 0 to 1 how far it is.

    Raises:
        ProcessingError: The source cannot be used, or a sample cannot be encoded.
        ProcessingCancelledError: It was to stop.
    """
    kbps: dict[str, int] = {}
    scores: list[float] = []
    fixed_scores: list[float] = []
    starts = sample_starts(facts.duration_seconds)
    for number, start in enumerate(starts):
        sample = plan_sample(
            facts,
            settings,
            machine=machine,
            limits=limits,
            start_seconds=start,
            seconds=min(SAMPLE_SECONDS, facts.duration_seconds),
        )
        place = folder / f"sample_{number}"
        place.mkdir()
        (place / SOURCE_NAME).symlink_to((folder / SOURCE_NAME).resolve())
        made = _encoded(sample, ffmpeg, place, inspector, should_stop)
        for output in made:
            if output.planned.name != FIXED_NAME and output.facts is not None:
                found = output.facts.bitrate_kbps or 0
                kbps[output.planned.name] = max(kbps.get(output.planned.name, 0), found)
        if machine.has_vmaf and settings.only_segment is None:
            score, fixed = (
                _vmaf(arguments, ffmpeg, place, should_stop) for arguments in sample.comparisons
            )
            scores.append(score)
            fixed_scores.append(fixed)
        on_fraction((number + 1) / len(starts))
    return Complexity(
        kbps=kbps,
        vmaf=round(fmean(scores), 2) if scores else None,
        fixed_vmaf=round(fmean(fixed_scores), 2) if fixed_scores else None,
    )


def sampling_cost(
    facts: SourceFacts, settings: ProcessingSettings, *, machine: Machine, limits: SourceLimits
) -> float:
    """An estimate of the CPU seconds of `measure_complexity`: comparing costs half as much again.

    Raises:
        ProcessingError: The source cannot be used.
    """
    seconds = min(SAMPLE_SECONDS, facts.duration_seconds)
    starts = sample_starts(facts.duration_seconds)
    sample = plan_sample(
        facts, settings, machine=machine, limits=limits, start_seconds=starts[0], seconds=seconds
    )
    compares = machine.has_vmaf and settings.only_segment is None
    return len(starts) * sample.run.cost_seconds * (1.5 if compares else 1.0)


def _encoded(
    sample: PlannedSample,
    ffmpeg: str,
    folder: Path,
    inspector: Inspector,
    should_stop: Callable[[], bool],
) -> Sequence[MadeOutput]:
    # No clocks and no progress: it is over in seconds.
    plan = Plan(pipeline="sample", runs=(replace(sample.run, has_clocks=False),))
    execution = Execution(
        plan,
        ffmpeg=ffmpeg,
        folder=folder,
        inspector=inspector,
        should_stop=should_stop,
        report=lambda _: None,
    )
    return execution.perform()


def _vmaf(
    arguments: tuple[str, ...], ffmpeg: str, folder: Path, should_stop: Callable[[], bool]
) -> float:
    report = run_ffmpeg(
        (ffmpeg, *arguments),
        folder=folder,
        limits=RunLimits(
            expected_seconds=SAMPLE_SECONDS, deadline_seconds=300.0, max_output_bytes=1_000_000
        ),
        should_stop=should_stop,
    )
    score = read_vmaf(report.stderr)
    if report.exit_code != 0 or report.stopped is not None or score is None:
        raise run_error(
            "the comparison of a sample",
            exit_code=report.exit_code,
            stderr=report.stderr,
            stopped=report.stopped,
        )
    return score
