"""What the worker costs over the bare ffmpeg commands of the same plan."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from videojobs import NewVideoJob, Settings, VideoJob, VideoJobManager
from videojobs.local import LocalStack
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.sample import make_sample
from videojobs.pipelines.plan import SOURCE_NAME
from videojobs.processor import ProcessingSettings, VideoProcessor
from videojobs.storage import LocalStorage
from videojobs.worker import Worker

GOAL = 1.03
ROUNDS = 3


def worker_against_ffmpeg(stack: LocalStack) -> list[str]:
    """Wall time of one job each of clips and renditions, in turns; the medians."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_sample(root / "sample.mp4", find_ffmpeg())
        settings = Settings(work_dir=root / "work")
        with VideoJobManager.from_url(stack.database_url, settings=settings) as manager:
            return [
                _compared(
                    manager, root, _wish("clips", clip_count=3, settings={"clip_choice": "spread"})
                ),
                _compared(manager, root, _wish("renditions")),
            ]


def _wish(pipeline: str, **fields: object) -> NewVideoJob:
    return NewVideoJob(user_id=uuid4(), source_url="sample.mp4", pipeline=pipeline, **fields)


def _compared(manager: VideoJobManager, root: Path, wish: NewVideoJob) -> str:
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        job = manager.create_job(wish)
        ours.append(_worker_seconds(manager, root))
        bare.append(_bare_seconds(manager.get_job(job.id), root))
    ratio = statistics.median(ours) / statistics.median(bare)
    verdict = "ok" if ratio <= GOAL else "ABOVE GOAL"
    return (
        f"worker, {wish.pipeline:26} ours {statistics.median(ours):6.2f} s"
        f"  bare {statistics.median(bare):6.2f} s  ratio {ratio:5.3f} (goal {GOAL}) {verdict}"
    )


def _worker_seconds(manager: VideoJobManager, root: Path) -> float:
    worker = Worker(manager, storage=LocalStorage(root))
    start = time.perf_counter()
    worker.run(until_idle=True)
    return time.perf_counter() - start


def _bare_seconds(job: VideoJob, root: Path) -> float:
    """The plan's own command lines, as many at once as the plan runs at once."""
    processor = VideoProcessor()
    plan = processor.plan(root / "sample.mp4", ProcessingSettings.from_job(job))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / SOURCE_NAME).symlink_to(root / "sample.mp4")
        start = time.perf_counter()
        with ThreadPoolExecutor(plan.concurrency) as pool:
            list(pool.map(lambda command: _run(command, folder), plan.commands(processor.ffmpeg)))
        return time.perf_counter() - start


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
