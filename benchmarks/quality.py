"""What each quality preset keeps of the picture (VMAF) and costs in bits and time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.measuring import Spent, spent
from videojobs.local import LocalStack
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.models import QualityPreset
from videojobs.processor import ProcessingSettings, VideoProcessor

#: A video of your own, measured beside the synthetic one.
FOOTAGE = os.environ.get("FOOTAGE")
#: A platform encodes again and a phone shows all of it: that is where presets are compared.
WIDTH, HEIGHT = 1080, 1920
SECONDS = 4


@dataclass(frozen=True)
class _Made:
    """One clip of one preset."""

    preset: QualityPreset
    vmaf: float
    worst_vmaf: float
    """Of the worst hundredth of the frames."""
    kbps: float
    taken: Spent

    @property
    def line(self) -> str:
        return (
            f"{self.preset:9} VMAF {self.vmaf:6.2f} (worst 1 % {self.worst_vmaf:6.2f})"
            f"  {self.kbps:6.0f} kbit/s  {self.taken.cpu_seconds:5.1f} s of CPU"
        )


def lines(_: LocalStack) -> Iterator[str]:
    """A clip of each preset against the source, cut and scaled as players would show it.

    A draft is smaller: it is enlarged to the size of the others before it is compared.
    """
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        sources = {"synthetic": _synthetic(root)}
        if FOOTAGE:
            sources["footage"] = Path(FOOTAGE).resolve()
        else:
            yield "quality of real footage: FOOTAGE=/path/of/a/video adds it"
        for kind, source in sources.items():
            made = [_clip(source, root, preset) for preset in QualityPreset]
            for each in made:
                yield f"quality, {kind:12} {each.line}"
            yield f"quality, {kind:12} {_verdict(made)}"


def _verdict(made: list[_Made]) -> str:
    """Each step up must show more, or the name lies."""
    by_name = {each.preset: each for each in made}
    order = [
        by_name[name] for name in (QualityPreset.DRAFT, QualityPreset.STANDARD, QualityPreset.PRO)
    ]
    grows = all(better.vmaf > worse.vmaf for worse, better in pairwise(order))
    return f"draft < standard < pro {'ok' if grows else 'BELOW GOAL'}"


def _clip(source: Path, root: Path, preset: QualityPreset) -> _Made:
    wish = ProcessingSettings(
        clip_count=1, clip_seconds=SECONDS, clip_choice="spread", quality_preset=preset
    )
    processor = VideoProcessor(work_dir=root / "work")
    with tempfile.TemporaryDirectory(dir=root) as output, spent() as taken:
        made = processor.process(source, wish, output_dir=output)
        clip = made.output_files[0]
        taken.stop()
        start_seconds = clip.source_start_seconds or 0.0
        # A cut-out that is two pixels wider would be another picture to VMAF.
        cut = re.findall(r"crop=[^;[]+", " ".join(processor.plan(source, wish).runs[0].arguments))[
            0
        ]
        scores = _scores(Path(output) / clip.path, source, start_seconds, root, cut)
    worst = sorted(scores)[: max(1, len(scores) // 100)]
    return _Made(
        preset=preset,
        vmaf=sum(scores) / len(scores),
        worst_vmaf=sum(worst) / len(worst),
        kbps=(clip.size_bytes or 0) * 8 / SECONDS / 1000,
        taken=taken,
    )


def _scores(clip: Path, source: Path, start_seconds: float, root: Path, cut: str) -> list[float]:
    """VMAF of each frame."""
    log = root / "vmaf.json"
    # The source's picture is enlarged as the plan does it, the clip's as players do.
    steady = "format=yuv420p,setsar=1,settb=AVTB,setpts=N"
    graph = (
        f"[0:v]scale={WIDTH}:{HEIGHT}:flags=bicubic,{steady}[shown];"
        f"[1:v]fps=source_fps:start_time=0,{cut},"
        f"scale={WIDTH}:{HEIGHT}:flags=lanczos,{steady}[meant];"
        f"[shown][meant]libvmaf=log_fmt=json:log_path={log}:n_threads={os.cpu_count()}:shortest=1"
    )
    _ffmpeg(
        *("-i", clip, "-ss", start_seconds, "-t", SECONDS, "-i", source),
        *("-filter_complex", graph, "-f", "null", "-"),
    )
    frames_of = json.loads(log.read_text())["frames"]
    return [frame["metrics"]["vmaf"] for frame in frames_of]


def _synthetic(root: Path) -> Path:
    """A zoom into soft edges, at 1080p. Grain would be lost in every preset, and hide the rest."""
    source = root / "source.mp4"
    picture = "mandelbrot=size=960x540:rate=30:maxiter=100,scale=1920:1080"
    _ffmpeg(
        *("-f", "lavfi", "-i", picture, "-t", 2 * SECONDS, "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", 12, source),
    )
    return source


def _ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)
