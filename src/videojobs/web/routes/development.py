"""A way to sign in where there is no Supabase Auth: on the embedded stack, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from videojobs.web.documentation import answers
from videojobs.web.problems import ProblemError
from videojobs.web.services import address_of, services_of

logger = logging.getLogger("videojobs.web")

LIFETIME_SECONDS = 3600
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_NOTICE = (
    "This is a development login. It signs anybody in as anybody, without a password, and exists "
    "only on the embedded stack. Never let it be reached from outside of this machine."
)


class Login(BaseModel):
    """Who to be."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID | None = Field(default=None, description="A new user if not given.")
    email: str | None = Field(default=None, max_length=255, examples=["ada@example.com"])
    is_admin: bool = Field(default=False, description="Whether app_metadata says admin.")


class Session(BaseModel):
    """What Supabase Auth would answer, and a warning."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 # the kind, not the token
    expires_in: int = LIFETIME_SECONDS
    user_id: UUID
    notice: str = _NOTICE


SignIn = Callable[[UUID, Login], str]
"""The user's id and wish to an access token."""


def add_login(api: APIRouter, sign_in: SignIn) -> None:
    """The login, which the log tells of at once."""
    logger.warning("POST /dev/login is open: %s", _NOTICE)

    async def dev_login(wish: Login, request: Request) -> Response:
        """A token for a chosen user. Only on the embedded stack."""
        services_of(request).rate_limit.take(address_of(request))
        if not _is_of_this_machine(request.headers.get("Origin")):
            raise ProblemError(
                403, "not-allowed", "The development login is for pages of this machine alone."
            )
        user_id = wish.user_id or uuid4()
        logger.warning("development login of %s%s", user_id, " as admin" if wish.is_admin else "")
        session = Session(access_token=sign_in(user_id, wish), user_id=user_id)
        return Response(
            session.model_dump_json(),
            headers={"Cache-Control": "no-store"},
            media_type="application/json",
        )

    api.add_api_route(
        "/dev/login",
        dev_login,
        methods=["POST"],
        summary="Sign in, for development",
        response_model=None,
        responses=answers(Session, 403, described="A token, good for an hour.", has_body=True),
        tags=["development"],
    )


def _is_of_this_machine(origin: str | None) -> bool:
    # Whatever CORS allows: with "*", any page that a developer visits could sign in as an admin.
    try:
        return origin is None or urlsplit(origin).hostname in _LOOPBACK
    except ValueError:
        return False
