"""What ``videojobs doctor`` looks at: the database, as the manager's doctor sees it, and this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from videojobs import migrations
from videojobs.connecting import open_transport
from videojobs.diagnosis import not_checked
from videojobs.errors import ConfigurationError, SupabaseConnectionError, VideoJobsError
from videojobs.manager import VideoJobManager
from videojobs.media.ffmpeg import find_ffmpeg, inspect_ffmpeg
from videojobs.reports import Finding, Severity
from videojobs.settings import Settings

_PATIENCE_SECONDS = 3.0
"""Whoever asks what is wrong waits for the answer, not for the database to come back."""
_OF_THE_DATABASE = ("schema", "clock", "jobs", "expired leases", "orphans")


def examine(settings: Settings, *, deep: bool = False) -> list[Finding]:
    """Every check that the settings allow; one that cannot run is a finding too."""
    settings = replace(
        settings,
        connect_timeout_seconds=min(settings.connect_timeout_seconds, _PATIENCE_SECONDS),
        deadline_seconds=min(settings.deadline_seconds, _PATIENCE_SECONDS),
    )
    checks: list[tuple[str, Callable[[Settings], Iterable[Finding]]]] = [
        ("database", partial(_database, deep=deep)),
        ("migrations", _migrations),
        ("ffmpeg", _ffmpeg),
    ]
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check(settings)
        except VideoJobsError as error:
            findings.append(Finding(check=name, severity=Severity.PROBLEM, found=str(error)))
            findings += map(not_checked, _OF_THE_DATABASE if name == "database" else ())
    return findings


def _database(settings: Settings, *, deep: bool) -> Iterable[Finding]:
    with VideoJobManager(open_transport(settings), settings) as manager:
        return manager.doctor(deep=deep)


def _migrations(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        yield not_checked("migrations", "needs a direct connection (SUPABASE_DB_URL)")
        return
    try:
        missing = migrations.pending(settings.database_url)
    except SupabaseConnectionError as error:
        yield not_checked("migrations", str(error))
        return
    except ConfigurationError as error:
        # A worker's login need not be the owner's, who alone may read the ledger.
        severity = Severity.UNKNOWN if error.code == "42501" else Severity.PROBLEM
        yield Finding(check="migrations", severity=severity, found=str(error))
        return
    yield Finding(
        check="migrations",
        severity=Severity.PROBLEM if missing else Severity.OK,
        found=f"{len(missing)} missing",
        advice="Run `videojobs migrate`." if missing else "",
    )


def _ffmpeg(settings: Settings) -> Iterator[Finding]:
    path = find_ffmpeg(settings.ffmpeg)
    machine = inspect_ffmpeg(path, cores=1)
    yield Finding(
        check="ffmpeg",
        severity=Severity.OK if machine.has_tone_mapping else Severity.NOTE,
        found=f"ffmpeg {machine.ffmpeg_major}, {path}",
        advice=""
        if machine.has_tone_mapping
        else "It lacks zscale and tonemap: HDR sources will look pale.",
    )
