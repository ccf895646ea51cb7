"""Five hundred browsers follow jobs on one real server, for a minute with fifty changes a second.

Some of them are cut off all the time and come back with their Last-Event-ID. In the end each must know
of each of its jobs how it ended. First everybody follows his own jobs, so that each change goes to five
browsers; then all of them follow all jobs.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import psutil

from videojobs import AsyncVideoJobManager, Settings
from videojobs.local import LocalStack

_CLIENTS, _USERS = 500, 100
_CHANGES_A_SECOND = 50
_RESTLESS = 0.2
_PATH = "/api/v1/user/jobs/live"
_SERVER = """
import json, sys, uvicorn
from videojobs import AsyncVideoJobManager, Settings
from videojobs.settings import WebSettings
from videojobs.web import create_app
facts = json.loads(sys.argv[1])
web = WebSettings(requests_per_minute=0, streams_per_user=0)
settings = Settings(database_url=facts["url"], transport="postgres", jwt_secret=facts["secret"],
                    jwt_issuer=facts["issuer"], web=web)
app = create_app(lambda: AsyncVideoJobManager.from_url(facts["url"], settings=settings), settings=web)
uvicorn.run(app, port=facts["port"], log_level="error", access_log=False, timeout_graceful_shutdown=1)
"""


@dataclass
class _World:
    """What happened, and when; and what the clients saw of it."""

    committed: dict[tuple[bytes, bytes], float] = field(
        default_factory=dict[tuple[bytes, bytes], float]
    )
    """By job and status, when the call that made it so came back."""
    owners: dict[bytes, int] = field(default_factory=dict[bytes, int])
    delays: list[float] = field(default_factory=list[float])
    events: int = 0
    resets: int = 0
    breaks: int = 0


class _Browser(asyncio.Protocol):
    """One reader of server-sent events, on a bare socket."""

    def __init__(self, world: _World, port: int, token: str, user: int, scope: str) -> None:
        self._world = world
        self._port = port
        self._head = (
            f"GET {_PATH}?scope={scope} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        )
        self.user = user
        self.known: dict[bytes, bytes] = {}
        self._last_id = b""
        self._rest = b""
        self.is_ready = asyncio.Event()
        self._ended = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    async def run(self) -> None:
        """Follow, and come back whenever the connection is lost."""
        loop = asyncio.get_running_loop()
        while True:
            self._ended.clear()
            self._rest = b""
            with suppress(ConnectionError):
                await loop.create_connection(lambda: self, "127.0.0.1", self._port)
                await self._ended.wait()
            self._world.breaks += 1
            await asyncio.sleep(random.random())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask, from where the last connection ended."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        resume = f"Last-Event-ID: {self._last_id.decode()}\r\n" if self._last_id else ""
        transport.write(f"{self._head}{resume}\r\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """Come back."""
        self.transport = None
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        """Hear whole events; what is left is the beginning of the next."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        now = time.perf_counter()
        for event in events:
            if (start := event.find(b"\ndata: ")) >= 0:
                self._hear(event, start, now)

    def _hear(self, event: bytes, data: int, now: float) -> None:
        # Before the id stands what HTTP says of the chunk.
        first = event.index(b"id: ") + 4
        self._last_id = event[first : event.index(b"\n", first)]
        if event.startswith(b"reset", event.index(b"event: ") + 7):
            self._world.resets += 1
            self.is_ready.set()
            return
        self._world.events += 1
        job, status = _value(event, b'"job_id":"', data), _value(event, b'"status":"', data)
        # Once for each change and reader; what comes again after a break is no news.
        if self.known.get(job) != status:
            self.known[job] = status
            if (at := self._world.committed.get((job, status))) is not None:
                self._world.delays.append(now - at)


def _value(event: bytes, key: bytes, data: int) -> bytes:
    start = event.index(key, data) + len(key)
    return event[start : event.index(b'"', start)]


def lines(stack: LocalStack) -> Iterator[str]:
    """Delay from commit to browser, memory and CPU of the server, and what was missed: nothing."""
    seconds = float(os.environ.get("LIVE_SECONDS", "60"))
    yield from asyncio.run(_measured(stack, "own jobs", "own", seconds))
    yield from asyncio.run(_measured(stack, "all jobs", "visible", seconds))


async def _measured(stack: LocalStack, name: str, scope: str, seconds: float) -> list[str]:
    users = [uuid4() for _ in range(_USERS)]
    admin = {"role": "admin"} if scope == "visible" else None
    port = _free_port()
    facts = {
        "url": stack.database_url,
        "secret": stack.jwt_secret,
        "issuer": stack.issuer,
        "port": port,
    }
    world = _World()
    server = subprocess.Popen([sys.executable, "-c", _SERVER, json.dumps(facts)], cwd=Path.cwd())  # noqa: ASYNC220 # before anything is timed
    try:
        await _listening(port)
        browsers = [
            _Browser(
                world,
                port,
                stack.user_token(users[i % _USERS], app_metadata=admin),
                i % _USERS,
                scope,
            )
            for i in range(_CLIENTS)
        ]
        running = [asyncio.create_task(each.run()) for each in browsers]
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.is_ready.wait() for each in browsers))
        process = psutil.Process(server.pid)
        memory = [process.memory_info().rss]
        cpu = sum(process.cpu_times()[:2])
        breaking = asyncio.create_task(_break_some(browsers))
        watching = asyncio.create_task(_watch(process, memory))
        changes = await _change(stack.database_url, users, world, seconds)
        breaking.cancel()
        watching.cancel()
        cpu = (sum(process.cpu_times()[:2]) - cpu) / seconds
        for task in running:
            assert not task.done(), task.exception()
        missed = await _missed(browsers, world, everything=scope == "visible")
        for task in running:
            task.cancel()
    finally:
        server.terminate()
        server.wait()
    return _told(name, world, changes, seconds, memory, cpu, missed)


def _told(
    name: str,
    world: _World,
    changes: int,
    seconds: float,
    memory: list[int],
    cpu: float,
    missed: int,
) -> list[str]:
    p50 = statistics.median(world.delays) * 1e3
    p99 = statistics.quantiles(world.delays, n=100)[98] * 1e3
    quarter = len(memory) // 4
    early = statistics.median(memory[quarter : 2 * quarter] or memory) / 2**20
    late = statistics.median(memory[-quarter:] or memory) / 2**20
    verdict = "ok" if missed == 0 and late < early * 1.1 else "MISSED SOME OR GREW"
    return [
        f"live, {_CLIENTS} browsers, {name:9} {changes / seconds:4.0f} changes/s"
        f"  {world.events / seconds:6.0f} events/s  p50 {p50:5.0f} ms  p99 {p99:5.0f} ms"
        f"  server {cpu * 100:3.0f} % of a core, {early:.0f} -> {late:.0f} MiB",
        f"live, {_CLIENTS} browsers, {name:9} {world.breaks} breaks, {world.resets - _CLIENTS} resets"
        f" beyond the first, missed {missed} (goal 0) {verdict}",
    ]


async def _change(url: str, users: list[UUID], world: _World, seconds: float) -> int:
    """So many changes a second: jobs are created, started and completed."""
    started = time.perf_counter()
    changes = 0
    calls: set[asyncio.Task[None]] = set()
    async with AsyncVideoJobManager.from_url(url, settings=Settings(pool_size=8)) as manager:
        while (now := time.perf_counter() - started) < seconds:
            if changes / _CHANGES_A_SECOND <= now:
                task = asyncio.create_task(_one_job(manager, users, world))
                calls.add(task)
                task.add_done_callback(calls.discard)
                changes += 3
            await asyncio.sleep(0.005)
        await asyncio.gather(*calls)
    return changes


async def _one_job(manager: AsyncVideoJobManager, users: list[UUID], world: _World) -> None:
    owner = random.randrange(len(users))
    job = await manager.create_job(user_id=users[owner])
    key = str(job.id).encode()
    world.committed[key, b"queued"] = time.perf_counter()
    world.owners[key] = owner
    await asyncio.sleep(random.random() * 2)
    lease = await manager.start_processing(job.id)
    world.committed[key, b"processing"] = time.perf_counter()
    await asyncio.sleep(random.random() * 2)
    await manager.complete_job(lease)
    world.committed[key, b"completed"] = time.perf_counter()


async def _break_some(browsers: list[_Browser]) -> None:
    restless = browsers[: int(len(browsers) * _RESTLESS)]
    while True:
        await asyncio.sleep(0.1)
        victim = random.choice(restless)
        if victim.transport is not None:
            victim.transport.abort()


async def _watch(process: psutil.Process, memory: list[int]) -> None:
    while True:
        memory.append(process.memory_info().rss)
        await asyncio.sleep(0.5)


async def _missed(browsers: list[_Browser], world: _World, *, everything: bool) -> int:
    """How many ends of jobs are not known to somebody who should know, a while after the last."""
    for _ in range(40):
        missed = sum(
            each.known.get(job) != b"completed"
            for each in browsers
            for job, owner in world.owners.items()
            if everything or owner == each.user
        )
        if missed == 0:
            return 0
        await asyncio.sleep(0.25)
    return missed


async def _listening(port: int) -> None:
    for _ in range(400):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the server did not start")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
