"""Brings a database to this version's tables and functions.

The ledger is the Supabase CLI's, `supabase_migrations.schema_migrations`, so that
``videojobs migrate`` and ``supabase migration up`` agree about what is applied.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from videojobs.errors import ConfigurationError, MissingExtraError, SupabaseConnectionError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from importlib.resources.abc import Traversable

    import psycopg

    Connection = psycopg.Connection[tuple[object, ...]]

_FILE_NAME = re.compile(r"(?P<version>\d{14})_(?P<name>\w+)\.sql")

_CONNECT_TIMEOUT_SECONDS = 10
_LOCK_TIMEOUT = "4s"
"""What the Supabase CLI sets: give up rather than queue behind a long reader and block all who come later."""
_TURN_TIMEOUT = "120s"
"""How long a second runner waits for the first."""

_CREATE_LEDGER = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    version: str
    """Fourteen digits, the file's place in the order."""
    name: str
    sql: str

    @property
    def file_name(self) -> str:
        """How the file is called in a ``supabase/migrations`` folder."""
        return f"{self.version}_{self.name}.sql"


@dataclass(frozen=True, slots=True)
class Applied:
    """Something that `migrate` did to the database."""

    version: str | None
    """The migration's; none for the bootstrap that a plain PostgreSQL gets first."""
    name: str
    warnings: tuple[str, ...] = ()
    """What the database warned of on the way."""


def migrate(database_url: str, *, source: Traversable | None = None) -> list[Applied]:
    """Apply what is missing, oldest first, and return what was applied.

    Each migration is one transaction together with its ledger row: a failure leaves the earlier
    ones in place and nothing of the failed one. Running again, or twice at the same time, is safe.
    A database without Supabase's roles and `auth` schema gets them first.

    Args:
        database_url: A login that owns the database: `postgres` on Supabase.
        source: A folder of SQL files, instead of the ones that came with this package.

    Raises:
        ConfigurationError: The login may not do this, or a migration does not fit the database.
        SupabaseConnectionError: The database could not be reached, or is locked by others.
    """
    wanted = migrations(source)
    with _connected(database_url) as connection:
        applied = _bootstrap(connection) if _is_plain(connection) else []
        if missing := _missing(connection, wanted):
            _create_ledger(connection)
            applied += [done for each in missing if (done := _apply(connection, each))]
        if applied:
            # PostgREST answers from a cache of the schema; on hosted Supabase an event trigger says this too.
            connection.execute("notify pgrst, 'reload schema'")
    return applied


def pending(database_url: str, *, source: Traversable | None = None) -> list[Migration]:
    """Return the migrations that the database does not have yet, without changing it."""
    wanted = migrations(source)
    with _connected(database_url) as connection:
        return _missing(connection, wanted)


def bootstrap(database_url: str) -> list[Applied]:
    """Make the roles and schemas that Supabase provides; what exists already stays as it is."""
    with _connected(database_url) as connection:
        return _bootstrap(connection)


def migrations(source: Traversable | None = None) -> list[Migration]:
    """Return this version's migrations, oldest first."""
    found = sorted(_read(source or _packaged()), key=lambda migration: migration.version)
    for earlier, later in pairwise(found):
        if earlier.version == later.version:
            raise ConfigurationError(
                f"{earlier.file_name} and {later.file_name} have one version; rename one of them"
            )
    return found


def copy_migrations(target_dir: Path, *, source: Traversable | None = None) -> list[Path]:
    """Write the migrations into a project's own ``supabase/migrations`` folder and return the new files.

    Files that are there already stay.

    Raises:
        ConfigurationError: A file of that name holds something else. Nothing was written.
    """
    wanted = {target_dir / each.file_name: each.sql for each in migrations(source)}
    for path, sql in wanted.items():
        if path.exists() and path.read_text(encoding="utf-8") != sql:
            raise ConfigurationError(
                f"{path} differs from the migration of that name in videojobs; move it away first"
            )
    new = {path: sql for path, sql in wanted.items() if not path.exists()}
    target_dir.mkdir(parents=True, exist_ok=True)
    for path, sql in new.items():
        path.write_text(sql, encoding="utf-8", newline="")
    return list(new)


def _packaged() -> Traversable:
    installed = resources.files("videojobs") / "_migrations"
    if installed.is_dir():
        return installed
    checkout = Path(__file__).parents[2] / "supabase" / "migrations"
    if checkout.is_dir():
        return checkout
    raise ConfigurationError(
        "this installation of videojobs holds no migrations; install it from a wheel or a checkout"
    )


def _read(source: Traversable) -> Iterator[Migration]:
    for file in source.iterdir():
        if match := _FILE_NAME.fullmatch(file.name):
            # Not read_text(): it turns \r\n into \n, and a copy would then differ from its original.
            yield Migration(**match.groupdict(), sql=file.read_bytes().decode("utf-8"))


@contextmanager
def _connected(database_url: str) -> Generator[Connection]:
    try:
        import psycopg
    except ImportError:
        raise MissingExtraError("postgres", "Migrating a database") from None
    try:
        connection = psycopg.connect(
            database_url,
            autocommit=True,
            # A transaction pooler, such as Supabase's port 6543, cannot keep prepared statements.
            prepare_threshold=None,
            application_name="videojobs migrate",
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        )
    except psycopg.OperationalError as error:
        raise SupabaseConnectionError(
            f"the database could not be reached: {_first_line(error)}"
        ) from error
    except psycopg.ProgrammingError:
        # libpq's message may repeat the URL, and with it the password.
        raise ConfigurationError(
            "the database URL is not valid; it looks like postgresql://user:password@host:5432/database"
        ) from None
    with connection:
        yield connection


def _is_plain(connection: Connection) -> bool:
    with _explained("looking for auth.uid()", ""):
        return _value(connection, "select to_regprocedure('auth.uid()') is null") is True


def _missing(connection: Connection, wanted: list[Migration]) -> list[Migration]:
    with _explained("reading the ledger of migrations", ""):
        ledger = _value(
            connection, "select to_regclass('supabase_migrations.schema_migrations')::text"
        )
        if ledger is None:
            return wanted
        rows = connection.execute("select version from supabase_migrations.schema_migrations")
        present = {row[0] for row in rows}
    return [each for each in wanted if each.version not in present]


def _bootstrap(connection: Connection) -> list[Applied]:
    sql = (resources.files("videojobs") / "local" / "bootstrap.sql").read_text(encoding="utf-8")
    with (
        _explained("the bootstrap of a plain PostgreSQL", sql),
        _warnings(connection) as warnings,
        _transaction(connection),
    ):
        _run(connection, sql)
    return [Applied(None, "bootstrap", tuple(warnings))]


def _create_ledger(connection: Connection) -> None:
    with _explained("making the ledger of migrations", _CREATE_LEDGER), _transaction(connection):
        _run(connection, _CREATE_LEDGER)


def _apply(connection: Connection, migration: Migration) -> Applied | None:
    """Apply one migration; return nothing if another runner was faster."""
    with (
        _explained(f"migration {migration.file_name}", migration.sql),
        _warnings(connection) as warnings,
        _transaction(connection),
    ):
        if not _missing(connection, [migration]):
            return None
        _run(connection, migration.sql)
        connection.execute(
            "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
            (migration.version, migration.name, list(statements(migration.sql))),
        )
    return Applied(migration.version, migration.name, tuple(warnings))


@contextmanager
def _transaction(connection: Connection) -> Generator[None]:
    """Hold the turn of the migration runners, and a transaction that does not wait long for locks."""
    with connection.transaction():
        connection.execute("select set_config('lock_timeout', %s, true)", (_TURN_TIMEOUT,))
        # A transaction's lock, not a session's: behind a transaction pooler a session is not ours to keep.
        connection.execute("select pg_advisory_xact_lock(hashtext('videojobs.migrate'))")
        connection.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        # Supabase's `postgres` login has a limit of two minutes, which an index on a long table may need.
        connection.execute("select set_config('statement_timeout', '0', true)")
        yield
        # `set search_path` in a migration must not outlive it.
        connection.execute("reset search_path")


@contextmanager
def _warnings(connection: Connection) -> Generator[list[str]]:
    collected: list[str] = []

    def collect(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING" and diagnostic.message_primary:
            collected.append(diagnostic.message_primary)

    connection.add_notice_handler(collect)
    try:
        yield collected
    finally:
        connection.remove_notice_handler(collect)


@contextmanager
def _explained(what: str, sql: str) -> Generator[None]:
    """Turn the database's refusal into an error that says which line, why, and what to do."""
    import psycopg

    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"{what} was refused: {_first_line(error)}; use the owner of the database "
            "(on a plain PostgreSQL it also needs CREATEROLE)",
            code=error.sqlstate,
        ) from error
    except (psycopg.errors.LockNotAvailable, psycopg.OperationalError) as error:
        raise SupabaseConnectionError(
            f"{what} stopped: {_first_line(error)}; nothing of it was kept, try again when the database is less busy",
            code=error.sqlstate,
        ) from error
    except psycopg.Error as error:
        raise ConfigurationError(
            f"{what} failed{_line(error, sql)}: {_first_line(error)}; nothing of it was kept",
            code=error.sqlstate,
        ) from error


def _line(error: psycopg.Error, sql: str) -> str:
    position = error.diag.statement_position
    if position is None:
        return ""
    return f" at line {sql.count(chr(10), 0, int(position)) + 1}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _run(connection: Connection, sql: str) -> None:
    """Send a whole file at once: the server splits it more surely than we would."""
    connection.execute(sql.encode())


def _value(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


_TOKEN = re.compile(
    r"""
      (?P<end> ; )
    | --[^\n]*
    | /\* .*? \*/
    | \b[eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | \$(?P<tag>[A-Za-z_]\w*)\$ .*? \$(?P=tag)\$
    | \$\$ .*? \$\$
    """,
    re.DOTALL | re.VERBOSE,
)


def statements(sql: str) -> Iterator[str]:
    """Split a script as the Supabase CLI does for its ledger, where they serve readers only."""
    start = 0
    for token in _TOKEN.finditer(sql):
        if token["end"]:
            yield from _not_empty(sql[start : token.start()])
            start = token.end()
    yield from _not_empty(sql[start:])


def _not_empty(statement: str) -> Iterator[str]:
    if statement.strip():
        yield statement.strip()
