"""What must be true of a file before anybody calls it finished."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError
from videojobs.pipelines.failures import TRUNCATED_SOURCE

if TYPE_CHECKING:
    from videojobs.pipelines.plan import PlannedOutput


#: What lasts no longer is looked at as closely as a clip.
_BRIEF_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFacts:
    """What an independent look at a finished file found."""

    size_bytes: int
    width: int
    height: int
    video_codec: str
    duration_seconds: float = 0.0
    """The picture's; 0 for a poster."""
    audio_seconds: float | None = None
    frame_count: int = 1
    frame_rate: Fraction | None = None
    pixel_format: str | None = None
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation_degrees: int = 0
    audio_codec: str | None = None
    longest_keyframe_gap_seconds: float = 0.0
    is_faststart: bool = True
    has_edit_list: bool = False
    has_ordered_times: bool = True
    """Whether decoding times only grow."""
    decode_error: str | None = None
    """What the decoder said; ``None`` when all that was tried decodes (see `is_decoded_whole`)."""
    is_whole: bool = True
    """Whether the container is written to its end."""

    @property
    def bitrate_kbps(self) -> int | None:
        """Of the whole file."""
        if not self.duration_seconds:
            return None
        return round(self.size_bytes * 8 / self.duration_seconds / 1000)


def tolerated_shortage_seconds(duration_seconds: float) -> float:
    """How much may be missing: 2 %, at least a tenth of a second and at most two.

    Containers round, and a header's duration may be the sound's; a broken upload lacks more.
    """
    return max(0.1, min(2.0, duration_seconds / 50))


def is_decoded_whole(planned: PlannedOutput) -> bool:
    """Whether every frame and sample is decoded, for a tenth of the encode: clips, and all that is
    short. Of a film and its segments it is the first and the last group of pictures and the
    keyframes between.
    """
    is_clip = planned.source_start_seconds is not None and planned.part_of is None
    is_brief = planned.duration_seconds <= _BRIEF_SECONDS and planned.part_of is None
    return planned.kind == "video" and (is_clip or is_brief)


def output_error(planned: PlannedOutput, found: OutputFacts) -> ProcessingError | None:
    """Why the file must not be published; ``None`` when it is all that was promised."""
    if planned.kind == "video" and _is_short(planned, found):
        return _truncated(planned, found)
    problems = output_problems(planned, found)
    if not problems:
        return None
    return ProcessingError(
        f"{planned.file_name} was made but is not what was promised: {'; '.join(problems)}. "
        "This is a fault of ours or of ffmpeg: try again, then report it",
        code="invalid_output",
        advice="Try again; if it happens again, report it with the source.",
    )


def output_problems(planned: PlannedOutput, found: OutputFacts) -> tuple[str, ...]:
    """Every rule that the file breaks, in words."""
    rules = _picture_rules(planned, found)
    if planned.kind == "video":
        rules = (*rules, *_video_rules(planned, found))
    return tuple(problem for is_broken, problem in rules if is_broken)


def _picture_rules(planned: PlannedOutput, found: OutputFacts) -> tuple[tuple[bool, str], ...]:
    size, wanted = (found.width, found.height), (planned.width, planned.height)
    return (
        (size != wanted, f"it is {size[0]}x{size[1]} and not {wanted[0]}x{wanted[1]}"),
        (found.decode_error is not None, f"it does not decode ({found.decode_error})"),
        (_is_too_big(planned, found), f"it has {found.size_bytes:,} bytes, more than is allowed"),
    )


def _video_rules(planned: PlannedOutput, found: OutputFacts) -> tuple[tuple[bool, str], ...]:
    frame = 1 / float(planned.frame_rate or 25)
    allowed_gap = (planned.keyframe_seconds or float("inf")) + 2 * frame
    excess = found.duration_seconds - planned.duration_seconds
    return (
        (
            found.video_codec != planned.video_codec,
            f"its codec is {found.video_codec} and not {planned.video_codec}",
        ),
        (found.pixel_format != "yuv420p", f"its pixels are {found.pixel_format}, not yuv420p"),
        (found.sample_aspect_ratio != 1, "its pixels are not square"),
        (found.rotation_degrees != 0, "it asks to be rotated"),
        (excess > max(2 * frame, 0.1), f"it is {excess:.2f} s too long"),
        (_has_wrong_rate(planned, found), f"it has {found.frame_rate} frames a second"),
        (_has_wrong_frames(planned, found), f"it has {found.frame_count} frames"),
        (
            _lacks_frames(planned, found),
            f"it has {found.frame_count} of {planned.frame_count} frames",
        ),
        (planned.has_audio != (found.audio_codec is not None), _about_sound(planned)),
        (planned.has_audio and _drifts(found), "picture and sound differ in length"),
        (not found.is_whole, "it is cut short"),
        (not found.is_faststart, "its index is not at its beginning"),
        (found.has_edit_list, "it has an edit list"),
        (not found.has_ordered_times, "its times go backwards"),
        (found.longest_keyframe_gap_seconds > allowed_gap, "its keyframes are too far apart"),
    )


def _is_short(planned: PlannedOutput, found: OutputFacts) -> bool:
    missing = planned.duration_seconds - found.duration_seconds
    return missing > tolerated_shortage_seconds(planned.duration_seconds)


def _truncated(planned: PlannedOutput, found: OutputFacts) -> ProcessingError:
    # ffmpeg ends with 0 when a source breaks off; only the length tells.
    end = (planned.source_start_seconds or 0.0) + found.duration_seconds
    advice = TRUNCATED_SOURCE.advice
    return ProcessingError(
        f"{TRUNCATED_SOURCE.message}: {planned.file_name} got {found.duration_seconds:.1f} of "
        f"{planned.duration_seconds:.1f} s, up to second {end:.1f} of the source. {advice}",
        code=TRUNCATED_SOURCE.code,
        advice=advice,
    )


def _is_too_big(planned: PlannedOutput, found: OutputFacts) -> bool:
    return planned.max_size_bytes is not None and found.size_bytes > planned.max_size_bytes


def _has_wrong_rate(planned: PlannedOutput, found: OutputFacts) -> bool:
    if planned.frame_rate is None or found.frame_rate is None:
        return False
    # The average of a short file misses the nominal rate by the rounding of its last frame.
    return abs(found.frame_rate / planned.frame_rate - 1) > Fraction(1, 50)


def _has_wrong_frames(planned: PlannedOutput, found: OutputFacts) -> bool:
    expected = found.duration_seconds * float(planned.frame_rate or 0)
    return abs(found.frame_count - expected) > 2


def _lacks_frames(planned: PlannedOutput, found: OutputFacts) -> bool:
    return planned.has_exact_frames and found.frame_count != planned.frame_count


def _about_sound(planned: PlannedOutput) -> str:
    return "it lacks its sound" if planned.has_audio else "it has a sound track and should not"


def _drifts(found: OutputFacts) -> bool:
    if found.audio_seconds is None:
        return False
    allowed = max(0.2, tolerated_shortage_seconds(found.duration_seconds))
    return abs(found.audio_seconds - found.duration_seconds) > allowed
