"""The call at the heart of a worker: end attempts, and claim the next jobs in the same commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from videojobs.calls._call import Call, Json, Repeatable, storable_json
from videojobs.calls.work import ClaimWish, Outputs, as_outputs, readable_leases, told
from videojobs.models import Lease, Rows, SettledAttempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How one attempt ended, as the database takes it."""

    job_id: UUID
    run_token: int
    outcome: Literal["completed", "failed", "released", "cancelled", "split"]
    output_files: Outputs = ()
    processing_seconds: float | None = None
    error_code: str = "processing_failed"
    error_message: str | None = None
    retryable: bool = True
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])
    segments: Sequence[int] = ()
    """Which are to become jobs, of a job that is split."""

    def to_json(self) -> dict[str, Any]:
        """Only what the outcome's own function takes."""
        wish: dict[str, Any] = {
            "job_id": str(self.job_id),
            "run_token": self.run_token,
            "outcome": self.outcome,
            "detail": storable_json(self.detail),
        }
        match self.outcome:
            case "completed":
                wish["output_files"] = as_outputs(self.output_files)
                wish["processing_seconds"] = self.processing_seconds
            case "failed":
                wish["error_code"] = told(self.error_code)
                wish["error_message"] = told(self.error_message or "")
                wish["retryable"] = self.retryable
            case "split":
                wish["segments"] = list(self.segments)
            case _:
                pass
        return wish


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of it."""

    settled: tuple[SettledAttempt, ...]
    leases: tuple[Lease, ...]


def settle_jobs(
    settlements: Sequence[Settlement], then_claim: ClaimWish | None = None
) -> Call[Exchange]:
    """End the attempts, all or none, and claim if asked to. Repeating it changes nothing more."""
    arguments = {
        "settlements": Json([settlement.to_json() for settlement in settlements]),
        "claim": None if then_claim is None else Json(then_claim.to_json()),
    }
    return Call("settle_video_jobs", arguments, _exchange, Repeatable.KEYED)


def _exchange(rows: Rows) -> Exchange:
    settled = tuple(map(SettledAttempt.model_validate, rows[0]["settled"]))
    return Exchange(settled, tuple(readable_leases(rows[0]["leased"])))
