"""What a caller may ask of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from videojobs.models import EnhancementLevel, PlatformTarget, QualityPreset, VideoJob
from videojobs.profiles import CODECS, PLATFORMS, RENDITIONS, PlatformProfile, VideoCodec
from videojobs.requests import JsonObject, NewVideoJob, Request, Slug, refuse

DEFAULT_CLIP_COUNT = 3

_HEIGHTS = tuple(rung.short_side for rung in RENDITIONS)
_H264_HEIGHTS = tuple(rung.short_side for rung in RENDITIONS if "h264" in rung.codecs)
_USUAL_HEIGHTS = (1080, 720, 480)
_USUAL_HLS_HEIGHTS = (1080, 720, 480, 360)


def _even(pixels: int) -> int:
    if pixels % 2:
        raise ValueError("H.264 in 4:2:0 needs an even number of pixels")
    return pixels


def _known_heights(heights: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if heights is None:
        return None
    unknown = [height for height in heights if height not in _HEIGHTS]
    if unknown:
        raise ValueError(f"{unknown[0]} is not a rendition; choose from {list(_HEIGHTS)}")
    return tuple(sorted(set(heights), reverse=True))


class Framing(StrEnum):
    """How a wide picture becomes an upright one."""

    CENTRE = "centre"
    """The middle is kept."""
    FOLLOW = "follow"
    """What moves is kept: a path as smooth as a camera's, which jumps at the source's own cuts only."""
    BLUR = "blur"
    """All is kept, on top of itself enlarged and blurred."""


class AspectRatio(StrEnum):
    """Width to height of a clip."""

    UPRIGHT = "9:16"
    SQUARE = "1:1"
    PORTRAIT = "4:5"
    WIDE = "16:9"

    @property
    def sides(self) -> tuple[int, int]:
        """Width and height in the smallest whole numbers."""
        width, height = self.value.split(":")
        return int(width), int(height)


class CaptionsMode(StrEnum):
    """What becomes of the captions that were given."""

    BURNED = "burned"
    """They are part of the picture, clear of what the platform draws on top of it."""
    SIDECAR = "sidecar"
    """Each clip has a WebVTT file beside it."""


def _with_h264(codecs: tuple[VideoCodec, ...]) -> tuple[VideoCodec, ...]:
    return ("h264", *(codec for codec in CODECS if codec in codecs))


Pixels = Annotated[int, Field(ge=64, le=4096), AfterValidator(_even)]


_OF_CLIPS = frozenset(
    {
        "clip_count",
        "clip_seconds",
        "clip_choice",
        "cuts",
        "clip_width",
        "clip_height",
        "aspect_ratio",
        "framing",
        "captions_mode",
        "platform_target",
    }
)
_OF_FILMS = frozenset({"rendition_heights", "video_codecs", "per_title", "thumbnails", "rung_kbps"})
_MEANINGLESS: Mapping[str, frozenset[str]] = {
    "clips": _OF_FILMS | {"captions_language"},
    "renditions": _OF_CLIPS | {"captions_url", "captions_language"},
    "hls": _OF_CLIPS,
}
"""The settings of the built-in pipelines that are other ones' alone."""
BUILT_IN_PIPELINES = frozenset(_MEANINGLESS)


class ClipCut(Request):
    """A part of the source that the caller wants as a clip."""

    start_seconds: float = Field(ge=0, allow_inf_nan=False)
    end_seconds: float = Field(gt=0, allow_inf_nan=False)

    @property
    def duration_seconds(self) -> float:
        """How long it lasts."""
        return round(self.end_seconds - self.start_seconds, 3)


class ProcessingSettings(Request):
    """How a source is to be processed. Every field has a default."""

    pipeline: Slug = "clips"
    """``clips``, ``renditions``, ``hls``, or a name that was given to the processor."""
    clip_count: int = Field(default=DEFAULT_CLIP_COUNT, ge=1, le=100)
    """How many clips to cut; a short source gives fewer, with a warning."""
    clip_seconds: float | None = Field(default=None, gt=0, le=900)
    """How long each clip lasts; ``None`` takes what the source and the platform suggest.

    With ``clip_choice="best"`` it may differ by 1.5 s, so that no clip ends within a sentence.
    """
    clip_choice: Literal["best", "spread"] = "best"
    """``best`` looks through the source for the parts with the most to hear and see; ``spread``
    takes parts of exactly `clip_seconds` at even distances, without a look."""
    cuts: tuple[ClipCut, ...] = Field(default=(), max_length=100)
    """The parts to cut, in the order of the source. They win over `clip_count`, `clip_seconds` and
    `clip_choice`."""
    clip_width: Pixels | None = None
    """Pixels of a clip's frame, with `clip_height`; ``None`` takes the platform's size."""
    clip_height: Pixels | None = None
    aspect_ratio: AspectRatio = AspectRatio.UPRIGHT
    """The shape of a clip's frame, unless its pixels are given."""
    framing: Framing = Framing.CENTRE
    """What is done with a picture of another shape."""
    captions_url: str | None = Field(default=None, min_length=1, max_length=2048, repr=False)
    """Where the worker's storage has an SRT or WebVTT file in the source's time; `VideoProcessor`
    takes a path instead."""
    captions_mode: CaptionsMode = CaptionsMode.BURNED
    """Of clips; an HLS package has them as subtitles."""
    captions_language: str = Field(
        default="und", pattern=r"^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,3}$"
    )
    """For the menus of players, by BCP 47, such as ``en`` or ``pt-BR``; ``und`` if it is not known."""
    quality_preset: QualityPreset = QualityPreset.STANDARD
    enhancement_level: EnhancementLevel = EnhancementLevel.NONE
    platform_target: PlatformTarget | None = None
    rendition_heights: Annotated[
        tuple[int, ...] | None, Field(min_length=1), AfterValidator(_known_heights)
    ] = None
    """Which rungs of the ladder to make, of 2160, 1080, 720, 480 and 360; none is ever enlarged.

    ``None`` makes 1080, 720 and 480, and for ``hls`` 360 too. 2160 needs a codec besides H.264.
    """
    video_codecs: Annotated[tuple[VideoCodec, ...], AfterValidator(_with_h264)] = ("h264",)
    """In which codecs each rung is made: ``h264`` always, ``hevc`` and ``av1`` beside it."""
    per_title: bool = False
    """Whether a short probe of the content picks the rungs and rates that it needs.

    What is saved and lost stands in the result's warnings. A plan without processing, which encodes
    nothing, shows the usual ladder.
    """
    thumbnails: bool = False
    """Whether renditions get a sheet of small pictures and a WebVTT for a player's time line."""
    segment_seconds: float | None = Field(default=None, ge=0, le=3600)
    """Renditions are encoded in segments of this length, which a successor of a killed worker need
    not make again: a multiple of 6, or 0 for one piece; ``None`` takes 60 for films of more than
    three minutes, and one piece for the others. Clips have none, and refuse it."""
    fan_out: bool = False
    """Whether a film's segments become jobs of their own, which several workers can run at once; the
    film waits for them, and is joined from their outputs. Needs a storage that all workers share.
    Clips have no segments, and refuse it."""
    only_segment: int | None = Field(default=None, ge=1)
    """The one segment to make, of those that the film is cut into; set for the jobs of segments."""
    rung_kbps: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]] | None = Field(
        default=None, min_length=1, max_length=20
    )
    """What each rung needs, by its name, such as ``{"720p": 900}``: with `per_title`, then nothing
    is sampled. Set for the jobs of segments, which all follow their film's samples."""
    options: JsonObject = Field(default_factory=dict[str, Any])
    """Settings of a pipeline of your own. The built-in ones warn about what they do not know."""

    @classmethod
    def from_job(cls, job: VideoJob | NewVideoJob) -> Self:
        """The settings of a stored job, or of one to be; its `settings` may set any field but the job's own.

        Raises:
            SupabaseValidationError: The job's `settings` hold a value that cannot be used.
        """
        given = {name: value for name, value in job.settings.items() if name in cls.model_fields}
        _refuse_doubled(given)
        fields: dict[str, Any] = given | _columns(job) | {"options": _options(cls, job)}
        return cls(**fields)

    @property
    def platform(self) -> PlatformProfile:
        """The limits and aims of the platform; those that suit all when none is named."""
        return PLATFORMS[self.platform_target]

    @property
    def wants_analysis(self) -> bool:
        """Whether the clips depend on what the source shows and sounds like."""
        return self.clip_choice == "best" and not self.cuts

    @property
    def given_for_other_pipelines(self) -> list[str]:
        """The fields that were set, and that this built-in pipeline does not look at."""
        others = _MEANINGLESS.get(self.pipeline, frozenset())
        return sorted(
            name
            for name in others & self.model_fields_set
            if getattr(self, name) != type(self).model_fields[name].default
        )

    @model_validator(mode="after")
    def _cuts_follow_each_other(self) -> Self:
        for cut in self.cuts:
            if cut.end_seconds <= cut.start_seconds:
                raise ValueError(f"the cut {_told(cut)} ends before it begins")
        for one, other in pairwise(self.cuts):
            if other.start_seconds < one.end_seconds:
                raise ValueError(
                    f"the cuts {_told(one)} and {_told(other)} overlap or are not in the order "
                    "of the source"
                )
        return self

    @model_validator(mode="after")
    def _cuts_suit_the_platform(self) -> Self:
        profile = self.platform
        low, high = profile.min_duration_seconds, profile.max_duration_seconds
        for cut in self.cuts:
            if not low <= cut.duration_seconds <= high:
                raise ValueError(
                    f"the cut {_told(cut)} lasts {cut.duration_seconds:g} s and does not suit "
                    f"{profile.name}, which takes {low:g} to {high:g} seconds"
                )
        return self

    @property
    def ladder_heights(self) -> tuple[int, ...]:
        """The rungs that are wished for, largest first."""
        usual = _USUAL_HLS_HEIGHTS if self.pipeline == "hls" else _USUAL_HEIGHTS
        return self.rendition_heights or usual

    @model_validator(mode="after")
    def _rungs_have_codecs(self) -> Self:
        beyond = [height for height in self.ladder_heights if height not in _H264_HEIGHTS]
        if beyond and self.video_codecs == ("h264",):
            raise ValueError(
                f"a rendition of {beyond[0]} is not made in H.264: give video_codecs hevc or av1"
            )
        if len(beyond) == len(self.ladder_heights):
            raise ValueError(
                f"give rendition_heights one of {list(_H264_HEIGHTS)} too, for players "
                "that know only H.264"
            )
        return self

    @model_validator(mode="after")
    def _segments_are_whole(self) -> Self:
        if self.segment_seconds is not None and self.segment_seconds % 6:
            raise ValueError(
                f"segment_seconds={self.segment_seconds:g} must be a multiple of 6, the length of a "
                "segment of HLS"
            )
        return self

    @model_validator(mode="after")
    def _segments_are_of_films(self) -> Self:
        if self.pipeline != "clips":
            return self
        if self.fan_out or self.only_segment is not None or self.segment_seconds is not None:
            raise ValueError(
                "clips are not cut into segments: leave out segment_seconds, fan_out and "
                "only_segment, or use the pipeline renditions or hls"
            )
        return self

    @model_validator(mode="after")
    def _clip_has_both_sides(self) -> Self:
        if (self.clip_width is None) != (self.clip_height is None):
            raise ValueError("give clip_width and clip_height together, or neither")
        return self

    @model_validator(mode="after")
    def _shape_suits_the_platform(self) -> Self:
        width, height = self.aspect_ratio.sides
        if self.clip_width is not None and self.clip_height is not None:
            width, height = self.clip_width, self.clip_height
        if width > height and not self.platform.takes_lying:
            raise ValueError(
                f"a frame of {width}:{height} does not suit {self.platform.name}, "
                "which takes none that is wider than high"
            )
        return self

    @model_validator(mode="after")
    def _clip_suits_the_platform(self) -> Self:
        profile = self.platform
        low, high = profile.min_duration_seconds, profile.max_duration_seconds
        if self.clip_seconds is not None and not low <= self.clip_seconds <= high:
            raise ValueError(
                f"clip_seconds={self.clip_seconds:g} does not suit {profile.name}, "
                f"which takes {low:g} to {high:g} seconds"
            )
        return self


def _told(cut: ClipCut) -> str:
    return f"{cut.start_seconds:g} to {cut.end_seconds:g} s"


def _columns(job: VideoJob | NewVideoJob) -> dict[str, Any]:
    """The job's own columns, which win over its `settings`."""
    columns: dict[str, Any] = {
        "pipeline": job.pipeline,
        "quality_preset": job.quality_preset,
        "enhancement_level": job.enhancement_level,
        "platform_target": job.platform_target,
        "clip_count": job.clip_count,
    }
    return {name: value for name, value in columns.items() if value is not None}


def _refuse_doubled(given: Mapping[str, Any]) -> None:
    for name in ("pipeline", "quality_preset", "enhancement_level", "platform_target"):
        if name in given:
            raise refuse(
                "VideoJob.settings", name, given[name], f"give it as the job's own {name} instead"
            )


def _options(cls: type[ProcessingSettings], job: VideoJob | NewVideoJob) -> dict[str, Any]:
    own = job.settings.get("options", {})
    if not isinstance(own, Mapping):
        raise refuse("VideoJob.settings", "options", own, "options must be a JSON object")
    others = {name: value for name, value in job.settings.items() if name not in cls.model_fields}
    return {**own, **others}
