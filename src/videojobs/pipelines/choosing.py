"""Which parts of a source become clips: the choice as one function, and the rules for its answer."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from statistics import median
from typing import TYPE_CHECKING, Protocol, cast

from videojobs.errors import ProcessingError
from videojobs.pipelines.analysis import BIN_SECONDS, SILENT_LUFS, SourceAnalysis, Span

if TYPE_CHECKING:
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.profiles import PlatformProfile

#: What a clip lasts when nobody says otherwise and the source is long enough.
USUAL_CLIP_SECONDS = 15.0

#: How far an edge may move to a pause or a cut, and by how much a clip's length may change.
SNAP_SECONDS = 1.5

#: Where there is a choice, a clip takes no more than this of its share of the source.
_SHARE = 2 / 3
_SHORT_CLIP_SECONDS = 3.0

#: What the parts of a score weigh. Without sound, or with a still picture, the others count alone.
_LOUDNESS, _SPEECH, _MOTION, _CUTS = 0.35, 0.2, 0.3, 0.15

#: A clip begins this long before the first word and ends this long after the last one.
_BEFORE_WORD_SECONDS, _AFTER_WORD_SECONDS = 0.15, 0.25

#: What it costs a clip, in seconds of moving, to begin or end at such a place.
_AT_CUT, _AT_PAUSE, _IN_PAUSE, _AT_CUT_IN_SPEECH, _IN_SPEECH = 0.0, 0.3, 0.8, 3.0, 6.0

#: What an edge in the middle of speech takes from a window's appeal, and what a second of moving
#: is worth when its edges are put in place.
_BROKEN_SENTENCE, _SCORE_OF_A_SECOND = 0.15, 1 / 4

#: Below this share of the best score, a region of the source goes without a clip.
_POOR = 0.5

#: Of what a chooser gives as the reason for a clip, in characters.
_LONGEST_REASON = 1000

#: Containers round their duration; a frame too little is not too short.
_ROUNDING_SECONDS = 0.05


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


def choose_clips(
    analysis: SourceAnalysis, settings: ProcessingSettings, /
) -> tuple[ChosenClip, ...]:
    """The parts with the most to hear and see, over the whole source, in its order.

    The score adds loudness against the source's median, motion, cuts and how much of the part is
    not a pause; black and silent parts lose. The better half comes from a region of the source
    each, the rest from anywhere. Edges move by up to 1.5 s to a pause or a cut, and lie in the
    middle of speech only where neither is near. A tie goes to the middle of its region. Where there
    is nothing to go by, the clips are spread evenly, and say so.
    """
    if analysis.is_still and not _has_dynamics(analysis):
        return spread_clips(
            analysis.duration_seconds,
            settings,
            reason="spread evenly: neither picture nor sound says where to cut",
        )
    scale = _Scale(analysis)
    snap = _Snap(scale, settings)
    count, length = _count_and_length(analysis.duration_seconds, settings, share=_SHARE)
    windows = _best_windows(snap, analysis.duration_seconds, count, length)
    return tuple(_chosen(window, scale) for window in windows)


def spread_clips(
    duration_seconds: float, settings: ProcessingSettings, *, reason: str
) -> tuple[ChosenClip, ...]:
    """Parts of equal length, each in the middle of its share of the source."""
    count, length = _count_and_length(duration_seconds, settings, share=1.0)
    share = duration_seconds / count
    return tuple(
        # The rounded length may exceed its share by half a millisecond: no clip begins below 0.
        ChosenClip(max(0.0, round(place * share + (share - length) / 2, 3)), length, reason=reason)
        for place in range(count)
    )


def clips_to_make(
    duration_seconds: float,
    settings: ProcessingSettings,
    *,
    analysis: SourceAnalysis | None,
    chooser: ClipChooser,
) -> tuple[ChosenClip, ...]:
    """The caller's own cuts if there are any, else the chooser's, else an even spread.

    Raises:
        ProcessingError: ``source_too_short`` for the platform, ``cuts_outside_source``, or
            ``bad_clip_choice`` of a chooser of your own.
    """
    _refuse_short(duration_seconds, settings.platform)
    if settings.cuts:
        return _given_clips(duration_seconds, settings)
    if settings.clip_choice == "spread":
        return spread_clips(duration_seconds, settings, reason="spread evenly, as asked for")
    if analysis is None:
        return spread_clips(
            duration_seconds, settings, reason="spread evenly: the source was not analysed"
        )
    _refuse_short(analysis.duration_seconds, settings.platform)
    return _checked(_in_order(chooser(analysis, settings)), analysis.duration_seconds, settings)


def parts_to_refine(
    analysis: SourceAnalysis, clips: Sequence[ChosenClip], *, around_seconds: float = 2.0
) -> tuple[Span, ...]:
    """The parts around the clips' edges, as far as cuts there are in doubt; joined where they meet.

    At most an eighth of the source or a minute, the best clips first.
    """
    room = max(60.0, analysis.duration_seconds / 8)
    spans: list[Span] = []
    for clip in sorted(clips, key=lambda clip: (-(clip.score or 0.0), clip.start_seconds)):
        for edge in (clip.start_seconds, clip.end_seconds):
            span = _in_doubt(analysis, edge, around_seconds)
            if span.duration_seconds <= room:
                room -= span.duration_seconds
                spans.append(span)
    return _joined(spans)


def _in_doubt(analysis: SourceAnalysis, edge: float, around: float) -> Span:
    earliest, latest = edge - around, edge + around
    doubts = [
        cut.at_seconds - cut.doubt_seconds
        for cut in analysis.cuts
        if earliest <= cut.at_seconds <= latest
    ]
    start = max(0.0, min([earliest, *(doubt - 0.5 for doubt in doubts)]))
    return Span(round(start, 3), round(min(analysis.duration_seconds, latest), 3))


class _Scale:
    """Running sums over an analysis, so that a window of any length is weighed in no time."""

    def __init__(self, analysis: SourceAnalysis) -> None:
        self.analysis = analysis
        # Each of these goes through a whole curve, and is asked for at every half second.
        self.has_sound, self._is_still = analysis.has_sound, analysis.is_still
        bins = max(1, math.ceil(analysis.duration_seconds / BIN_SECONDS))
        heard = [level for level in analysis.loudness_lufs if level > SILENT_LUFS + 1]
        self._usual_loudness = median(heard) if heard else SILENT_LUFS
        self._usual_motion = median(analysis.motion) if analysis.motion else 0.0
        self._loudness_lufs = _sums(analysis.loudness_lufs, bins)
        self._loudness = _sums([self._loud(level) for level in analysis.loudness_lufs], bins)
        self._motion = _sums([self._lively(change) for change in analysis.motion], bins)
        self._silence = _sums(_cover(analysis.silences, bins), bins)
        self._black = _sums(_cover(analysis.black_parts, bins), bins)
        self._cut_times = [cut.at_seconds for cut in analysis.cuts]

    def score(self, start: float, end: float) -> float:
        """How good that part is, 0 to 1."""
        silent = _mean(self._silence, start, end)
        parts: list[tuple[float, float]] = []
        if self.has_sound:
            parts += [(_LOUDNESS, _mean(self._loudness, start, end)), (_SPEECH, 1 - silent)]
        if not self._is_still:
            cuts_in_ten_seconds = 10 * self.cuts(start, end) / (end - start)
            liveliness = 1 - math.exp(-cuts_in_ten_seconds / 2)
            parts += [(_MOTION, _mean(self._motion, start, end)), (_CUTS, liveliness)]
        weight = sum(weight for weight, _ in parts) or 1.0
        good = sum(weight * value for weight, value in parts) / weight
        seen = 1 - 0.9 * _mean(self._black, start, end)
        heard = 1 - 0.5 * silent if self.has_sound else 1.0
        return round(max(0.0, min(1.0, good * seen * heard)), 3)

    def cuts(self, start: float, end: float) -> int:
        """How many cuts lie inside that part."""
        return bisect_left(self._cut_times, end) - bisect_right(self._cut_times, start)

    def reasons(self, start: float, end: float) -> list[str]:
        """What speaks for that part, in words."""
        told: list[str] = []
        louder = _mean(self._loudness_lufs, start, end) - self._usual_loudness
        if self.has_sound and louder >= 3:
            told.append(f"{louder:.0f} LU louder than the source's median")
        if not self._is_still and _mean(self._motion, start, end) >= 0.6:
            told.append("much motion")
        if cuts := self.cuts(start, end):
            told.append(f"{cuts} cut{'s' if cuts > 1 else ''}")
        if self.has_sound and _mean(self._silence, start, end) <= 0.15:
            told.append("hardly a pause")
        return told or ["the best of its part of the source"]

    def _loud(self, level: float) -> float:
        return max(0.0, min(1.0, 0.5 + (level - self._usual_loudness) / 24))

    def _lively(self, change: float) -> float:
        return change / (change + max(self._usual_motion, 0.25))


@dataclass(frozen=True, slots=True)
class _Edge:
    """A moment at which a clip may begin or end."""

    at: float
    cost: float
    what: str


@dataclass(frozen=True, slots=True)
class _Window:
    """A part with its edges in place."""

    start: _Edge
    end: _Edge


class _Snap:
    """Moves the edges of windows to where they hurt least."""

    def __init__(self, scale: _Scale, settings: ProcessingSettings) -> None:
        self._scale = scale
        self._analysis = scale.analysis
        self._profile = settings.platform

    def appeal(self, start: float, end: float) -> float:
        """The score of a window that is not in place yet, less for broken sentences."""
        room, reach = Span(0.0, self._analysis.duration_seconds), _reach(end - start)
        firsts = [self._raw(start), *self._near(start, reach, room, is_start=True)]
        lasts = [self._raw(end), *self._near(end, reach, room, is_start=False)]
        broken = sum(_brokenness(edges) for edges in (firsts, lasts))
        return round(self._scale.score(start, end) - _BROKEN_SENTENCE * broken, 3)

    def placed(self, start: float, end: float, room: Span) -> _Window:
        """The window with its edges at pauses or cuts near by, inside *room*."""
        length = end - start
        reach = _reach(length)
        shortest = max(length - reach, min(length, self._profile.min_duration_seconds))
        longest = min(length + reach, max(length, self._profile.max_duration_seconds))
        raw = _Window(self._raw(start), self._raw(end))
        pairs = product(
            [raw.start, *self._near(start, reach, room, is_start=True)],
            [raw.end, *self._near(end, reach, room, is_start=False)],
        )
        fitting = [
            _Window(first, last)
            for first, last in pairs
            if shortest - 1e-9 <= last.at - first.at <= longest + 1e-9
        ]
        return min(
            fitting,
            key=lambda window: (self._cost(window, start, end), window.start.at, window.end.at),
            default=raw,
        )

    def _cost(self, window: _Window, start: float, end: float) -> float:
        moved = abs(window.start.at - start) + abs(window.end.at - end)
        worth = self._scale.score(window.start.at, window.end.at) / _SCORE_OF_A_SECOND
        return round(moved + window.start.cost + window.end.cost - worth, 6)

    def _raw(self, at: float) -> _Edge:
        if not self._scale.has_sound:
            return _Edge(at, _IN_SPEECH, "where no cut is near")
        if self._analysis.is_silent_at(at):
            return _Edge(at, _IN_PAUSE, "in a pause")
        return _Edge(at, _IN_SPEECH, "where no pause or cut is near")

    def _near(self, at: float, reach: float, room: Span, *, is_start: bool) -> list[_Edge]:
        earliest, latest = max(at - reach, room.start_seconds), min(at + reach, room.end_seconds)
        edges = [*self._pauses(earliest, latest, is_start=is_start), *self._cuts(earliest, latest)]
        border = 0.0 if is_start else self._analysis.duration_seconds
        edges.append(_Edge(border, _AT_PAUSE, f"at the source's {'start' if is_start else 'end'}"))
        return [edge for edge in edges if earliest <= edge.at <= latest]

    def _pauses(self, earliest: float, latest: float, *, is_start: bool) -> list[_Edge]:
        # A silent track is no pause: there is nothing before it or after it.
        silences = self._analysis.silences if self._scale.has_sound else ()
        first = bisect_left(silences, earliest, key=lambda silence: silence.end_seconds)
        last = bisect_right(silences, latest, key=lambda silence: silence.start_seconds)
        return [_edge_in(silence, is_start=is_start) for silence in silences[first:last]]

    def _cuts(self, earliest: float, latest: float) -> list[_Edge]:
        cuts = self._analysis.cuts
        first = bisect_left(cuts, earliest, key=lambda cut: cut.at_seconds)
        last = bisect_right(cuts, latest, key=lambda cut: cut.at_seconds)
        return [self._cut_edge(cut.at_seconds) for cut in cuts[first:last]]

    def _cut_edge(self, at: float) -> _Edge:
        if self._analysis.is_silent_at(at):
            return _Edge(at, _AT_CUT, "at a cut")
        return _Edge(at, _AT_CUT_IN_SPEECH, "at a cut")


def _edge_in(silence: Span, *, is_start: bool) -> _Edge:
    start, end = silence.start_seconds, silence.end_seconds
    if is_start:
        return _Edge(round(max(start, end - _BEFORE_WORD_SECONDS), 3), _AT_PAUSE, "after a pause")
    return _Edge(round(min(end, start + _AFTER_WORD_SECONDS), 3), _AT_PAUSE, "at a pause")


def _reach(length: float) -> float:
    return min(SNAP_SECONDS, length / 3)


def _brokenness(edges: Sequence[_Edge]) -> float:
    """1 where only the middle of speech will do, 0.5 where a cut lies in it, 0 otherwise."""
    least = min(edge.cost for edge in edges)
    return 1.0 if least >= _IN_SPEECH else 0.5 if least >= _AT_CUT_IN_SPEECH else 0.0


def _best_windows(snap: _Snap, whole: float, count: int, length: float) -> list[_Window]:
    grid = _graded(snap, whole, length)
    free = _freely(snap, grid, whole, count, length)
    if len(free) == count:
        return free
    # The best left no room for the others: each keeps to its share of the source.
    regions = [Span(whole * place / count, whole * (place + 1) / count) for place in range(count)]
    return [snap.placed(*_best_in(region, grid, snap, length)[1:], region) for region in regions]


def _freely(
    snap: _Snap, grid: Sequence[tuple[float, float]], whole: float, count: int, length: float
) -> list[_Window]:
    """The best of each of a few regions, then the best that are left, wherever they are."""
    places = math.ceil(count / 2)
    regions = [Span(whole * n / places, whole * (n + 1) / places) for n in range(places)]
    leaders = sorted(
        (_best_in(region, grid, snap, length) for region in regions),
        key=lambda leader: (-leader[0], leader[1]),
    )
    good = [(start, end) for appeal, start, end in leaders if appeal >= _POOR * leaders[0][0]]
    others = sorted((-appeal, start) for start, appeal in grid)
    taken: list[_Window] = []
    for start, end in [*good, *((start, start + length) for _, start in others)]:
        if len(taken) == count:
            break
        if (room := _room(start, end, taken, whole)) is not None:
            taken.append(snap.placed(start, end, room))
    return sorted(taken, key=lambda window: window.start.at)


def _graded(snap: _Snap, whole: float, length: float) -> list[tuple[float, float]]:
    """Every start on the grid of the analysis, with the appeal of the window from there."""
    places = range(int(max(0.0, whole - length) / BIN_SECONDS) + 1)
    starts = [place * BIN_SECONDS for place in places]
    return [(start, snap.appeal(start, start + length)) for start in starts]


def _best_in(
    region: Span, grid: Sequence[tuple[float, float]], snap: _Snap, length: float
) -> tuple[float, float, float]:
    """The appeal, start and end of the best window in the region; a tie goes to its middle."""
    middle = max(0.0, round((region.start_seconds + region.end_seconds - length) / 2, 3))
    first = bisect_left(grid, (region.start_seconds, -1.0))
    last = bisect_right(grid, (region.end_seconds - length + 1e-9, 2.0))
    options = [(middle, snap.appeal(middle, middle + length)), *grid[first:last]]
    start, appeal = min(
        options, key=lambda option: (-option[1], abs(option[0] - middle), option[0])
    )
    return appeal, start, min(start + length, max(region.end_seconds, start + 1e-3))


def _room(start: float, end: float, taken: Sequence[_Window], whole: float) -> Span | None:
    """What is free around the window; ``None`` when a part of it is not."""
    before = [window.end.at for window in taken if window.start.at < end]
    after = [window.start.at for window in taken if window.start.at >= end]
    room = Span(max(before, default=0.0), min(after, default=whole))
    return room if room.start_seconds <= start and end <= room.end_seconds else None


def _chosen(window: _Window, scale: _Scale) -> ChosenClip:
    start, end = round(window.start.at, 3), round(window.end.at, 3)
    told = ", ".join(scale.reasons(start, end))
    return ChosenClip(
        start,
        round(end - start, 3),
        score=scale.score(start, end),
        reason=f"{told}; begins {window.start.what}, ends {window.end.what}",
    )


def _has_dynamics(analysis: SourceAnalysis) -> bool:
    """Whether the sound or the darkness changes enough to tell one part from another."""
    if analysis.black_parts:
        return True
    if not analysis.has_sound:
        return False
    levels = sorted(analysis.loudness_lufs[1:-1] or analysis.loudness_lufs)
    tenth = len(levels) // 10
    return bool(analysis.silences) or levels[-1 - tenth] - levels[tenth] >= 1


def _count_and_length(
    duration_seconds: float, settings: ProcessingSettings, *, share: float
) -> tuple[int, float]:
    profile = settings.platform
    wanted = settings.clip_seconds or profile.min_duration_seconds
    count = max(1, min(settings.clip_count, int(duration_seconds / wanted)))
    each = duration_seconds / count
    if settings.clip_seconds is not None:
        return count, round(min(each, settings.clip_seconds), 3)
    longest = min(USUAL_CLIP_SECONDS, profile.max_duration_seconds)
    shortest = max(profile.min_duration_seconds, _SHORT_CLIP_SECONDS)
    return count, round(min(each, longest, max(each * share, shortest)), 3)


def _given_clips(duration_seconds: float, settings: ProcessingSettings) -> tuple[ChosenClip, ...]:
    last = settings.cuts[-1].end_seconds
    if last > duration_seconds + _ROUNDING_SECONDS:
        advice = "Give cuts that lie inside the source."
        raise ProcessingError(
            f"the last of the cuts ends at {last:g} s, and the source lasts "
            f"{duration_seconds:.3f} s. {advice}",
            code="cuts_outside_source",
            advice=advice,
        )
    return tuple(
        _to_the_millisecond(
            ChosenClip(
                cut.start_seconds,
                min(cut.end_seconds, duration_seconds) - cut.start_seconds,
                reason="cut as given by the caller",
            )
        )
        for cut in settings.cuts
    )


def _in_order(answer: object) -> list[ChosenClip]:
    """What a chooser answered, whoever wrote it."""
    if not isinstance(answer, Sequence):
        raise _bad_choice(f"a {type(answer).__name__} is no list of clips")
    clips = cast("Sequence[object]", answer)
    wrong = [type(clip).__name__ for clip in clips if not isinstance(clip, ChosenClip)]
    if wrong:
        raise _bad_choice(f"a {wrong[0]} among them is no ChosenClip")
    chosen = [_to_the_millisecond(cast("ChosenClip", clip)) for clip in clips]
    return sorted(chosen, key=lambda clip: clip.start_seconds)


def _to_the_millisecond(clip: ChosenClip) -> ChosenClip:
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


def _checked(
    chosen: Sequence[ChosenClip], duration_seconds: float, settings: ProcessingSettings
) -> tuple[ChosenClip, ...]:
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
    if low - _ROUNDING_SECONDS <= clip.duration_seconds <= high:
        return None
    return (
        f"the one at {clip.start_seconds:g} s lasts {clip.duration_seconds:g} s, and "
        f"{profile.name} takes {low:g} to {high:g} s"
    )


def _place_problem(clip: ChosenClip, duration_seconds: float) -> str | None:
    if clip.start_seconds >= 0 and clip.end_seconds <= duration_seconds + _ROUNDING_SECONDS:
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


def _refuse_short(duration_seconds: float, profile: PlatformProfile) -> None:
    if duration_seconds < profile.min_duration_seconds - _ROUNDING_SECONDS:
        advice = "Send a longer video, or choose another platform."
        raise ProcessingError(
            f"the source lasts {duration_seconds:.1f} s, and {profile.name} takes nothing below "
            f"{profile.min_duration_seconds:g} s. {advice}",
            code="source_too_short",
            advice=advice,
        )


def _sums(values: Sequence[float], bins: int) -> list[float]:
    padded = [*values[:bins], *[0.0] * (bins - len(values))]
    return [0.0, *accumulate(padded)]


def _mean(sums: Sequence[float], start: float, end: float) -> float:
    first = min(int(start / BIN_SECONDS), len(sums) - 2)
    last = max(first + 1, min(math.ceil(end / BIN_SECONDS - 1e-9), len(sums) - 1))
    return (sums[last] - sums[first]) / (last - first)


def _cover(spans: Sequence[Span], bins: int) -> list[float]:
    """How much of each bin the spans cover, 0 to 1."""
    covered = [0.0] * bins
    for span in spans:
        first = int(span.start_seconds / BIN_SECONDS)
        last = min(bins, math.ceil(span.end_seconds / BIN_SECONDS))
        for place in range(first, last):
            begin = max(span.start_seconds, place * BIN_SECONDS)
            end = min(span.end_seconds, (place + 1) * BIN_SECONDS)
            covered[place] += max(0.0, end - begin) / BIN_SECONDS
    return covered


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_seconds):
        if joined and span.start_seconds <= joined[-1].end_seconds:
            end = max(joined[-1].end_seconds, span.end_seconds)
            joined[-1] = Span(joined[-1].start_seconds, end)
        else:
            joined.append(span)
    return tuple(joined)
