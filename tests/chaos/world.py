"""What the faults happen to: a stack of its own, proxies in front of it, and folders."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psutil
import psycopg

from black_hole import BlackHole
from chaos.clients import Tenant
from chaos.videos import make_videos
from chaos.workers import Launcher, Recipe
from fault_proxy import FaultProxy
from parts import Parts
from videojobs import Settings, VideoJobManager, connecting
from videojobs.local import LocalStack
from videojobs.local.postgres import PostgresServer
from videojobs.settings import TransportName

CALM_SHARE = 0.05
"""Of the HTTP requests that come to harm at any time."""
_CANCEL_GRACE_SECONDS = 8
_RECOVERY_SECONDS = 60.0

_PREPARE = f"""
update videojobs.settings
set retry_base_seconds = 0.3, retry_cap_seconds = 2, max_lost = 8,
  cancel_grace_seconds = {_CANCEL_GRACE_SECONDS};
insert into public.teams (id, name) values ('{UUID(int=100)}', 'Cutters');
insert into public.team_members (team_id, user_id, role)
values ('{UUID(int=100)}', '{UUID(int=3)}', 'member'), ('{UUID(int=100)}', '{UUID(int=4)}', 'admin');
"""
TENANTS = (
    Tenant(UUID(int=1)),
    Tenant(UUID(int=2)),
    Tenant(UUID(int=3), UUID(int=100)),
    Tenant(UUID(int=4), UUID(int=100)),
)


class World:
    """A stack that may be restarted, reached through proxies that may harm what they pass on."""

    def __init__(self, parts: Parts, seed: int) -> None:
        self._parts = parts
        self._seed = seed
        self._to_undo = ExitStack()
        self.database_lock = threading.Lock()
        """Held while the server is not there."""
        self.rest_lock = threading.Lock()
        self.network_lock = threading.Lock()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._set_up(undo)
            self._to_undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._to_undo.close()

    def _set_up(self, undo: ExitStack) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="videojobs-chaos-"))
        undo.callback(shutil.rmtree, self.home, ignore_errors=True)
        self._database_port = _fixed_port()
        self._stack = undo.enter_context(
            LocalStack.start(
                self.home / "stack",
                rest=True,
                database_port=self._database_port,
                postgrest=self._parts.postgrest,
            )
        )
        self._restarted = undo.enter_context(ExitStack())
        self.ask(_PREPARE)
        self.hole = undo.enter_context(BlackHole(self._database_port))
        assert self._stack.api_url
        self.proxy = undo.enter_context(
            FaultProxy(self._stack.api_url, share=CALM_SHARE, seed=self._seed, hang_seconds=3.0)
        )
        self.launcher = Launcher(self.home / "workers", self._parts.faketime)
        make_videos(self.launcher.storage)
        self.begun_at = self.now()

    @property
    def database_url(self) -> str:
        """Past the black hole, for those who look on."""
        return self._stack.database_url

    def now(self) -> datetime:
        """The time by the database's clock."""
        return self.ask("select clock_timestamp()")[0][0]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The answer, by a connection of its own; asked again while the server is not there."""
        end = time.monotonic() + _RECOVERY_SECONDS
        while True:
            try:
                with psycopg.connect(self.database_url, autocommit=True) as connection:
                    cursor = connection.execute(query.encode())
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def recipes(self) -> Sequence[Recipe]:
        """Workers over either transport; one of each has a wrong wall clock."""
        postgres = {
            "VIDEOJOBS_TRANSPORT": "postgres",
            "SUPABASE_DB_URL": self._url_through_hole(),
        }
        supabase = {
            "VIDEOJOBS_TRANSPORT": "supabase",
            "SUPABASE_URL": self.proxy.url,
            "SUPABASE_SERVICE_ROLE_KEY": self._stack.service_role_key,
        }
        return (
            Recipe(name="postgres", environment=postgres, concurrency=2),
            Recipe(name="postgres-ahead", environment=postgres, clock="+10m"),
            Recipe(name="supabase", environment=supabase, concurrency=2),
            Recipe(name="supabase-behind", environment=supabase, clock="-10m"),
        )

    def open_manager(self, transport: TransportName) -> VideoJobManager:
        """A backend's, on the same ways as the workers; ends with the world."""
        settings = Settings(
            supabase_url=self.proxy.url,
            supabase_key=self._stack.service_role_key,
            database_url=self._url_through_hole(),
            read_timeout_seconds=4.0,
            deadline_seconds=8.0,
        )
        settings = replace(settings, transport=transport)
        manager = VideoJobManager(connecting.open_transport(settings), settings)
        self._to_undo.callback(manager.close)
        return manager

    def end_connections(self) -> None:
        """Every client's connection is ended by an administrator's command."""
        self.ask(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )

    def crash_a_backend(self, chance: random.Random) -> None:
        """One is killed, so that the server throws all others out and recovers."""
        found = self.ask(
            "select pid from pg_stat_activity "
            "where backend_type = 'client backend' and pid <> pg_backend_pid() order by pid"
        )
        with suppress(IndexError, psutil.NoSuchProcess):
            psutil.Process(chance.choice(found)[0]).kill()
        time.sleep(0.2)
        self.now()

    def postmaster(self) -> psutil.Process:
        """The server's first process, to be signalled."""
        pid_file: str = self.ask("select pg_read_file('postmaster.pid')")[0][0]
        return psutil.Process(int(pid_file.splitlines()[0]))

    def start_server(self) -> None:
        """A new server on the same data and port."""
        server = PostgresServer(self._stack.data_dir)
        self._restarted.callback(server.stop)
        password = psycopg.conninfo.conninfo_to_dict(self.database_url)["password"]
        server.start(
            port=self._database_port, password=str(password), durable=True, temporary=False
        )
        assert server.port == self._database_port, "somebody else has taken the server's port"

    def stop_rest(self) -> None:
        """PostgREST is gone, and its gateway says so."""
        self._stack.stop_rest()

    def start_rest(self) -> None:
        """PostgREST answers."""
        self._stack.start_rest()

    def copy_logs(self, folder: Path) -> None:
        """What the workers and the servers printed can be read there."""
        shutil.copytree(self.launcher.logs, folder, dirs_exist_ok=True)
        for log in self._stack.data_dir.glob("*.log*"):
            shutil.copy(log, folder)

    def _url_through_hole(self) -> str:
        return self.database_url.replace(f":{self._database_port}/", f":{self.hole.port}/")


def _fixed_port() -> int:
    """A free port below those that the system gives to clients: while the server is down, one of
    its own clients could otherwise be given its port."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
