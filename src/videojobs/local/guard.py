"""Runs one program and ends it when whoever asked for it is gone.

Started as a script of its own (``python -I -S guard.py '<order as JSON>'``), so it imports nothing of
videojobs and little else: it is up in 20 ms. Its standard input is a pipe that only the asker
holds; the end of that pipe means "stop", also when the asker was killed with SIGKILL. A forked
child of the asker may hold the pipe as well, so the asker's process id is watched too.

PR_SET_PDEATHSIG would need no extra process, but it fires when the *thread* that started the
program ends, and exists on Linux only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any

_LOOK_SECONDS = 0.5


def main() -> int:
    """Run the order given as the first argument and return the program's exit code."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    wake = _wake_on_signals()
    program = _start(order)
    while (code := _exit_code(program)) is None:
        if os.getppid() != order["asker"] or _told_to_stop(wake):
            code = _stop(program, order["signals"])
            break
    for path in order["remove"]:
        shutil.rmtree(path, ignore_errors=True)
    return code


def _wake_on_signals() -> int:
    """Return a descriptor from which the numbers of arriving signals can be read."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _do_nothing)
    return readable


def _do_nothing(_number: int, _frame: object) -> None:
    """Only the number on the wake-up descriptor counts."""


def _told_to_stop(wake: int) -> bool:
    readable, _, _ = select.select([0, wake], [], [], _LOOK_SECONDS)
    if wake in readable and signal.SIGTERM in os.read(wake, 64):
        return True
    return 0 in readable and os.read(0, 64) == b""


def _start(order: dict[str, Any]) -> int:
    program = os.fork()
    if program:
        return program
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir("/")
        if order["account"]:
            user, group = order["account"]
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
        os.execv(order["command"][0], order["command"])  # noqa: S606 # there is no shell here either
    except OSError as error:
        os.write(2, f"cannot start {order['command'][0]}: {error}\n".encode())
    os._exit(127)


def _exit_code(program: int) -> int | None:
    ended, status = os.waitpid(program, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _stop(program: int, signals: list[tuple[str, float]]) -> int:
    """Send each signal in turn and wait its time; SIGKILL is the last word."""
    for name, seconds in signals:
        os.kill(program, getattr(signal, name))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (code := _exit_code(program)) is not None:
                return code
            time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(program, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
