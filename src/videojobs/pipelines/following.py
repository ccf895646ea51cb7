"""Where the subject is, and how a cut-out follows it as a calm camera would.

The subject is what moves; where nothing does, it is where the picture has most detail. For each
shot of the source, the cheapest way through all its samples is found: it gains by what it keeps in
view and pays for each step. So it holds still until moving is worth it, and sees ahead.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import sub
from statistics import fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from videojobs.pipelines.plan import CropRange

#: Pictures that are looked at in a second.
SAMPLES_PER_SECOND = 5

#: The longer side of the copy that is looked at; in it, a face is still some pixels.
LONG_SIDE = 96

#: Below that difference of two pixels, it is the camera's noise.
_NOISE = 10
_DETAIL_WEIGHT = 0.05
_PRICE_OF_A_STEP = 0.08
_PULL_TO_THE_MIDDLE = 0.1

#: Half of the cut-out's own size in a second, at the most.
_SIZES_PER_SECOND = 0.5

#: Two moving means of 1 s: no path starts or stops at once.
_REACH = 2

#: A path that stays within this share of the cut-out's size is no path.
_DEAD_ZONE = 0.15

#: How far the straight pieces may be from the smooth path, as shares of the cut-out's size: the
#: next where the one before leaves too many of them.
_CLOSENESS = (0.004, 0.016, 0.064)

#: ffmpeg evaluates the expression for each frame.
_MOST_TERMS = 600

#: What is noted as a cut changes a pixel by 25 in the mean. Where a picture from before it comes
#: back this nearly, within so many samples, it was a flash.
_ALIKE = 12
_FLASH_SAMPLES = 3

#: What a difference of two pixels counts as motion or detail; negative ones count from the end.
_CHANGE = [abs(step) if abs(step) > _NOISE else 0 for step in (*range(256), *range(-255, 0))]

#: ffmpeg 9 takes 90 terms in a row, and 98 no more.
_TERMS_IN_A_ROW = 40


@dataclass(frozen=True, slots=True)
class Knot:
    """Where the cut-out is at a time."""

    seconds: float
    pixels: float


@dataclass(frozen=True, slots=True)
class ShotPath:
    """The way of the cut-out through one shot: straight from knot to knot, and still outside."""

    start_seconds: float
    knots: tuple[Knot, ...]

    def at(self, seconds: float) -> float:
        """The place at that time."""
        after = bisect_right(self.knots, seconds, key=lambda knot: knot.seconds)
        if after == 0 or after == len(self.knots):
            return self.knots[max(0, after - 1)].pixels
        one, two = self.knots[after - 1], self.knots[after]
        share = (seconds - one.seconds) / (two.seconds - one.seconds)
        return one.pixels + share * (two.pixels - one.pixels)


@dataclass(frozen=True, slots=True)
class Grid:
    """The samples' size, and how the cut-out's axis lies in them."""

    width: int
    height: int
    axis: str

    @property
    def length(self) -> int:
        """Places along the axis."""
        return self.width if self.axis == "x" else self.height

    def sums(self, values: Sequence[int]) -> list[int]:
        """What stands at each place along the axis."""
        if self.axis == "x":
            return [sum(values[place :: self.width]) for place in range(self.width)]
        return [
            sum(values[start : start + self.width]) for start in range(0, len(values), self.width)
        ]


def subject_path(
    samples: Sequence[bytes],
    cuts: Sequence[float],
    *,
    grid: Grid,
    span: CropRange,
    go_on: Callable[[], None] = lambda: None,
) -> tuple[ShotPath, ...]:
    """The cut-out's way through grey samples of a clip, shot by shot.

    *cuts* are the seconds at which the source cuts; only there may the place jump. *go_on* is called
    for each sample; what it raises ends the search.
    """
    shots = _shots(samples, [cut for cut in cuts if not _is_flash(samples, cut)])
    ways = [_shot_path(*shot, grid=grid, span=span, go_on=go_on) for shot in shots]
    paths = _few_enough(ways, span)
    if len(paths) > _MOST_TERMS // 2:
        paths = paths[:1]
    return tuple(paths) or (ShotPath(0.0, (Knot(0.0, span.middle),)),)


def place_expression(paths: Sequence[ShotPath], span: CropRange, *, frame_seconds: float) -> str:
    """The way as an expression of ``t`` for ffmpeg's crop; commas escaped as a graph needs it."""
    terms: list[str] = []
    before = 0.0
    for path in paths:
        # Half a frame early: a frame's time is rounded, and must not fall before the cut.
        since = max(0.0, path.start_seconds - frame_seconds / 2)
        first = path.knots[0].pixels
        terms += _jump(first - before, since) + _slopes(path, paths)
        before = path.knots[-1].pixels
    rows = [terms[at : at + _TERMS_IN_A_ROW] for at in range(0, len(terms), _TERMS_IN_A_ROW)]
    whole = "+".join(f"({'+'.join(row)})" for row in rows if row) or "0"
    return f"clip({whole}\\,0\\,{span.room})"


def _few_enough(ways: Sequence[ShotPath], span: CropRange) -> list[ShotPath]:
    """The paths in straight pieces, coarser ones where there are many; or each as a single place."""
    for closeness in _CLOSENESS:
        paths = [_simplified(way, closeness * span.size) for way in ways]
        if sum(len(path.knots) + 1 for path in paths) <= _MOST_TERMS:
            return paths
    return [ShotPath(way.start_seconds, (_mean_knot(way),)) for way in ways]


def _jump(pixels: float, since: float) -> list[str]:
    if since == 0:
        return [f"{pixels:.3f}"]
    return [f"{pixels:.3f}*gte(t\\,{since:.4f})"] if abs(pixels) >= 0.001 else []


def _slopes(path: ShotPath, paths: Sequence[ShotPath]) -> list[str]:
    """Each knot bends the way: what comes after it is that much steeper."""
    bends: list[str] = []
    steepness = 0.0
    for one, two in (*pairwise(path.knots), (path.knots[-1], None)):
        own = 0.0 if two is None else (two.pixels - one.pixels) / (two.seconds - one.seconds)
        if abs(own - steepness) >= 1e-6:
            bends.append(f"{own - steepness:.6f}*max(0\\,t-{one.seconds:.4f})")
        steepness = own
    return bends


def _is_flash(samples: Sequence[bytes], cut: float) -> bool:
    """Whether the same shot goes on after what looked like a cut."""
    first = _first_after(samples, cut)
    before = samples[max(0, first - _FLASH_SAMPLES) : first]
    after = samples[first : first + _FLASH_SAMPLES]
    return any(_difference(old, new) < _ALIKE for old in before for new in after)


def _difference(one: bytes, two: bytes) -> float:
    """In the mean, over a seventh of the pixels."""
    steps = list(map(sub, one[::7], two[::7]))
    return sum(map(abs, steps)) / len(steps)


def _first_after(samples: Sequence[bytes], cut: float) -> int:
    # A sample shows the last frame before the middle of the way to the next one.
    return min(len(samples), int(cut * SAMPLES_PER_SECOND + 0.5))


def _shots(
    samples: Sequence[bytes], cuts: Sequence[float]
) -> list[tuple[float, int, Sequence[bytes]]]:
    """Each shot's start, the number of its first sample, and its samples."""
    shots: list[tuple[float, int, Sequence[bytes]]] = []
    firsts = [_first_after(samples, cut) for cut in sorted(cuts)]
    edges = [(0.0, 0), *zip(sorted(cuts), firsts, strict=True)]
    for (start, first), (_, end) in pairwise([*edges, (0.0, len(samples))]):
        if end > first:
            shots.append((start if shots else 0.0, first, samples[first:end]))
    return shots


def _shot_path(
    start: float,
    first: int,
    samples: Sequence[bytes],
    *,
    grid: Grid,
    span: CropRange,
    go_on: Callable[[], None],
) -> ShotPath:
    scale = (span.size + span.room) / grid.length
    size = max(1, round(span.size / scale))
    places = _smoothed(_best_places(_interest(samples, grid, go_on), size, go_on))
    if max(places) - min(places) <= max(2.0, _DEAD_ZONE * size):
        places = [median(places)]
    # The samples' grid is coarser than the picture, so that its last place may lie outside.
    pixels = [min(float(span.room), place * scale) for place in places]
    knots = [
        # The first sample may show a frame that came a little later than its time says.
        Knot(max(start, (first + number) / SAMPLES_PER_SECOND), place)
        for number, place in enumerate(pixels)
    ]
    return ShotPath(start, tuple(knots))


def _interest(samples: Sequence[bytes], grid: Grid, go_on: Callable[[], None]) -> list[list[float]]:
    """For each sample, how much there is to see at each place; 1 in the mean of all samples."""
    motions = [[0] * grid.length]
    for before, after in pairwise(samples):
        go_on()
        motions.append(_motion(before, after, grid))
    if len(motions) > 1:
        motions[0] = motions[1]
    # Detail decides where nothing moves, and there it stays: a look a second will do.
    looks = [_detail(each, grid) for each in samples[::SAMPLES_PER_SECOND]]
    details = [looks[number // SAMPLES_PER_SECOND] for number in range(len(samples))]
    found = [
        [moved + _DETAIL_WEIGHT * still for moved, still in zip(motion, detail, strict=True)]
        for motion, detail in zip(motions, details, strict=True)
    ]
    mean = fmean(map(sum, found)) or 1.0
    return [[value / mean for value in places] for places in found]


def _motion(before: bytes, after: bytes, grid: Grid) -> list[int]:
    return grid.sums([_CHANGE[step] for step in map(sub, before, after)])


def _detail(sample: bytes, grid: Grid) -> list[int]:
    return grid.sums([*(_CHANGE[step] for step in map(sub, sample, sample[1:])), 0])


def _best_places(
    interest: Sequence[Sequence[float]], size: int, go_on: Callable[[], None]
) -> list[int]:
    """The places, sample by sample, whose gain less the price of all steps is the most."""
    count = len(interest[0]) - size + 1
    reach = max(1, round(size * _SIZES_PER_SECOND / SAMPLES_PER_SECOND))
    best = _gains(interest[0], size)
    came_from: list[list[int]] = []
    for places in interest[1:]:
        go_on()
        origins = [_origin(best, place, reach) for place in range(count)]
        gains = _gains(places, size)
        best = [
            best[origin] - _PRICE_OF_A_STEP * abs(place - origin) + gains[place]
            for place, origin in enumerate(origins)
        ]
        came_from.append(origins)
    way = [max(range(count), key=best.__getitem__)]
    for origins in reversed(came_from):
        way.append(origins[way[-1]])
    return way[::-1]


def _origin(best: Sequence[float], place: int, reach: int) -> int:
    near = range(max(0, place - reach), min(len(best), place + reach + 1))
    return max(near, key=lambda origin: best[origin] - _PRICE_OF_A_STEP * abs(place - origin))


def _gains(interest: Sequence[float], size: int) -> list[float]:
    """What each place of the cut-out shows; what is near its middle counts up to three times."""
    sums = [0.0, *accumulate(interest)]
    count = len(interest) - size + 1
    half, quarter = max(1, size // 2), max(1, size // 4)

    def seen(place: int, inner: int) -> float:
        begin = place + (size - inner) // 2
        return sums[begin + inner] - sums[begin]

    middle = (count - 1) / 2 or 1.0
    return [
        seen(place, size) + seen(place, half) + seen(place, quarter)
        - _PULL_TO_THE_MIDDLE * ((place - middle) / middle) ** 2
        for place in range(count)
    ]  # fmt: skip


def _smoothed(places: Sequence[float]) -> list[float]:
    for _ in range(2):
        padded = [*([places[0]] * _REACH), *places, *([places[-1]] * _REACH)]
        places = [fmean(padded[at : at + 2 * _REACH + 1]) for at in range(len(places))]
    return list(places)


def _simplified(path: ShotPath, tolerance: float) -> ShotPath:
    """The fewest of its knots between which no other is further from the straight line."""
    knots = path.knots
    kept = {0, len(knots) - 1}
    pieces = [(0, len(knots) - 1)]
    while pieces:
        first, last = pieces.pop()
        line = ShotPath(0.0, (knots[first], knots[last]))
        distances = [abs(each.pixels - line.at(each.seconds)) for each in knots[first : last + 1]]
        farthest = first + max(range(len(distances)), key=distances.__getitem__)
        if distances[farthest - first] > tolerance:
            kept.add(farthest)
            pieces += [(first, farthest), (farthest, last)]
    return ShotPath(path.start_seconds, tuple(knots[place] for place in sorted(kept)))


def _mean_knot(path: ShotPath) -> Knot:
    return Knot(path.knots[0].seconds, fmean(knot.pixels for knot in path.knots))
