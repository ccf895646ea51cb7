"""The API on a real socket, over each transport, on one real stack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

# Tests are imported by path (--import-mode=importlib), so this folder has to be named for its helpers.
sys.path.insert(0, str(Path(__file__).parent))

from serving import served

from videojobs import AsyncVideoJobManager, Settings, VideoJobManager, connecting
from videojobs.access import TokenVerifier
from videojobs.local import LocalStack
from videojobs.settings import WebSettings
from videojobs.storage import LocalStorage
from videojobs.web import create_app

ADA = UUID("00000000-0000-4000-8000-000000000ada")
"""Owns jobs, and is a plain member of the team."""
BOB = UUID("00000000-0000-4000-8000-000000000b0b")
"""Administers the team."""
EVE = UUID("00000000-0000-4000-8000-000000000e7e")
"""Belongs to nobody."""
TEAM = UUID("00000000-0000-4000-8000-0000000007ea")
TRANSPORTS = ("postgres", "supabase")


@pytest.fixture(scope="session")
def web_settings(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """What the API needs to reach the stack either way."""
    return Settings(
        supabase_url=stack.api_url,
        supabase_key=stack.service_role_key,
        publishable_key=stack.anon_key,
        database_url=stack.database_url,
        jwt_secret=stack.jwt_secret,
        work_dir=tmp_path_factory.mktemp("work"),
        web=WebSettings(requests_per_minute=0, max_upload_bytes=2_000_000, idle_seconds=5),
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that uploads go to, and that outputs are served from."""
    return tmp_path_factory.mktemp("files")


Serve = Callable[..., str]


@pytest.fixture(scope="session")
def serve(web_settings: Settings, files: Path) -> Iterator[Serve]:
    """Serve the API with some settings changed, and give its URL."""
    with ExitStack() as running:

        def start(
            transport: str = "postgres", *, app: Any = None, storage: Any = None, **changes: Any
        ) -> str:
            settings = replace(
                web_settings, transport=transport, web=replace(web_settings.web, **changes)
            )
            return running.enter_context(
                served(app or _app(settings, storage or LocalStorage(files)))
            )

        yield start


def _app(settings: Settings, storage: Any) -> Any:
    return create_app(
        lambda: AsyncVideoJobManager(connecting.open_async_transport(settings), settings),
        auth=TokenVerifier.from_settings(settings),
        storage=storage,
        settings=settings.web,
    )


@pytest.fixture(scope="session")
def urls(serve: Serve) -> dict[str, str]:
    """Where the API is served, over each transport."""
    return {transport: serve(transport) for transport in TRANSPORTS}


@pytest.fixture(params=TRANSPORTS)
def url(request: pytest.FixtureRequest, urls: dict[str, str]) -> str:
    """Over each transport in turn."""
    return urls[request.param]


class People:
    """Clients of the API, each signed in as somebody."""

    def __init__(self, stack: LocalStack, url: str, opened: ExitStack) -> None:
        self._stack = stack
        self._url = url
        self._opened = opened

    def client(self, token: str | None = None) -> httpx.Client:
        """Whoever holds the token."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self._opened.enter_context(
            httpx.Client(base_url=self._url, headers=headers, timeout=20)
        )

    def user(self, user_id: UUID, **facts: Any) -> httpx.Client:
        """A signed-in user."""
        return self.client(self._stack.user_token(user_id, **facts))

    @property
    def ada(self) -> httpx.Client:
        return self.user(ADA, email="ada@example.com")

    @property
    def bob(self) -> httpx.Client:
        return self.user(BOB)

    @property
    def eve(self) -> httpx.Client:
        return self.user(EVE)

    @property
    def admin(self) -> httpx.Client:
        return self.user(
            UUID("00000000-0000-4000-8000-00000000ad00"), app_metadata={"role": "admin"}
        )


@pytest.fixture
def people(stack: LocalStack, url: str, database: str) -> Iterator[People]:
    """Who calls, over each transport; nothing is stored yet but Ada's and Bob's team."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into public.teams (id, name) values (%s, 'Film crew')", [TEAM])
        connection.execute(
            "insert into public.team_members (team_id, user_id, role) "
            "values (%(team)s, %(ada)s, 'member'), (%(team)s, %(bob)s, 'admin')",
            {"team": TEAM, "ada": ADA, "bob": BOB},
        )
    with ExitStack() as opened:
        yield People(stack, url, opened)


@pytest.fixture(scope="session")
def service(web_settings: Settings) -> Iterator[VideoJobManager]:
    """The service, which makes and runs jobs as a worker would."""
    with VideoJobManager.from_url(web_settings.database_url or "") as manager:
        yield manager


@pytest.fixture
def owner(database: str) -> Iterator[Callable[[str], None]]:
    """Run a statement as the database's owner, to arrange what no function would."""
    with psycopg.connect(database, autocommit=True) as connection:

        def run(query: str) -> None:
            connection.execute(query.encode())

        yield run
