"""Stacks and databases that hold nothing of videojobs, and processes that run a stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest

from parts import Parts
from videojobs.local import LocalStack, accounts

NOBODY = 65534

_CHILD = """
import json, sys
from pathlib import Path
from videojobs.local import LocalStack, accounts

order = json.loads(sys.argv[1])
data_dir = Path(order["data_dir"]) if order["data_dir"] else None
postgrest = Path(order["postgrest"]) if order["postgrest"] else None
stack = LocalStack.start(
    data_dir,
    rest=postgrest is not None,
    postgrest=postgrest,
    durable=order["durable"],
    migrate=False,
)
print(json.dumps({
    "data_dir": str(stack.data_dir),
    "database_url": stack.database_url,
    "api_url": stack.api_url,
    "service_role_key": stack.service_role_key,
}), flush=True)
sys.stdin.read()
stack.stop()
"""


@dataclass
class StackProcess:
    """A Python process of its own that runs a stack until its standard input ends."""

    process: subprocess.Popen[str]
    facts: dict[str, Any]

    def descendants(self) -> list[psutil.Process]:
        """Everything that the stack started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """End it as the out-of-memory killer would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it in an orderly way."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def stack_process() -> Iterator[Callable[..., StackProcess]]:
    """Start a stack in another process, as another user if asked."""
    started: list[StackProcess] = []

    def start(
        data_dir: Path | None = None,
        *,
        postgrest: Path | None = None,
        durable: bool = False,
        prefix: tuple[str, ...] = (),
    ) -> StackProcess:
        order = {
            "durable": durable,
            "data_dir": str(data_dir) if data_dir else None,
            "postgrest": str(postgrest) if postgrest else None,
        }
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _CHILD, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(StackProcess(process, {}))
        started[-1].facts = json.loads(process.stdout.readline() or "{}")
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def as_nobody() -> tuple[str, ...]:
    """What to put before a command so that it runs without root's rights; nothing if we have none."""
    if os.geteuid() != 0:
        return ()
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    runs_itself = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    command = [*prefix, sys.executable, "-c", runs_itself]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        return prefix
    # This Python lives in a folder of root's: let the process read it, and nothing more.
    return (*prefix, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


@pytest.fixture(scope="session")
def bare_stack(parts: Parts) -> Iterator[LocalStack]:
    """A stack with PostgREST and without our migrations."""
    with LocalStack.start(
        rest=True, durable=False, migrate=False, postgrest=parts.postgrest
    ) as stack:
        yield stack


@pytest.fixture
def empty_database(bare_stack: LocalStack) -> Iterator[str]:
    """The URL of a new database, as plain as PostgreSQL makes it but for the roles."""
    name = f"plain_{uuid4().hex}"
    with psycopg.connect(bare_stack.database_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield bare_stack.database_url.replace("/postgres?", f"/{name}?")
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every account may enter; root's `tmp_path` is private."""
    with tempfile.TemporaryDirectory(prefix="videojobs-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
    accounts.remove_orphans(Path("/var/lib/videojobs"))


def is_gone(process: psutil.Process) -> bool:
    """Return whether a process has ended; a container's first process may never collect it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def gone() -> Callable[[psutil.Process], bool]:
    """Return whether a process has ended."""
    return is_gone


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Return whether something becomes true within ten seconds."""

    def look(is_true: Callable[[], bool]) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if is_true():
                return True
            time.sleep(0.01)
        return False

    return look
