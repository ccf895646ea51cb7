"""How a measured system is spoken to: a command and its options in, one line of JSON out."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
QUEUE = "default"
POLL_SECONDS = 0.005
TIMEOUT_SECONDS = 300


def answer(
    commands: Mapping[str, Callable[..., Any]], run: Callable[[Any], Any] = asyncio.run
) -> None:
    """Do what the command line says, print what came of it, and leave at once."""
    found = commands[sys.argv[1]](**json.loads(sys.argv[2]))
    if inspect.iscoroutine(found):
        found = run(found)
    print(json.dumps(found), flush=True)
    # Without a worker's orderly shutdown, which some take seconds for.
    os._exit(0)


def say_ready() -> None:
    """The worker waits for jobs from now on."""
    print("ready", flush=True)


def milliseconds_since(start: float) -> float:
    """On the monotonic clock, which all processes of a machine share."""
    return (time.monotonic() - start) * 1e3


class Countdown:
    """Done after so many handled jobs."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._done = asyncio.Event()

    def down(self) -> None:
        """One more was handled."""
        self._left -= 1
        if self._left == 0:
            self._done.set()

    async def over(self) -> None:
        """Return when all were handled."""
        await asyncio.wait_for(self._done.wait(), TIMEOUT_SECONDS)
