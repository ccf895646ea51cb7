"""The bar at the bottom: how many jobs are selected, and what can be done to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from videojobs.dashboard.parts import box, button, text
from videojobs.dashboard.picks import Picks
from videojobs.dashboard.wording import count_text, jobs_text


class BulkBar:
    """Shown while something is selected."""

    def __init__(
        self,
        take_all: Callable[[], None],
        act: Callable[[str], Awaitable[None]],
        drop: Callable[[], None],
    ) -> None:
        with box("vj-bulk", "section", aria_label="Selected jobs") as self.element:
            self._count = text("", "vj-bulk-count", role="status")
            self._all = button("Select all that match", take_all, classes="quiet vj-take-all")
            box("vj-space")
            self._actions = [
                button("Cancel", lambda: act("cancel"), icon="stop", classes="bulk-cancel"),
                button("Retry", lambda: act("retry"), icon="retry", classes="bulk-retry"),
                button(
                    "Delete", lambda: act("delete"), icon="delete", classes="danger bulk-delete"
                ),
            ]
            button(
                "", drop, icon="close", classes="quiet square vj-escape", name="Clear the selection"
            )
        self.element.set_visibility(False)

    def set_busy(self, busy: bool) -> None:
        """Thousands of jobs take their time: nothing is done twice meanwhile."""
        for action in self._actions:
            action.props["disabled"] = busy
        self.element.classes(add="busy" if busy else "", remove="" if busy else "busy")

    def show(self, picks: Picks, *, may_take_all: bool, matching: int | None) -> None:
        """So many are selected; *matching* is how many there are, where that is known."""
        self.element.set_visibility(bool(picks))
        known = "" if matching is None else f" {count_text(matching)}"
        if picks.is_everything:
            self._count.say(f"All{known} that match are selected")
        else:
            self._count.say(f"{jobs_text(len(picks))} selected")
        self._all.set_visibility(may_take_all and not picks.is_everything)
