"""``videojobs serve``."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.cli.options import DatabaseUrl, settings_for
from videojobs.cli.printing import complaints
from videojobs.cli.sending import SendsWebhooks, sending
from videojobs.connecting import open_async_transport
from videojobs.local import LocalStack
from videojobs.requests import refuse
from videojobs.settings import Settings
from videojobs.storage import open_storage

if TYPE_CHECKING:
    from fastapi import FastAPI

    from videojobs.web.routes.development import Login, SignIn

_LOCAL_HOSTS = ("localhost", "127.0.0.1")


def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any.", min=0, max=65535)] = 8000,
    local: Annotated[
        bool,
        typer.Option("--local", help="On the embedded stack, whatever the environment names."),
    ] = False,
    data_dir: Annotated[
        Path, typer.Option(help="Keeps the embedded stack's data for the next start.")
    ] = Path(".videojobs"),
    webhooks: SendsWebhooks = True,
    database_url: DatabaseUrl = None,
) -> None:
    """Serve the REST API, until Ctrl-C. Without a configured database, on an embedded one."""
    if local and database_url is not None:
        raise refuse("serve", "database_url", database_url, "give --local or --database-url")
    settings = settings_for(database_url)
    is_configured = settings.supabase_url is not None or settings.database_url is not None
    if local or not is_configured:
        with LocalStack.start(data_dir) as stack:
            _run(*_on_stack(stack, settings, host), host=host, port=port, webhooks=webhooks)
    else:
        _run(settings, None, host=host, port=port, webhooks=webhooks)


def _on_stack(stack: LocalStack, settings: Settings, host: str) -> tuple[Settings, SignIn | None]:
    web = settings.web
    if not web.allowed_hosts and _is_loopback(host):
        # Else a web page could have its own name lead here, and sign in as anybody.
        web = dataclasses.replace(web, allowed_hosts=_LOCAL_HOSTS)
    settings = dataclasses.replace(
        settings,
        database_url=stack.database_url,
        transport="postgres",
        jwt_secret=stack.jwt_secret,
        jwt_issuer=stack.issuer,
        jwks=None,
        supabase_url=None,
        web=web,
    )
    if settings.storage is None:
        settings.storage_dir.mkdir(parents=True, exist_ok=True)
    if not _is_loopback(host):
        complaints.print(f"no development login: {host} may be reached from outside", style="dim")
        return settings, None
    return settings, _sign_in_at(stack)


def _sign_in_at(stack: LocalStack) -> SignIn:
    def sign_in(user_id: UUID, wish: Login) -> str:
        metadata = {"role": "admin"} if wish.is_admin else None
        return stack.user_token(user_id, email=wish.email, app_metadata=metadata)

    return sign_in


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run(
    settings: Settings, sign_in: SignIn | None, *, host: str, port: int, webhooks: bool
) -> None:
    app = _application(settings, sign_in)
    import uvicorn

    complaints.print(f"serving at http://{host}:{port}, with its description at /docs", style="dim")
    with sending(settings, wanted=webhooks):
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_config=None,  # ours is set up already
            access_log=False,  # the API tells of each request itself
            server_header=False,
            timeout_graceful_shutdown=10,
        )


def _application(settings: Settings, sign_in: SignIn | None) -> FastAPI:
    from videojobs.access import TokenVerifier
    from videojobs.web import create_app

    place = open_storage(None, settings)
    place.check()
    return create_app(
        lambda: AsyncVideoJobManager(open_async_transport(settings), settings),
        auth=TokenVerifier.from_settings(settings),
        storage=place,
        settings=settings.web,
        development_login=sign_in,
    )
