"""Geometry: how a source's picture becomes the frame that a viewer gets."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from videojobs.pipelines.plan import CropRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from videojobs.pipelines.source import VideoFacts
    from videojobs.profiles import PlatformProfile, Rendition, VideoCodec

#: A source this close below a rung counts as being of its size: 1918x1078 is "1080p". And a frame
#: that is filled this much is filled.
_NEARLY = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A rectangle of stored pixels, after rotation."""

    width: int
    height: int
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A rendition at the size that this source gives it."""

    name: str
    width: int
    height: int
    max_video_bitrate_kbps: int
    audio_bitrate_kbps: int
    codecs: tuple[VideoCodec, ...]
    """In which it may be made."""


def clip_size(
    profile: PlatformProfile, short_side: int, aspect_ratio: tuple[int, int]
) -> tuple[int, int]:
    """A frame of that shape, its shorter side that of the platform, or fewer pixels if so many."""
    width, height = aspect_ratio
    unit = Fraction(min(short_side, profile.width, profile.height), min(width, height))
    return even(width * unit), even(height * unit)


def centre_crop(video: VideoFacts, *, width: int, height: int) -> Crop:
    """The largest centred part of the picture that has the shape width:height.

    Counted in stored pixels, so that a picture of stretched pixels needs one scaling only.
    """
    stored_width, stored_height = video.upright_size
    shape = Fraction(width, height) / video.upright_aspect_ratio
    if Fraction(stored_width, stored_height) >= shape:
        cut_width, cut_height = even(stored_height * shape), even(stored_height)
    else:
        cut_width, cut_height = even(stored_width), even(stored_width / shape)
    cut_width, cut_height = min(cut_width, stored_width), min(cut_height, stored_height)
    return Crop(
        width=cut_width,
        height=cut_height,
        x=_even_below((stored_width - cut_width) / 2),
        y=_even_below((stored_height - cut_height) / 2),
    )


def fitted_size(video: VideoFacts, *, width: int, height: int) -> tuple[int, int]:
    """The largest size at which the whole picture fits into the frame, in its own shape."""
    shown_width, shown_height = video.display_size
    factor = min(Fraction(width, shown_width), Fraction(height, shown_height))
    return min(width, even(shown_width * factor)), min(height, even(shown_height * factor))


def covers(size: tuple[int, int], *, width: int, height: int) -> bool:
    """Whether a picture of this size leaves no more than a hair of the frame free."""
    return size[0] >= _NEARLY * width and size[1] >= _NEARLY * height


def free_span(video: VideoFacts, crop: Crop) -> CropRange | None:
    """Along which side the cut-out can move, and how far; ``None`` when it has nowhere to go."""
    stored_width, stored_height = video.upright_size
    across = CropRange(axis="x", size=crop.width, room=stored_width - crop.width)
    along = CropRange(axis="y", size=crop.height, room=stored_height - crop.height)
    span = max(across, along, key=lambda each: each.room)
    return span if span.room >= 2 else None


def ladder(video: VideoFacts, renditions: Sequence[Rendition]) -> tuple[Rung, ...]:
    """The rungs that this source can fill without being enlarged, largest first.

    A source that is smaller than all of them gives one rung at its own size.
    """
    rungs = [_rung(video, rendition) for rendition in renditions if _fills(video, rendition)]
    return tuple(rungs) or (_own_size(video, min(renditions, key=lambda rung: rung.short_side)),)


def even(pixels: float | Fraction) -> int:
    """The nearest even number, at least 2: H.264 in 4:2:0 takes no other."""
    return max(2, 2 * round(pixels / 2))


def _even_below(pixels: float) -> int:
    return int(pixels) // 2 * 2


def _fit(video: VideoFacts, rendition: Rendition) -> float:
    """By how much the picture would have to grow to fill the rendition's box."""
    sides = video.display_size
    return min(rendition.long_side / max(sides), rendition.short_side / min(sides))


def _fills(video: VideoFacts, rendition: Rendition) -> bool:
    return _fit(video, rendition) * _NEARLY <= 1


def _rung(video: VideoFacts, rendition: Rendition) -> Rung:
    return _sized(video, rendition, name=rendition.name, factor=min(1.0, _fit(video, rendition)))


def _own_size(video: VideoFacts, rendition: Rendition) -> Rung:
    name = f"{_whole_even(min(video.display_size))}p"
    return _sized(video, rendition, name=name, factor=1.0)


def _sized(video: VideoFacts, rendition: Rendition, *, name: str, factor: float) -> Rung:
    width, height = video.display_size
    return Rung(
        name=name,
        width=_whole_even(width * factor),
        height=_whole_even(height * factor),
        max_video_bitrate_kbps=rendition.max_video_bitrate_kbps,
        audio_bitrate_kbps=rendition.audio_bitrate_kbps,
        codecs=rendition.codecs,
    )


def _whole_even(pixels: float) -> int:
    # 853.33 becomes 854, as everybody writes it, and 101 becomes 100: never above the source.
    return even(pixels) if pixels != int(pixels) else max(2, int(pixels) // 2 * 2)
