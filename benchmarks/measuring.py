"""Times two ways of doing the same, in turns, so that what else the machine does hits both."""

from __future__ import annotations

import contextlib
import resource
import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Comparison:
    """Two ways of doing one thing, in seconds a call."""

    name: str
    ours: list[float]
    bare: list[float]
    goal: float

    @property
    def ratio(self) -> float:
        """Our median over the bare one."""
        return statistics.median(self.ours) / statistics.median(self.bare)

    def line(self) -> str:
        """The figures for people."""
        verdict = "ok" if self.ratio <= self.goal else "ABOVE GOAL"
        return (
            f"{self.name:34} ours {_ms(self.ours)}  bare {_ms(self.bare)}"
            f"  ratio {self.ratio:5.2f} (goal {self.goal:.2f}) {verdict}"
        )


def _ms(times: list[float]) -> str:
    p50 = statistics.median(times)
    p99 = statistics.quantiles(times, n=100)[98]
    return f"p50 {p50 * 1e3:6.3f} ms  p99 {p99 * 1e3:7.3f} ms  {1 / p50:6.0f}/s"


def compare(
    name: str,
    ours: Callable[[], object],
    bare: Callable[[], object],
    *,
    goal: float,
    rounds: int = 30,
    calls: int = 20,
) -> Comparison:
    """Run both in short turns, after a warm-up."""
    for _ in range(calls):
        ours()
        bare()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, taken in zip((ours, bare), times, strict=True):
            for _ in range(calls):
                start = time.perf_counter()
                way()
                taken.append(time.perf_counter() - start)
    return Comparison(name, *times, goal)


@dataclass
class Spent:
    """Wall time and CPU time, of this process and of all that it started and saw end."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    _since: tuple[float, float] | None = field(default_factory=lambda: _now())

    def stop(self) -> None:
        """What comes later does not count."""
        if self._since is not None:
            self.seconds, self.cpu_seconds = (
                now - then for now, then in zip(_now(), self._since, strict=True)
            )
            self._since = None


@contextlib.contextmanager
def spent() -> Generator[Spent]:
    """What the block takes."""
    taken = Spent()
    yield taken
    taken.stop()


def _now() -> tuple[float, float]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used)
