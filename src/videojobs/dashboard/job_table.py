"""The table of jobs: a row each, drawn anew only where something is new."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from videojobs.dashboard.parts import box, text
from videojobs.dashboard.rows import Row, row_of
from videojobs.models import VideoJob

_COLUMNS = (
    ("thumb", "Picture", True),
    ("name", "Job", False),
    ("type", "Type", False),
    ("status", "Status", False),
    ("progress", "Progress", False),
    ("attempt", "Attempt", False),
    ("created", "Created", False),
    ("took", "Duration", False),
    ("actions", "Actions", True),
)
"""Class, heading, and whether only screen readers are told it."""


class JobRow(Element, component=Path(__file__).parent / "static" / "vj_row.js"):
    """One job. The browser is sent what changes of it, and nothing of the rows around it."""

    def __init__(
        self,
        row: Row,
        *,
        picked: bool,
        pick: Callable[[str, bool], None],
        act: Callable[[str, str], Awaitable[None]],
    ) -> None:
        super().__init__()
        self.row = row
        self.props["job"] = row
        self.props["picked"] = picked
        self.on("pick", lambda event: pick(row["id"], bool(event.args)))

        async def on_act(event: GenericEventArguments) -> None:
            await act(row["id"], str(event.args))

        self.on("act", on_act)

    def show(self, row: Row, *, picked: bool) -> None:
        """Show this instead, if it is something else."""
        if row != self.row:
            self.row = row
            self.props["job"] = row
        if picked != self.props["picked"]:
            self.props["picked"] = picked


class JobTable:
    """The rows of one page of jobs."""

    def __init__(
        self,
        base: str,
        *,
        is_picked: Callable[[str], bool],
        pick: Callable[[str, bool], None],
        pick_page: Callable[[bool], None],
        act: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._base = base
        self._is_picked = is_picked
        self._pick = pick
        self._act = act
        self._rows: dict[str, JobRow] = {}
        with box("vj-table", "table", role="table", aria_label="Jobs") as self.element:
            with (
                box("", "thead", role="rowgroup"),
                box("", "tr", role="row"),
            ):
                with box("job-cell-pick", "th", role="columnheader", scope="col"):
                    self._all = box(
                        "vj-check",
                        "input",
                        type="checkbox",
                        aria_label="Select all jobs of this page",
                    )
                    self._all.on(
                        "change",
                        lambda event: pick_page(bool(event.args)),
                        js_handler="(e) => emit(e.target.checked)",
                    )
                for name, heading, is_hidden in _COLUMNS:
                    with box(f"job-cell-{name}", "th", role="columnheader", scope="col"):
                        text(heading, "vj-unseen" if is_hidden else "")
            self._body = box("", "tbody", role="rowgroup")

    def show(self, jobs: Sequence[VideoJob]) -> None:
        """These jobs, in this order."""
        wanted = {str(job.id): row_of(job, self._base) for job in jobs}
        for job_id in [key for key in self._rows if key not in wanted]:
            self._rows.pop(job_id).delete()
        for job_id, row in wanted.items():
            picked = self._is_picked(job_id)
            if job_id in self._rows:
                self._rows[job_id].show(row, picked=picked)
            else:
                with self._body:
                    self._rows[job_id] = JobRow(row, picked=picked, pick=self._pick, act=self._act)
        self._order(wanted)

    def show_one(self, job: VideoJob) -> None:
        """What is new of one of the jobs."""
        job_id = str(job.id)
        if job_id in self._rows:
            self._rows[job_id].show(row_of(job, self._base), picked=self._is_picked(job_id))

    def show_picks(self) -> None:
        """Which rows are selected."""
        for job_id, element in self._rows.items():
            element.show(element.row, picked=self._is_picked(job_id))
        picked = [self._is_picked(job_id) for job_id in self._rows]
        _set(self._all, "checked", bool(picked) and all(picked))
        _set(self._all, "indeterminate", any(picked) and not all(picked))

    def _order(self, wanted: Iterable[str]) -> None:
        ordered: list[Element] = [self._rows[job_id] for job_id in wanted]
        if self._body.default_slot.children != ordered:
            self._body.default_slot.children = ordered
            self._body.update()


def _set(element: Element, name: str, value: bool) -> None:
    if element.props.get(name) is not value:
        element.props[name] = value
