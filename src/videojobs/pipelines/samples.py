"""Samples: short parts of the source, encoded to learn what it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from videojobs.pipelines.graphs import Branch, compare_arguments, encode_arguments
from videojobs.pipelines.ladders import (
    Ladder,
    encode_cost,
    encoder_options,
    ladder_outputs,
    rung_branches,
    shared_picture,
    source_ladder,
)
from videojobs.pipelines.plan import Machine, PlannedOutput, PlannedRun
from videojobs.pipelines.segments import Segment, SegmentInput, segment_input
from videojobs.pipelines.source import usable_video

if TYPE_CHECKING:
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import SourceFacts, SourceLimits

#: The name of the sample that stands for a ladder of constant rates.
FIXED_NAME = "fixed"

#: Of each sample's encoders, whatever the machine: their number changes what x264 makes, and all
#: who encode segments of one film must find the same ladder.
_SAMPLE_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSample:
    """A short part of the source, encoded to learn what it needs."""

    run: PlannedRun
    comparisons: tuple[tuple[str, ...], ...]
    """ffmpeg runs that tell the quality of the largest rung, at its preset and at a constant rate."""


def plan_sample(
    facts: SourceFacts,
    settings: ProcessingSettings,
    *,
    machine: Machine,
    limits: SourceLimits,
    start_seconds: float,
    seconds: float,
) -> PlannedSample:
    """A short part of the source at every rung, and how the largest compares with the source.

    Raises:
        ProcessingError: The source cannot be used; see `usable_video`.
    """
    video = usable_video(facts, limits)
    whole = source_ladder(
        replace(facts, duration_seconds=seconds, audio=None),
        video,
        settings.model_copy(update={"video_codecs": ("h264",)}),
        machine,
    )
    rungs = tuple(replace(rung, codecs=("h264",)) for rung in whole.rungs)
    ladder = replace(whole, rungs=rungs)
    # Found and cut like a segment: a stream without an index must not give a frozen picture.
    part = Segment(
        1,
        round(start_seconds * ladder.rate),
        round(ladder.duration_seconds * ladder.rate),
        is_last=False,
    )
    read = segment_input(part, facts, rate=ladder.rate, threads=None)
    run = _sample_run(ladder, read)
    comparisons = tuple(
        compare_arguments(
            output.part_name,
            read.source,
            video=shared_picture(ladder, read.trim),
            threads=machine.cores,
        )
        for output in (run.outputs[0], run.outputs[-1])
    )
    return PlannedSample(run=run, comparisons=comparisons)


def _sample_run(ladder: Ladder, read: SegmentInput) -> PlannedRun:
    """Every rung at the preset's quality, and the largest at the ladder's constant rate too."""
    *videos, _ = ladder_outputs(ladder)
    fixed = replace(videos[0], name=FIXED_NAME, file_name=f"{FIXED_NAME}.mp4")
    rungs = rung_branches(ladder, videos, _SAMPLE_THREADS)
    branches = [*rungs[0], _fixed_branch(ladder, fixed)]
    branches += [branch for rung in rungs[1:] for branch in rung]
    return PlannedRun(
        name="sample",
        arguments=encode_arguments(
            read.source, video=shared_picture(ladder, read.trim), audio=(), branches=branches
        ),
        outputs=(*videos, fixed),
        duration_seconds=ladder.duration_seconds,
        cost_seconds=2 * encode_cost(ladder),
    )


def _fixed_branch(ladder: Ladder, output: PlannedOutput) -> Branch:
    encode = ladder.all_encodes[0]
    options = encoder_options(ladder, encode, output, _SAMPLE_THREADS)
    constant = {"b:v": f"{encode.rung.max_video_bitrate_kbps}k"}
    kept = {name: value for name, value in options.items() if name != "crf"}
    return Branch(file_name=output.part_name, options={**kept, **constant})
