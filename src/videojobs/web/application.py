"""The API as an application of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from videojobs.web.problems import answer_error
from videojobs.web.request_ids import HEADER
from videojobs.web.routes.development import SignIn, add_login
from videojobs.web.routing import routed
from videojobs.web.services import Authenticator, ManagerFactory, Services

if TYPE_CHECKING:
    from videojobs.settings import WebSettings
    from videojobs.storage import Storage

_READABLE = (HEADER, "ETag", "Link", "Location", "Retry-After", "Content-Disposition")


def create_app(
    manager_factory: ManagerFactory,
    *,
    auth: Authenticator | None = None,
    storage: Storage | None = None,
    settings: WebSettings | None = None,
    development_login: SignIn | None = None,
) -> FastAPI:
    """An application with all routes, and with CORS and host names as the settings say.

    Args:
        manager_factory: See `videojobs.web.router`.
        auth: See there.
        storage: See there.
        settings: See there.
        development_login: Makes a token for whoever asks for one. Only for the embedded stack.
    """
    services = Services(manager_factory, auth=auth, storage=storage, settings=settings)
    # Without redirects to paths with a slash, whose address would be made of the Host header.
    app = FastAPI(title="videojobs", lifespan=services.lifespan, redirect_slashes=False)
    api = routed(services)
    if development_login is not None:
        add_login(api, development_login)
    app.include_router(api)
    # What no route of ours answers: an unknown path, or a method that it does not have.
    app.add_exception_handler(HTTPException, answer_error)
    _add_middleware(app, services.web)
    return app


def _add_middleware(app: FastAPI, web: WebSettings) -> None:
    if web.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=web.cors_origins,
            # Tokens come in a header that pages set, never in a cookie that browsers add.
            allow_credentials=False,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-None-Match",
                "Last-Event-ID",
                HEADER,
            ),
            expose_headers=_READABLE,
            max_age=600,
        )
    if web.allowed_hosts:
        app.add_middleware(
            TrustedHostMiddleware, allowed_hosts=web.allowed_hosts, www_redirect=False
        )
