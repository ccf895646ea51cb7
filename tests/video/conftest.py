"""Media made by ffmpeg, tiny and once for the session, and an independent look at results."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import pytest

from videojobs.pipelines.source import AudioFacts, SourceFacts, VideoFacts
from videojobs.processor import VideoProcessor

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=4")
# Bursts of tone with pauses between, at about the loudness of a quiet voice.
VOICE = ("-f", "lavfi", "-i", "aevalsrc=0.05*sin(440*2*PI*t)*lt(mod(t\\,1)\\,0.7):d=4:s=48000")
HALVES = (
    "-f",
    "lavfi",
    "-i",
    "color=red:size=160x180:rate=30:duration=3[a];color=blue:size=160x180:rate=30:duration=3[b];"
    "[a][b]hstack",
)
# Each second is three shades lighter than the one before; black is 16.
CLOCK = ("-f", "lavfi", "-i", "color=black:size=90x160:rate=10:duration=60,"
         "geq=lum='16+3*floor(T)':cb=128:cr=128")  # fmt: skip
# A white square of 30 pixels crosses the dark; and one that goes up and down, on the left, and
# from frame 61 on the right.
DARK = "color=0x202020:size=320x180:rate=30:duration=4[dark];color=white:size=30x30:rate=30:duration=4[box]"
CROSSING = ("-f", "lavfi", "-i", f"{DARK};[dark][box]overlay=x=20+45*t:y=70")
TWO_SHOTS = ("-f", "lavfi", "-i", f"{DARK};[dark]drawbox=c=0x606060:t=fill:enable=gt(n\\,60)[shots];"
             "[shots][box]overlay=x='if(gt(n,61),260,20)':y='70+20*sin(6*t)'")  # fmt: skip
SPARSE_KEYS = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "100", "-sc_threshold", "0")
FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "30")
PQ = "log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"

# A still red shot, a loud and lively one, darkness and silence, and a still blue one. The sound is
# there from 0.5 to 5.5, 6.5 to 11.2, 14.4 to 19 and 19.6 to 23.5 s.
STORY_PICTURE = (
    "-f", "lavfi", "-i",
    "color=red:size=320x180:rate=30:duration=6[a];testsrc2=size=320x180:rate=30:duration=6[b];"
    "color=black:size=320x180:rate=30:duration=2[c];color=blue:size=320x180:rate=30:duration=10[d];"
    "[a][b][c][d]concat=n=4",
)  # fmt: skip
STORY_SOUND = (
    "-f", "lavfi", "-i",
    "aevalsrc=sin(440*2*PI*t)*(0.05*between(t\\,0.5\\,5.5)+0.5*between(t\\,6.5\\,11.2)"
    "+0.05*between(t\\,14.4\\,19)+0.05*between(t\\,19.6\\,23.5)):d=24:s=48000",
)  # fmt: skip
STILL = ("-f", "lavfi", "-i", "color=gray:size=320x180:rate=30:duration=12")

RECIPES: dict[str, tuple[str, ...]] = {
    "voice.mp4": (*PICTURE, *VOICE, *FAST, "-c:a", "aac", "-movflags", "+faststart"),
    "silent.mp4": (*PICTURE, *FAST),
    "stereo.mkv": (*PICTURE, *VOICE, *FAST, "-c:a", "aac", "-ac", "2"),
    "tall.mp4": (*PICTURE, "-vf", "scale=180:320,setsar=1", *FAST),
    "odd.mkv": (*PICTURE, "-vf", "scale=321:181,setsar=1", "-c:v", "ffv1"),
    "halves.mp4": (*HALVES, *FAST),
    "anamorphic.mp4": (*PICTURE, "-vf", "setsar=4/3", *FAST),
    "interlaced.mp4": (*PICTURE, *FAST, "-flags", "+ilme+ildct", "-x264-params", "tff=1"),
    "uneven.mp4": (*PICTURE, "-vf", "select=lt(n\\,60)+not(mod(n\\,3))", "-fps_mode", "vfr", *FAST),
    "hdr.mp4": (*PICTURE, "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le",
                "-x265-params", PQ, "-t", "2"),
    "music.m4a": (*VOICE, "-c:a", "aac"),
    "clock.mp4": (*CLOCK, *SPARSE_KEYS),
    "clock.mkv": (*CLOCK, *SPARSE_KEYS),
    "clock.flv": (*CLOCK, *SPARSE_KEYS),
    "clock.ts": (*CLOCK, *SPARSE_KEYS),
    "clock.mpg": (*CLOCK, *SPARSE_KEYS, "-f", "vob"),
    "clock.avi": (*CLOCK, "-c:v", "mpeg4", "-g", "100", "-q:v", "2"),
    "slow.mp4": ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=20:duration=2", *FAST),
    "crossing.mp4": (*CROSSING, *FAST),
    "two_shots.mp4": (*TWO_SHOTS, *FAST),
    "upright_red.mp4": ("-f", "lavfi", "-i", "color=red:size=90x160:rate=30:duration=4", *FAST),
    "dusk.mp4": ("-f", "lavfi", "-i", "color=0x282828:size=320x180:rate=30:duration=4", *FAST),
    "two_tracks.mkv": (*PICTURE, "-f", "lavfi", "-i", "anullsrc=d=4", *VOICE, "-map", "0", "-map", "1",
                       "-map", "2", *FAST, "-c:a", "aac", "-disposition:a:0", "0",
                       "-disposition:a:1", "default"),
    "bars.mp4": ("-f", "lavfi", "-i", "smptebars=size=180x320:rate=30:duration=4", *VOICE, *FAST,
                 "-c:a", "aac"),
    "noise.mp4": ("-f", "lavfi", "-i", "color=gray:size=180x320:rate=30:duration=4,noise=alls=90:allf=t",
                  *FAST, "-crf", "10"),
    "mute.mp4": (*PICTURE, "-f", "lavfi", "-i", "anullsrc=d=4", *FAST, "-c:a", "aac"),
    "story.mp4": (*STORY_PICTURE, *STORY_SOUND, *FAST, "-c:a", "aac"),
    "story_mute.mp4": (*STORY_PICTURE, *FAST),
    # Keyframes every 10 s, and a lively part from 25 to 33 s that lies between two of them.
    "sparse.mp4": ("-f", "lavfi", "-i", "color=red:size=160x90:rate=10:duration=25[a];"
                   "testsrc2=size=160x90:rate=10:duration=8[b];"
                   "color=blue:size=160x90:rate=10:duration=27[c];[a][b][c]concat=n=3",
                   *SPARSE_KEYS),
    # As calls are recorded: no keyframe but the first.
    "call.mp4": ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=10:duration=40",
                 "-c:v", "libx264", "-preset", "ultrafast", "-g", "9999", "-sc_threshold", "0"),
    "still.mp4": (*STILL, *FAST),
    "blink.mp4": ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=1.2", *FAST),
    "mp3.mp4": (*PICTURE, *VOICE, *FAST, "-c:a", "libmp3lame"),
}  # fmt: skip

Make = Callable[[str], Path]


def run_ffmpeg(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"]
    return subprocess.run([*command, *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def ffmpeg() -> Callable[..., object]:
    """Runs ffmpeg with these arguments."""
    return run_ffmpeg


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gives the path of a file by its name in RECIPES, made when first asked for."""
    folder = tmp_path_factory.mktemp("media")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            run_ffmpeg(*RECIPES[name], path)
        return path

    return make


@pytest.fixture(scope="session")
def turned(media: Make) -> Path:
    """Red left and blue right as stored, and a note that it is to be turned by a quarter."""
    path = media("halves.mp4").with_name("turned.mp4")
    run_ffmpeg("-display_rotation", "90", "-i", media("halves.mp4"), "-c", "copy", path)
    return path


@pytest.fixture(scope="session")
def shrinking(media: Make) -> Path:
    """The same picture at half the size from second 4 on, as calls and shared screens are recorded."""
    path = media("voice.mp4").with_name("shrinking.ts")
    whole, half = path.with_name("whole.ts"), path.with_name("half.ts")
    sound = ("-c:a", "aac", "-muxdelay", "0")
    run_ffmpeg("-i", media("voice.mp4"), *FAST, *sound, whole)
    small = ("-vf", "scale=160:90", "-output_ts_offset", "4")
    run_ffmpeg("-i", media("voice.mp4"), *small, *FAST, *sound, half)
    path.write_bytes(whole.read_bytes() + half.read_bytes())
    return path


@pytest.fixture(scope="session")
def without_duration(media: Make) -> Path:
    """As a browser records: a header that could not be completed afterwards."""
    path = media("stereo.mkv").with_name("recording.mkv")
    path.write_bytes(
        run_ffmpeg(
            "-i", media("stereo.mkv"), "-c", "copy", "-f", "matroska", "-live", "1", "-"
        ).stdout
    )
    return path


@pytest.fixture(scope="session")
def changing(media: Make) -> Path:
    """As broadcast: after 4 s of stereo, 4 s of another size and in mono."""
    first, second = (media("silent.mp4").with_name(f"{name}.ts") for name in ("wide", "narrow"))
    for size, layout, path in (("320x180", "stereo", first), ("320x240", "mono", second)):
        run_ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=4"),
            *("-f", "lavfi", "-i", f"sine=440:duration=4,aformat=channel_layouts={layout}"),
            *(*FAST, "-c:a", "aac", "-f", "mpegts", path),
        )
    path = first.with_name("changing.ts")
    run_ffmpeg("-i", f"concat:{first}|{second}", "-c", "copy", "-f", "mpegts", path)
    return path


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def processor(work_dir: Path) -> VideoProcessor:
    return VideoProcessor(work_dir=work_dir, cores=2)


def _pixel(frame: Any, x: int, y: int) -> tuple[int, int, int]:
    plane = frame.reformat(format="rgb24", src_colorspace=1).planes[0]
    place = y * plane.line_size + 3 * x
    red, green, blue = bytes(plane)[place : place + 3]
    return red, green, blue


@pytest.fixture(scope="session")
def look() -> Callable[[Path], dict[str, Any]]:
    """An independent look at a file, with none of our own code."""

    def facts(path: Path) -> dict[str, Any]:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            frames = list(container.decode(video))
            middle = frames[len(frames) // 2]
            lightness = [bytes(frame.planes[0])[0] for frame in (frames[0], middle, frames[-1])]
            width, height = middle.width, middle.height
            sounds = container.streams.audio
            return {
                "size": (frames[0].width, frames[0].height),
                "codec": video.codec_context.name,
                "pixels": video.codec_context.pix_fmt,
                "aspect": video.sample_aspect_ratio,
                "rate": video.average_rate,
                "frames": len(frames),
                "seconds": len(frames) / float(video.average_rate or 1),
                "channels": [sound.codec_context.layout.nb_channels for sound in sounds],
                "clock": [round((light - 16) / 3) for light in lightness],
                "top": _pixel(middle, width // 2, 10),
                "bottom": _pixel(middle, width // 2, height - 10),
                "left": _pixel(middle, 10, height // 2),
                "right": _pixel(middle, width - 10, height // 2),
                "transfer": int(frames[0].color_trc),
                "interlaced": bool(frames[0].interlaced_frame),
            }

    return facts


@pytest.fixture
def facts() -> SourceFacts:
    """An ordinary phone video: 60 s, 1080p30, stereo."""
    return SourceFacts(
        container="mov,mp4,m4a,3gp,3g2,mj2",
        size_bytes=50_000_000,
        duration_seconds=60.0,
        stream_count=2,
        video=VideoFacts(
            stream_index=0, codec="h264", width=1920, height=1080, frame_rate=Fraction(30)
        ),
        audio=AudioFacts(stream_index=1, codec="aac", sample_rate=48000, channels=2),
    )
