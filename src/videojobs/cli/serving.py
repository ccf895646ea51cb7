"""``videojobs serve``."""

from __future__ import annotations

import dataclasses
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
from videojobs.cli.dashboard import PATH, keep_pages_secret, mount_dashboard, refuse_strangers
from videojobs.cli.options import DatabaseUrl
from videojobs.cli.printing import complaints
from videojobs.cli.sending import SendsWebhooks, sending
from videojobs.connecting import open_async_transport
from videojobs.local.running import RunningStack
from videojobs.settings import Settings
from videojobs.storage import open_storage

if TYPE_CHECKING:
    from fastapi import FastAPI

    from videojobs.web.routes.development import Login, SignIn

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any.", min=0, max=65535)] = 8000,
    local: IsLocal = False,
    data_dir: DataDir = Path(".videojobs"),
    storage: StorageUrl = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help=f"Also show the dashboard, at {PATH}.")
    ] = False,
    webhooks: SendsWebhooks = True,
    database_url: DatabaseUrl = None,
) -> None:
    """Serve the REST API, until Ctrl-C. Without a configured database, on an embedded one.

    On the embedded stack, POST /dev/login signs anybody in without a password: from this machine
    only.
    """
    with backend(
        "serve", local=local, data_dir=data_dir, storage=storage, database_url=database_url
    ) as found:
        if found.stack is not None:
            found = dataclasses.replace(found, settings=_guarded(found.settings, host))
        if dashboard:
            refuse_strangers(found, host)
        listener = listen(host, port)
        app = _application(found, _sign_in(found, host), dashboard=dashboard)
        address = address_of(listener)
        complaints.print(f"serving at {address}, with its description at /docs", style="dim")
        if dashboard:
            complaints.print(f"the dashboard: {address}{PATH}", style="dim")
        with sending(found.settings, wanted=webhooks):
            serve_at(listener, app, patience_seconds=10)


def _guarded(settings: Settings, host: str) -> Settings:
    if settings.web.allowed_hosts or not is_loopback(host):
        return settings
    # Else a web page could have its own name lead here, and sign in as anybody.
    web = dataclasses.replace(settings.web, allowed_hosts=_LOCAL_HOSTS)
    return dataclasses.replace(settings, web=web)


def _sign_in(found: Backend, host: str) -> SignIn | None:
    if found.stack is None:
        return None
    if not is_loopback(host):
        complaints.print(f"no development login: {host} may be reached from outside", style="dim")
        return None
    return _sign_in_at(found.stack)


def _sign_in_at(stack: RunningStack) -> SignIn:
    def sign_in(user_id: UUID, wish: Login) -> str:
        metadata = {"role": "admin"} if wish.is_admin else None
        return stack.user_token(user_id, email=wish.email, app_metadata=metadata)

    return sign_in


def _application(found: Backend, sign_in: SignIn | None, *, dashboard: bool) -> FastAPI:
    from videojobs.access import TokenVerifier
    from videojobs.web import create_app

    settings = found.settings
    place = open_storage(None, settings)
    place.check()
    manager = AsyncVideoJobManager(open_async_transport(settings), settings)
    app = create_app(
        lambda: manager,
        auth=TokenVerifier.from_settings(settings),
        storage=place,
        settings=settings.web,
        development_login=sign_in,
    )
    if dashboard:
        keep_pages_secret()
        mount_dashboard(app, found, manager, place)
    return app
