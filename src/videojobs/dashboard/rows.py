"""A job as one row of the table shows it: plain values for the browser, and nothing else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from videojobs.dashboard.wording import STATUS_NAMES, TYPE_NAMES
from videojobs.models import JobStatus, VideoJob

Row = dict[str, Any]


def title_of(job: VideoJob) -> str:
    """What people call the job: the resource, else the file, else where the source lies."""
    return job.resource_name or job.original_filename or _source_name(job) or f"Job {job.id}"


def row_of(job: VideoJob, base: str) -> Row:
    """The row of a job; *base* is where the dashboard is mounted."""
    return {
        "id": str(job.id),
        "href": f"{base}/jobs/{job.id}",
        "title": title_of(job),
        "file": job.original_filename or _source_name(job) or "",
        "type": TYPE_NAMES[job.resource_type],
        "pipeline": job.pipeline,
        "status": job.status.value,
        "statusName": _status_name(job),
        "stage": _stage(job),
        "progress": 100 if job.status is JobStatus.COMPLETED else job.progress,
        "attempt": f"{job.attempt}/{job.max_attempts}",
        "created": job.created_at.isoformat(),
        "started": _running_since(job),
        "seconds": job.processing_time,
        "poster": poster_url(job, base),
        "error": job.error_code if job.status is JobStatus.FAILED else None,
        "actions": [name for name in ("cancel", "retry", "delete") if may(name, job)],
    }


def may(action: str, job: VideoJob) -> bool:
    """Whether the job's status allows it; who may do it, the database says."""
    match action:
        case "cancel":
            return not job.is_final and job.cancel_requested_at is None
        case "retry":
            return job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
        case _:
            return job.is_final


def poster_url(job: VideoJob, base: str) -> str | None:
    """Where the job's first picture is; none before there are outputs."""
    for number, output in enumerate(job.output_files):
        if output.kind == "poster":
            return file_url(job, number, base)
    return None


def file_url(job: VideoJob, number: int, base: str) -> str:
    """Where an output is, by its place among the job's outputs.

    The run token stands in it for the browser's cache: another attempt's outputs are others.
    """
    name = quote(job.output_files[number].path.rpartition("/")[2])
    return f"{base}/files/{job.id}/{number}/{name}?run={job.run_token}"


def _source_name(job: VideoJob) -> str:
    # Of a signed URL, only the file's name is for people's eyes.
    return (job.source_url or "").partition("?")[0].rstrip("/").rpartition("/")[2]


def _status_name(job: VideoJob) -> str:
    if job.status is JobStatus.PROCESSING and job.cancel_requested_at is not None:
        return "Stopping"
    return STATUS_NAMES[job.status]


def _stage(job: VideoJob) -> str | None:
    return job.stage if job.status is JobStatus.PROCESSING else None


def _running_since(job: VideoJob) -> str | None:
    is_running = job.status is JobStatus.PROCESSING and job.started_at is not None
    return job.started_at.isoformat() if is_running and job.started_at else None
