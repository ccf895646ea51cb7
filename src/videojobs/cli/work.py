"""``videojobs worker``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from videojobs.cli.options import DatabaseUrl, manager_for
from videojobs.cli.printing import complaints
from videojobs.models import Lease, VideoJob
from videojobs.outcomes import Outcome
from videojobs.pipelines.progress import Progress
from videojobs.storage import LocalStorage
from videojobs.worker import Worker


def worker(
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", help="Which queues, first things first.")
    ] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option("--pipeline", "-p", help="Only jobs of these.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="How many jobs at once.", min=1)] = 1,
    storage_dir: Annotated[
        Path | None, typer.Option(help="Where sources are and outputs go.", show_default=False)
    ] = None,
    lease_seconds: Annotated[
        int | None, typer.Option(help="A worker so long silent has lost its jobs.", min=5)
    ] = None,
    hard_limit_seconds: Annotated[
        int | None, typer.Option(help="No attempt may take longer.", min=1)
    ] = None,
    grace_seconds: Annotated[
        int, typer.Option(help="How long running jobs may go on after a signal.", min=0)
    ] = 30,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is left to do.")
    ] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Claim jobs and run them, until SIGTERM or Ctrl-C. A second signal hurries it."""
    with manager_for(database_url) as manager:
        Worker(
            manager,
            storage=LocalStorage(storage_dir or manager.settings.storage_dir),
            queues=queue or ["default"],
            pipelines=pipeline or None,
            concurrency=concurrency,
            lease=_seconds(lease_seconds),
            hard_limit=_seconds(hard_limit_seconds),
            shutdown_grace=timedelta(seconds=grace_seconds),
            observer=_Teller(),
        ).run(until_idle=until_idle)


def _seconds(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


class _Teller:
    """A line when an attempt begins, and one when it ends."""

    def claimed(self, lease: Lease) -> None:
        job = lease.job
        complaints.print(
            f"{job.id} {job.pipeline}: attempt {job.attempt} of {job.max_attempts}", markup=False
        )

    def progressed(self, lease: Lease, progress: Progress) -> None:
        pass

    def settled(self, lease: Lease, outcome: Outcome, job: VideoJob | None) -> None:
        told = "not settled: the lease was lost, or the database could not be told"
        if job is not None:
            told = job.status if job.error_message is None else f"{job.status}: {job.error_message}"
        complaints.print(f"{lease.job_id} {type(outcome).__name__.lower()}; {told}", markup=False)
