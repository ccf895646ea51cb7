"""What ``videojobs doctor`` looks at. Each check tells what it found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from videojobs import migrations
from videojobs.connecting import open_transport
from videojobs.errors import ConfigurationError, SupabaseConnectionError, VideoJobsError
from videojobs.manager import VideoJobManager
from videojobs.media.ffmpeg import find_ffmpeg, inspect_ffmpeg
from videojobs.models import Health
from videojobs.settings import Settings

SCHEMA_VERSION = 1
_CLOCK_TOLERANCE_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0
"""Whoever asks what is wrong waits for the answer, not for the database to come back."""
_OF_THE_DATABASE = ("schema", "clock", "jobs", "expired leases", "orphans")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result."""

    check: str
    is_good: bool | None
    """``None`` when it could not be looked at."""
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Every check that the settings allow; one that cannot run is a finding too."""
    settings = replace(
        settings,
        connect_timeout_seconds=min(settings.connect_timeout_seconds, _PATIENCE_SECONDS),
        deadline_seconds=min(settings.deadline_seconds, _PATIENCE_SECONDS),
    )
    checks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("database", _database),
        ("migrations", _migrations),
        ("ffmpeg", _ffmpeg),
    ]
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check(settings)
        except VideoJobsError as error:
            findings.append(Finding(name, False, str(error)))
            findings += _not_checked(name)
    return findings


def _not_checked(failed: str) -> list[Finding]:
    hidden = _OF_THE_DATABASE if failed == "database" else ()
    return [Finding(each, None, "not checked") for each in hidden]


def _database(settings: Settings) -> Iterator[Finding]:
    with VideoJobManager(open_transport(settings), settings) as manager:
        before = datetime.now(UTC)
        health = manager.check()
        after = datetime.now(UTC)
    yield Finding("database", True, f"reached, PostgreSQL {health.server_version}")
    yield _schema(health)
    # The server's clock was read somewhere between the two moments.
    offset = max(
        (before - health.server_time).total_seconds(),
        (health.server_time - after).total_seconds(),
        0.0,
    )
    yield Finding(
        "clock",
        offset < _CLOCK_TOLERANCE_SECONDS,
        f"this machine and the database differ by {offset:.1f} s",
        ""
        if offset < _CLOCK_TOLERANCE_SECONDS
        else "Leases use the database's clock alone; set "
        "this machine's clock so that times in logs agree.",
    )
    yield from _leases(health)


def _schema(health: Health) -> Finding:
    found = f"schema version {health.schema_version}, this library expects {SCHEMA_VERSION}"
    if health.schema_version < SCHEMA_VERSION:
        return Finding("schema", False, found, "Run `videojobs migrate`.")
    if health.schema_version > SCHEMA_VERSION:
        return Finding(
            "schema", True, found, "The database is newer: upgrade videojobs when you can."
        )
    return Finding("schema", True, found)


def _leases(health: Health) -> Iterator[Finding]:
    yield Finding("jobs", True, f"{health.queued} queued, {health.processing} processing")
    yield Finding(
        "expired leases",
        health.expired_leases == 0,
        f"{health.expired_leases}",
        "Workers take these back by themselves; if none runs, start `videojobs worker`."
        if health.expired_leases
        else "",
    )
    orphans = health.processing_without_lease + health.leases_without_job
    yield Finding(
        "orphans",
        orphans == 0,
        f"{health.processing_without_lease} jobs without a lease, "
        f"{health.leases_without_job} leases without a job",
        "Rows were changed by hand: set such jobs to failed, then retry them." if orphans else "",
    )


def _migrations(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        yield Finding(
            "migrations", None, "not checked: needs a direct connection (SUPABASE_DB_URL)"
        )
        return
    try:
        missing = migrations.pending(settings.database_url)
    except SupabaseConnectionError as error:
        yield Finding("migrations", None, f"not checked: {error}")
        return
    except ConfigurationError as error:
        # A worker's login need not be the owner's, who alone may read the ledger.
        is_refused = error.code == "42501"
        yield Finding("migrations", None if is_refused else False, str(error))
        return
    yield Finding(
        "migrations",
        not missing,
        f"{len(missing)} missing",
        "Run `videojobs migrate`." if missing else "",
    )


def _ffmpeg(settings: Settings) -> Iterator[Finding]:
    path = find_ffmpeg(settings.ffmpeg)
    machine = inspect_ffmpeg(path, cores=1)
    lacking = "It lacks zscale and tonemap: HDR sources will look pale."
    advice = "" if machine.has_tone_mapping else lacking
    yield Finding("ffmpeg", True, f"ffmpeg {machine.ffmpeg_major}, {path}", advice)
