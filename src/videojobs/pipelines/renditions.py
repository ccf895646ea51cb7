"""The pipeline ``renditions``: the whole source at several sizes, from one decode."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError
from videojobs.pipelines.graphs import Branch, encode_arguments
from videojobs.pipelines.ladders import (
    KEYFRAME_SECONDS,
    Ladder,
    encode_cost,
    ladder_outputs,
    loudness_goal,
    poster_moment,
    rung_branches,
    shared_picture,
    shared_sound,
    source_ladder,
    wanted_renditions,
    whole_source,
)
from videojobs.pipelines.per_title import per_title_report, picked_rungs
from videojobs.pipelines.plan import Machine, Plan, PlannedOutput, PlannedRun
from videojobs.pipelines.posters import poster_branch
from videojobs.pipelines.segmented import plan_in_segments, seconds_of_segments
from videojobs.pipelines.source import usable_video
from videojobs.pipelines.thumbnails import plan_thumbnails
from videojobs.pipelines.warnings import source_warnings
from videojobs.profiles import CODECS

if TYPE_CHECKING:
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import Complexity, SourceFacts, SourceLimits


def plan_renditions(
    facts: SourceFacts,
    settings: ProcessingSettings,
    *,
    machine: Machine,
    limits: SourceLimits,
) -> Plan:
    """One ffmpeg run: each size is scaled from the one above, in 0.61 of the time of single runs.

    Raises:
        ProcessingError: The source cannot be used; see `usable_video`.
    """
    video = usable_video(facts, limits)
    _refuse_missing_encoders(settings, machine)
    ladder = source_ladder(facts, video, settings, machine)
    warnings = (
        *_left_out(ladder),
        *_without_captions(facts, settings),
        *source_warnings(facts, video, settings, machine),
    )
    if facts.complexity is not None:
        _refuse_unmeasured(ladder, facts.complexity)
        picked = picked_rungs(ladder.rungs, facts.complexity.kbps)
        if settings.only_segment is None:  # else its film tells
            warnings = (*warnings, per_title_report(ladder.rungs, picked, facts.complexity))
        ladder = replace(ladder, rungs=picked)
    if seconds_of_segments(ladder):
        made = plan_in_segments(ladder, warnings)
    else:
        made = Plan(pipeline=settings.pipeline, runs=(_run(ladder),), warnings=warnings)
    if not settings.thumbnails or settings.only_segment is not None:
        return made
    thumbnails = plan_thumbnails(made.outputs, keyframe_seconds=KEYFRAME_SECONDS)
    return replace(made, thumbnails=thumbnails)


def _run(ladder: Ladder) -> PlannedRun:
    outputs = ladder_outputs(ladder)
    source = whole_source(ladder)
    return PlannedRun(
        name="renditions",
        arguments=encode_arguments(
            source,
            video=shared_picture(ladder),
            audio=shared_sound(ladder),
            branches=_branches(ladder, outputs),
        ),
        outputs=outputs,
        duration_seconds=ladder.duration_seconds,
        cost_seconds=encode_cost(ladder),
        loudness=loudness_goal(ladder, source),
        has_clocks=ladder.has_clocks,
    )


def _branches(ladder: Ladder, outputs: tuple[PlannedOutput, ...]) -> tuple[Branch, ...]:
    *videos, poster = outputs
    top, *lower = rung_branches(ladder, videos)
    # The poster taps the largest picture, so it comes before the first reduction.
    still = poster_branch(
        poster, at_seconds=poster_moment(ladder), end_seconds=ladder.duration_seconds
    )
    return (*top, still, *(branch for rung in lower for branch in rung))


def _refuse_missing_encoders(settings: ProcessingSettings, machine: Machine) -> None:
    for codec in settings.video_codecs:
        if codec in CODECS and CODECS[codec].encoder in machine.lacks_encoders:
            advice = "Use the ffmpeg of imageio-ffmpeg, or leave the codec out of video_codecs."
            raise ProcessingError(
                f"this ffmpeg cannot make {codec}: it has no {CODECS[codec].encoder}. {advice}",
                code="ffmpeg_build",
                advice=advice,
            )


def _refuse_unmeasured(ladder: Ladder, complexity: Complexity) -> None:
    missing = [rung.name for rung in ladder.rungs if rung.name not in complexity.kbps]
    if missing:
        advice = (
            f"Give rung_kbps for {', '.join(rung.name for rung in ladder.rungs)}, or not at all."
        )
        raise ProcessingError(
            f"per title: nobody measured what {missing[0]} needs. {advice}",
            code="invalid_settings",
            advice=advice,
        )


def _left_out(ladder: Ladder) -> tuple[str, ...]:
    made = [rung.name for rung in ladder.rungs]
    if made == [rendition.name for rendition in wanted_renditions(ladder.settings)]:
        return ()
    width, height = ladder.video.display_size
    return (
        f"the ladder begins at {made[0]}: the source is {width}x{height}, and nothing is enlarged",
    )


def _without_captions(facts: SourceFacts, settings: ProcessingSettings) -> tuple[str, ...]:
    if not facts.captions or settings.pipeline == "hls":
        return ()
    return ("the captions were left out: clips and hls have them, and renditions have not",)
