"""``videojobs dashboard``."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.cli.backends import (
    Backend,
    DataDir,
    IsLocal,
    StorageUrl,
    address_of,
    backend,
    is_loopback,
    listen,
    serve_at,
)
from videojobs.cli.options import DatabaseUrl
from videojobs.cli.printing import complaints, console
from videojobs.connecting import open_async_transport
from videojobs.errors import ConfigurationError
from videojobs.local.running import RunningStack
from videojobs.storage import Storage, open_storage

if TYPE_CHECKING:
    from fastapi import FastAPI

    from videojobs.dashboard import DevelopmentSignIn, Person

PATH = "/video-jobs"
_ADMIN = UUID("00000000-0000-4000-8000-00000000ad01")
_MOST_PEOPLE = 30


def dashboard(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any.", min=0, max=65535)] = 8100,
    local: IsLocal = False,
    data_dir: DataDir = Path(".videojobs"),
    storage: StorageUrl = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Show the jobs in a browser, live, until Ctrl-C. Without a configured database, an embedded one's.

    People sign in with e-mail and password of the Supabase project. On the embedded stack they
    choose who they are, without a password: it answers on this machine only.
    """
    with backend(
        "dashboard", local=local, data_dir=data_dir, storage=storage, database_url=database_url
    ) as found:
        _run(found, host=host, port=port)


def _run(found: Backend, *, host: str, port: int) -> None:
    refuse_strangers(found, host)
    listener = listen(host, port)
    manager = AsyncVideoJobManager(open_async_transport(found.settings), found.settings)
    app = _application(found, manager)
    keep_pages_secret()
    console.print(f"{address_of(listener)}{PATH}", markup=False, highlight=False, soft_wrap=True)
    complaints.print("the dashboard runs; Ctrl-C stops it", style="dim")
    serve_at(listener, app, patience_seconds=3)


def refuse_strangers(found: Backend, host: str) -> None:
    """The embedded stack's dashboard is for this machine alone.

    Raises:
        ConfigurationError: The address may be reached from elsewhere.
    """
    if found.stack is not None and not is_loopback(host):
        raise ConfigurationError(
            f"host={host!r}: on the embedded stack people sign in without a password, so the "
            "dashboard listens on this machine only; use 127.0.0.1, or configure a project"
        )


def keep_pages_secret() -> None:
    """At INFO, uvicorn writes the key of each page into the log."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def mount_dashboard(
    app: FastAPI, found: Backend, manager: AsyncVideoJobManager, storage: Storage
) -> None:
    """The application shows the dashboard too, at `PATH`."""
    from videojobs.access import TokenVerifier
    from videojobs.dashboard import mount

    mount(
        app,
        manager,
        path=PATH,
        storage=storage,
        verifier=TokenVerifier.from_settings(found.settings),
        development=None if found.stack is None else _development(found.stack, manager),
    )


def _application(found: Backend, manager: AsyncVideoJobManager) -> FastAPI:
    from videojobs.access import TokenVerifier
    from videojobs.dashboard import create_app

    return create_app(
        manager,
        path=PATH,
        storage=open_storage(None, found.settings),
        verifier=TokenVerifier.from_settings(found.settings),
        development=None if found.stack is None else _development(found.stack, manager),
    )


def _development(stack: RunningStack, manager: AsyncVideoJobManager) -> DevelopmentSignIn:
    from videojobs.dashboard import DevelopmentSignIn, Person

    admin = Person(
        str(_ADMIN), "Administrator", "Sees the jobs of everybody, and the workers", True
    )

    async def people() -> list[Person]:
        users = await asyncio.to_thread(stack.list_users, limit=_MOST_PEOPLE)
        owners = (await manager.get_job_stats(group_by="user_id")).groups
        counts = {group.key: group.total for group in owners}
        known = {
            str(user.user_id): Person(
                str(user.user_id),
                user.email or str(user.user_id),
                _told(counts.get(str(user.user_id), 0), is_admin=user.is_admin),
                user.is_admin,
            )
            for user in users
        }
        others = {
            key: Person(key, key, _told(count, is_admin=False))
            for key, count in counts.items()
            if key is not None and key not in known
        }
        return [admin, *list((known | others).values())[:_MOST_PEOPLE]]

    def token_for(person: Person) -> str:
        metadata = {"role": "admin"} if person.is_admin else None
        email = person.name if "@" in person.name else f"{person.name.lower()}@localhost"
        return stack.user_token(
            UUID(person.key),
            email=email if not _is_id(person.name) else None,
            app_metadata=metadata,
        )

    return DevelopmentSignIn(people=people, token_for=token_for)


def _told(count: int, *, is_admin: bool) -> str:
    jobs = "1 job" if count == 1 else f"{count:,} jobs"
    return f"Administrator, {jobs}" if is_admin else jobs


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
