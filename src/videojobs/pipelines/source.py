"""What a source is, as far as a plan needs to know, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError

if TYPE_CHECKING:
    from videojobs.pipelines.captions import Caption

#: `color_transfer` of the two HDR systems: PQ (HDR10, Dolby Vision) and HLG.
_HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})

#: What the ffmpeg of imageio-ffmpeg decodes reliably. Rare decoders are where the holes are.
SUPPORTED_VIDEO_CODECS = frozenset(
    {
        *("h264", "hevc", "vp8", "vp9", "av1", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v3"),
        *("mjpeg", "prores", "dnxhd", "theora", "h263", "wmv2", "wmv3", "vc1", "flv1", "cinepak"),
        *("ffv1", "huffyuv", "rawvideo", "dvvideo", "svq3"),
    }
)

#: Streams made to be broadcast. They have no index, so ffmpeg seeks by time alone and lands behind
#: the keyframe that it needs: 27 s gave the picture of 30 s, and the gap a frozen one.
_WITHOUT_INDEX = frozenset({"mpegts", "mpeg"})

_STANDARD_RATES = (
    *(Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30)),
    *(Fraction(48), Fraction(50), Fraction(60000, 1001), Fraction(60)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """The picture, as stored: width and height are before rotation."""

    stream_index: int
    codec: str
    width: int
    height: int
    frame_rate: Fraction
    """Frames a second, on average."""
    sample_aspect_ratio: Fraction = Fraction(1)
    """Width over height of one pixel; 1 when unknown."""
    rotation_degrees: int = 0
    """0, 90, 180 or 270; ffmpeg turns the picture by itself."""
    is_interlaced: bool = False
    is_full_range: bool = False
    transfer: str | None = None
    """``smpte2084`` and ``arib-std-b67`` are HDR; ``None`` when untagged."""
    matrix: str | None = None
    """``bt709``, ``bt601`` or ``bt2020``; ``None`` when untagged."""

    @property
    def is_hdr(self) -> bool:
        """Whether the picture must be tone-mapped before an ordinary screen can show it."""
        return self.transfer in _HDR_TRANSFERS

    @property
    def upright_size(self) -> tuple[int, int]:
        """Stored pixels after rotation, still with their own shape."""
        return (self.height, self.width) if self._is_turned else (self.width, self.height)

    @property
    def upright_aspect_ratio(self) -> Fraction:
        """Width over height of one pixel after rotation."""
        return 1 / self.sample_aspect_ratio if self._is_turned else self.sample_aspect_ratio

    @property
    def display_size(self) -> tuple[int, int]:
        """What a viewer sees, in square pixels; the longer way of a stretched pixel is kept."""
        width, height = self.upright_size
        aspect = self.upright_aspect_ratio
        return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))

    @property
    def nominal_rate(self) -> Fraction:
        """The constant rate that the picture was meant to have.

        Phones write 29.83 on average when they mean 30: an average within 2 % of a standard
        rate counts as that rate.
        """
        nearest = min(_STANDARD_RATES, key=lambda rate: abs(rate - self.frame_rate))
        is_near = abs(nearest - self.frame_rate) <= nearest / 50
        return nearest if is_near else self.frame_rate.limit_denominator(1001)

    @property
    def _is_turned(self) -> bool:
        return self.rotation_degrees % 180 == 90


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFacts:
    """The sound track that will be used."""

    stream_index: int
    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """What samples of a source needed, for a ladder of its own."""

    kbps: Mapping[str, int]
    """The rate of each rung at the preset's quality, by its name."""
    vmaf: float | None
    """Of the largest rung, 0 to 100; ``None`` when this ffmpeg cannot measure it."""
    fixed_vmaf: float | None
    """Of the largest rung at the usual ladder's constant rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What a probe found: enough for a plan, without another look at the file."""

    container: str
    size_bytes: int
    duration_seconds: float
    stream_count: int
    video: VideoFacts | None
    audio: AudioFacts | None
    is_cut_short: bool = False
    """The index names bytes that the file does not have: an upload that broke off."""
    fingerprint: str = ""
    """Of the file's beginning, middle and end: another file under the same name has another."""
    captions: tuple[Caption, ...] = ()
    """Those that the caller gave with it, in its time."""
    complexity: Complexity | None = None
    """Measured only when a ladder per title is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """What an upload may be. Beyond it, a small file can cost hours and gigabytes."""

    max_duration_seconds: float = 6 * 3600.0
    max_side: int = 8192
    max_pixels: int = 36_000_000
    """A 16,000 pixel square took 18.9 GB to encode."""
    max_streams: int = 64


def can_seek(facts: SourceFacts) -> bool:
    """Whether ffmpeg finds the picture of a given time without reading all that is before it."""
    return facts.container not in _WITHOUT_INDEX


def usable_video(facts: SourceFacts, limits: SourceLimits) -> VideoFacts:
    """The picture of a source that may be worked on.

    Raises:
        ProcessingError: Not retryable: ``no_video_stream``, ``unsupported_codec``,
            ``source_too_large``, ``source_too_long``, ``truncated_source`` or ``corrupt_source``.
    """
    video = facts.video
    if video is None:
        raise _refused(
            "no_video_stream",
            f"the source ({facts.container}) has no video stream",
            "Send a file with a picture; an audio file cannot be cut into clips.",
        )
    _refuse_codec(video)
    _refuse_size(video, facts, limits)
    _refuse_duration(facts, limits)
    if facts.is_cut_short:
        raise _refused(
            "truncated_source",
            "the source is cut short: its index names data that is not in the file",
            "The upload probably broke off. Upload the file again.",
        )
    return video


def _refuse_codec(video: VideoFacts) -> None:
    if video.codec not in SUPPORTED_VIDEO_CODECS:
        raise _refused(
            "unsupported_codec",
            f"the source's video codec {video.codec!r} is not supported",
            "Convert it to H.264, HEVC, VP9 or AV1 and send it again.",
        )


def _refuse_size(video: VideoFacts, facts: SourceFacts, limits: SourceLimits) -> None:
    side, pixels = max(video.width, video.height), video.width * video.height
    if side > limits.max_side or pixels > limits.max_pixels:
        raise _refused(
            "source_too_large",
            f"the picture is {video.width}x{video.height}; at most {limits.max_side} pixels a "
            f"side and {limits.max_pixels:,} in all are accepted",
            "Scale the video down, to 4K for instance, and send it again.",
        )
    if min(video.width, video.height) < 2 or min(video.sample_aspect_ratio, video.frame_rate) <= 0:
        raise _refused(
            "corrupt_source", "the picture has no size or rate", "Export the video again."
        )
    if facts.stream_count > limits.max_streams:
        raise _refused(
            "source_too_large",
            f"the source has {facts.stream_count} streams; at most {limits.max_streams} are accepted",
            "Export the video with one picture and one sound track.",
        )


def _refuse_duration(facts: SourceFacts, limits: SourceLimits) -> None:
    if facts.duration_seconds > limits.max_duration_seconds:
        raise _refused(
            "source_too_long",
            f"the source lasts {facts.duration_seconds:.0f} s; at most "
            f"{limits.max_duration_seconds:.0f} s are accepted",
            "Split the video and send the parts.",
        )
    if not facts.duration_seconds > 0:  # nor is nan a duration
        raise _refused("corrupt_source", "the source has no duration", "Export the video again.")


def _refused(code: str, message: str, advice: str) -> ProcessingError:
    return ProcessingError(f"{message}. {advice}", code=code, advice=advice)
