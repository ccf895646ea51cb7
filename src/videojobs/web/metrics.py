"""Figures for Prometheus: of requests as they come, and of the queue when somebody looks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from videojobs.async_manager import AsyncVideoJobManager

MEDIA_TYPE = CONTENT_TYPE_LATEST
_FRESH_SECONDS = 10.0
"""However often somebody looks, the database is asked no more often than this."""
_ALIVE_SECONDS = 150.0
"""A worker writes that it is there about once a minute."""
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """One registry for one router."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        route = ("method", "route")
        self._requests = Counter(
            "videojobs_http_requests_total",
            "Requests answered.",
            (*route, "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "videojobs_http_request_seconds",
            "Time to the answer.",
            route,
            buckets=_BUCKETS,
            registry=registry,
        )
        self._jobs = Gauge("videojobs_jobs", "Jobs by status.", ("status",), registry=registry)
        self._age = Gauge(
            "videojobs_queue_age_seconds",
            "For how long the oldest due job has waited, by queue and pipeline.",
            ("queue", "pipeline"),
            registry=registry,
        )
        self._workers = Gauge("videojobs_workers", "Workers that are there.", registry=registry)
        self._running = Gauge("videojobs_leases", "Jobs that workers hold.", registry=registry)
        self._expired = Gauge(
            "videojobs_expired_leases", "Jobs of workers that are silent.", registry=registry
        )
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        # By route and status, so that a request looks its counters up once.
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request more."""
        key = method, route, status
        if (known := self._known.get(key)) is None:
            known = self._known[key] = (
                self._requests.labels(method, route, str(status)),
                self._seconds.labels(method, route),
            )
        known[0].inc()
        known[1].observe(seconds)

    async def exposition(self, service: AsyncVideoJobManager) -> bytes:
        """All figures, as Prometheus reads them."""
        async with self._looking:
            if self._looked_at is None or time.monotonic() - self._looked_at > _FRESH_SECONDS:
                await self._look(service)
                self._looked_at = time.monotonic()
        return generate_latest(self._registry)

    async def _look(self, service: AsyncVideoJobManager) -> None:
        stats, workers = await service.get_job_stats(), await service.list_workers()
        waits, health = await service.list_queue_waits(), await service.check()
        for status, count in stats.by_status.items():
            self._jobs.labels(status.value).set(count)
        self._age.clear()
        for wait in waits:
            self._age.labels(wait.queue, wait.pipeline).set(wait.oldest_due_seconds)
        now = health.server_time
        alive = [
            worker
            for worker in workers
            if worker.running
            or (worker.seen_at and (now - worker.seen_at).total_seconds() < _ALIVE_SECONDS)
        ]
        self._workers.set(len(alive))
        self._running.set(sum(len(worker.running) for worker in workers))
        self._expired.set(health.expired_leases)
