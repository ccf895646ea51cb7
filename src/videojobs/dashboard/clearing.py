"""The dialog that clears finished jobs away, by how they ended and how long ago."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from videojobs.dashboard.parts import Text, answer_of, box, button, dialog_box, text
from videojobs.dashboard.viewing import Viewer, say, tried
from videojobs.dashboard.wording import STATUS_NAMES, count_text, jobs_text
from videojobs.models import JobStatus
from videojobs.requests import JobFilter

_FINAL = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
_AGES: Mapping[str, tuple[str, timedelta | None]] = {
    "": ("Whenever they ended", None),
    "1": ("More than a day ago", timedelta(days=1)),
    "7": ("More than a week ago", timedelta(days=7)),
    "30": ("More than 30 days ago", timedelta(days=30)),
}


class ClearDialog:
    """Chooses statuses and an age, tells how many jobs that is at the most, and deletes them."""

    def __init__(self, viewer: Viewer, scope: JobFilter) -> None:
        self._viewer = viewer
        self._scope = scope
        self._wanted: set[JobStatus] = set()
        self._age = ""
        self._counts: Mapping[JobStatus, int] = {}

    async def run(self) -> bool:
        """Ask, and do it; says whether jobs were deleted."""
        stats = await tried(self._viewer.jobs.get_job_stats(self._scope))
        if stats is None:
            return False
        self._counts = stats.by_status
        with dialog_box() as dialog, box("vj-dialog", role="document"):
            text("Clear finished jobs", "vj-dialog-title", "h2")
            self._draw_choices()
            text(
                "The jobs and their history are gone for good. Their output files are not touched.",
                "vj-dialog-text",
                "p",
            )
            with box("vj-dialog-buttons"):
                button("Keep them", lambda: dialog.submit(False))
                self._yes = button(
                    "Delete", lambda: dialog.submit(True), classes="danger vj-confirm"
                )
                self._label = next(one for one in self._yes.descendants() if isinstance(one, Text))
        dialog.props["aria-label"] = "Clear finished jobs"
        self._tell_count()
        return bool(await answer_of(dialog)) and await self._clear()

    def _draw_choices(self) -> None:
        with box("vj-choices", "fieldset"):
            text("Jobs that have", "", "legend")
            for status in _FINAL:
                with box("vj-choice", "label"):
                    check = box("vj-check", "input", type="checkbox", name=status.value)
                    check.on(
                        "change", self._choose(status), js_handler="(e) => emit(e.target.checked)"
                    )
                    text(STATUS_NAMES[status].lower())
                    text(count_text(self._counts[status]), "vj-count")
        with box("vj-field", "label"):
            text("Ended")
            select = box("vj-select", "select", name="age")
            with select:
                for value, (label, _) in _AGES.items():
                    text(label, "", "option", value=value)
            select.on("change", self._choose_age, js_handler="(e) => emit(e.target.value)")

    def _choose(self, status: JobStatus) -> Callable[[GenericEventArguments], None]:
        def choose(event: GenericEventArguments) -> None:
            (self._wanted.add if event.args else self._wanted.discard)(status)
            self._tell_count()

        return choose

    def _choose_age(self, event: GenericEventArguments) -> None:
        chosen = str(event.args)
        self._age = chosen if chosen in _AGES else ""
        self._tell_count()

    def _tell_count(self) -> None:
        count = sum(self._counts[status] for status in self._wanted)
        most = "up to " if _AGES[self._age][1] else ""
        self._label.say(f"Delete {most}{jobs_text(count)}" if count else "Delete")
        _set_disabled(self._yes, count == 0)

    async def _clear(self) -> bool:
        filters = self._scope.model_copy(update={"status": tuple(sorted(self._wanted))})
        deleted = await tried(self._viewer.jobs.clear_jobs(filters, older_than=_AGES[self._age][1]))
        if deleted is not None:
            say(f"{jobs_text(deleted)} deleted")
        return bool(deleted)


def _set_disabled(element: Element, disabled: bool) -> None:
    element.props["disabled"] = disabled
