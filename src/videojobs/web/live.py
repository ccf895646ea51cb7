"""Streams of changes: what server-sent events and WebSockets have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from videojobs.changes import JobChange
from videojobs.live import Following, LiveJobs
from videojobs.models import PlatformTarget, QualityPreset, ResourceType
from videojobs.requests import JobFilter
from videojobs.web.problems import ProblemError

if TYPE_CHECKING:
    from videojobs.access import Caller
    from videojobs.async_manager import AsyncVideoJobManager

ALIVE_SECONDS = 15.0
"""Where nothing changes for so long, the stream says that it is alive, and where it stands."""
SEND_SECONDS = 30.0
"""A reader who takes nothing for so long is dropped."""


class LiveQuery(BaseModel):
    """Which jobs to follow, and from where."""

    model_config = ConfigDict(extra="forbid")

    scope: Literal["own", "visible"] = Field(
        default="own",
        description="Your own jobs; or all that you may see, with your teams' (an admin's: all).",
    )
    user_id: UUID | None = None
    team_id: UUID | None = None
    pipeline: str | None = Field(default=None, max_length=63, pattern="^[a-z][a-z0-9_-]*$")
    platform_target: PlatformTarget | None = None
    quality_preset: QualityPreset | None = None
    resource_type: ResourceType | None = None
    resource_id: str | None = Field(default=None, min_length=1, max_length=255)
    resource_parent_id: str | None = Field(default=None, min_length=1, max_length=255)
    parent_job_id: UUID | None = Field(default=None, description="The segments of this job.")
    search: str | None = Field(default=None, min_length=1, max_length=255)
    last_event_id: str | None = Field(
        default=None, max_length=5000, description="For clients that cannot send `Last-Event-ID`."
    )

    def filters_of(self, caller: Caller) -> JobFilter:
        """The filter; of the caller's own jobs, unless it says more."""
        facts = self.model_dump(exclude_none=True, exclude={"scope", "last_event_id"})
        if self.scope == "own" and self.user_id is None and self.team_id is None:
            facts["user_id"] = caller.user_id
        return JobFilter(**facts)


class Streams:
    """All open streams of one router, on one `LiveJobs`.

    Args:
        most_per_user: So many may one user have open; 0 for any number.
    """

    def __init__(self, manager: AsyncVideoJobManager, most_per_user: int) -> None:
        self._manager = manager
        self._most_per_user = most_per_user
        self._open: Counter[UUID] = Counter()
        self.live = LiveJobs(manager)

    async def start(self) -> Self:
        """Changes are read while somebody follows."""
        await self.live.__aenter__()
        return self

    async def close(self) -> None:
        """All streams end."""
        await self.live.__aexit__(None, None, None)

    @asynccontextmanager
    async def follow(
        self, caller: Caller, query: LiveQuery, since: str | None
    ) -> AsyncGenerator[Following]:
        """The caller's changes.

        Raises:
            ProblemError: The caller has too many streams already.
        """
        if 0 < self._most_per_user <= self._open[caller.user_id]:
            raise ProblemError(
                429,
                "too-many-streams",
                f"You have {self._most_per_user} streams open already; close one first.",
                headers={"Retry-After": "30"},
            )
        self._open[caller.user_id] += 1
        try:
            async with self.live.follow(
                self._manager.as_user(caller.token),
                since=since or query.last_event_id,
                filters=query.filters_of(caller),
            ) as following:
                yield following
        finally:
            self._open[caller.user_id] -= 1
            if not self._open[caller.user_id]:
                del self._open[caller.user_id]


async def taken(following: Following, expires_at: datetime) -> list[JobChange] | None:
    """The next changes; none of them for a sign of life, and ``None`` at the token's end."""
    left = (expires_at - datetime.now(UTC)).total_seconds()
    if left <= 0:
        return None
    try:
        async with asyncio.timeout(min(ALIVE_SECONDS, left)):
            return await following.take()
    except TimeoutError:
        return None if left <= ALIVE_SECONDS else []
