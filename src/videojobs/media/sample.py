"""A lively video with sound, for trying things where no footage is at hand."""

from __future__ import annotations

import subprocess
from pathlib import Path

from videojobs.errors import ProcessingError

SAMPLE_SECONDS = 20

_SHOT_SECONDS = 5
_SHOTS = (
    f"testsrc2=size=1280x720:rate=30:duration={_SHOT_SECONDS}",
    f"life=size=320x180:mold=10:rate=30:ratio=0.1:death_color=#1d3557:life_color=#f1faee:seed=7,"
    f"scale=1280:720:flags=neighbor,trim=duration={_SHOT_SECONDS}",
    f"gradients=size=1280x720:rate=30:speed=0.05:nb_colors=5:seed=3:duration={_SHOT_SECONDS},"
    "hue=H=2*PI*t/5",
    "mandelbrot=size=640x360:rate=30:maxiter=300:start_scale=1.5:end_scale=0.01:end_pts=300,"
    f"scale=1280:720,trim=duration={_SHOT_SECONDS}",
)
# A tune over a beat, loud enough to measure and quiet enough to be levelled.
_SOUND = (
    "0.2*sin(2*PI*t*220*pow(2\\,mod(floor(t*4)*7\\,12)/12))*exp(-3*mod(t\\,0.25))"
    "+0.25*sin(2*PI*55*t)*exp(-8*mod(t\\,0.5))"
)


def make_sample(path: Path, ffmpeg: str) -> None:
    """A 720p video of 20 s is at *path*: four shots of 5 s, and a tune. Takes about 5 s."""
    inputs = [part for shot in _SHOTS for part in ("-f", "lavfi", "-i", shot)]
    sound = f"aevalsrc=exprs={_SOUND}:sample_rate=48000:duration={SAMPLE_SECONDS}"
    pictures = "".join(f"[{number}:v]setsar=1,format=yuv420p[v{number}];" for number in range(4))
    joined = "".join(f"[v{number}]" for number in range(4))
    graph = f"{pictures}{joined}concat=n=4:v=1[video]"
    encoding = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-crf",
        "20",
        "-c:a",
        "aac",
        "-b:a",
        "128k",
    ]
    command = [
        *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y"),
        *inputs,
        *("-f", "lavfi", "-i", sound),
        *("-filter_complex", graph, "-map", "[video]", "-map", f"{len(_SHOTS)}:a"),
        *encoding,
        *("-t", str(SAMPLE_SECONDS), "-movflags", "+faststart", "-f", "mp4", str(path)),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ProcessingError(
            f"the sample could not be made: ffmpeg ended with {result.returncode}; "
            "give the demo a video of your own",
            code="ffmpeg_build",
            exit_code=result.returncode,
            stderr_tail=result.stderr.splitlines()[-5:],
        )
