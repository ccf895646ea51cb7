"""Users' access tokens: which key may have signed one, and what it says. No I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, Self

import jwt

LEEWAY_SECONDS = 10
"""How far the clocks of the issuer and of this machine may differ."""
_PUBLIC_ALGORITHMS = frozenset({"ES256", "RS256"})
_LONGEST_TOKEN = 16 * 1024


class TokenRefusedError(Exception):
    """The token proves nothing; the message says why, without the token."""


class UnknownKeyError(TokenRefusedError):
    """The token names a key that is not known, and that may be new."""


class VerifiedToken(str):
    """A token whose signature and claims were checked, so that nobody need check them again.

    A ``str`` like any token. What is made from it, such as a slice, is an ordinary string.
    """

    claims_json: str
    """What it says, for ``request.jwt.claims``."""
    expires: float
    """Seconds since 1970."""

    @classmethod
    def of(cls, token: str, claims: dict[str, Any]) -> Self:
        """The token, with the claims that `claims_of` found in it."""
        verified = cls(token)
        verified.claims_json = json.dumps(claims)
        verified.expires = float(claims["exp"])
        return verified

    @property
    def is_current(self) -> bool:
        """Whether it has not expired since."""
        return time.time() < self.expires + LEEWAY_SECONDS

    def __repr__(self) -> str:
        return "VerifiedToken(...)"


class SigningKeys:
    """The keys that may sign tokens; each is good for one algorithm.

    Args:
        secret: For HS256.
        public: Public keys, told apart by their ids, for ES256 and RS256.
    """

    def __init__(self, *, secret: str | None = None, public: Iterable[jwt.PyJWK] = ()) -> None:
        self._secret = secret
        self._public = {
            key.key_id: key for key in public if key.algorithm_name in _PUBLIC_ALGORITHMS
        }

    def __bool__(self) -> bool:
        return self._secret is not None or bool(self._public)

    def key_for(self, token: str) -> tuple[Any, str]:
        """The one key that may have signed the token, and its algorithm.

        The algorithm is pinned by the kind of key, never taken from the token alone.

        Raises:
            UnknownKeyError: It names a key that is not here.
            TokenRefusedError: It is no token, or is signed in a way that is not allowed.
        """
        if len(token) > _LONGEST_TOKEN:
            raise TokenRefusedError(f"it is longer than {_LONGEST_TOKEN} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenRefusedError(str(error)) from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str):
            raise TokenRefusedError("its header names no algorithm")
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, "HS256"
        key = self._public.get(key_id)
        if key is not None and key.algorithm_name == algorithm:
            return key, key.algorithm_name
        if key is None and key_id is not None and algorithm in _PUBLIC_ALGORITHMS:
            raise UnknownKeyError("it is signed with a key that is not known")
        raise TokenRefusedError("it is signed with a key that is not configured")


def public_keys(key_set: str) -> list[jwt.PyJWK]:
    """The keys of a JSON Web Key Set that this library can use; what it cannot use is left out.

    Raises:
        ValueError: It is no key set.
    """
    try:
        found = json.loads(key_set)["keys"]
        return [key for each in found if (key := _usable(each)) is not None]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is not an object with a list of keys") from error


def _usable(described: dict[str, Any]) -> jwt.PyJWK | None:
    try:
        return jwt.PyJWK(described)
    except jwt.PyJWTError:
        return None


def claims_of(
    token: str,
    keys: SigningKeys,
    *,
    issuer: Sequence[str] | None = None,
    audience: str | None = None,
) -> dict[str, Any]:
    """What a signed-in user's token says, once it is known to be true.

    Args:
        token: As it came.
        keys: One of them must have signed it.
        issuer: Who may have issued it; anybody with the key if not given.
        audience: For whom it must be; anybody if not given.

    Raises:
        UnknownKeyError: See `SigningKeys.key_for`.
        TokenRefusedError: It is not valid, or not a signed-in user's.
    """
    key, algorithm = keys.key_for(token)
    required = ["exp", "sub"] + ["iss"] * (issuer is not None) + ["aud"] * (audience is not None)
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            leeway=LEEWAY_SECONDS,
            issuer=issuer,
            audience=audience,
            options={"require": required, "verify_aud": audience is not None},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TokenRefusedError(str(error)) from None
    # A service token would otherwise pass for a user's: both are signed with the same key.
    if claims.get("role") != "authenticated":
        raise TokenRefusedError(f"its role is {claims.get('role')!r}, not 'authenticated'")
    return claims
