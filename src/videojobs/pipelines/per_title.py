"""Per title: which rungs and rates a source needs, by a short probe of its own pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videojobs.pipelines.framing import Rung
    from videojobs.pipelines.source import Complexity

SAMPLE_COUNT = 3
SAMPLE_SECONDS = 2.0

#: A rung of which the next larger one costs less than this much more is no saving to anybody.
_WORTHWHILE = 1.3

#: Apple's lowest rate in the HLS authoring specification: whoever can stream at all has as much.
_LOWEST_KBPS = 145

#: The samples may have missed the hardest part; a capped CRF encode uses the room only there.
_MARGIN = 1.5
_LEAST_CEILING_KBPS = 100

_SCORE = re.compile(r"VMAF score: ([\d.]+)")


def sample_starts(duration_seconds: float) -> tuple[float, ...]:
    """Where the samples begin: in the middle of each third, or one at the start of a short source."""
    if duration_seconds < SAMPLE_COUNT * SAMPLE_SECONDS:
        return (0.0,)
    third = duration_seconds / SAMPLE_COUNT
    middles = (third * (number + 0.5) for number in range(SAMPLE_COUNT))
    return tuple(round(middle - SAMPLE_SECONDS / 2, 3) for middle in middles)


def picked_rungs(rungs: Sequence[Rung], kbps: Mapping[str, int]) -> tuple[Rung, ...]:
    """The rungs that this content needs, largest first, each with the ceiling that it needs.

    The largest is always kept, so that nobody sees less than before. A smaller one goes when the
    one above costs less than 1.3 times as much, and when one above suits the slowest connection.
    """
    kept: list[Rung] = []
    for rung in rungs:
        above = kbps[kept[-1].name] if kept else None
        if above is None or (above > _LOWEST_KBPS and above >= _WORTHWHILE * kbps[rung.name]):
            kept.append(rung)
    return tuple(
        replace(rung, max_video_bitrate_kbps=_ceiling(rung, kbps[rung.name])) for rung in kept
    )


def per_title_report(rungs: Sequence[Rung], picked: Sequence[Rung], complexity: Complexity) -> str:
    """The bits saved and the quality lost against a ladder of the usual constant rates."""
    fixed = sum(rung.max_video_bitrate_kbps for rung in rungs)
    # A short sample may exceed its ceiling; a whole film does not.
    needed = sum(min(complexity.kbps[r.name], r.max_video_bitrate_kbps) for r in picked)
    told = (
        f"per title: {len(picked)} of {len(rungs)} rungs ({', '.join(r.name for r in picked)}) "
        f"save {fixed - needed:,} of the fixed ladder's {fixed:,} kbit/s"
    )
    if complexity.vmaf is None or complexity.fixed_vmaf is None:
        return f"{told}; this ffmpeg cannot measure VMAF"
    lost = max(0.0, complexity.fixed_vmaf - complexity.vmaf)
    return f"{told}, and lose {lost:.1f} of VMAF {complexity.fixed_vmaf:.1f} at {picked[0].name}"


def read_vmaf(lines: Sequence[str]) -> float | None:
    """The score from ffmpeg's log; ``None`` when there is none."""
    found = [float(match[1]) for line in lines if (match := _SCORE.search(line))]
    return found[-1] if found else None


def _ceiling(rung: Rung, kbps: int) -> int:
    needed = max(_LEAST_CEILING_KBPS, ceil(kbps * _MARGIN))
    return min(rung.max_video_bitrate_kbps, needed)
