"""A TCP proxy that can fall silent: connections stay open, and nothing comes through."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from loop_thread import LoopThread


class BlackHole:
    """Passes bytes on to a local port, but while it is silent.

    What is sent into the silence is kept, and arrives when it ends, unless the connections break.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = LoopThread()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = asyncio.Event()
        self._is_open.set()

    def __enter__(self) -> Self:
        self._server = self._loop.run(asyncio.start_server(self._meet, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run(self._end())
        self._loop.close()

    def fall_silent(self) -> None:
        """From now on nothing is forwarded and nothing is closed."""
        self._loop.run(self._set(is_open=False))

    def resume(self) -> None:
        """What was held back arrives."""
        self._loop.run(self._set(is_open=True))

    def break_and_resume(self) -> None:
        """What was held back is lost with its connection; new connections work."""
        self._loop.run(self._break_all())
        self.resume()

    async def _set(self, *, is_open: bool) -> None:
        if is_open:
            self._is_open.set()
        else:
            self._is_open.clear()

    async def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        # Those in the silence wait for its end, and would then write to a connection that is gone.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end(self) -> None:
        self._server.close()
        await self._break_all()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._is_open.wait()
            await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._drop(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(to_upstream)
        try:
            pumps = [
                asyncio.ensure_future(self._pump(reader, to_upstream)),
                asyncio.ensure_future(self._pump(upstream, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._drop(to_upstream)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._is_open.wait()
                writer.write(data)
                await writer.drain()
            await self._is_open.wait()  # an end is not heard of in the silence either

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
