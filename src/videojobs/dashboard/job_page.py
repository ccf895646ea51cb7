"""The page of one job: what it is, how far it is, what it made, and all that happened to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.element import Element

from videojobs.dashboard import assets
from videojobs.dashboard.actions import act_on_one
from videojobs.dashboard.feed import Batch, Soon
from videojobs.dashboard.job_facts import draw_facts, draw_settings
from videojobs.dashboard.outputs import draw_outputs
from videojobs.dashboard.parts import Moment, Text, box, button, link, status_badge, text
from videojobs.dashboard.rows import may, title_of
from videojobs.dashboard.timeline import Timeline, last_failure
from videojobs.dashboard.viewing import Viewer, tried
from videojobs.errors import JobNotFoundError, RefusedError, SupabaseValidationError
from videojobs.models import JobEvent, JobStatus, VideoJob
from videojobs.outcomes import warnings_of

_READ_SECONDS = 0.4
_ACTIONS = (
    ("cancel", "Cancel", "stop"),
    ("retry", "Retry", "retry"),
    ("delete", "Delete", "delete"),
)


class JobPage:
    """One job, for as long as it is there and the viewer may see it."""

    title = "Job"

    def __init__(self, viewer: Viewer, job_id: str) -> None:
        self._viewer = viewer
        self._id = job_id
        self._job: VideoJob | None = None
        self._events: list[JobEvent] = []
        self._client = ui.context.client
        self._soon = Soon(self._read, every_seconds=_READ_SECONDS)
        self._drawn: dict[str, Any] = {}
        link("Jobs", f"{viewer.base}/", "vj-back vj-escape")
        self._body = box("vj-job-page")

    async def load(self) -> None:
        """Draw the job, or that there is none."""
        await tried(self._read())

    async def changed(self, batch: Batch) -> None:
        """Draw what is new of the job."""
        job = next((one for one in batch.changed.values() if str(one.id) == self._id), None)
        if job is not None and self._job is not None and job.status is self._job.status:
            self._job = job
            self._show_progress(job)
        is_gone = any(str(job_id) == self._id for job_id in batch.deleted)
        if job is not None or is_gone or batch.missed:
            self._soon.ask()

    def moved(self, path: str) -> None:
        """Nothing of this page stands behind the ``?`` of its address."""

    def leave(self) -> None:
        """Stop what goes on behind the page."""
        self._soon.stop()

    async def _read(self) -> None:
        try:
            job = await self._viewer.jobs.get_job(self._id)
        except (JobNotFoundError, SupabaseValidationError):
            self._show_nothing()
            return
        except RefusedError as error:
            if error.code == "22P02":  # not an id at all
                self._show_nothing()
                return
            raise
        events = await self._viewer.jobs.get_job_events(job.id)
        if self._body.is_deleted:
            return
        is_new = self._job is None or not self._drawn
        self._job, self._events = job, events
        if is_new:
            self._build(job)
        self._show(job)

    def _show_nothing(self) -> None:
        self._job = None
        self._drawn = {}
        self._client.status_code = 404
        self._body.clear()
        with self._body, box("vj-empty"):
            assets.icon("search", "large")
            text("There is no such job", "", "h1")
            text("It was deleted, or it is not yours to see.", "", "p")
            link("Go to the jobs", f"{self._viewer.base}/", "vj-button primary")

    # Drawing

    def _build(self, job: VideoJob) -> None:
        self._body.clear()
        with self._body:
            with box("vj-job-head"):
                with box("vj-job-title"):
                    self._title = text(title_of(job), "", "h1")
                    self._status = box("vj-job-status")
                self._actions = box("vj-job-actions")
            with box("vj-columns"):
                with box("vj-column"):
                    self._error = box()
                    self._warnings = box()
                    self._progress = box(
                        "vj-panel vj-job-progress", "section", aria_label="Progress"
                    )
                    self._outputs = box("vj-panel", "section", aria_label="Outputs")
                    with box("vj-panel", "section", aria_label="History"):
                        text("History", "", "h2")
                        self._timeline = Timeline()
                with box("vj-column side"):
                    self._facts = box("vj-panel", "section", aria_label="Facts")
                    self._settings = box("vj-panel", "section", aria_label="Settings")
        self._bars: dict[str, tuple[Element, Element, Text]] = {}
        self._drawn = {}

    def _show(self, job: VideoJob) -> None:
        self._title.say(title_of(job))
        with self._client:
            ui.page_title(f"{title_of(job)} · videojobs")
        self._when_new(
            "status", (job.status, job.cancel_requested_at), lambda: self._show_status(job)
        )
        self._when_new(
            "actions",
            [name for name, *_ in _ACTIONS if may(name, job)],
            lambda: self._show_actions(job),
        )
        self._when_new(
            "error",
            (job.status, job.error_code, job.error_message, len(self._events)),
            lambda: self._show_error(job),
        )
        warnings = warnings_of(self._events) if job.status is JobStatus.COMPLETED else ()
        self._when_new("warnings", warnings, lambda: self._show_warnings(warnings))
        self._when_new(
            "bars",
            (job.status, job.stage is None, sorted(job.progress_detail)),
            lambda: self._show_bars(job),
        )
        self._show_progress(job)
        self._when_new("outputs", (job.status, job.output_files), lambda: self._show_outputs(job))
        self._when_new(
            "facts",
            job.model_dump(
                exclude={"progress", "progress_detail", "stage", "updated_at", "output_files"}
            ),
            lambda: self._show_facts(job),
        )
        self._timeline.show(self._events)

    def _when_new(self, name: str, value: Any, draw: Callable[[], None]) -> None:
        if self._drawn.get(name, _NOTHING) != value:
            self._drawn[name] = value
            draw()

    def _show_status(self, job: VideoJob) -> None:
        self._status.clear()
        with self._status:
            status_badge(job.status)
            if job.status is JobStatus.PROCESSING and job.cancel_requested_at:
                text("is being stopped", "vj-under")
            if job.status is JobStatus.PROCESSING and job.started_at:
                with box("vj-under"):
                    text("for ")
                    Moment(job.started_at.isoformat(), "since")

    def _show_actions(self, job: VideoJob) -> None:
        self._actions.clear()
        with self._actions:
            for name, label, drawing in _ACTIONS:
                if may(name, job):
                    grave = "danger" if name == "delete" else ""
                    button(
                        label,
                        partial(self._act, name),
                        icon=drawing,
                        classes=f"{name} {grave}",
                    )

    async def _act(self, name: str) -> None:
        if self._job is None:
            return
        done = await act_on_one(self._viewer, self._job, name)
        if done and name == "delete":
            ui.navigate.to("/")
        else:
            self._soon.ask()

    def _show_error(self, job: VideoJob) -> None:
        self._error.clear()
        failure = last_failure(self._events)
        if job.status is not JobStatus.FAILED and (failure is None or job.is_final):
            return
        detail: Mapping[str, Any] = failure.data if failure else {}
        message = job.error_message or detail.get("error_message")
        with self._error, box("vj-panel vj-failure", "section", aria_label="What went wrong"):
            with box("vj-failure-head"):
                assets.icon("warning")
                text(
                    "What went wrong"
                    if job.status is JobStatus.FAILED
                    else "The last attempt failed",
                    "",
                    "h2",
                )
                if code := job.error_code or detail.get("error_code"):
                    link(str(code), f"{self._viewer.base}/?error={code}", "vj-code")
            advice = str(_of_detail(detail, "advice") or "")
            told = str(message or "No message was left.")
            text(told.removesuffix(advice).rstrip(), "vj-failure-message", "p")
            if advice:
                with box("vj-advice", "p"):
                    text("What to do: ", "", "strong")
                    text(advice)
            if tail := _of_detail(detail, "stderr_tail"):
                with box("", "details", open="open"):
                    text("The last lines of ffmpeg", "", "summary")
                    text("\n".join(map(str, tail)), "vj-stderr", "pre", tabindex="0")

    def _show_warnings(self, warnings: Sequence[str]) -> None:
        self._warnings.clear()
        if not warnings:
            return
        with (
            self._warnings,
            box("vj-panel vj-warning vj-job-warnings", "section", aria_label="Warnings"),
        ):
            text("Warnings", "", "h2")
            with box("", "ul"):
                for warning in warnings:
                    text(warning, "", "li")

    def _show_bars(self, job: VideoJob) -> None:
        self._progress.clear()
        self._bars = {}
        self._progress.set_visibility(not job.is_final)
        if job.is_final:
            return
        with self._progress:
            with box("vj-panel-head"):
                text("Progress", "", "h2")
                self._stage = text("", "vj-under")
            self._bar("", "All of it")
            for name in sorted(job.progress_detail):
                self._bar(name, name)

    def _bar(self, key: str, label: str) -> None:
        with box("vj-bar-line"):
            text(label, "vj-bar-name")
            with box(
                "vj-progress processing",
                role="progressbar",
                aria_valuemin="0",
                aria_valuemax="100",
                aria_label=label,
            ) as bar:
                with box("bar", "span"):
                    fill = box("", "span")
                number = text("", "number")
        self._bars[key] = (bar, fill, number)

    def _show_progress(self, job: VideoJob) -> None:
        if not self._bars:
            return
        waits = "waits for a worker" if job.status is JobStatus.QUEUED else ""
        self._stage.say(job.stage or waits)
        for key, (bar, fill, number) in self._bars.items():
            percent = job.progress if not key else _percent(job.progress_detail.get(key))
            if number.said != f"{percent}%":
                number.say(f"{percent}%")
                fill.style(f"width: {percent}%")
                bar.props["aria-valuenow"] = str(percent)

    def _show_outputs(self, job: VideoJob) -> None:
        self._outputs.clear()
        with self._outputs:
            draw_outputs(job, self._viewer.base)

    def _show_facts(self, job: VideoJob) -> None:
        self._facts.clear()
        with self._facts:
            draw_facts(job, self._viewer)
        self._settings.clear()
        with self._settings:
            draw_settings(job)


_NOTHING = object()


def _percent(value: Any) -> int:
    return max(0, min(100, int(value))) if isinstance(value, int | float) else 0


def _of_detail(data: Mapping[str, Any], name: str) -> Any:
    """A fact of a failure, wherever its event keeps it."""
    detail = data.get("detail")
    inner: Mapping[str, Any] = detail if isinstance(detail, Mapping) else {}  # pyright: ignore[reportUnknownVariableType] # any JSON
    return data.get(name) or inner.get(name)
