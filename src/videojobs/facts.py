"""What the database tells the doctor. `videojobs.diagnosis` says what it means."""

from __future__ import annotations

from typing import Literal

from videojobs.models import Answer


class VacuumBlocker(Answer):
    """Something that keeps vacuum from removing dead rows."""

    kind: Literal["session", "prepared transaction", "replication slot"]
    pid: int | None
    name: str
    """A session's application, a prepared transaction's identifier, or a slot's name."""
    state: str | None
    age_seconds: float | None
    """``None`` for a slot, and for sessions of other roles where the owner may not see them."""
    transactions: int
    """So many were begun since."""


class HotTable(Answer):
    """A table that is written all the time."""

    name: str
    dead_rows: int
    vacuum_at: int
    """So many dead rows call for a vacuum."""
    vacuumed_seconds_ago: float | None
    """``None`` if it never was."""
    is_vacuumed: bool
    """Whether autovacuum may touch it."""


class IndexFault(Answer):
    """An index that is not as the migrations made it."""

    table_name: str
    name: str
    full_name: str
    fault: Literal["missing", "changed", "invalid"]
    definition: str
    """What it should be, after ``on table using``; begins with ``UNIQUE`` if it is unique."""


class WideGrant(Answer):
    """Rights beyond what the migrations give, as they stand in a ``REVOKE``."""

    target: str
    role: str
    privileges: str


class UnguardedRelation(Answer):
    """A table or view that shows rows whatever the policies say."""

    name: str
    is_view: bool


class History(Answer):
    """A table that is divided by months."""

    name: str
    months: int
    has_next_month: bool
    rows_without_month: int
    """Counted up to 10,000."""


class WaitingJobs(Answer):
    """Jobs of a queue and a pipeline that are due and have not begun."""

    queue: str
    pipeline: str
    seconds: float
    """So long has the oldest of them been due."""
    is_served: bool
    """Whether a live worker runs jobs of this queue and pipeline."""


class Facts(Answer):
    """The state of a database, looked at without counting its jobs."""

    sees_all_sessions: bool
    vacuum_blockers: tuple[VacuumBlocker, ...]
    has_autovacuum: bool
    hot_tables: tuple[HotTable, ...]
    expired_leases: int
    longest_expired_seconds: float | None
    unfolded_changes: int
    """Counted up to 1,000,000."""
    index_faults: tuple[IndexFault, ...]
    wide_grants: tuple[WideGrant, ...]
    unguarded_relations: tuple[UnguardedRelation, ...]
    is_exposed: bool | None
    """``None`` where PostgREST's settings are not in the database."""
    histories: tuple[History, ...]
    upkeep_schedule: Literal["scheduled", "unscheduled", "unreadable", "absent"]
    workers_seen: int
    """In the last two minutes."""
    waiting: tuple[WaitingJobs, ...]
    """Those that no live worker runs first, then by how long they have been due; the first 20."""
