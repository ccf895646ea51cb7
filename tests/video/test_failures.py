"""Every way to fail has a code, says whether to try again, and gives advice."""

from __future__ import annotations

import pickle

import pytest

from videojobs.errors import ProcessingCancelledError
from videojobs.pipelines.failures import StopReason, classify, run_error


@pytest.mark.parametrize(
    ("exit_code", "line", "code", "retryable"),
    [
        (183, "[mov @ 0x55d1] [error] moov atom not found", "corrupt_source", False),
        (1, "[in#0] [error] Error opening input: Invalid data found when processing input",
         "corrupt_source", False),
        (228, "[out#0/mp4] [error] Error muxing a packet: No space left on device",
         "disk_full", True),
        (1, "av_interleaved_write_frame(): No space left on device", "disk_full", True),
        (234, "[in#0] [error] Format hls not on whitelist 'mov,mp4'", "format_refused", False),
        (234, "[fatal] Stream map '0:7' matches no streams.", "no_video_stream", False),
        (8, "[error] Unknown encoder 'libx264'", "ffmpeg_build", False),
        (187, "[libx264] [error] malloc of size 88473600 failed", "out_of_memory", True),
        # Our own limit for one allocation, which a damaged file meets every time.
        (234, "[in#0/mov,mp4,m4a,3gp,3g2,mj2] [error] Error during demuxing: Cannot allocate memory",
         "corrupt_source", False),
        (245, "pthread_create failed: Resource temporarily unavailable", "resource_limit", True),
        (234, "[in#0/matroska,webm] [error] File ended prematurely", "truncated_source", False),
        (234, "[vost#0:0/libx264] [enc:libx264] [error] Could not open encoder before EOF",
         "corrupt_source", False),
        (234, "[fc#0] [error] Error reinitializing filters!", "bad_parameters", False),
        (254, "[out#0] [error] Error opening output: No such file or directory",
         "missing_file", False),
        (243, "[error] Permission denied", "permission_denied", False),
        (69, "", "corrupt_source", False),
        (255, "", "interrupted", True),
        (255, "Exiting normally, received signal 24.", "time_limit", True),
        (-9, "", "out_of_memory", True),
        (-11, "", "ffmpeg_crashed", False),
        (-25, "", "output_too_large", False),
        (77, "", "ffmpeg_failed", False),
    ],
)  # fmt: skip
def test_known_failures_have_a_code(exit_code: int, line: str, code: str, retryable: bool):
    """By their text where there is one, else by the exit code."""
    failure = classify(exit_code, [line])

    assert (failure.code, failure.retryable) == (code, retryable)
    assert failure.advice


def test_warnings_are_not_the_cause():
    """A complaint of an optional library does not hide the full disk."""
    stderr = [
        "[tls] [warning] /etc/ssl: No such file or directory",
        "[out#0] [error] No space left on device",
    ]

    assert classify(228, stderr).code == "disk_full"


def test_a_plan_that_cannot_be_followed_is_no_damaged_source():
    """Its encoders are not opened either, and its owner could do nothing about it."""
    stderr = [
        "[vost#1:0/mjpeg] [enc:mjpeg] [error] Could not open encoder before EOF",
        "[fc#0] [error] Error reinitializing filters!",
    ]

    assert classify(234, stderr).code == "bad_parameters"


@pytest.mark.parametrize(
    ("stopped", "code"), [(StopReason.STALLED, "stalled"), (StopReason.TIME_LIMIT, "time_limit")]
)
def test_what_we_ended_is_named_for_our_reason(stopped: StopReason, code: str):
    """ffmpeg's own exit code then means nothing."""
    error = run_error("clip_01", exit_code=255, stderr=[], stopped=stopped)

    assert (error.code, error.retryable) == (code, True)


def test_cancelling_is_an_error_of_its_own():
    """It is told apart by its class."""
    error = run_error("clip_01", exit_code=255, stderr=[], stopped=StopReason.CANCELLED)

    assert isinstance(error, ProcessingCancelledError)
    assert error.code == "cancelled"


def test_the_message_names_the_first_cause():
    """ffmpeg's last lines say only that something failed."""
    error = run_error(
        "clip_01",
        exit_code=228,
        stderr=[
            "[warning] deprecated pixel format",
            "[out#0/mp4 @ 0x5591d] [error] Error writing trailer: No space left on device",
            "[error] Conversion failed!",
        ],
    )

    assert str(error) == (
        "clip_01 failed: there is no space left on the worker's disk ([out#0/mp4] [error] Error "
        "writing trailer: No space left on device). Free some space in the work folder, or let "
        "another worker try."
    )


def test_the_tail_shows_no_paths_and_is_bounded():
    """Folders of the worker are nobody's business."""
    stderr = ["[error] Error opening file:/srv/secret/job-7/clip_01.mp4.part"] * 50

    error = run_error("clip_01", exit_code=254, stderr=stderr)

    assert len(error.stderr_tail) == 12
    assert error.stderr_tail[-1] == "[error] Error opening clip_01.mp4.part"


def test_failures_survive_pickling():
    """They cross process borders with all their facts."""
    error = run_error("clip_01", exit_code=228, stderr=["[error] No space left on device"])

    revived = pickle.loads(pickle.dumps(error))

    assert (revived.code, revived.exit_code, revived.retryable) == ("disk_full", 228, True)
    assert revived.stderr_tail == error.stderr_tail
