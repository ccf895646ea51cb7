"""The pipeline ``clips``: short upright clips of the best parts of the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from videojobs.pipelines.choosing import ChosenClip, ClipChooser, choose_clips, clips_to_make
from videojobs.pipelines.encoding import (
    aac_options,
    cropped,
    denoised,
    improved,
    mp4_options,
    output_rate,
    prepared_picture,
    prepared_sound,
    scaled_to_standard_colours,
    trimmed_picture,
    trimmed_sound,
)
from videojobs.pipelines.framing import centre_crop, clip_size
from videojobs.pipelines.graphs import (
    Branch,
    Filter,
    SourceInput,
    encode_arguments,
    measure_arguments,
)
from videojobs.pipelines.plan import (
    LoudnessGoal,
    Machine,
    Plan,
    PlannedOutput,
    PlannedRun,
    runs_at_once,
)
from videojobs.pipelines.posters import poster_branch
from videojobs.pipelines.segments import LEAD_SECONDS
from videojobs.pipelines.source import SourceFacts, SourceLimits, VideoFacts, can_seek, usable_video
from videojobs.pipelines.warnings import source_warnings
from videojobs.profiles import ENHANCEMENTS, PRESETS

if TYPE_CHECKING:
    from fractions import Fraction

    from videojobs.pipelines.analysis import SourceAnalysis
    from videojobs.pipelines.settings import ProcessingSettings

_FULL_FRAME_PIXELS = 1080 * 1920


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClipFrame:
    """What all clips of one plan have in common."""

    video: VideoFacts
    width: int
    height: int
    rate: Fraction
    threads: int | None
    has_tone_mapping: bool


def plan_clips(
    facts: SourceFacts,
    settings: ProcessingSettings,
    *,
    machine: Machine,
    limits: SourceLimits,
    analysis: SourceAnalysis | None = None,
    chooser: ClipChooser = choose_clips,
) -> Plan:
    """One ffmpeg run for each clip, with input seeking: the fastest way, and each stands alone.

    Without an *analysis* the clips are spread evenly; `ChosenClip.reason` says so.

    Raises:
        ProcessingError: The source cannot be used (see `usable_video`), or the clips cannot be
            made of it (see `clips_to_make`).
    """
    video = usable_video(facts, limits)
    windows = clips_to_make(facts.duration_seconds, settings, analysis=analysis, chooser=chooser)
    concurrency = runs_at_once(machine, len(windows))
    frame = _clip_frame(video, settings, machine, concurrency)
    return Plan(
        pipeline=settings.pipeline,
        runs=tuple(
            _clip_run(f"clip_{number:02}", window, facts, settings, frame)
            for number, window in enumerate(windows, start=1)
        ),
        concurrency=concurrency,
        warnings=(
            *_count_warnings(len(windows), facts, settings, chooser),
            *_picture_warnings(facts, analysis),
            *_rate_warnings(video, frame, settings),
            *source_warnings(facts, video, settings, machine),
        ),
        clips=windows,
    )


def _count_warnings(
    count: int, facts: SourceFacts, settings: ProcessingSettings, chooser: ClipChooser
) -> tuple[str, ...]:
    if settings.cuts or count == settings.clip_count:
        return ()
    made = f"{count} of {settings.clip_count} clips were made"
    if settings.wants_analysis and chooser is not choose_clips:
        return (f"{made}: the processor's chooser chose no more",)
    length = settings.clip_seconds or settings.platform.min_duration_seconds
    return (
        f"{made}: a source of {facts.duration_seconds:.1f} s has no room for more of "
        f"{length:g} s each",
    )


def _picture_warnings(facts: SourceFacts, analysis: SourceAnalysis | None) -> tuple[str, ...]:
    if analysis is None or analysis.duration_seconds >= facts.duration_seconds:
        return ()
    return (
        f"the picture of the source ends at second {analysis.duration_seconds:.1f} of "
        f"{facts.duration_seconds:.1f}: clips were chosen before it does",
    )


def _rate_warnings(
    video: VideoFacts, frame: _ClipFrame, settings: ProcessingSettings
) -> tuple[str, ...]:
    # TikTok and Instagram publish a floor of 23 frames a second. A whole multiple keeps the
    # motion even (20 become 40; 24 or 30 would judder), and a repeated frame costs few bits.
    if frame.rate <= video.nominal_rate:
        return ()
    times = frame.rate / video.nominal_rate
    return (
        f"the source has {float(video.nominal_rate):g} frames a second and "
        f"{settings.platform.name} takes {settings.platform.min_frame_rate} or more: each is "
        f"shown {times} times, at {float(frame.rate):g}",
    )


def _clip_frame(
    video: VideoFacts, settings: ProcessingSettings, machine: Machine, concurrency: int
) -> _ClipFrame:
    profile, preset = settings.platform, PRESETS[settings.quality_preset]
    width, height = clip_size(profile, preset.short_side)
    return _ClipFrame(
        video=video,
        width=settings.clip_width or width,
        height=settings.clip_height or height,
        rate=output_rate(video, lowest=profile.min_frame_rate, highest=profile.max_frame_rate),
        threads=max(1, machine.cores // concurrency) if concurrency > 1 else None,
        has_tone_mapping=machine.has_tone_mapping,
    )


def _clip_run(
    name: str,
    window: ChosenClip,
    facts: SourceFacts,
    settings: ProcessingSettings,
    frame: _ClipFrame,
) -> PlannedRun:
    source = _input(window, facts, frame)
    output = _output(name, window, facts, settings, frame)
    return PlannedRun(
        name=name,
        arguments=_seeking_arguments(source, output, facts, settings, frame),
        arguments_from_start=_arguments_from_start(source, output, settings, frame),
        outputs=(output, _poster(output)),
        duration_seconds=window.duration_seconds,
        cost_seconds=_cost(window, settings, frame),
        loudness=_loudness(source, settings) if output.has_audio else None,
    )


def _input(window: ChosenClip, facts: SourceFacts, frame: _ClipFrame) -> SourceInput:
    return SourceInput(
        start_seconds=window.start_seconds or None,
        duration_seconds=window.duration_seconds,
        video_index=frame.video.stream_index,
        audio_index=facts.audio.stream_index if facts.audio else None,
        threads=frame.threads,
    )


def _output(
    name: str,
    window: ChosenClip,
    facts: SourceFacts,
    settings: ProcessingSettings,
    frame: _ClipFrame,
) -> PlannedOutput:
    return PlannedOutput(
        name=name,
        file_name=f"{name}.mp4",
        width=frame.width,
        height=frame.height,
        duration_seconds=window.duration_seconds,
        frame_rate=frame.rate,
        has_audio=facts.audio is not None,
        max_size_bytes=settings.platform.max_size_bytes,
        keyframe_seconds=settings.platform.keyframe_seconds,
        source_start_seconds=window.start_seconds,
        source_end_seconds=window.end_seconds,
        score=window.score,
        reason=window.reason,
    )


def _poster(video: PlannedOutput) -> PlannedOutput:
    return PlannedOutput(
        name=f"{video.name}_poster",
        file_name=f"{video.name}.jpg",
        kind="poster",
        width=video.width,
        height=video.height,
        source_start_seconds=round((video.source_start_seconds or 0.0) + _poster_seconds(video), 3),
    )


def _poster_seconds(video: PlannedOutput) -> float:
    """From the clip's start: late enough to be past a fade or the first blink."""
    return round(video.duration_seconds / 3, 3)


def _encode_arguments(
    source: SourceInput, output: PlannedOutput, settings: ProcessingSettings, frame: _ClipFrame
) -> tuple[str, ...]:
    return encode_arguments(
        source,
        video=_picture(settings, frame),
        audio=_sound(output, settings),
        branches=_branches(output, settings, frame),
    )


def _arguments_from_start(
    source: SourceInput, output: PlannedOutput, settings: ProcessingSettings, frame: _ClipFrame
) -> tuple[str, ...] | None:
    start = source.start_seconds
    if start is None:
        return None
    return _trimmed_arguments(source, output, settings, frame, lead_seconds=start)


def _seeking_arguments(
    source: SourceInput,
    output: PlannedOutput,
    facts: SourceFacts,
    settings: ProcessingSettings,
    frame: _ClipFrame,
) -> tuple[str, ...]:
    start = source.start_seconds
    if start is None or can_seek(facts):
        return _encode_arguments(source, output, settings, frame)
    lead = min(start, LEAD_SECONDS)
    return _trimmed_arguments(source, output, settings, frame, lead_seconds=lead)


def _trimmed_arguments(
    source: SourceInput,
    output: PlannedOutput,
    settings: ProcessingSettings,
    frame: _ClipFrame,
    *,
    lead_seconds: float,
) -> tuple[str, ...]:
    """The same clip, read from earlier on and cut exactly once it is decoded."""
    early = replace(
        source,
        start_seconds=round((source.start_seconds or 0.0) - lead_seconds, 3) or None,
        duration_seconds=round(source.duration_seconds + lead_seconds, 3),
    )
    return encode_arguments(
        early,
        video=(*trimmed_picture(lead_seconds), *_picture(settings, frame)),
        audio=(*trimmed_sound(lead_seconds), *_sound(output, settings)),
        branches=_branches(output, settings, frame),
    )


def _branches(
    output: PlannedOutput, settings: ProcessingSettings, frame: _ClipFrame
) -> tuple[Branch, ...]:
    """The clip, and its poster from the same pictures. ``-progress`` counts those of the first."""
    clip = Branch(
        file_name=output.part_name,
        options=_encoder(output, settings, frame),
        has_audio=output.has_audio,
    )
    still = poster_branch(
        _poster(output), at_seconds=_poster_seconds(output), end_seconds=output.duration_seconds
    )
    return clip, still


def _sound(output: PlannedOutput, settings: ProcessingSettings) -> tuple[Filter, ...]:
    return prepared_sound(duration_seconds=output.duration_seconds, limit_dbtp=_limit(settings))


def _picture(settings: ProcessingSettings, frame: _ClipFrame) -> tuple[Filter, ...]:
    enhancement = ENHANCEMENTS[settings.enhancement_level]
    size = {"width": frame.width, "height": frame.height}
    return (
        *prepared_picture(frame.video, frame.rate),
        cropped(centre_crop(frame.video, **size)),
        *((denoised(),) if enhancement.denoise else ()),
        *scaled_to_standard_colours(frame.video, **size, can_tone_map=frame.has_tone_mapping),
        *improved(enhancement),
    )


def _encoder(
    output: PlannedOutput, settings: ProcessingSettings, frame: _ClipFrame
) -> dict[str, str | int | float]:
    profile = settings.platform
    share = min(1.0, frame.width * frame.height / _FULL_FRAME_PIXELS)
    options = mp4_options(
        PRESETS[settings.quality_preset],
        rate=frame.rate,
        keyframe_seconds=profile.keyframe_seconds,
        max_bitrate_kbps=max(500, round(profile.max_video_bitrate_kbps * share)),
        duration_seconds=output.duration_seconds,
        threads=frame.threads,
    )
    return {**options, **(aac_options(profile.audio_bitrate_kbps) if output.has_audio else {})}


def _limit(settings: ProcessingSettings) -> float | None:
    is_levelled = ENHANCEMENTS[settings.enhancement_level].normalise_loudness
    return settings.platform.true_peak_dbtp if is_levelled else None


def _loudness(source: SourceInput, settings: ProcessingSettings) -> LoudnessGoal | None:
    limit = _limit(settings)
    if limit is None:
        return None
    heard = prepared_sound(duration_seconds=source.duration_seconds, limit_dbtp=limit, pad=False)
    return LoudnessGoal(
        arguments=measure_arguments(source, audio=heard),
        target_lufs=settings.platform.loudness_lufs,
        ceiling_dbtp=limit,
    )


def _cost(window: ChosenClip, settings: ProcessingSettings, frame: _ClipFrame) -> float:
    preset = PRESETS[settings.quality_preset]
    megapixels = frame.width * frame.height / 1e6
    seconds = window.duration_seconds * float(frame.rate) / 30
    encode = preset.seconds_per_megapixel_second * megapixels * seconds
    decode = 0.03 * frame.video.width * frame.video.height / 1e6 * seconds
    return encode * ENHANCEMENTS[settings.enhancement_level].cost + decode
