"""Five clips from a source of 90 s at 1080p: ours, plain ffmpeg, MoviePy, and the bare commands of our plan.

All make the same clips, given as a length and an even spread, with the same encoder, preset and CRF;
so nobody looks for good parts, which the part ``analysis`` measures.

- Plain ffmpeg: one run after another, which decode all that lies before the clip.
- MoviePy: one clip after another, each sought, its pictures passing through Python.
- The bare commands: as many at once as we run, without probe, sandbox, progress, checksum and
  verification. They tell what all of that costs.
- The same with a bare ``ffmpeg -f null`` over each file that came out: what is left is our own cost,
  beside the whole decode that we promise.

Where all cores are busy, decoding what was made adds its CPU time to the wall time, whoever does it:
about 8 % of what the commands themselves take. The rest of their CPU time is x264 for two thirds,
which every way pays alike, MoviePy too.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measuring import Spent, spent
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
            "the same, each clip decoded": (
                1 / 1.02,
                lambda: _bare(source, root, plan, decodes=True),
            ),
        }
        if MOVIEPY.exists():
            ways["MoviePy"] = (4.0, lambda: _moviepy(source, root, starts))
        else:
            yield "MoviePy is not installed: `make peers`"
        taken: dict[str, list[Spent]] = {each: [] for each in ways}
        for _ in range(ROUNDS):
            for each, (_, do) in ways.items():
                with spent() as one:
                    do()
                taken[each].append(one)
        ours = _median(taken.pop("ours"))
        for each, all_of_it in taken.items():
            other, goal = _median(all_of_it), ways[each][0]
            ratio = other.seconds / ours.seconds
            yield (
                f"{f'five clips, {each}':44} ours {_told(ours)}  it {_told(other)}"
                f"  {ratio:5.2f} times ours, {other.cpu_seconds / ours.cpu_seconds:5.2f} by CPU"
                f" (goal {goal:.2f}) {'ok' if ratio >= goal else 'BELOW GOAL'}"
            )


def _median(taken: list[Spent]) -> Spent:
    return Spent(
        statistics.median(each.seconds for each in taken),
        statistics.median(each.cpu_seconds for each in taken),
    )


def _told(taken: Spent) -> str:
    return f"{taken.seconds:6.2f} s ({taken.cpu_seconds:5.1f} of CPU)"


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


def _bare(source: Path, root: Path, plan: Plan, *, decodes: bool = False) -> None:
    ffmpeg = find_ffmpeg()
    with tempfile.TemporaryDirectory(dir=root) as folder:
        (Path(folder) / SOURCE_NAME).symlink_to(source)

        def make(command: tuple[str, ...], made: str) -> None:
            look = (ffmpeg, "-v", "error", "-xerror", "-f", "mp4", "-i", made, "-f", "null", "-")
            for each in (command, look) if decodes else (command,):
                subprocess.run(each, cwd=folder, check=True, capture_output=True)

        with ThreadPoolExecutor(plan.concurrency) as pool:
            names = [run.outputs[0].part_name for run in plan.runs]
            list(pool.map(make, plan.commands(ffmpeg), names))


def _moviepy(source: Path, root: Path, starts: list[float]) -> None:
    subprocess.run([MOVIEPY, "-c", _MOVIEPY, source, root, *map(str, starts)], check=True)


def _ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)
