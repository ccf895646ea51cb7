"""Runs one ffmpeg process and lets nothing of it outlive the call."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from videojobs.media.launching import BARE_ENVIRONMENT, launched
from videojobs.pipelines.failures import StopReason
from videojobs.pipelines.progress import ProgressBlock, ProgressParser, StallWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

logger = logging.getLogger("videojobs.ffmpeg")

#: From TERM to KILL. ffmpeg obeys TERM within 65 ms, unless it hangs.
_GRACE_SECONDS = 1.0
_TICK_SECONDS = 0.1

_DAMAGE = "corrupt decoded frame"
_FIRST_LINES, _LAST_LINES, _LONGEST_LINE = 100, 200, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What a run may take."""

    expected_seconds: float
    """Of output."""
    deadline_seconds: float
    """Of wall time."""
    max_output_bytes: int
    """Of any one file."""
    address_space_bytes: int = 12 << 30
    """A plain 1080p run needs 0.3 GB of memory but over 1 GB of addresses, more on many cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended. Exit code 0 alone is no success: ask for `stopped`, then verify."""

    exit_code: int
    stderr: tuple[str, ...]
    stopped: StopReason | None = None
    damaged_frames: int = 0
    """How many pictures ffmpeg decoded badly, which it does not count as a failure."""


def run_ffmpeg(
    command: Sequence[str],
    *,
    folder: Path,
    limits: RunLimits,
    should_stop: Callable[[], bool] = lambda: False,
    on_block: Callable[[ProgressBlock], None] = lambda _: None,
) -> RunReport:
    """The command has ended, by itself or by us, and so have all processes that it started.

    It runs in *folder*, the only place that it can write to (see `launched`), with closed stdin
    and a bare environment; it is ended within 2 seconds
    when *should_stop* says so, on a stall or a deadline, on any exception, and by the kernel
    when this process dies (on Linux). The log ``videojobs.ffmpeg`` tells each command at DEBUG.
    """
    logger.debug("%s", shlex.join(command))
    process = _start(command, folder, limits)
    log = _Log(process.stderr)
    try:
        stopped = _watch(process, limits, should_stop, on_block)
        if stopped is not None:
            _end(process)
        return RunReport(
            exit_code=process.wait(),
            stderr=log.lines(),
            stopped=stopped,
            damaged_frames=log.damaged_frames,
        )
    finally:
        _end(process)
        log.close()


def _start(command: Sequence[str], folder: Path, limits: RunLimits) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        launched(command, limits=_kernel_limits(limits), writable="."),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**BARE_ENVIRONMENT, "TMPDIR": str(folder)},
    )


def _kernel_limits(limits: RunLimits) -> dict[str, int]:
    return {
        "AS": limits.address_space_bytes,
        "FSIZE": limits.max_output_bytes,
        # The wall deadline is ours; this one is for a process that we can no longer reach.
        "CPU": int(limits.deadline_seconds * (os.cpu_count() or 1)) + 60,
        "NOFILE": 256,
        "CORE": 0,
    }


def _watch(
    process: subprocess.Popen[bytes],
    limits: RunLimits,
    should_stop: Callable[[], bool],
    on_block: Callable[[ProgressBlock], None],
) -> StopReason | None:
    """Follow the run to the end of its output, or to the reason to end it."""
    assert process.stdout is not None  # noqa: S101 # a pipe was asked for
    parser, stall = ProgressParser(), StallWatch(expected_seconds=limits.expected_seconds)
    deadline = time.monotonic() + limits.deadline_seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if reason := _reason_to_stop(should_stop, stall, deadline):
                return reason
            if not selector.select(timeout=_TICK_SECONDS):
                continue
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                return _reason_after_output(process, should_stop, deadline)
            for block in parser.feed(data):
                stall.saw(block, now=time.monotonic())
                on_block(block)


def _reason_to_stop(
    should_stop: Callable[[], bool], stall: StallWatch, deadline: float
) -> StopReason | None:
    now = time.monotonic()
    if should_stop():
        return StopReason.CANCELLED
    if now > deadline:
        return StopReason.TIME_LIMIT
    return StopReason.STALLED if stall.is_stalled(now=now) else None


def _reason_after_output(
    process: subprocess.Popen[bytes], should_stop: Callable[[], bool], deadline: float
) -> StopReason | None:
    """Wait for the process whose stdout has ended; it may still hang on its way out."""
    while True:
        try:
            process.wait(timeout=_TICK_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                return StopReason.TIME_LIMIT
            if should_stop():
                return StopReason.CANCELLED
        else:
            return StopReason.CANCELLED if should_stop() else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group is gone: asked first, then killed."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
    if process.poll() is None:
        _signal(process, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The session that we gave it has the process's own number.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


class _Log:
    """The first and the last lines of stderr, drained in a thread of its own.

    A full pipe would stop ffmpeg; and the cause stands at the beginning, the summary at the end.
    """

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None  # noqa: S101 # a pipe was asked for
        self._stream = stream
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self.damaged_frames = 0
        self._thread = threading.Thread(target=self._drain, name="ffmpeg-stderr", daemon=True)
        self._thread.start()

    def lines(self) -> tuple[str, ...]:
        """What was kept, once the process has ended."""
        self._thread.join(timeout=_GRACE_SECONDS)
        return (*self._first, *self._last)

    def close(self) -> None:
        """No thread and no pipe is left."""
        self._thread.join(timeout=_GRACE_SECONDS)
        self._stream.close()

    def _drain(self) -> None:
        rest = b""
        while data := os.read(self._stream.fileno(), 65536):
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            rest = rest[:_LONGEST_LINE]
            for line in lines:
                self._keep(line)
        self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode("utf-8", "replace")
        self.damaged_frames += _DAMAGE in text
        if len(self._first) < _FIRST_LINES:
            self._first.append(text)
        else:
            self._last.append(text)
