"""The search and the filters above the table."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from videojobs.dashboard.listing import PERIODS, Listing
from videojobs.dashboard.parts import box, button, text
from videojobs.dashboard.wording import PLATFORM_NAMES, TYPE_NAMES

_PIPELINES = {"clips": "Clips", "renditions": "Renditions", "hls": "HLS"}
_CHOICES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "type": ("Type", "All types", {kind.value: name for kind, name in TYPE_NAMES.items()}),
    "pipeline": ("Pipeline", "All pipelines", _PIPELINES),
    "platform": ("Platform", "All platforms", PLATFORM_NAMES),
    "created": ("Created", "Any time", {key: name for key, (name, _) in PERIODS.items()}),
}
_CHIPS = {
    "error": "Error",
    "worker": "Worker",
    "queue": "Queue",
    "user": "User",
    "team": "Team",
    "film": "Segments of",
    "season": "Season",
    "resource": "Resource",
    "quality": "Quality",
    "pipeline": "Pipeline",
}
"""Filters that links set, and that have no list to choose from."""


class SearchField(Element, component=Path(__file__).parent / "static" / "vj_search.js"):
    """Tells what was typed, a moment after the last key."""

    def __init__(self) -> None:
        super().__init__()
        self.props["text"] = ""


class Toolbar:
    """Tells of each filter that is set, and lets it be changed."""

    def __init__(
        self,
        listing: Listing,
        choose: Callable[[str, str | None], None],
        clear_filters: Callable[[], None],
        clear_jobs: Callable[[], Awaitable[None]],
    ) -> None:
        self._choose = choose
        self._selects: dict[str, Element] = {}
        with box("vj-toolbar", "div", role="search", aria_label="Filter the jobs"):
            self._search = SearchField()
            self._search.on("search", lambda event: choose("q", str(event.args)))
            for name in _CHOICES:
                self._selects[name] = self._select(name)
            self._chips = box("vj-chips")
            self._reset = button(
                "Clear filters", clear_filters, icon="close", classes="quiet vj-reset"
            )
            box("vj-space")
            button("Clear finished…", clear_jobs, icon="delete", classes="quiet vj-clear")
        self.show(listing)

    def show(self, listing: Listing) -> None:
        """The filters as they are."""
        chosen = listing.chosen
        self._say(self._search, "text", listing.q or "")
        for name, select in self._selects.items():
            value = chosen.get(name, "")
            self._say(select, "value", value if value in _CHOICES[name][2] else "")
            select.classes(add="set" if value else "", remove="" if value else "set")
        self._reset.set_visibility(bool(chosen))
        self._show_chips(chosen)

    def _show_chips(self, chosen: Mapping[str, str]) -> None:
        self._chips.clear()
        with self._chips:
            for name, label in _CHIPS.items():
                value = chosen.get(name)
                if value and value not in _CHOICES.get(name, ("", "", {}))[2]:
                    self._chip(name, f"{label}: {value}")

    def _chip(self, name: str, label: str) -> None:
        button(
            label,
            lambda: self._choose(name, None),
            icon="close",
            classes="vj-chip",
            name=f"{label}. Remove this filter",
        )

    def _select(self, name: str) -> Element:
        label, everything, choices = _CHOICES[name]
        select = box("vj-select", "select", aria_label=label, name=name)
        with select:
            text(everything, "", "option", value="")
            for value, shown in choices.items():
                text(shown, "", "option", value=value)

        def chosen(event: GenericEventArguments) -> None:
            self._choose(name, str(event.args))

        return select.on("change", chosen, js_handler="(e) => emit(e.target.value)")

    def _say(self, element: Element, name: str, value: str) -> None:
        if element.props.get(name) != value:
            element.props[name] = value
