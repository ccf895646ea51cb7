"""``videojobs worker``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from videojobs.cli.options import DatabaseUrl, manager_for
from videojobs.cli.printing import complaints, seconds_text
from videojobs.cli.sending import SendsWebhooks, sending
from videojobs.models import JobStatus, Lease, VideoJob
from videojobs.outcomes import Failed, Outcome, Split
from videojobs.pipelines.progress import Progress
from videojobs.requests import refuse
from videojobs.settings import FAST_LEASE_SECONDS
from videojobs.storage import open_storage
from videojobs.turns import Queues
from videojobs.worker import Worker


def worker(
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", "-q", help="Which queues, first things first; or with weights: default:3."
        ),
    ] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option("--pipeline", "-p", help="Only jobs of these.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="How many jobs at once.", min=1)] = 1,
    storage_dir: Annotated[
        Path | None, typer.Option(help="Where sources are and outputs go.", show_default=False)
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A storage instead of that folder: supabase://bucket/prefix, s3://bucket/prefix.",
            show_default=False,
        ),
    ] = None,
    lease_seconds: Annotated[
        int | None, typer.Option(help="A worker so long silent has lost its jobs.", min=5)
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help=f"A lease of {FAST_LEASE_SECONDS} s: dead workers are noticed in 15 s."
        ),
    ] = False,
    hard_limit_seconds: Annotated[
        int | None, typer.Option(help="No attempt may take longer.", min=1)
    ] = None,
    grace_seconds: Annotated[
        int, typer.Option(help="How long running jobs may go on after a signal.", min=0)
    ] = 30,
    until_idle: Annotated[
        bool,
        typer.Option(
            "--until-idle",
            help="End when nothing is left to claim; jobs that other workers hold, also dead ones, "
            "are not waited for.",
        ),
    ] = False,
    webhooks: SendsWebhooks = True,
    database_url: DatabaseUrl = None,
) -> None:
    """Claim jobs and run them, until SIGTERM or Ctrl-C. A second signal hurries it."""
    if fast and lease_seconds is not None:
        raise refuse("worker", "lease_seconds", lease_seconds, "give --fast or --lease-seconds")
    if storage is not None and storage_dir is not None:
        raise refuse("worker", "storage", storage, "give --storage or --storage-dir")
    with manager_for(database_url) as manager:
        place = open_storage(storage or storage_dir, manager.settings)
        runner = Worker(
            manager,
            storage=place,
            queues=_queues(queue or ["default"]),
            pipelines=pipeline or None,
            concurrency=concurrency,
            lease=_seconds(FAST_LEASE_SECONDS if fast else lease_seconds),
            hard_limit=_seconds(hard_limit_seconds),
            shutdown_grace=timedelta(seconds=grace_seconds),
            observer=_Teller(),
        )
        place.check()  # before it is said that the work begins
        works_on = ", ".join(queue or ["default"])
        _tell(f"worker {runner.id} works on {works_on}, storage {place}")
        with sending(manager.settings, wanted=webhooks and not until_idle):
            runner.run(until_idle=until_idle)
        _tell("stopped")


def _queues(given: list[str]) -> Queues:
    if not any(":" in name for name in given):
        return given
    weights: dict[str, int] = {}
    for each in given:
        name, _, weight = each.partition(":")
        if not weight.isdecimal():
            raise refuse("worker", "queue", each, "NAME:WEIGHT for all of them, such as default:3")
        weights[name] = int(weight)
    return weights


def _seconds(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


class _Teller:
    """A line when an attempt begins, and one when it ends."""

    def claimed(self, lease: Lease) -> None:
        job = lease.job
        _tell(f"{job.id} {job.pipeline}: attempt {job.attempt} of {job.max_attempts}")

    def progressed(self, lease: Lease, progress: Progress) -> None:
        pass

    def settled(self, lease: Lease, outcome: Outcome, job: VideoJob | None) -> None:
        _tell(f"{lease.job_id} {_ending(outcome, job)}")


def _ending(outcome: Outcome, job: VideoJob | None) -> str:
    if job is None:
        return "not settled: the lease was lost, or the database could not be told"
    if isinstance(outcome, Split) and job.status is JobStatus.QUEUED:
        return f"waits for {len(outcome.segments)} segments, which are jobs of their own now"
    if isinstance(outcome, Failed) and job.status is JobStatus.QUEUED:
        return f"failed, will be tried again: {outcome.error_message}"
    match job.status:
        case JobStatus.COMPLETED:
            count = len(job.output_files)
            files = "1 file" if count == 1 else f"{count} files"
            return f"completed in {seconds_text(job.processing_time)}, {files}"
        case JobStatus.FAILED:
            return f"failed: {job.error_message}"
        case JobStatus.QUEUED:
            return "given back, for another worker"
        case _:
            return str(job.status)


def _tell(line: str) -> None:
    complaints.print(line, markup=False, highlight=False, soft_wrap=True)
