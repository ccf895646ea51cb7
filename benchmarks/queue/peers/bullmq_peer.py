"""BullMQ for Python on its Postgres backend."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import psycopg
from bullmq import Queue, Worker
from bullmq.backends.postgres_connection import run_migrations
from protocol import (
    DATABASE_URL,
    POLL_SECONDS,
    QUEUE,
    Countdown,
    answer,
    milliseconds_since,
    say_ready,
)

OPTIONS = {"backend": "postgres", "connection": DATABASE_URL}


async def new_queue() -> Queue:
    queue = Queue(QUEUE, OPTIONS)
    await queue.backend.waitUntilReady()
    return queue


async def new_worker(handler: object, concurrency: int = 1) -> Worker:
    worker = Worker(QUEUE, handler, {**OPTIONS, "concurrency": concurrency, "autorun": False})
    await worker.backend.waitUntilReady()
    worker.on("error", lambda *told: print("bullmq:", *told, file=sys.stderr))
    return worker


async def prepare() -> None:
    async with await psycopg.AsyncConnection.connect(DATABASE_URL) as connection:
        await run_migrations(connection)


async def create(count: int) -> float:
    queue = await new_queue()
    jobs = [{"name": "noop", "data": {"at": 0.0}}] * count
    start = time.perf_counter()
    await queue.addBulk(jobs)
    return time.perf_counter() - start


async def drain(count: int, concurrency: int) -> float:
    left = Countdown(count)

    async def noop(job: object, token: str) -> None:
        left.down()

    queue = await new_queue()
    worker = await new_worker(noop, concurrency)
    start = time.perf_counter()
    running = asyncio.create_task(worker.run())
    await left.over()
    while any((await queue.getJobCounts("active", "waiting")).values()):
        await asyncio.sleep(POLL_SECONDS)
    taken = time.perf_counter() - start
    running.cancel()
    return taken


async def work(count: int) -> list[float]:
    left = Countdown(count)
    waits: list[float] = []

    async def noop(job: object, token: str) -> None:
        waits.append(milliseconds_since(job.data["at"]))
        left.down()

    running = asyncio.create_task((await new_worker(noop)).run())
    say_ready()
    await left.over()
    running.cancel()
    return waits


async def trickle(count: int, gap_seconds: tuple[float, float]) -> None:
    queue = await new_queue()
    for _ in range(count):
        await asyncio.sleep(random.uniform(*gap_seconds))
        await queue.add("noop", {"at": time.monotonic()})


async def claim(count: int, warm_up: int) -> list[float]:
    async def noop(job: object, token: str) -> None:
        """Never called."""

    worker = await new_worker(noop)
    times: list[float] = []
    for number in range(warm_up + count):
        start = time.monotonic()
        found = await worker.backend.moveToActive(f"token:{number}", worker.opts)
        times.append(milliseconds_since(start))
        assert found[0]
    return times[warm_up:]


if __name__ == "__main__":
    answer({each.__name__: each for each in (prepare, create, drain, work, trickle, claim)})
