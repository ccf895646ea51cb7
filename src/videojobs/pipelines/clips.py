"""The pipeline ``clips``: short upright clips of the best parts of the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from videojobs.pipelines.captions import (
    burnt_captions,
    caption_box,
    captions_within,
    sidecar_captions,
)
from videojobs.pipelines.choosing import choose_clips, clips_to_make
from videojobs.pipelines.chosen import ChosenClip, ClipChooser
from videojobs.pipelines.encoding import (
    aac_options,
    captioned,
    cropped,
    denoised,
    followed,
    improved,
    mp4_options,
    noted_cuts,
    on_blurred_self,
    output_rate,
    prepared_picture,
    prepared_sound,
    sampled,
    scaled_to_standard_colours,
    shrunk_to_grey,
    steadied,
    trimmed_picture,
    trimmed_sound,
)
from videojobs.pipelines.following import LONG_SIDE, SAMPLES_PER_SECOND
from videojobs.pipelines.framing import centre_crop, clip_size, covers, fitted_size, free_span
from videojobs.pipelines.graphs import (
    Branch,
    Filter,
    SourceInput,
    Step,
    encode_arguments,
    measure_arguments,
)
from videojobs.pipelines.plan import (
    CropRange,
    LoudnessGoal,
    Machine,
    Plan,
    PlannedOutput,
    PlannedRun,
    TextFile,
    Watch,
    runs_at_once,
)
from videojobs.pipelines.posters import poster_branch
from videojobs.pipelines.segments import LEAD_SECONDS
from videojobs.pipelines.settings import CaptionsMode, Framing
from videojobs.pipelines.source import SourceFacts, SourceLimits, VideoFacts, can_seek, usable_video
from videojobs.pipelines.warnings import source_warnings
from videojobs.profiles import ENHANCEMENTS, PRESETS

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    threads: int | None = None
    """Of one encode; ``None`` leaves it to ffmpeg."""
    has_tone_mapping: bool
    blurred_size: tuple[int, int] | None
    """Of the whole picture before itself blurred; ``None`` when a part of it is cut out."""
    span: CropRange | None
    """Where the cut-out can move, when it is to follow the subject."""


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
    frame = _clip_frame(video, settings, machine)
    threads = _threads(windows, machine, concurrency)
    return Plan(
        pipeline=settings.pipeline,
        runs=tuple(
            _clip_run(f"clip_{number:02}", window, facts, settings, replace(frame, threads=its))
            for number, (window, its) in enumerate(zip(windows, threads, strict=True), start=1)
        ),
        concurrency=concurrency,
        warnings=(
            *_count_warnings(len(windows), facts, settings, chooser),
            *_picture_warnings(facts, analysis),
            *_rate_warnings(video, frame, settings),
            *_level_warnings(frame, settings),
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


def _level_warnings(frame: _ClipFrame, settings: ProcessingSettings) -> tuple[str, ...]:
    options = _encoder_options(frame, settings, duration_seconds=1.0)
    level, most = str(options["level:v"]), settings.platform.max_h264_level
    if float(level) <= float(most):
        return ()
    return (
        f"{frame.width}x{frame.height} at {float(frame.rate):g} frames a second needs H.264 level "
        f"{level}; phones and {settings.platform.name} are sure to take up to {most}",
    )


def _threads(windows: Sequence[ChosenClip], machine: Machine, concurrency: int) -> list[int | None]:
    """Each clip's share of the cores; the last ones, when fewer are left than run at once, have more.

    The shortest come last. One clip by itself is left to ffmpeg.
    """
    if concurrency == 1:
        return [None] * len(windows)
    left = len(windows) % concurrency
    by_length = sorted(range(len(windows)), key=lambda place: -windows[place].duration_seconds)
    alone = set(by_length[len(windows) - left :])
    shares = {True: machine.cores // max(1, left), False: machine.cores // concurrency}
    return [max(1, shares[place in alone]) for place in range(len(windows))]


def _clip_frame(video: VideoFacts, settings: ProcessingSettings, machine: Machine) -> _ClipFrame:
    profile = settings.platform
    width, height = _frame_size(settings)
    crop = centre_crop(video, width=width, height=height)
    fitted = fitted_size(video, width=width, height=height)
    is_blurred = settings.framing is Framing.BLUR and not covers(fitted, width=width, height=height)
    return _ClipFrame(
        video=video,
        width=width,
        height=height,
        blurred_size=fitted if is_blurred else None,
        span=free_span(video, crop) if settings.framing is Framing.FOLLOW else None,
        rate=output_rate(video, lowest=profile.min_frame_rate, highest=profile.max_frame_rate),
        has_tone_mapping=machine.has_tone_mapping,
    )


def _frame_size(settings: ProcessingSettings) -> tuple[int, int]:
    if settings.clip_width is not None and settings.clip_height is not None:
        return settings.clip_width, settings.clip_height
    short_side = PRESETS[settings.quality_preset].short_side
    return clip_size(settings.platform, short_side, settings.aspect_ratio.sides)


def _clip_run(
    name: str,
    window: ChosenClip,
    facts: SourceFacts,
    settings: ProcessingSettings,
    frame: _ClipFrame,
) -> PlannedRun:
    source = _input(window, facts, frame)
    output = _output(name, window, facts, settings, frame)
    burnt, sidecars = _captions(name, window, facts, settings, frame)
    picture = (*_picture(settings, frame), *(captioned(file.file_name) for file in burnt))
    lead_seconds = _lead(source, facts)
    return PlannedRun(
        name=name,
        arguments=_arguments(source, output, settings, frame, picture, lead_seconds),
        arguments_from_start=None
        if source.start_seconds is None
        else _arguments(source, output, settings, frame, picture, source.start_seconds),
        outputs=(output, _poster(output), *sidecars),
        duration_seconds=window.duration_seconds,
        cost_seconds=_cost(window, settings, frame),
        loudness=_loudness(source, settings) if output.has_audio else None,
        watch=_watch(name, source, settings, frame, lead_seconds),
        files=burnt,
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


def _arguments(
    source: SourceInput,
    output: PlannedOutput,
    settings: ProcessingSettings,
    frame: _ClipFrame,
    picture: tuple[Step, ...],
    lead_seconds: float | None,
) -> tuple[str, ...]:
    """The clip, read from so much earlier on and cut exactly once it is decoded."""
    trim = () if lead_seconds is None else trimmed_picture(lead_seconds)
    trim_sound = () if lead_seconds is None else trimmed_sound(lead_seconds)
    return encode_arguments(
        _earlier(source, lead_seconds),
        video=(*trim, *picture),
        audio=(*trim_sound, *_sound(output, settings)),
        branches=_branches(output, settings, frame),
    )


def _lead(source: SourceInput, facts: SourceFacts) -> float | None:
    if source.start_seconds is None or can_seek(facts):
        return None
    return min(source.start_seconds, LEAD_SECONDS)


def _earlier(source: SourceInput, lead_seconds: float | None) -> SourceInput:
    if lead_seconds is None:
        return source
    return replace(
        source,
        start_seconds=round((source.start_seconds or 0.0) - lead_seconds, 3) or None,
        duration_seconds=round(source.duration_seconds + lead_seconds, 3),
    )


def _watch(
    name: str,
    source: SourceInput,
    settings: ProcessingSettings,
    frame: _ClipFrame,
    lead_seconds: float | None,
) -> Watch | None:
    """The look that framing or exposure need before the clip is encoded."""
    if frame.span is None and not ENHANCEMENTS[settings.enhancement_level].correct_exposure:
        return None
    cuts_name = f"{name}.cuts" if frame.span else None
    frames_name = f"{name}.grey"
    width, height = _watched_size(frame.video)
    grey = shrunk_to_grey(width, height)
    if cuts_name is None:
        # A sixth of a decode. A keyframe from near the clip will do where none can be sought.
        read, picture = replace(source, audio_index=None, only_keyframes=True), grey
        lead_seconds = None
    else:
        read = replace(source, audio_index=None)
        # The clip's own frame rate first: a cut's time is that of a frame of the clip.
        steady = Filter("fps", {"fps": str(frame.rate), "start_time": 0})
        picture = (steady, *grey, *noted_cuts(cuts_name), sampled(SAMPLES_PER_SECOND))
    start_seconds = source.start_seconds
    return Watch(
        arguments=_watch_arguments(read, picture, frames_name, lead_seconds),
        arguments_from_start=None
        if start_seconds is None
        else _watch_arguments(read, picture, frames_name, start_seconds),
        frames_name=frames_name,
        cuts_name=cuts_name,
        width=width,
        height=height,
        span=frame.span,
    )


def _watch_arguments(
    source: SourceInput, picture: tuple[Step, ...], frames_name: str, lead_seconds: float | None
) -> tuple[str, ...]:
    trim = () if lead_seconds is None else trimmed_picture(lead_seconds)
    options = {"f": "rawvideo", "fps_mode": "passthrough", "t": source.duration_seconds}
    return encode_arguments(
        _earlier(source, lead_seconds),
        video=(*trim, *picture),
        audio=(),
        branches=(Branch(file_name=frames_name, options=options),),
    )


def _watched_size(video: VideoFacts) -> tuple[int, int]:
    width, height = video.upright_size
    share = LONG_SIDE / max(width, height)
    return max(8, round(width * share)), max(8, round(height * share))


def _captions(
    name: str,
    window: ChosenClip,
    facts: SourceFacts,
    settings: ProcessingSettings,
    frame: _ClipFrame,
) -> tuple[tuple[TextFile, ...], tuple[PlannedOutput, ...]]:
    """The script to be burnt in, and the file to lie beside the clip: one of the two, or neither."""
    if not facts.captions:
        return (), ()
    own = captions_within(
        facts.captions,
        start_seconds=window.start_seconds,
        duration_seconds=window.duration_seconds,
    )
    if settings.captions_mode is CaptionsMode.SIDECAR:
        return (), (_sidecar(name, window, sidecar_captions(own)),)
    if not own:
        return (), ()
    box = caption_box(settings.platform, width=frame.width, height=frame.height)
    return (TextFile(f"{name}.ass", burnt_captions(own, box)),), ()


def _sidecar(name: str, window: ChosenClip, text: str) -> PlannedOutput:
    return PlannedOutput(
        name=f"{name}_captions",
        file_name=f"{name}.vtt",
        kind="captions",
        text=text,
        source_start_seconds=window.start_seconds,
        source_end_seconds=window.end_seconds,
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


def _sound(
    output: PlannedOutput | SourceInput, settings: ProcessingSettings, *, pad: bool = True
) -> tuple[Filter, ...]:
    return prepared_sound(
        duration_seconds=output.duration_seconds,
        limit_dbtp=_limit(settings),
        denoise=ENHANCEMENTS[settings.enhancement_level].denoise_sound,
        pad=pad,
    )


def _picture(settings: ProcessingSettings, frame: _ClipFrame) -> tuple[Step, ...]:
    enhancement = ENHANCEMENTS[settings.enhancement_level]
    size = {"width": frame.width, "height": frame.height}
    width, height = frame.blurred_size or (frame.width, frame.height)
    return (
        *prepared_picture(frame.video, frame.rate),
        *_cut_out(frame),
        *((denoised(),) if enhancement.denoise else ()),
        *scaled_to_standard_colours(
            frame.video, width, height, can_tone_map=frame.has_tone_mapping
        ),
        *improved(enhancement, knows_exposure=True),
        *(on_blurred_self(frame.blurred_size, **size) if frame.blurred_size else ()),
    )


def _cut_out(frame: _ClipFrame) -> tuple[Filter, ...]:
    if frame.blurred_size:
        return ()
    crop = centre_crop(frame.video, width=frame.width, height=frame.height)
    cut = followed(crop, frame.span) if frame.span else cropped(crop)
    return steadied(frame.video), cut


def _encoder(
    output: PlannedOutput, settings: ProcessingSettings, frame: _ClipFrame
) -> dict[str, str | int | float]:
    options = _encoder_options(frame, settings, duration_seconds=output.duration_seconds)
    return {
        **options,
        **(aac_options(settings.platform.audio_bitrate_kbps) if output.has_audio else {}),
    }


def _encoder_options(
    frame: _ClipFrame, settings: ProcessingSettings, *, duration_seconds: float
) -> dict[str, str | int | float]:
    profile = settings.platform
    share = min(1.0, frame.width * frame.height / _FULL_FRAME_PIXELS)
    return mp4_options(
        PRESETS[settings.quality_preset],
        size=(frame.width, frame.height),
        rate=frame.rate,
        keyframe_seconds=profile.keyframe_seconds,
        max_bitrate_kbps=max(500, round(profile.max_video_bitrate_kbps * share)),
        duration_seconds=duration_seconds,
        threads=frame.threads,
    )


def _limit(settings: ProcessingSettings) -> float | None:
    is_levelled = ENHANCEMENTS[settings.enhancement_level].normalise_loudness
    return settings.platform.true_peak_dbtp if is_levelled else None


def _loudness(source: SourceInput, settings: ProcessingSettings) -> LoudnessGoal | None:
    limit = _limit(settings)
    if limit is None:
        return None
    return LoudnessGoal(
        arguments=measure_arguments(source, audio=_sound(source, settings, pad=False)),
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
