"""Keeps one worker of each recipe running, as a service manager would."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from chaos.workers import Launcher, Recipe, WorkerProcess

_LOOK_SECONDS = 0.3
_STOP_SECONDS = 60.0


class Fleet:
    """Workers that are started again whenever they end, until the fleet is stopped."""

    def __init__(self, launcher: Launcher, recipes: Sequence[Recipe]) -> None:
        self._launcher = launcher
        self._recipes = recipes
        self._current: list[WorkerProcess] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tend)
        self.problems: list[str] = []
        self.started = 0

    def __enter__(self) -> Self:
        self._current = [self._start(recipe) for recipe in self._recipes]
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_tending()
        for worker in self._current:
            worker.process.kill()
            worker.process.wait()

    def recipe(self, name: str) -> Recipe:
        """The one of that name."""
        return next(recipe for recipe in self._recipes if recipe.name == name)

    def any_of(self, chance: random.Random) -> WorkerProcess:
        """One of those that run now; one that works on a job, where there is any."""
        with self._lock:
            busy = [worker for worker in self._current if len(worker.family()) > 1]
            return chance.choice(busy or self._current)

    def stop(self) -> None:
        """All have been asked to finish, and have ended; those that did not are a problem."""
        self._stop_tending()
        for worker in self._current:
            worker.send(signal.SIGTERM)
        end = time.monotonic() + _STOP_SECONDS
        for worker in self._current:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.problems.append(f"worker {worker.recipe.name} does not stop")
            self._judge(worker)

    def _stop_tending(self) -> None:
        self._end.set()
        self._thread.join()

    def _start(self, recipe: Recipe) -> WorkerProcess:
        self.started += 1
        return self._launcher.start(recipe)

    def _tend(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            with self._lock:
                for place, worker in enumerate(self._current):
                    if worker.process.poll() is not None:
                        self._judge(worker)
                        self._current[place] = self._start(worker.recipe)

    def _judge(self, worker: WorkerProcess) -> None:
        if worker.has_ended_badly():
            code = worker.process.returncode
            self.problems.append(
                f"worker {worker.recipe.name} ended with code {code}: {worker.last_words()}"
            )
