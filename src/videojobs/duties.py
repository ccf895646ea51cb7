"""Threads that do one thing again and again, and do it at once when they are called."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

logger = logging.getLogger("videojobs.worker")

_JOIN_SECONDS = 1.0


class Duty:
    """Does its work after each pause, and sooner when it is called.

    Args:
        name: Of the thread, for people who look at a stuck process.
        work: What to do. What it raises is logged, and the next round comes all the same.
        pause: How many seconds to rest before each round.
        on_error: Is told when a round broke.
        joins: Whether the end waits for a round that is under way, for up to a second.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        pause: Callable[[], float],
        *,
        on_error: Callable[[], None] | None = None,
        joins: bool = False,
    ) -> None:
        self._name = name
        self._work = work
        self._pause = pause
        self._on_error = on_error
        self._joins = joins
        self._thread: threading.Thread | None = None
        self._called = threading.Event()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._called, self._ended = threading.Event(), threading.Event()
        # A daemon: at the end, a round that hangs on a silent network keeps nobody waiting.
        self._thread = threading.Thread(
            target=self._run,
            args=(self._called, self._ended),
            name=f"videojobs-{self._name}",
            daemon=True,
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._called.set()
        if self._joins and self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def call(self) -> None:
        """The next round begins now."""
        self._called.set()

    def _run(self, called: threading.Event, ended: threading.Event) -> None:
        while True:
            called.wait(self._pause())
            called.clear()
            if ended.is_set():
                return
            try:
                self._work()
            except Exception:  # a silent end of this thread would cost its duty
                logger.exception("%s broke, will try again", self._name)
                if self._on_error is not None:
                    self._on_error()
