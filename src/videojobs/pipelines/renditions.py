"""The pipeline ``renditions``: the whole source at several sizes, from one decode."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError
from videojobs.pipelines.encoding import (
    aac_options,
    clock_options,
    copy_options,
    denoised,
    improved,
    in_codec,
    mp4_options,
    output_rate,
    prepared_picture,
    prepared_sound,
    scaled,
    scaled_to_standard_colours,
)
from videojobs.pipelines.framing import Rung, ladder
from videojobs.pipelines.graphs import (
    Branch,
    Filter,
    SourceInput,
    compare_arguments,
    encode_arguments,
    join_arguments,
    measure_arguments,
)
from videojobs.pipelines.per_title import per_title_report, picked_rungs
from videojobs.pipelines.plan import (
    LoudnessGoal,
    Machine,
    Plan,
    PlannedOutput,
    PlannedRun,
    SegmentList,
    runs_at_once,
)
from videojobs.pipelines.posters import first_picture_branch, poster_branch
from videojobs.pipelines.segments import (
    SHORT_SECONDS,
    USUAL_SECONDS,
    Segment,
    SegmentInput,
    cut_into_segments,
    segment_input,
)
from videojobs.pipelines.source import SourceFacts, SourceLimits, VideoFacts, usable_video
from videojobs.pipelines.thumbnails import plan_thumbnails
from videojobs.pipelines.warnings import source_warnings
from videojobs.profiles import CODECS, ENHANCEMENTS, PRESETS, RENDITIONS, Rendition, VideoCodec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from videojobs.pipelines.settings import ProcessingSettings

#: Keyframes at the same times on every rung, so that a player can change rungs there.
#: Apple's HLS authoring specification asks for one every 2 seconds.
KEYFRAME_SECONDS = 2.0

_MAX_FRAME_RATE = 60

#: CPU seconds for a second of film that is joined: the sound of four rungs, and every file written twice.
_JOIN_COST = 0.04

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encode:
    """One rung in one codec."""

    rung: Rung
    codec: VideoCodec

    @property
    def name(self) -> str:
        return self.rung.name if self.codec == "h264" else f"{self.rung.name}_{self.codec}"

    @property
    def weight(self) -> float:
        factor = 1.0 if self.codec == "h264" else CODECS[self.codec].cost
        return self.rung.width * self.rung.height / 1e6 * factor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ladder:
    """The source and what all rungs have in common."""

    facts: SourceFacts
    video: VideoFacts
    rungs: tuple[Rung, ...]
    rate: Fraction
    settings: ProcessingSettings
    machine: Machine

    def encodes(self, rung: Rung) -> tuple[_Encode, ...]:
        wanted = self.settings.video_codecs
        return tuple(_Encode(rung=rung, codec=codec) for codec in rung.codecs if codec in wanted)

    @property
    def all_encodes(self) -> tuple[_Encode, ...]:
        return tuple(encode for rung in self.rungs for encode in self.encodes(rung))

    @property
    def duration_seconds(self) -> float:
        return round(self.facts.duration_seconds, 3)

    @property
    def segment_seconds(self) -> float:
        """0 for one piece."""
        wanted = self.settings.segment_seconds
        if wanted is None:
            wanted = USUAL_SECONDS if self.duration_seconds > SHORT_SECONDS else 0.0
        return wanted if self.duration_seconds > 1.5 * wanted else 0.0

    @property
    def has_audio(self) -> bool:
        return self.facts.audio is not None

    @property
    def has_clocks(self) -> bool:
        return self.machine.ffmpeg_major >= 6

    @property
    def limit_dbtp(self) -> float | None:
        is_levelled = ENHANCEMENTS[self.settings.enhancement_level].normalise_loudness
        return self.settings.platform.true_peak_dbtp if is_levelled and self.has_audio else None


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
    wanted = [rung for rung in RENDITIONS if rung.short_side in settings.ladder_heights]
    plan = _Ladder(
        facts=facts,
        video=video,
        rungs=ladder(video, wanted),
        rate=output_rate(video, highest=_MAX_FRAME_RATE),
        settings=settings,
        machine=machine,
    )
    warnings = (
        *_left_out(plan, wanted),
        *_without_captions(facts, settings),
        *source_warnings(facts, video, settings, machine),
    )
    if facts.complexity is not None:
        picked = picked_rungs(plan.rungs, facts.complexity.kbps)
        warnings = (*warnings, per_title_report(plan.rungs, picked, facts.complexity))
        plan = replace(plan, rungs=picked)
    if plan.segment_seconds:
        made = _in_segments(plan, warnings)
    else:
        made = Plan(pipeline=settings.pipeline, runs=(_run(plan),), warnings=warnings)
    if not settings.thumbnails or settings.only_segment is not None:
        return made
    thumbnails = plan_thumbnails(made.outputs, keyframe_seconds=KEYFRAME_SECONDS)
    return replace(made, thumbnails=thumbnails)


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
    wanted = [rung for rung in RENDITIONS if rung.short_side in settings.ladder_heights]
    plan = _Ladder(
        facts=replace(facts, duration_seconds=seconds, audio=None),
        video=video,
        rungs=tuple(replace(rung, codecs=("h264",)) for rung in ladder(video, wanted)),
        rate=output_rate(video, highest=_MAX_FRAME_RATE),
        settings=settings.model_copy(update={"video_codecs": ("h264",)}),
        machine=machine,
    )
    # Found and cut like a segment: a stream without an index must not give a frozen picture.
    part = Segment(
        1, round(start_seconds * plan.rate), round(plan.duration_seconds * plan.rate), is_last=False
    )
    read = segment_input(part, facts, rate=plan.rate, threads=None)
    run = _sample_run(plan, read)
    comparisons = tuple(
        compare_arguments(
            output.part_name, read.source, video=_head(plan, read.trim), threads=machine.cores
        )
        for output in (run.outputs[0], run.outputs[-1])
    )
    return PlannedSample(run=run, comparisons=comparisons)


def _sample_run(plan: _Ladder, read: SegmentInput) -> PlannedRun:
    """Every rung at the preset's quality, and the largest at the ladder's constant rate too."""
    *videos, _ = _outputs(plan)
    fixed = replace(videos[0], name=FIXED_NAME, file_name=f"{FIXED_NAME}.mp4")
    rungs = _rung_branches(plan, videos, _SAMPLE_THREADS)
    branches = [*rungs[0], _fixed_branch(plan, fixed)]
    branches += [branch for rung in rungs[1:] for branch in rung]
    return PlannedRun(
        name="sample",
        arguments=encode_arguments(
            read.source, video=_head(plan, read.trim), audio=(), branches=branches
        ),
        outputs=(*videos, fixed),
        duration_seconds=plan.duration_seconds,
        cost_seconds=2 * _cost(plan),
    )


def _fixed_branch(plan: _Ladder, output: PlannedOutput) -> Branch:
    encode = plan.all_encodes[0]
    options = _encoder(plan, encode, output, _SAMPLE_THREADS)
    constant = {"b:v": f"{encode.rung.max_video_bitrate_kbps}k"}
    kept = {name: value for name, value in options.items() if name != "crf"}
    return Branch(file_name=output.part_name, options={**kept, **constant})


def _refuse_missing_encoders(settings: ProcessingSettings, machine: Machine) -> None:
    for codec in settings.video_codecs:
        if codec in CODECS and CODECS[codec].encoder in machine.lacks_encoders:
            advice = "Use the ffmpeg of imageio-ffmpeg, or leave the codec out of video_codecs."
            raise ProcessingError(
                f"this ffmpeg cannot make {codec}: it has no {CODECS[codec].encoder}. {advice}",
                code="ffmpeg_build",
                advice=advice,
            )


def _left_out(plan: _Ladder, wanted: Sequence[Rendition]) -> tuple[str, ...]:
    made = [rung.name for rung in plan.rungs]
    if made == [rendition.name for rendition in wanted]:
        return ()
    width, height = plan.video.display_size
    return (
        f"the ladder begins at {made[0]}: the source is {width}x{height}, and nothing is enlarged",
    )


def _without_captions(facts: SourceFacts, settings: ProcessingSettings) -> tuple[str, ...]:
    if not facts.captions or settings.pipeline == "hls":
        return ()
    return ("the captions were left out: clips and hls have them, and renditions have not",)


def _in_segments(plan: _Ladder, warnings: tuple[str, ...]) -> Plan:
    """The pictures in segments, as many at once as the cores allow; then all joined, with the sound."""
    *videos, poster = _outputs(plan)
    frame_count = round(plan.duration_seconds * plan.rate)
    segments = cut_into_segments(frame_count, plan.rate, plan.segment_seconds)
    concurrency = runs_at_once(plan.machine, len(segments))
    threads = max(1, plan.machine.cores // concurrency) if concurrency > 1 else None
    if plan.settings.only_segment is not None:
        return _one_segment(plan, segments, videos, warnings)
    return Plan(
        pipeline=plan.settings.pipeline,
        runs=tuple(_segment_run(plan, segment, videos, threads) for segment in segments),
        joins=(_join_run(plan, segments, videos), _poster_run(plan, poster)),
        concurrency=concurrency,
        warnings=warnings,
        segments_key=_segments_key(plan, segments, videos),
    )


def _segments_key(
    plan: _Ladder, segments: Sequence[Segment], videos: Sequence[PlannedOutput]
) -> str:
    """Settings, source and ffmpeg; of the segments the first stands for all that follow it."""
    first = _segment_run(plan, segments[0], videos, threads=None)
    facts, machine = plan.facts, plan.machine
    told = (
        first.arguments,
        len(segments),
        facts.fingerprint,
        facts.size_bytes,
        machine.ffmpeg_major,
    )
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _one_segment(
    plan: _Ladder,
    segments: Sequence[Segment],
    videos: Sequence[PlannedOutput],
    warnings: tuple[str, ...],
) -> Plan:
    wanted = [segment for segment in segments if segment.number == plan.settings.only_segment]
    if not wanted:
        raise ProcessingError(
            f"there is no segment {plan.settings.only_segment}: the source gives {len(segments)}",
            code="invalid_settings",
        )
    run = _segment_run(plan, wanted[0], videos, threads=None)
    key = _segments_key(plan, segments, videos)
    outputs = tuple(replace(output, part_of=None, segments_key=key) for output in run.outputs)
    return Plan(
        pipeline=plan.settings.pipeline,
        runs=(replace(run, outputs=outputs, is_segment=False),),
        warnings=warnings,
        segments_key=key,
    )


def _segment_run(
    plan: _Ladder, segment: Segment, videos: Sequence[PlannedOutput], threads: int | None
) -> PlannedRun:
    outputs = tuple(_segment_output(plan, segment, output) for output in videos)
    share = segment.frame_count / round(plan.duration_seconds * plan.rate)
    return PlannedRun(
        name=segment.name,
        arguments=_segment_arguments(plan, segment, outputs, threads),
        arguments_from_start=_segment_arguments(plan, segment, outputs, threads, from_start=True),
        outputs=outputs,
        duration_seconds=outputs[0].duration_seconds,
        cost_seconds=_cost(plan) * share,
        has_clocks=plan.has_clocks,
        is_segment=True,
    )


def _segment_output(plan: _Ladder, segment: Segment, whole: PlannedOutput) -> PlannedOutput:
    start = float(segment.first_frame / plan.rate)
    seconds = float(segment.frame_count / plan.rate)
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
    plan: _Ladder,
    segment: Segment,
    outputs: Sequence[PlannedOutput],
    threads: int | None,
    *,
    from_start: bool = False,
) -> tuple[str, ...]:
    read = segment_input(
        segment, plan.facts, rate=plan.rate, threads=threads, from_start=from_start
    )
    rungs = _rung_branches(plan, outputs, threads)
    branches = [branch for rung in rungs for branch in rung]
    return encode_arguments(read.source, video=_head(plan, read.trim), audio=(), branches=branches)


def _join_run(
    plan: _Ladder, segments: Sequence[Segment], videos: Sequence[PlannedOutput]
) -> PlannedRun:
    source = _source(plan)
    lists = tuple(
        SegmentList(
            f"{output.name}.list",
            tuple(_segment_output(plan, segment, output).part_name for segment in segments),
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
        for encode, output in zip(plan.all_encodes, videos, strict=True)
    ]
    return PlannedRun(
        name="join",
        arguments=join_arguments(
            source,
            lists=[each.file_name for each in lists],
            audio=_sound(plan),
            branches=branches,
        ),
        outputs=tuple(videos),
        duration_seconds=plan.duration_seconds,
        cost_seconds=_JOIN_COST * plan.duration_seconds,
        loudness=_loudness(plan, source),
        lists=lists,
    )


def _poster_run(plan: _Ladder, poster: PlannedOutput) -> PlannedRun:
    source = SourceInput(
        start_seconds=_poster_moment(plan),
        duration_seconds=1.0,
        video_index=plan.video.stream_index,
    )
    return PlannedRun(
        name="poster",
        arguments=encode_arguments(
            source,
            video=_head(plan),
            audio=(),
            branches=[first_picture_branch(poster)],
        ),
        outputs=(poster,),
        duration_seconds=1.0,
        cost_seconds=1.0,
    )


def _source(plan: _Ladder) -> SourceInput:
    return SourceInput(
        duration_seconds=plan.duration_seconds,
        video_index=plan.video.stream_index,
        audio_index=plan.facts.audio.stream_index if plan.facts.audio else None,
    )


def _run(plan: _Ladder) -> PlannedRun:
    outputs = _outputs(plan)
    source = _source(plan)
    return PlannedRun(
        name="renditions",
        arguments=encode_arguments(
            source,
            video=_head(plan),
            audio=_sound(plan),
            branches=_branches(plan, outputs),
        ),
        outputs=outputs,
        duration_seconds=plan.duration_seconds,
        cost_seconds=_cost(plan),
        loudness=_loudness(plan, source),
        has_clocks=plan.has_clocks,
    )


def _sound(plan: _Ladder, *, pad: bool = True) -> tuple[Filter, ...]:
    return prepared_sound(
        duration_seconds=plan.duration_seconds,
        limit_dbtp=plan.limit_dbtp,
        denoise=ENHANCEMENTS[plan.settings.enhancement_level].denoise_sound,
        pad=pad,
    )


def _head(plan: _Ladder, trim: tuple[Filter, ...] = ()) -> tuple[Filter, ...]:
    enhancement = ENHANCEMENTS[plan.settings.enhancement_level]
    top = plan.rungs[0]
    return (
        *prepared_picture(plan.video, plan.rate),
        *((denoised(),) if enhancement.denoise else ()),
        *trim,
        *scaled_to_standard_colours(
            plan.video, top.width, top.height, can_tone_map=plan.machine.has_tone_mapping
        ),
        *improved(enhancement),
    )


def _outputs(plan: _Ladder) -> tuple[PlannedOutput, ...]:
    """The slowest first, since ``-progress`` counts the frames of the first; then the poster."""
    top = plan.rungs[0]
    poster = PlannedOutput(
        name="poster", file_name="poster.jpg", kind="poster", width=top.width, height=top.height
    )
    return (*(_rung_output(plan, encode) for encode in plan.all_encodes), poster)


def _rung_output(plan: _Ladder, encode: _Encode) -> PlannedOutput:
    return PlannedOutput(
        name=encode.name,
        file_name=f"{encode.name}.mp4",
        width=encode.rung.width,
        height=encode.rung.height,
        video_codec=encode.codec,
        weight=encode.weight,
        duration_seconds=plan.duration_seconds,
        frame_rate=plan.rate,
        has_audio=plan.has_audio,
        keyframe_seconds=KEYFRAME_SECONDS,
        source_start_seconds=0.0,
        source_end_seconds=plan.duration_seconds,
    )


def _branches(plan: _Ladder, outputs: tuple[PlannedOutput, ...]) -> tuple[Branch, ...]:
    *videos, poster = outputs
    top, *lower = _rung_branches(plan, videos)
    # The poster taps the largest picture, so it comes before the first reduction.
    still = poster_branch(
        poster, at_seconds=_poster_moment(plan), end_seconds=plan.duration_seconds
    )
    return (*top, still, *(branch for rung in lower for branch in rung))


def _rung_branches(
    plan: _Ladder, outputs: Sequence[PlannedOutput], threads: int | None = None
) -> list[tuple[Branch, ...]]:
    """For each rung one branch a codec; the first reduces the picture for all that follow."""
    waiting = iter(outputs)
    return [
        tuple(
            _branch(plan, encode, next(waiting), threads, is_reduced=place == 0 < number)
            for place, encode in enumerate(plan.encodes(rung))
        )
        for number, rung in enumerate(plan.rungs)
    ]


def _branch(
    plan: _Ladder,
    encode: _Encode,
    output: PlannedOutput,
    threads: int | None,
    *,
    is_reduced: bool,
) -> Branch:
    return Branch(
        file_name=output.part_name,
        options=_encoder(plan, encode, output, threads),
        steps=_reduced(encode.rung) if is_reduced else (),
        has_audio=output.has_audio,
    )


def _reduced(rung: Rung) -> tuple[Filter, ...]:
    # 1280x720 becomes 854x480, and scale would note pixels of 1280:1281 to make up for it.
    return scaled(rung.width, rung.height), Filter("setsar", {"sar": 1})


def _encoder(
    plan: _Ladder, encode: _Encode, output: PlannedOutput, threads: int | None
) -> dict[str, str | int | float]:
    rung, quality = encode.rung, plan.settings.quality_preset
    options = mp4_options(
        PRESETS[quality],
        size=(rung.width, rung.height),
        rate=plan.rate,
        keyframe_seconds=KEYFRAME_SECONDS,
        max_bitrate_kbps=rung.max_video_bitrate_kbps,
        duration_seconds=output.duration_seconds,
        threads=threads,
    )
    # A scene cut's own keyframe would fall at another place on another rung.
    options |= {"sc_threshold": 0, "force_key_frames": f"expr:gte(t,n_forced*{KEYFRAME_SECONDS:g})"}
    if encode.codec != "h264":
        ceiling = rung.max_video_bitrate_kbps
        options = in_codec(options, CODECS[encode.codec], quality, max_bitrate_kbps=ceiling)
    options |= clock_options(output.clock_name) if plan.has_clocks else {}
    return {**options, **(aac_options(rung.audio_bitrate_kbps) if output.has_audio else {})}


def _poster_moment(plan: _Ladder) -> float:
    return round(plan.duration_seconds / 5, 3)


def _loudness(plan: _Ladder, source: SourceInput) -> LoudnessGoal | None:
    limit = plan.limit_dbtp
    if limit is None:
        return None
    return LoudnessGoal(
        arguments=measure_arguments(source, audio=_sound(plan, pad=False)),
        target_lufs=plan.settings.platform.loudness_lufs,
        ceiling_dbtp=limit,
    )


def _cost(plan: _Ladder) -> float:
    preset = PRESETS[plan.settings.quality_preset]
    megapixels = sum(encode.weight for encode in plan.all_encodes)
    seconds = plan.duration_seconds * float(plan.rate) / 30
    encode = preset.seconds_per_megapixel_second * megapixels * seconds
    decode = 0.03 * plan.video.width * plan.video.height / 1e6 * seconds
    return encode * ENHANCEMENTS[plan.settings.enhancement_level].cost + decode
