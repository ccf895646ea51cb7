"""One ffmpeg process: watched, bounded, and gone when it should be."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.runner import RunLimits, run_ffmpeg
from videojobs.pipelines.failures import StopReason, run_error

LIMITS = RunLimits(expected_seconds=4.0, deadline_seconds=30.0, max_output_bytes=100_000_000)
#: Says that it has begun, and then does not obey TERM.
STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('progress=continue', flush=True); time.sleep(60)"
)
SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=30:duration=4")
HEAD = ("-hide_banner", "-nostats", "-progress", "pipe:1", "-loglevel", "repeat+level+warning")


def test_a_run_reports_its_progress_to_the_end(tmp_path: Path):
    """The last report has the whole duration."""
    seconds: list[float] = []

    report = run_ffmpeg(
        [find_ffmpeg(), *HEAD, *SOURCE, "-c:v", "ffv1", "-f", "matroska", "file:a.part"],
        folder=tmp_path,
        limits=LIMITS,
        on_block=lambda block: seconds.append(block.out_seconds),
    )

    assert (report.exit_code, report.stopped) == (0, None)
    assert seconds[-1] >= 3.9
    assert (tmp_path / "a.part").stat().st_size > 0


def test_a_process_that_ignores_term_is_gone_within_two_seconds(tmp_path: Path):
    """Asked first, then killed."""
    begun = threading.Event()
    asked_at: list[float] = []

    def should_stop() -> bool:
        if begun.is_set() and not asked_at:
            asked_at.append(time.monotonic())
        return begun.is_set()

    report = run_ffmpeg(
        [sys.executable, "-c", STUBBORN],
        folder=tmp_path,
        limits=LIMITS,
        should_stop=should_stop,
        on_block=lambda _: begun.set(),
    )

    assert time.monotonic() - asked_at[0] < 2.0
    assert (report.exit_code, report.stopped) == (-9, StopReason.CANCELLED)


def test_a_run_does_not_outlast_its_deadline(tmp_path: Path):
    """Even when it obeys nothing."""
    limits = RunLimits(expected_seconds=4, deadline_seconds=0.2, max_output_bytes=1000)

    report = run_ffmpeg([sys.executable, "-c", STUBBORN], folder=tmp_path, limits=limits)

    assert report.stopped is StopReason.TIME_LIMIT


def test_an_exception_of_the_listener_ends_the_run(tmp_path: Path):
    """It is raised to the caller, and nothing goes on behind it."""

    def refuse(_: object) -> None:
        raise LookupError("the lease is lost")

    started_at = time.monotonic()
    try:
        run_ffmpeg(
            [sys.executable, "-c", STUBBORN], folder=tmp_path, limits=LIMITS, on_block=refuse
        )
    except LookupError as error:
        assert str(error) == "the lease is lost"

    assert time.monotonic() - started_at < 2.5


def test_much_stderr_neither_blocks_nor_fills_memory(tmp_path: Path):
    """The first lines are kept for the cause and the last for the context."""
    shout = "import sys; [sys.stderr.write(f'line {n}\\n') for n in range(200_000)]"

    report = run_ffmpeg([sys.executable, "-c", shout], folder=tmp_path, limits=LIMITS)

    assert len(report.stderr) == 300
    assert (report.stderr[0], report.stderr[-2]) == ("line 0", "line 199999")


def test_an_output_beyond_its_limit_ends_the_run(tmp_path: Path):
    """The kernel stops a file that grows without end."""
    limits = RunLimits(expected_seconds=4, deadline_seconds=30, max_output_bytes=50_000)

    report = run_ffmpeg(
        [find_ffmpeg(), *HEAD, *SOURCE, "-c:v", "rawvideo", "-f", "nut", "file:a.part"],
        folder=tmp_path,
        limits=limits,
    )

    error = run_error("clip_01", exit_code=report.exit_code, stderr=report.stderr)
    assert error.code == "output_too_large"
    assert (tmp_path / "a.part").stat().st_size <= 50_000


def test_the_child_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch):
    """FFREPORT would write files, and http_proxy open connections."""
    monkeypatch.setenv("FFREPORT", "file=report.log")

    run_ffmpeg([find_ffmpeg(), *HEAD, *SOURCE, "-f", "null", "-"], folder=tmp_path, limits=LIMITS)

    assert list(tmp_path.iterdir()) == []


def test_a_missing_executable_is_told_by_its_name(tmp_path: Path):
    """Not by a traceback of the launcher."""
    report = run_ffmpeg(["/nowhere/ffmpeg"], folder=tmp_path, limits=LIMITS)

    assert report.exit_code == 127
    assert report.stderr[0] == "[fatal] /nowhere/ffmpeg: No such file or directory"


def test_a_failed_run_keeps_the_last_lines(tmp_path: Path):
    """With the code, and without the folder."""
    report = run_ffmpeg(
        [find_ffmpeg(), *HEAD, "-i", f"file:{tmp_path}/nothing.mp4", "-f", "null", "-"],
        folder=tmp_path,
        limits=LIMITS,
    )

    error = run_error("clip_01", exit_code=report.exit_code, stderr=report.stderr)
    assert error.code == "missing_file"
    assert "No such file or directory" in error.stderr_tail[0]
    assert str(tmp_path) not in " ".join(error.stderr_tail)
