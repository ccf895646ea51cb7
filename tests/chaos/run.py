"""One run: clients, workers and faults for a while, then calm, then the verdict."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from chaos.checker import endings, violations
from chaos.clients import Client
from chaos.faults import FAULTS
from chaos.fleet import Fleet
from chaos.history import History, read_history
from chaos.world import TENANTS, World
from parts import Parts

_PAUSE_SECONDS = (0.3, 2.5)
"""Between the beginnings of two faults; each lasts up to eight seconds, so that they overlap."""
_CLIENT_PAUSE_SECONDS = 0.6
_SETTLE_SECONDS = 60.0
_SETTLE_SECONDS_PER_JOB = 1.0
_STORIES = 5

_UNFINISHED = "select count(*) from public.video_jobs where status in ('queued', 'processing')"


@dataclass(slots=True)
class Report:
    """What happened, and what was wrong."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    workers_started: int = 0
    repeats: int = 0
    """Of creates that had failed for good, as their manager saw it."""
    leftovers: list[str] = field(default_factory=list)
    """Files in the storage that no job names, of attempts that did not win: no violation."""
    settled_in_seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    stories: list[str] = field(default_factory=list)
    """What happened to the first of the jobs that a promise was broken for."""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"seed {self.seed}"
        yield f"faults: {_told(self.faults)}"
        yield f"HTTP requests: {_told(self.requests)}"
        yield f"{self.workers_started} workers were started"
        yield f"{self.endings.total()} jobs, settled {self.settled_in_seconds:.0f} s after the faults"
        yield f"clients repeated {self.repeats} creates"
        yield f"{len(self.leftovers)} stored files are named by no job"
        yield from (f"  {path}" for path in self.leftovers)
        yield f"endings: {_told(self.endings)}"
        yield f"events: {_told(self.events)}"
        yield f"verdict: {len(self.violations)} violations"
        yield from (f"  {violation}" for violation in self.violations)
        yield from (f"    {story}" for story in self.stories)


def run(
    parts: Parts,
    *,
    seconds: float,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Report:
    """Faults begin for so long, and every kind of fault at least once; then all is checked.

    The workers' and servers' logs are copied to *keep*.
    """
    report = Report(seed)
    with ExitStack() as stack:
        world = stack.enter_context(World(parts, seed))
        if keep:
            stack.callback(world.copy_logs, keep)
        clients = [
            stack.enter_context(
                Client(
                    name,
                    world.open_manager(name),
                    TENANTS,
                    pause_seconds=_CLIENT_PAUSE_SECONDS,
                    seed=f"{name} {seed}",
                )
            )
            for name in ("supabase", "postgres")
        ]
        fleet = stack.enter_context(Fleet(world.launcher, world.recipes()))
        _harm(world, fleet, report, random.Random(seed), seconds, tell)
        world.proxy.share = 0.0
        tell("calm")
        calm_at = time.monotonic()
        for client in clients:
            client.finish()
        wishes = tuple(wish for client in clients for wish in client.wishes)
        _wait_until_settled(world, _SETTLE_SECONDS + _SETTLE_SECONDS_PER_JOB * len(wishes))
        report.settled_in_seconds = time.monotonic() - calm_at
        fleet.stop()
        report.violations += _left_by_workers(world, fleet)
        history = read_history(
            world.database_url,
            wishes=wishes,
            storage=world.launcher.storage,
            begun_at=world.begun_at,
        )
        for client in clients:
            report.violations += client.problems
            report.repeats += client.repeats
        _conclude(report, history, world, fleet)
        for line in report.lines():
            tell(line)
    return report


def _harm(
    world: World,
    fleet: Fleet,
    report: Report,
    chance: random.Random,
    seconds: float,
    tell: Callable[[str], None],
) -> None:
    """Deal the faults as from a deck of cards, so that all come, in any order."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(8) as pool:
        begun: list[Future[None]] = []

        def perform(name: str, seed: float) -> None:
            told = FAULTS[name](world, fleet, random.Random(seed))
            report.faults[name] += 1
            tell(told)

        while not begun or time.monotonic() < end:
            for name in chance.sample(list(FAULTS), len(FAULTS)):
                time.sleep(chance.uniform(*_PAUSE_SECONDS))
                begun.append(pool.submit(perform, name, chance.random()))
        for fault in begun:
            fault.result()


def _wait_until_settled(world: World, seconds: float) -> None:
    """All jobs are final, or the time is over, which the checker will say."""
    end = time.monotonic() + seconds
    while world.ask(_UNFINISHED) != [(0,)] and time.monotonic() < end:
        time.sleep(0.5)


def _left_by_workers(world: World, fleet: Fleet) -> Iterator[str]:
    """A last worker sweeps up after those that were killed; then nothing may be left."""
    for process in world.launcher.processes():
        yield f"process {process.pid} ({process.name()}) outlived its worker"
    sweeper = world.launcher.start(fleet.recipe("postgres"), "--until-idle")
    if code := sweeper.process.wait(60):
        yield f"the last worker ended with code {code}"
    for name in world.launcher.left_in_work_dir():
        yield f"{name} is left in the work folder"


def _conclude(report: Report, history: History, world: World, fleet: Fleet) -> None:
    report.violations += fleet.problems
    report.violations += world.launcher.breakdowns()
    found = violations(history)
    report.violations += found
    report.stories = [story for each in found[:_STORIES] for story in _story(each, history)]
    report.endings = endings(history)
    report.events = Counter(event.type for event in history.events)
    report.requests = world.proxy.happened
    report.workers_started = fleet.started
    named = {output["path"] for job in history.jobs for output in job.output_files}
    report.leftovers = sorted(path for path in history.files if "/" in path and path not in named)


def _story(violation: str, history: History) -> Iterator[str]:
    for event in history.events:
        if str(event.job_id) in violation:
            yield f"{event.at:%H:%M:%S.%f} {event.job_id} {event.type} {event.run_token} {event.worker_id} {event.data}"


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
