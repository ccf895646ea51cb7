"""Ids and keys that the client gives out, so that a call can be repeated without harm."""

from __future__ import annotations

import os
import secrets
import socket
import time
from uuid import UUID


def new_id() -> UUID:
    """A UUID of version 7 (RFC 9562): it grows with time, which keeps the index compact."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """Many of them, with one request for randomness."""
    time_and_version = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | 0x7 << 76
    random = secrets.token_bytes(10 * count)
    return [
        UUID(int=time_and_version | _variant(int.from_bytes(random[at : at + 10])))
        for at in range(0, 10 * count, 10)
    ]


def _variant(bits: int) -> int:
    """74 of the random bits, around the two that name the variant."""
    return (bits >> 62 & (1 << 12) - 1) << 64 | 0b10 << 62 | bits & (1 << 62) - 1


def new_key() -> UUID:
    """A key for one wish, the same over all its repeats."""
    return UUID(bytes=secrets.token_bytes(16), version=4)


def worker_name() -> str:
    """Host, process and a random part: hosts reuse process ids, and a process may run two workers."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
