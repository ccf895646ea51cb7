"""One job's events, followed from status to status. Says which of them cannot have happened."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.history import Event

_POSSIBLE_IN: dict[str, set[str | None]] = {
    "created": {None},
    "claimed": {"queued"},
    "completed": {"processing"},
    "retried": {"processing"},
    "released": {"processing"},
    "rescued": {"processing"},
    "failed": {"processing"},
    "lost": {"processing"},
    "cancel_requested": {"processing"},
    "logged": {"processing"},
    "cancelled": {"queued", "processing"},
    "requeued": {"failed", "cancelled"},
    "changed": {"queued", "processing"},
}
_LEADS_TO = {
    "created": "queued",
    "claimed": "processing",
    "completed": "completed",
    "retried": "queued",
    "released": "queued",
    "rescued": "queued",
    "failed": "failed",
    "lost": "failed",
    "cancelled": "cancelled",
    "requeued": "queued",
}
_OF_THE_HOLDER = {"completed", "released", "cancel_requested", "logged", "retried", "failed"}
_OF_THE_RECOVERY = {"rescued", "lost"}
"""It raises the token by one before it writes, so that the silent holder is locked out."""


class Replay:
    """Where a job stands after its events, and what was wrong with them.

    Written from the promises, and on purpose not from the SQL.
    """

    def __init__(self, events: Iterable[Event], max_attempts: int) -> None:
        self.status: str | None = None
        self.token = 0
        """The highest that was given out."""
        self.claimed_token: int | None = None
        """The latest attempt's."""
        self.attempt = 0
        self.lost_count = 0
        self.problems: list[str] = []
        self._max_attempts = max_attempts
        self._holder: str | None = None
        for event in events:
            self._follow(event)

    def _follow(self, event: Event) -> None:
        possible = _POSSIBLE_IN.get(event.type)
        if possible is None:
            self._object(event, "is an event that nobody knows")
            return
        if self.status not in possible:
            self._object(event, f"happened to a job that was {self.status or 'not there'}")
        if not self._is_right_token(event):
            self._object(event, f"has token {event.run_token} after token {self.token}")
        if self._is_by_a_stranger(event):
            self._object(event, f"is by {event.worker_id}, but {self._holder} held the lease")
        self._apply(event)

    def _is_right_token(self, event: Event) -> bool:
        match event.type:
            case "created" | "changed":
                return True
            case "claimed":
                return (event.run_token or 0) > self.token
            case "requeued" | "rescued" | "lost":
                return event.run_token == self.token + 1
            case "cancelled" if self.status == "processing":
                return event.run_token in (self.token, self.token + 1)
            case "retried" | "failed" if event.data.get("error_code") == "deadline_exceeded":
                return event.run_token == self.token + 1
            case _:
                return event.run_token == self.token

    def _is_by_a_stranger(self, event: Event) -> bool:
        return (
            event.type in _OF_THE_HOLDER | _OF_THE_RECOVERY
            and event.worker_id is not None
            and event.worker_id != self._holder
        )

    def _apply(self, event: Event) -> None:
        match event.type:
            case "claimed":
                self.claimed_token, self._holder = event.run_token, event.worker_id
                self.attempt = min(self.attempt + 1, self._max_attempts)
                if event.data.get("attempt") != self.attempt:
                    self._object(event, f"says {event.data}, but it is attempt {self.attempt}")
            case "released" | "rescued":
                self.attempt -= 1
            case "requeued":
                self.attempt = self.lost_count = 0
        if event.type in _OF_THE_RECOVERY:
            self.lost_count += 1
        self.token = max(self.token, event.run_token or 0)
        self.status = _LEADS_TO.get(event.type, self.status)

    def _object(self, event: Event, reason: str) -> None:
        self.problems.append(f"event {event.id} ({event.type}) {reason}")
