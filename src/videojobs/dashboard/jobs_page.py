"""The page of all jobs: figures, filters, the table, and what is done to many at once."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl
from uuid import UUID

from nicegui import ui
from nicegui.client import Client

from videojobs.dashboard.actions import Chosen, act_on_many, act_on_one
from videojobs.dashboard.bulk_bar import BulkBar
from videojobs.dashboard.clearing import ClearDialog
from videojobs.dashboard.empty import draw_first_steps, draw_no_match
from videojobs.dashboard.feed import Batch, Soon
from videojobs.dashboard.figures import Figures
from videojobs.dashboard.job_table import JobTable
from videojobs.dashboard.listing import PAGE_SIZE, Listing
from videojobs.dashboard.parts import Text, box, button, text
from videojobs.dashboard.picks import MOST, Picks
from videojobs.dashboard.toolbar import Toolbar
from videojobs.dashboard.trends import ProcessingTimes
from videojobs.dashboard.viewing import Viewer, complain, tried
from videojobs.dashboard.wording import count_text, jobs_text
from videojobs.models import JobStatus, Page, VideoJob
from videojobs.requests import JobFilter

_LIST_SECONDS, _FIGURES_SECONDS = 0.4, 2.0


class JobsPage:
    """All that the viewer may see, a page at a time."""

    title = "Jobs"

    def __init__(self, viewer: Viewer, client: Client) -> None:
        self._viewer = viewer
        self._client = client
        self._jobs: dict[str, VideoJob] = {}
        self._before: list[str | None] = []
        self._next: str | None = None
        self._picks = Picks()
        self._soon_list = Soon(self._read_list, every_seconds=_LIST_SECONDS)
        self._soon_figures = Soon(self._read_figures, every_seconds=_FIGURES_SECONDS)
        self._router = client.sub_pages_router
        self._listing, refused = self._listing_of(self._router.current_path)
        self._times = ProcessingTimes(viewer.jobs, self._listing.scope())
        self._is_left = False
        self._build()
        if refused:
            complain(f"Not a filter, and left out: {', '.join(refused)}")

    async def load(self) -> None:
        """Draw the table and the figures."""
        await tried(self._read_list())
        await tried(self._read_figures())

    async def changed(self, batch: Batch) -> None:
        """Draw what has changed: a row where that is enough, else the page of rows."""
        shown = {key: job for job in batch.changed.values() if (key := str(job.id)) in self._jobs}
        moved = len(shown) < len(batch.changed) or any(
            job.status is not self._jobs[key].status for key, job in shown.items()
        )
        for key, job in shown.items():
            self._jobs[key] = job
            self._table.show_one(job)
        if moved or batch.deleted or batch.missed:
            self._soon_list.ask()
            self._soon_figures.ask()

    def moved(self, path: str) -> None:
        """The browser went back or on: other filters stand in the address."""
        if path.partition("?")[0] in ("", "/"):
            listing, _ = self._listing_of(path)
            if listing != self._listing:
                self._before = []
                self._turn_to(listing)

    def leave(self) -> None:
        """Stop what goes on behind the page."""
        self._is_left = True
        self._soon_list.stop()
        self._soon_figures.stop()

    # Drawing

    def _build(self) -> None:
        text("Jobs", "vj-unseen", "h1")
        self._figures = Figures(self._choose_status)
        self._figures.build_charts()
        with box("vj-panel vj-list", "section", aria_label="Jobs"):
            self._toolbar = Toolbar(
                self._listing, self._filter, self._clear_filters, self._clear_jobs
            )
            self._table = JobTable(
                self._viewer.base,
                is_picked=self._picks.has,
                pick=self._pick,
                pick_page=self._pick_page,
                act=self._act,
            )
            self._empty = box("vj-empty")
            self._empty.set_visibility(False)
            self._build_pages()
        self._bar = BulkBar(self._pick_everything, self._act_on_picks, self._drop_picks)
        self._figures.mark(self._listing.statuses())

    def _build_pages(self) -> None:
        with box("vj-pager", "nav", aria_label="Pages of jobs") as self._pager:
            self._range: Text = text("", "vj-under", role="status")
            box("vj-space")
            self._newer = button("Newer", self._go_back, icon="left", classes="quiet")
            self._older = button("Older", self._go_on, icon="right", classes="quiet after")

    async def _read_list(self) -> None:
        listing = self._listing
        page = await self._viewer.jobs.list_jobs(
            listing.filters(datetime.now(UTC)), limit=PAGE_SIZE, cursor=listing.after
        )
        if listing is self._listing and not self._is_left:
            self._show(page)

    def _show(self, page: Page[VideoJob]) -> None:
        self._jobs = {str(job.id): job for job in page}
        self._next = page.next_cursor
        self._table.show(page.items)
        self._table.element.set_visibility(bool(self._jobs))
        self._show_empty()
        self._show_picks()
        self._show_pages()

    def _show_empty(self) -> None:
        is_empty = not self._jobs
        if is_empty:
            self._empty.clear()
            with self._empty:
                if self._listing.chosen or self._listing.after:
                    draw_no_match(self._clear_filters)
                else:
                    draw_first_steps(self._viewer.caller.user_id)
        self._empty.set_visibility(is_empty)

    def _show_pages(self) -> None:
        self._range.say(self._place())
        self._pager.set_visibility(bool(self._jobs) or self._listing.after is not None)
        _set_disabled(self._newer, self._listing.after is None)
        _set_disabled(self._older, self._next is None)

    def _place(self) -> str:
        """Which jobs these are, of how many, as far as that is known."""
        count = len(self._jobs)
        total = self._matching() if self._listing.is_counted and self._figures.by_status else None
        if not count or (total == count and self._listing.after is None):
            return jobs_text(count) if count else ""
        of = "" if total is None else f" of {count_text(total)}"
        if self._listing.after is not None and not self._before:
            # After a reload in the middle, how many lie before is not known.
            return f"{count}{of} jobs"
        first = len(self._before) * PAGE_SIZE + 1
        return f"{first:,}–{first + count - 1:,}{of} jobs"

    def _matching(self) -> int:
        statuses = self._listing.statuses() or list(JobStatus)
        return sum(self._figures.by_status[status] for status in statuses)

    async def _read_figures(self) -> None:
        times = self._times
        stats = await self._viewer.jobs.get_job_stats(self._listing.scope())
        if times is self._times and not self._is_left:
            await self._figures.show(stats, times)
            self._show_pages()

    # Filters, in the address

    def _listing_of(self, path: str) -> tuple[Listing, list[str]]:
        return Listing.of(dict(parse_qsl(path.partition("?")[2].partition("#")[0])))

    def _go_to(self, listing: Listing) -> None:
        if listing != self._listing:
            path = f"/{listing.query()}"
            self._router.current_path = path
            with self._client:
                ui.navigate.history.push(f"{self._viewer.base}{path}")
            self._turn_to(listing)

    def _turn_to(self, listing: Listing) -> None:
        if listing.chosen != self._listing.chosen:
            self._picks.clear()
        if listing.scope() != self._listing.scope():
            self._times = ProcessingTimes(self._viewer.jobs, listing.scope())
            self._soon_figures.ask()
        self._listing = listing
        self._toolbar.show(listing)
        self._figures.mark(listing.statuses())
        self._soon_list.ask()

    def _filter(self, name: str, value: str | None) -> None:
        listing = self._listing.with_filter(name, value)
        kept, refused = Listing.of(dict(parse_qsl(listing.query()[1:])))
        if refused:
            complain(f"Not a filter: {', '.join(refused)}")
        self._before = []
        self._go_to(kept)

    def _choose_status(self, status: JobStatus | None) -> None:
        is_chosen = status is not None and self._listing.statuses() == [status]
        self._filter("status", None if status is None or is_chosen else status.value)

    def _clear_filters(self) -> None:
        self._before = []
        self._go_to(Listing())

    def _go_on(self) -> None:
        if self._next is not None:
            self._before.append(self._listing.after)
            self._go_to(self._listing.at(self._next))

    def _go_back(self) -> None:
        self._go_to(self._listing.at(self._before.pop() if self._before else None))

    # Selection and actions

    def _pick(self, job_id: str, picked: bool) -> None:
        self._picks.set(self._jobs.values(), [job_id], picked)
        self._show_picks()

    def _pick_page(self, picked: bool) -> None:
        if not self._picks.set(self._jobs.values(), list(self._jobs), picked):
            complain(
                f"At most {MOST:,} single jobs. To change more, select all that match a filter."
            )
        self._show_picks()

    def _pick_everything(self) -> None:
        self._picks.set_everything()
        self._show_picks()

    def _drop_picks(self) -> None:
        self._picks.clear()
        self._show_picks()

    def _show_picks(self) -> None:
        self._table.show_picks()
        more = self._next is not None or self._listing.after is not None
        known = self._matching() if self._listing.is_counted and self._figures.by_status else None
        self._bar.show(self._picks, may_take_all=more, matching=known)

    async def _act(self, job_id: str, action: str) -> None:
        job = self._jobs.get(job_id)
        if job is not None and action in ("cancel", "retry", "delete"):
            await act_on_one(self._viewer, job, action)
            self._ask_anew()

    async def _act_on_picks(self, action: str) -> None:
        self._bar.set_busy(True)
        try:
            if await act_on_many(self._viewer, self._chosen(), action):
                self._drop_picks()
        finally:
            self._bar.set_busy(False)
        self._ask_anew()

    def _chosen(self) -> Chosen:
        if self._picks.is_everything:
            return Chosen(filters=self._listing.filters(datetime.now(UTC)))
        return Chosen(ids=[UUID(job_id) for job_id in self._picks.ids])

    async def _clear_jobs(self) -> None:
        if await ClearDialog(self._viewer, self._clear_scope()).run():
            self._ask_anew()

    def _clear_scope(self) -> JobFilter:
        # All that narrows the table but its status, which the dialog asks for.
        return self._listing.with_filter("status", None).filters(datetime.now(UTC))

    def _ask_anew(self) -> None:
        self._soon_list.ask()
        self._soon_figures.ask()


def _set_disabled(element: ui.element, disabled: bool) -> None:
    if element.props.get("disabled", False) is not disabled:
        element.props["disabled"] = disabled
