"""Signatures by Standard Webhooks (https://www.standardwebhooks.com), version v1."""

from __future__ import annotations

import base64
import hashlib
import hmac

from videojobs.messages import key_of


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that show who sent the body, and when; receivers refuse it when it is old."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
