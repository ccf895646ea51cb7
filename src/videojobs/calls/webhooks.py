"""Calls about webhooks: who is told, and what became of each message."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from videojobs.calls._call import Call, Repeatable, as_id, whole_within
from videojobs.errors import SupabaseValidationError
from videojobs.messages import (
    ClaimedDelivery,
    DeliveryState,
    NewWebhook,
    Webhook,
    WebhookDelivery,
    WebhookWish,
)
from videojobs.models import Rows
from videojobs.requests import BATCH_LIMIT, refuse

MOST_ATTEMPTS = 10
"""Over about two and a half days."""


def add_webhook(wish: WebhookWish, endpoint_id: UUID) -> Call[NewWebhook]:
    """Add it under the id."""
    arguments = {
        "id": endpoint_id,
        "kind": wish.kind,
        "url": wish.url,
        "address": wish.address,
        "secret": wish.secret,
        "events": [event.value for event in wish.events],
        "tenant_id": wish.tenant_id,
        "pipeline": wish.pipeline,
    }
    added = NewWebhook(endpoint_id, wish.address, wish.secret)
    return Call("add_video_job_webhook", arguments, lambda _: added, Repeatable.KEYED)


def list_webhooks() -> Call[list[Webhook]]:
    """Read all endpoints."""
    return Call("list_video_job_webhooks", {}, _webhooks, Repeatable.READ)


def _webhooks(rows: Rows) -> list[Webhook]:
    return [Webhook.model_validate(row) for row in rows]


def remove_webhook(endpoint_id: UUID | str) -> Call[bool]:
    """Forget it, and its log."""
    arguments = {"id": as_id("remove_webhook", "webhook_id", endpoint_id)}
    return Call("remove_video_job_webhook", arguments, _removed, Repeatable.KEYED)


def _removed(rows: Rows) -> bool:
    return bool(rows[0]["removed"])


def list_deliveries(
    endpoint_id: UUID | str | None, state: DeliveryState | str | None, limit: int
) -> Call[list[WebhookDelivery]]:
    """Read the log, newest first."""
    whole_within("list_webhook_deliveries", "limit", limit, 1, BATCH_LIMIT)
    arguments = {
        "endpoint_id": None
        if endpoint_id is None
        else as_id("list_webhook_deliveries", "webhook_id", endpoint_id),
        "state": None if state is None else _state(state),
        "row_limit": limit,
    }
    return Call("list_video_job_webhook_deliveries", arguments, _deliveries, Repeatable.READ)


def _state(state: DeliveryState | str) -> str:
    try:
        return DeliveryState(state).value
    except ValueError:
        allowed = f"one of {', '.join(DeliveryState)}"
        raise refuse("list_webhook_deliveries", "state", state, allowed) from None


def _deliveries(rows: Rows) -> list[WebhookDelivery]:
    return [WebhookDelivery.model_validate(row) for row in rows]


def test_webhook(endpoint_id: UUID | str) -> Call[UUID]:
    """Send it a message that says nothing."""
    known = as_id("test_webhook", "webhook_id", endpoint_id)
    arguments = {"endpoint_id": known, "delivery_id": None}
    found = partial(_sent, "test_webhook", "webhook_id", known)
    return Call("send_video_job_webhook", arguments, found, Repeatable.ONCE)


def resend_webhook(delivery_id: UUID | str) -> Call[UUID]:
    """Send a message once more."""
    known = as_id("resend_webhook", "delivery_id", delivery_id)
    arguments = {"endpoint_id": None, "delivery_id": known}
    found = partial(_sent, "resend_webhook", "delivery_id", known)
    return Call("send_video_job_webhook", arguments, found, Repeatable.KEYED)


def _sent(operation: str, name: str, known: UUID, rows: Rows) -> UUID:
    if not rows:
        raise SupabaseValidationError(
            f"{operation} was refused: there is no {name} {known}; `videojobs webhooks list` and "
            "`videojobs webhooks deliveries` show those that there are",
            problems=[(name, known, "one that is there")],
        )
    found = rows[0]["id"]
    return found if isinstance(found, UUID) else UUID(found)


def claim_deliveries(
    limit: int, *, per_endpoint: int, busy: Sequence[UUID], lease_seconds: float
) -> Call[list[ClaimedDelivery]]:
    """Take messages that are due."""
    arguments = {
        "row_limit": limit,
        "per_endpoint": per_endpoint,
        "busy": list(busy),
        "lease_seconds": lease_seconds,
        "max_attempts": MOST_ATTEMPTS,
    }
    # A claim whose reply is lost costs each message an attempt and the lease's time, and no more.
    return Call("claim_video_job_webhooks", arguments, _claimed, Repeatable.ONCE)


def _claimed(rows: Rows) -> list[ClaimedDelivery]:
    return [ClaimedDelivery.model_validate(row) for row in rows]


def settle_delivery(
    delivery: ClaimedDelivery,
    *,
    is_delivered: bool,
    status: int | None = None,
    error: str | None = None,
    is_gone: bool = False,
    retry_after_seconds: float | None = None,
) -> Call[str]:
    """Tell what became of a claimed message; answers its state, or ``lost``."""
    arguments = {
        "id": delivery.id,
        "claim": delivery.claim,
        "is_delivered": is_delivered,
        "status": status,
        "error": error,
        "is_gone": is_gone,
        "retry_after_seconds": retry_after_seconds,
        "max_attempts": MOST_ATTEMPTS,
    }
    return Call("settle_video_job_webhook", arguments, _settled, Repeatable.KEYED)


def _settled(rows: Rows) -> str:
    return str(rows[0]["state"])
