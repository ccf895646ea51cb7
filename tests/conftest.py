"""What all tests share: one real stack for the session, and the parts it is made of."""

from __future__ import annotations

import functools
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from videojobs.local import LocalStack

# Tests are imported by path (--import-mode=importlib), so this folder has to be named for `import parts`.
sys.path.insert(0, str(Path(__file__).parent))

from emptying import EMPTY_ALL
from parts import Parts, find_parts, transaction_pooler


@pytest.fixture(scope="session", autouse=True)
def trust_is_read_once() -> Iterator[None]:
    """Each HTTP client reads all certificates that the world trusts: 20 ms, thousands of times."""
    patch = pytest.MonkeyPatch()
    patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def parts() -> Parts:
    """The programs that pip does not bring; a missing one fails the test that needs it."""
    return find_parts()


@pytest.fixture(scope="session")
def stack(parts: Parts) -> Iterator[LocalStack]:
    """PostgreSQL with this version's schema, and PostgREST; each xdist worker has its own."""
    with LocalStack.start(rest=True, durable=False, postgrest=parts.postgrest) as stack:
        yield stack


@pytest.fixture(scope="session")
def pooler_url(stack: LocalStack, parts: Parts) -> Iterator[str]:
    """Leads to the stack's database through a transaction pooler with two connections."""
    with transaction_pooler(parts, stack.database_url, connections=2) as url:
        yield url


@pytest.fixture
def empty_tables(stack: LocalStack) -> Iterator[Callable[[], None]]:
    """Empty all tables that tests write to, as often as it is called."""
    with psycopg.connect(stack.database_url, autocommit=True) as connection:

        def empty() -> None:
            connection.execute(EMPTY_ALL)

        yield empty


@pytest.fixture
def database(stack: LocalStack, empty_tables: Callable[[], None]) -> str:
    """The URL of the stack's database, as its owner, with all tables empty."""
    empty_tables()
    return stack.database_url
