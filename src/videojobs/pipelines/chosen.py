"""What a choice of clips is, and the rules for a choice of somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, cast

from videojobs.errors import ProcessingError

if TYPE_CHECKING:
    from videojobs.pipelines.analysis import SourceAnalysis
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.profiles import PlatformProfile

#: Of what a chooser gives as the reason for a clip, in characters.
_LONGEST_REASON = 1000

#: Containers round their duration; a frame too little is not too short.
ROUNDING_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ChosenClip:
    """A part of the source that is to become a clip, and why."""

    start_seconds: float
    duration_seconds: float
    score: float | None = None
    """How good it is, 0 to 1; ``None`` where nothing was weighed."""
    reason: str = ""
    """For people: why this part, and why it begins and ends where it does. Becomes one line of at
    most 1,000 characters."""

    @property
    def end_seconds(self) -> float:
        """Where the part ends."""
        return round(self.start_seconds + self.duration_seconds, 3)


class ClipChooser(Protocol):
    """Chooses the parts of a source; put your own model here: ``VideoProcessor(chooser=...)``.

    It is given the source's analysis and the caller's settings, and is called once for a plan. Its
    answer, in any order, must hold 1 to `settings.clip_count` clips that lie inside the source, do
    not overlap, and last as long as `settings.platform` takes; anything else is refused with
    ``bad_clip_choice``. The same input should give the same clips, or a job that is tried again
    makes others.
    """

    def __call__(
        self, analysis: SourceAnalysis, settings: ProcessingSettings, /
    ) -> Sequence[ChosenClip]:
        """The chosen parts."""
        ...


def in_order(answer: object) -> list[ChosenClip]:
    """What a chooser answered, whoever wrote it.

    Raises:
        ProcessingError: ``bad_clip_choice``: it is no list of clips.
    """
    if not isinstance(answer, Sequence):
        raise _bad_choice(f"a {type(answer).__name__} is no list of clips")
    clips = cast("Sequence[object]", answer)
    wrong = [type(clip).__name__ for clip in clips if not isinstance(clip, ChosenClip)]
    if wrong:
        raise _bad_choice(f"a {wrong[0]} among them is no ChosenClip")
    chosen = [to_the_millisecond(cast("ChosenClip", clip)) for clip in clips]
    return sorted(chosen, key=lambda clip: clip.start_seconds)


def to_the_millisecond(clip: ChosenClip) -> ChosenClip:
    """In plain numbers, since ffmpeg reads 1e-05 as 1; edges that met still meet."""
    try:
        start, duration = float(clip.start_seconds), float(clip.duration_seconds)
        score = None if clip.score is None else float(clip.score)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad_choice(f"a clip's times and score must be numbers ({error})") from error
    first, last = round(start, 3), round(start + duration, 3)
    return ChosenClip(first, round(last - first, 3), score, _one_line(str(clip.reason)))


def _one_line(text: str) -> str:
    """A model may say anything; a database that is told of a NUL refuses the finished job."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_REASON]


def checked(
    chosen: Sequence[ChosenClip], duration_seconds: float, settings: ProcessingSettings
) -> tuple[ChosenClip, ...]:
    """The clips, in their order, if all of them can be made.

    Raises:
        ProcessingError: ``bad_clip_choice``.
    """
    problems = (
        _count_problem(chosen, settings),
        *(_length_problem(clip, settings.platform) for clip in chosen),
        *(_place_problem(clip, duration_seconds) for clip in chosen),
        *(_score_problem(clip) for clip in chosen),
        *(_overlap_problem(one, other) for one, other in pairwise(chosen)),
    )
    for problem in filter(None, problems):
        raise _bad_choice(problem)
    return tuple(chosen)


def _bad_choice(problem: str) -> ProcessingError:
    advice = "Correct the chooser that was given to VideoProcessor."
    return ProcessingError(
        f"the chosen clips cannot be made: {problem}. {advice}",
        code="bad_clip_choice",
        advice=advice,
    )


def _count_problem(chosen: Sequence[ChosenClip], settings: ProcessingSettings) -> str | None:
    if 1 <= len(chosen) <= settings.clip_count:
        return None
    return f"there are {len(chosen)} of them, and 1 to {settings.clip_count} were asked for"


def _length_problem(clip: ChosenClip, profile: PlatformProfile) -> str | None:
    low, high = profile.min_duration_seconds, profile.max_duration_seconds
    if low - ROUNDING_SECONDS <= clip.duration_seconds <= high:
        return None
    return (
        f"the one at {clip.start_seconds:g} s lasts {clip.duration_seconds:g} s, and "
        f"{profile.name} takes {low:g} to {high:g} s"
    )


def _place_problem(clip: ChosenClip, duration_seconds: float) -> str | None:
    if clip.start_seconds >= 0 and clip.end_seconds <= duration_seconds + ROUNDING_SECONDS:
        return None
    return (
        f"{clip.start_seconds:g} to {clip.end_seconds:g} s is not inside the source, whose "
        f"picture lasts {duration_seconds:.3f} s"
    )


def _score_problem(clip: ChosenClip) -> str | None:
    if clip.score is None or 0 <= clip.score <= 1:
        return None
    return f"the score of the one at {clip.start_seconds:g} s is {clip.score:g}, and not 0 to 1"


def _overlap_problem(one: ChosenClip, other: ChosenClip) -> str | None:
    if other.start_seconds >= one.end_seconds:
        return None
    return f"those at {one.start_seconds:g} and {other.start_seconds:g} s overlap"
