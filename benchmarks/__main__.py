"""``make bench``: every figure of the project, in one run on one machine.

``python -m benchmarks drain wal`` runs these parts alone, ``queue`` stands for all parts about
queues. ``FOOTAGE=/path/of/a/video`` has the part ``quality`` measure that one too.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks import (
    analysis,
    api,
    bulk,
    calls,
    clips,
    films,
    flatness,
    ladders,
    live,
    quality,
    queue,
    video,
)
from videojobs.local import LocalStack

NODE_MODULES = (
    Path(os.environ.get("VIDEOJOBS_PARTS") or Path(__file__).parents[1] / ".parts") / "node_modules"
)
PARTS: dict[str, Callable[[LocalStack], Iterable[str]]] = {
    "calls": calls.lines,
    "api": api.lines,
    "bulk": bulk.create_many,
    "analysis": analysis.against_decode,
    "video": video.worker_against_ffmpeg,
    "clips": clips.lines,
    "quality": quality.lines,
    "films": films.lines,
    "ladder": ladders.ladder,
    "per_title": ladders.per_title,
    "flatness": flatness.lines,
    "live": live.lines,
    **queue.PARTS,
}


def main(names: Sequence[str]) -> None:
    """Print a line for each figure of these parts, or of all."""
    chosen = _chosen(names)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    with LocalStack.start(rest="calls" in chosen, durable=True, postgrest=NODE_MODULES) as stack:
        for name in chosen:
            for line in PARTS[name](stack):
                print(line, flush=True)


def _chosen(names: Sequence[str]) -> list[str]:
    wanted = {each for name in names for each in (queue.PARTS if name == "queue" else [name])}
    if unknown := wanted - PARTS.keys():
        sys.exit(f"there is no {', '.join(sorted(unknown))}; choose of queue, {', '.join(PARTS)}")
    return [name for name in PARTS if name in wanted or not wanted]


if __name__ == "__main__":
    main(sys.argv[1:])
