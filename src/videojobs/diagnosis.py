"""What the doctor makes of facts: what is wrong, and what to do about it. No I/O.

Each check of the doctor is a function from facts to findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from videojobs.facts import Facts, History, HotTable, IndexFault, VacuumBlocker
from videojobs.models import Health
from videojobs.reports import Finding, Severity, StatsDrift
from videojobs.requests import BATCH_LIMIT

SCHEMA_VERSION = 2
"""What this library expects of a database."""

PROBED_ROWS = BATCH_LIMIT + 1
"""The longest answer that the library asks for: a full page, and one row that tells of the next."""

_CLOCK_TOLERANCE_SECONDS = 2.0
_OLD_TRANSACTION_SECONDS = 60.0
"""Claims get seven times slower within a minute of a held snapshot, measured with eight workers."""
_OLD_SLOT_TRANSACTIONS = 100_000
"""A slot tells no time. So many transactions are a minute or more of a busy queue."""
_VACUUM_OVERDUE = 10
_VACUUM_PATIENCE_SECONDS = 300.0
"""Autovacuum looks at a database once a minute, and has other tables too."""
_RECOVERY_SECONDS = 120.0
"""Workers take back expired leases within a quarter of a lease, pg_cron within a minute."""
_MANY_CHANGES = 50_000
_MANY_MONTHS = 24
"""Reading one job's history looks into each of its months."""
_UNSERVED_WAIT_SECONDS = 30.0
"""Long enough for a worker that is being started again."""
_SHOWN = 5


def of_health(health: Health, asked_at: datetime, answered_at: datetime) -> list[Finding]:
    """What any version of the schema tells, and how the clocks compare."""
    return [
        _ok("database", f"reached, PostgreSQL {health.server_version}"),
        _schema(health),
        _clock(health, asked_at, answered_at),
        _ok("jobs", f"{health.queued} queued, {health.processing} processing"),
        _orphans(health),
    ]


def of_facts(facts: Facts) -> list[Finding]:
    """What the state of the database means."""
    return [finding for check in _CHECKS for finding in check(facts)]


def of_probe(arrived: int) -> list[Finding]:
    """Whether the longest answer arrives whole."""
    if arrived >= PROBED_ROWS:
        return [_ok("answers", f"{PROBED_ROWS} rows arrive whole")]
    return [
        _problem(
            "answers",
            f"of {PROBED_ROWS} rows {arrived} arrive: the API cuts off longer answers",
            "Set max-rows to 1000 (on Supabase: Project Settings, Data API, Max rows; elsewhere "
            "db-max-rows of PostgREST): lists and bulk changes lose rows without an error.",
        )
    ]


def of_drift(drift: Sequence[StatsDrift] | None) -> list[Finding]:
    """Whether the sums behind the statistics are right; ``None`` if they were not counted."""
    if drift is None:
        return [
            _note(
                "statistics",
                "not counted",
                "`doctor(deep=True)` or `videojobs doctor --deep` compares them with a count of "
                "all jobs, which takes its time.",
            )
        ]
    if not drift:
        return [_ok("statistics", "equal to a count of all jobs")]
    first = drift[0]
    return [
        _problem(
            "statistics",
            f"{len(drift)} sums differ from a count of all jobs, such as {first.measure} in queue "
            f"{first.queue}: {first.summed} instead of {first.counted}",
            "Set them right with `manager.reconcile_stats(repair=True)`; it is harmless while "
            "others work.",
        )
    ]


def not_checked(check: str, why: str = "") -> Finding:
    """It could not be looked at."""
    found = f"not checked: {why}" if why else "not checked"
    return Finding(check=check, severity=Severity.UNKNOWN, found=found)


def _ok(check: str, found: str) -> Finding:
    return Finding(check=check, severity=Severity.OK, found=found)


def _note(check: str, found: str, advice: str) -> Finding:
    return Finding(check=check, severity=Severity.NOTE, found=found, advice=advice)


def _problem(check: str, found: str, advice: str) -> Finding:
    return Finding(check=check, severity=Severity.PROBLEM, found=found, advice=advice)


def _schema(health: Health) -> Finding:
    found = f"schema version {health.schema_version}, this library expects {SCHEMA_VERSION}"
    if health.schema_version < SCHEMA_VERSION:
        return _problem("schema", found, "Run `videojobs migrate`.")
    if health.schema_version > SCHEMA_VERSION:
        return _note("schema", found, "The database is newer: upgrade videojobs when you can.")
    return _ok("schema", found)


def _clock(health: Health, asked_at: datetime, answered_at: datetime) -> Finding:
    # The server's clock was read somewhere between the two moments.
    offset = max(
        (asked_at - health.server_time).total_seconds(),
        (health.server_time - answered_at).total_seconds(),
        0.0,
    )
    found = f"this machine and the database differ by {offset:.1f} s"
    if offset < _CLOCK_TOLERANCE_SECONDS:
        return _ok("clock", found)
    return _problem(
        "clock",
        found,
        "Leases use the database's clock alone; set this machine's clock so that times in logs agree.",
    )


def _orphans(health: Health) -> Finding:
    found = (
        f"{health.processing_without_lease} jobs without a lease, "
        f"{health.leases_without_job} leases without a job"
    )
    if health.processing_without_lease + health.leases_without_job == 0:
        return _ok("orphans", found)
    return _problem(
        "orphans",
        found,
        "Rows were changed by hand. `manager.recover_stuck_jobs()` queues such jobs again, and "
        "deletes such leases when they have expired; workers do it too.",
    )


def _old_transactions(facts: Facts) -> Iterator[Finding]:
    held = [blocker for blocker in facts.vacuum_blockers if _is_old(blocker)]
    hidden = [
        each
        for each in facts.vacuum_blockers
        if each.kind == "session" and not facts.sees_all_sessions and each.age_seconds is None
    ]
    for blocker in held[:_SHOWN]:
        yield _problem(
            "old transactions",
            f"{_named(blocker)} holds back vacuum: claims get slower with every job that ends",
            _how_to_end(blocker),
        )
    if hidden and not held:
        yield not_checked(
            "old transactions",
            f"{len(hidden)} sessions of other roles hide their age; grant pg_read_all_stats to "
            "the owner of the schema videojobs",
        )
    elif not held:
        yield _ok("old transactions", f"none is older than {_OLD_TRANSACTION_SECONDS:.0f} s")


def _is_old(blocker: VacuumBlocker) -> bool:
    if blocker.kind == "replication slot":
        return blocker.transactions > _OLD_SLOT_TRANSACTIONS
    return blocker.age_seconds is not None and blocker.age_seconds > _OLD_TRANSACTION_SECONDS


def _named(blocker: VacuumBlocker) -> str:
    facts = [
        f"pid {blocker.pid}" if blocker.pid is not None else "",
        blocker.state or "",
        f"{duration(blocker.age_seconds)} old" if blocker.age_seconds is not None else "",
        f"{blocker.transactions} transactions behind" if blocker.age_seconds is None else "",
    ]
    return f"{blocker.kind} {blocker.name!r} ({', '.join(filter(None, facts))})"


def _how_to_end(blocker: VacuumBlocker) -> str:
    name = blocker.name.replace("'", "''")
    match blocker.kind:
        case "session":
            return (
                f"End it with `select pg_terminate_backend({blocker.pid})`. So that it ends by itself "
                "next time: `alter role ... set idle_in_transaction_session_timeout = '60s'` for "
                "the role that it uses."
            )
        case "prepared transaction":
            return f"Decide it: `commit prepared '{name}'` or `rollback prepared '{name}'`."
        case "replication slot":
            return (
                "Bring its reader back; if nobody reads it any more: "
                f"`select pg_drop_replication_slot('{name}')`."
            )


def _autovacuum(facts: Facts) -> Iterator[Finding]:
    spared = [table.name for table in facts.hot_tables if not table.is_vacuumed]
    if not facts.has_autovacuum:
        yield _problem(
            "autovacuum",
            "off: dead rows pile up at the head of the queue",
            "Set autovacuum and track_counts to on, and reload the server's configuration.",
        )
    elif spared:
        yield _problem(
            "autovacuum",
            f"off for {', '.join(spared)}",
            " ".join(f"`alter table {name} reset (autovacuum_enabled);`" for name in spared),
        )
    else:
        yield _ok("autovacuum", "on")


def _dead_rows(facts: Facts) -> Iterator[Finding]:
    told = ", ".join(f"{table.name} {table.dead_rows}" for table in facts.hot_tables)
    overdue = [table for table in facts.hot_tables if _is_overdue(table)]
    if not overdue:
        yield _ok("dead rows", told)
    for table in overdue:
        ago = table.vacuumed_seconds_ago
        yield _problem(
            "dead rows",
            f"{table.name} has {table.dead_rows}, a vacuum is due at {table.vacuum_at} and came "
            + ("never" if ago is None else f"{duration(ago)} ago"),
            f"Run `vacuum (analyze) {table.name}`. If that does not help, something holds dead rows "
            "back: see old transactions. If it happens again, autovacuum needs more workers.",
        )


def _is_overdue(table: HotTable) -> bool:
    ago = table.vacuumed_seconds_ago
    return table.dead_rows > _VACUUM_OVERDUE * table.vacuum_at and (
        ago is None or ago > _VACUUM_PATIENCE_SECONDS
    )


def _expired_leases(facts: Facts) -> Iterator[Finding]:
    oldest = facts.longest_expired_seconds or 0.0
    if facts.expired_leases == 0:
        yield _ok("expired leases", "0")
    elif oldest <= _RECOVERY_SECONDS:
        yield _note(
            "expired leases",
            f"{facts.expired_leases}, for {duration(oldest)}",
            "Workers take these back within a minute.",
        )
    else:
        yield _problem(
            "expired leases",
            f"{facts.expired_leases}, the oldest for {duration(oldest)}: nobody takes them back",
            "Start `videojobs worker`, or call `manager.recover_stuck_jobs()` or "
            "`manager.maintain()` from time to time.",
        )


def _unfolded_changes(facts: Facts) -> Iterator[Finding]:
    count = facts.unfolded_changes
    if count <= _MANY_CHANGES:
        yield _ok("unfolded changes", f"{count}")
    else:
        yield _note(
            "unfolded changes",
            f"{count} changes wait to be added to the sums: no upkeep runs, and statistics get slower",
            "Start `videojobs worker`, or call `manager.maintain()` until it folds none.",
        )


def _indexes(facts: Facts) -> Iterator[Finding]:
    for fault in facts.index_faults:
        yield _problem("indexes", f"{fault.full_name} is {fault.fault}", _remedy(fault))
    if not facts.index_faults:
        yield _ok("indexes", "all there and valid")


_PARTITIONED = ("public.video_job_events", "videojobs.archived_jobs")


def _remedy(fault: IndexFault) -> str:
    match fault.fault:
        case "missing":
            return f"Make it again: {_making(fault)}"
        case "changed":
            return f"Drop it and make it again as the migrations do: {_making(fault)}"
        case "invalid" if "_ccnew" in fault.name or "_ccold" in fault.name:
            return f"A reindex was broken off: `drop index concurrently {fault.full_name}`."
        case "invalid":
            return f"Run `reindex index concurrently {fault.full_name}`."


def _making(fault: IndexFault) -> str:
    kind = "unique index" if fault.definition.startswith("UNIQUE ") else "index"
    concurrently = "" if fault.table_name in _PARTITIONED else " concurrently"
    rest = fault.definition.removeprefix("UNIQUE ")
    made = f"`create {kind}{concurrently} {fault.name} on {fault.table_name} using {rest}`"
    if not fault.name.endswith(("_pkey", "_key")):
        return f"{made}."
    constraint = "primary key" if fault.name.endswith("_pkey") else "unique"
    return (
        f"{made}, then `alter table {fault.table_name} add constraint {fault.name} {constraint} "
        f"using index {fault.name}`."
    )


def _grants(facts: Facts) -> Iterator[Finding]:
    grants = facts.wide_grants
    if not grants:
        yield _ok("grants", "as the migrations made them")
        return
    told = [f"{grant.role} has {grant.privileges} on {grant.target}" for grant in grants]
    cures = [
        f"`revoke {grant.privileges} on {grant.target} from {grant.role};`" for grant in grants
    ]
    yield _problem(
        "grants",
        f"{len(grants)} too wide: {_some(told, '; ')}",
        f"Take them back: {_some(cures, ' ')}",
    )


def _some(texts: Sequence[str], separator: str) -> str:
    more = len(texts) - _SHOWN
    return separator.join(texts[:_SHOWN]) + (f"{separator}and {more} more" if more > 0 else "")


def _policies(facts: Facts) -> Iterator[Finding]:
    for relation in facts.unguarded_relations:
        yield _problem(
            "row-level security",
            f"{relation.name} shows every row to all who may read it",
            f"`alter view {relation.name} set (security_invoker = true);`"
            if relation.is_view
            else f"`alter table {relation.name} enable row level security;`",
        )
    if not facts.unguarded_relations:
        yield _ok("row-level security", "on")


def _exposure(facts: Facts) -> Iterator[Finding]:
    if facts.is_exposed:
        yield _problem(
            "exposed schemas",
            "PostgREST serves the schema videojobs, which holds what no client may touch",
            "Take it out of the exposed schemas (on Supabase: Project Settings, Data API; elsewhere "
            "db-schemas of PostgREST).",
        )
    elif facts.is_exposed is False:
        yield _ok("exposed schemas", "without videojobs")


def _months(facts: Facts) -> Iterator[Finding]:
    found = [finding for history in facts.histories for finding in _months_of(history)]
    if found:
        yield from found
    else:
        told = ", ".join(f"{history.months} of {history.name}" for history in facts.histories)
        yield _ok("months", told)


def _months_of(history: History) -> Iterator[Finding]:
    if not history.has_next_month:
        yield _problem(
            "months",
            f"{history.name} has no table for next month: no upkeep has run for months",
            "Call `manager.maintain()`, and start `videojobs worker`, which does it from then on.",
        )
    if history.rows_without_month:
        many = (
            "10,000 or more"
            if history.rows_without_month >= 10_000
            else f"{history.rows_without_month}"
        )
        yield _note(
            "months",
            f"{history.name} has {many} rows of months without a table",
            "Nothing is lost, but they are not dropped with their months. `manager.maintain()` moves "
            "those that came while no upkeep ran, if their month is not over.",
        )
    if history.months > _MANY_MONTHS:
        setting = (
            "drop_archive_after_days" if "archive" in history.name else "drop_events_after_days"
        )
        yield _note(
            "months",
            f"{history.name} has {history.months} months, and each read looks into all of them",
            f"Drop old ones: `manager.configure({setting}=365)`.",
        )


def _upkeep(facts: Facts) -> Iterator[Finding]:
    match facts.upkeep_schedule:
        case "scheduled":
            yield _ok("upkeep", "pg_cron calls it, and so do workers")
        case "absent":
            yield _ok("upkeep", "workers do it; there is no pg_cron here")
        case "unreadable":
            yield not_checked("upkeep", "the owner of the schema videojobs may not read cron.job")
        case "unscheduled":
            yield _note(
                "upkeep",
                "pg_cron is there and does not call it; workers do, while one runs",
                "Run `select videojobs.schedule_upkeep()` as the owner of the database.",
            )


def _workers(facts: Facts) -> Iterator[Finding]:
    found = f"{facts.workers_seen} seen in the last two minutes"
    unserved = [
        jobs
        for jobs in facts.waiting
        if not jobs.is_served and jobs.seconds > _UNSERVED_WAIT_SECONDS
    ]
    if not unserved:
        yield _ok("workers", found)
        return
    longest = max(jobs.seconds for jobs in unserved)
    where = _some([f"{jobs.pipeline} in queue {jobs.queue}" for jobs in unserved], ", ")
    names = dict.fromkeys(jobs.queue for jobs in unserved)
    queues = " ".join(f"-q {name}" for name in list(names)[:_SHOWN])
    yield _note(
        "workers",
        f"{found}; none of them runs {where}, where a job has been due for {duration(longest)}",
        f"Start `videojobs worker {queues}`; pipelines of your own need a worker of your own.",
    )


_CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _old_transactions,
    _autovacuum,
    _dead_rows,
    _expired_leases,
    _unfolded_changes,
    _indexes,
    _grants,
    _policies,
    _exposure,
    _months,
    _upkeep,
    _workers,
)


def duration(seconds: float) -> str:
    """A length of time in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"
