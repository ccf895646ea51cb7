"""Thumbnails: how many tiles, where they lie, and that each shows its own time."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import pytest

from videojobs.pipelines.hls import plan_hls
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.pipelines.thumbnails import thumbnail_track
from videojobs.processor import VideoProcessor

#: Each second is sixteen shades lighter than the one before.
SHADES = "color=black:size=160x90:rate=10:duration=9,geq=lum='20+20*floor(T)':cb=128:cr=128"


def renditions(facts: SourceFacts, **settings: Any) -> Plan:
    wanted = ProcessingSettings(pipeline="renditions", thumbnails=True, **settings)
    return plan_renditions(facts, wanted, machine=Machine(), limits=SourceLimits())


@pytest.mark.parametrize(
    ("seconds", "tiles", "interval", "size"),
    [
        (1.0, 1, 2.0, (160, 90)),
        (6.0, 3, 2.0, (480, 90)),
        (6.1, 4, 2.0, (640, 90)),
        (60.0, 30, 2.0, (1600, 270)),
        (200.0, 100, 2.0, (1600, 900)),
        (200.2, 51, 4.0, (1600, 540)),
        (7200.0, 100, 72.0, (1600, 900)),
    ],
)
def test_a_sheet_has_a_hundred_tiles_at_the_most(
    facts: SourceFacts, seconds: float, tiles: int, interval: float, size: tuple[int, int]
):
    """A longer film has its pictures farther apart, always at keyframes."""
    planned = renditions(replace(facts, duration_seconds=seconds)).thumbnails

    assert planned is not None
    assert (planned.tile_count, planned.interval_seconds) == (tiles, interval)
    assert (planned.sheet.width, planned.sheet.height) == size


def test_only_keyframes_of_the_smallest_rendition_are_decoded(facts: SourceFacts):
    """The source is not read again: a film's whole decode would cost six times as much."""
    plan = renditions(facts, video_codecs=("hevc",))

    told = " ".join(plan.finishing[0].arguments)
    assert "-skip_frame nokey" in told
    assert "file:480p.mp4.part" in told
    assert "file:source" not in told


def test_thumbnails_are_made_only_when_asked_for(facts: SourceFacts):
    """By either pipeline."""
    wanted = ProcessingSettings(pipeline="hls", thumbnails=True)
    machine, limits = Machine(), SourceLimits()

    with_them = plan_hls(facts, wanted, machine=machine, limits=limits)
    without = plan_hls(facts, ProcessingSettings(pipeline="hls"), machine=machine, limits=limits)

    assert [out.name for out in with_them.outputs][-3:] == ["sprite", "thumbnails", "hls"]
    assert without.thumbnails is None


def test_a_cue_names_its_tile(facts: SourceFacts):
    """Rows of ten, from left to right, each cue ending where the next begins."""
    planned = renditions(replace(facts, duration_seconds=23.5)).thumbnails

    assert planned is not None
    cues = thumbnail_track(planned, 23.5).split("\n\n")
    assert cues[0] == "WEBVTT"
    assert cues[1] == "00:00:00.000 --> 00:00:02.000\nsprite.jpg#xywh=0,0,160,90"
    assert cues[11] == "00:00:20.000 --> 00:00:22.000\nsprite.jpg#xywh=0,90,160,90"
    assert cues[12] == "00:00:22.000 --> 00:00:23.500\nsprite.jpg#xywh=160,90,160,90\n"
    assert len(cues) == 13


def test_a_film_that_ended_sooner_has_no_cue_beyond_its_end(facts: SourceFacts):
    """A header may promise a little more than there is."""
    planned = renditions(replace(facts, duration_seconds=100.1)).thumbnails

    assert planned is not None
    last = thumbnail_track(planned, 99.0).split("\n\n")[-1]
    assert last == "00:01:38.000 --> 00:01:39.000\nsprite.jpg#xywh=1440,360,160,90\n"


def test_each_tile_shows_its_own_time(processor: VideoProcessor, tmp_path: Path):
    """Nine seconds that grow lighter give five tiles, two seconds apart, at 160x90."""
    source = tmp_path / "shades.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", SHADES]
    subprocess.run([*command, "-c:v", "libx264", "-qp", "4", str(source)], check=True)
    settings = ProcessingSettings(pipeline="renditions", quality_preset="draft", thumbnails=True)

    result = processor.process(source, settings, output_dir=tmp_path / "out")

    with av.open(str(tmp_path / "out" / "sprite.jpg")) as container:
        sheet = next(container.decode(video=0))
    middles = [
        bytes(sheet.planes[0])[45 * sheet.planes[0].line_size + 80 + 160 * n] for n in range(5)
    ]
    assert (sheet.width, sheet.height) == (800, 90)
    # JPEG's full range: 20 of 16-235 becomes 5, 60 becomes 51.
    assert middles == pytest.approx([5, 51, 98, 144, 191], abs=4)
    assert [(out.kind, out.name, out.path) for out in result.output_files[-2:]] == [
        ("sprite", "sprite", "sprite.jpg"),
        ("thumbnails", "thumbnails", "thumbnails.vtt"),
    ]
    assert (tmp_path / "out" / "thumbnails.vtt").read_text().count("-->") == 5
