"""The ladder: which rungs in which codecs, at which weights, and whether they are what they claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from videojobs.errors import ProcessingError, SupabaseValidationError
from videojobs.pipelines.plan import Machine, Plan
from videojobs.pipelines.progress import ProgressTracker
from videojobs.pipelines.renditions import plan_renditions
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.pipelines.source import SourceFacts, SourceLimits
from videojobs.processor import VideoProcessor

Make = Callable[[str], Path]


def renditions(facts: SourceFacts, machine: Machine | None = None, **settings: Any) -> Plan:
    wanted = ProcessingSettings(pipeline="renditions", **settings)
    return plan_renditions(facts, wanted, machine=machine or Machine(), limits=SourceLimits())


def test_each_codec_is_a_file_beside_h264(facts: SourceFacts):
    """H.264 is always made, also when only another is asked for."""
    plan = renditions(facts, video_codecs=("av1", "hevc"), rendition_heights=(1080, 480))

    assert [output.file_name for output in plan.outputs] == [
        *("1080p.mp4", "1080p_hevc.mp4", "1080p_av1.mp4"),
        *("480p.mp4", "480p_hevc.mp4", "480p_av1.mp4"),
        "poster.jpg",
    ]
    told = " ".join(plan.runs[0].arguments)
    assert told.count("scale=flags=lanczos:h=480") == 1
    assert told.count("-force_key_frames expr:gte(t,n_forced*2)") == 6


def test_a_rate_in_another_codec_is_lower(facts: SourceFacts):
    """HEVC shows at 70 % of the bits what H.264 shows, and AV1 at 60 %."""
    plan = renditions(facts, video_codecs=("hevc", "av1"), rendition_heights=(1080,))

    told = plan.runs[0].arguments
    rates = [told[place + 1] for place, word in enumerate(told) if word == "-maxrate"]
    assert rates == ["5000k", "3500k", "3000k"]


def test_2160p_is_not_made_in_h264(facts: SourceFacts):
    """It would have to leave level 4.2, beyond which Apple's specification does not go."""
    assert facts.video is not None
    large = replace(facts, video=replace(facts.video, width=3840, height=2160))

    plan = renditions(large, video_codecs=("hevc",), rendition_heights=(2160, 360))

    names = [output.name for output in plan.outputs]
    assert names == ["2160p_hevc", "360p", "360p_hevc", "poster"]


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"rendition_heights": (2160, 720)}, "give video_codecs hevc or av1"),
        ({"rendition_heights": (2160,), "video_codecs": ("hevc",)}, "give rendition_heights one"),
        ({"video_codecs": ("vp9",)}, "'h264', 'hevc' or 'av1'"),
        ({"rendition_heights": ()}, "at least 1"),
    ],
)
def test_rungs_that_no_codec_fits_are_refused(settings: dict[str, Any], rule: str):
    """With what to give instead."""
    with pytest.raises(SupabaseValidationError, match=rule):
        ProcessingSettings(pipeline="renditions", **settings)


def test_an_encoder_that_is_missing_is_told_before_any_work(facts: SourceFacts):
    """Not every ffmpeg has SVT-AV1."""
    machine = Machine(lacks_encoders=frozenset({"libsvtav1"}))

    with pytest.raises(ProcessingError, match="cannot make av1: it has no libsvtav1") as refused:
        renditions(facts, machine, video_codecs=("av1",))

    assert refused.value.code == "ffmpeg_build"


def test_a_large_rung_counts_for_more_of_the_progress(facts: SourceFacts):
    """1080p has nine times the pixels of 360p: that one done is a tenth of the work."""
    plan = renditions(facts, rendition_heights=(1080, 360))
    tracker = ProgressTracker(plan, started_at=0.0)

    tracker.encoded(plan.runs[0], {"1080p": 0.0, "360p": 60.0})

    assert tracker.now(1.0).percent == 10
    assert tracker.now(1.0).detail == {"1080p": 0, "360p": 99}


def test_hevc_and_av1_are_really_made(
    processor: VideoProcessor, media: Make, tmp_path: Path, look: Callable[[Path], dict[str, Any]]
):
    """By an independent look, with their keyframes where those of H.264 are."""
    settings = ProcessingSettings(
        pipeline="renditions", quality_preset="draft", video_codecs=("hevc", "av1")
    )

    result = processor.process(media("voice.mp4"), settings, output_dir=tmp_path)

    assert [output.video_codec for output in result.output_files] == [
        *("h264", "hevc", "av1"),
        "mjpeg",
    ]
    found = [look(tmp_path / name) for name in ("180p.mp4", "180p_hevc.mp4", "180p_av1.mp4")]
    assert [each["frames"] for each in found] == [120, 120, 120]
    assert [each["codec"] for each in found] == ["h264", "hevc", "libdav1d"]
    assert b"hvc1" in (tmp_path / "180p_hevc.mp4").read_bytes()
