"""The measured systems: where each runs, how it is asked, and how its backlog is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from videojobs.local import LocalStack

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-peers"
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class System:
    """One queue: the command that starts its script, and the SQL that makes waiting jobs.

    The jobs of a backlog are copies of one that the system's own client made.
    """

    name: str
    command: Sequence[str]
    backlog: str

    def ask(self, url: str, command: str, **options: object) -> Any:
        """What the script answers."""
        process = self.start(url, command, **options)
        return self.answer_of(process)

    def start(self, url: str, command: str, **options: object) -> subprocess.Popen[str]:
        """The script, running."""
        return subprocess.Popen(
            [*self.command, command, json.dumps(options)],
            cwd=ROOT,
            env={**os.environ, "BENCH_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer_of(self, process: subprocess.Popen[str]) -> Any:
        """What it printed last, once it has ended."""
        told, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        if process.returncode:
            raise RuntimeError(f"{self.name} ended with {process.returncode}")
        return json.loads(told.splitlines()[-1])

    @contextmanager
    def database(self, stack: LocalStack) -> Generator[str]:
        """The URL of a new database with the system's schema, gone after the block."""
        name = f"bench_{os.urandom(4).hex()}"
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute(f"create database {name} template template0".encode())
            url = urlsplit(stack.database_url)._replace(path=f"/{name}").geturl()
            try:
                self.ask(url, "prepare")
                yield url
            finally:
                connection.execute(f"drop database {name} with (force)".encode())

    def make_backlog(self, url: str, count: int) -> None:
        """So many jobs wait, and the planner knows."""
        self.ask(url, "create", count=1)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("set session_replication_role = replica")  # no triggers
            made = connection.execute(self.backlog.encode(), [count - 1]).rowcount
            assert made == count - 1
        settle(url)


def settle(url: str) -> None:
    """Leave no vacuum, no statistics and no checkpoint due to happen during a measurement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")


def _peer(name: str, backlog: str) -> System:
    python = ENVIRONMENTS / name / "bin" / "python"
    script = Path(__file__).parent / "peers" / f"{name}_peer.py"
    return System(name=name, command=[str(python), str(script)], backlog=backlog)


OURS = System(
    name="videojobs",
    command=[sys.executable, "-m", "benchmarks.queue.ours"],
    backlog="""
        insert into public.video_jobs (user_id, source_url)
        select j.user_id, j.source_url
        from public.video_jobs j, generate_series(1, %s)
    """,
)
PEERS = (
    _peer(
        "procrastinate",
        """
        insert into procrastinate_jobs (queue_name, task_name, priority, args)
        select j.queue_name, j.task_name, j.priority, j.args
        from procrastinate_jobs j, generate_series(1, %s)
        """,
    ),
    _peer(
        "pgqueuer",
        """
        insert into pgqueuer (priority, queue_manager_id, status, entrypoint, payload)
        select j.priority, j.queue_manager_id, j.status, j.entrypoint, j.payload
        from pgqueuer j, generate_series(1, %s)
        """,
    ),
    _peer(
        "bullmq",
        """
        insert into bullmq.job (queue, id, seq, name, state, data, opts, added_at_ms)
        select
          j.queue, 'copy-' || i, nextval('bullmq.job_seq'), j.name, j.state, j.data, j.opts,
          j.added_at_ms
        from bullmq.job j, generate_series(1, %s) i
        """,
    ),
)


def installed_peers() -> tuple[System, ...]:
    """Those whose environment is there."""
    return tuple(peer for peer in PEERS if (ENVIRONMENTS / peer.name / ".installed").exists())
