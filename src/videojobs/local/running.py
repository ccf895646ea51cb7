"""A local stack that runs, in this process or in another: how to reach it, and who uses it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from videojobs.errors import MissingExtraError
from videojobs.local.keys import OWNER, Secrets, issuer_of, user_claims

if TYPE_CHECKING:
    from pathlib import Path

    from videojobs.settings import Settings

_DATABASE = "postgres"
_USERS = """
select u.id, u.email, coalesce(u.raw_app_meta_data ->> 'role' = 'admin', false) as is_admin
from auth.users u
order by u.created_at desc nulls last
limit %s
"""


@dataclass(frozen=True, slots=True)
class LocalUser:
    """A row of ``auth.users``."""

    user_id: UUID
    email: str | None
    is_admin: bool


class RunningStack:
    """A stack by the folder that keeps its keys."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"RunningStack(port={self._secrets.database_port})"

    @classmethod
    def find(cls, data_dir: Path) -> Self | None:
        """The stack of that folder, if it runs now.

        Raises:
            ConfigurationError: The folder's keys cannot be read.
        """
        file = data_dir / "secrets.json"
        if not file.is_file():
            return None
        stack = cls(Secrets.load(file))
        return stack if stack._answers() else None

    @property
    def database_url(self) -> str:
        """The URL of the database's owner. It holds a password."""
        return (
            f"postgresql://{OWNER}:{self._secrets.owner_password}@127.0.0.1:"
            f"{self._secrets.database_port}/{_DATABASE}?sslmode=disable"
        )

    @property
    def jwt_secret(self) -> str:
        """Signs and verifies users' tokens (HS256)."""
        return self._secrets.jwt_secret

    @property
    def issuer(self) -> str:
        """The ``iss`` of the tokens that `user_token` makes."""
        return issuer_of(self._secrets.api_port)

    def applied_to(self, settings: Settings) -> Settings:
        """The settings, with this stack's database and keys in place of any other."""
        return dataclasses.replace(
            settings,
            database_url=self.database_url,
            transport="postgres",
            jwt_secret=self.jwt_secret,
            jwt_issuer=self.issuer,
            jwks=None,
            supabase_url=None,
        )

    def user_token(
        self,
        user_id: UUID,
        *,
        email: str | None = None,
        app_metadata: dict[str, Any] | None = None,
        expires_in: timedelta = timedelta(hours=1),
    ) -> str:
        """The token of a signed-in user, who need not exist."""
        return self._secrets.sign(
            user_claims(
                str(user_id),
                issuer=self.issuer,
                lifetime_seconds=expires_in.total_seconds(),
                email=email,
                app_metadata=app_metadata,
                user_metadata=None,
            )
        )

    def list_users(self, *, limit: int = 50) -> list[LocalUser]:
        """Who is in ``auth.users``, newest first."""
        psycopg = _psycopg()
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as connection:
            rows = connection.execute(_USERS, (limit,)).fetchall()
        return [LocalUser(*row) for row in rows]

    def _answers(self) -> bool:
        psycopg = _psycopg()
        try:
            psycopg.connect(self.database_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise MissingExtraError("local", "The local stack") from None
    return psycopg
