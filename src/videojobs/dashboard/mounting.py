"""From a FastAPI application and a manager to the dashboard below a path."""

# pyright: reportUnknownMemberType=false
# NiceGUI tells no types of its containers and handlers.

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Form, Request
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

from videojobs.access import TokenVerifier
from videojobs.async_manager import AsyncVideoJobManager
from videojobs.dashboard import assets
from videojobs.dashboard.development import DevelopmentSignIn, Person
from videojobs.dashboard.files import Files
from videojobs.dashboard.security import Guard, comes_from_here
from videojobs.dashboard.sessions import Session, Sessions
from videojobs.dashboard.shell import Shell
from videojobs.dashboard.sign_in_page import development_page, password_page
from videojobs.dashboard.signing_in import PasswordSignIn
from videojobs.dashboard.viewing import Viewer
from videojobs.errors import (
    AuthenticationError,
    ConfigurationError,
    SupabaseConnectionError,
    VideoJobsError,
)
from videojobs.live import LiveJobs
from videojobs.storage import Storage

COOKIE = "videojobs_session"
_ASSET = re.compile(r"^(dashboard\.(css|js)|icon\.svg|inter\.woff2)$")
_YEAR = "public, max-age=31536000"


class Dashboard:
    """The dashboard of one process: its routes, its sessions, and the changes that it follows."""

    def __init__(
        self,
        manager: AsyncVideoJobManager,
        *,
        path: str,
        verifier: TokenVerifier,
        development: DevelopmentSignIn | None,
        open_storage: Callable[[], Storage],
    ) -> None:
        self.path = path
        self._manager = manager
        self._verifier = verifier
        self._development = development
        self._password = (
            None if development is not None else PasswordSignIn(manager.settings, verifier)
        )
        self._sessions = Sessions()
        self._files = Files(open_storage)
        self._live: LiveJobs | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Changes are followed while the context lasts."""
        async with LiveJobs(self._manager) as self._live:
            yield

    def mount_on(self, app: FastAPI) -> None:
        """The application answers below the path."""
        nicegui_app.get("/sign-in")(self.sign_in_page)
        nicegui_app.post("/sign-in")(self.sign_in)
        nicegui_app.post("/sign-out")(self.sign_out)
        nicegui_app.get("/assets/{name}")(self.asset)
        nicegui_app.get("/files/{job_id}/{number}/{name}")(self.file)
        for place in ("/", "/{_:path}"):
            ui.page(place, title="videojobs", language="en-US", response_timeout=15)(self._page())
        nicegui_app.add_middleware(
            Guard,
            only_this_machine=self._development is not None,
            project=self._manager.settings.supabase_url,
        )  # pyright: ignore[reportArgumentType] # an ASGI application by any name
        app.router.lifespan_context = _both(app.router.lifespan_context, self.running)
        # A bar over the page at each request of ours, without a name for screen readers.
        nicegui_app.config.quasar_config["loadingBar"] = {"skipHijack": True}
        ui.run_with(
            app,
            title="videojobs",
            mount_path=self.path,
            dark=False,
            tailwind=False,
            binding_refresh_interval=None,
            reconnect_timeout=30.0,
            show_welcome_message=False,
        )

    def _page(self) -> Callable[[Request], Any]:
        # NiceGUI asks for a function of its own for each page.
        async def page(request: Request) -> Response | None:
            session = self._session(request)
            if session is None:
                # NiceGUI keeps what it made for the page for a minute, in case a browser calls back.
                ui.context.client.delete()
                return self._to_sign_in(request)
            return await self._open(session)

        return page

    async def _open(self, session: Session) -> None:
        if self._live is None:
            raise ConfigurationError("the dashboard's application was not started")
        viewer = Viewer(session, self._manager, self.path)
        shell = Shell(viewer, self._live, is_development=self._development is not None)
        shell.client.on_delete(session.when_ended(shell.sign_out))
        await shell.build()

    async def sign_in_page(self, request: Request, next: str = "") -> Response:  # noqa: A002 # its name in the address
        """The form, or the way on for who is signed in already."""
        if self._session(request) is not None:
            return RedirectResponse(self._safe(next), status_code=303)
        return await self._form(goes_to=next)

    async def sign_in(
        self,
        request: Request,
        next: str = "",  # noqa: A002 # its name in the address
        email: str = Form(default="", max_length=320),
        password: str = Form(default="", max_length=1000),
        person: str = Form(default="", max_length=100),
    ) -> Response:
        """Check the form, and set the cookie."""
        if not comes_from_here(request.headers):
            return PlainTextResponse("The form was sent from another site.\n", status_code=403)
        try:
            session = await self._begun(request, email, password, person)
        except AuthenticationError as error:
            return await self._form(goes_to=next, email=email, error=error.message, status=401)
        except SupabaseConnectionError as error:
            return await self._form(goes_to=next, email=email, error=error.message, status=503)
        answer = RedirectResponse(self._safe(next), status_code=303)
        answer.set_cookie(
            COOKIE,
            self._sessions.begin(session),
            path=self.path or "/",
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session, and take the cookie back."""
        if not comes_from_here(request.headers):
            return PlainTextResponse("The form was sent from another site.\n", status_code=403)
        self._sessions.end(request.cookies.get(COOKIE))
        answer = RedirectResponse(f"{self.path}/sign-in", status_code=303)
        answer.delete_cookie(COOKIE, path=self.path or "/", httponly=True, samesite="lax")
        return answer

    async def asset(self, name: str) -> Response:
        """A file of this package."""
        if not _ASSET.match(name):
            return PlainTextResponse("There is no such file.\n", status_code=404)
        caching = _YEAR if name.endswith(".woff2") else "public, max-age=0, must-revalidate"
        return FileResponse(assets.FOLDER / name, headers={"Cache-Control": caching})

    async def file(
        self, request: Request, job_id: str, number: int, name: str, download: bool = False
    ) -> Response:
        """An output, with the rights of who is signed in."""
        del name  # for people, and for the browser's "save as"
        session = self._session(request)
        if session is None:
            return PlainTextResponse("Sign in first.\n", status_code=401)
        manager = self._manager.as_user(session.token)
        return await self._files.answer(manager, job_id, number, download=download)

    async def _begun(self, request: Request, email: str, password: str, person: str) -> Session:
        if self._development is not None:
            return await self._development.sign_in(person, self._verifier)
        if self._password is None:
            raise AuthenticationError("This dashboard has no sign-in.")
        peer = request.client.host if request.client else ""
        if not email or not password:
            raise AuthenticationError("Give an e-mail address and a password.")
        return await self._password.sign_in(email, password, peer=peer)

    async def _form(
        self, *, goes_to: str, email: str = "", error: str = "", status: int = 200
    ) -> Response:
        if self._development is not None:
            try:
                people = await self._development.people()
            except VideoJobsError as failure:
                people, error = list[Person](), failure.message
            html = development_page(self.path, people, goes_to=goes_to, error=error)
        else:
            html = password_page(self.path, goes_to=goes_to, email=email, error=error)
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})

    def _session(self, request: Request) -> Session | None:
        return self._sessions.find(request.cookies.get(COOKIE))

    def _to_sign_in(self, request: Request) -> Response:
        root = request.scope.get("root_path", "")
        path = request.url.path.removeprefix(root)
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(
            f"{self.path}/sign-in?next={quote(path + query, safe='')}", status_code=303
        )

    def _safe(self, goes_to: str) -> str:
        """A path of ours, whatever was asked for: a sign-in leads to no other site."""
        parts = urlsplit(goes_to)
        is_ours = goes_to.startswith("/") and not goes_to.startswith(("//", "/\\"))
        if not is_ours or parts.scheme or parts.netloc or parts.path.startswith("/sign-"):
            return f"{self.path}/"
        return f"{self.path}{quote(goes_to, safe='/?=&%-_.~+,:@')}"


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def _both(theirs: Lifespan, ours: Callable[[], AbstractAsyncContextManager[None]]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[Any]:
        async with theirs(app) as state, ours():
            yield state

    return lifespan
