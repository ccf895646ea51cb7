"""The bootstrap makes of a plain PostgreSQL what Supabase's migrations expect."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from parts import Parts, postgres15
from videojobs import migrations
from videojobs.local.postgres import PostgresServer

USER = "5d0e2b6c-8f4c-4f0e-9a60-0d4f3a3c1d11"

ROLES = """
select rolname, rolcanlogin, rolinherit, rolbypassrls, rolsuper
from pg_roles
where rolname in ('anon', 'authenticated', 'service_role', 'authenticator')
order by rolname
"""

EVERYTHING = """
select string_agg(definition, '; ' order by definition)
from (
  select rolname || coalesce(rolconfig::text, '') from pg_roles where rolname !~ '^pg_'
  union all
  select roleid::regrole || ' to ' || member::regrole from pg_auth_members
  union all
  select nspname || coalesce(nspacl::text, '') from pg_namespace
  union all
  select pg_get_functiondef(oid) from pg_proc where pronamespace = 'auth'::regnamespace
  union all
  select attname || atttypid::regtype from pg_attribute where attrelid = 'auth.users'::regclass
) as parts (definition)
"""


@pytest.fixture(scope="module", params=["embedded", "15"])
def bootstrapped(request, bare_stack, parts: Parts) -> Iterator[psycopg.Connection]:
    """A connection to a bootstrapped database, on the embedded PostgreSQL and on version 15."""
    if request.param == "embedded":
        with psycopg.connect(bare_stack.database_url, autocommit=True) as connection:
            yield connection
    else:
        with postgres15(parts) as database_url:
            migrations.bootstrap(database_url)
            with psycopg.connect(database_url, autocommit=True) as connection:
                yield connection


def as_role(connection: psycopg.Connection, role: str, query: str, **settings: str) -> object:
    """Run a query as a role with request settings, as PostgREST does, and undo all of it."""
    with connection.transaction(force_rollback=True):
        for name, value in settings.items():
            connection.execute("select set_config(%s, %s, true)", (name.replace("__", "."), value))
        connection.execute(f"set local role {role}")
        return connection.execute(query).fetchone()[0]


def test_the_roles_are_those_of_supabase(bootstrapped):
    """Only service_role passes row level security, only authenticator logs in, none inherits."""
    roles = bootstrapped.execute(ROLES).fetchall()

    assert roles == [
        ("anon", False, False, False, False),
        ("authenticated", False, False, False, False),
        ("authenticator", True, False, False, False),
        ("service_role", False, False, True, False),
    ]


def test_statements_are_limited_as_on_supabase(bootstrapped):
    """anon has 3 seconds, authenticated and authenticator 8."""
    query = (
        "select rolname, unnest(rolconfig) from pg_roles where rolconfig is not null order by 1, 2"
    )

    limits = bootstrapped.execute(query).fetchall()

    assert limits == [
        ("anon", "statement_timeout=3s"),
        ("authenticated", "statement_timeout=8s"),
        ("authenticator", "lock_timeout=8s"),
        ("authenticator", "statement_timeout=8s"),
    ]


def test_a_second_bootstrap_changes_nothing(bootstrapped):
    """Roles, grants, schemas, functions and columns are the same before and after."""
    before = bootstrapped.execute(EVERYTHING).fetchone()

    migrations.bootstrap(url_of(bootstrapped))

    assert bootstrapped.execute(EVERYTHING).fetchone() == before


def url_of(connection: psycopg.Connection) -> str:
    password = f"password={connection.info.password}" if connection.info.password else ""
    return f"{connection.info.dsn} {password}"


def test_new_tables_are_not_open(bootstrapped):
    """Nothing is granted on what comes later: a new table is closed to all three roles."""
    with bootstrapped.transaction(force_rollback=True):
        bootstrapped.execute("create table public.closed ()")
        (open_to,) = bootstrapped.execute(
            "select count(*) from unnest(array['anon', 'authenticated', 'service_role']) as role "
            "where has_table_privilege(role, 'public.closed', 'select')"
        ).fetchone()

    assert open_to == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"request__jwt__claims": f'{{"sub":"{USER}","role":"authenticated","email":"a@b.c"}}'},
        {
            "request__jwt__claim__sub": USER,
            "request__jwt__claim__role": "authenticated",
            "request__jwt__claim__email": "a@b.c",
        },
    ],
    ids=["claims as JSON", "a setting for each claim"],
)
def test_claims_are_read_from_both_kinds_of_settings(bootstrapped, settings):
    """uid, role and email answer alike whichever way PostgREST hands over the token."""
    query = "select auth.uid() || ' ' || auth.role() || ' ' || auth.email()"

    claims = as_role(bootstrapped, "authenticated", query, **settings)

    assert claims == f"{USER} authenticated a@b.c"


def test_without_a_token_there_is_no_user(bootstrapped):
    """Empty settings, as PostgREST leaves them for anon, mean null and no error."""
    settings = {"request__jwt__claims": "", "request__jwt__claim__sub": ""}

    nobody = as_role(
        bootstrapped, "anon", "select auth.uid() is null and auth.jwt() is null", **settings
    )

    assert nobody is True


def test_users_are_not_readable_by_callers(bootstrapped):
    """auth.users is closed to anon, authenticated and service_role, as on Supabase."""
    for role in ("anon", "authenticated", "service_role"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(bootstrapped, role, "select count(*) from auth.users")


@pytest.fixture(params=["embedded", "15"])
def managed(request, parts: Parts) -> Iterator[str]:
    """The URL of a fresh server's database whose owner is no superuser but has CREATEROLE."""
    if request.param == "embedded":
        with plain_server() as database_url:
            yield database_url
    else:
        with postgres15(parts) as database_url:
            yield owned(database_url)


def owned(database_url: str) -> str:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create role owner login createrole password 'owner'")
        connection.execute("create database managed owner owner")
        address = f"{connection.info.host}:{connection.info.port}"
    return f"postgresql://owner:owner@{address}/managed?sslmode=disable"


@contextmanager
def plain_server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="videojobs-test-") as name:
        Path(name).chmod(0o755)
        server = PostgresServer(Path(name))
        server.start(port=None, password="plain", durable=False, temporary=False)
        try:
            yield owned(
                f"postgresql://postgres:plain@127.0.0.1:{server.port}/postgres?sslmode=disable"
            )
        finally:
            server.stop()


def test_an_owner_who_is_not_superuser_can_migrate(managed):
    """On a managed server the owner gets all but BYPASSRLS, which the report warns of with the remedy."""
    applied = migrations.migrate(managed)
    again = migrations.migrate(managed)

    assert [each.version for each in applied][1:] == [
        each.version for each in migrations.migrations()
    ]
    assert "alter role service_role bypassrls" in applied[0].warnings[0]
    assert again == []


def test_the_owner_can_become_each_role(managed):
    """The Postgres transport, connected as the owner, may act for anon, authenticated and service_role."""
    migrations.bootstrap(managed)

    with psycopg.connect(managed) as connection:
        for role in ("anon", "authenticated", "service_role"):
            connection.execute(f"set local role {role}")
            assert connection.execute("select current_user").fetchone() == (role,)
