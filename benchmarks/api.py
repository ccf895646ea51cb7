"""The REST API against a bare FastAPI handler with psycopg that asks the same question.

Both are served by uvicorn, each in a process of its own, over loopback; both verify the caller's
token and ask as that caller, under row-level security, in one round trip. The bare handler does what
its author would write: PyJWT, psycopg's pool, and FastAPI's own answer of the rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil

from videojobs import VideoJobManager
from videojobs.local import LocalStack

GOAL = 1.5
_ROUNDS, _CALLS, _CLIENTS = 8, 25, 8
_PAGE = 20

Ask = Callable[[httpx.Client], httpx.Response]


@dataclass(frozen=True)
class _Side:
    """One of the two, as it is asked."""

    client: httpx.Client
    server: psutil.Process
    taken: list[float] = field(default_factory=list[float])
    """Seconds a call."""
    rates: list[float] = field(default_factory=list[float])
    """Calls a second, of all clients."""
    cpu: list[float] = field(default_factory=list[float])
    """Seconds of the server's CPU a call."""

    def cpu_now(self) -> float:
        """What the server has used so far."""
        times = self.server.cpu_times()
        return times.user + times.system


def lines(stack: LocalStack) -> Iterator[str]:
    """List, get and create: latency of one client, and requests a second of eight."""
    user = uuid4()
    with VideoJobManager.from_url(stack.database_url) as manager:
        jobs = [manager.create_job(user_id=user, original_filename=f"{n}.mp4") for n in range(200)]
    token = stack.user_token(user)
    with _served("ours", stack, token) as ours, _served("bare", stack, token) as bare:
        for name, ask in _questions(user, jobs[0].id).items():
            sides = tuple(_Side(*served) for served in (ours, bare))
            _time_one_client(ask, *sides)
            _time_many_clients(ask, *sides)
            yield from _told(name, *sides)


def _questions(user: UUID, job_id: UUID) -> dict[str, Ask]:
    wish = {"source_url": f"{user}/talk.mp4", "clip_count": 3}
    return {
        f"list {_PAGE}": lambda client: client.get("/api/v1/user/jobs", params={"limit": _PAGE}),
        "get": lambda client: client.get(f"/api/v1/jobs/{job_id}"),
        "create": lambda client: client.post("/api/v1/process", json=wish),
    }


def _time_one_client(ask: Ask, ours: _Side, bare: _Side) -> None:
    for each in range(_ROUNDS + 1):
        for side in (ours, bare) if each % 2 else (bare, ours):
            for _ in range(_CALLS):
                started = time.perf_counter()
                ask(side.client).raise_for_status()
                if each:  # the first round warms up
                    side.taken.append(time.perf_counter() - started)


def _time_many_clients(ask: Ask, ours: _Side, bare: _Side) -> None:
    count = _CALLS * 4
    with ThreadPoolExecutor(_CLIENTS) as pool:
        for each in range(_ROUNDS):
            for side in (ours, bare) if each % 2 else (bare, ours):
                used, started = side.cpu_now(), time.perf_counter()
                for reply in pool.map(ask, [side.client] * count):
                    reply.raise_for_status()
                side.rates.append(count / (time.perf_counter() - started))
                side.cpu.append((side.cpu_now() - used) / count)


def _told(name: str, ours: _Side, bare: _Side) -> Iterator[str]:
    ratio = statistics.median(ours.taken) / statistics.median(bare.taken)
    yield f"API {name:8} ours {_ms(ours.taken)}  bare {_ms(bare.taken)}  {_verdict(ratio)}"
    ratio = statistics.median(bare.rates) / statistics.median(ours.rates)
    yield (
        f"API {name:8} ours {statistics.median(ours.rates):5.0f}/s  "
        f"bare {statistics.median(bare.rates):5.0f}/s of {_CLIENTS} clients  {_verdict(ratio)}"
    )
    ratio = statistics.mean(ours.cpu) / statistics.mean(bare.cpu)
    yield (
        f"API {name:8} ours {statistics.mean(ours.cpu) * 1e3:5.2f} ms  "
        f"bare {statistics.mean(bare.cpu) * 1e3:5.2f} ms of the server's CPU  {_verdict(ratio)}"
    )


def _ms(times: list[float]) -> str:
    p99 = statistics.quantiles(times, n=100)[98]
    return f"p50 {statistics.median(times) * 1e3:6.2f} ms  p99 {p99 * 1e3:6.2f} ms"


def _verdict(ratio: float) -> str:
    return f"ratio {ratio:4.2f} (goal {GOAL:.2f}) {'ok' if ratio <= GOAL else 'ABOVE GOAL'}"


@contextlib.contextmanager
def _served(
    which: str, stack: LocalStack, token: str
) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    environment = {
        **os.environ,
        "SUPABASE_DB_URL": stack.database_url,
        "SUPABASE_JWT_SECRET": stack.jwt_secret,
        "VIDEOJOBS_JWT_ISSUER": stack.issuer,
        "VIDEOJOBS_TRANSPORT": "postgres",
        "VIDEOJOBS_WEB_REQUESTS_PER_MINUTE": "0",
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        f"benchmarks.api:{which}",
        "--factory",
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        [*command, "--log-level", "warning", "--no-access-log"], env=environment
    ) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_for(url)
            limits = httpx.Limits(max_connections=_CLIENTS, max_keepalive_connections=_CLIENTS)
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=url, headers=headers, limits=limits, timeout=60) as client:
                yield client, psutil.Process(server.pid)
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/openapi.json")
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def ours() -> Any:
    """The router of this library."""
    from videojobs import AsyncVideoJobManager, Settings
    from videojobs.web import create_app

    return create_app(AsyncVideoJobManager.from_env, settings=Settings.from_env().web)


def bare() -> Any:
    """The same three questions, with FastAPI, PyJWT and psycopg alone."""
    import jwt
    from fastapi import Body, FastAPI, Header
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    pool = AsyncConnectionPool(
        os.environ["SUPABASE_DB_URL"],
        open=False,
        max_size=10,
        kwargs={"autocommit": True, "row_factory": dict_row},
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI):
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan)

    async def ask(authorization: str, query: str, values: list[Any]) -> list[dict[str, Any]]:
        claims = jwt.decode(
            authorization.removeprefix("Bearer "),
            os.environ["SUPABASE_JWT_SECRET"],
            algorithms=["HS256"],
            audience="authenticated",
            issuer=os.environ["VIDEOJOBS_JWT_ISSUER"],
        )
        async with pool.connection() as connection, connection.pipeline(), connection.transaction():
            await connection.execute(
                "select set_config('role', 'authenticated', true), "
                "set_config('request.jwt.claims', %s, true)",
                [json.dumps(claims)],
            )
            return await (await connection.execute(query, values)).fetchall()

    @app.get("/api/v1/user/jobs")
    async def list_jobs(limit: int, authorization: str = Header()) -> list[dict[str, Any]]:
        user = jwt.decode(authorization[7:], options={"verify_signature": False})["sub"]
        query = "select * from public.list_video_jobs(filter => %s, row_limit => %s)"
        return await ask(authorization, query, [json.dumps({"user_id": user}), limit + 1])

    @app.get("/api/v1/jobs/{job_id}")
    async def get_job(job_id: UUID, authorization: str = Header()) -> dict[str, Any]:
        rows = await ask(
            authorization, "select * from public.get_video_job(job_id => %s)", [job_id]
        )
        return rows[0]

    @app.post("/api/v1/process", status_code=201)
    async def create(
        wish: dict[str, Any] = Body(),  # noqa: B008 # FastAPI's way
        authorization: str = Header(),
    ) -> dict[str, Any]:
        job = json.dumps([{**_defaults(), **wish}])
        rows = await ask(authorization, "select * from public.create_video_jobs(jobs => %s)", [job])
        return rows[0]

    return app


def _defaults() -> dict[str, Any]:
    from videojobs.identity import new_id
    from videojobs.requests import NewVideoJob

    return {"id": str(new_id()), **NewVideoJob().to_json()}
