"""What has changed since a moment, who may see it, and how a moment is named."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from uuid import UUID

from videojobs.models import Answer, Timestamp, VideoJob

ChangeType = Literal["changed", "deleted", "reset"]

_OLDEST_SECONDS = 12 * 3600
"""A place that is older is not gone back to: upkeep may have dropped what lies behind it."""
_LONGEST_PLACE = 4000
_PLACE = re.compile(
    r"(?P<feed>[0-9a-f]{8})\.(?P<moment>[0-9]{1,12})\.(?P<snapshot>[0-9]+:[0-9]+:[0-9,]*)"
)


class Owner(NamedTuple):
    """Whose a job is."""

    user_id: UUID
    team_id: UUID | None


class Sight(Answer):
    """Whose jobs somebody sees, by the database's word."""

    user_id: UUID | None
    team_ids: frozenset[UUID] = frozenset()
    sees_all: bool = False

    def sees(self, owner: Owner) -> bool:
        """Whether a job of this owner is to be seen."""
        return (
            self.sees_all
            or (self.user_id is not None and owner.user_id == self.user_id)
            or owner.team_id in self.team_ids
        )


class DeletedJob(Answer):
    """A job that is gone from the lists."""

    job_id: UUID
    user_id: UUID
    team_id: UUID | None

    @property
    def owner(self) -> Owner:
        """Whose it was."""
        return Owner(self.user_id, self.team_id)


class OwnerFact(Answer):
    """One of those whose jobs changed in great number."""

    user_id: UUID
    team_id: UUID | None


class Changes(Answer):
    """What was written between two moments."""

    state: Literal["ok", "begin", "lost", "crowded"]
    feed: UUID
    """Which database tells."""
    place: str
    """The later moment."""
    moment: Timestamp
    jobs: tuple[VideoJob, ...]
    deleted: tuple[DeletedJob, ...]
    owners: tuple[OwnerFact, ...]
    """Whose jobs changed, where they are too many to be told one by one."""


@dataclass(frozen=True, slots=True)
class Place:
    """A moment in the changes of one database. As text it is what clients send back."""

    feed: UUID
    snapshot: str
    at: float = field(default_factory=time.time)
    """Seconds since 1970, by this machine's clock."""

    def __str__(self) -> str:
        return f"{self.feed.hex[:8]}.{int(self.at)}.{self.snapshot}"

    def snapshot_of(self, text: str) -> str | None:
        """The snapshot that the text names; ``None`` if it cannot be gone back to from here."""
        found = _PLACE.fullmatch(text) if len(text) <= _LONGEST_PLACE else None
        if found is None or found["feed"] != self.feed.hex[:8]:
            return None
        if abs(self.at - int(found["moment"])) > _OLDEST_SECONDS:
            return None
        return found["snapshot"]


@dataclass(frozen=True, slots=True)
class JobChange:
    """One message to somebody who follows jobs.

    Attributes:
        id: Where to go on from after a lost connection: the ``since`` of `LiveJobs.follow`, the
            Last-Event-ID of server-sent events.
        type: ``changed``: the job was created or changed, and `job` is what it is now.
            ``deleted``: it is gone from the lists: deleted or archived.
            ``reset``: read anew what you show; what follows comes after that.
        job_id: Which job; ``None`` for a reset.
        job: The job as it is now; ``None`` unless it changed.
        reason: Why to read anew: ``begin``, ``too_old``, ``too_many``, ``teams`` or ``slow``.
    """

    id: str
    type: ChangeType
    job_id: UUID | None = None
    job: VideoJob | None = None
    reason: str | None = None
    _encoded: list[bytes] = field(default_factory=list[bytes], repr=False, compare=False)

    def to_json(self) -> bytes:
        """The message without its id, as JSON: made once, however many people it goes to."""
        if not self._encoded:
            self._encoded.append(_encoded(self))
        return self._encoded[0]


def _encoded(change: JobChange) -> bytes:
    from pydantic_core import to_json

    facts: Mapping[str, Any] = {
        "type": change.type,
        "job_id": change.job_id,
        "job": change.job,
        "reason": change.reason,
    }
    return to_json({name: value for name, value in facts.items() if value is not None})
