"""Calls about files that attempts have left in the storage."""

from __future__ import annotations

from collections.abc import Sequence

from videojobs.calls._call import Call, Repeatable
from videojobs.models import Rows
from videojobs.reports import Leftover

LEFTOVERS_AT_ONCE = 20


def claim_leftovers(storage: str) -> Call[list[Leftover]]:
    """Take the next ones in the storage with this mark, and those whose storage is not known."""
    arguments = {"storage": storage, "row_limit": LEFTOVERS_AT_ONCE}
    # Those of a lost reply come again a few minutes later.
    return Call("claim_video_job_leftovers", arguments, _leftovers, Repeatable.ONCE)


def _leftovers(rows: Rows) -> list[Leftover]:
    return [Leftover.model_validate(row) for row in rows]


def settle_leftovers(prefixes: Sequence[str]) -> Call[int]:
    """They are gone; says how many of them were on the list."""
    arguments = {"prefixes": list(prefixes)}
    return Call("settle_video_job_leftovers", arguments, len, Repeatable.KEYED)
