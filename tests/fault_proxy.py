"""A proxy that does to HTTP requests what networks, gateways and busy servers do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from loop_thread import LoopThread

FAULTS = (
    "drop before",  # the connection breaks, and the server never hears of the request
    "drop after",  # the server answers, and the answer is lost
    "truncate",  # half of the answer arrives
    "hang",  # the answer comes after the client has gone
    "502 before",
    "502 after",
    "503",
    "429",
)
_SORRY = b"<html><h1>Sorry</h1></html>"


class FaultProxy:
    """Passes requests on to a server, but for a share of them, which meet with a fault.

    The faults follow from the seed. What happened is counted by kind. The share may be changed
    at any time.
    """

    def __init__(
        self,
        target: str,
        *,
        share: float,
        seed: int,
        faults: Sequence[str] = FAULTS,
        hang_seconds: float = 1.0,
    ) -> None:
        place = urlsplit(target)
        self._target = (place.hostname, place.port)
        self.share = share
        self._faults = faults
        self._hang_seconds = hang_seconds
        self._random = random.Random(seed)
        self._loop = LoopThread()
        self._tasks: set[asyncio.Task[None]] = set()
        self.happened: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._server = self._loop.run(asyncio.start_server(self._meet, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Deal with one request, and say whether the connection is to be kept."""
        request = await _read_message(reader)
        fault = self._next_fault()
        self.happened[fault] += 1
        match fault:
            case "drop before":
                return False
            case "502 before":
                writer.write(_page("502 Bad Gateway"))
            case "503":
                writer.write(_page("503 Service Unavailable", "Retry-After: 0"))
            case "429":
                writer.write(_page("429 Too Many Requests", "Retry-After: 0"))
            case _:
                return await self._forward(request, fault, writer)
        await writer.drain()
        return True

    def _next_fault(self) -> str:
        return self._random.choice(self._faults) if self._random.random() < self.share else "none"

    async def _forward(self, request: bytes, fault: str, writer: asyncio.StreamWriter) -> bool:
        try:
            upstream, to_upstream = await asyncio.open_connection(*self._target)
            to_upstream.write(request)
            answer = await _read_message(upstream)
            to_upstream.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            answer = _page("502 Bad Gateway")
        if fault == "hang":
            await asyncio.sleep(self._hang_seconds)
        if fault in {"drop after", "hang"}:
            return False
        if fault == "502 after":
            answer = _page("502 Bad Gateway")
        writer.write(answer[: len(answer) // 2] if fault == "truncate" else answer)
        await writer.drain()
        return fault != "truncate"


def _page(status: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/html", f"Content-Length: {len(_SORRY)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + _SORRY


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """A whole HTTP message, with its body by length or in chunks."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.decode("latin-1").lower().splitlines()
    for field in fields:
        name, _, value = field.partition(":")
        if name == "content-length":
            return head + await reader.readexactly(int(value))
        if name == "transfer-encoding":
            return head + await reader.readuntil(b"0\r\n\r\n")
    return head
