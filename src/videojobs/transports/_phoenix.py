"""What is said to Supabase Realtime, and what its answers mean: Phoenix's messages. No I/O.

The protocol: https://supabase.com/docs/guides/realtime/protocol, version 1.0.0.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

from videojobs.transports._protocol import Channel

if TYPE_CHECKING:
    from supabase import AsyncClient, Client

EVERYTHING = ""
"""Stands for all names: something happened, and it is not told to whom."""
_HEARTBEAT_SECONDS = 25.0
"""Realtime closes a connection that says nothing for a minute."""
_SHOWN_LENGTH = 300
_LATE_SECONDS = 1.0
"""A heartbeat that is later than this says nothing of the other side."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Realtime is, and who asks."""

    url: str
    key: str = field(repr=False)

    @classmethod
    def of(cls, client: Client | AsyncClient) -> Self:
        """The project's Realtime, with the client's key."""
        return cls(f"{client.realtime_url}/websocket?vsn=1.0.0", client.supabase_key)

    @property
    def headers(self) -> dict[str, str]:
        """The key, for the gateway and for Realtime. Of keys that are no JWT, the gateway makes one."""
        return {"apikey": self.key} | ({"x-api-key": self.key} if self.is_jwt else {})

    @property
    def is_jwt(self) -> bool:
        """Whether Realtime can read the key itself."""
        return self.key.count(".") == 2


class RefusedError(ConnectionError):
    """Realtime closes a channel, or does not let us in."""


class Conversation:
    """What is said on one connection, and what it means. No I/O."""

    def __init__(self, address: Address, channels: Collection[Channel], now: float) -> None:
        # New jobs are changes here: whoever hears of changes need not hear of queues, too.
        wanted = {Channel.CHANGES} if Channel.CHANGES in channels else set(channels)
        self._topics = [f"realtime:{topic_of(channel)}" for channel in sorted(wanted)]
        self._not_joined = set(self._topics)
        self._key = address.key
        self._token = {"access_token": address.key} if address.is_jwt else {}
        self._next_beat = now + _HEARTBEAT_SECONDS
        self._heard_at = now

    @property
    def has_joined(self) -> bool:
        """Whether all channels are open."""
        return not self._not_joined

    def joins(self) -> Iterator[str]:
        """What opens the channels."""
        config: dict[str, Any] = {
            "broadcast": {"ack": False, "self": False},
            "presence": {"enabled": False},
            "postgres_changes": [],
            "private": True,
        }
        for number, topic in enumerate(self._topics, 1):
            yield _message(topic, "phx_join", {"config": config, **self._token}, str(number))

    def heartbeat(self, now: float) -> str | None:
        """What is to be sent now, if anything.

        Raises:
            RefusedError: The last heartbeat had no answer.
        """
        if now < self._next_beat:
            return None
        # Whoever comes late has not read what may have been answered.
        is_late = now > self._next_beat + _LATE_SECONDS
        if self._heard_at < self._next_beat - _HEARTBEAT_SECONDS and not is_late:
            raise RefusedError("no answer to a heartbeat")
        self._next_beat = now + _HEARTBEAT_SECONDS
        return _message("phoenix", "heartbeat", {}, "beat")

    def until_heartbeat(self, now: float) -> float:
        """In how many seconds the next one is due."""
        return max(self._next_beat - now, 0.0)

    def hear(self, text: str | bytes, now: float) -> frozenset[str]:
        """The names that are called, or `EVERYTHING`.

        Raises:
            RefusedError: A channel is closed, or was never opened.
        """
        self._heard_at = now
        message = _parsed(text)
        topic = message.get("topic")
        if topic not in self._topics:
            return frozenset()
        match message:
            case {"event": "phx_reply", "payload": {"status": "ok"}}:
                self._not_joined.discard(topic)
            case {"event": "phx_reply", "payload": {"response": {"reason": reason}}}:
                words = str(reason).replace(self._key, "…")[:_SHOWN_LENGTH]
                raise RefusedError(f"{topic}: {words}")
            case {"event": "phx_reply" | "phx_error" | "phx_close" as event}:
                raise RefusedError(f"{topic}: {event}")
            case {"event": "broadcast", "payload": {"payload": {"names": [*names]}}}:
                told = (name for name in cast("list[object]", names) if isinstance(name, str))
                return frozenset(filter(None, told)) or frozenset({EVERYTHING})
            case _:
                pass
        return frozenset()


def topic_of(channel: Channel) -> str:
    """Where the database broadcasts what it announces on the channel."""
    return f"videojobs:service:{channel.value.removeprefix('videojobs_')}"


def _message(topic: str, event: str, payload: Mapping[str, Any], ref: str) -> str:
    return json.dumps(
        {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": ref}
    )


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        message: object = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    return cast("dict[str, Any]", message) if isinstance(message, dict) else {}
