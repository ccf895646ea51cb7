"""Drives an `AsyncVideoJobManager` from plain test code, so that each test is written once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

from loop_thread import LoopThread
from videojobs import AsyncVideoJobManager


class BlockingManager:
    """Looks like a `VideoJobManager` and is an `AsyncVideoJobManager`."""

    def __init__(self, manager: AsyncVideoJobManager, loop: LoopThread) -> None:
        self._manager = manager
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._manager, name)
        return self._blocking(value) if inspect.ismethod(value) else value

    def _blocking(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if inspect.isawaitable(result):
                return self._loop.run(result)
            if isinstance(result, AsyncIterator):
                return self._loop.iterate(result)
            if isinstance(result, AsyncVideoJobManager):
                return BlockingManager(result, self._loop)
            return result

        return call
