"""``videojobs migrate``, ``stats`` and ``doctor``: about the database as a whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from videojobs import migrations
from videojobs.cli.diagnosis import examine
from videojobs.cli.options import LONGEST_DAYS, AsJson, DatabaseUrl, manager_for, settings_here
from videojobs.cli.printing import console, print_json, seconds_text, status_text
from videojobs.errors import ConfigurationError
from videojobs.models import GroupStats, JobStats, JobStatus
from videojobs.reports import Finding, Severity
from videojobs.requests import JobFilter

_GROUPS = {
    "user": "user_id",
    "team": "team_id",
    "platform": "platform_target",
    "pipeline": "pipeline",
}


def migrate(
    copy_to: Annotated[
        Path | None,
        typer.Option(help="Copy the SQL files there, such as supabase/migrations, and stop."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what is missing.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Bring the database to this version's schema. Running it again changes nothing."""
    if copy_to is not None:
        _copy(copy_to)
        return
    url = settings_here(database_url).database_url
    if url is None:
        raise ConfigurationError(
            "migrating needs a direct Postgres connection: set SUPABASE_DB_URL or give "
            "--database-url; or copy the files with --copy-to supabase/migrations and run "
            "`supabase db push`"
        )
    if dry_run:
        missing = migrations.pending(url)
        console.print("\n".join(each.file_name for each in missing) or "nothing to do")
        return
    applied = migrations.migrate(url)
    for each in applied:
        console.print(f"applied {each.version or ''} {each.name}".replace("  ", " "), markup=False)
        for warning in each.warnings:
            console.print(f"  {warning}", style="yellow", markup=False)
    if not applied:
        console.print("the schema is up to date")


def _copy(target_dir: Path) -> None:
    new = migrations.copy_migrations(target_dir)
    for path in new:
        console.print(f"wrote {path}", markup=False, soft_wrap=True)
    if there := len(migrations.migrations()) - len(new):
        console.print(f"{there} files are there already")


def stats(
    days: Annotated[
        int | None,
        typer.Option(help="Only jobs created in the last days.", min=1, max=LONGEST_DAYS),
    ] = None,
    by: Annotated[str | None, typer.Option(help="user, team, platform or pipeline.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's jobs.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Counts, processing times and throughput."""
    if by is not None and by not in _GROUPS:
        raise typer.BadParameter(f"{by!r} is not one of {', '.join(_GROUPS)}", param_hint="--by")
    fields: dict[str, Any] = {}
    if days is not None:
        fields["created_from"] = datetime.now(UTC) - timedelta(days=days)
    if user is not None:
        fields["user_id"] = user
    with manager_for(database_url) as manager:
        found = manager.get_job_stats(
            JobFilter(**fields),
            group_by=_GROUPS[by] if by else None,  # pyright: ignore[reportArgumentType] # one of GroupBy
        )
    if as_json:
        print_json(found)
    else:
        print_stats(found)


def print_stats(found: JobStats) -> None:
    """The figures for people."""
    counts = Text.assemble(
        *(
            Text.assemble(status_text(status), f" {found.by_status[status]}   ")
            for status in JobStatus
        )
    )
    console.print(f"{found.total} {'job' if found.total == 1 else 'jobs'}:", counts)
    console.print(
        "processing time:"
        f" average {seconds_text(found.average_processing_seconds) or '-'},"
        f" median {seconds_text(found.median_processing_seconds) or '-'},"
        f" p95 {seconds_text(found.p95_processing_seconds) or '-'},"
        f" total {seconds_text(found.total_processing_seconds)}"
    )
    if found.groups:
        _print_groups(found.groups)


def _print_groups(groups: tuple[GroupStats, ...]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("group", "jobs", *JobStatus, "average"):
        table.add_column(name)
    for group in groups:
        table.add_row(
            group.key or "-",
            str(group.total),
            *(str(group.by_status[status]) for status in JobStatus),
            seconds_text(group.average_processing_seconds),
        )
    console.print(table)


def doctor(
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also compare the statistics with a count of all jobs."),
    ] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Check the set-up, and say what to do about each finding. Exits with 1 if one is bad."""
    findings = examine(settings_here(database_url), deep=deep)
    if as_json:
        print_json([_as_json(finding) for finding in findings])
    else:
        for finding in findings:
            _print_finding(finding)
    if any(finding.severity is Severity.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _as_json(finding: Finding) -> dict[str, Any]:
    is_known = finding.severity is not Severity.UNKNOWN
    return {
        "check": finding.check,
        "ok": finding.severity is not Severity.PROBLEM if is_known else None,
        "severity": finding.severity,
        "found": finding.found,
        "advice": finding.advice,
    }


_MARKS = {
    Severity.OK: ("ok  ", "green"),
    Severity.NOTE: ("note ", "cyan"),
    Severity.PROBLEM: ("BAD ", "bold red"),
    Severity.UNKNOWN: ("--  ", "dim"),
}


def _print_finding(finding: Finding) -> None:
    mark = _MARKS[finding.severity]
    console.print(Text.assemble(mark, f"{finding.check}: {finding.found}"))
    if finding.advice:
        console.print(Text(f"    {finding.advice}", style="yellow"))
