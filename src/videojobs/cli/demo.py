"""``videojobs demo``: a video through the whole system, on a database of its own."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from videojobs.cli.database import print_stats
from videojobs.cli.printing import console, print_outputs, status_text
from videojobs.local import LocalStack
from videojobs.manager import VideoJobManager
from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.sample import make_sample
from videojobs.models import JobStatus, Lease, VideoJob
from videojobs.outcomes import Outcome
from videojobs.pipelines.progress import Progress
from videojobs.requests import NewVideoJob
from videojobs.settings import Settings
from videojobs.storage import LocalStorage
from videojobs.worker import Worker


def demo(
    video: Annotated[
        Path | None,
        typer.Argument(
            help="Your video; a sample is made if not given.", exists=True, dir_okay=False
        ),
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Where the outputs go.")] = Path(
        "videojobs-output"
    ),
) -> None:
    """Cut clips and make renditions of a video, on an embedded PostgreSQL, and show it all."""
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    settings = Settings(storage_dir=output_dir)
    with ExitStack() as stack:
        with console.status("Starting an embedded PostgreSQL and migrating it"):
            server = stack.enter_context(LocalStack.start(rest=False, durable=False))
            manager = stack.enter_context(
                VideoJobManager.from_url(server.database_url, settings=settings)
            )
        _done("PostgreSQL runs, and has the schema", started)
        source = video.resolve() if video is not None else _sample(output_dir)
        _done(f"The source is {source.name}", started)
        wishes = _wishes(source, server.create_user("demo@example.com"))
        jobs = [manager.create_job(wish) for wish in wishes]
        _done(f"{len(jobs)} jobs are queued; a worker starts", started)
        _work(manager, LocalStorage(output_dir, allow_outside=True))
        finished = [manager.get_job(job.id) for job in jobs]
        _report(manager, finished, output_dir)
    console.print(
        f"\nAll of it took {time.monotonic() - started:.0f} s. The database is gone again."
    )
    if any(job.status is not JobStatus.COMPLETED for job in finished):
        raise typer.Exit(1)
    _print_next()


def _print_next() -> None:
    command = _command()
    again = "make demo" if _is_from_make(command) else f"{command} demo"
    video = "VIDEO=talk.mp4" if _is_from_make(command) else "talk.mp4"
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_row(f"{again} {video}", "with your own footage")
    table.add_row(f"{command} local up", "a database that stays")
    table.add_row(f"{command} --help", "all commands")
    table.add_row("README.md", "ten lines for FastAPI")
    console.print("\n[bold]What to try next[/]")
    console.print(table, highlight=False)


def _command() -> str:
    """How this command is called from here: it may not be on the PATH."""
    if shutil.which("videojobs"):
        return "videojobs"
    called = Path(sys.argv[0])
    if called.name == "videojobs":
        return str(called)
    python = Path(sys.executable)
    is_on_path = shutil.which(python.name) == str(python)
    return f"{python.name if is_on_path else python} -m videojobs"


def _is_from_make(command: str) -> bool:
    return command == ".venv/bin/videojobs" and Path("Makefile").is_file()


def _sample(output_dir: Path) -> Path:
    with console.status("Making a sample of 20 seconds"):
        path = output_dir.resolve() / "sample.mp4"
        make_sample(path, find_ffmpeg())
    return path


def _wishes(source: Path, user_id: UUID) -> list[NewVideoJob]:
    name, size = source.name[:255], source.stat().st_size
    return [
        NewVideoJob(
            user_id=user_id,
            pipeline="clips",
            source_url=str(source),
            original_filename=name,
            original_filesize=size,
            clip_count=3,
            platform_target="tiktok",  # pyright: ignore[reportArgumentType] # as callers write it
            enhancement_level="basic",  # pyright: ignore[reportArgumentType]
            quality_preset="draft",  # pyright: ignore[reportArgumentType] # quick, for a demo
        ),
        NewVideoJob(
            user_id=user_id,
            pipeline="renditions",
            source_url=str(source),
            original_filename=name,
            original_filesize=size,
            resource_type="film",  # pyright: ignore[reportArgumentType]
            resource_id="demo-film",
            resource_name="The demo",
            quality_preset="draft",  # pyright: ignore[reportArgumentType]
        ),
    ]


def _work(manager: VideoJobManager, storage: LocalStorage) -> None:
    columns = (
        TextColumn("  {task.description:<12}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[stage]}", style="dim"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console) as bars:
        Worker(manager, storage=storage, observer=_BarObserver(bars)).run(until_idle=True)


class _BarObserver:
    """A bar for each job, and one for each of its outputs."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[tuple[UUID, str], TaskID] = {}

    def claimed(self, lease: Lease) -> None:
        self._show(lease.job_id, lease.job.pipeline, 0, "claimed")

    def progressed(self, lease: Lease, progress: Progress) -> None:
        self._show(lease.job_id, lease.job.pipeline, progress.percent, _stage(progress))
        self._show_outputs(lease.job_id, progress.detail)

    def settled(self, lease: Lease, outcome: Outcome, job: VideoJob | None) -> None:
        if job is None:
            self._show(lease.job_id, lease.job.pipeline, 0, "not settled")
        else:
            self._show(job.id, job.pipeline, job.progress, job.status)

    def _show_outputs(self, job_id: UUID, detail: Mapping[str, int]) -> None:
        for name, percent in detail.items():
            self._show(job_id, f"  {name}", percent, "")

    def _show(self, job_id: UUID, name: str, percent: int, stage: str) -> None:
        key = (job_id, name)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(name, total=100, stage=stage)
        self._bars.update(self._tasks[key], completed=percent, stage=stage)


def _stage(progress: Progress) -> str:
    return progress.stage if progress.speed is None else f"{progress.stage}, {progress.speed:.1f}x"


def _report(manager: VideoJobManager, jobs: list[VideoJob], output_dir: Path) -> None:
    for job in jobs:
        console.print()
        console.print(f"[bold]{job.pipeline}[/]", status_text(job.status), str(job.id))
        if job.error_message:
            console.print(f"{job.error_code}: {job.error_message}", markup=False)
        if job.output_files:
            print_outputs(job.output_files)
    if any(job.output_files for job in jobs):
        console.print(f"\nThe files are in {output_dir.resolve()}", markup=False, soft_wrap=True)
    print_stats(manager.get_job_stats())


def _done(what: str, started: float) -> None:
    console.print(f"[green]✓[/] {what}", f"[dim]{time.monotonic() - started:.1f} s[/]")
