"""What ``videojobs serve`` and ``videojobs dashboard`` stand on: a project, or an embedded stack."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videojobs.cli.options import settings_for
from videojobs.errors import ConfigurationError
from videojobs.local import LocalStack
from videojobs.local.running import RunningStack
from videojobs.requests import refuse
from videojobs.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

IsLocal = Annotated[
    bool,
    typer.Option("--local", help="On the embedded stack, whatever the environment names."),
]
DataDir = Annotated[
    Path, typer.Option(help="The embedded stack's folder; of a running one, or to start one.")
]
StorageUrl = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Where files are, as for `videojobs worker`; else what the environment names.",
        show_default=False,
    ),
]


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """A database, and the embedded stack that it belongs to, if it does."""

    settings: Settings
    stack: RunningStack | None


@contextmanager
def backend(
    command: str, *, local: bool, data_dir: Path, storage: str | None, database_url: str | None
) -> Generator[Backend]:
    """What the options and the environment name; else an embedded stack, for as long as this lasts.

    Raises:
        SupabaseValidationError: The options contradict each other.
        ConfigurationError: The embedded stack cannot be started.
    """
    if local and database_url is not None:
        raise refuse(command, "database_url", database_url, "give --local or --database-url")
    settings = settings_for(database_url)
    if storage is not None:
        settings = dataclasses.replace(settings, storage=storage)
    is_configured = settings.supabase_url is not None or settings.database_url is not None
    if is_configured and not local:
        stack = None if database_url else _printed(settings, data_dir)
        yield Backend(settings if stack is None else _on_stack(settings, stack), stack)
    elif (stack := RunningStack.find(data_dir)) is not None:
        yield Backend(_on_stack(settings, stack), stack)
    else:
        with LocalStack.start(data_dir):
            stack = RunningStack.find(data_dir)
            if stack is None:
                raise ConfigurationError(
                    f"the stack in {data_dir} does not answer; look at its log"
                )
            yield Backend(_on_stack(settings, stack), stack)


def _printed(settings: Settings, data_dir: Path) -> RunningStack | None:
    """The running stack whose ``export`` lines are in the environment."""
    stack = RunningStack.find(data_dir) if settings.jwt_secret else None
    return stack if stack is not None and stack.jwt_secret == settings.jwt_secret else None


def _on_stack(settings: Settings, stack: RunningStack) -> Settings:
    if settings.storage is None:
        # Nobody else would make it before the first output.
        settings.storage_dir.mkdir(parents=True, exist_ok=True)
    return stack.applied_to(settings)


def listen(host: str, port: int) -> socket.socket:
    """A socket at the address, bound before anybody is told of it.

    Raises:
        ConfigurationError: Somebody else listens there, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"{host}:{port} cannot be listened at ({error.strerror or error}); choose another --port"
        ) from error
    return listener


def serve_at(listener: socket.socket, app: FastAPI, *, patience_seconds: int) -> None:
    """Serve the application until Ctrl-C, and then end its requests within the patience."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,  # ours is set up already
        access_log=False,  # the API tells of each request itself
        server_header=False,
        timeout_graceful_shutdown=patience_seconds,
    )
    # Raised once more when all has ended; and to end so is no failure.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener])


def address_of(listener: socket.socket) -> str:
    """Where it is, as people write it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
