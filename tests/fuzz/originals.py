"""Small whole videos, one of each container, for damage."""

from __future__ import annotations

import subprocess
from pathlib import Path

from videojobs.media.ffmpeg import find_ffmpeg

_INPUT = (
    *("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=1.6"),
    *("-f", "lavfi", "-i", "sine=d=1.6:r=48000"),
)
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "12")
_MPEG4 = ("-c:v", "mpeg4", "-g", "12", "-c:a", "libmp3lame")

_RECIPES = {
    "end.mp4": (*_H264, "-c:a", "aac"),
    "front.mp4": (*_H264, "-bf", "2", "-c:a", "aac", "-movflags", "+faststart"),
    "fragments.mp4": (*_H264, "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"),
    "hevc.mov": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0", "-c:a", "aac"),
    "h264.mkv": (*_H264, "-c:a", "flac"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "vp8.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libvorbis"),
    "h264.ts": (*_H264, "-c:a", "aac"),
    "mpeg4.avi": _MPEG4,
    "h264.flv": (*_H264, "-c:a", "aac"),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
}  # fmt: skip


def originals(folder: Path) -> tuple[Path, ...]:
    """One of each, made there if they are not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in _RECIPES.items():
        if not (folder / name).exists():
            command = [find_ffmpeg(), "-v", "error", "-y", *_INPUT, *recipe, folder / name]
            subprocess.run(command, check=True, capture_output=True)
    return tuple(folder / name for name in _RECIPES)
