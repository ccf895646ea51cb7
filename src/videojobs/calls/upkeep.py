"""Calls of operators: limits, settings, workers, retention and the state of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from videojobs.calls._call import Call, Json, Repeatable, as_id, whole_within
from videojobs.facts import Facts
from videojobs.models import FINAL_STATUSES, JobStatus, Rows
from videojobs.reports import (
    Limit,
    LimitKind,
    QueueSettings,
    QueueWait,
    StatsDrift,
    Upkeep,
    WorkerInfo,
)
from videojobs.requests import BATCH_LIMIT, QueueSettingsChanges, refuse

_LARGEST_LIMIT = 1_000_000


def maintain() -> Call[Upkeep]:
    """Do what has to be done from time to time."""
    return Call("maintain_video_jobs", {"row_limit": BATCH_LIMIT}, _upkeep, Repeatable.KEYED)


def _upkeep(rows: Rows) -> Upkeep:
    return Upkeep.model_validate(rows[0])


def archive(statuses: Sequence[JobStatus], older_than_seconds: float) -> Call[int]:
    """Move up to `BATCH_LIMIT` final jobs to the archive."""
    if not statuses or not FINAL_STATUSES.issuperset(statuses):
        allowed = f"one or more of {', '.join(sorted(FINAL_STATUSES))}"
        raise refuse("archive_jobs", "statuses", list(statuses), allowed)
    arguments = {
        "statuses": [status.value for status in statuses],
        "older_than_seconds": older_than_seconds,
        "row_limit": BATCH_LIMIT,
    }
    return Call("archive_video_jobs", arguments, len, Repeatable.KEYED)


def configure(changes: Mapping[str, Any]) -> Call[QueueSettings]:
    """Set what is named, and read all."""
    wish = QueueSettingsChanges(**changes)
    arguments = {"changes": Json(wish.model_dump(mode="json", exclude_unset=True))}
    return Call("configure_video_jobs", arguments, _settings, Repeatable.KEYED)


def _settings(rows: Rows) -> QueueSettings:
    return QueueSettings.model_validate(rows[0]["settings"])


def set_limit(
    max_running: int | None,
    *,
    tenant: UUID | str | None,
    queue: str | None,
    pipeline: str | None,
) -> Call[list[Limit]]:
    """Set one limit, or lift it; answers with all."""
    keys: dict[LimitKind, UUID | str | None] = {
        "tenant": tenant,
        "queue": queue,
        "pipeline": pipeline,
    }
    given = [(kind, key) for kind, key in keys.items() if key is not None]
    if len(given) != 1:
        raise refuse("set_limit", "tenant, queue, pipeline", None, "give exactly one of them")
    kind, key = given[0]
    if max_running is not None:
        whole_within("set_limit", "max_running", max_running, 0, _LARGEST_LIMIT)
    if kind == "tenant" and key != "*":
        key = as_id("set_limit", "tenant", key)
    if not 0 < len(str(key)) <= 63 or "\x00" in str(key):
        raise refuse("set_limit", kind, key, "a name of 1 to 63 characters, or '*' for each")
    arguments = {"kind": kind, "key": str(key), "max_running": max_running}
    return Call("set_video_job_limit", arguments, _limits, Repeatable.KEYED)


def list_limits() -> Call[list[Limit]]:
    """Read all limits."""
    return Call("set_video_job_limit", {}, _limits, Repeatable.READ)


def _limits(rows: Rows) -> list[Limit]:
    return [Limit.model_validate(row) for row in rows]


def set_queue_fairness(queue: str, *, fair: bool) -> Call[None]:
    """Make it fair, or strictly first come, first served."""
    if not 0 < len(queue) <= 63 or "\x00" in queue:
        raise refuse("set_queue_fairness", "queue", queue, "a name of 1 to 63 characters")
    arguments = {"queue": queue, "is_fair": fair}
    return Call("set_video_job_queue", arguments, _nothing, Repeatable.KEYED)


def _nothing(_: Rows) -> None:
    return None


def list_workers() -> Call[list[WorkerInfo]]:
    """Read who works, and on what."""
    return Call("list_video_job_workers", {}, _workers, Repeatable.READ)


def _workers(rows: Rows) -> list[WorkerInfo]:
    return [WorkerInfo.model_validate(row) for row in rows]


def list_queue_waits() -> Call[list[QueueWait]]:
    """Read which queues wait, longest waiting first."""
    return Call("list_video_job_waits", {}, _waits, Repeatable.READ)


def _waits(rows: Rows) -> list[QueueWait]:
    return [QueueWait.model_validate(row) for row in rows]


def drain_worker(worker_id: str) -> Call[bool]:
    """Ask it to finish and end; says whether it is known."""
    return Call("drain_video_job_worker", {"worker": worker_id}, _drained, Repeatable.KEYED)


def _drained(rows: Rows) -> bool:
    return bool(rows[0]["drained"])


def remove_worker(worker_id: str) -> Call[None]:
    """Forget a worker that has ended."""
    return Call("remove_video_job_worker", {"worker": worker_id}, _nothing, Repeatable.KEYED)


def reconcile_stats(*, repair: bool) -> Call[list[StatsDrift]]:
    """Count everything, and tell where the sums differ."""
    return Call("reconcile_video_job_stats", {"repair": repair}, _drifts, Repeatable.KEYED)


def _drifts(rows: Rows) -> list[StatsDrift]:
    return [StatsDrift.model_validate(row) for row in rows]


def diagnose() -> Call[Facts]:
    """Read the state of the database."""
    return Call("diagnose_video_jobs", {}, _facts, Repeatable.READ)


def _facts(rows: Rows) -> Facts:
    return Facts.model_validate(rows[0]["facts"])


def probe_rows(count: int) -> Call[int]:
    """Ask for so many rows; says how many arrived."""
    return Call("probe_video_job_rows", {"row_count": count}, len, Repeatable.READ)
