"""An event loop for plain test code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, awaitable: Any) -> Any:
        """The awaitable's result, awaited on the loop."""
        return asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop).result()

    def iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        """The items, each awaited on the loop when it is asked for."""
        try:
            while True:
                try:
                    item = self.run(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.run(items.aclose())  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """Stop the loop, and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
