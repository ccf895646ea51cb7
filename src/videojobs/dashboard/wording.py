"""How the dashboard says things: figures, lengths of time, statuses, events."""

from __future__ import annotations

from videojobs.models import JobEvent, JobEventType, JobStatus, OutputFile, ResourceType

STATUS_NAMES = {
    JobStatus.QUEUED: "Queued",
    JobStatus.PROCESSING: "Processing",
    JobStatus.COMPLETED: "Completed",
    JobStatus.FAILED: "Failed",
    JobStatus.CANCELLED: "Cancelled",
}

TYPE_NAMES = {
    ResourceType.UPLOAD: "Upload",
    ResourceType.FILM: "Film",
    ResourceType.EPISODE: "Episode",
}

PLATFORM_NAMES = {
    "tiktok": "TikTok",
    "instagram": "Instagram",
    "youtube_shorts": "YouTube Shorts",
}

_EVENT_NAMES = {
    JobEventType.CREATED: "Created",
    JobEventType.CLAIMED: "Claimed by a worker",
    JobEventType.COMPLETED: "Completed",
    JobEventType.RETRIED: "Failed, will be tried again",
    JobEventType.RELEASED: "Given back by its worker",
    JobEventType.RESCUED: "Taken back: its worker went silent",
    JobEventType.FAILED: "Failed",
    JobEventType.LOST: "Failed: too many workers went silent on it",
    JobEventType.CANCEL_REQUESTED: "Asked to stop",
    JobEventType.CANCELLED: "Cancelled",
    JobEventType.REQUEUED: "Retried by a person",
    JobEventType.CHANGED: "Changed",
    JobEventType.LOGGED: "Note",
}

EVENT_LOOKS = {
    JobEventType.CREATED: ("queued", "plus"),
    JobEventType.CLAIMED: ("processing", "worker"),
    JobEventType.COMPLETED: ("completed", "completed"),
    JobEventType.RETRIED: ("failed", "retry"),
    JobEventType.RELEASED: ("queued", "retry"),
    JobEventType.RESCUED: ("cancelled", "warning"),
    JobEventType.FAILED: ("failed", "failed"),
    JobEventType.LOST: ("failed", "warning"),
    JobEventType.CANCEL_REQUESTED: ("cancelled", "cancelled"),
    JobEventType.CANCELLED: ("cancelled", "cancelled"),
    JobEventType.REQUEUED: ("queued", "retry"),
    JobEventType.CHANGED: ("queued", "settings"),
    JobEventType.LOGGED: ("queued", "note"),
}
"""For each event, the colour (of a status) and the icon."""


def event_name(event: JobEvent) -> str:
    """What happened, in words."""
    return _EVENT_NAMES[event.type]


def seconds_text(seconds: float | None) -> str:
    """A length of time as people read it: ``8.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def bytes_text(size: int | None) -> str:
    """A size of files: ``1.4 MB``."""
    if size is None:
        return "–"
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size} B"


def count_text(count: int) -> str:
    """A count with its thousands apart: ``10,000``."""
    return f"{count:,}"


def jobs_text(count: int) -> str:
    """So many jobs: ``1 job``, ``10,000 jobs``."""
    return "1 job" if count == 1 else f"{count_text(count)} jobs"


def output_facts(output: OutputFile) -> list[str]:
    """What is known of an output, a word or two each."""
    facts = [
        f"{output.width} × {output.height}" if output.width else "",
        seconds_text(output.duration_seconds) if output.duration_seconds else "",
        " + ".join(filter(None, (output.video_codec, output.audio_codec))),
        f"{output.bitrate_kbps:,} kb/s" if output.bitrate_kbps else "",
        f"{output.loudness_lufs:.1f} LUFS" if output.loudness_lufs is not None else "",
        bytes_text(output.size_bytes) if output.size_bytes is not None else "",
    ]
    return [fact for fact in facts if fact]
