"""pgqueuer on one asyncpg connection under uvloop, as its own command line runs it."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from uuid import uuid4

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.core.qm import EntrypointExecutionParameter
from protocol import (
    DATABASE_URL,
    POLL_SECONDS,
    Countdown,
    answer,
    milliseconds_since,
    say_ready,
)

# It demands a cap of at least twice the batch.
MODES = {
    1: {"batch_size": 1, "max_concurrent_tasks": 2},
    10: {"batch_size": 5, "max_concurrent_tasks": 10},
}


async def driver() -> AsyncpgDriver:
    return AsyncpgDriver(await asyncpg.connect(DATABASE_URL))


async def prepare() -> None:
    await Queries(await driver()).install()


async def create(count: int) -> float:
    queries = Queries(await driver())
    entrypoints, payloads, priorities = ["noop"] * count, [b"0"] * count, [0] * count
    start = time.perf_counter()
    await queries.enqueue(entrypoints, payloads, priorities)
    return time.perf_counter() - start


async def drain(count: int, concurrency: int) -> float:
    queuer = PgQueuer(await driver())
    left = Countdown(count)

    @queuer.entrypoint("noop")
    async def noop(job: object) -> None:
        left.down()

    checker = await asyncpg.connect(DATABASE_URL)
    start = time.perf_counter()
    worker = asyncio.create_task(queuer.run(**MODES[concurrency]))
    await left.over()
    while await checker.fetchval("select 1 from pgqueuer limit 1"):
        await asyncio.sleep(POLL_SECONDS)
    taken = time.perf_counter() - start
    worker.cancel()
    return taken


async def work(count: int) -> list[float]:
    queuer = PgQueuer(await driver())
    left = Countdown(count)
    waits: list[float] = []

    @queuer.entrypoint("noop")
    async def noop(job: object) -> None:
        waits.append(milliseconds_since(float(job.payload)))
        left.down()

    worker = asyncio.create_task(queuer.run())
    say_ready()
    await left.over()
    worker.cancel()
    return waits


async def trickle(count: int, gap_seconds: tuple[float, float]) -> None:
    queries = Queries(await driver())
    for _ in range(count):
        await asyncio.sleep(random.uniform(*gap_seconds))
        await queries.enqueue("noop", repr(time.monotonic()).encode())


async def claim(count: int, warm_up: int) -> list[float]:
    queries = Queries(await driver())
    manager_id = uuid4()
    entrypoints = {"noop": EntrypointExecutionParameter(concurrency_limit=0)}
    times: list[float] = []
    for _ in range(warm_up + count):
        start = time.monotonic()
        jobs = await queries.dequeue(
            batch_size=1,
            entrypoints=entrypoints,
            queue_manager_id=manager_id,
            global_concurrency_limit=None,
            heartbeat_timeout=timedelta(hours=1),
        )
        times.append(milliseconds_since(start))
        assert len(jobs) == 1
    return times[warm_up:]


if __name__ == "__main__":
    commands = (prepare, create, drain, work, trickle, claim)
    answer({each.__name__: each for each in commands}, uvloop.run)
