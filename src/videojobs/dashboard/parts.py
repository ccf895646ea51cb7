"""Small parts of pages: plain HTML elements, with our classes instead of Quasar's looks."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from videojobs.dashboard import assets
from videojobs.dashboard.wording import STATUS_NAMES
from videojobs.models import JobStatus


def box(classes: str = "", tag: str = "div", **attributes: str) -> Element:
    """An element to put others into. Underscores in attributes' names are hyphens."""
    element = ui.element(tag).classes(classes)
    for name, value in attributes.items():
        element.props[name.rstrip("_").replace("_", "-")] = value
    return element


def text(content: str, classes: str = "", tag: str = "span", **attributes: str) -> Text:
    """An element with text, which is never read as HTML."""
    element = Text(tag, content).classes(classes)
    for name, value in attributes.items():
        element.props[name.rstrip("_").replace("_", "-")] = value
    return element


class Text(Element):
    """A tag with text in it."""

    def __init__(self, tag: str, content: str) -> None:
        super().__init__(tag)
        self._text = content

    def say(self, content: str) -> None:
        """Show another text, if it is another."""
        if content != self._text:
            self._text = content
            self.update()

    @property
    def said(self) -> str:
        """The text as it is."""
        return self._text or ""


def button(
    label: str,
    on_click: Callable[..., Any] | None = None,
    *,
    icon: str | None = None,
    classes: str = "",
    name: str | None = None,
) -> Element:
    """A real button. *name* is what a screen reader says where the label does not tell it all."""
    element = box(f"vj-button {classes}", "button", type="button")
    if name:
        element.props["aria-label"] = name
    with element:
        if icon:
            assets.icon(icon)
        if label:
            text(label)
    if on_click:
        element.on("click", lambda: on_click(), args=[])
    return element


def dialog_box() -> ui.dialog:
    """A dialog that comes and goes quickly."""
    dialog = ui.dialog()
    dialog.props["transition-duration"] = 120
    return dialog


async def answer_of(dialog: ui.dialog) -> Any:
    """What the dialog is answered with; nothing where it is closed, or its page is. It is gone then."""
    answer = await dialog
    if not dialog.is_deleted:
        dialog.delete()
    return answer


def link(label: str, href: str, classes: str = "") -> Text:
    """A link within the dashboard."""
    return text(label, classes, "a", href=href)


def status_badge(status: JobStatus) -> Element:
    """The status, by colour, icon and word."""
    badge = box(f"vj-status {status.value}")
    with badge:
        assets.icon(status.value)
        text(STATUS_NAMES[status])
    return badge


class Moment(Element, component=Path(__file__).parent / "static" / "vj_moment.js"):
    """A moment in the reader's own time zone; relative ones move on by themselves."""

    def __init__(self, iso: str, style: str = "relative") -> None:
        """*style* is ``relative``, ``time`` or ``since``, for a length that grows."""
        super().__init__()
        self.props["iso"] = iso
        self.props["look"] = style


class ThemeSwitch(Element, component=Path(__file__).parent / "static" / "vj_theme.js"):
    """A button that changes between the system's theme, light and dark."""
