"""What segments cost over one piece, and what a second worker brings; peak memory of a long film."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psutil

from videojobs import JobStatus, Settings, VideoJobManager
from videojobs.local import LocalStack
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.sample import SAMPLE_SECONDS, make_sample
from videojobs.processor import ProcessingSettings, VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker

ROUNDS = 3
REPEATS = 4
SEGMENT_SECONDS = 18
OVERHEAD_GOAL = 1.05
MEMORY_GOAL = 1.25


def lines(stack: LocalStack) -> Iterator[str]:
    """A film of 80 s at 720p and 480p: whole, in segments, and by two workers; then memory."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        film = _film(root)
        yield _segments_against_one_piece(root, film)
        yield _two_workers_against_one(stack, root)
        yield from _memory(root)


def _film(root: Path) -> Path:
    sample, film = root / "sample.mp4", root / "film.mp4"
    make_sample(sample, find_ffmpeg())
    _ffmpeg("-stream_loop", REPEATS - 1, "-i", sample, "-c", "copy", film)
    return film


def _segments_against_one_piece(root: Path, film: Path) -> str:
    found: dict[float, list[float]] = {0: [], SEGMENT_SECONDS: []}
    for _ in range(ROUNDS):
        for seconds, times in found.items():
            wish = ProcessingSettings(pipeline="renditions", segment_seconds=seconds)
            times.append(_seconds(lambda wish=wish: _process(film, wish, root)))
    whole, cut = (statistics.median(times) for times in found.values())
    return (
        f"{'film in segments':34} ours {cut:6.2f} s  one piece {whole:6.2f} s"
        f"  ratio {cut / whole:5.3f} (goal {OVERHEAD_GOAL}) {_verdict(cut / whole, OVERHEAD_GOAL)}"
    )


def _process(film: Path, wish: ProcessingSettings, root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root) as output:
        VideoProcessor(work_dir=root / "work").process(film, wish, output_dir=output)


def _two_workers_against_one(stack: LocalStack, root: Path) -> str:
    one, two = (_film_seconds(stack, root, workers) for workers in (1, 2))
    return (
        f"{'film shared by two workers':34} two {two:6.2f} s  one {one:6.2f} s"
        f"  ratio {two / one:5.3f} on {os.cpu_count()} cores"
    )


def _film_seconds(stack: LocalStack, root: Path, workers: int) -> float:
    settings = Settings(work_dir=root / "work")
    with VideoJobManager.from_url(stack.database_url, settings=settings) as manager:
        # As on machines of their own: each worker's ffmpeg has one core.
        all_workers = [
            Worker(
                manager,
                VideoProcessor(work_dir=root / "work", cores=1),
                storage=LocalStorage(root),
            )
            for _ in range(workers)
        ]
        job = manager.create_job(
            user_id=uuid4(),
            source_url="film.mp4",
            pipeline="renditions",
            settings={"segment_seconds": SEGMENT_SECONDS, "fan_out": True},
        )
        threads = [threading.Thread(target=worker.run) for worker in all_workers]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        ended = manager.wait_for_job(job.id)
        seconds = time.perf_counter() - start
        for worker in all_workers:
            worker.stop()
        for thread in threads:
            thread.join()
    assert ended.status is JobStatus.COMPLETED, ended.error_message
    return seconds


def _memory(root: Path) -> Iterator[str]:
    """The peak of the process and all that it starts, for sources of 1, 4 and 60 minutes.

    That of one minute is encoded in one piece; the other two in segments, two at once, so that
    only they tell whether memory grows with the film.
    """
    one, four, sixty = (_peak_megabytes(root, minutes) for minutes in (1, 4, 60))
    yield _memory_line("peak memory, 60 min against 4 min", sixty, four)
    yield _memory_line("the same against 1 min, one piece", sixty, one)


def _memory_line(name: str, peak: float, other: float) -> str:
    ratio = peak / other
    return (
        f"{name:34} {peak:6.0f} MB  {other:6.0f} MB"
        f"  ratio {ratio:5.2f} (goal {MEMORY_GOAL}) {_verdict(ratio, MEMORY_GOAL)}"
    )


def _peak_megabytes(root: Path, minutes: int) -> float:
    small, source = root / "small.mp4", root / f"{minutes}.mp4"
    if not small.exists():
        _ffmpeg(
            *("-i", root / "sample.mp4", "-vf", "scale=160:90,fps=10"),
            *("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "32k", small),
        )
    _ffmpeg("-stream_loop", minutes * 60 // SAMPLE_SECONDS - 1, "-i", small, "-c", "copy", source)
    code = (
        "import sys; from videojobs.processor import *; "
        "VideoProcessor(work_dir=sys.argv[2], cores=2).process(sys.argv[1], "
        "ProcessingSettings(pipeline='renditions'), output_dir=sys.argv[3])"
    )
    process = psutil.Popen(
        [sys.executable, "-c", code, source, root / "work", root / f"out{minutes}"]
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident_bytes(process))
        time.sleep(0.05)
    assert process.returncode == 0
    return peak / 1e6


def _resident_bytes(process: psutil.Popen) -> int:
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def _verdict(ratio: float, goal: float) -> str:
    return "ok" if ratio <= goal else "ABOVE GOAL"


def _ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)
