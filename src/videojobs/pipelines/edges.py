"""Where clips begin and end: at pauses and cuts, and not within a sentence."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from videojobs.pipelines.analysis import Span

if TYPE_CHECKING:
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.weighing import Scale

#: How far an edge may move to a pause or a cut, and by how much a clip's length may change.
SNAP_SECONDS = 1.5

#: A clip begins this long before the first word and ends this long after the last one.
_BEFORE_WORD_SECONDS, _AFTER_WORD_SECONDS = 0.15, 0.25

#: What it costs a clip, in seconds of moving, to begin or end at such a place.
_AT_CUT, _AT_PAUSE, _IN_PAUSE, _AT_CUT_IN_SPEECH, _IN_SPEECH = 0.0, 0.3, 0.8, 3.0, 6.0

#: What an edge in the middle of speech takes from a window's appeal, and what a second of moving
#: is worth when its edges are put in place.
_BROKEN_SENTENCE, _SCORE_OF_A_SECOND = 0.15, 1 / 4


@dataclass(frozen=True, slots=True)
class Edge:
    """A moment at which a clip may begin or end."""

    at: float
    cost: float
    what: str


@dataclass(frozen=True, slots=True)
class Window:
    """A part with its edges in place."""

    start: Edge
    end: Edge


class Snap:
    """Moves the edges of windows to where they hurt least."""

    def __init__(self, scale: Scale, settings: ProcessingSettings) -> None:
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

    def placed(self, start: float, end: float, room: Span) -> Window:
        """The window with its edges at pauses or cuts near by, inside *room*."""
        length = end - start
        reach = _reach(length)
        shortest = max(length - reach, min(length, self._profile.min_duration_seconds))
        longest = min(length + reach, max(length, self._profile.max_duration_seconds))
        raw = Window(self._raw(start), self._raw(end))
        pairs = product(
            [raw.start, *self._near(start, reach, room, is_start=True)],
            [raw.end, *self._near(end, reach, room, is_start=False)],
        )
        fitting = [
            Window(first, last)
            for first, last in pairs
            if shortest - 1e-9 <= last.at - first.at <= longest + 1e-9
        ]
        return min(
            fitting,
            key=lambda window: (self._cost(window, start, end), window.start.at, window.end.at),
            default=raw,
        )

    def _cost(self, window: Window, start: float, end: float) -> float:
        moved = abs(window.start.at - start) + abs(window.end.at - end)
        worth = self._scale.score(window.start.at, window.end.at) / _SCORE_OF_A_SECOND
        return round(moved + window.start.cost + window.end.cost - worth, 6)

    def _raw(self, at: float) -> Edge:
        if not self._scale.has_sound:
            return Edge(at, _IN_SPEECH, "where no cut is near")
        if self._analysis.is_silent_at(at):
            return Edge(at, _IN_PAUSE, "in a pause")
        return Edge(at, _IN_SPEECH, "where no pause or cut is near")

    def _near(self, at: float, reach: float, room: Span, *, is_start: bool) -> list[Edge]:
        earliest, latest = max(at - reach, room.start_seconds), min(at + reach, room.end_seconds)
        edges = [*self._pauses(earliest, latest, is_start=is_start), *self._cuts(earliest, latest)]
        border = 0.0 if is_start else self._analysis.duration_seconds
        edges.append(Edge(border, _AT_PAUSE, f"at the source's {'start' if is_start else 'end'}"))
        return [edge for edge in edges if earliest <= edge.at <= latest]

    def _pauses(self, earliest: float, latest: float, *, is_start: bool) -> list[Edge]:
        # A silent track is no pause: there is nothing before it or after it.
        silences = self._analysis.silences if self._scale.has_sound else ()
        first = bisect_left(silences, earliest, key=lambda silence: silence.end_seconds)
        last = bisect_right(silences, latest, key=lambda silence: silence.start_seconds)
        return [_edge_in(silence, is_start=is_start) for silence in silences[first:last]]

    def _cuts(self, earliest: float, latest: float) -> list[Edge]:
        cuts = self._analysis.cuts
        first = bisect_left(cuts, earliest, key=lambda cut: cut.at_seconds)
        last = bisect_right(cuts, latest, key=lambda cut: cut.at_seconds)
        return [self._cut_edge(cut.at_seconds) for cut in cuts[first:last]]

    def _cut_edge(self, at: float) -> Edge:
        if self._analysis.is_silent_at(at):
            return Edge(at, _AT_CUT, "at a cut")
        return Edge(at, _AT_CUT_IN_SPEECH, "at a cut")


def _edge_in(silence: Span, *, is_start: bool) -> Edge:
    start, end = silence.start_seconds, silence.end_seconds
    if is_start:
        return Edge(round(max(start, end - _BEFORE_WORD_SECONDS), 3), _AT_PAUSE, "after a pause")
    return Edge(round(min(end, start + _AFTER_WORD_SECONDS), 3), _AT_PAUSE, "at a pause")


def _reach(length: float) -> float:
    return min(SNAP_SECONDS, length / 3)


def _brokenness(edges: Sequence[Edge]) -> float:
    """1 where only the middle of speech will do, 0.5 where a cut lies in it, 0 otherwise."""
    least = min(edge.cost for edge in edges)
    return 1.0 if least >= _IN_SPEECH else 0.5 if least >= _AT_CUT_IN_SPEECH else 0.0
