"""Five clips from a source of 90 s at 1080p: ours, plain ffmpeg, MoviePy, and the bare commands of our plan."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from videojobs.local import LocalStack
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.sample import make_sample
from videojobs.pipelines.plan import SOURCE_NAME, Plan
from videojobs.processor import ProcessingSettings, VideoProcessor

ROUNDS = 3
SECONDS = 90
MOVIEPY = Path(__file__).parents[1] / ".venv-peers" / "moviepy" / "bin" / "python"
#: Evenly spread and of a given length, so that all ways make the same clips.
WISH = ProcessingSettings(clip_count=5, clip_seconds=4, clip_choice="spread")

_MOVIEPY = """
import sys
from moviepy import VideoFileClip
source, folder, *starts = sys.argv[1:]
with VideoFileClip(source) as video:
    for number, start in enumerate(map(float, starts), start=1):
        clip = video.subclipped(start, start + 4)
        clip = clip.cropped(x_center=clip.w / 2, width=608, height=1080).resized((1080, 1920))
        clip.write_videofile(f"{folder}/{number}.mp4", preset="veryfast", threads=2, logger=None,
            ffmpeg_params=["-crf", "22"])
"""


def lines(stack: LocalStack) -> Iterator[str]:
    """Medians of wall times, in turns."""
    del stack
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = _source(root)
        plan = VideoProcessor().plan(source, WISH)
        starts = [run.outputs[0].source_start_seconds or 0.0 for run in plan.runs]
        ways: dict[str, tuple[float, Callable[[], None]]] = {
            "ours": (0, lambda: _ours(source, root)),
            "plain ffmpeg, output seeking": (3.0, lambda: _plain(source, root, starts)),
            "the bare commands of our plan": (1 / 1.02, lambda: _bare(source, root, plan)),
        }
        if MOVIEPY.exists():
            ways["MoviePy"] = (4.0, lambda: _moviepy(source, root, starts))
        else:
            yield "MoviePy is not installed: `make peers`"
        times: dict[str, list[float]] = {each: [] for each in ways}
        for _ in range(ROUNDS):
            for each, (_, do) in ways.items():
                start = time.perf_counter()
                do()
                times[each].append(time.perf_counter() - start)
        ours = statistics.median(times.pop("ours"))
        for each, taken in times.items():
            other, goal = statistics.median(taken), ways[each][0]
            verdict = "ok" if other / ours >= goal else "BELOW GOAL"
            yield (
                f"{f'five clips, {each}':44} ours {ours:6.2f} s  it {other:6.2f} s"
                f"  {other / ours:5.2f} times ours (goal {goal:.2f}) {verdict}"
            )


def _source(root: Path) -> Path:
    sample, source = root / "sample.mp4", root / "source.mp4"
    make_sample(sample, find_ffmpeg())
    _ffmpeg(
        *("-stream_loop", 4, "-i", sample, "-t", SECONDS, "-vf", "scale=1920:1080"),
        *("-c:v", "libx264", "-preset", "veryfast", "-b:v", "10M", "-c:a", "aac", source),
    )
    return source


def _ours(source: Path, root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root) as output:
        VideoProcessor(work_dir=root / "work").process(source, WISH, output_dir=output)


def _plain(source: Path, root: Path, starts: list[float]) -> None:
    for number, start in enumerate(starts):
        _ffmpeg(
            *("-i", source, "-ss", start, "-t", 4, "-vf", "crop=608:1080,scale=1080:1920"),
            *("-c:v", "libx264", "-preset", "veryfast", "-crf", 22, "-c:a", "aac"),
            root / f"plain_{number}.mp4",
        )


def _bare(source: Path, root: Path, plan: Plan) -> None:
    commands = plan.commands(find_ffmpeg())
    with tempfile.TemporaryDirectory(dir=root) as folder:
        (Path(folder) / SOURCE_NAME).symlink_to(source)
        with ThreadPoolExecutor(plan.concurrency) as pool:
            list(
                pool.map(
                    lambda command: subprocess.run(
                        command, cwd=folder, check=True, capture_output=True
                    ),
                    commands,
                )
            )


def _moviepy(source: Path, root: Path, starts: list[float]) -> None:
    subprocess.run([MOVIEPY, "-c", _MOVIEPY, source, root, *map(str, starts)], check=True)


def _ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)
