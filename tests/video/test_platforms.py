"""What comes out suits the platform that it was made for: by ffmpeg's own words and the file's bytes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import date
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from videojobs.models import EnhancementLevel, PlatformTarget, QualityPreset
from videojobs.pipelines.encoding import h264_level
from videojobs.processor import ProcessingSettings, VideoProcessor
from videojobs.profiles import ENHANCEMENTS, PLATFORMS, PRESETS

Make = Callable[[str], Path]

EVERYWHERE = list(product(PLATFORMS, QualityPreset))


def said_by_ffmpeg(*arguments: str | Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def picture_line(path: Path) -> str:
    """Such as ``Video: h264 (High) (avc1), yuv420p(tv, bt709), 1080x1920 [SAR 1:1 DAR 9:16], ...``"""
    return next(line for line in said_by_ffmpeg("-i", path).splitlines() if " Video: " in line)


def sound_line(path: Path) -> str:
    """Such as ``Audio: aac (LC), 48000 Hz, stereo, fltp, 128 kb/s``."""
    return next(line for line in said_by_ffmpeg("-i", path).splitlines() if " Audio: " in line)


def loudness(path: Path) -> tuple[float, float]:
    """Integrated, and the true peak."""
    said = said_by_ffmpeg("-i", path, "-vn", "-af", "ebur128=peak=true", "-f", "null", "-")
    summary = said.rpartition("Summary:")[2]
    integrated = re.search(r"I: +(-?[\d.]+) LUFS", summary)
    peak = re.search(r"Peak: +(-?[\d.]+) dBFS", summary)
    assert integrated is not None and peak is not None
    return float(integrated[1]), float(peak[1])


def made(processor: VideoProcessor, source: Path, folder: Path, **settings: object) -> Path:
    """One clip with the sound levelled, as short as the platform takes it."""
    wanted = ProcessingSettings(clip_count=1, enhancement_level="basic", **settings)
    shortest = wanted.platform.min_duration_seconds
    processor.process(
        source, wanted.model_copy(update={"clip_seconds": shortest}), output_dir=folder
    )
    return folder / "clip_01.mp4"


@pytest.mark.parametrize(("platform", "preset"), EVERYWHERE)
def test_each_preset_suits_each_platform(
    processor: VideoProcessor,
    media: Make,
    tmp_path: Path,
    platform: PlatformTarget | None,
    preset: QualityPreset,
):
    """Size, shape, rate, codec, profile, pixels, sound, loudness, index, groups and file size."""
    profile = PLATFORMS[platform]

    path = made(
        processor, media("bars.mp4"), tmp_path, platform_target=platform, quality_preset=preset
    )

    size = "720x1280" if preset is QualityPreset.DRAFT else "1080x1920"
    picture, sound, data = picture_line(path), sound_line(path), path.read_bytes()
    assert all(
        words in picture
        for words in (
            f"{profile.video_codec} ({profile.h264_profile.title()})",
            f"{profile.pixel_format}(tv, bt709",
            f"{size} [SAR 1:1 DAR 9:16]",
            "30 fps",
        )
    )
    assert f"{profile.audio_codec} (LC)" in sound
    assert f"{profile.audio_sample_rate} Hz, stereo" in sound
    level = data[data.index(b"avcC") + 7]
    assert level == (31 if preset is QualityPreset.DRAFT else 40)
    assert level <= float(profile.max_h264_level) * 10
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"elst" not in data[: data.index(b"mdat")]
    assert len(data) <= (profile.max_size_bytes or len(data))
    integrated, peak = loudness(path)
    assert integrated == pytest.approx(profile.loudness_lufs, abs=1)
    assert peak <= profile.true_peak_dbtp


@pytest.mark.parametrize("platform", list(PLATFORMS))
def test_groups_of_pictures_are_closed_and_short(
    processor: VideoProcessor, media: Make, tmp_path: Path, platform: PlatformTarget | None
):
    """Each begins with a picture that forgets all before it (IDR), in time for the platform."""
    path = made(
        processor, media("bars.mp4"), tmp_path, platform_target=platform, quality_preset="draft"
    )

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [packet for packet in packets if packet.is_keyframe]
    assert all(5 in nal_types(bytes(packet)) for packet in keys)
    times = [float(packet.pts * packet.time_base) for packet in keys]
    end = max(float(packet.pts * packet.time_base) for packet in packets)
    gaps = [after - before for before, after in pairwise([*times, end])]
    assert max(gaps) <= PLATFORMS[platform].keyframe_seconds + 0.001


def nal_types(packet: bytes) -> list[int]:
    """The kinds of units in a packet; each has its length in four bytes before it."""
    found, place = [], 0
    while place + 5 <= len(packet):
        found.append(packet[place + 4] & 31)
        place += 4 + int.from_bytes(packet[place : place + 4], "big")
    return found


def test_noise_keeps_to_the_ceiling(processor: VideoProcessor, media: Make, tmp_path: Path):
    """What would need many times the bits gets what the platform's ceiling leaves it."""
    size = {"clip_width": 270, "clip_height": 480}

    path = made(processor, media("noise.mp4"), tmp_path, platform_target="tiktok", **size)

    with av.open(str(path)) as container:
        bits = 8 * sum(packet.size for packet in container.demux(video=0))
    # A sixteenth of the pixels of 12,000 kbit/s, and the buffer of two seconds that it may empty.
    assert bits <= 750_000 * (3 + 2) * 1.05


@pytest.mark.parametrize(
    ("size", "rate", "bitrate_kbps", "level"),
    [
        ((720, 1280), 30, 5_333, "3.1"),
        ((1080, 1920), 30, 12_000, "4.0"),
        ((1080, 1920), 60, 12_000, "4.2"),
        ((2160, 3840), 30, 40_000, "5.1"),
        ((2160, 3840), 60, 40_000, "5.2"),
        ((4096, 4096), 60, 40_000, "5.2"),
    ],
)
def test_the_lowest_level_that_holds_is_declared(
    size: tuple[int, int], rate: int, bitrate_kbps: int, level: str
):
    """More devices decode a lower one; ITU-T H.264, table A-1."""
    assert h264_level(*size, rate=Fraction(rate), max_bitrate_kbps=bitrate_kbps) == level


@pytest.mark.parametrize("platform", list(PlatformTarget))
def test_what_is_known_of_a_platform_has_its_source_and_day(platform: PlatformTarget):
    """The limits drift: who doubts one can look."""
    profile = PLATFORMS[platform]

    assert profile.as_of >= date(2026, 1, 1)
    assert all(source.startswith("https://") for source in profile.sources)
    assert (profile.video_codec, profile.h264_profile, profile.pixel_format) == (
        "h264", "high", "yuv420p",
    )  # fmt: skip


def test_each_preset_and_level_says_what_it_costs():
    """In order: more quality takes more time."""
    costs = [PRESETS[preset].seconds_per_megapixel_second for preset in QualityPreset]

    assert costs == sorted(costs)
    assert all(PRESETS[preset].reason for preset in QualityPreset)
    assert [ENHANCEMENTS[level].cost for level in EnhancementLevel] == [1.0, 1.05, 1.15]
