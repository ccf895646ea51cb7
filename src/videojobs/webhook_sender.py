"""Sends what webhooks are to be told: a loop that any number of processes may run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from videojobs import calls
from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import MissingExtraError, VideoJobsError
from videojobs.messages import ClaimedDelivery
from videojobs.webhooks import Outcome, Poster, notify, signed_headers

logger = logging.getLogger("videojobs.webhooks")

_PER_ENDPOINT = 4
_LEASE_SECONDS = 60.0
"""Longer than any attempt; a message whose sender died is sent again after this time."""
_NOTIFY_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0


class WebhookSender:
    """Claims messages that are due, sends them, and tells the database what came of each.

    Args:
        manager: A service's manager.
        poster: How to post; one that refuses all but public https addresses if not given.
        at_once: How many messages may be under way.
    """

    def __init__(
        self, manager: AsyncVideoJobManager, *, poster: Poster | None = None, at_once: int = 16
    ) -> None:
        self._manager = manager
        self._poster = poster or Poster(allow_loopback=manager.settings.webhooks_to_loopback)
        self._at_once = at_once
        self._busy: Counter[UUID] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Send until the task is cancelled. What is under way then is sent again by somebody."""
        pause = _FIRST_PAUSE_SECONDS
        try:
            async with self._manager.listen_for_webhooks() as announcements:
                while True:
                    is_idle = not await self._claim_or_wait()
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS) if is_idle else 0.0
                    if is_idle:
                        await announcements.hear(pause)
                    pause = max(pause, _FIRST_PAUSE_SECONDS)
        finally:
            await self._drop()

    async def send_due(self) -> int:
        """Send all that is due now, and return how many messages that were."""
        sent = 0
        try:
            while claimed := await self._claim():
                sent += len(claimed)
                while self._tasks:
                    await asyncio.wait(self._tasks)
        finally:
            await self._drop()
        return sent

    async def _claim_or_wait(self) -> bool:
        try:
            claimed = await self._claim()
        except VideoJobsError as error:
            logger.warning("messages of webhooks cannot be read, will try again: %s", error)
            return False
        if self._tasks and not claimed:
            self._ended.clear()
            # An endpoint that was busy may have more.
            try:
                async with asyncio.timeout(_FIRST_PAUSE_SECONDS):
                    await self._ended.wait()
            except TimeoutError:
                pass
            return True
        return bool(claimed)

    async def _claim(self) -> list[ClaimedDelivery]:
        free = self._at_once - len(self._tasks)
        if free <= 0:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            free = self._at_once - len(self._tasks)
        claimed = await self._manager.perform(
            calls.claim_deliveries(
                max(free, 1),
                per_endpoint=_PER_ENDPOINT,
                busy=[each for each, count in self._busy.items() if count >= _PER_ENDPOINT],
                lease_seconds=_LEASE_SECONDS,
            )
        )
        for delivery in claimed:
            self._busy[delivery.endpoint_id] += 1
            task = asyncio.create_task(self._deliver(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return claimed

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        try:
            outcome = await self._send(delivery)
            await self._settle(delivery, outcome)
        except VideoJobsError as error:
            logger.warning("what came of message %s cannot be told: %s", delivery.id, error)
        except Exception:
            logger.exception("message %s broke its sender", delivery.id)
        finally:
            self._busy[delivery.endpoint_id] -= 1
            if not self._busy[delivery.endpoint_id]:
                del self._busy[delivery.endpoint_id]
            self._ended.set()

    async def _send(self, delivery: ClaimedDelivery) -> Outcome:
        if delivery.kind == "standard":
            return await self._post(delivery)
        try:
            async with asyncio.timeout(_NOTIFY_SECONDS):
                told = asyncio.to_thread(notify, delivery.url, delivery.event, delivery.payload)
                return await told
        except TimeoutError:
            return Outcome(False, error=f"no answer within {_NOTIFY_SECONDS:g} s")
        except MissingExtraError as error:
            return Outcome(False, error=str(error))

    async def _post(self, delivery: ClaimedDelivery) -> Outcome:
        body = to_json(delivery.payload)
        headers = signed_headers(delivery.secret or "", str(delivery.id), int(time.time()), body)
        return await self._poster.post(delivery.url, headers, body)

    async def _settle(self, delivery: ClaimedDelivery, outcome: Outcome) -> None:
        facts: dict[str, Any] = {
            "is_delivered": outcome.is_delivered,
            "status": outcome.status,
            "error": outcome.error,
            "is_gone": outcome.is_gone,
            "retry_after_seconds": outcome.retry_after_seconds,
        }
        state = await self._manager.perform(calls.settle_delivery(delivery, **facts))
        told = logger.info if outcome.is_delivered else logger.warning
        told(
            "%s to %s: %s%s (attempt %d)",
            delivery.event,
            delivery.address,
            state,
            "" if outcome.error is None else f", {outcome.error}",
            delivery.attempts,
        )

    async def _drop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
