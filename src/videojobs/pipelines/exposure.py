"""How light a clip is, and the gamma that brings it nearer to what an eye expects."""

from __future__ import annotations

from math import log
from statistics import fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Between these, of 0 for black and 1 for white, a picture is as light as it was meant to be.
_DARKEST, _LIGHTEST = 0.28, 0.65

#: Below, it is a black picture: the dark that a title stands on.
_BLACK = 0.03

#: A night must stay a night: no correction is stronger.
_LEAST_GAMMA, _MOST_GAMMA = 0.85, 1.25


def exposure_gamma(pictures: Sequence[bytes]) -> float:
    """The gamma for grey pictures of one clip: 1 for most, above 1 makes lighter.

    The median picture decides, so that a fade or a flash does not.
    """
    lightness = median(fmean(picture) / 255 for picture in pictures) if pictures else 0.0
    if lightness < _BLACK or _DARKEST <= lightness <= _LIGHTEST:
        return 1.0
    aim = _DARKEST if lightness < _DARKEST else _LIGHTEST
    wanted = log(lightness) / log(aim) if lightness < 1 else _LEAST_GAMMA
    return round(max(_LEAST_GAMMA, min(_MOST_GAMMA, wanted)), 3)
