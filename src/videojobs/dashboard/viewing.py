"""Who looks at an open page, and what a page has to be able to do."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from nicegui import ui

from videojobs.access import Caller
from videojobs.async_manager import AsyncVideoJobManager
from videojobs.dashboard.feed import Batch
from videojobs.dashboard.sessions import Session
from videojobs.errors import AuthenticationError, VideoJobsError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Viewer:
    """The signed-in user before one open page."""

    session: Session
    manager: AsyncVideoJobManager
    """A service's; pages use `jobs`, and `service` where there is no other way."""
    base: str
    """Where the dashboard is mounted."""

    @property
    def jobs(self) -> AsyncVideoJobManager:
        """With the user's own rights."""
        return self.manager.as_user(self.session.token)

    @property
    def caller(self) -> Caller:
        """Who it is."""
        return self.session.caller

    @property
    def is_admin(self) -> bool:
        """Whether they see the jobs of everybody."""
        return self.session.caller.is_admin

    async def service(self) -> AsyncVideoJobManager | None:
        """For administrators: what only a service may read, such as the workers.

        Raises:
            AuthenticationError: They are signed out.
        """
        await self.session.token()
        return self.manager if self.session.caller.is_admin else None


class View(Protocol):
    """One page of the dashboard while it is shown."""

    title: str

    async def load(self) -> None:
        """Draw it, with what is in the database now."""
        ...

    async def changed(self, batch: Batch) -> None:
        """Draw what has changed."""
        ...

    def moved(self, path: str) -> None:
        """The browser went back or on within the page."""
        ...

    def leave(self) -> None:
        """It is not shown any more."""
        ...


def say(message: str) -> None:
    """A notice that something went well."""
    _notify(message, "vj-notice", "status", 4000)


def complain(message: str) -> None:
    """A notice that something did not."""
    _notify(message, "vj-notice bad", "alert", 10_000)


def _notify(message: str, classes: str, role: str, milliseconds: int) -> None:
    ui.notify(
        message,
        position="bottom-right",
        classes=classes,
        timeout=milliseconds,
        progress=False,
        # Quasar reads a caption or message as HTML only if it is told to.
        html=False,
        attrs={"role": role},
        actions=[{"label": "Dismiss", "noCaps": True}],
    )


async def tried(work: Awaitable[T]) -> T | None:
    """What the work gives; ``None`` after telling the viewer why it did not."""
    try:
        return await work
    except AuthenticationError:
        complain("You are signed out. Sign in again.")
    except VideoJobsError as error:
        complain(error.message)
    return None
