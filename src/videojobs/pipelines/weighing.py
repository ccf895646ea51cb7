"""How good a part of a source is, from its analysis."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from statistics import median

from videojobs.pipelines.analysis import BIN_SECONDS, SILENT_LUFS, SourceAnalysis, Span

#: What the parts of a score weigh. Without sound, or with a still picture, the others count alone.
_LOUDNESS, _SPEECH, _MOTION, _CUTS = 0.35, 0.2, 0.3, 0.15


class Scale:
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
