"""Turns, so that what else the machine does hits every system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turns(things: Sequence[T], rounds: int) -> Iterator[T]:
    """Each thing once a round; every round begins with another one."""
    for number in range(rounds):
        first = number % len(things)
        yield from things[first:]
        yield from things[:first]
