"""What a look through a source costs against a plain decode of it, in the same run."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from videojobs.local import LocalStack
from videojobs.media.analysing import Analyser
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.models import QualityPreset
from videojobs.pipelines.plan import SOURCE_NAME
from videojobs.pipelines.source import SourceFacts
from videojobs.processor import ProcessingSettings, VideoProcessor

GOALS = {QualityPreset.STANDARD: 1.2, QualityPreset.DRAFT: 0.25}
ROUNDS = 3
SECONDS = 30
CORES = 2

#: 1080p at 10 Mbit/s with a keyframe every two seconds, as cameras and editors write it.
_PICTURE = f"mandelbrot=size=1920x1080:rate=30:maxiter=60,noise=alls=6:allf=t,trim=end={SECONDS}"
_SOUND = f"aevalsrc=0.2*sin(440*2*PI*t)*lt(mod(t\\,2)\\,1.5):d={SECONDS}:s=48000"
_ENCODER = ("-c:v", "libx264", "-preset", "veryfast", "-b:v", "10M", "-pix_fmt", "yuv420p",
            "-g", "60", "-c:a", "aac")  # fmt: skip


def against_decode(_: LocalStack) -> list[str]:
    """Wall time of decode, analysis and draft analysis, in turns; the medians' ratios."""
    ffmpeg = find_ffmpeg()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = ("-f", "lavfi", "-i", _PICTURE, "-f", "lavfi", "-i", _SOUND)
        _run(ffmpeg, *inputs, *_ENCODER, "-f", "mp4", str(folder / SOURCE_NAME))
        facts = VideoProcessor(cores=CORES).probe(folder / SOURCE_NAME)
        rounds = [_round(ffmpeg, folder, facts) for _ in range(ROUNDS)]
    decode, *analyses = (statistics.median(each) for each in zip(*rounds, strict=True))
    return [_line(preset, seconds, decode) for preset, seconds in zip(GOALS, analyses, strict=True)]


def _round(ffmpeg: str, folder: Path, facts: SourceFacts) -> tuple[float, ...]:
    start = time.perf_counter()
    source = ("-threads", str(CORES), "-i", str(folder / SOURCE_NAME))
    _run(ffmpeg, *source, "-map", "0:v:0", "-map", "0:a:0", "-f", "null", "-")
    decode = time.perf_counter() - start
    return decode, *(_analysis_seconds(ffmpeg, folder, facts, preset) for preset in GOALS)


def _analysis_seconds(
    ffmpeg: str, folder: Path, facts: SourceFacts, preset: QualityPreset
) -> float:
    settings = ProcessingSettings(quality_preset=preset)
    start = time.perf_counter()
    Analyser(facts, settings, ffmpeg=ffmpeg, folder=folder, threads=CORES).perform()
    return time.perf_counter() - start


def _line(preset: QualityPreset, seconds: float, decode: float) -> str:
    ratio, goal = seconds / decode, GOALS[preset]
    return (
        f"analysis, {preset:24} ours {seconds:6.2f} s  decode {decode:6.2f} s"
        f"  ratio {ratio:5.3f} (goal {goal}) {'ok' if ratio <= goal else 'ABOVE GOAL'}"
    )


def _run(ffmpeg: str, *arguments: str) -> None:
    command = [ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *arguments]
    subprocess.run(command, check=True, capture_output=True)
