"""``videojobs jobs``: list, show, create, cancel, retry, delete, clear, watch."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

import typer

from videojobs.cli.options import LONGEST_DAYS, AsJson, DatabaseUrl, manager_for
from videojobs.cli.printing import (
    console,
    print_job,
    print_jobs,
    print_json,
    print_outputs,
    print_warnings,
    status_text,
)
from videojobs.manager import VideoJobManager
from videojobs.models import (
    EnhancementLevel,
    JobEvent,
    JobStatus,
    PlatformTarget,
    QualityPreset,
    ResourceType,
    VideoJob,
)
from videojobs.outcomes import warnings_of
from videojobs.requests import JobFilter, refuse

app = typer.Typer(help="Look at jobs and change them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job's id.")]
Status = Annotated[
    list[JobStatus] | None, typer.Option("--status", "-s", help="Only these; may be repeated.")
]


@app.command("list")
def list_jobs(
    status: Status = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline's.")] = None,
    search: Annotated[str | None, typer.Option(help="Text in the file or resource name.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 500.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="The next_cursor of the page before.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """List jobs, newest first."""
    filters = _filter(status=status, user_id=user, team_id=team, pipeline=pipeline, search=search)
    with manager_for(database_url) as manager:
        page = manager.list_jobs(filters, limit=limit, cursor=cursor)
    if as_json:
        print_json({"items": page.items, "next_cursor": page.next_cursor})
        return
    if not print_jobs(page.items):
        console.print("No jobs. Create one: [bold]videojobs jobs create --help[/]")
    if page.next_cursor:
        console.print(f"More: --cursor {page.next_cursor}", style="dim", soft_wrap=True)


def _filter(**fields: Any) -> JobFilter:
    return JobFilter(**{name: value for name, value in fields.items() if value})


@app.command()
def show(
    job_id: JobId,
    events: Annotated[bool, typer.Option("--events", "-e", help="Also its history.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Show one job with its outputs and warnings, and its history if wanted."""
    with manager_for(database_url) as manager:
        job = manager.get_job(job_id)
        history = _history(manager, job) if events or job.status is JobStatus.COMPLETED else []
    warnings = warnings_of(history)
    if as_json:
        told = {"job": job, "events": history, "warnings": warnings}
        print_json(told if events else _with_warnings(job, warnings))
        return
    print_job(job)
    print_warnings(warnings)
    for event in history if events else []:
        told = json.dumps(dict(event.data)) if event.data else ""
        console.print(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.type:<16} {told}", markup=False)


def _history(manager: VideoJobManager, job: VideoJob) -> list[JobEvent]:
    """All of it: a chatty worker's notes take more than one answer."""
    found: list[JobEvent] = []
    while page := manager.get_job_events(job.id, after_id=found[-1].id if found else 0):
        found += page
    return found


def _warnings(manager: VideoJobManager, job: VideoJob) -> tuple[str, ...]:
    is_completed = job.status is JobStatus.COMPLETED
    return warnings_of(_history(manager, job)) if is_completed else ()


def _with_warnings(job: VideoJob, warnings: tuple[str, ...]) -> dict[str, Any]:
    return {**job.model_dump(mode="json"), "warnings": warnings}


@app.command()
def create(
    source: Annotated[str, typer.Argument(help="The video, as the worker's storage names it.")],
    user: Annotated[str, typer.Option(help="The owner's id.")],
    team: Annotated[str | None, typer.Option(help="A team of the owner's.")] = None,
    pipeline: Annotated[str, typer.Option(help="clips, renditions, hls, or your own.")] = "clips",
    clips: Annotated[int | None, typer.Option(help="How many clips to cut.")] = None,
    platform: Annotated[PlatformTarget | None, typer.Option(help="Where to publish.")] = None,
    quality: Annotated[QualityPreset, typer.Option()] = QualityPreset.STANDARD,
    enhance: Annotated[EnhancementLevel, typer.Option()] = EnhancementLevel.NONE,
    resource_type: Annotated[ResourceType, typer.Option()] = ResourceType.UPLOAD,
    resource_id: Annotated[str | None, typer.Option()] = None,
    resource_name: Annotated[str | None, typer.Option()] = None,
    parent_id: Annotated[str | None, typer.Option(help="The season of an episode.")] = None,
    queue: Annotated[str, typer.Option()] = "default",
    priority: Annotated[int, typer.Option(help="0 to 9; higher goes first.")] = 5,
    max_attempts: Annotated[int, typer.Option()] = 3,
    key: Annotated[str | None, typer.Option(help="An idempotency key.")] = None,
    settings: Annotated[str, typer.Option(help="More settings, as a JSON object.")] = "{}",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is final.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a job."""
    with manager_for(database_url) as manager:
        job: VideoJob = manager.create_job(
            user_id=user,
            team_id=team,
            source_url=source,
            pipeline=pipeline,
            clip_count=clips,
            platform_target=platform,
            quality_preset=quality,
            enhancement_level=enhance,
            resource_type=resource_type,
            resource_id=resource_id,
            resource_name=resource_name,
            resource_parent_id=parent_id,
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            idempotency_key=key,
            settings=_json_object(settings),
        )
        if wait:
            job = manager.wait_for_job(job.id)
        warnings = _warnings(manager, job) if wait else ()
    if as_json and wait:
        print_json(_with_warnings(job, warnings))
    else:
        _print(job, as_json)
        print_warnings(warnings)
    if wait and job.status is not JobStatus.COMPLETED:
        raise typer.Exit(1)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise refuse(
            "jobs create", "--settings", text, 'a JSON object, such as {"clip_seconds": 8}'
        )
    return value  # pyright: ignore[reportUnknownVariableType] # the manager checks the content


def _print(job: VideoJob, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        console.print(job.id, status_text(job.status))


@app.command()
def cancel(
    job_id: JobId,
    reason: Annotated[str | None, typer.Option(help="For the history.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Cancel a queued job, or ask the worker of a running one to stop."""
    with manager_for(database_url) as manager:
        job = manager.cancel_job(job_id, reason=reason)
    _print(job, as_json)
    if not as_json and not job.is_final:
        console.print(
            "It is running, and was asked to stop: its worker hears of it at once on a direct "
            "connection, with its next heartbeat elsewhere.",
            style="dim",
        )


@app.command()
def retry(job_id: JobId, as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """Queue a failed or cancelled job again."""
    with manager_for(database_url) as manager:
        _print(manager.retry_job(job_id), as_json)


@app.command()
def delete(job_id: JobId, database_url: DatabaseUrl = None) -> None:
    """Delete a final job and its history. Output files stay."""
    with manager_for(database_url) as manager:
        manager.delete_job(job_id)
    console.print(f"{job_id} deleted", highlight=False)


@app.command()
def clear(
    status: Status = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    older_than_days: Annotated[
        float | None,
        typer.Option(help="Only those that ended so long ago.", min=0, max=LONGEST_DAYS),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Delete final jobs and their history. Output files stay."""
    if not yes:
        what = _cleared(status, user, older_than_days)
        typer.confirm(f"Delete {what} for good, with their history?", abort=True)
    age = None if older_than_days is None else timedelta(days=older_than_days)
    with manager_for(database_url) as manager:
        count = manager.clear_jobs(_filter(status=status, user_id=user), older_than=age)
    console.print(f"{count} {'job' if count == 1 else 'jobs'} deleted")


def _cleared(status: list[JobStatus] | None, user: str | None, days: float | None) -> str:
    kinds = " and ".join(status) if status else "completed, failed and cancelled"
    whose = f" of user {user}" if user else ""
    when = "" if days is None else f" that ended more than {days:g} days ago"
    return f"all {kinds} jobs{whose}{when}"


@app.command()
def watch(job_id: JobId, as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """Print each change until the job is final. Exits with 1 unless it completed."""
    status = JobStatus.QUEUED
    with manager_for(database_url) as manager:
        for job in manager.watch_job(job_id):
            status = job.status
            warnings = _warnings(manager, job)
            if as_json:
                print_json(_with_warnings(job, warnings) if job.is_final else job)
            else:
                console.print(status_text(status), f"{job.progress:3} %", job.stage or "")
            if job.is_final and not as_json:
                _print_end(job)
                print_warnings(warnings)
    if status is not JobStatus.COMPLETED:
        raise typer.Exit(1)


def _print_end(job: VideoJob) -> None:
    if job.error_message:
        console.print(f"{job.error_code}: {job.error_message}", markup=False)
    if job.output_files:
        print_outputs(job.output_files)
