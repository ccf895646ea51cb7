"""``videojobs workers``, ``limits``, ``settings``, ``archive`` and ``maintain``: what operators set and see."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from videojobs.cli.options import LONGEST_DAYS, AsJson, DatabaseUrl, manager_for
from videojobs.cli.printing import console, print_json
from videojobs.models import JobStatus
from videojobs.reports import Limit, WorkerInfo
from videojobs.requests import refuse

_SILENCE = timedelta(minutes=2)
"""Longer than a worker without jobs takes between two signs of life."""


def workers(
    drain: Annotated[
        str | None, typer.Option(metavar="WORKER", help="Ask this one to finish and end.")
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Who works, and on what. With --drain, one finishes what it runs and ends."""
    with manager_for(database_url) as manager:
        if drain is not None and not manager.drain_worker(drain):
            raise refuse("workers", "drain", drain, "the name of a worker that is listed")
        found = manager.list_workers()
    if as_json:
        print_json(found)
        return
    table = Table("worker", "seen", "runs", "queues", "state")
    for worker in found:
        table.add_row(*_worker_cells(worker))
    console.print(table if found else "No workers. Start one: [bold]videojobs worker[/]")


def _worker_cells(worker: WorkerInfo) -> tuple[str, ...]:
    queues = worker.facts.get("queues", ())
    return (
        worker.worker_id,
        f"{worker.seen_at:%Y-%m-%d %H:%M:%S}" if worker.seen_at else "",
        ", ".join(str(job.job_id) for job in worker.running) or "nothing",
        ", ".join(map(str, queues)),
        _state(worker),
    )


def _state(worker: WorkerInfo) -> str:
    if worker.seen_at is not None and worker.seen_at < datetime.now(UTC) - _SILENCE:
        return "silent"
    return "drains" if worker.drain_requested_at else "works" if worker.running else "waits"


def limits(
    tenant: Annotated[
        str | None, typer.Option(help="A user's or team's id, or '*' for each without its own.")
    ] = None,
    queue: Annotated[str | None, typer.Option(help="A queue, or '*'.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="A pipeline, or '*'.")] = None,
    running: Annotated[
        int | None, typer.Option("--max-running", min=0, help="So many at once; 0 holds all back.")
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Take the limit away.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """How many jobs may run at once: list the limits, set one, or lift it."""
    changes = any(given is not None for given in (tenant, queue, pipeline))
    if not changes and (lift or running is not None):
        raise refuse(
            "limits", "max_running", running, "say of what: --tenant, --queue or --pipeline"
        )
    if changes and (running is None) != lift:
        raise refuse("limits", "max_running", running, "give --max-running, or --lift")
    with manager_for(database_url) as manager:
        found = (
            manager.set_limit(running, tenant=tenant, queue=queue, pipeline=pipeline)
            if changes
            else manager.list_limits()
        )
    if as_json:
        print_json(found)
        return
    table = Table("kind", "of", "at most", "running")
    for limit in found:
        table.add_row(*_limit_cells(limit))
    console.print(table if found else "No limits.")


def _limit_cells(limit: Limit) -> tuple[str, ...]:
    of = "each without its own" if limit.key == "*" else limit.key
    return limit.kind, of, str(limit.max_running), str(limit.running)


def settings(
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="May be repeated; the value is JSON."),
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
) -> None:
    """The settings that live in the database: waits, wake-ups, retention."""
    changes = dict(_setting(each) for each in change or ())
    with manager_for(database_url) as manager:
        found = manager.configure(**changes)
    if as_json:
        print_json(found)
        return
    table = Table("setting", "value")
    for name, value in found.model_dump(mode="json").items():
        table.add_row(name, json.dumps(value))
    console.print(table)


def _setting(text: str) -> tuple[Any, Any]:
    name, is_given, value = text.partition("=")
    if not is_given:
        raise refuse("settings", "set", text, "NAME=VALUE, such as max_lost=5")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value  # a word, such as "coalesced"


def archive(
    older_than_days: Annotated[
        float, typer.Option(help="Only what ended so long ago.", min=0, max=LONGEST_DAYS)
    ],
    status: Annotated[
        list[JobStatus] | None,
        typer.Option("--status", "-s", help="Only completed, failed or cancelled jobs."),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Move final jobs out of the queue's table; they can still be read."""
    with manager_for(database_url) as manager:
        age = timedelta(days=older_than_days)
        count = (
            manager.archive_jobs(older_than=age, statuses=status)
            if status
            else manager.archive_jobs(older_than=age)
        )
    console.print(f"archived {count} job{'' if count == 1 else 's'}")


def maintain(as_json: AsJson = False, database_url: DatabaseUrl = None) -> None:
    """A round of upkeep, as workers do it: for a scheduler where no worker runs all the time."""
    with manager_for(database_url) as manager:
        done = manager.maintain()
    if as_json:
        print_json(done)
        return
    console.print(
        f"took back {len(done.recovered)} jobs, folded {done.folded} changes, "
        f"archived {done.archived} jobs, dropped {len(done.dropped)} months"
    )
