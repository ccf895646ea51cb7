"""Who is calling: users' access tokens, verified as Supabase issues them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from videojobs.errors import AuthenticationError, ConfigurationError, SupabaseConnectionError
from videojobs.tokens import (
    SigningKeys,
    TokenRefusedError,
    UnknownKeyError,
    VerifiedToken,
    claims_of,
    public_keys,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jwt import PyJWK

    from videojobs.settings import Settings

logger = logging.getLogger("videojobs.access")

AUDIENCE = "authenticated"
KEY_SET_SECONDS = 600.0
"""A fetched key set is asked for again after this time."""
STALE_SECONDS = 3600.0
"""While it cannot be fetched, the last one is good for so long."""
REFETCH_SECONDS = 30.0
"""Tokens of unknown keys, which anybody can write, have it fetched no more often than this."""
_REMEMBERED_TOKENS = 2048
_REMEMBERED_SECONDS = 60.0
"""A token is verified again after this time, so that a key that was withdrawn is soon refused."""
_FETCH_TIMEOUT_SECONDS = 5.0
_FAILED_FETCH_SECONDS = 5.0
"""Without any key set, a fetch that failed is not tried again sooner."""
_LARGEST_KEY_SET = 256 * 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user, as their token tells. The token is left out of the repr."""

    user_id: UUID
    token: str = field(repr=False)
    """For `videojobs.AsyncVideoJobManager.as_user`, which does not verify it once more."""
    is_admin: bool
    """From ``app_metadata``, which users cannot write."""
    email: str | None
    expires_at: datetime


class TokenVerifier:
    """Tells who a token belongs to. For one event loop, and any number of tasks in it.

    The signature must be of a configured key and its algorithm, the token unexpired, and its
    issuer, audience and role those of a signed-in user.

    Args:
        issuer: Whose tokens are accepted, such as ``https://project.supabase.co/auth/v1``.
        audience: For whom they must be.
        secret: Verifies HS256.
        jwks: A JSON Web Key Set that verifies ES256 and RS256.
        jwks_url: Where to fetch it, instead.

    Raises:
        ConfigurationError: There is no issuer, nothing to verify with, or *jwks* is no key set.
    """

    def __init__(
        self,
        *,
        issuer: str | Sequence[str],
        audience: str = AUDIENCE,
        secret: str | None = None,
        jwks: str | None = None,
        jwks_url: str | None = None,
    ) -> None:
        self._issuers = (issuer,) if isinstance(issuer, str) else tuple(issuer)
        self._audience = audience
        self._secret = secret
        self._fixed = SigningKeys(secret=secret, public=_given_keys(jwks))
        self._fetched = None if jwks or jwks_url is None else _FetchedKeys(jwks_url)
        self._known: OrderedDict[str, tuple[Caller, float]] = OrderedDict()
        if not all(self._issuers) or not self._issuers:
            raise ConfigurationError("users' tokens have no issuer to be compared with")
        if not self._fixed and self._fetched is None:
            raise ConfigurationError(
                "users' tokens cannot be verified: set SUPABASE_URL, SUPABASE_JWKS (ES256, RS256) "
                "or SUPABASE_JWT_SECRET (HS256)"
            )

    @classmethod
    def from_settings(
        cls, settings: Settings, *, issuer: str | Sequence[str] | None = None
    ) -> Self:
        """A verifier for the settings' project.

        Args:
            settings: Its URL, secret and key set.
            issuer: Instead of ``<url>/auth/v1``, or of `Settings.jwt_issuer`.

        Raises:
            ConfigurationError: They do not say who issues tokens, or how to verify them.
        """
        base = settings.supabase_url and f"{settings.supabase_url.rstrip('/')}/auth/v1"
        issuer = issuer or settings.jwt_issuer or base
        if issuer is None:
            raise ConfigurationError(
                "nobody is known to issue users' tokens: set SUPABASE_URL, or VIDEOJOBS_JWT_ISSUER "
                "to the `iss` of your tokens"
            )
        return cls(
            issuer=issuer,
            secret=settings.jwt_secret,
            jwks=settings.jwks,
            jwks_url=base and f"{base}/.well-known/jwks.json",
        )

    async def verify(self, token: str) -> Caller:
        """The signed-in user that the token was issued to.

        Raises:
            AuthenticationError: It is not valid, has expired, or is not a user's.
            SupabaseConnectionError: The key set could not be fetched.
        """
        if (caller := self._remembered(token)) is not None:
            return caller
        try:
            caller = _caller(token, await self._claims(token))
        except TokenRefusedError as error:
            raise AuthenticationError(
                f"the token was refused: {error}. Sign in again", status=401, code="invalid_token"
            ) from None
        self._remember(token, caller)
        return caller

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            return self._claims_by(token, self._fixed)
        except UnknownKeyError:
            if self._fetched is None:
                raise
        # Only now: a token that the secret verifies needs no key set.
        try:
            return self._claims_by(token, await self._fetched.keys())
        except UnknownKeyError:
            return self._claims_by(token, await self._fetched.newer_keys())

    def _claims_by(self, token: str, keys: SigningKeys) -> dict[str, Any]:
        return claims_of(token, keys, issuer=self._issuers, audience=self._audience)

    def _remembered(self, token: str) -> Caller | None:
        caller, since = self._known.get(token, (None, 0.0))
        if caller is None:
            return None
        is_old = time.monotonic() - since > _REMEMBERED_SECONDS
        if is_old or not (isinstance(caller.token, VerifiedToken) and caller.token.is_current):
            del self._known[token]
            return None
        return caller

    def _remember(self, token: str, caller: Caller) -> None:
        self._known[token] = caller, time.monotonic()
        if len(self._known) > _REMEMBERED_TOKENS:
            self._known.popitem(last=False)


def _given_keys(jwks: str | None) -> list[PyJWK]:
    try:
        return public_keys(jwks) if jwks else []
    except ValueError as error:
        raise ConfigurationError(f"SUPABASE_JWKS is no JSON Web Key Set: {error}") from error


def _caller(token: str, claims: dict[str, Any]) -> Caller:
    try:
        user_id = UUID(claims["sub"])
        expires_at = datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (ValueError, TypeError, AttributeError, OverflowError, OSError):
        raise TokenRefusedError("its sub is no user's id, or its exp no time") from None
    metadata, email = claims.get("app_metadata"), claims.get("email")
    return Caller(
        user_id=user_id,
        token=VerifiedToken.of(token, claims),
        is_admin=_is_admin(metadata),
        email=email if isinstance(email, str) and email else None,
        expires_at=expires_at,
    )


def _is_admin(app_metadata: Any) -> bool:
    return isinstance(app_metadata, dict) and app_metadata.get("role") == "admin"  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # any JSON


class _FetchedKeys:
    """The key set at a URL, as it was ten minutes ago at the oldest."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys = SigningKeys()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._failure: SupabaseConnectionError | None = None
        self._fetching = asyncio.Lock()

    async def keys(self) -> SigningKeys:
        """The keys; fetched if they are old.

        Raises:
            SupabaseConnectionError: They could not be, for an hour or from the beginning.
        """
        if not self._is_younger(KEY_SET_SECONDS):
            async with self._fetching:
                if not self._is_younger(KEY_SET_SECONDS):
                    await self._renew()
        return self._keys

    async def newer_keys(self) -> SigningKeys:
        """The keys once more, if they may be asked for again already."""
        async with self._fetching:
            await self._renew()
        return self._keys

    def _is_younger(self, seconds: float) -> bool:
        return self._fetched_at is not None and time.monotonic() - self._fetched_at < seconds

    def _was_tried_within(self, seconds: float) -> bool:
        return self._tried_at is not None and time.monotonic() - self._tried_at < seconds

    async def _renew(self) -> None:
        is_usable = self._is_younger(STALE_SECONDS)
        if self._was_tried_within(REFETCH_SECONDS if is_usable else _FAILED_FETCH_SECONDS):
            if self._failure is not None and not is_usable:
                raise self._failure
            return
        self._tried_at = time.monotonic()
        try:
            self._keys = SigningKeys(public=await self._fetch())
        except SupabaseConnectionError as error:
            self._failure = error
            if not is_usable:
                raise
            logger.warning("%s; the last one is used meanwhile", error)
        else:
            self._failure, self._fetched_at = None, time.monotonic()

    async def _fetch(self) -> list[PyJWK]:
        import httpx  # heavy, and not needed where tokens are verified by a secret

        try:
            async with (
                httpx.AsyncClient(timeout=_FETCH_TIMEOUT_SECONDS, follow_redirects=False) as http,
                http.stream("GET", self._url) as reply,
            ):
                reply.raise_for_status()
                body = await _short_body(reply.aiter_bytes())
            return public_keys(body.decode())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            reason = type(error).__name__ if not str(error) else str(error).splitlines()[0]
            raise SupabaseConnectionError(
                f"the keys that verify users' tokens could not be fetched from {self._url}: {reason}"
            ) from error


async def _short_body(chunks: Any) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _LARGEST_KEY_SET:
            raise ValueError(f"it has more than {_LARGEST_KEY_SET} bytes")
    return bytes(body)
