"""Several transfers at once, which end soon after somebody asks them to.

They run in threads of their own: a read that hangs cannot be interrupted, but it can be left
behind. What such a straggler finishes later, it undoes by itself.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from videojobs.errors import ProcessingCancelledError, ProcessingError, VideoJobsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

CONCURRENCY = 6
"""Uploads at once: enough to hide the round trips of small files, and few enough for a large one's buffers."""
_TICK_SECONDS = 0.1
_STRAGGLING_SECONDS = 1.0
_PLAYLISTS = (".m3u8", ".mpd")
_TRIES = 6
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 5.0
_LONGEST_ORDERED_PAUSE_SECONDS = 30.0


class Patience:
    """How often something may fail without making headway, and the pauses between."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._failures = 0

    def after(self, error: VideoJobsError) -> None:
        """It is time to try again; or the error is raised, since it was tried often enough.

        Raises:
            ProcessingCancelledError: Somebody asked to stop meanwhile.
        """
        self._failures += 1
        if self._failures >= _TRIES:
            raise error
        longest = min(_FIRST_PAUSE_SECONDS * 2**self._failures, _LONGEST_PAUSE_SECONDS)
        jitter = random.uniform(0, longest)  # noqa: S311 # not a secret
        ordered = min(error.retry_after or 0, _LONGEST_ORDERED_PAUSE_SECONDS)
        if self._stop.wait(max(jitter, ordered)):
            raise ProcessingCancelledError

    def renew(self) -> None:
        """It made headway: what failed before is forgiven."""
        self._failures = 0


def raise_if_set(stop: threading.Event) -> None:
    """Nothing happens, unless somebody asked to stop.

    Raises:
        ProcessingCancelledError: Somebody did.
    """
    if stop.is_set():
        raise ProcessingCancelledError


def output_size(file: Path) -> int:
    """The size of a file that is to be uploaded.

    Raises:
        ProcessingError: It is not there (``storage_failed``; retryable).
    """
    try:
        return file.stat().st_size
    except OSError as error:
        raise ProcessingError(
            f"the output {file.name} cannot be read ({error.strerror}). "
            "Check that nothing cleans the work folder while jobs run.",
            code="storage_failed",
            retryable=True,
        ) from error


def stages(names: Sequence[str]) -> list[list[str]]:
    """The names in groups that follow each other: what players ask for first comes last.

    Playlists after all else, one by one as they are given, and the very last name alone.
    """
    playlists = [name for name in names if name.endswith(_PLAYLISTS)]
    others = [name for name in names if name not in set(playlists)]
    last = [] if playlists else others[-1:]
    together = others[: len(others) - len(last)]
    return [group for group in (together, *([name] for name in (*last, *playlists))) if group]


def upload_all(
    names: Sequence[str],
    upload: Callable[[str, threading.Event], None],
    undo: Callable[[Sequence[str]], None],
    cancel: threading.Event | None,
) -> None:
    """Every name was uploaded; or the error is raised, and what was begun is undone.

    Raises:
        ProcessingCancelledError: *cancel* was set.
    """
    begun: list[str] = []

    def task(name: str, stop: threading.Event) -> None:
        begun.append(name)
        try:
            upload(name, stop)
        finally:
            if stop.is_set():
                undo([name])

    try:
        for stage in stages(names):
            _run([_bound(task, name) for name in stage], cancel)
    except BaseException:
        undo(tuple(begun))
        raise


def run_stoppable(task: Callable[[threading.Event], T], cancel: threading.Event | None) -> T:
    """What the task returns; it is left behind if it does not end within a second of *cancel*.

    Raises:
        ProcessingCancelledError: *cancel* was set.
    """
    results: list[T] = []
    _run([lambda stop: results.append(task(stop))], cancel)
    return results[0]


def _bound(
    task: Callable[[str, threading.Event], None], name: str
) -> Callable[[threading.Event], None]:
    return lambda stop: task(name, stop)


def _run(
    tasks: Sequence[Callable[[threading.Event], None]], cancel: threading.Event | None
) -> None:
    stop = threading.Event()
    waiting: queue.SimpleQueue[Callable[[threading.Event], None]] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    errors: list[BaseException] = []
    threads = [
        # A daemon, so that one that hangs does not keep the worker from its end.
        threading.Thread(target=_work, args=(waiting, stop, errors), daemon=True)
        for _ in range(min(CONCURRENCY, len(tasks)))
    ]
    for thread in threads:
        thread.start()
    try:
        _join(threads, stop, cancel)
    finally:
        stop.set()
    if errors:
        raise errors[0]


def _work(
    waiting: queue.SimpleQueue[Callable[[threading.Event], None]],
    stop: threading.Event,
    errors: list[BaseException],
) -> None:
    while not stop.is_set():
        try:
            task = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            task(stop)
        except BaseException as error:  # noqa: BLE001 # raised by the thread that waits
            errors.append(error)
            stop.set()


def _join(
    threads: Sequence[threading.Thread], stop: threading.Event, cancel: threading.Event | None
) -> None:
    until = float("inf")
    while any(thread.is_alive() for thread in threads):
        if stop.is_set() or (cancel is not None and cancel.is_set()):
            stop.set()
            until = min(until, time.monotonic() + _STRAGGLING_SECONDS)
        if time.monotonic() >= until:
            break
        for thread in threads:
            if thread.is_alive():
                thread.join(_TICK_SECONDS)
                break
    if cancel is not None and cancel.is_set():
        raise ProcessingCancelledError
