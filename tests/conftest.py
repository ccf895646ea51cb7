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

_LONGEST = (
    "chaos/test_chaos.py",
    "cli/test_commands.py",
    "dashboard/test_pages.py",
    "work/test_fan_out.py",
    "work/test_worker.py",
    "video/test_properties.py",
    "database/test_claims_under_load.py",
    "test_nextjs.py",
    "dashboard/test_actions.py",
    "database/test_properties.py",
    "work/test_segments.py",
)
"""Files that one process runs for more than half a minute each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no process has one left when the others are done."""
    folder = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(folder).as_posix()
        return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)

    items.sort(key=place)


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
