"""HLS playlists as text: written from measured facts, and read back to be verified.

The rules are those of RFC 8216 and of Apple's HLS authoring specification.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

#: The names within a stream's folder.
MEDIA_PLAYLIST, PICTURE_PLAYLIST, INIT_NAME = "playlist.m3u8", "iframes.m3u8", "init.mp4"

_VERSION = 7
"""Of the protocol: EXT-X-MAP in any playlist needs 6, fragmented MP4 in practice 7."""
_CLOCK_SLACK_SECONDS = 0.001
_ATTRIBUTE = re.compile(r'([A-Z-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a fragmented MP4 that begins with its own index (``moof``)."""

    start: int
    """Bytes from the beginning of the file."""
    end: int
    seconds: float
    picture_end: int
    """Where its first picture ends; from `start` to here is all that a player needs to show it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A keyframe that can be had alone, for fast winding."""

    offset: int
    """Bytes from the beginning of its segment."""
    length: int
    seconds: float
    """Until the next one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a stream."""

    name: str
    start: int
    """Bytes from the beginning of the fragmented MP4."""
    end: int
    seconds: float
    pictures: tuple[Picture, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Bits a second."""

    peak: int
    average: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One rung in one codec, as the master playlist tells it."""

    name: str
    codec: str
    """As in RFC 6381, such as ``avc1.64001f``."""
    width: int
    height: int
    frame_rate: Fraction
    rates: Rates
    picture_rates: Rates
    """Of the keyframes alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioTrack:
    """The sound that all variants share."""

    codec: str
    channels: int
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """A WebVTT file in the private folder, which becomes one of the package's subtitles."""

    file_name: str
    """Ours, in the private folder."""
    language: str = "und"
    """By BCP 47, such as ``en`` or ``pt-BR``."""
    name: str = "Subtitles"
    """What a player's menu says."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*", self.language):
            raise ValueError(f"{self.language!r} is not a language tag; write 'en' or 'pt-BR'")
        if not re.fullmatch(r"[^\"\r\n]{1,100}", self.name):
            raise ValueError(f"{self.name!r} holds a quote or a line break, or is too long")

    @property
    def folder(self) -> str:
        """Its place within the package."""
        return f"subtitles_{self.language}"


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """What a playlist of segments says."""

    names: tuple[str, ...]
    seconds: tuple[float, ...]
    ranges: tuple[tuple[int, int], ...]
    """Offset and length of each entry that is a part of its file."""
    target_seconds: int
    is_complete: bool

    @property
    def duration_seconds(self) -> float:
        """Of all segments."""
        return sum(self.seconds)


def grouped(fragments: Sequence[Fragment], segment_seconds: float) -> tuple[Segment, ...]:
    """Segments of whole fragments, each ending with the first fragment to reach its time.

    The times are counted from the beginning, so that no rounding adds up and all streams with
    the same keyframes are cut at the same places.
    """
    segments: list[Segment] = []
    waiting: list[Fragment] = []
    elapsed = 0.0
    for fragment in fragments:
        waiting.append(fragment)
        elapsed += fragment.seconds
        if elapsed >= segment_seconds * (len(segments) + 1) - _CLOCK_SLACK_SECONDS:
            segments.append(_segment(len(segments) + 1, waiting))
            waiting = []
    return (*segments, *([_segment(len(segments) + 1, waiting)] if waiting else ()))


def media_playlist(segments: Sequence[Segment]) -> str:
    """The playlist of a stream's segments."""
    entries = [line for each in segments for line in (_length(each.seconds), each.name)]
    return _playlist([each.seconds for each in segments], [_map(), *entries])


def picture_playlist(segments: Sequence[Segment]) -> str:
    """The playlist of a stream's keyframes, as parts of its segments."""
    entries = [
        line
        for segment in segments
        for picture in segment.pictures
        for line in (
            _length(picture.seconds),
            f"#EXT-X-BYTERANGE:{picture.length}@{picture.offset}",
            segment.name,
        )
    ]
    seconds = [picture.seconds for segment in segments for picture in segment.pictures]
    return _playlist(seconds, ["#EXT-X-I-FRAMES-ONLY", _map(), *entries])


def subtitle_playlist(file_name: str, duration_seconds: float) -> str:
    """The playlist of subtitles in one file."""
    return _playlist([duration_seconds], [_length(duration_seconds), file_name])


def master_playlist(
    variants: Sequence[Variant],
    *,
    audio: AudioTrack | None = None,
    subtitles: Sequence[SubtitleTrack] = (),
) -> str:
    """The playlist that a player opens, with measured rates."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [_audio_line(audio)] if audio else []
    lines += [_subtitle_line(track) for track in subtitles]
    for variant in variants:
        lines += [_variant_line(variant, audio, has_subtitles=bool(subtitles))]
        lines += [f"{variant.name}/{MEDIA_PLAYLIST}"]
    lines += [_picture_line(variant) for variant in variants]
    return "\n".join(lines) + "\n"


def read_media_playlist(text: str) -> MediaPlaylist:
    """What a media playlist of ours says.

    Raises:
        ValueError: It is not one.
    """
    lines = text.split("\n")
    if lines[0] != "#EXTM3U":
        raise ValueError("it does not begin with #EXTM3U")
    seconds = [float(line[8:].split(",")[0]) for line in lines if line.startswith("#EXTINF:")]
    ranges = [line[17:] for line in lines if line.startswith("#EXT-X-BYTERANGE:")]
    target = [int(line[22:]) for line in lines if line.startswith("#EXT-X-TARGETDURATION:")]
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if len(names) != len(seconds) or len(target) != 1:
        raise ValueError("its entries lack lengths, or it has no target duration")
    return MediaPlaylist(
        names=names,
        seconds=tuple(seconds),
        ranges=tuple(_range(each) for each in ranges),
        target_seconds=target[0],
        is_complete="#EXT-X-ENDLIST" in lines,
    )


def read_bandwidths(master: str) -> dict[str, int]:
    """What a master playlist promises at the most, in bits a second, by the playlist it names."""
    promised: dict[str, int] = {}
    lines = master.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line)}
        if line.startswith("#EXT-X-STREAM-INF:"):
            promised[following] = int(attributes["BANDWIDTH"])
        elif line.startswith("#EXT-X-I-FRAME-STREAM-INF:"):
            promised[attributes["URI"]] = int(attributes["BANDWIDTH"])
    return promised


def target_duration(seconds: Sequence[float]) -> int:
    """The least that RFC 8216 allows: no length, rounded to whole seconds, may be above it."""
    return max(1, *(floor(each + 0.5) for each in seconds))


def rates(sizes: Sequence[int], seconds: Sequence[float], *, target_seconds: float) -> Rates:
    """Average and peak as RFC 8216 defines them.

    The peak is the largest rate of any run of segments that lasts from half to one and a half
    times the target duration.
    """
    # As the playlist tells them; half of a target is half of it whatever the last digit says.
    seconds = [round(each, 6) for each in seconds]
    slack = 1e-4 * target_seconds
    average = sum(sizes) * 8 / max(sum(seconds), 1e-6)
    runs = [
        sum(sizes[first:end]) * 8 / length
        for first in range(len(sizes))
        for end, length in _runs(seconds, first, 1.5 * target_seconds + slack)
        if length >= 0.5 * target_seconds - slack
    ]
    return Rates(peak=round(max(runs, default=average)) + 1, average=round(average))


def codec_string(codec: str, extradata: bytes) -> str:
    """The codec by RFC 6381, from the stream's own configuration record.

    Raises:
        ValueError: The record is not of that codec.
    """
    if len(extradata) < 2:
        raise ValueError(f"the {codec} stream has no configuration")
    match codec:
        case "h264":
            return f"avc1.{extradata[1:4].hex()}"
        case "hevc":
            return _hevc_string(extradata)
        case "av1":
            depth = "10" if extradata[2] & 0x40 else "08"
            tier = "H" if extradata[2] & 0x80 else "M"
            return f"av01.{extradata[1] >> 5}.{extradata[1] & 31:02d}{tier}.{depth}"
        case "aac":
            return f"mp4a.40.{extradata[0] >> 3}"
        case _:
            raise ValueError(f"{codec} has no place in our packages")


def _hevc_string(record: bytes) -> str:
    # ISO/IEC 14496-15, annex E: the flags of compatibility are written backwards.
    space = ("", "A", "B", "C")[record[1] >> 6]
    flags = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    tier = "H" if record[1] & 0x20 else "L"
    constraints = record[6:12].rstrip(b"\0")
    ends = "".join(f".{byte:X}" for byte in constraints)
    return f"hvc1.{space}{record[1] & 31}.{flags:X}.{tier}{record[12]}{ends}"


def _segment(number: int, fragments: Sequence[Fragment]) -> Segment:
    start = fragments[0].start
    return Segment(
        name=f"segment_{number:05d}.m4s",
        start=start,
        end=fragments[-1].end,
        seconds=sum(fragment.seconds for fragment in fragments),
        pictures=tuple(
            Picture(each.start - start, each.picture_end - each.start, each.seconds)
            for each in fragments
        ),
    )


def _runs(seconds: Sequence[float], first: int, longest: float) -> list[tuple[int, float]]:
    """The ends of all runs that begin there and are not too long, with their lengths."""
    found: list[tuple[int, float]] = []
    length = 0.0
    for end in range(first, len(seconds)):
        length += seconds[end]
        if length > longest:
            break
        found.append((end + 1, length))
    return found


def _playlist(seconds: Sequence[float], body: Sequence[str]) -> str:
    head = (
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{target_duration(seconds)}",
        "#EXT-X-MEDIA-SEQUENCE:1",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    )
    return "\n".join((*head, *body, "#EXT-X-ENDLIST", ""))


def _length(seconds: float) -> str:
    return f"#EXTINF:{seconds:.6f},"


def _map() -> str:
    return f'#EXT-X-MAP:URI="{INIT_NAME}"'


def _range(text: str) -> tuple[int, int]:
    length, _, offset = text.partition("@")
    return int(offset), int(length)


def _audio_line(audio: AudioTrack) -> str:
    return (
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Sound",DEFAULT=YES,AUTOSELECT=YES,'
        f'CHANNELS="{audio.channels}",URI="audio/{MEDIA_PLAYLIST}"'
    )


def _subtitle_line(track: SubtitleTrack) -> str:
    # Not by default: players would show them to those who have not asked for any.
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="{track.name}",'
        f'LANGUAGE="{track.language}",DEFAULT=NO,AUTOSELECT=YES,'
        f'FORCED=NO,URI="{track.folder}/{MEDIA_PLAYLIST}"'
    )


def _variant_line(variant: Variant, audio: AudioTrack | None, *, has_subtitles: bool) -> str:
    peak = variant.rates.peak + (audio.rates.peak if audio else 0)
    average = variant.rates.average + (audio.rates.average if audio else 0)
    codecs = f"{variant.codec},{audio.codec}" if audio else variant.codec
    groups = (',AUDIO="audio"' if audio else "") + (
        ',SUBTITLES="subtitles"' if has_subtitles else ""
    )
    return (
        f'#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS="{codecs}",'
        f"RESOLUTION={variant.width}x{variant.height},"
        f"FRAME-RATE={float(variant.frame_rate):.3f},VIDEO-RANGE=SDR{groups},CLOSED-CAPTIONS=NONE"
    )


def _picture_line(variant: Variant) -> str:
    return (
        f"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={variant.picture_rates.peak},"
        f'AVERAGE-BANDWIDTH={variant.picture_rates.average},CODECS="{variant.codec}",'
        f"RESOLUTION={variant.width}x{variant.height},VIDEO-RANGE=SDR,"
        f'URI="{variant.name}/{PICTURE_PLAYLIST}"'
    )
