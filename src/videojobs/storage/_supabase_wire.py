"""Supabase Storage's HTTP: addresses, headers, and what its answers mean. No request is made here."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import httpx
from pydantic_core import from_json

from videojobs.errors import (
    ConfigurationError,
    ProcessingError,
    VideoJobsError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK_BYTES = 6 * 1024 * 1024
"""Of a resumable upload: the server wants exactly so much, but for the last one. Smaller files are
better sent whole (https://supabase.com/docs/guides/storage/uploads/resumable-uploads)."""
PIECE_BYTES = 256 * 1024
"""So much is in memory, and goes by between two looks at whether to stop."""
# Completing a large upload takes the server many seconds, in which it is silent.
TIMEOUT = httpx.Timeout(30, connect=5, pool=30)
ERRORS = (httpx.TransportError,)

TUS = {"Tus-Resumable": "1.0.0"}
# 409 and 423: somebody else's request holds the upload, for instance our own that broke off.
_PASSING = {408, 409, 423, 425, 429}
_SHOWN_CHARACTERS = 200
_NOT_FOUND = {404, 410}


class StorageRequestError(Exception):
    """A request that failed.

    Attributes:
        error: What to raise for it.
        is_passing: Whether the same request may fare better.
        status: The HTTP status, or the one that the body tells; ``None`` without an answer.
    """

    def __init__(self, error: VideoJobsError, *, is_passing: bool, status: int | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_passing = is_passing
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether there is no such thing."""
        return self.status in _NOT_FOUND and isinstance(self.error, ProcessingError)


def key_headers(key: str) -> dict[str, str]:
    """Both: the gateway reads one and the storage the other. Never in a URL, which logs keep."""
    return {"apikey": key, "Authorization": f"Bearer {key}"}


def resumable_base(base_url: str) -> str:
    """Where large files go: hosted projects have a host of its own for them."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if re.fullmatch(r"[a-z0-9]+\.supabase\.(co|in|red)", host):
        project, _, domain = host.partition(".")
        return f"{parts.scheme}://{project}.storage.{domain}{parts.path}"
    return base_url


def quoted(path: str) -> str:
    """An object's path in a URL."""
    return quote(path, safe="/")


def creation_headers(bucket: str, path: str, size: int, kind: str, cache: int) -> dict[str, str]:
    """What begins a resumable upload."""
    told = {
        "bucketName": bucket,
        "objectName": path,
        "contentType": kind,
        "cacheControl": str(cache),
    }
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items()
    )
    return {
        **TUS,
        "Upload-Length": str(size),
        "Upload-Metadata": metadata,
        "x-upsert": "true",
    }


def chunk_headers(offset: int, size: int) -> dict[str, str]:
    """What continues it. The server asks for the right to replace with every chunk again."""
    return {
        **TUS,
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size),
        "Upload-Offset": str(offset),
        "x-upsert": "true",
    }


def offset_of(response: httpx.Response, size: int) -> int:
    """How far the server has come.

    Raises:
        StorageRequestError: It does not say.
    """
    text = response.headers.get("Upload-Offset", "")
    if text.isascii() and text.isdecimal() and int(text) <= size:
        return int(text)
    raise nonsense("no Upload-Offset")


def range_start(response: httpx.Response) -> tuple[int, int | None]:
    """Where a body begins within its file, and the file's size if that is known."""
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if found is None:
            raise nonsense("no Content-Range")
        return int(found[1]), int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isascii() and length.isdecimal() else None


def json_of(response: httpx.Response) -> Any:
    """The body of a good answer.

    Raises:
        StorageRequestError: It is no JSON, such as a proxy's page.
    """
    try:
        return from_json(response.content)
    except ValueError:
        raise nonsense("no JSON") from None


def nonsense(what: str) -> StorageRequestError:
    """For an answer that no Supabase Storage gives."""
    return StorageRequestError(_failed(f"its answer has {what}"), is_passing=True, status=None)


def no_answer(error: Exception) -> StorageRequestError:
    """For a connection that could not be made, or broke."""
    told = _failed(f"it did not answer: {type(error).__name__}")
    return StorageRequestError(told, is_passing=True, status=None)


def raise_for(response: httpx.Response, what: str, key: str) -> None:
    """Nothing happens after a good answer. The body must have been read.

    Raises:
        StorageRequestError: It is a refusal.
    """
    if not response.is_success:
        raise _refusal(response, what, key)


def _refusal(response: httpx.Response, what: str, key: str) -> StorageRequestError:
    body = _body(response)
    # A missing object is HTTP 400 with "statusCode": "404" in the body, until servers change that.
    told = str(body.get("statusCode", ""))
    status = int(told) if re.fullmatch(r"[45]\d\d", told) else response.status_code
    reason = str(body.get("message") or body.get("error") or response.text)
    reason = reason.replace(key, "***")[:_SHOWN_CHARACTERS]
    error = _error_of(status, f"{what}: HTTP {status}, {reason}")
    error.status = status
    error.retry_after = _seconds(response.headers.get("Retry-After", ""))
    return StorageRequestError(error, is_passing=status in _PASSING or status >= 500, status=status)


def _body(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body: Any = from_json(response.content)
    except ValueError:
        return {}
    return cast("Mapping[str, Any]", body) if isinstance(body, dict) else {}


def _error_of(status: int, said: str) -> VideoJobsError:
    if status in (401, 403):
        return ConfigurationError(
            f"Supabase Storage refused the key ({said}). Check SUPABASE_SECRET_KEY: it must be "
            "the project's secret or service-role key."
        )
    if status == 404 and "bucket not found" in said.lower():
        return ConfigurationError(
            f"the project has no such bucket ({said}). Create it, or correct VIDEOJOBS_STORAGE."
        )
    if status == 413:
        advice = "Raise the file size limit of the bucket and of the project."
        return ProcessingError(
            f"the file is too large for the bucket ({said}). {advice}",
            code="storage_limit",
            advice=advice,
        )
    if status == 415:
        advice = "Allow the video, image and text types of the outputs in the bucket's settings."
        return ProcessingError(
            f"the bucket does not take such files ({said}). {advice}",
            code="storage_limit",
            advice=advice,
        )
    return _failed(said)


def _failed(said: str) -> ProcessingError:
    advice = "Check the project's storage, and try again."
    return ProcessingError(
        f"Supabase Storage could not be used ({said}). {advice}",
        code="storage_failed",
        retryable=True,
        advice=advice,
    )


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() else None
