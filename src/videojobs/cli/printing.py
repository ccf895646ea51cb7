"""What the commands have in common: the consoles, tables of jobs, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from videojobs.models import JobStatus, OutputFile, VideoJob

_PIPED_WIDTH = 10_000
"""Columns where nobody looks: `grep` must find what a terminal would have to cut."""


class _ReadByHead(Console):
    """A reader that leaves early, such as `head`, has seen enough: that is no failure."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


def _width() -> int | None:
    return None if "COLUMNS" in os.environ or sys.stdout.isatty() else _PIPED_WIDTH


console = _ReadByHead(width=_width())
complaints = Console(stderr=True)

_INTERNALS: frozenset[str] = frozenset(
    {"tenant_id", "seq", "run_token", "lost_count", "output_files"}
)

_COLORS = {
    JobStatus.QUEUED: "cyan",
    JobStatus.PROCESSING: "yellow",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "magenta",
}


def print_json(value: Any) -> None:
    """The value as indented JSON, and nothing else, on standard output."""
    console.out(to_json(value, indent=2, fallback=_plain).decode(), highlight=False)


def _plain(value: Any) -> Any:
    return dict(value)


def print_jobs(jobs: Iterable[VideoJob]) -> int:
    """A table with a line for each job; tells how many."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("id", "status", "%", "pipeline", "name", "attempt", "age", "took"):
        table.add_column(
            name, overflow="fold" if name == "name" else "ellipsis", no_wrap=name == "id"
        )
    for job in jobs:
        table.add_row(
            str(job.id),
            status_text(job.status),
            str(job.progress),
            job.pipeline,
            Text(job.resource_name or job.original_filename or job.source_url or ""),
            f"{job.attempt}/{job.max_attempts}",
            _age(job.created_at),
            seconds_text(job.processing_time),
        )
    console.print(table)
    return table.row_count


def print_job(job: VideoJob) -> None:
    """What people ask of a job, a line each, and its outputs."""
    passing = {"progress_detail", "stage"} if job.is_final else frozenset[str]()
    hidden = {*_INTERNALS, *passing}
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in job.model_dump(mode="json", exclude=hidden).items():
        if value not in (None, {}, []):
            shown = status_text(job.status) if name == "status" else Text(_shown(value))
            table.add_row(Text(name, style="dim"), shown)
    console.print(table)
    if job.output_files:
        print_outputs(job.output_files)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def print_outputs(outputs: Iterable[OutputFile]) -> None:
    """A table with the facts of each file, and where they are."""
    outputs = list(outputs)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("output", "size", "picture", "length", "codecs", "rate", "loudness"):
        table.add_column(name, overflow="fold")
    for output in outputs:
        codecs = " + ".join(filter(None, (output.video_codec, output.audio_codec)))
        table.add_row(
            Text(PurePosixPath(output.path).name),
            _bytes(output.size_bytes),
            f"{output.width}x{output.height}" if output.width else "",
            seconds_text(output.duration_seconds),
            codecs,
            f"{output.bitrate_kbps} kb/s" if output.bitrate_kbps else "",
            f"{output.loudness_lufs:.1f} LUFS" if output.loudness_lufs is not None else "",
        )
    console.print(table)
    for folder in dict.fromkeys(str(PurePosixPath(output.path).parent) for output in outputs):
        console.print(f"in {folder}", style="dim", markup=False, soft_wrap=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """What a person should know of the result, a line each."""
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)


def status_text(status: JobStatus) -> Text:
    """The status in its colour."""
    return Text(status, style=_COLORS[status])


def seconds_text(seconds: float | None) -> str:
    """A duration as people read it."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _age(moment: datetime) -> str:
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size} B"
