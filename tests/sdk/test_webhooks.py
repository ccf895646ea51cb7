"""Operators' webhooks, the same over every transport."""

from __future__ import annotations

from uuid import UUID

import pytest
from people import ADA

from videojobs import SupabaseValidationError, VideoJobManager
from videojobs.messages import DeliveryState, WebhookEvent

UNKNOWN = UUID("00000000-0000-4000-8000-0000000000dd")


@pytest.fixture(autouse=True)
def no_webhooks(sql) -> None:
    """Nobody is told of anything yet."""
    sql("truncate videojobs.webhook_endpoints, videojobs.webhook_deliveries")


def test_a_webhook_is_added_tried_and_removed(manager: VideoJobManager):
    """What comes back is typed, and the secret is in the first answer alone."""
    added = manager.add_webhook(
        "https://example.com/hooks", events=["job.failed"], tenant_id=str(ADA), pipeline="clips"
    )
    message = manager.test_webhook(added.id)
    (hook,) = manager.list_webhooks()
    (waiting,) = manager.list_webhook_deliveries(added.id, state="pending")

    assert (added.secret or "").startswith("whsec_")
    assert (hook.id, hook.address, hook.pending) == (added.id, "https://example.com", 1)
    assert (hook.events, hook.tenant_id, hook.pipeline) == ((WebhookEvent.FAILED,), ADA, "clips")
    assert (waiting.id, waiting.event, waiting.state) == (
        message,
        "webhook.test",
        DeliveryState.PENDING,
    )
    assert manager.resend_webhook(message) == message
    assert manager.remove_webhook(added.id)
    assert manager.list_webhooks() == []


def test_the_end_of_a_job_waits_to_be_told(manager: VideoJobManager):
    """Only what the endpoint asked for, whoever ends the job."""
    hook = manager.add_webhook("https://example.com/", events=[WebhookEvent.CANCELLED])
    job = manager.create_job(user_id=ADA)
    manager.cancel_job(job.id)
    other = manager.create_job(user_id=ADA)
    manager.complete_job(manager.start_processing(other.id))

    (message,) = manager.list_webhook_deliveries(hook.id)

    assert (message.job_id, message.event) == (job.id, "job.cancelled")


def test_what_is_not_there_is_told_so(manager: VideoJobManager):
    """With the id that was asked for, and where to look."""
    with pytest.raises(SupabaseValidationError, match=f"webhook_id {UNKNOWN}"):
        manager.test_webhook(UNKNOWN)
    with pytest.raises(SupabaseValidationError, match=f"delivery_id {UNKNOWN}"):
        manager.resend_webhook(UNKNOWN)
    with pytest.raises(SupabaseValidationError, match="pending, delivered, dead"):
        manager.list_webhook_deliveries(state="lost")
    assert not manager.remove_webhook(UNKNOWN)
