"""Which parts of a source become clips: the choice as one function."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError
from videojobs.pipelines.analysis import BIN_SECONDS, SourceAnalysis, Span
from videojobs.pipelines.chosen import (
    ROUNDING_SECONDS,
    ChosenClip,
    ClipChooser,
    checked,
    in_order,
    to_the_millisecond,
)
from videojobs.pipelines.edges import Snap, Window
from videojobs.pipelines.weighing import Scale

if TYPE_CHECKING:
    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.profiles import PlatformProfile

#: What a clip lasts when nobody says otherwise and the source is long enough.
USUAL_CLIP_SECONDS = 15.0

#: Where there is a choice, a clip takes no more than this of its share of the source.
_SHARE = 2 / 3
_SHORT_CLIP_SECONDS = 3.0

#: Below this share of the best score, a region of the source goes without a clip.
_POOR = 0.5


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
    scale = Scale(analysis)
    snap = Snap(scale, settings)
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
    return checked(in_order(chooser(analysis, settings)), analysis.duration_seconds, settings)


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


def _best_windows(snap: Snap, whole: float, count: int, length: float) -> list[Window]:
    grid = _graded(snap, whole, length)
    free = _freely(snap, grid, whole, count, length)
    if len(free) == count:
        return free
    # The best left no room for the others: each keeps to its share of the source.
    regions = [Span(whole * place / count, whole * (place + 1) / count) for place in range(count)]
    return [snap.placed(*_best_in(region, grid, snap, length)[1:], region) for region in regions]


def _freely(
    snap: Snap, grid: Sequence[tuple[float, float]], whole: float, count: int, length: float
) -> list[Window]:
    """The best of each of a few regions, then the best that are left, wherever they are."""
    places = math.ceil(count / 2)
    regions = [Span(whole * n / places, whole * (n + 1) / places) for n in range(places)]
    leaders = sorted(
        (_best_in(region, grid, snap, length) for region in regions),
        key=lambda leader: (-leader[0], leader[1]),
    )
    good = [(start, end) for appeal, start, end in leaders if appeal >= _POOR * leaders[0][0]]
    others = sorted((-appeal, start) for start, appeal in grid)
    taken: list[Window] = []
    for start, end in [*good, *((start, start + length) for _, start in others)]:
        if len(taken) == count:
            break
        if (room := _room(start, end, taken, whole)) is not None:
            taken.append(snap.placed(start, end, room))
    return sorted(taken, key=lambda window: window.start.at)


def _graded(snap: Snap, whole: float, length: float) -> list[tuple[float, float]]:
    """Every start on the grid of the analysis, with the appeal of the window from there."""
    places = range(int(max(0.0, whole - length) / BIN_SECONDS) + 1)
    starts = [place * BIN_SECONDS for place in places]
    return [(start, snap.appeal(start, start + length)) for start in starts]


def _best_in(
    region: Span, grid: Sequence[tuple[float, float]], snap: Snap, length: float
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


def _room(start: float, end: float, taken: Sequence[Window], whole: float) -> Span | None:
    """What is free around the window; ``None`` when a part of it is not."""
    before = [window.end.at for window in taken if window.start.at < end]
    after = [window.start.at for window in taken if window.start.at >= end]
    room = Span(max(before, default=0.0), min(after, default=whole))
    return room if room.start_seconds <= start and end <= room.end_seconds else None


def _chosen(window: Window, scale: Scale) -> ChosenClip:
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
    if last > duration_seconds + ROUNDING_SECONDS:
        advice = "Give cuts that lie inside the source."
        raise ProcessingError(
            f"the last of the cuts ends at {last:g} s, and the source lasts "
            f"{duration_seconds:.3f} s. {advice}",
            code="cuts_outside_source",
            advice=advice,
        )
    return tuple(
        to_the_millisecond(
            ChosenClip(
                cut.start_seconds,
                min(cut.end_seconds, duration_seconds) - cut.start_seconds,
                reason="cut as given by the caller",
            )
        )
        for cut in settings.cuts
    )


def _refuse_short(duration_seconds: float, profile: PlatformProfile) -> None:
    if duration_seconds < profile.min_duration_seconds - ROUNDING_SECONDS:
        advice = "Send a longer video, or choose another platform."
        raise ProcessingError(
            f"the source lasts {duration_seconds:.1f} s, and {profile.name} takes nothing below "
            f"{profile.min_duration_seconds:g} s. {advice}",
            code="source_too_short",
            advice=advice,
        )


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_seconds):
        if joined and span.start_seconds <= joined[-1].end_seconds:
            end = max(joined[-1].end_seconds, span.end_seconds)
            joined[-1] = Span(joined[-1].start_seconds, end)
        else:
            joined.append(span)
    return tuple(joined)
