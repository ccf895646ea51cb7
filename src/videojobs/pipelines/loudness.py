"""Reading the EBU R 128 meter, and the gain that brings a sound to its target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from videojobs.pipelines.plan import LoudnessGoal

#: The meter's own floor: below it, nothing was heard.
SILENCE_LUFS = -69.0

#: More gain than this would raise the noise of a quiet room rather than a voice.
MAX_GAIN_DB = 24.0

#: How far off the target a file may be without a warning.
TOLERANCE_LU = 1.0

#: The limiter works 1 dB below the ceiling, and AAC moves a peak by up to another.
_LIMITED_WITHIN_DB = 2.0

_INTEGRATED = re.compile(r"^\s*I:\s+(-?[\d.]+|-inf|nan) LUFS")
_PEAK = re.compile(r"^\s*Peak:\s+(-?[\d.]+|-inf|nan) dBFS")


@dataclass(frozen=True, slots=True)
class Loudness:
    """What the meter said."""

    integrated_lufs: float
    true_peak_dbtp: float

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to make louder."""
        return self.integrated_lufs <= SILENCE_LUFS


def read_loudness(lines: Sequence[str]) -> Loudness | None:
    """The meter's summary from ffmpeg's log; ``None`` when there is none."""
    integrated, peak = _last(_INTEGRATED, lines), _last(_PEAK, lines)
    if integrated is None or peak is None:
        return None
    return Loudness(integrated, peak)


def first_gain(measured: Loudness, goal: LoudnessGoal) -> float:
    """The gain in decibels that would bring the sound to its target without a limiter."""
    if measured.is_silent:
        return 0.0
    return _within(goal.target_lufs - measured.integrated_lufs)


def needs_another_look(measured: Loudness, goal: LoudnessGoal, gain_db: float) -> bool:
    """Whether the limiter will take so much that the gain must make up for it."""
    return not measured.is_silent and measured.true_peak_dbtp + gain_db > goal.ceiling_dbtp + 1


def corrected_gain(gain_db: float, achieved: Loudness, goal: LoudnessGoal) -> float:
    """The gain once the sound was measured behind the limiter; at most 6 dB more than before."""
    missing = goal.target_lufs - achieved.integrated_lufs
    return _within(gain_db + max(-6.0, min(6.0, missing)))


def loudness_warning(name: str, achieved: Loudness, goal: LoudnessGoal) -> str | None:
    """What to tell when the target was missed for a good reason (else there is a `loudness_error`)."""
    if achieved.is_silent:
        return f"{name} is silent"
    if abs(achieved.integrated_lufs - goal.target_lufs) <= TOLERANCE_LU:
        return None
    return (
        f"{name} has a loudness of {achieved.integrated_lufs:.1f} LUFS instead of "
        f"{goal.target_lufs:g}: its sound is too quiet or too uneven for more"
    )


def loudness_error(
    name: str, achieved: Loudness, goal: LoudnessGoal, gain_db: float
) -> ProcessingError | None:
    """The error for a target that was missed although nothing stood in the way.

    Silence, a peak at the limiter and the most gain that is given are good reasons: to meet the
    target in spite of them would harm the sound, so that they are worth a warning only.
    """
    is_met = abs(achieved.integrated_lufs - goal.target_lufs) <= TOLERANCE_LU
    is_limited = achieved.true_peak_dbtp >= goal.ceiling_dbtp - _LIMITED_WITHIN_DB
    if is_met or is_limited or achieved.is_silent or abs(gain_db) >= MAX_GAIN_DB:
        return None
    advice = "Try again; if it happens again, report it with the source."
    return ProcessingError(
        f"{name} was made but has a loudness of {achieved.integrated_lufs:.1f} LUFS instead of "
        f"{goal.target_lufs:g}. {advice}",
        code="invalid_output",
        advice=advice,
    )


def _within(gain_db: float) -> float:
    return round(max(-MAX_GAIN_DB, min(MAX_GAIN_DB, gain_db)), 2)


def _last(pattern: re.Pattern[str], lines: Sequence[str]) -> float | None:
    found = [match.group(1) for line in lines if (match := pattern.match(line))]
    if not found:
        return None
    return -99.0 if found[-1] in ("-inf", "nan") else float(found[-1])
