"""What operators do from time to time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from videojobs.errors import AuthenticationError, ConfigurationError, PermissionDeniedError
from videojobs.models import JobStatus, RecoveredJob, UpdateResult
from videojobs.reports import Finding, Upkeep
from videojobs.requests import BATCH_LIMIT, JobChanges, JobFilter, refuse
from videojobs.web.caching import json_answer
from videojobs.web.dependencies import SignedIn, Visitor
from videojobs.web.documentation import answers


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Recover(_Order):
    """Take jobs back from workers that are silent."""

    action: Literal["recover"]
    limit: int = Field(default=100, ge=1, le=BATCH_LIMIT)


class Maintain(_Order):
    """A round of all upkeep."""

    action: Literal["maintain"]


class Archive(_Order):
    """Move final jobs to the archive."""

    action: Literal["archive"]
    older_than_days: float = Field(ge=0, le=36_500)
    statuses: tuple[Literal["completed", "failed", "cancelled"], ...] = Field(
        default=("completed", "failed", "cancelled"), min_length=1, max_length=3
    )


class Examine(_Order):
    """Find what is wrong with the database, or may soon be."""

    action: Literal["doctor"]
    deep: bool = Field(default=False, description="Also count all jobs, which takes its time.")


class BulkUpdate(_Order):
    """Change many jobs."""

    action: Literal["bulk_update"]
    changes: dict[str, Any] = Field(examples=[{"priority": 8}])
    job_ids: list[UUID] | None = Field(default=None, max_length=10_000)
    filters: dict[str, Any] | None = Field(default=None, examples=[{"status": "queued"}])
    dry_run: bool = Field(default=False, description="Only tell what would happen.")


Order = Annotated[
    Recover | Maintain | Archive | Examine | BulkUpdate, Field(discriminator="action")
]


class Report(BaseModel):
    """What was done or found; only what the action has."""

    action: str
    recovered: tuple[RecoveredJob, ...] | None = None
    upkeep: Upkeep | None = None
    archived: int | None = None
    findings: tuple[Finding, ...] | None = None
    outcomes: tuple[UpdateResult, ...] | None = None


_report = TypeAdapter(Report)
_EXAMPLES: Any = {
    "doctor": {"value": {"action": "doctor"}},
    "recover": {"value": {"action": "recover"}},
    "archive": {"value": {"action": "archive", "older_than_days": 30}},
    "bulk_update": {
        "value": {
            "action": "bulk_update",
            "filters": {"status": "queued"},
            "changes": {"priority": 8},
            "dry_run": True,
        }
    },
}


def add_routes(api: APIRouter) -> None:
    """The operators' route."""
    api.add_api_route(
        "/api/v1/admin/jobs/maintenance",
        maintenance,
        methods=["POST"],
        summary="Recover, archive, examine or change jobs",
        response_model=None,
        responses=answers(Report, 403, described="What was done or found.", has_body=True),
        tags=["admin"],
    )


async def maintenance(
    order: Annotated[Order, Body(openapi_examples=_EXAMPLES)], visitor: SignedIn
) -> Response:
    """For users whose `app_metadata` has the role `admin`."""
    visitor.as_admin()
    try:
        report = await _done(order, visitor)
    except (AuthenticationError, PermissionDeniedError) as error:
        if isinstance(order, BulkUpdate):
            raise
        # The service's own rights: nothing that the caller could mend.
        raise ConfigurationError(f"the API's manager lacks service rights: {error}") from error
    return json_answer(_report.dump_json(report, exclude_none=True))


async def _done(order: Order, visitor: Visitor) -> Report:
    service = visitor.as_admin()
    match order:
        case Recover():
            recovered = await service.recover_stuck_jobs(limit=order.limit)
            return Report(action=order.action, recovered=tuple(recovered))
        case Maintain():
            return Report(action=order.action, upkeep=await service.maintain())
        case Archive():
            age = timedelta(days=order.older_than_days)
            wanted = [JobStatus(status) for status in order.statuses]
            archived = await service.archive_jobs(older_than=age, statuses=wanted)
            return Report(action=order.action, archived=archived)
        case Examine():
            return Report(action=order.action, findings=await service.doctor(deep=order.deep))
        case BulkUpdate():
            return Report(action=order.action, outcomes=await _changed(order, visitor))


async def _changed(order: BulkUpdate, visitor: Visitor) -> tuple[UpdateResult, ...]:
    if (order.job_ids is None) == (order.filters is None):
        raise refuse("maintenance", "job_ids", None, "give either job_ids or filters")
    # As the admin, not as the service: the history then names who did it.
    outcomes = await visitor.jobs.bulk_update_jobs(
        JobChanges(**order.changes),
        job_ids=order.job_ids,
        filters=None if order.filters is None else JobFilter(**order.filters),
        dry_run=order.dry_run,
    )
    return tuple(outcomes)
