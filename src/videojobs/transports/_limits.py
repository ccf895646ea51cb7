"""Ends calls whose answer does not come: a hung pooler or proxy acknowledges and never answers."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg

from videojobs.calls import Call

AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_STEP_SECONDS = 0.5
_PATIENCE_SECONDS = 600.0
#: What reads or writes as much as there is may take its time, where the server has no limit.
_LONG = frozenset(
    {
        "bulk_update_video_jobs",
        "clear_video_jobs",
        "archive_video_jobs",
        "create_video_jobs",
        "get_video_job_stats",
        "maintain_video_jobs",
        "reconcile_video_job_stats",
    }
)


def limit_of(call: Call[Any], read_timeout_seconds: float) -> float:
    """How many seconds the answer may take."""
    return _PATIENCE_SECONDS if call.function in _LONG else read_timeout_seconds


def _break_off(connection: AnyConnection) -> None:
    """Whoever waits on the connection hears that it broke. Its own timeouts would not notice:
    libpq has one for connecting only, and TCP's is for peers that do not acknowledge."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return  # it broke by itself meanwhile


class CallLimits:
    """Watches over the calls of one pool, from one thread that sleeps while there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._pending: dict[object, tuple[float, AnyConnection]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @contextmanager
    def on(self, connection: AnyConnection, seconds: float) -> Generator[None]:
        """Within, the connection is broken off when so many seconds are over."""
        key = object()
        with self._lock:
            self._pending[key] = (time.monotonic() + seconds, connection)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="videojobs-call-limits", daemon=True
                )
                self._thread.start()
        self._work.set()
        try:
            yield
        finally:
            with self._lock:
                del self._pending[key]

    def close(self) -> None:
        """Let the thread end."""
        self._is_closed = True
        self._work.set()

    def _watch(self) -> None:
        while not self._is_closed:
            self._work.wait()
            time.sleep(_STEP_SECONDS)
            with self._lock:
                if not self._pending:
                    self._work.clear()
                for deadline, connection in self._pending.values():
                    if time.monotonic() > deadline:
                        _break_off(connection)


@contextmanager
def limited(connection: AnyConnection, seconds: float) -> Generator[None]:
    """The same within an event loop."""
    timer = asyncio.get_running_loop().call_later(seconds, _break_off, connection)
    try:
        yield
    finally:
        timer.cancel()
