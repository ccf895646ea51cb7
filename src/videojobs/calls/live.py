"""Calls of those who follow what changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from videojobs.calls._call import Call, Repeatable
from videojobs.changes import Changes, Sight
from videojobs.models import Rows
from videojobs.requests import BATCH_LIMIT

_NOBODY = UUID(int=0)


def read_changes(
    since: str | None,
    *,
    job_ids: Sequence[UUID] = (),
    running_since: datetime | None = None,
    sight: Sight | None = None,
) -> Call[Changes]:
    """What was written since the snapshot, of all or of those whose jobs one sees."""
    owner = None if sight is None or sight.sees_all else sight
    # To the database, no user means everybody's jobs.
    user_id = None if owner is None else owner.user_id or _NOBODY
    arguments = {
        "since": since,
        "job_ids": list(job_ids),
        "running_since": running_since,
        "user_id": user_id,
        "team_ids": sorted(owner.team_ids) if owner else [],
        "row_limit": BATCH_LIMIT,
    }
    return Call("read_video_job_changes", arguments, _changes, Repeatable.READ)


def _changes(rows: Rows) -> Changes:
    return Changes.model_validate(rows[0])


def get_sight() -> Call[Sight]:
    """Whose jobs the caller sees."""
    return Call("get_video_job_sight", {}, _sight, Repeatable.READ)


def _sight(rows: Rows) -> Sight:
    return Sight.model_validate(rows[0])


def list_teams(user_ids: Sequence[UUID]) -> Call[dict[UUID, frozenset[UUID]]]:
    """The users' teams as they are now."""
    arguments = {"user_ids": list(user_ids)}
    return Call("list_video_job_teams", arguments, _teams, Repeatable.READ)


def _teams(rows: Rows) -> dict[UUID, frozenset[UUID]]:
    return {UUID(user): frozenset(map(UUID, teams)) for user, teams in rows[0]["teams"].items()}
