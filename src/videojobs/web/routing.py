"""The router: all families of routes, for any FastAPI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from videojobs.web.routes import FAMILIES
from videojobs.web.services import Authenticator, ManagerFactory, Services
from videojobs.web.sockets import add_socket

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request
    from starlette.responses import Response

    from videojobs.settings import WebSettings
    from videojobs.storage import Storage


def router(
    manager_factory: ManagerFactory,
    *,
    auth: Authenticator | None = None,
    storage: Storage | None = None,
    settings: WebSettings | None = None,
) -> APIRouter:
    """All routes, to be mounted with ``app.include_router(router(...))``.

    Errors of these routes are answered here, as problem details; your application's own handlers
    are not needed, and your other routes are left as they are.

    Args:
        manager_factory: Makes the manager with service rights, such as
            ``AsyncVideoJobManager.from_env``. It is called when the first request comes, and what
            it made is closed when the application ends.
        auth: Who verifies users' tokens; by default what the manager's settings name.
        storage: Where uploads go and outputs are; likewise.
        settings: Limits, and what is taken from whom; likewise.
    """
    return routed(Services(manager_factory, auth=auth, storage=storage, settings=settings))


def routed(services: Services) -> APIRouter:
    """All routes on the given services."""
    api = APIRouter(lifespan=services.lifespan, route_class=_route_class(services))
    for add_routes in FAMILIES:
        add_routes(api)
    add_socket(api, services)
    return api


def _route_class(services: Services) -> type[APIRoute]:
    class Route(APIRoute):
        def get_route_handler(
            self,
        ) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()
            template = self.path_format

            async def serve(request: Request) -> Response:
                return await services.serve(handler, request, template)

            return serve

    return Route
