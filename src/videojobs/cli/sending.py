"""Webhooks beside other work: a thread that sends while a command runs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.connecting import open_async_transport
from videojobs.settings import Settings

logger = logging.getLogger("videojobs.webhooks")

_AGAIN_SECONDS = 10.0
_END_SECONDS = 5.0

SendsWebhooks = Annotated[
    bool,
    typer.Option(
        "--webhooks/--no-webhooks", help="Also send what webhooks are to be told, if there are any."
    ),
]


async def send_webhooks(settings: Settings, *, once: bool = False) -> int:
    """Send until cancelled, or what is due now; returns how many messages that were."""
    from videojobs.webhook_sender import WebhookSender

    async with AsyncVideoJobManager(open_async_transport(settings), settings) as manager:
        sender = WebhookSender(manager)
        if once:
            return await sender.send_due()
        await sender.run()
    return 0


@contextmanager
def sending(settings: Settings, *, wanted: bool) -> Generator[None]:
    """Webhooks are sent while the context lasts."""
    if not wanted:
        yield
        return
    ended = threading.Event()
    started = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def main() -> None:
        task = asyncio.create_task(_go_on(settings))
        found.append((asyncio.get_running_loop(), task))
        started.set()
        with suppress(asyncio.CancelledError):
            await task

    def run() -> None:
        try:
            asyncio.run(main())
        finally:
            started.set()
            ended.set()

    # A daemon: at the end, a message that hangs keeps nobody waiting. It is sent again by somebody.
    threading.Thread(target=run, name="videojobs-webhooks", daemon=True).start()
    try:
        yield
    finally:
        started.wait(_END_SECONDS)
        for loop, task in found:
            with suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(task.cancel)
        ended.wait(_END_SECONDS)


async def _go_on(settings: Settings) -> None:
    while True:
        try:
            await send_webhooks(settings)
        except Exception:  # a silent end of this thread would leave all messages waiting
            logger.exception("sending webhooks broke, will try again")
        await asyncio.sleep(_AGAIN_SECONDS)
