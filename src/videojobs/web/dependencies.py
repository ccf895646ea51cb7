"""What routes are given: who calls, and what they may reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from fastapi.security import HTTPBearer

from videojobs.access import Caller
from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import PermissionDeniedError
from videojobs.web.services import Services, services_of

JobId = Annotated[
    UUID,
    Path(description="The job's id.", examples=["01a1b2c3-0000-7000-8000-000000000001"]),
]


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in caller."""

    caller: Caller
    services: Services

    @property
    def jobs(self) -> AsyncVideoJobManager:
        """The manager with the caller's rights: the database decides what they see and change."""
        return self.services.manager_as(self.caller)

    def as_admin(self) -> AsyncVideoJobManager:
        """The service's manager, for an operator's work.

        Raises:
            PermissionDeniedError: The caller is no admin.
        """
        if not self.caller.is_admin:
            raise PermissionDeniedError("only admins may do this", status=403, code="admins_only")
        return self.services.manager


class _SignedIn(HTTPBearer):
    # One dependency that also tells OpenAPI: each more costs every request some microseconds.
    async def __call__(self, request: Request) -> Visitor:  # pyright: ignore[reportIncompatibleMethodOverride] # FastAPI asks for the value only
        services = services_of(request)
        return Visitor(await services.caller_of(request), services)


SignedIn = Annotated[
    Visitor,
    Depends(
        _SignedIn(
            scheme_name="supabase",
            bearerFormat="JWT",
            description="The access token of a user who is signed in with Supabase Auth.",
            auto_error=False,
        )
    ),
]
