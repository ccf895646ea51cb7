"""What readers are told of a file: its kind, and for how long it may be kept."""

from __future__ import annotations

from pathlib import PurePosixPath

CACHE_SECONDS = 86_400
"""An output's path never gets other bytes, so any time would be right; a day, since a deleted job's files should be gone from caches too."""

# Not the `mimetypes` module: what it knows depends on the machine.
_TYPES = {
    ".aac": "audio/aac",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".m4s": "video/iso.segment",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".png": "image/png",
    ".srt": "application/x-subrip",
    ".ts": "video/mp2t",
    ".vtt": "text/vtt",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


def content_type(name: str) -> str:
    """The media type of a file of that name."""
    return _TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream")
