"""Webhooks as they are stored: who is told, and what became of each message."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from videojobs.models import Answer, Timestamp
from videojobs.requests import refuse

WebhookKind = Literal["standard", "apprise"]

_SECRET_PREFIX = "whsec_"  # noqa: S105 # stands before one
_SECRET_BYTES = (24, 64)
_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LONGEST_URL = 2048


class WebhookEvent(StrEnum):
    """What somebody may be told of."""

    COMPLETED = "job.completed"
    FAILED = "job.failed"
    """For good: no attempt follows."""
    CANCELLED = "job.cancelled"


class DeliveryState(StrEnum):
    """Where a message stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up, after its last attempt."""


class Webhook(Answer):
    """An endpoint, as people see it: nothing in it is secret."""

    id: UUID
    kind: WebhookKind
    address: str
    """The host that is told; the rest of its address may be a secret."""
    events: tuple[WebhookEvent, ...]
    tenant_id: UUID | None
    """Only jobs of this user or team."""
    pipeline: str | None
    is_enabled: bool
    """``False`` after the endpoint has answered 410: it is gone."""
    created_at: Timestamp
    pending: int
    """Messages that wait; up to ten thousand are counted."""
    dead: int


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What `VideoJobManager.add_webhook` answers: the only time that the secret is seen."""

    id: UUID
    address: str
    secret: str | None = field(repr=False)
    """Verifies our signatures; ``None`` where nothing is signed."""


class WebhookDelivery(Answer):
    """One message, and what became of it."""

    id: UUID
    """Is sent as ``webhook-id``: the same at each attempt."""
    endpoint_id: UUID
    job_id: UUID | None
    event: str
    state: DeliveryState
    attempts: int
    created_at: Timestamp
    next_try_at: Timestamp | None
    """While it waits; during an attempt, when another may be made."""
    ended_at: Timestamp | None
    last_status: int | None
    """HTTP status of the last answer."""
    last_error: str | None


class ClaimedDelivery(Answer):
    """A message to be sent now, with all that is needed for it."""

    id: UUID
    claim: UUID
    endpoint_id: UUID
    kind: WebhookKind
    # The next two are secrets, and in no repr.
    url: str = field(repr=False)
    address: str
    secret: str | None
    event: str
    payload: Mapping[str, Any]
    attempts: int

    def __repr__(self) -> str:
        return f"ClaimedDelivery(id={self.id}, to={self.address!r}, event={self.event!r})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class WebhookWish:
    """A new endpoint, checked."""

    kind: WebhookKind
    url: str = field(repr=False)
    address: str
    secret: str | None = field(repr=False)
    events: tuple[WebhookEvent, ...]
    tenant_id: UUID | None
    pipeline: str | None


def webhook_wish(
    url: str,
    *,
    events: Sequence[WebhookEvent | str],
    tenant_id: UUID | str | None,
    pipeline: str | None,
    secret: str | None,
) -> WebhookWish:
    """The endpoint, or an error that repeats nothing of the URL or the secret."""
    if not 0 < len(url) <= _LONGEST_URL or any(c.isspace() or not c.isprintable() for c in url):
        raise _refused("url", f"an address of up to {_LONGEST_URL} characters without spaces")
    scheme = url.partition(":")[0].lower()
    is_standard = scheme in {"https", "http"}
    if pipeline is not None and not _SLUG.fullmatch(pipeline):
        raise refuse("add_webhook", "pipeline", pipeline, "a pipeline's name")
    return WebhookWish(
        kind="standard" if is_standard else "apprise",
        url=url,
        address=_address(url) if is_standard else _apprise_address(url, scheme, secret),
        secret=(_checked(secret) or new_secret()) if is_standard else None,
        events=_events(events),
        tenant_id=_tenant(tenant_id),
        pipeline=pipeline,
    )


def new_secret() -> str:
    """A secret as Standard Webhooks writes it."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that sign."""
    return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)


def _refused(name: str, allowed: str) -> Exception:
    return refuse("add_webhook", name, "(not shown)", allowed)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not url.isascii():
        raise _refused("url", "an address in ASCII: percent-encode its path, and use xn--… names")
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("url", "https://host/path, without a user, a password or a fragment")
    if parts.scheme.lower() == "http" and not _is_this_machine(host):
        raise _refused("url", "https; http is for this machine alone, in development")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _apprise_address(url: str, scheme: str, secret: str | None) -> str:
    if "://" not in url:
        raise _refused("url", "https://… or an address of Apprise, such as mailto://… or slack://…")
    if secret is not None:
        raise _refused("secret", "none: only webhooks over https are signed")
    return f"{scheme}://"


def _checked(secret: str | None) -> str | None:
    if secret is None:
        return None
    try:
        size = len(key_of(secret))
    except (binascii.Error, ValueError):
        size = 0
    if not secret.startswith(_SECRET_PREFIX) or not _SECRET_BYTES[0] <= size <= _SECRET_BYTES[1]:
        raise _refused("secret", f"{_SECRET_PREFIX} and 24 to 64 bytes in base64")
    return secret


def _events(events: Sequence[WebhookEvent | str]) -> tuple[WebhookEvent, ...]:
    try:
        found = tuple(dict.fromkeys(WebhookEvent(event) for event in events))
    except ValueError:
        found = ()
    if not found or isinstance(events, str):
        raise refuse(
            "add_webhook", "events", events, f"one or more of {', '.join(map(str, WebhookEvent))}"
        )
    return found


def _tenant(tenant_id: UUID | str | None) -> UUID | None:
    if tenant_id is None or isinstance(tenant_id, UUID):
        return tenant_id
    try:
        return UUID(tenant_id)
    except ValueError:
        raise refuse("add_webhook", "tenant_id", tenant_id, "a user's or a team's id") from None
