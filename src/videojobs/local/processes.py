"""How the stack starts programs, so that none outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GUARD = Path(__file__).with_name("guard.py")
_LAST_WORD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the machine that a program runs as."""

    user: int
    group: int


class Guarded:
    """A program that ends when `stop` is called, or when this process dies in any way."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        signals: Sequence[tuple[str, float]],
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
        remove: Sequence[Path] = (),
    ) -> None:
        """Start *command*.

        Args:
            command: The program, as an absolute path, and its arguments.
            log: Gets everything that the program prints.
            signals: What to send to end it, each with the seconds to wait before the next.
            account: Whom to run as, where this process is root.
            environment: Added to `clean_environment`.
            remove: Folders to remove when the program has ended.
        """
        self._patience = sum(seconds for _, seconds in signals) + _LAST_WORD_SECONDS
        order = {
            "asker": os.getpid(),
            "command": [str(part) for part in command],
            "account": [account.user, account.group] if account else None,
            "signals": list(signals),
            "remove": [str(path) for path in remove],
        }
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**clean_environment(), **(environment or {})},
                # Ctrl-C in a terminal goes to the whole group; the stack must end things in its own order.
                start_new_session=True,
            )

    @property
    def guard_pid(self) -> int:
        """The process that runs the program as its only child."""
        return self._guard.pid

    @property
    def exit_code(self) -> int | None:
        """What the program ended with, or none while it runs."""
        return self._guard.poll()

    def stop(self) -> None:
        """End the program and wait for it. Repeating the call is harmless."""
        end_by_pipe(self._guard, self._patience)


def end_by_pipe(process: subprocess.Popen[bytes], patience_seconds: float) -> None:
    """Tell a process of ours to end by closing its standard input, and wait for it."""
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def clean_environment() -> dict[str, str]:
    """Return our environment without the variables that redirect Postgres and PostgREST, such as PGHOST."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def last_lines(log: Path, count: int = 8) -> str:
    """Return the end of a log, for an error message."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
