"""What stands around each page: the bar on top, and the page that the address names."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from nicegui import background_tasks, ui

from videojobs.dashboard import assets
from videojobs.dashboard.feed import Batch, Feed
from videojobs.dashboard.job_page import JobPage
from videojobs.dashboard.jobs_page import JobsPage
from videojobs.dashboard.parts import Text, ThemeSwitch, box, button, dialog_box, link, text
from videojobs.dashboard.viewing import View, Viewer
from videojobs.dashboard.workers_page import WorkersPage

if TYPE_CHECKING:
    from videojobs.live import LiveJobs

_FIRST_DRAWING_SECONDS = 2.0
_PAGE = re.compile(r"^(/|/workers/?|/jobs/[^/]+/?)?$")
_KEYS = (
    ("/", "Search"),
    ("j", "Next job"),
    ("k", "Previous job"),
    ("Enter", "Open the job"),
    ("x", "Select the job"),
    ("Esc", "Clear the selection, leave the search, go back"),
    ("?", "These keys"),
)


class Shell:
    """One open page in one browser."""

    def __init__(self, viewer: Viewer, live: LiveJobs, *, is_development: bool) -> None:
        self._viewer = viewer
        self._live = live
        self._is_development = is_development
        self._view: View | None = None
        self._loading: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._links: dict[str, Text] = {}
        self.client = ui.context.client

    async def build(self) -> None:
        """The page is drawn, as far as the database answers soon."""
        assets.add_to_page(self._viewer.base)
        self._build_bar()
        main = box("vj-main")
        main.props["id"] = "main"
        with main:
            pages = ui.sub_pages(
                {
                    "/": lambda: self._show(lambda: JobsPage(self._viewer, self.client)),
                    "/jobs/{job_id}": self._show_job,
                    "/workers": lambda: self._show(lambda: WorkersPage(self._viewer)),
                },
                show_404=False,
            ).classes("vj-pages")
        self.client.sub_pages_router.on_path_changed(self._moved)
        ui.skip_link(target=pages).classes("vj-skip")
        if self._loading is not None:
            await asyncio.wait([self._loading], timeout=_FIRST_DRAWING_SECONDS)
        feed = Feed(
            self._live,
            self._viewer.jobs,
            self._changed,
            seconds_left=lambda: self._viewer.session.seconds_left,
        )
        self._following = asyncio.create_task(feed.run())
        self.client.on_delete(self._stop_following)
        self.client.on_delete(self._leave)

    def sign_out(self) -> None:
        """The session has ended: nothing more is told, and the browser goes to the sign-in page."""
        self._stop_following()
        if not self.client.is_deleted:
            self.client.open("/sign-in")

    def _stop_following(self) -> None:
        if self._following is not None:
            self._following.cancel()

    def _show_job(self, job_id: str) -> None:
        self._show(lambda: JobPage(self._viewer, job_id))

    def _show(self, open_view: Callable[[], View]) -> None:
        self._leave()
        if not _PAGE.match(ui.context.client.sub_pages_router.current_path.partition("?")[0]):
            # NiceGUI takes the longest beginning that it knows.
            self._show_nothing()
            return
        view = open_view()
        self._view = view
        self._mark_link()
        self._loading = background_tasks.create(view.load(), context=ui.context.slot.parent)
        ui.page_title(f"{view.title} · videojobs")

    def _leave(self) -> None:
        if self._view is not None:
            self._view.leave()
            self._view = None

    def _moved(self, path: str) -> None:
        if self._view is not None:
            self._view.moved(path)

    async def _changed(self, batch: Batch) -> None:
        if self._view is not None and not self.client.is_deleted:
            await self._view.changed(batch)

    def _show_nothing(self) -> None:
        self.client.status_code = 404
        with box("vj-empty"):
            assets.icon("search", "large")
            text("There is no such page", "", "h1")
            link("Go to the jobs", f"{self._viewer.base}/", "vj-button primary")

    def _build_bar(self) -> None:
        base = self._viewer.base
        with self.client.layout:
            bar = box("vj-bar", "header")
        bar.move(target_index=0)
        with bar:
            with box("vj-brand", "a", href=f"{base}/", aria_label="videojobs, all jobs"):
                box("", "img", src=f"{base}/assets/icon.svg", alt="", width="22", height="22")
                text("videojobs")
            with box("vj-nav", "nav", aria_label="Pages"):
                self._links["/"] = link("Jobs", f"{base}/")
                if self._viewer.is_admin:
                    self._links["/workers"] = link("Workers", f"{base}/workers")
            box("vj-space")
            if self._is_development:
                text("Development", "vj-tag amber", title="Signed in without a password")
            with box("vj-who"):
                text(self._viewer.caller.email or str(self._viewer.caller.user_id), "vj-who-name")
                if self._viewer.is_admin:
                    text("Administrator", "vj-tag")
            keys = self._keys_dialog()
            button("", keys.open, icon="keyboard", classes="quiet square vj-keys", name="Keys")
            ThemeSwitch()
            with (
                box("", "form", method="post", action=f"{base}/sign-out"),
                box(
                    "vj-button quiet square",
                    "button",
                    type="submit",
                    title="Sign out",
                    aria_label="Sign out",
                ),
            ):
                assets.icon("sign-out")

    def _mark_link(self) -> None:
        here = ui.context.client.sub_pages_router.current_path.partition("?")[0] or "/"
        for path, anchor in self._links.items():
            is_here = path == here
            anchor.classes(add="here" if is_here else "", remove="" if is_here else "here")
            anchor.props["aria-current"] = "page" if is_here else "false"

    def _keys_dialog(self) -> ui.dialog:
        with dialog_box() as dialog, box("vj-dialog", role="document"):
            text("Keys", "vj-dialog-title", "h2")
            with box("vj-keys-list", "dl"):
                for key, what in _KEYS:
                    with box("", "div"):
                        with box("", "dt"):
                            text(key, "", "kbd")
                        text(what, "", "dd")
            with box("vj-dialog-buttons"):
                button("Close", dialog.close)
        dialog.props["aria-label"] = "Keys"
        return dialog
