"""``videojobs dashboard``."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.cli.options import DatabaseUrl, settings_for
from videojobs.cli.printing import complaints, console
from videojobs.connecting import open_async_transport
from videojobs.errors import ConfigurationError
from videojobs.local import LocalStack
from videojobs.local.running import RunningStack
from videojobs.requests import refuse
from videojobs.settings import Settings
from videojobs.storage import open_storage

if TYPE_CHECKING:
    from fastapi import FastAPI

    from videojobs.dashboard import DevelopmentSignIn, Person

PATH = "/video-jobs"
_ADMIN = UUID("00000000-0000-4000-8000-00000000ad01")
_MOST_PEOPLE = 30


def dashboard(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any.", min=0, max=65535)] = 8100,
    local: Annotated[
        bool,
        typer.Option("--local", help="On the embedded stack, whatever the environment names."),
    ] = False,
    data_dir: Annotated[
        Path, typer.Option(help="The embedded stack's folder; of a running one, or to start one.")
    ] = Path(".videojobs"),
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where outputs are, as for `videojobs worker`; else what the environment names.",
            show_default=False,
        ),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Show the jobs in a browser, live, until Ctrl-C. Without a configured database, an embedded one's.

    People sign in with e-mail and password of the Supabase project. On the embedded stack they
    choose who they are, without a password: it answers on this machine only.
    """
    if local and database_url is not None:
        raise refuse("dashboard", "database_url", database_url, "give --local or --database-url")
    settings = settings_for(database_url)
    if storage is not None:
        settings = dataclasses.replace(settings, storage=storage)
    is_configured = settings.supabase_url is not None or settings.database_url is not None
    with ExitStack() as started:
        stack = None
        if local or not is_configured:
            stack = RunningStack.find(data_dir) or _started(data_dir, started)
        elif settings.jwt_secret and (running := RunningStack.find(data_dir)):
            # What `videojobs local up` printed is in the environment.
            stack = running if running.jwt_secret == settings.jwt_secret else None
        _run(settings, stack, host=host, port=port)


def _started(data_dir: Path, started: ExitStack) -> RunningStack:
    started.enter_context(LocalStack.start(data_dir))
    stack = RunningStack.find(data_dir)
    if stack is None:
        raise ConfigurationError(f"the stack in {data_dir} does not answer; look at its log")
    return stack


def _run(settings: Settings, stack: RunningStack | None, *, host: str, port: int) -> None:
    if stack is not None:
        if not _is_loopback(host):
            raise ConfigurationError(
                f"host={host!r}: on the embedded stack people sign in without a password, so the "
                "dashboard listens on this machine only; use 127.0.0.1, or configure a project"
            )
        settings = dataclasses.replace(
            settings,
            database_url=stack.database_url,
            transport="postgres",
            jwt_secret=stack.jwt_secret,
            jwt_issuer=stack.issuer,
            jwks=None,
            supabase_url=None,
        )
    app = _application(settings, stack)
    import uvicorn

    # At INFO it writes each page's key into the log.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    console.print(f"http://{host}:{port}{PATH}", markup=False, highlight=False, soft_wrap=True)
    complaints.print("the dashboard runs; Ctrl-C stops it", style="dim")
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,  # ours is set up already
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )


def _application(settings: Settings, stack: RunningStack | None) -> FastAPI:
    from videojobs.access import TokenVerifier
    from videojobs.dashboard import create_app

    manager = AsyncVideoJobManager(open_async_transport(settings), settings)
    return create_app(
        manager,
        path=PATH,
        storage=open_storage(None, settings),
        verifier=TokenVerifier.from_settings(settings),
        development=None if stack is None else _development(stack, manager),
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
