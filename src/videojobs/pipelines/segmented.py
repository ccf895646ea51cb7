"""A ladder in segments: a run for each, and one that joins them with the sound."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError
from videojobs.pipelines.encoding import aac_options, copy_options
from videojobs.pipelines.graphs import Branch, SourceInput, encode_arguments, join_arguments
from videojobs.pipelines.ladders import (
    Ladder,
    encode_cost,
    ladder_outputs,
    loudness_goal,
    poster_moment,
    rung_branches,
    shared_picture,
    shared_sound,
    whole_source,
)
from videojobs.pipelines.plan import Plan, PlannedOutput, PlannedRun, SegmentList, runs_at_once
from videojobs.pipelines.posters import first_picture_branch
from videojobs.pipelines.segments import (
    SHORT_SECONDS,
    USUAL_SECONDS,
    Segment,
    cut_into_segments,
    segment_input,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: CPU seconds for a second of film that is joined: the sound of four rungs, and every file written twice.
_JOIN_COST = 0.04


def seconds_of_segments(ladder: Ladder) -> float:
    """What each segment lasts; 0 for one piece."""
    wanted = ladder.settings.segment_seconds
    if wanted is None:
        wanted = USUAL_SECONDS if ladder.duration_seconds > SHORT_SECONDS else 0.0
    return wanted if ladder.duration_seconds > 1.5 * wanted else 0.0


def plan_in_segments(ladder: Ladder, warnings: tuple[str, ...]) -> Plan:
    """The pictures in segments, as many at once as the cores allow; then all joined, with the sound."""
    *videos, poster = ladder_outputs(ladder)
    frame_count = round(ladder.duration_seconds * ladder.rate)
    segments = cut_into_segments(frame_count, ladder.rate, seconds_of_segments(ladder))
    concurrency = runs_at_once(ladder.machine, len(segments))
    threads = max(1, ladder.machine.cores // concurrency) if concurrency > 1 else None
    if ladder.settings.only_segment is not None:
        return _one_segment(ladder, segments, videos, warnings)
    return Plan(
        pipeline=ladder.settings.pipeline,
        runs=tuple(_segment_run(ladder, segment, videos, threads) for segment in segments),
        joins=(_join_run(ladder, segments, videos), _poster_run(ladder, poster)),
        concurrency=concurrency,
        warnings=warnings,
        segments_key=_segments_key(ladder, segments, videos),
    )


def _segments_key(
    ladder: Ladder, segments: Sequence[Segment], videos: Sequence[PlannedOutput]
) -> str:
    """Settings, source and ffmpeg; of the segments the first stands for all that follow it."""
    first = _segment_run(ladder, segments[0], videos, threads=None)
    facts, machine = ladder.facts, ladder.machine
    told = (
        first.arguments,
        len(segments),
        facts.fingerprint,
        facts.size_bytes,
        machine.ffmpeg_major,
    )
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _one_segment(
    ladder: Ladder,
    segments: Sequence[Segment],
    videos: Sequence[PlannedOutput],
    warnings: tuple[str, ...],
) -> Plan:
    wanted = [segment for segment in segments if segment.number == ladder.settings.only_segment]
    if not wanted:
        raise ProcessingError(
            f"there is no segment {ladder.settings.only_segment}: the source gives {len(segments)}",
            code="invalid_settings",
        )
    run = _segment_run(ladder, wanted[0], videos, threads=None)
    key = _segments_key(ladder, segments, videos)
    outputs = tuple(replace(output, part_of=None, segments_key=key) for output in run.outputs)
    return Plan(
        pipeline=ladder.settings.pipeline,
        runs=(replace(run, outputs=outputs, is_segment=False),),
        warnings=warnings,
        segments_key=key,
    )


def _segment_run(
    ladder: Ladder, segment: Segment, videos: Sequence[PlannedOutput], threads: int | None
) -> PlannedRun:
    outputs = tuple(_segment_output(ladder, segment, output) for output in videos)
    share = segment.frame_count / round(ladder.duration_seconds * ladder.rate)
    return PlannedRun(
        name=segment.name,
        arguments=_segment_arguments(ladder, segment, outputs, threads),
        arguments_from_start=_segment_arguments(ladder, segment, outputs, threads, from_start=True),
        outputs=outputs,
        duration_seconds=outputs[0].duration_seconds,
        cost_seconds=encode_cost(ladder) * share,
        has_clocks=ladder.has_clocks,
        is_segment=True,
    )


def _segment_output(ladder: Ladder, segment: Segment, whole: PlannedOutput) -> PlannedOutput:
    start = float(segment.first_frame / ladder.rate)
    seconds = float(segment.frame_count / ladder.rate)
    name = f"{whole.name}_{segment.number:04}"
    return replace(
        whole,
        name=name,
        file_name=f"{name}.mp4",
        part_of=whole.name,
        has_audio=False,
        # The source may end a little early, and only there.
        has_exact_frames=not segment.is_last,
        duration_seconds=round(seconds, 6),
        source_start_seconds=round(start, 3),
        source_end_seconds=round(start + seconds, 3),
    )


def _segment_arguments(
    ladder: Ladder,
    segment: Segment,
    outputs: Sequence[PlannedOutput],
    threads: int | None,
    *,
    from_start: bool = False,
) -> tuple[str, ...]:
    read = segment_input(
        segment, ladder.facts, rate=ladder.rate, threads=threads, from_start=from_start
    )
    rungs = rung_branches(ladder, outputs, threads)
    branches = [branch for rung in rungs for branch in rung]
    return encode_arguments(
        read.source, video=shared_picture(ladder, read.trim), audio=(), branches=branches
    )


def _join_run(
    ladder: Ladder, segments: Sequence[Segment], videos: Sequence[PlannedOutput]
) -> PlannedRun:
    source = whole_source(ladder)
    lists = tuple(
        SegmentList(
            f"{output.name}.list",
            tuple(_segment_output(ladder, segment, output).part_name for segment in segments),
        )
        for output in videos
    )
    branches = [
        Branch(
            file_name=output.part_name,
            options={
                **copy_options(codec=encode.codec, duration_seconds=output.duration_seconds),
                **(aac_options(encode.rung.audio_bitrate_kbps) if output.has_audio else {}),
            },
            has_audio=output.has_audio,
        )
        for encode, output in zip(ladder.all_encodes, videos, strict=True)
    ]
    return PlannedRun(
        name="join",
        arguments=join_arguments(
            source,
            lists=[each.file_name for each in lists],
            audio=shared_sound(ladder),
            branches=branches,
        ),
        outputs=tuple(videos),
        duration_seconds=ladder.duration_seconds,
        cost_seconds=_JOIN_COST * ladder.duration_seconds,
        loudness=loudness_goal(ladder, source),
        lists=lists,
    )


def _poster_run(ladder: Ladder, poster: PlannedOutput) -> PlannedRun:
    source = SourceInput(
        start_seconds=poster_moment(ladder),
        duration_seconds=1.0,
        video_index=ladder.video.stream_index,
    )
    return PlannedRun(
        name="poster",
        arguments=encode_arguments(
            source,
            video=shared_picture(ladder),
            audio=(),
            branches=[first_picture_branch(poster)],
        ),
        outputs=(poster,),
        duration_seconds=1.0,
        cost_seconds=1.0,
    )
