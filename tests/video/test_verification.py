"""What is called finished was checked."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from videojobs.pipelines.loudness import (
    Loudness,
    corrected_gain,
    first_gain,
    loudness_error,
    loudness_warning,
    needs_another_look,
    read_loudness,
)
from videojobs.pipelines.plan import LoudnessGoal, PlannedOutput
from videojobs.pipelines.verification import OutputFacts, is_decoded_whole, output_error

PLANNED = PlannedOutput(
    name="clip_01",
    file_name="clip_01.mp4",
    width=1080,
    height=1920,
    duration_seconds=10.0,
    frame_rate=Fraction(30),
    has_audio=True,
    max_size_bytes=300_000_000,
    keyframe_seconds=2.0,
    source_start_seconds=5.0,
    source_end_seconds=15.0,
)
FOUND = OutputFacts(
    size_bytes=4_000_000,
    width=1080,
    height=1920,
    video_codec="h264",
    duration_seconds=10.0,
    audio_seconds=10.02,
    frame_count=300,
    frame_rate=Fraction(30),
    pixel_format="yuv420p",
    audio_codec="aac",
    longest_keyframe_gap_seconds=2.0,
)
GOAL = LoudnessGoal(arguments=(), target_lufs=-14.0, ceiling_dbtp=-1.5)


def test_a_file_that_keeps_its_promises_is_accepted():
    """All rules hold."""
    assert output_error(PLANNED, FOUND) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"width": 1920, "height": 1080}, "it is 1920x1080 and not 1080x1920"),
        ({"decode_error": "Invalid data"}, "it does not decode (Invalid data)"),
        ({"size_bytes": 400_000_000}, "more than is allowed"),
        ({"video_codec": "hevc"}, "its codec is hevc"),
        ({"pixel_format": "yuv444p"}, "its pixels are yuv444p"),
        ({"sample_aspect_ratio": Fraction(4, 3)}, "not square"),
        ({"rotation_degrees": 90}, "asks to be rotated"),
        ({"duration_seconds": 10.5, "frame_count": 315}, "0.50 s too long"),
        ({"frame_rate": Fraction(25)}, "25 frames a second"),
        ({"frame_count": 250}, "it has 250 frames"),
        ({"audio_codec": None}, "it lacks its sound"),
        ({"audio_seconds": 8.0}, "differ in length"),
        ({"is_whole": False}, "it is cut short"),
        ({"is_faststart": False}, "its index is not at its beginning"),
        ({"has_edit_list": True}, "it has an edit list"),
        ({"has_ordered_times": False}, "its times go backwards"),
        ({"longest_keyframe_gap_seconds": 3.0}, "keyframes are too far apart"),
    ],
)
def test_each_broken_promise_is_named(change: dict[str, object], told: str):
    """The file is not published, and the message says what is wrong with it."""
    error = output_error(PLANNED, replace(FOUND, **change))

    assert error is not None
    assert error.code == "invalid_output"
    assert told in str(error)


def test_a_short_file_means_that_the_source_broke_off():
    """ffmpeg ends with 0 when its source does; the length alone tells."""
    error = output_error(PLANNED, replace(FOUND, duration_seconds=6.0, frame_count=180))

    assert error is not None
    assert (error.code, error.retryable) == ("truncated_source", False)
    assert "up to second 11.0 of the source" in str(error)


def test_the_meter_is_read():
    """The summary's lines, and no others."""
    lines = ["[info] Summary:", "    I:         -21.8 LUFS", "    Peak:      -20.7 dBFS"]

    assert read_loudness(lines) == Loudness(-21.8, -20.7)
    assert read_loudness(["[error] nothing"]) is None


def test_gain_is_the_distance_to_the_target():
    """A sound with room above it needs no second look."""
    measured = Loudness(-20.0, -12.0)

    assert first_gain(measured, GOAL) == 6.0
    assert not needs_another_look(measured, GOAL, 6.0)


def test_what_the_limiter_takes_is_given_back():
    """A peaky sound is measured again behind the limiter, and raised by what is missing."""
    measured = Loudness(-24.0, -3.0)

    assert needs_another_look(measured, GOAL, 10.0)
    assert corrected_gain(10.0, Loudness(-16.0, -1.5), GOAL) == 12.0


def test_silence_is_left_alone():
    """There is nothing to raise but noise."""
    silence = Loudness(-99.0, -99.0)

    assert first_gain(silence, GOAL) == 0.0
    assert loudness_warning("clip_01", silence, GOAL) == "clip_01 is silent"


def test_a_missed_target_is_told():
    """More than 1 LU beside it is worth a word."""
    assert loudness_warning("clip_01", Loudness(-14.9, -2.0), GOAL) is None
    assert "-18.2 LUFS instead of -14" in str(
        loudness_warning("clip_01", Loudness(-18.2, -2.0), GOAL)
    )


def test_a_target_that_was_missed_without_a_reason_is_an_error():
    """The gain had room, and so had the peaks: something is wrong with the file."""
    error = loudness_error("clip_01", Loudness(-16.2, -6.0), GOAL, 8.0)

    assert error is not None
    assert (error.code, error.retryable) == ("invalid_output", False)
    assert "-16.2 LUFS instead of -14" in str(error)


@pytest.mark.parametrize(
    ("achieved", "gain_db"),
    [
        (Loudness(-14.9, -6.0), 8.0),  # within 1 LU
        (Loudness(-18.0, -3.0), 8.0),  # the limiter holds the peaks down
        (Loudness(-30.0, -12.0), 24.0),  # more gain would raise a room's noise
        (Loudness(-70.0, -80.0), 0.0),  # silence
    ],
)
def test_a_target_that_could_not_be_met_is_none(achieved: Loudness, gain_db: float):
    """To meet it in spite of that would harm the sound."""
    assert loudness_error("clip_01", achieved, GOAL, gain_db) is None


@pytest.mark.parametrize(
    ("change", "whole"),
    [
        ({}, True),
        ({"duration_seconds": 900.0}, True),
        ({"source_start_seconds": None, "duration_seconds": 60.0}, True),
        ({"source_start_seconds": None, "duration_seconds": 5400.0}, False),
        ({"part_of": "720p", "duration_seconds": 60.0}, False),
        ({"kind": "poster", "duration_seconds": 0.0}, False),
    ],
)
def test_clips_are_decoded_whole_and_films_in_part(change: dict[str, object], whole: bool):
    """A tenth of the encode is well spent on what is short."""
    assert is_decoded_whole(replace(PLANNED, **change)) is whole
