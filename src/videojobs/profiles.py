"""What platforms accept and what presets cost: data with units, sources and the day it was read.

The limits drift. A value that is not published by the platform is marked as a convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from videojobs.models import EnhancementLevel, PlatformTarget, QualityPreset

if TYPE_CHECKING:
    from collections.abc import Mapping


VideoCodec = Literal["h264", "hevc", "av1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeZone:
    """Where a platform's own buttons and texts do not lie, in pixels of a 1080 x 1920 frame."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformProfile:
    """What a short-form platform takes, and what we aim at within it.

    All of them take, and recommend, an MP4 with H.264 High in 4:2:0 and AAC-LC.
    """

    name: str
    width: int
    """Pixels of the upright frame."""
    height: int
    takes_lying: bool = True
    """Whether a frame may be wider than high."""
    min_frame_rate: int
    """Frames a second; slower sources have their frames repeated."""
    max_frame_rate: int
    keyframe_seconds: float
    """Longest distance between two keyframes."""
    min_duration_seconds: float
    max_duration_seconds: float
    max_size_bytes: int | None
    max_video_bitrate_kbps: int
    """The ceiling of the capped CRF encode, at 1080 x 1920."""
    video_codec: str = "h264"
    h264_profile: str = "high"
    max_h264_level: str = "4.2"
    """What Apple's HLS specification allows, and phones decode: 1080 x 1920 at 60. Lower where less
    will do."""
    pixel_format: str = "yuv420p"
    audio_codec: str = "aac"
    audio_sample_rate: int = 48_000
    audio_channels: int = 2
    audio_bitrate_kbps: int
    loudness_lufs: float
    """Integrated loudness by EBU R 128. A convention: no platform publishes one."""
    true_peak_dbtp: float
    safe_zone: SafeZone
    """Where captions may stand. A convention: measured on the apps by others, not published."""
    as_of: date
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPreset:
    """How libx264 spends its time."""

    name: str
    x264_preset: str
    crf: int
    """Constant rate factor: lower is better and larger."""
    short_side: int
    """The most pixels of a clip's shorter side."""
    seconds_per_megapixel_second: float
    """CPU seconds for a second of one megapixel at 30 fps, for weights and deadlines.

    Measured on one core of an AMD EPYC; only the proportions matter.
    """
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Enhancement:
    """What is done to picture and sound besides encoding. Costs are relative to none."""

    name: str
    denoise: bool
    """hqdn3d before scaling: 0.86 of the time, since a cleaner picture encodes faster."""
    sharpen: bool
    """A mild unsharp after scaling: 1.17. (cas costs 1.64.)"""
    normalise_loudness: bool
    """Measure, gain, limiter: 1.04. One-pass loudnorm is free and crushes 15 LU to 2."""
    enrich_colour: bool
    """A little more contrast and saturation: 0.98."""
    correct_exposure: bool
    """Dark and pale clips become a little lighter and darker, by what their keyframes show."""
    denoise_sound: bool
    """afftdn, for the hiss of a room or a cheap microphone."""
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One rung of the ladder: the picture fits into this box, upright or lying."""

    name: str
    long_side: int
    short_side: int
    max_video_bitrate_kbps: int
    """Of H.264; other codecs get their share of it, see `CodecProfile.rate_share`."""
    audio_bitrate_kbps: int
    codecs: tuple[VideoCodec, ...] = ("h264", "hevc", "av1")
    """In which it is made, when they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecProfile:
    """An encoder besides libx264, and what it is set to for each quality preset."""

    name: VideoCodec
    encoder: str
    """ffmpeg's name for it."""
    presets: Mapping[QualityPreset, str]
    crf: Mapping[QualityPreset, int]
    rate_share: float
    """The ceiling of its rate, as a share of the one of H.264 for an equal look."""
    cost: float
    """CPU time, as a multiple of libx264's with the same quality preset."""


_MEGABYTE = 1_000_000

#: Free of the name and caption below, the buttons on the right and the tabs above.
_CAPTION_BOX = SafeZone(left=120, top=250, right=910, bottom=1480)

_TIKTOK = PlatformProfile(
    name="TikTok",
    width=1080,
    height=1920,
    min_frame_rate=23,
    max_frame_rate=60,
    keyframe_seconds=2.0,
    min_duration_seconds=3.0,
    max_duration_seconds=600.0,
    max_size_bytes=4_000 * _MEGABYTE,
    max_video_bitrate_kbps=12_000,
    audio_bitrate_kbps=192,
    loudness_lufs=-14.0,
    true_peak_dbtp=-1.5,
    safe_zone=_CAPTION_BOX,
    as_of=date(2026, 11, 21),
    sources=(
        "https://developers.tiktok.com/doc/content-posting-api-media-transfer-guide",
        "https://socaptions.com/blog/tiktok-safe-zones-2026",
    ),
)

_INSTAGRAM = PlatformProfile(
    name="Instagram Reels",
    width=1080,
    height=1920,
    min_frame_rate=23,
    max_frame_rate=60,
    keyframe_seconds=2.0,
    min_duration_seconds=3.0,
    max_duration_seconds=900.0,
    # The current page says 300 MB, older translations 1 GB: the smaller is accepted by both.
    max_size_bytes=300 * _MEGABYTE,
    max_video_bitrate_kbps=12_000,
    audio_bitrate_kbps=128,
    loudness_lufs=-14.0,
    true_peak_dbtp=-1.5,
    safe_zone=_CAPTION_BOX,
    as_of=date(2026, 11, 21),
    sources=(
        "https://developers.facebook.com/docs/instagram-api/reference/ig-user/media",
        "https://ayrshare.com/docs/media-guidelines/instagram.md",
    ),
)

_YOUTUBE_SHORTS = PlatformProfile(
    name="YouTube Shorts",
    width=1080,
    height=1920,
    # Wider than high, it would be an ordinary video.
    takes_lying=False,
    min_frame_rate=23,
    max_frame_rate=60,
    # "Closed GOP of half the frame rate".
    keyframe_seconds=0.5,
    min_duration_seconds=1.0,
    max_duration_seconds=180.0,
    max_size_bytes=None,
    max_video_bitrate_kbps=12_000,
    audio_bitrate_kbps=384,
    loudness_lufs=-14.0,
    true_peak_dbtp=-1.5,
    safe_zone=_CAPTION_BOX,
    as_of=date(2026, 11, 21),
    sources=("https://support.google.com/youtube/answer/1722171",),
)

#: Without a platform: picture, rates and loudness that all three take, and lengths for any use.
_ANY = PlatformProfile(
    name="the common profile",
    width=1080,
    height=1920,
    min_frame_rate=23,
    max_frame_rate=60,
    keyframe_seconds=2.0,
    min_duration_seconds=1.0,
    max_duration_seconds=600.0,
    max_size_bytes=None,
    max_video_bitrate_kbps=12_000,
    audio_bitrate_kbps=160,
    loudness_lufs=-14.0,
    true_peak_dbtp=-1.5,
    safe_zone=_CAPTION_BOX,
    as_of=date(2026, 11, 21),
    sources=(),
)

PLATFORMS: Mapping[PlatformTarget | None, PlatformProfile] = MappingProxyType(
    {
        None: _ANY,
        PlatformTarget.TIKTOK: _TIKTOK,
        PlatformTarget.INSTAGRAM: _INSTAGRAM,
        PlatformTarget.YOUTUBE_SHORTS: _YOUTUBE_SHORTS,
    }
)

PRESETS: Mapping[QualityPreset, EncoderPreset] = MappingProxyType(
    {
        QualityPreset.DRAFT: EncoderPreset(
            name="draft",
            x264_preset="veryfast",
            crf=26,
            short_side=720,
            seconds_per_megapixel_second=0.35,
            reason="To look at: 720 pixels wide is under half of the work, and fits a phone.",
        ),
        QualityPreset.STANDARD: EncoderPreset(
            name="standard",
            x264_preset="veryfast",
            crf=22,
            short_side=1080,
            seconds_per_megapixel_second=0.40,
            reason="To publish: platforms encode again, so that bits are cheaper than time.",
        ),
        QualityPreset.PRO: EncoderPreset(
            name="pro",
            x264_preset="slow",
            crf=19,
            short_side=1080,
            seconds_per_megapixel_second=2.2,
            reason="To keep: visually close to the source, at about five times the work.",
        ),
    }
)

ENHANCEMENTS: Mapping[EnhancementLevel, Enhancement] = MappingProxyType(
    {
        EnhancementLevel.NONE: Enhancement(
            name="none",
            denoise=False,
            sharpen=False,
            normalise_loudness=False,
            enrich_colour=False,
            correct_exposure=False,
            denoise_sound=False,
            cost=1.0,
        ),
        EnhancementLevel.BASIC: Enhancement(
            name="basic",
            denoise=True,
            sharpen=True,
            normalise_loudness=True,
            enrich_colour=False,
            correct_exposure=False,
            denoise_sound=False,
            cost=1.05,
        ),
        EnhancementLevel.ADVANCED: Enhancement(
            name="advanced",
            denoise=True,
            sharpen=True,
            normalise_loudness=True,
            enrich_colour=True,
            correct_exposure=True,
            denoise_sound=True,
            cost=1.15,
        ),
    }
)


def _by_preset(draft: str, standard: str, pro: str) -> Mapping[QualityPreset, str]:
    names = (QualityPreset.DRAFT, QualityPreset.STANDARD, QualityPreset.PRO)
    return MappingProxyType(dict(zip(names, (draft, standard, pro), strict=True)))


def _crf_by_preset(draft: int, standard: int, pro: int) -> Mapping[QualityPreset, int]:
    names = (QualityPreset.DRAFT, QualityPreset.STANDARD, QualityPreset.PRO)
    return MappingProxyType(dict(zip(names, (draft, standard, pro), strict=True)))


#: What may be made beside H.264. The shares of rate are those of Apple's HLS authoring
#: specification for HEVC (1080p: 4,500 of 6,000 and less), and a convention for AV1.
CODECS: Mapping[VideoCodec, CodecProfile] = MappingProxyType(
    {
        "hevc": CodecProfile(
            name="hevc",
            encoder="libx265",
            presets=_by_preset("ultrafast", "veryfast", "medium"),
            crf=_crf_by_preset(29, 25, 22),
            rate_share=0.7,
            cost=2.5,
        ),
        "av1": CodecProfile(
            name="av1",
            encoder="libsvtav1",
            presets=_by_preset("11", "10", "6"),
            crf=_crf_by_preset(42, 36, 30),
            rate_share=0.6,
            cost=1.5,
        ),
    }
)

#: Largest first. Rates: capped CRF below Apple's HLS authoring specification (appendix, H.264).
RENDITIONS: tuple[Rendition, ...] = (
    Rendition(
        name="2160p",
        long_side=3840,
        short_side=2160,
        # H.264 would have to leave level 4.2, which Apple's specification does not allow.
        max_video_bitrate_kbps=18_000,
        audio_bitrate_kbps=160,
        codecs=("hevc", "av1"),
    ),
    Rendition(
        name="1080p",
        long_side=1920,
        short_side=1080,
        max_video_bitrate_kbps=5000,
        audio_bitrate_kbps=160,
    ),
    Rendition(
        name="720p",
        long_side=1280,
        short_side=720,
        max_video_bitrate_kbps=2800,
        audio_bitrate_kbps=128,
    ),
    Rendition(
        name="480p",
        long_side=854,
        short_side=480,
        max_video_bitrate_kbps=1400,
        audio_bitrate_kbps=96,
    ),
    Rendition(
        name="360p",
        long_side=640,
        short_side=360,
        max_video_bitrate_kbps=800,
        audio_bitrate_kbps=96,
    ),
)
