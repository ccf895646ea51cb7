"""procrastinate with its async psycopg connector and that one's default pool."""

from __future__ import annotations

import asyncio
import random
import time

import procrastinate
import psycopg
from protocol import (
    DATABASE_URL,
    POLL_SECONDS,
    TIMEOUT_SECONDS,
    Countdown,
    answer,
    milliseconds_since,
    say_ready,
)

UNFINISHED = "select 1 from procrastinate_jobs where status in ('todo', 'doing') limit 1"


def new_app() -> procrastinate.App:
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DATABASE_URL))


async def prepare() -> None:
    app = new_app()
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def create(count: int) -> float:
    app = new_app()
    task = app.configure_task("noop")
    jobs = [{"at": 0.0}] * count
    async with app.open_async():
        start = time.perf_counter()
        await task.batch_defer_async(*jobs)
        return time.perf_counter() - start


async def drain(count: int, concurrency: int) -> float:
    app = new_app()
    left = Countdown(count)

    @app.task(name="noop")
    async def noop(at: float) -> None:
        left.down()

    async with app.open_async():
        checker = await psycopg.AsyncConnection.connect(DATABASE_URL, autocommit=True)
        start = time.perf_counter()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)
        )
        await left.over()
        while await (await checker.execute(UNFINISHED)).fetchone():
            await asyncio.sleep(POLL_SECONDS)
        taken = time.perf_counter() - start
        worker.cancel()
    return taken


async def work(count: int) -> list[float]:
    app = new_app()
    left = Countdown(count)
    waits: list[float] = []

    @app.task(name="noop")
    async def noop(at: float) -> None:
        waits.append(milliseconds_since(at))
        left.down()

    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=1, install_signal_handlers=False)
        )
        say_ready()
        await left.over()
        worker.cancel()
    return waits


async def trickle(count: int, gap_seconds: tuple[float, float]) -> None:
    app = new_app()
    task = app.configure_task("noop")
    async with app.open_async():
        for _ in range(count):
            await asyncio.sleep(random.uniform(*gap_seconds))
            await task.defer_async(at=time.monotonic())


async def claim(count: int, warm_up: int) -> list[float]:
    app = new_app()
    times: list[float] = []
    async with app.open_async():
        worker_id = await app.job_manager.register_worker()
        for _ in range(warm_up + count):
            start = time.monotonic()
            job = await asyncio.wait_for(
                app.job_manager.fetch_job(queues=None, worker_id=worker_id), TIMEOUT_SECONDS
            )
            times.append(milliseconds_since(start))
            assert job is not None
    return times[warm_up:]


if __name__ == "__main__":
    answer({each.__name__: each for each in (prepare, create, drain, work, trickle, claim)})
