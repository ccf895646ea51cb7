"""The sign-in of the embedded stack: choose who you are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from videojobs.access import TokenVerifier
from videojobs.dashboard.sessions import Grant, Session
from videojobs.errors import AuthenticationError


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom one may be on the embedded stack."""

    key: str
    """The user's id."""
    name: str
    fact: str
    """A word about them, such as "sees the jobs of everybody"."""
    is_admin: bool = False


class DevelopmentSignIn:
    """Signs anybody in, as anybody. For the embedded stack only.

    Args:
        people: Whom one may choose.
        token_for: An access token for one of them, signed with the stack's own secret.
    """

    def __init__(
        self,
        *,
        people: Callable[[], Awaitable[Sequence[Person]]],
        token_for: Callable[[Person], str],
    ) -> None:
        self.people = people
        self._token_for = token_for

    async def sign_in(self, key: str, verifier: TokenVerifier) -> Session:
        """A session as that person.

        Raises:
            AuthenticationError: There is no such person.
        """
        person = next((one for one in await self.people() if one.key == key), None)
        if person is None:
            raise AuthenticationError("There is nobody by that id. Choose somebody of the list.")

        async def granted(old: Grant | None = None) -> Grant:
            del old
            return Grant(await verifier.verify(self._token_for(person)))

        return Session(await granted(), granted)
