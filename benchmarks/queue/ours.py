"""The same commands for this project: its worker, and its manager without the worker."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg

from benchmarks.queue.peers.protocol import (
    DATABASE_URL,
    POLL_SECONDS,
    TIMEOUT_SECONDS,
    answer,
    milliseconds_since,
    say_ready,
)
from videojobs import Lease, NewVideoJob, Settings, VideoJobManager, calls, migrations
from videojobs.processor import ProcessingResult
from videojobs.worker import Worker

UNFINISHED = "select from public.video_jobs where status in ('queued', 'processing') limit 1"


class NoStorage:
    """Has every source and keeps nothing."""

    def check(self) -> None:
        """It is there."""

    def fetch(self, source_url: str, into: Path, *, cancel: threading.Event | None = None) -> Path:
        """The name, for the processor."""
        return Path(source_url)

    def publish(
        self, files: Mapping[str, Path], prefix: str, *, cancel: threading.Event | None = None
    ) -> Mapping[str, str]:
        """There is nothing to keep."""
        return {}

    def remove(self, prefix: str) -> None:
        """There is nothing to remove."""

    def signed_url(self, path: str, expires_in: timedelta) -> str:
        """There is nothing to read."""
        raise NotImplementedError


class NoWork:
    """A processor that only notes when it was called, and with what."""

    pipelines = ("clips",)

    def __init__(self, count: int) -> None:
        self.done = threading.Event()
        self.waits: list[float] = []
        self._count = count
        self._lock = threading.Lock()

    def check(self) -> None:
        """It is there."""

    def process(self, source: Path, settings: object, **_: object) -> ProcessingResult:
        """No outputs, in no time."""
        wait = milliseconds_since(float(source.name))
        with self._lock:
            self.waits.append(wait)
            if len(self.waits) == self._count:
                self.done.set()
        return ProcessingResult(
            output_files=(), files=(), warnings=(), processing_seconds=0.0, source=None
        )  # type: ignore[arg-type]


def new_manager() -> VideoJobManager:
    # In memory, where there is such a folder: the peers' handlers touch no disk either.
    memory = Path("/dev/shm")
    root = memory if memory.is_dir() else Path(tempfile.gettempdir())
    settings = Settings(work_dir=root / "videojobs-bench")
    return VideoJobManager.from_url(DATABASE_URL, settings=settings)


def start_worker(processor: NoWork, concurrency: int) -> None:
    worker = Worker(new_manager(), processor, storage=NoStorage(), concurrency=concurrency)  # type: ignore[arg-type]
    threading.Thread(target=worker.run, daemon=True).start()


def prepare() -> None:
    migrations.bootstrap(DATABASE_URL)
    migrations.migrate(DATABASE_URL)


def create(count: int) -> float:
    owner = uuid4()
    jobs = [NewVideoJob(user_id=owner, source_url="0") for _ in range(count)]
    with new_manager() as manager:
        manager.check()  # connects
        start = time.perf_counter()
        manager.create_jobs(jobs)
        return time.perf_counter() - start


def drain(count: int, concurrency: int) -> float:
    """By the worker."""
    processor = NoWork(count)
    return _until_all_are_final(lambda: _work_through(processor, concurrency))


def drain_by_hand(count: int, concurrency: int) -> float:
    """By the manager: what was claimed is completed and the next claimed in one call, as the worker does."""
    manager = new_manager()
    manager.check()

    def exchange(leases: Sequence[Lease]) -> Sequence[Lease]:
        done = [
            calls.Settlement(job_id=each.job_id, run_token=each.run_token, outcome="completed")
            for each in leases
        ]
        wish = calls.ClaimWish(
            worker="bench",
            claim_key=uuid4(),
            queues=["default"],
            pipelines=["clips"],
            limit=concurrency,
            lease_seconds=60,
            hard_limit_seconds=None,
        )
        return manager.perform(calls.settle_jobs(done, wish)).leases

    def loop() -> None:
        leases: Sequence[Lease] = exchange([])
        while leases:
            leases = exchange(leases)

    return _until_all_are_final(loop)


def _work_through(processor: NoWork, concurrency: int) -> None:
    start_worker(processor, concurrency)
    assert processor.done.wait(TIMEOUT_SECONDS)


def _until_all_are_final(do: Callable[[], None]) -> float:
    with psycopg.connect(DATABASE_URL, autocommit=True) as checker:
        start = time.perf_counter()
        do()
        while checker.execute(UNFINISHED).fetchone() is not None:
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - start


def work(count: int) -> list[float]:
    processor = NoWork(count)
    start_worker(processor, 1)
    say_ready()
    assert processor.done.wait(TIMEOUT_SECONDS)
    return processor.waits


def trickle(count: int, gap_seconds: tuple[float, float]) -> None:
    owner = uuid4()
    with new_manager() as manager:
        manager.check()
        for _ in range(count):
            time.sleep(random.uniform(*gap_seconds))
            manager.create_job(user_id=owner, source_url=repr(time.monotonic()))


def claim(count: int, warm_up: int) -> list[float]:
    times: list[float] = []
    with new_manager() as manager:
        for _ in range(warm_up + count):
            start = time.monotonic()
            leases = manager.claim_jobs("bench", limit=1, lease=timedelta(hours=1))
            times.append(milliseconds_since(start))
            assert len(leases) == 1
    return times[warm_up:]


if __name__ == "__main__":
    commands = (prepare, create, drain, drain_by_hand, work, trickle, claim)
    answer({each.__name__: each for each in commands})
