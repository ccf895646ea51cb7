"""Signing in with e-mail and password, checked by the project's Supabase Auth."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import httpx
from supabase_auth import AsyncGoTrueClient
from supabase_auth.errors import AuthApiError, AuthError, AuthRetryableError
from supabase_auth.types import AuthResponse

from videojobs.access import TokenVerifier
from videojobs.dashboard.sessions import Grant, Session
from videojobs.errors import AuthenticationError, ConfigurationError, SupabaseConnectionError
from videojobs.settings import Settings

_TOO_MANY = 10
_FAILURES_WITHIN_SECONDS = 300.0
_TIMEOUT_SECONDS = 10.0
_WRONG = "The e-mail address or the password is wrong."
_OVER = "Your session has ended. Sign in again."


class PasswordSignIn:
    """E-mail and password, checked by Supabase Auth. The tokens stay in this process.

    Raises:
        ConfigurationError: The settings name no project, or no publishable key of it.
    """

    def __init__(self, settings: Settings, verifier: TokenVerifier) -> None:
        if not settings.supabase_url or not settings.publishable_key:
            raise ConfigurationError(
                "signing in needs the project: set SUPABASE_URL and SUPABASE_PUBLISHABLE_KEY"
            )
        self._url = f"{settings.supabase_url.rstrip('/')}/auth/v1"
        self._key = settings.publishable_key
        self._verifier = verifier
        self._failures: dict[str, list[float]] = {}

    async def sign_in(self, email: str, password: str, *, peer: str) -> Session:
        """A session of that user.

        Raises:
            AuthenticationError: Address or password is wrong, or *peer* has tried too often.
            SupabaseConnectionError: Supabase Auth could not be reached.
        """
        self._refuse_too_many(peer)
        # Counted before it is known to have failed: else any number could be tried at once.
        begun = time.monotonic()
        self._failures.setdefault(peer, []).append(begun)
        try:
            grant = await self._granted(
                lambda auth: auth.sign_in_with_password({"email": email, "password": password}),
                _WRONG,
            )
        except SupabaseConnectionError:
            self._failures[peer] = [at for at in self._failures.get(peer, ()) if at != begun]
            raise
        self._failures.pop(peer, None)
        return Session(grant, self._renewed)

    async def _renewed(self, grant: Grant) -> Grant:
        return await self._granted(lambda auth: auth.refresh_session(grant.refresh_token), _OVER)

    async def _granted(
        self, ask: Callable[[AsyncGoTrueClient], Awaitable[AuthResponse]], refused: str
    ) -> Grant:
        try:
            session = (await self._answer(ask)).session
        except AuthRetryableError as error:
            raise SupabaseConnectionError(
                f"Supabase Auth could not be reached ({error.message}). Try again."
            ) from error
        except AuthApiError as error:
            if error.status >= 500 or error.status == 429:
                raise SupabaseConnectionError(
                    f"Supabase Auth cannot answer now (HTTP {error.status}). Try again.",
                    status=error.status,
                ) from error
            raise AuthenticationError(refused, status=error.status) from error
        except AuthError as error:
            raise AuthenticationError(refused) from error
        if session is None:
            raise AuthenticationError(refused)
        return Grant(await self._verifier.verify(session.access_token), session.refresh_token)

    async def _answer(
        self, ask: Callable[[AsyncGoTrueClient], Awaitable[AuthResponse]]
    ) -> AuthResponse:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as http,
            AsyncGoTrueClient(
                url=self._url,
                headers={"apikey": self._key},
                auto_refresh_token=False,
                persist_session=False,
                http_client=http,
            ) as auth,
        ):
            return await ask(auth)

    def _refuse_too_many(self, peer: str) -> None:
        now = time.monotonic()
        for name in list(self._failures):
            recent = [at for at in self._failures[name] if now - at < _FAILURES_WITHIN_SECONDS]
            if recent:
                self._failures[name] = recent
            else:
                del self._failures[name]
        if len(self._failures.get(peer, ())) >= _TOO_MANY:
            raise AuthenticationError("Too many tries. Wait five minutes, and try again.")
