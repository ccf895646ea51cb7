"""Worker processes: the command line, each in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LEASE_SECONDS = 4
_OURS = ("SUPABASE_", "NEXT_PUBLIC_", "VIDEOJOBS_", "DATABASE_URL", "PG")
_COULD_NOT_REACH = 4
_TRACEBACK = "Traceback (most recent call last)"
_SHOWN_LENGTH = 4000
_PATCHES = Path(__file__).parent / "wrong_clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a kind of worker is started."""

    name: str
    environment: Mapping[str, str]
    concurrency: int = 1
    clock: str | None = None
    """How wrong its wall clock is, in libfaketime's words, such as ``+10m``."""


@dataclass(slots=True)
class WorkerProcess:
    """One that was started, and what we did to it."""

    recipe: Recipe
    process: subprocess.Popen[bytes]
    log: Path
    signals: set[signal.Signals] = field(default_factory=set)

    def send(self, number: signal.Signals) -> None:
        """The worker, and only it, gets the signal."""
        self.signals.add(number)
        if self.process.poll() is None:
            self.process.send_signal(number)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-_SHOWN_LENGTH:]

    def family(self) -> list[psutil.Process]:
        """The worker and all that it has started."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def has_ended_badly(self) -> bool:
        """Whether it is gone, and neither by our doing nor for want of a database at its start."""
        code = self.process.poll()
        expected = {None, _COULD_NOT_REACH}
        if signal.SIGKILL in self.signals:
            expected.add(-signal.SIGKILL)
        if signal.SIGTERM in self.signals:
            # The second: it came before the worker had begun to listen for it.
            expected |= {0, -signal.SIGTERM}
        return code not in expected


class Launcher:
    """Starts workers over one storage, one work folder and one log folder."""

    def __init__(self, home: Path, faketime: Path) -> None:
        self.storage = home / "storage"
        self.work_dir = home / "work"
        self.logs = home / "logs"
        self._faketime = faketime
        for folder in (self.storage, self.work_dir, self.logs):
            folder.mkdir(parents=True)
        self._count = 0

    def start(self, recipe: Recipe, *options: str) -> WorkerProcess:
        """A new worker process; what it prints goes to a log of its own."""
        self._count += 1
        arguments = ["--storage-dir", str(self.storage), "--concurrency", str(recipe.concurrency)]
        path = self.logs / f"{self._count:03}-{recipe.name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "videojobs", "-v", "worker", *arguments, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(recipe),
                start_new_session=True,
            )
        return WorkerProcess(recipe, process, path)

    def _environment(self, recipe: Recipe) -> dict[str, str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_OURS)
        }
        environment |= recipe.environment
        environment["VIDEOJOBS_LEASE_SECONDS"] = str(LEASE_SECONDS)
        environment["VIDEOJOBS_WORK_DIR"] = str(self.work_dir)
        if recipe.clock:
            path = [str(_PATCHES), os.environ.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
            environment["LD_PRELOAD"] = str(self._faketime)
            environment["FAKETIME"] = recipe.clock
            environment["DONT_FAKE_MONOTONIC"] = "1"
        return environment

    def processes(self) -> list[psutil.Process]:
        """Every living process that works below our work folder, or that names it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        marker = str(self.work_dir)
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                return False
            return (
                process.cwd().startswith(marker)
                or marker in " ".join(process.cmdline())
                or process.environ().get("VIDEOJOBS_WORK_DIR") == marker
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def breakdowns(self) -> list[str]:
        """The tracebacks in the logs: something broke that nobody had foreseen."""
        texts = {log.name: log.read_text(errors="replace") for log in sorted(self.logs.iterdir())}
        return [
            f"{name} shows a traceback: {text[text.index(_TRACEBACK) :][:_SHOWN_LENGTH]}"
            for name, text in texts.items()
            if _TRACEBACK in text
        ]

    def left_in_work_dir(self) -> list[str]:
        """The names of attempts' folders and locks that are still there."""
        return sorted(path.name for path in self.work_dir.iterdir())
