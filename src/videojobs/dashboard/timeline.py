"""A job's history as a line of moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from videojobs.dashboard import assets
from videojobs.dashboard.parts import Moment, box, text
from videojobs.dashboard.wording import EVENT_LOOKS, event_name, seconds_text
from videojobs.models import JobEvent, JobEventType

_FAILURES = (JobEventType.FAILED, JobEventType.RETRIED, JobEventType.LOST)
_TOLD_ELSEWHERE = {
    "message",
    "error_message",
    "error_code",
    "stderr_tail",
    "advice",
    "detail",
    "output_files",
    "warnings",
}


class Timeline:
    """All events, oldest first; a new one is put at the end."""

    def __init__(self) -> None:
        self._list = box("vj-timeline", "ol")
        self._last = 0

    def show(self, events: Sequence[JobEvent]) -> None:
        """Put those that are new at the end."""
        for event in events:
            if event.id > self._last:
                self._last = event.id
                with self._list:
                    _draw(event)


def last_failure(events: Sequence[JobEvent]) -> JobEvent | None:
    """The failure that nothing but a wait came after."""
    for event in reversed(events):
        if event.type in _FAILURES:
            return event
        if event.type is JobEventType.REQUEUED:
            return None
    return None


def _draw(event: JobEvent) -> None:
    color, drawing = EVENT_LOOKS[event.type]
    with box(f"vj-event {color}", "li"):
        assets.icon(drawing, "vj-event-dot")
        with box("vj-event-body"):
            with box("vj-event-head"):
                text(event_name(event), "vj-event-name")
                Moment(event.at.isoformat(), "relative").classes("vj-under")
            for line in _lines(event):
                text(line, "vj-event-line", "p")
            if details := _details(event.data):
                with box("", "details"):
                    text("Details", "", "summary")
                    text(details, "vj-json", "pre", tabindex="0")


def _lines(event: JobEvent) -> list[str]:
    data = event.data
    lines = [str(data[name]) for name in ("message", "error_message", "reason") if data.get(name)]
    if isinstance(retry_in := data.get("retry_in_seconds"), int | float):
        lines.append(f"tried again in {seconds_text(float(retry_in))}")
    if event.worker_id:
        lines.append(f"Worker {event.worker_id}")
    elif event.actor_id:
        lines.append(f"By user {event.actor_id}")
    return lines


def _details(data: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in data.items() if name not in _TOLD_ELSEWHERE and value}
    return to_json(rest, indent=2, fallback=_plain).decode() if rest else ""


def _plain(value: Any) -> Any:
    return dict(value)
