"""What one decode for the whole ladder saves, and what a ladder per title gives for the same bits."""

from __future__ import annotations

import math
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from videojobs.local import LocalStack
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.sample import make_sample
from videojobs.pipelines.plan import SOURCE_NAME
from videojobs.processor import ProcessingSettings, VideoProcessor
from videojobs.profiles import RENDITIONS

ROUNDS = 3
SECONDS = 8
HEIGHTS = (1080, 720, 480, 360)
LADDER_GOAL = 1.5
FIXED_KBPS = {f"{each.short_side}p": each.max_video_bitrate_kbps for each in RENDITIONS}

_SCORE = re.compile(r"VMAF score: ([\d.]+)")


def ladder(stack: LocalStack) -> Iterator[str]:
    """Four rungs from 1080p by one run of ours, and by a run for each; the medians, in turns."""
    del stack
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _source(root, "1920:1080")
        together: list[float] = []
        apart: list[float] = []
        for _ in range(ROUNDS):
            together.append(_run_seconds(root, HEIGHTS))
            apart.append(sum(_run_seconds(root, (height,)) for height in HEIGHTS))
    ours, single = statistics.median(together), statistics.median(apart)
    verdict = "ok" if single / ours >= LADDER_GOAL else "BELOW GOAL"
    yield (
        f"{'ladder of four, one run':34} ours {ours:6.2f} s  four runs {single:6.2f} s"
        f"  {single / ours:5.2f} times ours (goal {LADDER_GOAL}) {verdict}"
    )


def per_title(stack: LocalStack) -> Iterator[str]:
    """Each rung per title, and what the fixed ladder shows for as many bits; VMAF at 720p."""
    del stack
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _source(root, "1280:720")
        fixed = _fixed_ladder(root)
        for label, kbps, score in _title_ladder(root):
            yield f"{f'per title, {label} at {kbps} kbit/s':34} {_compared(score, _at(fixed, kbps))}"


def _compared(ours: float, fixed: float | None) -> str:
    if fixed is None:
        return f"VMAF {ours:5.1f}  fixed ladder has none of so few bits"
    verdict = "ok" if ours >= fixed else "BELOW THE FIXED LADDER"
    return f"VMAF {ours:5.1f}  fixed ladder {fixed:5.1f}  {ours - fixed:+5.1f} {verdict}"


def _source(root: Path, size: str) -> None:
    make_sample(root / "sample.mp4", find_ffmpeg())
    # From the third shot to the fourth: a cut, and pictures that move.
    _ffmpeg(
        root,
        *("-ss", 11, "-i", "sample.mp4", "-t", SECONDS, "-vf", f"scale={size}"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", 14, "-c:a", "aac", "-f", "mp4"),
        SOURCE_NAME,
    )


def _run_seconds(root: Path, heights: tuple[int, ...]) -> float:
    """The bare commands of our own plan, so that both ways encode alike."""
    wish = ProcessingSettings(pipeline="renditions", rendition_heights=heights)
    plan = VideoProcessor().plan(root / SOURCE_NAME, wish)
    start = time.perf_counter()
    for command in plan.commands(find_ffmpeg()):
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    return time.perf_counter() - start


def _fixed_ladder(root: Path) -> list[tuple[int, float]]:
    """Each rung at its constant rate."""
    return [_fixed_rung(root, height) for height in HEIGHTS[1:]]


def _fixed_rung(root: Path, height: int) -> tuple[int, float]:
    kbps = FIXED_KBPS[f"{height}p"]
    _ffmpeg(
        root,
        *("-i", SOURCE_NAME, "-an", "-vf", f"scale=-2:{height}", "-c:v", "libx264"),
        *("-preset", "veryfast", "-b:v", f"{kbps}k", "-maxrate", f"{kbps}k"),
        *("-bufsize", f"{2 * kbps}k", "-g", 50, f"fixed_{height}.mp4"),
    )
    return kbps, _vmaf(root, f"fixed_{height}.mp4")


def _title_ladder(root: Path) -> list[tuple[str, int, float]]:
    wish = ProcessingSettings(pipeline="renditions", rendition_heights=HEIGHTS, per_title=True)
    made = VideoProcessor(work_dir=root / "work").process(
        root / SOURCE_NAME, wish, output_dir=root / "title"
    )
    return [
        (
            output.name,
            _video_kbps(root / "title" / output.path),
            _vmaf(root, f"title/{output.path}"),
        )
        for output in made.output_files
        if output.kind == "video"
    ]


def _video_kbps(path: Path) -> int:
    """Of the picture alone, as the fixed ladder's rates are."""
    silent = path.with_suffix(".silent.mp4")
    _ffmpeg(path.parent, "-i", path.name, "-an", "-c", "copy", silent.name)
    return round(silent.stat().st_size * 8 / SECONDS / 1000)


def _at(rungs: list[tuple[int, float]], kbps: int) -> float | None:
    """What the ladder would show at that rate: between two rungs, by the logarithm of their rates."""
    for (low, worse), (high, better) in pairwise(sorted(rungs)):
        if low <= kbps <= high:
            return worse + (better - worse) * math.log(kbps / low) / math.log(high / low)
    return None


def _vmaf(root: Path, name: str) -> float:
    graph = "[0:v]scale=1280:720:flags=bicubic[shown];[shown][1:v]libvmaf=n_subsample=5"
    told = _ffmpeg(root, "-i", name, "-i", SOURCE_NAME, "-lavfi", graph, "-f", "null", "-")
    found = _SCORE.search(told)
    assert found, told
    return float(found[1])


def _ffmpeg(folder: Path, *arguments: object) -> str:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "info", "-y", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stderr
