"""What PostgreSQL did for a statement and for every statement within it, from auto_explain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

# Plans that know no parameters, as a worker's connection has them after a while.
_WATCH = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on;
set auto_explain.log_buffers = on;
set auto_explain.log_timing = off;
set auto_explain.log_format = json;
set client_min_messages = log;
set plan_cache_mode = force_generic_plan;
"""
_AS_USER = (
    "select set_config('role', 'authenticated', false), set_config('request.jwt.claims', %s, false)"
)
_MONTH = re.compile(r"_(\d{4}_\d{2}|other)$")


@dataclass(frozen=True)
class Access:
    """One place of a plan that reads a table."""

    table: str
    """A partition counts as its table."""
    indexes: tuple[str, ...]
    """None for a scan of the whole table."""
    rows: float
    """Read, whether or not a filter then removed them."""


@dataclass
class Plans:
    """The plans of one call, the inner ones first."""

    trees: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accesses(self) -> list[Access]:
        """Every read of a table that took place."""
        return [access for tree in self.trees for access in _accesses(tree["Plan"])]

    def indexes_of(self, table: str) -> set[str]:
        """Which indexes were used to read the table."""
        return {
            index for access in self.accesses if access.table == table for index in access.indexes
        }

    @property
    def scanned(self) -> set[str]:
        """The tables that were read from end to end, if there was anything in them."""
        return {access.table for access in self.accesses if access.rows and not access.indexes}

    def rows_of(self, table: str) -> float:
        """How many of the table's rows were read."""
        return sum(access.rows for access in self.accesses if access.table == table)

    @property
    def buffers(self) -> int:
        """Pages read by the whole call: an outer statement's count has the inner ones' in it."""
        return max(
            tree["Plan"].get("Shared Hit Blocks", 0) + tree["Plan"].get("Shared Read Blocks", 0)
            for tree in self.trees
        )


class Watched:
    """A connection that tells the plans of what it runs."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._seen = Plans()
        connection.add_notice_handler(self._hear)

    def run(self, statement: str, **values: object) -> Plans:
        """Run it, with a plan made without knowing the values."""
        self._seen = Plans()
        self.connection.execute(statement.encode(), values or None, prepare=True)
        seen, self._seen = self._seen, Plans()
        return seen

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        before, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found and before.startswith("duration:"):
            self._seen.trees.append(json.loads(plan))


@contextmanager
def watched(url: str, *, user_id: UUID | None = None) -> Iterator[Watched]:
    """A connection as the owner or as a signed-in user; what it does is undone."""
    with psycopg.connect(url) as connection:
        connection.execute(_WATCH.encode())
        if user_id:
            claims = json.dumps({"sub": str(user_id), "role": "authenticated"})
            connection.execute(_AS_USER, [claims])
        yield Watched(connection)
        connection.rollback()


def _accesses(node: dict[str, Any]) -> Iterator[Access]:
    loops = node.get("Actual Loops", 0)
    kind = node["Node Type"]
    if "Relation Name" in node and kind.endswith("Scan") and loops:
        indexes = tuple(_bitmaps(node)) if kind == "Bitmap Heap Scan" else (node.get("Index Name"),)
        removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
        yield Access(
            _MONTH.sub("", node["Relation Name"]),
            tuple(index for index in indexes if index),
            (node["Actual Rows"] + removed) * loops,
        )
    for inner in node.get("Plans", ()):
        yield from _accesses(inner)


def _bitmaps(node: dict[str, Any]) -> Iterator[str]:
    for inner in node.get("Plans", ()):
        if inner["Node Type"] == "Bitmap Index Scan":
            yield inner["Index Name"]
        yield from _bitmaps(inner)
