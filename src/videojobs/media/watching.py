"""Reads what a watch has left: small grey pictures, and the times of cuts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingCancelledError
from videojobs.pipelines.exposure import exposure_gamma
from videojobs.pipelines.following import Grid, place_expression, subject_path
from videojobs.pipelines.plan import Findings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from videojobs.pipelines.plan import PlannedOutput, Watch

_CUT = re.compile(r"^lavfi\.scd\.time=([\d.]+)$", re.MULTILINE)


def seen_in(
    folder: Path, watch: Watch, output: PlannedOutput, should_stop: Callable[[], bool]
) -> Findings:
    """Where the cut-out goes and how light the picture is. The files are gone afterwards.

    Raises:
        ProcessingCancelledError: It was to stop.
    """

    def go_on() -> None:
        if should_stop():
            raise ProcessingCancelledError

    pictures = _pictures(folder / watch.frames_name, watch.width * watch.height)
    cuts = _cuts(folder / watch.cuts_name) if watch.cuts_name else []
    gamma = exposure_gamma(pictures)
    if watch.span is None:
        return Findings(gamma=gamma)
    grid = Grid(watch.width, watch.height, watch.span.axis)
    paths = subject_path(pictures, cuts, grid=grid, span=watch.span, go_on=go_on)
    frame_seconds = float(1 / output.frame_rate) if output.frame_rate else 0.04
    place = place_expression(paths, watch.span, frame_seconds=frame_seconds)
    return Findings(gamma=gamma, place=place)


def _pictures(path: Path, size: int) -> list[bytes]:
    data = path.read_bytes()
    path.unlink()
    return [data[start : start + size] for start in range(0, len(data) - size + 1, size)]


def _cuts(path: Path) -> list[float]:
    # Without a cut, there is no such file.
    text = path.read_text(encoding="ascii") if path.exists() else ""
    path.unlink(missing_ok=True)
    return [float(time) for time in _CUT.findall(text)]
