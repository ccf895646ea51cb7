"""The page of the workers: who is alive, and what each runs. For administrators."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from nicegui import ui

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.dashboard import assets
from videojobs.dashboard.actions import confirm
from videojobs.dashboard.empty import draw_no_workers
from videojobs.dashboard.feed import Batch, Soon
from videojobs.dashboard.parts import Moment, box, button, link, text
from videojobs.dashboard.rows import title_of
from videojobs.dashboard.viewing import Viewer, say, tried
from videojobs.models import JobStatus
from videojobs.reports import WorkerInfo
from videojobs.requests import JobFilter

_READ_SECONDS = 2.0
_LOOK_SECONDS = 10.0
_ALIVE = timedelta(seconds=150)
"""An idle worker is heard of about once a minute."""


class WorkersPage:
    """Who works, or did in the last day."""

    title = "Workers"

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._soon = Soon(self._read, every_seconds=_READ_SECONDS)
        self._timer = ui.timer(_LOOK_SECONDS, self._soon.ask)
        self._seen: Any = None
        text("Workers", "vj-page-title", "h1")
        self._body = box("vj-workers")

    async def load(self) -> None:
        """Draw them, for those who may see them."""
        await tried(self._read())

    async def changed(self, batch: Batch) -> None:
        """Jobs began or ended: the workers run others."""
        del batch
        self._soon.ask()

    def moved(self, path: str) -> None:
        """Nothing of this page stands behind the ``?`` of its address."""

    def leave(self) -> None:
        """Stop what goes on behind the page."""
        self._soon.stop()
        self._timer.cancel()

    async def _read(self) -> None:
        service = await self._viewer.service()
        if service is None:
            self._draw_refusal()
            return
        workers = await service.list_workers()
        names = await _names(service) if any(worker.running for worker in workers) else {}
        now = datetime.now(UTC)
        workers.sort(key=lambda one: (not _is_alive(one, now), -len(one.running), one.worker_id))
        seen = [(one, _is_alive(one, now)) for one in workers]
        if (seen, names) != self._seen and not self._body.is_deleted:
            self._seen = (seen, names)
            self._draw(seen, names)

    def _draw_refusal(self) -> None:
        self._body.clear()
        with self._body, box("vj-panel vj-empty"):
            assets.icon("worker", "large")
            text("For administrators", "", "h2")
            text("Workers run the jobs of everybody, so only administrators see them.", "", "p")

    def _draw(self, seen: list[tuple[WorkerInfo, bool]], names: Mapping[UUID, str]) -> None:
        self._body.clear()
        with self._body:
            if not seen:
                with box("vj-panel vj-empty"):
                    draw_no_workers()
            for worker, is_alive in seen:
                self._draw_one(worker, is_alive, names)

    def _draw_one(self, worker: WorkerInfo, is_alive: bool, names: Mapping[UUID, str]) -> None:
        facts = worker.facts
        with box(
            f"vj-panel vj-worker {'' if is_alive else 'gone'}",
            "article",
            aria_label=worker.worker_id,
        ):
            with box("vj-panel-head"):
                with box("", "div"):
                    text(worker.worker_id, "", "h2")
                    text(_told(facts), "vj-under")
                _draw_state(worker, is_alive)
                if is_alive and worker.drain_requested_at is None:
                    button(
                        "Drain",
                        lambda: self._drain(worker.worker_id),
                        classes="drain",
                        name=f"Drain {worker.worker_id}",
                    )
            with box("vj-worker-facts", "dl"):
                _fact("Seen", worker.seen_at)
                _fact("Started", worker.started_at)
                with box("", "div"):
                    text("Jobs", "", "dt")
                    concurrency = facts.get("concurrency")
                    most = f" of {concurrency}" if concurrency else ""
                    text(f"{len(worker.running)}{most}", "", "dd")
            if worker.running:
                self._draw_running(worker, names)

    def _draw_running(self, worker: WorkerInfo, names: Mapping[UUID, str]) -> None:
        with box("vj-leases", "ul"):
            for running in worker.running:
                with box("", "li"):
                    name = names.get(running.job_id, str(running.job_id))
                    link(name, f"{self._viewer.base}/jobs/{running.job_id}")
                    with box("vj-under"):
                        text("for ")
                        Moment(running.claimed_at.isoformat(), "since")
                        text("· lease ends ")
                        Moment(running.expires_at.isoformat())

    async def _drain(self, worker_id: str) -> None:
        if not await confirm(
            f"Drain {worker_id}?",
            "It finishes what it runs, claims nothing more, and ends. Start another one in its place.",
            "Drain it",
            is_grave=False,
        ):
            return
        service = await tried(self._viewer.service())
        if service is not None and await tried(service.drain_worker(worker_id)):
            say(f"{worker_id} finishes what it runs and ends")
        self._soon.ask()


async def _names(service: AsyncVideoJobManager) -> dict[UUID, str]:
    """What the running jobs are called."""
    running = await service.list_jobs(JobFilter(status=(JobStatus.PROCESSING,)), limit=500)
    return {job.id: title_of(job) for job in running}


def _is_alive(worker: WorkerInfo, now: datetime) -> bool:
    if any(running.expires_at > now for running in worker.running):
        return True
    return worker.seen_at is not None and now - worker.seen_at < _ALIVE


def _draw_state(worker: WorkerInfo, is_alive: bool) -> None:
    if not is_alive:
        state, color, drawing = "Gone", "cancelled", "cancelled"
    elif worker.drain_requested_at is not None:
        state, color, drawing = "Draining", "cancelled", "processing"
    elif worker.running:
        state, color, drawing = "Working", "processing", "processing"
    else:
        state, color, drawing = "Idle", "completed", "completed"
    with box(f"vj-status {color}"):
        assets.icon(drawing)
        text(state)


def _told(facts: Any) -> str:
    told = [
        f"{facts['host']}" if facts.get("host") else "",
        f"process {facts['pid']}" if facts.get("pid") else "",
        f"queues {_listed(facts['queues'])}" if facts.get("queues") else "",
        f"pipelines {_listed(facts['pipelines'])}" if facts.get("pipelines") else "",
        f"videojobs {facts['version']}" if facts.get("version") else "",
    ]
    return " · ".join(filter(None, told))


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple | dict) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] # any JSON


def _fact(name: str, at: datetime | None) -> None:
    with box("", "div"):
        text(name, "", "dt")
        with box("", "dd"):
            if at is None:
                text("–")
            else:
                Moment(at.isoformat())
