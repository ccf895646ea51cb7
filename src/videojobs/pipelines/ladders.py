"""What all rungs of one source have in common: one decode, the steps of its picture, its sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from videojobs.pipelines.encoding import (
    aac_options,
    clock_options,
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
from videojobs.pipelines.framing import Rung
from videojobs.pipelines.framing import ladder as rungs_of
from videojobs.pipelines.graphs import Branch, Filter, SourceInput, measure_arguments
from videojobs.pipelines.plan import LoudnessGoal, Machine, PlannedOutput
from videojobs.pipelines.source import SourceFacts, VideoFacts
from videojobs.profiles import CODECS, ENHANCEMENTS, PRESETS, RENDITIONS, Rendition, VideoCodec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from videojobs.pipelines.settings import ProcessingSettings

#: Keyframes at the same times on every rung, so that a player can change rungs there.
#: Apple's HLS authoring specification asks for one every 2 seconds.
KEYFRAME_SECONDS = 2.0

_MAX_FRAME_RATE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Encode:
    """One rung in one codec."""

    rung: Rung
    codec: VideoCodec

    @property
    def name(self) -> str:
        """``720p``, and ``720p_hevc`` beside H.264."""
        return self.rung.name if self.codec == "h264" else f"{self.rung.name}_{self.codec}"

    @property
    def weight(self) -> float:
        """Its work, relative to a megapixel in H.264."""
        factor = 1.0 if self.codec == "h264" else CODECS[self.codec].cost
        return self.rung.width * self.rung.height / 1e6 * factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The source and what all rungs have in common."""

    facts: SourceFacts
    video: VideoFacts
    rungs: tuple[Rung, ...]
    rate: Fraction
    settings: ProcessingSettings
    machine: Machine

    def encodes(self, rung: Rung) -> tuple[Encode, ...]:
        """The rung in each of its codecs that is wanted."""
        wanted = self.settings.video_codecs
        return tuple(Encode(rung=rung, codec=codec) for codec in rung.codecs if codec in wanted)

    @property
    def all_encodes(self) -> tuple[Encode, ...]:
        """All rungs in all their codecs, in the order of the outputs."""
        return tuple(encode for rung in self.rungs for encode in self.encodes(rung))

    @property
    def duration_seconds(self) -> float:
        """What each rendition lasts."""
        return round(self.facts.duration_seconds, 3)

    @property
    def has_audio(self) -> bool:
        """Whether the renditions have sound."""
        return self.facts.audio is not None

    @property
    def has_clocks(self) -> bool:
        """Whether this ffmpeg tells the progress of each output."""
        return self.machine.ffmpeg_major >= 6

    @property
    def limit_dbtp(self) -> float | None:
        """The true peak that levelled sound keeps below; ``None`` if it is left as it is."""
        is_levelled = ENHANCEMENTS[self.settings.enhancement_level].normalise_loudness
        return self.settings.platform.true_peak_dbtp if is_levelled and self.has_audio else None


def wanted_renditions(settings: ProcessingSettings) -> list[Rendition]:
    """The rungs that are wished for, whether the source can fill them or not."""
    return [rung for rung in RENDITIONS if rung.short_side in settings.ladder_heights]


def source_ladder(
    facts: SourceFacts, video: VideoFacts, settings: ProcessingSettings, machine: Machine
) -> Ladder:
    """All wished rungs that the source can fill."""
    return Ladder(
        facts=facts,
        video=video,
        rungs=rungs_of(video, wanted_renditions(settings)),
        rate=output_rate(video, highest=_MAX_FRAME_RATE),
        settings=settings,
        machine=machine,
    )


def ladder_outputs(ladder: Ladder) -> tuple[PlannedOutput, ...]:
    """The slowest first, since ``-progress`` counts the frames of the first; then the poster."""
    top = ladder.rungs[0]
    poster = PlannedOutput(
        name="poster", file_name="poster.jpg", kind="poster", width=top.width, height=top.height
    )
    return (*(_rung_output(ladder, encode) for encode in ladder.all_encodes), poster)


def _rung_output(ladder: Ladder, encode: Encode) -> PlannedOutput:
    return PlannedOutput(
        name=encode.name,
        file_name=f"{encode.name}.mp4",
        width=encode.rung.width,
        height=encode.rung.height,
        video_codec=encode.codec,
        weight=encode.weight,
        duration_seconds=ladder.duration_seconds,
        frame_rate=ladder.rate,
        has_audio=ladder.has_audio,
        keyframe_seconds=KEYFRAME_SECONDS,
        source_start_seconds=0.0,
        source_end_seconds=ladder.duration_seconds,
    )


def rung_branches(
    ladder: Ladder, outputs: Sequence[PlannedOutput], threads: int | None = None
) -> list[tuple[Branch, ...]]:
    """For each rung one branch a codec; the first reduces the picture for all that follow."""
    waiting = iter(outputs)
    return [
        tuple(
            _branch(ladder, encode, next(waiting), threads, is_reduced=place == 0 < number)
            for place, encode in enumerate(ladder.encodes(rung))
        )
        for number, rung in enumerate(ladder.rungs)
    ]


def _branch(
    ladder: Ladder,
    encode: Encode,
    output: PlannedOutput,
    threads: int | None,
    *,
    is_reduced: bool,
) -> Branch:
    return Branch(
        file_name=output.part_name,
        options=encoder_options(ladder, encode, output, threads),
        steps=_reduced(encode.rung) if is_reduced else (),
        has_audio=output.has_audio,
    )


def _reduced(rung: Rung) -> tuple[Filter, ...]:
    # 1280x720 becomes 854x480, and scale would note pixels of 1280:1281 to make up for it.
    return scaled(rung.width, rung.height), Filter("setsar", {"sar": 1})


def encoder_options(
    ladder: Ladder, encode: Encode, output: PlannedOutput, threads: int | None
) -> dict[str, str | int | float]:
    """The rung in its codec, with keyframes where all rungs have theirs."""
    rung, quality = encode.rung, ladder.settings.quality_preset
    options = mp4_options(
        PRESETS[quality],
        size=(rung.width, rung.height),
        rate=ladder.rate,
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
    options |= clock_options(output.clock_name) if ladder.has_clocks else {}
    return {**options, **(aac_options(rung.audio_bitrate_kbps) if output.has_audio else {})}


def shared_picture(ladder: Ladder, trim: tuple[Filter, ...] = ()) -> tuple[Filter, ...]:
    """From the decoder to the picture of the largest rung."""
    enhancement = ENHANCEMENTS[ladder.settings.enhancement_level]
    top = ladder.rungs[0]
    return (
        *prepared_picture(ladder.video, ladder.rate),
        *((denoised(),) if enhancement.denoise else ()),
        *trim,
        *scaled_to_standard_colours(
            ladder.video, top.width, top.height, can_tone_map=ladder.machine.has_tone_mapping
        ),
        *improved(enhancement),
    )


def shared_sound(ladder: Ladder, *, pad: bool = True) -> tuple[Filter, ...]:
    """From the decoder to the sound of every rung."""
    return prepared_sound(
        duration_seconds=ladder.duration_seconds,
        limit_dbtp=ladder.limit_dbtp,
        denoise=ENHANCEMENTS[ladder.settings.enhancement_level].denoise_sound,
        pad=pad,
    )


def whole_source(ladder: Ladder) -> SourceInput:
    """All of the source, picture and sound."""
    return SourceInput(
        duration_seconds=ladder.duration_seconds,
        video_index=ladder.video.stream_index,
        audio_index=ladder.facts.audio.stream_index if ladder.facts.audio else None,
    )


def poster_moment(ladder: Ladder) -> float:
    """The second of the source that the poster shows."""
    return round(ladder.duration_seconds / 5, 3)


def loudness_goal(ladder: Ladder, source: SourceInput) -> LoudnessGoal | None:
    """What the sound is measured and raised to; ``None`` to leave it as it is."""
    limit = ladder.limit_dbtp
    if limit is None:
        return None
    return LoudnessGoal(
        arguments=measure_arguments(source, audio=shared_sound(ladder, pad=False)),
        target_lufs=ladder.settings.platform.loudness_lufs,
        ceiling_dbtp=limit,
    )


def encode_cost(ladder: Ladder) -> float:
    """An estimate of the CPU seconds of all rungs."""
    preset = PRESETS[ladder.settings.quality_preset]
    megapixels = sum(encode.weight for encode in ladder.all_encodes)
    seconds = ladder.duration_seconds * float(ladder.rate) / 30
    encode = preset.seconds_per_megapixel_second * megapixels * seconds
    decode = 0.03 * ladder.video.width * ladder.video.height / 1e6 * seconds
    return encode * ENHANCEMENTS[ladder.settings.enhancement_level].cost + decode
