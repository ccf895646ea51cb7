"""What a job is: its facts and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from videojobs.dashboard.parts import Moment, box, link, text
from videojobs.dashboard.viewing import Viewer
from videojobs.dashboard.wording import PLATFORM_NAMES, TYPE_NAMES, bytes_text, seconds_text
from videojobs.models import VideoJob


def draw_facts(job: VideoJob, viewer: Viewer) -> None:
    """Who, what, when."""
    base = viewer.base
    text("Facts", "", "h2")
    with box("vj-facts", "dl"):
        _fact("Job", str(job.id), mono=True)
        _fact("File", job.original_filename)
        _fact("Size", bytes_text(job.original_filesize) if job.original_filesize else None)
        _fact("Source", (job.source_url or "").partition("?")[0], mono=True)
        _fact("Type", TYPE_NAMES[job.resource_type])
        _fact("Resource", job.resource_name)
        _link("Resource id", job.resource_id, f"{base}/?resource=")
        _link("Season", job.resource_parent_id, f"{base}/?season=")
        _link("Owner", str(job.user_id), f"{base}/?user=")
        _link("Team", str(job.team_id) if job.team_id else None, f"{base}/?team=")
        _link("Queue", job.queue, f"{base}/?queue=")
        _fact("Priority", str(job.priority))
        _fact("Attempt", f"{job.attempt} of {job.max_attempts}")
        if job.lost_count:
            _fact("Silent workers", str(job.lost_count))
        _link("Worker", job.worker_id, f"{base}/?worker=")
        _moment("Created", job.created_at)
        _moment("Not before", job.run_at if job.run_at > job.created_at else None)
        _moment("Started", job.started_at)
        _moment("Ended", job.completed_at or job.cancelled_at)
        _fact(
            "Took", seconds_text(job.processing_time) if job.processing_time is not None else None
        )
        if job.parent_job_id:
            _link("Part of", str(job.parent_job_id), f"{base}/jobs/")


def draw_settings(job: VideoJob) -> None:
    """What the pipeline was told."""
    text("Settings", "", "h2")
    with box("vj-facts", "dl"):
        _link("Pipeline", job.pipeline, None)
        _fact("Quality", job.quality_preset.value)
        _fact("Enhancement", job.enhancement_level.value)
        _fact(
            "Platform", PLATFORM_NAMES[job.platform_target.value] if job.platform_target else None
        )
        _fact("Clips", str(job.clip_count) if job.clip_count else None)
        _fact("Longest", seconds_text(job.max_runtime_seconds) if job.max_runtime_seconds else None)
    if job.settings:
        told: Mapping[str, Any] = job.settings
        text(
            to_json(told, indent=2, fallback=lambda value: dict(value)).decode(),
            "vj-json",
            "pre",
            tabindex="0",
        )


def _fact(name: str, value: str | None, *, mono: bool = False) -> None:
    if value:
        with box("", "div"):
            text(name, "", "dt")
            text(value, "mono" if mono else "", "dd")


def _link(name: str, value: str | None, to: str | None) -> None:
    if value:
        from urllib.parse import quote

        with box("", "div"):
            text(name, "", "dt")
            with box("", "dd"):
                if to is None:
                    text(value)
                else:
                    link(value, f"{to}{quote(value, safe='')}")


def _moment(name: str, at: Any) -> None:
    if at is not None:
        with box("", "div"):
            text(name, "", "dt")
            with box("", "dd"):
                Moment(at.isoformat())
