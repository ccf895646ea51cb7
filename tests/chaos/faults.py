"""What may go wrong. Each fault begins, lasts for a while, and is over when its function returns."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from chaos.fleet import Fleet
from chaos.workers import LEASE_SECONDS
from chaos.world import CALM_SHARE, World

Fault = Callable[[World, Fleet, random.Random], str]
"""Tells what it did."""

_STORM_SHARE = 0.5
_LOOK_FOR_FFMPEG_SECONDS = 3.0
_LONGER_THAN_THE_LEASE = LEASE_SECONDS + 4.0
"""So long that another worker has taken the job over, and works on it, when the first comes back."""


def kill_worker(world: World, fleet: Fleet, chance: random.Random) -> str:
    worker = fleet.any_of(chance)
    worker.send(signal.SIGKILL)
    return f"killed {worker.recipe.name}"


def end_worker(world: World, fleet: Fleet, chance: random.Random) -> str:
    worker = fleet.any_of(chance)
    worker.send(signal.SIGTERM)
    return f"asked {worker.recipe.name} to stop"


def hurry_worker(world: World, fleet: Fleet, chance: random.Random) -> str:
    worker = fleet.any_of(chance)
    worker.send(signal.SIGTERM)
    time.sleep(0.2)
    worker.send(signal.SIGTERM)
    return f"asked {worker.recipe.name} twice to stop"


def freeze_worker(world: World, fleet: Fleet, chance: random.Random) -> str:
    worker = fleet.any_of(chance)
    worker.send(signal.SIGSTOP)
    time.sleep(_LONGER_THAN_THE_LEASE)
    worker.send(signal.SIGCONT)
    return f"froze {worker.recipe.name}, while its ffmpeg went on"


def freeze_family(world: World, fleet: Fleet, chance: random.Random) -> str:
    worker = fleet.any_of(chance)
    family = worker.family()
    _signal_all(family, signal.SIGSTOP)
    time.sleep(_LONGER_THAN_THE_LEASE)
    _signal_all(family, signal.SIGCONT)
    return f"froze {worker.recipe.name} with its {len(family) - 1} children"


def kill_ffmpeg(world: World, fleet: Fleet, chance: random.Random) -> str:
    """As the system does when it runs out of memory."""
    end = time.monotonic() + _LOOK_FOR_FFMPEG_SECONDS
    found: list[psutil.Process] = []
    while not found and time.monotonic() < end:
        time.sleep(0.05)
        found = [each for each in fleet.any_of(chance).family() if _is_ffmpeg(each)]
    _signal_all(found, signal.SIGKILL)
    return f"killed {len(found)} ffmpeg"


def end_connections(world: World, fleet: Fleet, chance: random.Random) -> str:
    with world.database_lock:
        world.end_connections()
    return "ended all connections"


def crash_a_backend(world: World, fleet: Fleet, chance: random.Random) -> str:
    with world.database_lock:
        world.crash_a_backend(chance)
    return "killed a backend, and all others with it"


def restart_fast(world: World, fleet: Fleet, chance: random.Random) -> str:
    _restart(world, signal.SIGINT, chance.uniform(0, 2))
    return "restarted Postgres"


def restart_immediately(world: World, fleet: Fleet, chance: random.Random) -> str:
    _restart(world, signal.SIGQUIT, chance.uniform(0, 2))
    return "crashed and restarted Postgres"


def stop_rest(world: World, fleet: Fleet, chance: random.Random) -> str:
    with world.rest_lock, world.database_lock:
        world.stop_rest()
        time.sleep(chance.uniform(1, 3))
        world.start_rest()
    return "stopped and started PostgREST"


def storm(world: World, fleet: Fleet, chance: random.Random) -> str:
    world.proxy.share = _STORM_SHARE
    time.sleep(5)
    world.proxy.share = CALM_SHARE
    return "harmed half of the HTTP requests"


def silence(world: World, fleet: Fleet, chance: random.Random) -> str:
    with _silent(world):
        time.sleep(_LONGER_THAN_THE_LEASE)
        world.hole.resume()
    return "held the traffic to Postgres back"


def silence_and_break(world: World, fleet: Fleet, chance: random.Random) -> str:
    with _silent(world):
        time.sleep(_LONGER_THAN_THE_LEASE)
        world.hole.break_and_resume()
    return "swallowed the traffic to Postgres"


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        end_worker,
        hurry_worker,
        freeze_worker,
        freeze_family,
        kill_ffmpeg,
        end_connections,
        crash_a_backend,
        restart_fast,
        restart_immediately,
        stop_rest,
        storm,
        silence,
        silence_and_break,
    )
}


def _restart(world: World, number: signal.Signals, down_seconds: float) -> None:
    with world.database_lock:
        postmaster = world.postmaster()
        postmaster.send_signal(number)
        postmaster.wait(60)
        time.sleep(down_seconds)
        world.start_server()


@contextmanager
def _silent(world: World) -> Iterator[None]:
    with world.network_lock:
        world.hole.fall_silent()
        try:
            yield
        finally:
            world.hole.resume()


def _is_ffmpeg(process: psutil.Process) -> bool:
    try:
        return "ffmpeg" in process.name()
    except psutil.NoSuchProcess:
        return False


def _signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
