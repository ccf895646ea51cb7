"""Small sources: good ones, one that is not a video, and one that is not there."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from videojobs.media.ffmpeg import find_ffmpeg

_GOOD = {"two.mp4": 2, "four.mp4": 4, "six.mp4": 6}


@dataclass(frozen=True, slots=True)
class Source:
    """What a job may be asked to work on."""

    url: str
    expected_error: str | None = None


_SOURCES = (
    *(Source(name) for name in _GOOD),
    *(Source(name) for name in _GOOD),
    Source("corrupt.mp4", "corrupt_source"),
    Source("gone.mp4", "missing_source"),
)


def make_videos(folder: Path) -> None:
    """The folder holds all sources, but the missing one."""
    for name, seconds in _GOOD.items():
        subprocess.run(
            [
                *(find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin"),
                *("-f", "lavfi", "-i", f"testsrc2=size=160x90:rate=10:duration={seconds}"),
                *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"),
                *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
                str(folder / name),
            ],
            check=True,
        )
    (folder / "corrupt.mp4").write_bytes(b"this is no video" * 64)


def any_source(chance: random.Random) -> Source:
    """One of eight; six are good."""
    return chance.choice(_SOURCES)
