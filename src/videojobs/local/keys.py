"""The secrets of one stack, and the tokens made from them."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from videojobs.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

OWNER = "postgres"
"""The login that owns the database, called as on Supabase."""

_YEAR_2100 = 4_102_444_800


def _new_secret() -> str:
    return secrets.token_hex(32)


@dataclass(slots=True, kw_only=True)
class Secrets:
    """What a stack must remember between two starts. No secret is in the repr."""

    jwt_secret: str = field(default_factory=_new_secret, repr=False)
    owner_password: str = field(default_factory=_new_secret, repr=False)
    authenticator_password: str = field(default_factory=_new_secret, repr=False)
    database_port: int | None = None
    api_port: int | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what an earlier start wrote, or make new ones."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except PermissionError:
            raise ConfigurationError(
                f"{path} belongs to another user; run as that user, or choose another data folder"
            ) from None
        except (ValueError, TypeError):
            raise ConfigurationError(
                f"{path} is damaged; remove the data folder {path.parent} to start anew, without its data"
            ) from None

    def save(self, path: Path) -> None:
        """Write the file so that only its owner can read it, and never half of it."""
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=2)
        draft.replace(path)

    @property
    def anon_key(self) -> str:
        """The key of a caller who has not signed in."""
        return self._api_key("anon")

    @property
    def service_role_key(self) -> str:
        """The key that passes row level security."""
        return self._api_key("service_role")

    def _api_key(self, role: str) -> str:
        # No time of issue: the key is the same at every start.
        return self.sign({"iss": "videojobs-local", "role": role, "exp": _YEAR_2100})

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a token (HS256) that PostgREST accepts."""
        try:
            import jwt
        except ImportError:
            raise MissingExtraError("local", "The local stack") from None
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")


def issuer_of(api_port: int | None) -> str:
    """Who issues a stack's tokens: the address at which its API is, or was, served."""
    host = "127.0.0.1" if api_port is None else f"127.0.0.1:{api_port}"
    return f"http://{host}/auth/v1"


def user_claims(
    user_id: str,
    *,
    issuer: str,
    lifetime_seconds: float,
    email: str | None,
    app_metadata: dict[str, Any] | None,
    user_metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return what Supabase Auth writes into a signed-in user's token."""
    now = int(time.time())
    return {
        "iss": issuer,
        "sub": user_id,
        "aud": "authenticated",
        "role": "authenticated",
        "iat": now,
        "exp": now + int(lifetime_seconds),
        "email": email or "",
        "app_metadata": {"provider": "email", "providers": ["email"], **(app_metadata or {})},
        "user_metadata": user_metadata or {},
        "aal": "aal1",
        "is_anonymous": False,
    }
