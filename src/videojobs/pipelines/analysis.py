"""What a source shows and sounds like over time, and the one ffmpeg pass that finds it out.

The pass writes notes, frame by frame, under small names of our own. Reading them is pure.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError
from videojobs.models import QualityPreset
from videojobs.pipelines.graphs import Filter, SourceInput, analyse_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from videojobs.pipelines.settings import ProcessingSettings
    from videojobs.pipelines.source import SourceFacts

#: The curves of an analysis have one value for each half second.
BIN_SECONDS = 0.5

#: What the meter shows when there is nothing to hear.
SILENT_LUFS = -70.0

#: Beyond this, only the keyframes are looked at first: 0.2 of the time of a plain decode.
LONG_SOURCE_SECONDS = 600.0

PICTURE_NOTES, LOUDNESS_NOTES, LEVEL_NOTES = "picture.notes", "loudness.notes", "level.notes"

#: scdet's own default, in percent. ffmpeg's scdet(10) found the same cuts as PySceneDetect's
#: AdaptiveDetector; it comes at 1.02 of a decode, the latter at 1.28.
_CUT_SCORE = 10.0

_WIDTH = 320
#: Levels of 50 ms at 48 kHz: a pause between words is shorter than six of them, one between
#: sentences is longer.
_LEVEL_SAMPLES = 2400
_PAUSE_SECONDS = 0.3
_LONGEST_LEVEL_SECONDS = 0.15

#: A pause lies this far below the loudest tenth of its neighbourhood, or of the whole source.
_BELOW_NEAR_DB, _BELOW_ALL_DB = 18.0, 40.0
_QUIETEST_DB, _LOUDEST_PAUSE_DB = -70.0, -30.0
_NEIGHBOURHOOD_SECONDS = 10.0

#: How long the picture may go on after its last keyframe.
_LONGEST_GROUP_SECONDS = 12.0

_FRAME = re.compile(r"^frame:\d+\s+pts:\S+\s+pts_time:(-?[\d.]+(?:e[-+]?\d+)?)")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the source, in seconds from its start."""

    start_seconds: float
    end_seconds: float

    @property
    def duration_seconds(self) -> float:
        """How long it lasts."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True, slots=True)
class SceneCut:
    """Where one shot ends and the next begins."""

    at_seconds: float
    """The time of the new shot's first frame."""
    score: float
    """How different the two are, 10 to 100."""
    doubt_seconds: float = 0.0
    """How much earlier it may really be, where only keyframes were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnalysis:
    """A source over time: all that a `ClipChooser` may go by."""

    duration_seconds: float
    """How long there is a picture."""
    cuts: tuple[SceneCut, ...] = ()
    loudness_lufs: tuple[float, ...] = ()
    """Momentary loudness by EBU R 128, one value for each `BIN_SECONDS`; empty without sound."""
    motion: tuple[float, ...] = ()
    """How much neighbouring frames differ, 0 to 100, one value for each `BIN_SECONDS`."""
    silences: tuple[Span, ...] = ()
    """Pauses of 0.3 s and more: far below what is heard around them. Empty without sound."""
    black_parts: tuple[Span, ...] = ()
    is_exact: bool = True
    """Whether every frame was looked at. Otherwise cuts have their `SceneCut.doubt_seconds`, and
    motion is that between keyframes."""

    @property
    def has_sound(self) -> bool:
        """Whether there is anything to hear."""
        return any(level > SILENT_LUFS + 1 for level in self.loudness_lufs)

    @property
    def is_still(self) -> bool:
        """Whether the picture hardly ever changes."""
        return not self.cuts and max(self.motion, default=0.0) < 0.1

    def is_silent_at(self, seconds: float) -> bool:
        """Whether nobody is in the middle of a sentence at that moment."""
        place = bisect_right(self.silences, seconds, key=lambda silence: silence.start_seconds)
        is_within = place > 0 and seconds <= self.silences[place - 1].end_seconds
        return is_within or not self.loudness_lufs


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRun:
    """One ffmpeg process that takes notes."""

    arguments: tuple[str, ...]
    span: Span
    """What it goes through; the times in its notes count from its start."""
    is_exact: bool
    has_audio: bool
    cost_seconds: float
    """An estimate of its CPU time."""

    @property
    def deadline_seconds(self) -> float:
        """Wall time after which it is stopped: generous, since a busy machine is no error."""
        return 60.0 + 20.0 * self.cost_seconds + 2.0 * self.span.duration_seconds

    @property
    def notes(self) -> tuple[str, ...]:
        """The names of what it writes."""
        return (PICTURE_NOTES, *((LOUDNESS_NOTES, LEVEL_NOTES) if self.has_audio else ()))

    @property
    def max_notes_bytes(self) -> int:
        """None may grow beyond this: twice what 240 frames a second give."""
        return 16_000_000 + round(self.span.duration_seconds * 96_000)


def plan_analysis(facts: SourceFacts, settings: ProcessingSettings, *, threads: int) -> AnalysisRun:
    """One pass over the whole source: the sound in full, and of the picture what is worth it.

    Drafts and sources of over 10 minutes have only their keyframes decoded.
    """
    is_draft = settings.quality_preset is QualityPreset.DRAFT
    is_exact = not is_draft and facts.duration_seconds <= LONG_SOURCE_SECONDS
    whole = Span(0.0, facts.duration_seconds)
    return _run(facts, whole, is_exact=is_exact, has_audio=facts.audio is not None, threads=threads)


def plan_closer_look(facts: SourceFacts, span: Span, *, threads: int) -> AnalysisRun:
    """A pass over every frame of a short part, without sound."""
    return _run(facts, span, is_exact=True, has_audio=False, threads=threads)


def read_analysis(
    facts: SourceFacts,
    run: AnalysisRun,
    *,
    picture: Iterable[str],
    loudness: Iterable[str] = (),
    levels: Iterable[str] = (),
) -> SourceAnalysis:
    """The analysis of the whole source, from the lines of its three notes.

    Raises:
        ProcessingError: ``truncated_source``: picture and sound both end before they should.
    """
    seen, heard = list(_frames(picture)), _levels(levels)
    duration = _picture_seconds(facts, seen, heard, run)
    return SourceAnalysis(
        duration_seconds=duration,
        cuts=_cuts(seen, duration, is_exact=run.is_exact),
        loudness_lufs=_loudness_curve(loudness, duration) if run.has_audio else (),
        motion=_motion_curve(seen, duration, is_exact=run.is_exact),
        silences=silences_in(heard, duration) if run.has_audio else (),
        black_parts=_black_parts(seen, duration),
        is_exact=run.is_exact,
    )


def with_closer_look(
    analysis: SourceAnalysis, run: AnalysisRun, picture: Iterable[str]
) -> SourceAnalysis:
    """The same analysis, with the cuts of one part as every frame of it tells them."""
    start, end = run.span.start_seconds, run.span.end_seconds
    found = _cuts(list(_frames(picture)), run.span.duration_seconds, is_exact=True)
    others = [cut for cut in analysis.cuts if not start <= cut.at_seconds <= end]
    moved = [replace(cut, at_seconds=round(cut.at_seconds + start, 3)) for cut in found]
    return replace(analysis, cuts=tuple(sorted([*others, *moved], key=lambda cut: cut.at_seconds)))


def silences_in(levels: Sequence[tuple[float, float]], duration_seconds: float) -> tuple[Span, ...]:
    """The pauses, from pairs of seconds and decibels (RMS), one for each 50 ms or so.

    What counts as a pause follows the sound around it, so that a quiet talk after a loud song
    is heard, and a room's noise between sentences is not.
    """
    thresholds = _thresholds(levels) if levels else []
    pauses: list[Span] = []
    end_of_sound = 0.0
    for place, (at, decibels) in enumerate(levels):
        if decibels < thresholds[place]:
            continue
        pauses += _pause(end_of_sound, at)
        following = levels[place + 1][0] if place + 1 < len(levels) else at + 0.05
        end_of_sound = min(following, at + _LONGEST_LEVEL_SECONDS)
    return (*pauses, *_pause(end_of_sound, duration_seconds))


def _run(
    facts: SourceFacts, span: Span, *, is_exact: bool, has_audio: bool, threads: int
) -> AnalysisRun:
    video, audio = facts.video, facts.audio
    source = SourceInput(
        start_seconds=span.start_seconds or None,
        duration_seconds=round(span.duration_seconds, 3),
        video_index=video.stream_index if video else None,
        audio_index=audio.stream_index if audio and has_audio else None,
        threads=threads,
        only_keyframes=not is_exact,
    )
    return AnalysisRun(
        arguments=analyse_arguments(
            source, video=_picture(), sounds=(_loudness(), _level()) if has_audio else ()
        ),
        span=span,
        is_exact=is_exact,
        has_audio=has_audio,
        cost_seconds=_cost(facts, span, is_exact=is_exact),
    )


def _picture() -> tuple[Filter, ...]:
    return (
        Filter("scale", {"w": _WIDTH, "h": -2, "flags": "fast_bilinear"}),
        Filter("format", {"pix_fmts": "gray"}),
        # The note of a cut itself is not needed: each frame has its score.
        Filter("scdet", {"threshold": 100}),
        Filter("blackdetect", {"d": 0.3}),
        Filter("metadata", {"mode": "print", "file": PICTURE_NOTES}),
    )


def _loudness() -> tuple[Filter, ...]:
    return (
        Filter("ebur128", {"metadata": 1, "framelog": "quiet"}),
        Filter("ametadata", {"mode": "print", "key": "lavfi.r128.M", "file": LOUDNESS_NOTES}),
    )


def _level() -> tuple[Filter, ...]:
    measured = {"measure_perchannel": "none", "measure_overall": "RMS_level"}
    return (
        Filter("aresample", {"osr": 48000}),
        Filter("asetnsamples", {"n": _LEVEL_SAMPLES}),
        Filter("astats", {"metadata": 1, "reset": 1, **measured}),
        Filter("ametadata", {"mode": "print", "file": LEVEL_NOTES}),
    )


def _cost(facts: SourceFacts, span: Span, *, is_exact: bool) -> float:
    if facts.video is None:
        return 0.0
    megapixels = facts.video.width * facts.video.height / 1e6
    rate = float(facts.video.nominal_rate) / 30
    picture = 0.04 * megapixels * rate * (1.0 if is_exact else 0.15)
    return span.duration_seconds * (picture + 0.005)


def _frames(lines: Iterable[str]) -> Iterator[tuple[float, Mapping[str, float]]]:
    """Each frame's time and notes."""
    at, notes = None, dict[str, float]()
    for line in lines:
        if match := _FRAME.match(line):
            if at is not None:
                yield at, notes
            at, notes = max(0.0, float(match.group(1))), {}
        else:
            key, _, value = line.partition("=")
            notes[key.strip()] = _number(value)
    if at is not None:
        yield at, notes


def _number(text: str) -> float:
    """The value; far below everything for ``-inf``, ``nan`` and what is no number."""
    try:
        value = float(text)
    except ValueError:  # ffmpeg was ended in the middle of a line
        return -120.0
    return value if math.isfinite(value) else -120.0


def _levels(lines: Iterable[str]) -> list[tuple[float, float]]:
    return [
        (at, notes.get("lavfi.astats.Overall.RMS_level", -120.0)) for at, notes in _frames(lines)
    ]


def _picture_seconds(
    facts: SourceFacts,
    seen: Sequence[tuple[float, Mapping[str, float]]],
    heard: Sequence[tuple[float, float]],
    run: AnalysisRun,
) -> float:
    duration = facts.duration_seconds
    allowed = max(2.0, duration / 50)
    last = seen[-1][0] if seen else 0.0
    picture_end = last if run.is_exact else _end_after_keyframes([at for at, _ in seen])
    sound_end = heard[-1][0] if heard else 0.0
    if max(picture_end, sound_end) < duration - allowed:
        raise _truncated(max(last, sound_end), duration)
    return duration if picture_end >= duration - allowed else round(picture_end, 3)


def _end_after_keyframes(times: Sequence[float]) -> float:
    """Until when there may be a picture; a recording of a call has hardly a keyframe but the first."""
    if len(times) == 1:
        return math.inf
    longest_group = max((after - before for before, after in pairwise(times)), default=0.0)
    return max(times, default=0.0) + max(_LONGEST_GROUP_SECONDS, 2 * longest_group)


def _truncated(end: float, duration: float) -> ProcessingError:
    advice = "The upload probably broke off. Upload the file again."
    return ProcessingError(
        f"the source ends early: it says that it lasts {duration:.1f} s, and its picture and "
        f"sound end at second {end:.1f}. {advice}",
        code="truncated_source",
        advice=advice,
    )


def _cuts(
    seen: Sequence[tuple[float, Mapping[str, float]]], duration: float, *, is_exact: bool
) -> tuple[SceneCut, ...]:
    scores = [(at, notes.get("lavfi.scd.score", 0.0)) for at, notes in seen]
    return tuple(
        SceneCut(round(at, 3), score, 0.0 if is_exact else round(at - before, 3))
        for (before, _), (at, score) in pairwise(scores)
        if score >= _CUT_SCORE and 0 < at < duration
    )


def _motion_curve(
    seen: Sequence[tuple[float, Mapping[str, float]]], duration: float, *, is_exact: bool
) -> tuple[float, ...]:
    # A cut is told as one, and is no motion; between keyframes nobody can tell them apart.
    highest = _CUT_SCORE if is_exact else math.inf
    samples = [
        (at, max(0.0, notes.get("lavfi.scd.mafd", 0.0)))
        for at, notes in seen
        if notes.get("lavfi.scd.score", 0.0) < highest
    ]
    means = _binned(samples, duration)
    following = 0.0 if is_exact else next((mean for mean in reversed(means) if mean), 0.0)
    curve: list[float] = []
    for mean in reversed(means):
        # Between two frames that are far apart, the change is that of the later one.
        following = following if mean is None else mean
        curve.append(round(following, 3))
    return tuple(reversed(curve))


def _loudness_curve(lines: Iterable[str], duration: float) -> tuple[float, ...]:
    # A value stands for the 0.4 s before the end of its own 0.1 s.
    samples = [
        (max(0.0, at - 0.1), max(SILENT_LUFS, notes.get("lavfi.r128.M", SILENT_LUFS)))
        for at, notes in _frames(lines)
    ]
    return tuple(
        SILENT_LUFS if mean is None else round(mean, 1) for mean in _binned(samples, duration)
    )


def _binned(samples: Iterable[tuple[float, float]], duration: float) -> list[float | None]:
    count = max(1, math.ceil(duration / BIN_SECONDS))
    sums, counts = [0.0] * count, [0] * count
    for at, value in samples:
        place = int(at / BIN_SECONDS)
        if place < count:
            sums[place] += value
            counts[place] += 1
    return [total / n if n else None for total, n in zip(sums, counts, strict=True)]


def _black_parts(
    seen: Sequence[tuple[float, Mapping[str, float]]], duration: float
) -> tuple[Span, ...]:
    parts: list[Span] = []
    start: float | None = None
    for _, notes in seen:
        # A start without an end: filters that were built anew have lost it.
        start = notes.get("lavfi.black_start", start)
        if start is not None and "lavfi.black_end" in notes:
            parts.append(Span(start, min(notes["lavfi.black_end"], duration)))
            start = None
    # Black to the end has no note of its end.
    to_the_end = (Span(start, duration),) if start is not None else ()
    return tuple(part for part in (*parts, *to_the_end) if part.start_seconds < duration)


def _thresholds(levels: Sequence[tuple[float, float]]) -> list[float]:
    """For each level, what it must reach to be heard."""
    times, heard = [at for at, _ in levels], [decibels for _, decibels in levels]
    loudest, count = _loud(heard, share=20), int(times[-1] / _NEIGHBOURHOOD_SECONDS) + 1
    borders = [bisect_left(times, block * _NEIGHBOURHOOD_SECONDS) for block in range(count + 1)]
    # Each block of 10 s with its neighbour on either side.
    pairs = [
        _loud(heard[borders[block] : borders[min(block + 2, count)]], share=5)
        for block in range(max(1, count - 1))
    ]
    # The quieter pair counts: a talk is not drowned by the song before it.
    near = [min(pairs[max(0, block - 1) : block + 1]) for block in range(count)]
    return [_threshold(near[int(at / _NEIGHBOURHOOD_SECONDS)], loudest) for at in times]


def _threshold(near: float, loudest: float) -> float:
    local = min(_LOUDEST_PAUSE_DB, near - _BELOW_NEAR_DB)
    return max(_QUIETEST_DB, loudest - _BELOW_ALL_DB, local)


def _loud(levels: Sequence[float], *, share: int) -> float:
    """The median of the loudest fifth, or another share: a click does not move it."""
    return median(sorted(levels)[-max(1, len(levels) // share) :]) if levels else -120.0


def _pause(start: float, end: float) -> tuple[Span, ...]:
    is_long = end - start >= _PAUSE_SECONDS - 1e-6
    return (Span(round(start, 3), round(end, 3)),) if is_long else ()
