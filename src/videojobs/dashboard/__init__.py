"""The dashboard: pages on which people watch video jobs, mounted below a path of an application.

One process holds one dashboard, for the pages and sessions of NiceGUI are the process's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from videojobs.errors import ConfigurationError, MissingExtraError

try:
    import nicegui
    from fastapi import FastAPI
    from fastapi.responses import RedirectResponse
except ImportError as error:
    raise MissingExtraError("dashboard", "The dashboard") from error

from videojobs.access import TokenVerifier
from videojobs.dashboard.development import DevelopmentSignIn, Person
from videojobs.dashboard.mounting import Dashboard
from videojobs.storage import Storage, open_storage

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from videojobs.async_manager import AsyncVideoJobManager

__all__ = ["DevelopmentSignIn", "Person", "create_app", "mount"]

del nicegui
_mounted: list[str] = []


def mount(
    app: FastAPI,
    manager: AsyncVideoJobManager,
    *,
    path: str = "/video-jobs",
    storage: Storage | None = None,
    verifier: TokenVerifier | None = None,
    development: DevelopmentSignIn | None = None,
) -> None:
    """The application shows the dashboard below *path*.

    People sign in with e-mail and password of the settings' Supabase project, and see what its
    row-level policies let them see. Their tokens stay in this process.

    Args:
        app: Serve it with one worker process, or with a load balancer that keeps a browser with
            its process.
        manager: A service's, from a Supabase or a Postgres connection. It is left open.
        path: Where, beginning with a slash.
        storage: Where the outputs are; the settings' own if not given.
        verifier: Of users' tokens; one for the settings' project if not given.
        development: For the embedded stack: choose a person instead of signing in.

    Raises:
        ConfigurationError: The settings name no project to sign in to, or this process has a
            dashboard already.
    """
    if _mounted:
        raise ConfigurationError(
            f"this process has a dashboard already, at {_mounted[0]}; a process can have one"
        )
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigurationError(f"path={path!r} must begin with a slash and not end with one")
    settings = manager.settings
    opened: Callable[[], Storage] = lambda: storage or open_storage(None, settings)  # noqa: E731
    Dashboard(
        manager,
        path=path,
        verifier=verifier or TokenVerifier.from_settings(settings),
        development=development,
        open_storage=opened,
    ).mount_on(app)
    # Not left to the application, which may not redirect to paths with a slash.
    app.add_route(path, _with_slash, include_in_schema=False)
    _mounted.append(path)


def create_app(
    manager: AsyncVideoJobManager,
    *,
    path: str = "/video-jobs",
    storage: Storage | None = None,
    verifier: TokenVerifier | None = None,
    development: DevelopmentSignIn | None = None,
) -> FastAPI:
    """An application with the dashboard and nothing else, which closes the manager at its end.

    Its parameters are those of `mount`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        async with manager:
            yield

    app = FastAPI(
        title="videojobs", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    mount(
        app,
        manager,
        path=path,
        storage=storage,
        verifier=verifier,
        development=development,
    )

    @app.get("/")
    async def to_dashboard() -> object:  # pyright: ignore[reportUnusedFunction] # called by FastAPI
        return RedirectResponse(f"{path}/")

    return app


async def _with_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}")
