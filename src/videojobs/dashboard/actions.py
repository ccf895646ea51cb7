"""What a viewer does to jobs: asked for once more where it cannot be undone, and told how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from videojobs.dashboard.parts import answer_of, box, button, dialog_box, text
from videojobs.dashboard.rows import title_of
from videojobs.dashboard.viewing import Viewer, complain, say, tried
from videojobs.dashboard.wording import jobs_text
from videojobs.errors import VideoJobsError
from videojobs.models import FINAL_STATUSES, JobStatus, UpdateOutcome, UpdateResult, VideoJob
from videojobs.requests import JobChanges, JobFilter

_AT_ONCE = 8

_CHANGES = {
    "cancel": JobChanges(status=JobStatus.CANCELLED),
    "retry": JobChanges(status=JobStatus.QUEUED),
}
_VERBS = {"cancel": "Cancel", "retry": "Retry", "delete": "Delete"}
_DONE = {"cancel": "cancelled", "retry": "queued again", "delete": "deleted"}
_MEANING = {
    "cancel": "Waiting jobs end at once. Running ones are stopped within seconds; what they made so far is removed.",
    "retry": "They are queued again, with all their attempts. Their history stays.",
    "delete": "The jobs and their history are gone for good. Their output files are not touched.",
}
_CANNOT = {
    "cancel": "have ended already",
    "retry": "have neither failed nor been cancelled",
    "delete": "are still waiting or running: cancel them first",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which jobs a bulk action is for: these, or all that match."""

    ids: Sequence[UUID] = ()
    filters: JobFilter | None = None


async def confirm(
    title: str, meaning: str, yes: str, *, is_grave: bool, no: str = "Keep as is"
) -> bool:
    """Whether the viewer means it. Esc and a click beside the dialog mean no."""
    with dialog_box() as dialog, box("vj-dialog", role="document"):
        text(title, "vj-dialog-title", "h2")
        text(meaning, "vj-dialog-text", "p")
        with box("vj-dialog-buttons"):
            button(no, lambda: dialog.submit(False))
            kind = "danger" if is_grave else "primary"
            button(yes, lambda: dialog.submit(True), classes=f"{kind} vj-confirm")
    dialog.props["aria-label"] = title
    return bool(await answer_of(dialog))


async def act_on_one(viewer: Viewer, job: VideoJob, action: str) -> bool:
    """Do it to one job, after asking; says whether it was done."""
    name = title_of(job)
    verb = _VERBS[action]
    if action != "retry" and not await confirm(
        f"{verb} 1 job?",
        f"{name}. {_one(action, job)}",
        f"{verb} it",
        is_grave=True,
    ):
        return False
    try:
        match action:
            case "cancel":
                changed = await viewer.jobs.cancel_job(job.id)
                stops = changed.status is not JobStatus.CANCELLED
                say(f"{name} is being stopped" if stops else f"{name} is cancelled")
            case "retry":
                await viewer.jobs.retry_job(job.id)
                say(f"{name} is queued again")
            case _:
                await viewer.jobs.delete_job(job.id)
                say(f"{name} is deleted")
    except VideoJobsError as error:
        complain(f"{name}: {error.message}")
        return False
    return True


def _one(action: str, job: VideoJob) -> str:
    if action == "delete":
        return "The job and its history are gone for good. Its output files are not touched."
    if job.status is JobStatus.PROCESSING:
        return "It is running: it stops within seconds, and what it made so far is removed."
    return "It has not begun. It can be retried later."


async def act_on_many(viewer: Viewer, chosen: Chosen, action: str) -> bool:
    """Do it to all of them, after telling how many it will be; says whether it was done."""
    counted = await tried(_count(viewer, chosen, action))
    if counted is None:
        return False
    able, all_of_them = counted
    verb = _VERBS[action]
    if able == 0:
        complain(f"Nothing to do: the {jobs_text(all_of_them)} {_CANNOT[action]}")
        return False
    left = all_of_them - able
    rest = (
        f" The other {left:,} of the {all_of_them:,} {_CANNOT[action]}, and are left."
        if left
        else ""
    )
    if not await confirm(
        f"{verb} {jobs_text(able)}?",
        f"{_MEANING[action]}{rest}",
        f"{verb} {jobs_text(able)}",
        is_grave=action != "retry",
    ):
        return False
    done = await tried(_do(viewer, chosen, action))
    if done is None:
        return False
    if done < able:
        complain(
            f"{jobs_text(done)} {_DONE[action]}; the other {able - done:,} had changed meanwhile, or are not yours to change"
        )
    else:
        say(f"{jobs_text(done)} {_DONE[action]}")
    return True


async def _count(viewer: Viewer, chosen: Chosen, action: str) -> tuple[int, int]:
    """How many can be changed, and how many there are."""
    if action in _CHANGES:
        outcomes = await _change(viewer, chosen, action, dry_run=True)
        return _changed(outcomes), len(outcomes)
    if chosen.filters is not None:
        counts = (await viewer.jobs.get_job_stats(chosen.filters)).by_status
        return sum(counts[status] for status in FINAL_STATUSES), sum(counts.values())
    # Whoever cannot be cancelled any more has ended, if the viewer may change it at all.
    told = await viewer.jobs.bulk_update_jobs(_CHANGES["cancel"], job_ids=chosen.ids, dry_run=True)
    ended = (UpdateOutcome.UNCHANGED, UpdateOutcome.INVALID_TRANSITION)
    able = [one for one in told if one.outcome in ended and one.status in FINAL_STATUSES]
    return len(able), len(told)


async def _do(viewer: Viewer, chosen: Chosen, action: str) -> int:
    if action in _CHANGES:
        return _changed(await _change(viewer, chosen, action, dry_run=False))
    if chosen.filters is not None:
        return await viewer.jobs.clear_jobs(chosen.filters)
    return await _delete_each(viewer, chosen.ids)


async def _change(
    viewer: Viewer, chosen: Chosen, action: str, *, dry_run: bool
) -> list[UpdateResult]:
    if chosen.filters is not None:
        return await viewer.jobs.bulk_update_jobs(
            _CHANGES[action], filters=chosen.filters, dry_run=dry_run
        )
    return await viewer.jobs.bulk_update_jobs(_CHANGES[action], job_ids=chosen.ids, dry_run=dry_run)


def _changed(outcomes: Sequence[UpdateResult]) -> int:
    return sum(one.outcome is UpdateOutcome.UPDATED for one in outcomes)


async def _delete_each(viewer: Viewer, ids: Sequence[UUID]) -> int:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def delete(job_id: UUID) -> bool:
        async with gate:
            try:
                await viewer.jobs.delete_job(job_id)
            except VideoJobsError:  # the count tells of it
                return False
            return True

    return sum(await asyncio.gather(*map(delete, ids)))
