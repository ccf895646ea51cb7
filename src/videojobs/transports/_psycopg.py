"""What the two Postgres transports share: statements out, failures in. No I/O."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import psycopg
from jwt import PyJWK
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from pydantic_core import to_json

from videojobs.calls import Call, Json
from videojobs.errors import ConfigurationError
from videojobs.retries import Failure, Sent, closed
from videojobs.settings import Settings
from videojobs.tokens import (
    SigningKeys,
    TokenRefusedError,
    VerifiedToken,
    claims_of,
    public_keys,
)

#: The usual ports of Supavisor and PgBouncer for transaction pooling: no prepared statements there,
#: and no LISTEN.
TRANSACTION_POOLER_PORTS = ("6543", "6432")
#: No max-rows cuts an answer off here; larger batches than this are not faster.
BATCH_SIZE = 2_500
_KEEPALIVES = {"keepalives_idle": "5", "keepalives_interval": "3", "keepalives_count": "3"}
# libpq gives no SQLSTATE for a connection that the server refused: its words are all there is.
_REFUSED_CONNECTIONS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "does not exist": "3D000",
}
_UNKNOWN_HOSTS = ("failed to resolve host", "could not translate host name")
BECOME_USER = (
    "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
)


def options_of_pooled(*, behind_pooler: bool) -> dict[str, Any]:
    """How a pool makes its connections; behind a transaction pooler nothing may be prepared."""
    return {
        "autocommit": True,
        "row_factory": dict_row,
        "prepare_threshold": None if behind_pooler else 5,
    }


SAVE = b"savepoint videojobs"
RESTORE = b"rollback to savepoint videojobs"
FORGET = b"release savepoint videojobs"


def commits_by_itself(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether a statement is a transaction of its own, in which a savepoint has no place."""
    return connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE


def conninfo_of(url: str, settings: Settings) -> tuple[str, bool]:
    """The connection string, and whether it leads to a transaction pooler."""
    try:
        parts = conninfo_to_dict(url)
        [int(port) for port in str(parts.get("port", 5432)).split(",")]
    except (psycopg.Error, ValueError):
        # psycopg's message would repeat a part of the URL, and so perhaps of the password.
        raise ConfigurationError(
            "the database URL cannot be read; it should look like "
            "postgresql://user:password@host:5432/database, with special characters in the "
            "password percent-encoded"
        ) from None
    parts.setdefault("connect_timeout", str(max(2, round(settings.connect_timeout_seconds))))
    parts.setdefault("application_name", "videojobs")
    # A network that has gone silent ends a call; a peer that is there and silent has its own limit.
    parts.setdefault("tcp_user_timeout", str(round(settings.read_timeout_seconds * 1000)))
    for name, value in _KEEPALIVES.items():
        parts.setdefault(name, value)
    pooled = str(parts.get("port")) in TRANSACTION_POOLER_PORTS
    return make_conninfo("", **parts), pooled


@lru_cache(maxsize=256)
def _statement(function: str, names: tuple[str, ...], columns: tuple[str, ...]) -> bytes:
    arguments = ", ".join(f"{name} => %({name})s" for name in names)
    chosen = ", ".join(columns) or "*"
    return f"select {chosen} from public.{function}({arguments})".encode()  # noqa: S608 # our own names


def statement_of(call: Call[Any]) -> tuple[bytes, dict[str, Any]]:
    """The statement, and its parameters."""
    parameters = {
        # As text of unknown type, which the function's signature makes jsonb.
        name: to_json(value.value, inf_nan_mode="null").decode()
        if isinstance(value, Json)
        else value
        for name, value in call.arguments.items()
    }
    return _statement(call.function, tuple(parameters), call.columns), parameters


def is_stale(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server ended the connection while it was idle.

    Asks the socket only, which takes a microsecond. A statement that met with the end would have
    an unknown outcome, though it was never heard.
    """
    try:
        connection.pgconn.consume_input()  # reads the server's farewell
        connection.pgconn.consume_input()  # and the end behind it
    except psycopg.Error:
        return True
    return False


def failure_of(error: Exception, *, connected: bool) -> Failure:
    """The failure that an exception of psycopg or its pool tells of."""
    match error:
        case PoolTimeout() | TooManyRequests():
            return Failure("no free connection in time", sent=Sent.NO)
        case PoolClosed():
            return closed()
        case psycopg.Error() if error.sqlstate:
            return Failure(
                error.diag.message_primary or str(error),
                sent=Sent.ANSWERED,
                code=error.sqlstate,
                hint=error.diag.message_hint,
            )
        case psycopg.OperationalError() if not connected:
            return _failure_to_connect(_one_line(error))
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return Failure(_one_line(error), sent=Sent.PERHAPS)
        case _:
            return Failure(_one_line(error), sent=Sent.NEVER)


def _failure_to_connect(told: str) -> Failure:
    for words, code in _REFUSED_CONNECTIONS.items():
        if words in told:
            return Failure(told, sent=Sent.ANSWERED, code=code)
    if any(words in told for words in _UNKNOWN_HOSTS):
        return Failure(f"{told}: check the host in the database URL", sent=Sent.NEVER)
    return Failure(told, sent=Sent.NO)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _refused_token(reason: str) -> Failure:
    return Failure(reason, sent=Sent.ANSWERED, code="28000")


class TokenVerifier:
    """Checks users' tokens, as PostgREST does in front of a Supabase database."""

    def __init__(self, settings: Settings) -> None:
        public = () if settings.jwks is None else _public_keys(settings.jwks)
        self._keys = SigningKeys(secret=settings.jwt_secret, public=public)

    def claims_of(self, token: str) -> str:
        """The verified claims, as JSON for ``request.jwt.claims``.

        Raises:
            ConfigurationError: There is nothing to verify with.
            Failure: The token is not valid, or not a signed-in user's.
        """
        if isinstance(token, VerifiedToken):
            if token.is_current:
                return token.claims_json
            raise _refused_token("it has expired")
        if not self._keys:
            raise ConfigurationError(
                "as_user on a direct Postgres connection must verify the token itself: "
                "set SUPABASE_JWT_SECRET (HS256) or SUPABASE_JWKS (ES256, RS256)"
            )
        try:
            return json.dumps(claims_of(token, self._keys))
        except TokenRefusedError as error:
            raise _refused_token(str(error)) from None


def _public_keys(key_set: str) -> list[PyJWK]:
    try:
        return public_keys(key_set)
    except ValueError as error:
        raise ConfigurationError(f"SUPABASE_JWKS is no JSON Web Key Set: {error}") from error
