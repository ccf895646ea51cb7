"""Calls of workers and services: claim, keep, settle, recover."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from videojobs.calls._call import (
    Call,
    Json,
    Repeatable,
    as_id,
    storable,
    storable_json,
    whole_within,
    within,
)
from videojobs.calls.jobs import one_job
from videojobs.errors import LeaseLostError
from videojobs.models import (
    Beat,
    BeatReply,
    JobStatus,
    Lease,
    OutputFile,
    RecoveredJob,
    Row,
    Rows,
    Settled,
    Verdict,
    VideoJob,
)
from videojobs.requests import BATCH_LIMIT, refusal, refuse

logger = logging.getLogger("videojobs")

CLAIM_LIMIT = 100
NOTE_LIMIT = 4000
"""Characters of a note."""
LEASE_SECONDS = (1, 7 * 24 * 3600)
Outputs = Sequence[OutputFile | Mapping[str, Any] | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimWish:
    """Which jobs a worker would take, and for how long."""

    worker: str
    claim_key: UUID
    """The same again returns the same leases."""
    queues: Sequence[str]
    pipelines: Sequence[str] | None
    limit: int
    lease_seconds: float
    hard_limit_seconds: float | None

    def __post_init__(self) -> None:
        _check_worker("claim_jobs", self.worker)
        whole_within("claim_jobs", "limit", self.limit, 1, CLAIM_LIMIT)
        within("claim_jobs", "lease_seconds", self.lease_seconds, *LEASE_SECONDS)
        _check_names("queues", self.queues)
        if self.pipelines is not None:
            _check_names("pipelines", self.pipelines)

    def arguments(self) -> dict[str, Any]:
        """As the SQL function takes them."""
        return {
            "worker": self.worker,
            "claim_key": self.claim_key,
            "queues": list(self.queues),
            "pipelines": None if self.pipelines is None else list(self.pipelines),
            "job_limit": self.limit,
            "lease_seconds": self.lease_seconds,
            "hard_limit_seconds": self.hard_limit_seconds,
        }

    def to_json(self) -> dict[str, Any]:
        """The same within a JSON argument."""
        return {**self.arguments(), "claim_key": str(self.claim_key)}


def claim_jobs(wish: ClaimWish) -> Call[list[Lease]]:
    """Lease the next ready jobs."""
    return Call("claim_video_jobs", wish.arguments(), readable_leases, Repeatable.KEYED)


def _check_worker(operation: str, worker: str) -> None:
    if not 0 < len(worker) <= 255 or storable(worker) != worker:
        raise refuse(operation, "worker_id", worker, "text of 1 to 255 characters without NUL")


def _check_names(field: str, names: Sequence[str]) -> None:
    if isinstance(names, str) or not names or any("\x00" in name for name in names):
        raise refuse("claim_jobs", field, names, "a list of one or more names without NUL")


def readable_leases(rows: Rows) -> list[Lease]:
    """The leases, but for those on jobs that this version cannot read."""
    return [lease for row in rows if (lease := _readable(row))]


def _readable(row: Row) -> Lease | None:
    # One row that this version cannot read must not stop a worker, nor each of its successors:
    # left alone, its lease runs out, and after a few such it fails with worker_lost.
    try:
        return Lease.model_validate(row)
    except ValidationError as error:
        logger.error("a claimed job cannot be read by this version: %s", refusal("Lease", error))
        return None


def start_processing(
    job_id: UUID | str, worker: str, claim_key: UUID, lease_seconds: float
) -> Call[Lease]:
    """Lease one named job."""
    _check_worker("start_processing", worker)
    within("start_processing", "lease_seconds", lease_seconds, *LEASE_SECONDS)
    arguments = {
        "job_id": as_id("start_processing", "job_id", job_id),
        "worker": worker,
        "claim_key": claim_key,
        "lease_seconds": lease_seconds,
    }
    return Call("start_video_job", arguments, _one_lease, Repeatable.KEYED)


def _one_lease(rows: Rows) -> Lease:
    return Lease.model_validate(rows[0])


def heartbeat(
    beats: Sequence[Beat],
    lease_seconds: float,
    worker: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Call[list[BeatReply]]:
    """Keep the leases, report progress and presence, and hear orders."""
    if worker is not None:
        _check_worker("heartbeat", worker)
    within("heartbeat", "lease_seconds", lease_seconds, *LEASE_SECONDS)
    whole_within("heartbeat", "the number of beats", len(beats), 0, BATCH_LIMIT)
    arguments = {
        "beats": Json(
            [storable_json(beat.model_dump(mode="json", exclude_none=True)) for beat in beats]
        ),
        "lease_seconds": lease_seconds,
        "worker": worker,
        "facts": None if facts is None else Json(storable_json(facts)),
    }
    return Call("heartbeat_video_jobs", arguments, _replies, Repeatable.KEYED)


def _replies(rows: Rows) -> list[BeatReply]:
    return [BeatReply.model_validate(row) for row in rows]


def complete_job(
    job: Lease | VideoJob | UUID | str,
    outputs: Outputs,
    processing_seconds: float | None,
    detail: Mapping[str, Any],
) -> Call[VideoJob]:
    """Complete it. A bare id works for a service; a worker gives its lease."""
    job_id, run_token = _target("complete_job", job)
    if processing_seconds is not None:
        within("complete_job", "processing_time", processing_seconds, 0, 10**9)
    arguments = {
        "job_id": job_id,
        "run_token": run_token,
        "output_files": Json(as_outputs(outputs)),
        "processing_seconds": processing_seconds,
        "detail": Json(storable_json(detail)),
    }
    return _settling("complete_video_job", arguments, Repeatable.KEYED)


def fail_job(
    job: Lease | VideoJob | UUID | str,
    error_message: str,
    *,
    error_code: str,
    retryable: bool,
    detail: Mapping[str, Any],
) -> Call[VideoJob]:
    """Report a failed attempt. With a lease it can be repeated; with a bare id it cannot."""
    job_id, run_token = _target("fail_job", job)
    arguments = {
        "job_id": job_id,
        "run_token": run_token,
        "error_code": told(error_code),
        "error_message": told(error_message),
        "retryable": retryable,
        "detail": Json(storable_json(detail)),
    }
    repeatable = Repeatable.ONCE if run_token is None else Repeatable.KEYED
    return _settling("fail_video_job", arguments, repeatable)


def log(lease: Lease, message: str, detail: Mapping[str, Any]) -> Call[Verdict]:
    """Write a note into the job's history."""
    if not isinstance(message, str) or not 0 < len(message) <= NOTE_LIMIT:  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise refuse("log", "message", message, f"text of 1 to {NOTE_LIMIT} characters")
    try:
        json.dumps(detail, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise refuse("log", "detail", detail, f"a JSON object ({error})") from None
    arguments = {
        "job_id": lease.job_id,
        "run_token": lease.run_token,
        "message": told(message),
        "detail": Json(storable_json(detail)),
    }
    return Call(
        "log_video_job",
        arguments,
        partial(_verdict, "log_video_job", lease.job_id),
        Repeatable.ONCE,
    )


def _verdict(function: str, job_id: UUID, rows: Rows) -> Verdict:
    verdict = Verdict(rows[0]["verdict"])
    if verdict is Verdict.LOST:
        raise _lost(function, job_id)
    return verdict


def release_job(lease: Lease) -> Call[VideoJob]:
    """Give it back unfinished."""
    return _settling("release_video_job", _held(lease), Repeatable.KEYED)


def confirm_cancel(lease: Lease) -> Call[VideoJob]:
    """Say that the work has stopped, as was asked."""
    return _settling("confirm_video_job_cancel", _held(lease), Repeatable.KEYED)


def _held(lease: Lease) -> dict[str, Any]:
    return {"job_id": lease.job_id, "run_token": lease.run_token}


def _target(operation: str, job: Lease | VideoJob | UUID | str) -> tuple[UUID, int | None]:
    match job:
        case Lease():
            return job.job_id, job.run_token
        case VideoJob():
            return job.id, None
        case _:
            return as_id(operation, "job_id", job), None


def _settling(
    function: str, arguments: Mapping[str, Any], repeatable: Repeatable
) -> Call[VideoJob]:
    return Call(
        function, arguments, partial(_settled_job, function, arguments["job_id"]), repeatable
    )


def _settled_job(function: str, job_id: UUID, rows: Rows) -> VideoJob:
    settled = Settled.model_validate(rows[0])
    if settled.verdict is Verdict.LOST or settled.job is None:
        raise _lost(function, job_id)
    return settled.job


def _lost(function: str, job_id: UUID) -> LeaseLostError:
    return LeaseLostError(
        f"the lease on job {job_id} is lost: another attempt owns it, or it was taken back; "
        "stop working on it, nothing was changed",
        job_id=job_id,
        operation=function,
    )


def as_outputs(outputs: Outputs) -> list[dict[str, Any]]:
    """The outputs as JSON; refuses what is none."""
    if isinstance(outputs, str):
        raise refuse("complete_job", "outputs", outputs, "a list of paths or output files")
    return [
        storable_json(_as_output(output).model_dump(mode="json", exclude_none=True))
        for output in outputs
    ]


def _as_output(output: OutputFile | Mapping[str, Any] | str) -> OutputFile:
    match output:
        case OutputFile():
            return output
        case _:
            facts = {"path": output} if isinstance(output, str) else output
            try:
                return OutputFile.model_validate(facts)
            except ValidationError as error:
                raise refusal("complete_job", error) from None


def told(text: str) -> str:
    """An error's text as it can be stored."""
    return storable(text)[:4000] or "unknown"


def update_status(
    job_id: UUID | str,
    status: JobStatus,
    *,
    progress: int | None,
    stage: str | None,
    worker: str | None,
    outputs: Outputs,
    error_code: str,
    error_message: str | None,
) -> Call[VideoJob]:
    """Bring it to the status, for a service without a lease."""
    if worker is not None:
        _check_worker("update_job_status", worker)
    if progress is not None:
        whole_within("update_job_status", "progress", progress, 0, 100)
    arguments = {
        "job_id": as_id("update_job_status", "job_id", job_id),
        "status": status.value,
        "progress": progress,
        "stage": None if stage is None else storable(stage),
        "worker": worker,
        "output_files": Json(as_outputs(outputs)),
        "error_code": told(error_code),
        "error_message": None if error_message is None else told(error_message),
    }
    return Call("update_video_job_status", arguments, one_job, Repeatable.ONCE)


def find_stuck(running_seconds: float | None, limit: int) -> Call[list[VideoJob]]:
    """Read the jobs whose worker is silent, or takes too long."""
    whole_within("find_stuck_jobs", "limit", limit, 1, BATCH_LIMIT)
    arguments = {"running_seconds": running_seconds, "row_limit": limit}
    return Call("find_stuck_video_jobs", arguments, _jobs, Repeatable.READ)


def _jobs(rows: Rows) -> list[VideoJob]:
    return [VideoJob.model_validate(row) for row in rows]


def recover(limit: int) -> Call[list[RecoveredJob]]:
    """Take jobs back from silent workers."""
    whole_within("recover_stuck_jobs", "limit", limit, 1, BATCH_LIMIT)
    return Call("recover_video_jobs", {"row_limit": limit}, _recovered, Repeatable.KEYED)


def _recovered(rows: Rows) -> list[RecoveredJob]:
    return [RecoveredJob.model_validate(row) for row in rows]
