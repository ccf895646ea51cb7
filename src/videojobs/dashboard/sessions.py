"""Who is signed in: tokens stay in this process, and the browser holds a random word.

A restart signs everybody out: they sign in again and are back where they were.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from videojobs.access import Caller
from videojobs.errors import AuthenticationError

IDLE_SECONDS = 12 * 3600
"""A session by which no page was opened for so long opens none any more. Open pages go on."""
LONGEST_SECONDS = 7 * 24 * 3600
"""And one that is so old, whoever used it."""
RENEW_SECONDS = 60
"""A token is renewed when it is good for no longer than this."""
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a sign-in gave: who it is, with a token that was verified."""

    caller: Caller
    refresh_token: str | None = field(default=None, repr=False)

    @property
    def seconds_left(self) -> float:
        """For how long the token is good."""
        return self.caller.expires_at.timestamp() - time.time()


Renew = Callable[[Grant], Awaitable[Grant]]
"""A new grant for an old one; raises `AuthenticationError` when there is none to be had."""


class Session:
    """One signed-in browser."""

    def __init__(self, grant: Grant, renew: Renew) -> None:
        self.begun_at = self.used_at = time.time()
        self.has_ended = False
        self._grant = grant
        self._renew = renew
        self._lock = asyncio.Lock()
        self._to_tell: set[Callable[[], None]] = set()

    def __repr__(self) -> str:
        return f"Session(user_id={self.caller.user_id})"

    @property
    def caller(self) -> Caller:
        """Who is signed in, as the latest token tells."""
        return self._grant.caller

    @property
    def seconds_left(self) -> float:
        """For how long the latest token is good."""
        return self._grant.seconds_left

    async def token(self) -> str:
        """An access token that is good for a while yet.

        Raises:
            AuthenticationError: The session has ended, or Supabase Auth will not renew it.
        """
        async with self._lock:
            if self.has_ended or self._is_too_old:
                self.end()
                raise AuthenticationError("You are signed out. Sign in again.")
            if self._grant.seconds_left < RENEW_SECONDS:
                try:
                    self._grant = await self._renew(self._grant)
                except AuthenticationError:
                    self.end()
                    raise
            return self._grant.caller.token

    @property
    def is_over(self) -> bool:
        """Whether it has ended, by itself or by a sign-out."""
        is_idle = time.time() - self.used_at > IDLE_SECONDS
        return self.has_ended or self._is_too_old or is_idle

    @property
    def _is_too_old(self) -> bool:
        return time.time() - self.begun_at > LONGEST_SECONDS

    def when_ended(self, tell: Callable[[], None]) -> Callable[[], None]:
        """Have *tell* called at the end; the answer takes the wish back."""
        self._to_tell.add(tell)
        return lambda: self._to_tell.discard(tell)

    def end(self) -> None:
        """Nobody acts by this session any more, and its open pages are told."""
        self.has_ended = True
        told, self._to_tell = self._to_tell, set()
        for tell in told:
            tell()


class Sessions:
    """All sessions of this process, found by the word in the browser's cookie."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Session] = {}

    def begin(self, session: Session) -> str:
        """Keep the session; returns the word for the cookie."""
        self._forget_old_ones()
        word = secrets.token_urlsafe(32)
        self._by_digest[_digest(word)] = session
        return word

    def find(self, word: str | None) -> Session | None:
        """The session of a cookie's word, if it goes on."""
        session = self._by_digest.get(_digest(word)) if word else None
        if session is None:
            return None
        if session.is_over:
            session.end()
            return None
        session.used_at = time.time()
        return session

    def end(self, word: str | None) -> None:
        """Sign out. Repeating it is harmless."""
        session = self._by_digest.pop(_digest(word), None) if word else None
        if session is not None:
            session.end()

    def _forget_old_ones(self) -> None:
        for digest in [key for key, session in self._by_digest.items() if session.is_over]:
            self._by_digest.pop(digest).end()
        while len(self._by_digest) >= _MOST:
            self._by_digest.pop(next(iter(self._by_digest))).end()


def _digest(word: str) -> str:
    # A lookup by digest takes the same time for a near miss as for any other word.
    return hashlib.sha256(word.encode()).hexdigest()
