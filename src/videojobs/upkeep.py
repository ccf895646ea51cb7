"""What operators do through a manager: limits, settings, workers, retention and diagnosis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar, Unpack
from uuid import UUID

from videojobs import arguments, calls, flows
from videojobs.calls import Call
from videojobs.flows import Flow
from videojobs.identity import new_id
from videojobs.messages import (
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
    WebhookWish,
    webhook_wish,
)
from videojobs.models import FINAL_STATUSES, JobStatus
from videojobs.reports import (
    Finding,
    Limit,
    QueueSettings,
    QueueWait,
    StatsDrift,
    Upkeep,
    WorkerInfo,
)
from videojobs.requests import QueueSettingsFields

T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


def _check_service(wish: WebhookWish) -> None:
    if wish.kind == "apprise":
        from videojobs.webhooks import check_notifiable  # heavy, and rarely needed

        check_notifiable(wish.url)


class Operations(ABC):
    """The operators' half of `VideoJobManager`. All of it needs service rights."""

    @abstractmethod
    def perform(self, call: Call[T], deadline_seconds: float | None = None) -> T:
        """The answer to any call, repeated where that is harmless, for up to the deadline."""

    @abstractmethod
    def _run(self, flow: Flow[T]) -> T: ...

    def maintain(self) -> Upkeep:
        """A round of upkeep is done: silent workers' jobs, sums, next months' tables, retention.

        Harmless at any time, from any number of places, and bounded: it does the next part when
        it is called again. Workers and, where it exists, pg_cron do it by themselves.
        """
        return self.perform(calls.maintain())

    def archive_jobs(
        self,
        *,
        older_than: timedelta,
        statuses: Sequence[JobStatus | str] = tuple(FINAL_STATUSES),
    ) -> int:
        """Final jobs that ended so long ago are in the archive; says how many went there.

        They are no longer listed, counted by status or changed, and their idempotency keys are
        free again. `get_job` and the view
        ``archived_video_jobs`` still show them, and figures by day still count them.

        Args:
            older_than: By the database's clock.
            statuses: Completed, failed, cancelled; all three if not given.
        """
        seconds = arguments.not_negative("archive_jobs", "older_than", older_than)
        wanted = [arguments.status("archive_jobs", status) for status in statuses]
        return self._run(flows.archive_jobs(wanted, seconds))

    def configure(self, **changes: Unpack[QueueSettingsFields]) -> QueueSettings:
        """The database's settings, after what is named was set; without names they are only read.

        `videojobs.reports.QueueSettings` tells what each means.

        Raises:
            SupabaseValidationError: A setting is unknown, or has a value that is not allowed.
        """
        return self.perform(calls.configure(changes))

    def set_limit(
        self,
        max_running: int | None,
        *,
        tenant: UUID | str | None = None,
        queue: str | None = None,
        pipeline: str | None = None,
    ) -> list[Limit]:
        """So many jobs of the tenant, queue or pipeline run at once, however many workers there are.

        Running jobs are left to end. `start_processing` does not ask for limits.

        Args:
            max_running: 0 holds them all back; ``None`` lifts the limit.
            tenant: A user's or team's id; ``"*"`` for each that has no limit of its own.
            queue: A queue's name, or ``"*"``.
            pipeline: A pipeline's name, or ``"*"``.
        """
        return self.perform(
            calls.set_limit(max_running, tenant=tenant, queue=queue, pipeline=pipeline)
        )

    def list_limits(self) -> list[Limit]:
        """All limits, and how many jobs run under each."""
        return self.perform(calls.list_limits())

    def set_queue_fairness(self, queue: str, *, fair: bool) -> None:
        """The queue is fair, or strictly first come, first served.

        Fair, as every queue is from the beginning: within a priority, tenants take turns.
        A strict queue goes by turns only to get past more than 200 jobs of tenants at their limit.
        """
        return self.perform(calls.set_queue_fairness(queue, fair=fair))

    def list_workers(self) -> list[WorkerInfo]:
        """Who works, or did in the last day, and on what."""
        return self.perform(calls.list_workers())

    def list_queue_waits(self) -> list[QueueWait]:
        """The queues and pipelines whose jobs are due, longest waiting first; at most 20."""
        return self.perform(calls.list_queue_waits())

    def drain_worker(self, worker_id: str) -> bool:
        """The worker finishes what it runs and ends; says whether it is known.

        It hears of it at once where it listens, else with its next heartbeat.
        """
        return self.perform(calls.drain_worker(worker_id))

    def reconcile_stats(self, *, repair: bool = False) -> list[StatsDrift]:
        """The sums behind the statistics that differ from a count of all jobs; none is normal.

        Reads every job, in one snapshot: exact while others work, and slow on large tables.

        Args:
            repair: Also set them right.
        """
        return self.perform(calls.reconcile_stats(repair=repair))

    def doctor(self, *, deep: bool = False) -> tuple[Finding, ...]:
        """What is wrong with the database, or may soon be, and what to do about each of it.

        Looks at transactions that hold back vacuum, dead rows, expired leases, orphans, indexes,
        grants, months, clocks, workers and more, without counting jobs. It changes nothing. A check
        that cannot run is a finding of the severity ``unknown``.

        Args:
            deep: Also compare the statistics with a count of all jobs, which takes its time.
        """
        return self._run(flows.examine(_now, deep=deep))

    def add_webhook(
        self,
        url: str,
        *,
        events: Sequence[WebhookEvent | str] = tuple(WebhookEvent),
        tenant_id: UUID | str | None = None,
        pipeline: str | None = None,
        secret: str | None = None,
    ) -> NewWebhook:
        """From now on, the address is told when jobs end; the answer has the secret, this once.

        Messages are written with what they tell of, and sent by `videojobs.webhook_sender`: in
        ``videojobs serve``, ``videojobs worker`` or ``videojobs webhooks send``. Each comes at
        least once, in the order of its job's, and is tried ten times over two and a half days.

        Args:
            url: ``https://…``, which gets signed JSON (Standard Webhooks); or an address of
                Apprise, such as ``mailto://…`` or ``slack://…``, which gets a short text. Only
                the former is kept to public addresses: Apprise goes where you say.
            events: Of what to tell; all if not given.
            tenant_id: Only of this user's or team's jobs.
            pipeline: Only of jobs of this pipeline.
            secret: One of your own, ``whsec_…``; a new one if not given.

        Raises:
            SupabaseValidationError: Something is not allowed. It repeats no secret.
        """
        wish = webhook_wish(
            url, events=events, tenant_id=tenant_id, pipeline=pipeline, secret=secret
        )
        _check_service(wish)
        return self.perform(calls.add_webhook(wish, new_id()))

    def list_webhooks(self) -> list[Webhook]:
        """Who is told, and how many messages wait or were given up; no secret is among it."""
        return self.perform(calls.list_webhooks())

    def remove_webhook(self, webhook_id: UUID | str) -> bool:
        """The address is told nothing more, and its log is gone; says whether it was there."""
        return self.perform(calls.remove_webhook(webhook_id))

    def list_webhook_deliveries(
        self,
        webhook_id: UUID | str | None = None,
        *,
        state: DeliveryState | str | None = None,
        limit: int = 100,
    ) -> list[WebhookDelivery]:
        """The latest messages and what became of them, newest first. A month of them is kept.

        Args:
            webhook_id: Only this endpoint's.
            state: Only ``pending``, ``delivered`` or ``dead`` ones.
            limit: 1 to 500.
        """
        return self.perform(calls.list_deliveries(webhook_id, state, limit))

    def test_webhook(self, webhook_id: UUID | str) -> UUID:
        """A message that tells of no job waits to be sent there; its id.

        Raises:
            SupabaseValidationError: There is no such endpoint.
        """
        return self.perform(calls.test_webhook(webhook_id))

    def resend_webhook(self, delivery_id: UUID | str) -> UUID:
        """The message is sent once more, with all its attempts, as if it were new.

        Raises:
            SupabaseValidationError: There is no such message.
        """
        return self.perform(calls.resend_webhook(delivery_id))


class AsyncOperations(ABC):
    """The operators' half of `AsyncVideoJobManager`. All of it needs service rights."""

    @abstractmethod
    async def perform(self, call: Call[T], deadline_seconds: float | None = None) -> T:
        """The answer to any call, repeated where that is harmless, for up to the deadline."""

    @abstractmethod
    async def _run(self, flow: Flow[T]) -> T: ...

    async def maintain(self) -> Upkeep:
        """A round of upkeep is done: silent workers' jobs, sums, next months' tables, retention.

        Harmless at any time, from any number of places, and bounded: it does the next part when
        it is called again. Workers and, where it exists, pg_cron do it by themselves.
        """
        return await self.perform(calls.maintain())

    async def archive_jobs(
        self,
        *,
        older_than: timedelta,
        statuses: Sequence[JobStatus | str] = tuple(FINAL_STATUSES),
    ) -> int:
        """Final jobs that ended so long ago are in the archive; says how many went there.

        They are no longer listed, counted by status or changed, and their idempotency keys are
        free again. `get_job` and the view
        ``archived_video_jobs`` still show them, and figures by day still count them.

        Args:
            older_than: By the database's clock.
            statuses: Completed, failed, cancelled; all three if not given.
        """
        seconds = arguments.not_negative("archive_jobs", "older_than", older_than)
        wanted = [arguments.status("archive_jobs", status) for status in statuses]
        return await self._run(flows.archive_jobs(wanted, seconds))

    async def configure(self, **changes: Unpack[QueueSettingsFields]) -> QueueSettings:
        """The database's settings, after what is named was set; without names they are only read.

        `videojobs.reports.QueueSettings` tells what each means.

        Raises:
            SupabaseValidationError: A setting is unknown, or has a value that is not allowed.
        """
        return await self.perform(calls.configure(changes))

    async def set_limit(
        self,
        max_running: int | None,
        *,
        tenant: UUID | str | None = None,
        queue: str | None = None,
        pipeline: str | None = None,
    ) -> list[Limit]:
        """So many jobs of the tenant, queue or pipeline run at once, however many workers there are.

        Running jobs are left to end. `start_processing` does not ask for limits.

        Args:
            max_running: 0 holds them all back; ``None`` lifts the limit.
            tenant: A user's or team's id; ``"*"`` for each that has no limit of its own.
            queue: A queue's name, or ``"*"``.
            pipeline: A pipeline's name, or ``"*"``.
        """
        return await self.perform(
            calls.set_limit(max_running, tenant=tenant, queue=queue, pipeline=pipeline)
        )

    async def list_limits(self) -> list[Limit]:
        """All limits, and how many jobs run under each."""
        return await self.perform(calls.list_limits())

    async def set_queue_fairness(self, queue: str, *, fair: bool) -> None:
        """The queue is fair, or strictly first come, first served.

        Fair, as every queue is from the beginning: within a priority, tenants take turns.
        A strict queue goes by turns only to get past more than 200 jobs of tenants at their limit.
        """
        return await self.perform(calls.set_queue_fairness(queue, fair=fair))

    async def list_workers(self) -> list[WorkerInfo]:
        """Who works, or did in the last day, and on what."""
        return await self.perform(calls.list_workers())

    async def list_queue_waits(self) -> list[QueueWait]:
        """The queues and pipelines whose jobs are due, longest waiting first; at most 20."""
        return await self.perform(calls.list_queue_waits())

    async def drain_worker(self, worker_id: str) -> bool:
        """The worker finishes what it runs and ends; says whether it is known.

        It hears of it at once where it listens, else with its next heartbeat.
        """
        return await self.perform(calls.drain_worker(worker_id))

    async def reconcile_stats(self, *, repair: bool = False) -> list[StatsDrift]:
        """The sums behind the statistics that differ from a count of all jobs; none is normal.

        Reads every job, in one snapshot: exact while others work, and slow on large tables.

        Args:
            repair: Also set them right.
        """
        return await self.perform(calls.reconcile_stats(repair=repair))

    async def doctor(self, *, deep: bool = False) -> tuple[Finding, ...]:
        """What is wrong with the database, or may soon be, and what to do about each of it.

        Looks at transactions that hold back vacuum, dead rows, expired leases, orphans, indexes,
        grants, months, clocks, workers and more, without counting jobs. It changes nothing. A check
        that cannot run is a finding of the severity ``unknown``.

        Args:
            deep: Also compare the statistics with a count of all jobs, which takes its time.
        """
        return await self._run(flows.examine(_now, deep=deep))

    async def add_webhook(
        self,
        url: str,
        *,
        events: Sequence[WebhookEvent | str] = tuple(WebhookEvent),
        tenant_id: UUID | str | None = None,
        pipeline: str | None = None,
        secret: str | None = None,
    ) -> NewWebhook:
        """From now on, the address is told when jobs end; the answer has the secret, this once.

        Messages are written with what they tell of, and sent by `videojobs.webhook_sender`: in
        ``videojobs serve``, ``videojobs worker`` or ``videojobs webhooks send``. Each comes at
        least once, in the order of its job's, and is tried ten times over two and a half days.

        Args:
            url: ``https://…``, which gets signed JSON (Standard Webhooks); or an address of
                Apprise, such as ``mailto://…`` or ``slack://…``, which gets a short text. Only
                the former is kept to public addresses: Apprise goes where you say.
            events: Of what to tell; all if not given.
            tenant_id: Only of this user's or team's jobs.
            pipeline: Only of jobs of this pipeline.
            secret: One of your own, ``whsec_…``; a new one if not given.

        Raises:
            SupabaseValidationError: Something is not allowed. It repeats no secret.
        """
        wish = webhook_wish(
            url, events=events, tenant_id=tenant_id, pipeline=pipeline, secret=secret
        )
        _check_service(wish)
        return await self.perform(calls.add_webhook(wish, new_id()))

    async def list_webhooks(self) -> list[Webhook]:
        """Who is told, and how many messages wait or were given up; no secret is among it."""
        return await self.perform(calls.list_webhooks())

    async def remove_webhook(self, webhook_id: UUID | str) -> bool:
        """The address is told nothing more, and its log is gone; says whether it was there."""
        return await self.perform(calls.remove_webhook(webhook_id))

    async def list_webhook_deliveries(
        self,
        webhook_id: UUID | str | None = None,
        *,
        state: DeliveryState | str | None = None,
        limit: int = 100,
    ) -> list[WebhookDelivery]:
        """The latest messages and what became of them, newest first. A month of them is kept.

        Args:
            webhook_id: Only this endpoint's.
            state: Only ``pending``, ``delivered`` or ``dead`` ones.
            limit: 1 to 500.
        """
        return await self.perform(calls.list_deliveries(webhook_id, state, limit))

    async def test_webhook(self, webhook_id: UUID | str) -> UUID:
        """A message that tells of no job waits to be sent there; its id.

        Raises:
            SupabaseValidationError: There is no such endpoint.
        """
        return await self.perform(calls.test_webhook(webhook_id))

    async def resend_webhook(self, delivery_id: UUID | str) -> UUID:
        """The message is sent once more, with all its attempts, as if it were new.

        Raises:
            SupabaseValidationError: There is no such message.
        """
        return await self.perform(calls.resend_webhook(delivery_id))
