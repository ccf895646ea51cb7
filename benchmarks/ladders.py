"""What one decode for the whole ladder saves, and what a ladder per title gives for the same bits."""

from __future__ import annotations

import math
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


class _Rung(NamedTuple):
    kbps: int
    vmaf: float


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
    """Each rung per title, and the same rung at a constant rate of as many bits; VMAF at 720p.

    The fixed ladder is made by the same command lines with a constant rate in place of the quality,
    so that nothing but the choice of bits differs. An easy source shows what is saved.
    """
    del stack
    for name, make in (("lively", _source_of_shots), ("easy", _easy_source)):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root)
            yield from _title_lines(name, root)


def _title_lines(name: str, root: Path) -> Iterator[str]:
    fixed = {height: _constant(root, height, 1.0) for height in HEIGHTS[1:]}
    made = _title_ladder(root)
    for height, ours in made.items():
        label = f"per title, {name}, {height}p at {ours.kbps} kbit/s"
        half = _constant(root, height, 0.5)
        if half.kbps <= ours.kbps <= fixed[height].kbps:
            yield f"{label:42} {_compared(ours.vmaf, _between(half, fixed[height], ours.kbps))}"
    best, top = fixed[HEIGHTS[1]], made[HEIGHTS[1]]
    usual, needed = (sum(rung.kbps for rung in rungs.values()) for rungs in (fixed, made))
    yield (
        f"{f'per title, {name}, {len(made)} of {len(fixed)} rungs':42} {needed} of the fixed ladder's "
        f"{usual} kbit/s  {1 - needed / usual:.0%} saved  VMAF {top.vmaf:5.1f} of {best.vmaf:5.1f}"
    )


def _compared(ours: float, fixed: float) -> str:
    verdict = "ok" if ours >= fixed else "BELOW THE FIXED LADDER"
    return f"VMAF {ours:5.1f}  constant rate {fixed:5.1f}  {ours - fixed:+5.1f} {verdict}"


def _source_of_shots(root: Path) -> None:
    _source(root, "1280:720")


def _easy_source(root: Path) -> None:
    """Bars that stand still, and a small box that moves: a talk before slides."""
    box = f"color=white:size=80x80:rate=30:duration={SECONDS}"
    _ffmpeg(
        root,
        *("-f", "lavfi", "-i", f"smptehdbars=size=1280x720:rate=30:duration={SECONDS}"),
        *("-f", "lavfi", "-i", box, "-filter_complex", "[0][1]overlay=x=100+40*t:y=500"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", 14, "-pix_fmt", "yuv420p"),
        *("-f", "mp4", SOURCE_NAME),
    )


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


def _constant(root: Path, height: int, share: float) -> _Rung:
    """The rung by our own command line, at that share of the fixed ladder's rate."""
    kbps = round(FIXED_KBPS[f"{height}p"] * share)
    wish = ProcessingSettings(pipeline="renditions", rendition_heights=(height,))
    plan = VideoProcessor().plan(root / SOURCE_NAME, wish)
    (command,) = plan.commands(find_ffmpeg())
    rates = {"-crf": ("-b:v", f"{kbps}k"), "-maxrate": ("-maxrate", f"{kbps}k")}
    rates["-bufsize"] = ("-bufsize", f"{2 * kbps}k")
    wanted: list[str] = []
    words = iter(command)
    for word in words:
        wanted += rates.get(word, (word,))
        if word in rates:
            next(words)
    subprocess.run(wanted, cwd=root, check=True, capture_output=True)
    made = (root / plan.outputs[0].part_name).rename(root / f"fixed_{height}_{kbps}.mp4")
    return _Rung(_video_kbps(made), _vmaf(root, made.name))


def _title_ladder(root: Path) -> dict[int, _Rung]:
    wish = ProcessingSettings(pipeline="renditions", rendition_heights=HEIGHTS, per_title=True)
    made = VideoProcessor(work_dir=root / "work").process(
        root / SOURCE_NAME, wish, output_dir=root / "title"
    )
    return {
        output.height or 0: _Rung(
            _video_kbps(root / "title" / output.path), _vmaf(root, f"title/{output.path}")
        )
        for output in made.output_files
        if output.kind == "video"
    }


def _video_kbps(path: Path) -> int:
    """As it came out, of the picture alone: a constant rate is missed by a tenth in so short a film."""
    silent = path.with_suffix(".silent.mp4")
    _ffmpeg(path.parent, "-i", path.name, "-an", "-c", "copy", silent.name)
    return round(silent.stat().st_size * 8 / SECONDS / 1000)


def _between(low: _Rung, high: _Rung, kbps: int) -> float:
    """What the constant rate would show for as many bits, by the logarithm of the rates."""
    share = math.log(kbps / low.kbps) / math.log(high.kbps / low.kbps)
    return low.vmaf + (high.vmaf - low.vmaf) * share


def _vmaf(root: Path, name: str) -> float:
    # Of an untagged source and a tagged file, libvmaf's input would convert one to the other's
    # colours, and that alone cost 6 points.
    tags = "setparams=range=limited:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    graph = (
        f"[0:v]{tags},scale=1280:720:flags=bicubic[shown];[1:v]{tags}[meant];"
        "[shown][meant]libvmaf=n_subsample=5"
    )
    told = _ffmpeg(root, "-i", name, "-i", SOURCE_NAME, "-lavfi", graph, "-f", "null", "-")
    found = _SCORE.search(told)
    assert found, told
    return float(found[1])


def _ffmpeg(folder: Path, *arguments: object) -> str:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "info", "-y", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stderr
