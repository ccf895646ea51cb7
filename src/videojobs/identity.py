"""Ids and keys that the client gives out, so that a call can be repeated without harm."""

from __future__ import annotations

import os
import secrets
import socket
import time
from uuid import UUID

_BOOT_ID = secrets.token_hex(4)


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562): it grows with time, which keeps the index compact."""
    milliseconds = time.time_ns() // 1_000_000
    bits = secrets.randbits(74)
    return UUID(
        int=(milliseconds & (1 << 48) - 1) << 80
        | 0x7 << 76
        | (bits >> 62) << 64
        | 0b10 << 62
        | bits & (1 << 62) - 1
    )


def new_key() -> UUID:
    """A key for one wish, the same over all its repeats."""
    return UUID(bytes=secrets.token_bytes(16), version=4)


def worker_name() -> str:
    """Host, process and a random part: unique for each start, since hosts reuse process ids."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{_BOOT_ID}"
