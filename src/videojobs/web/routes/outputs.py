"""What a job has made, to be seen or kept."""

from __future__ import annotations

import asyncio
import re
import stat
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from starlette.responses import FileResponse, RedirectResponse

from videojobs.errors import ProcessingError, SignedUrlUnsupportedError
from videojobs.storage import LocalStorage
from videojobs.storage.content import content_type
from videojobs.storage.paths import is_plain
from videojobs.web.caching import PRIVATE
from videojobs.web.dependencies import JobId, SignedIn, Visitor
from videojobs.web.documentation import answers
from videojobs.web.problems import ProblemError

if TYPE_CHECKING:
    from videojobs.models import VideoJob

_RANGES = re.compile(r"bytes=(\d+-\d*|-\d+)(, ?(\d+-\d*|-\d+)){0,3}", re.ASCII)
_LARGEST_PLAYLIST = 4 * 1024**2
_SHOWN = ("video/", "audio/", "image/", "text/vtt", "application/vnd.apple.mpegurl")
_SAFE = {
    **PRIVATE,
    "X-Content-Type-Options": "nosniff",
    # Whatever it is, opened in a browser it is no page of ours.
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


def add_routes(api: APIRouter) -> None:
    """The files of a job."""
    found = answers(None, 404, 416, described="The file, or the part that `Range` names.")
    file: dict[str, Any] = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
    found[200] |= file
    found[206] = {**found[200], "description": "A part of it."}
    found[416]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    found[307] = {
        **found[200],
        "description": "Where it is; the address is good for a while.",
        "content": {},
    }
    path = "/api/v1/jobs/{job_id}/outputs/{name:path}"
    api.add_api_route(
        path,
        get_output,
        methods=["GET"],
        summary="Get a file that a job has made",
        response_model=None,
        responses=found,
        tags=["jobs"],
    )
    # Players and download managers ask for its size first.
    api.add_api_route(
        path, get_output, methods=["HEAD"], response_model=None, include_in_schema=False
    )


async def get_output(
    job_id: JobId,
    name: Annotated[
        str,
        PathParameter(
            description="Its `name`, such as `clip_01`, or its file name.", max_length=1024
        ),
    ],
    visitor: SignedIn,
    request: Request,
    download: Annotated[bool, Query(description="To be kept, not shown.")] = False,
) -> Response:
    """The file by its name in `output_files`; and what lies beside it, such as a playlist's segments.

    A redirect to a signed address where the storage has such, else the file itself, in ranges.
    """
    job = await visitor.jobs.get_job(job_id)
    path = _path_of(job, name)
    if path is None:
        raise _no_output(name)
    headers = _SAFE | {"Content-Disposition": _disposition(path, download=download)}
    if isinstance(visitor.services.storage, LocalStorage):
        _ignore_odd_ranges(request)
        return await _local(visitor.services.storage, path, headers, name)
    if request.method == "HEAD" and (size := _size_of(job, path)) is not None:
        # A signed address is good for GET alone.
        return _facts(path, headers, size)
    if path.endswith(".m3u8"):
        # Redirected, its relative addresses would lead to where nothing is signed.
        return await _playlist(visitor, path, headers, name)
    return await _signed(visitor, path, name)


def _ignore_odd_ranges(request: Request) -> None:
    # As RFC 9110 allows. Players ask for one range; hundreds are asked for to keep a server busy.
    if not _RANGES.fullmatch(request.headers.get("Range", "")):
        request.scope["headers"] = [
            (name, value) for name, value in request.scope["headers"] if name != b"range"
        ]


def _path_of(job: VideoJob, name: str) -> str | None:
    """The stored path; only ever one that the job names, or one below the same attempt's folder."""
    for file in job.output_files:
        if name == file.name and is_plain(file.path):
            return file.path
    for file in job.output_files:
        # An attempt's files lie below {job}/{run token}/, and nobody else's do.
        attempt = re.match(rf"{job.id}/[0-9]+/", file.path)
        inside = file.path[attempt.end() :] if attempt else file.path
        if name == inside and is_plain(file.path):
            return file.path
        if attempt and file.kind == "playlist" and is_plain(name):
            return f"{attempt[0]}{name}"
    return None


def _size_of(job: VideoJob, path: str) -> int | None:
    return next((file.size_bytes for file in job.output_files if file.path == path), None)


def _facts(path: str, headers: dict[str, str], size: int) -> Response:
    return Response(
        headers={**headers, "Content-Length": str(size), "Accept-Ranges": "bytes"},
        media_type=content_type(path),
    )


async def _local(storage: LocalStorage, path: str, headers: dict[str, str], name: str) -> Response:
    found = await asyncio.to_thread(_within, storage.root, path)
    if found is None:
        raise _no_output(name)
    file, facts = found
    return FileResponse(file, headers=headers, media_type=content_type(path), stat_result=facts)


def _within(root: Path, path: str) -> tuple[Path, Any] | None:
    """The file, if it lies below the root whatever links are on the way."""
    try:
        file = (root / path).resolve()
        facts = file.stat()
    except (OSError, ValueError, RuntimeError):
        return None
    if not file.is_relative_to(root) or not stat.S_ISREG(facts.st_mode):
        return None
    return file, facts


async def _playlist(visitor: Visitor, path: str, headers: dict[str, str], name: str) -> Response:
    with tempfile.TemporaryDirectory(prefix="videojobs-playlist-") as folder:
        try:
            file = await asyncio.to_thread(
                visitor.services.storage.fetch, path, Path(folder), max_bytes=_LARGEST_PLAYLIST
            )
        except ProcessingError as error:
            raise _storage_problem(error, name) from error
        return Response(file.read_bytes(), headers=headers, media_type=content_type(path))


async def _signed(visitor: Visitor, path: str, name: str) -> Response:
    lifetime = timedelta(seconds=visitor.services.web.link_seconds)
    try:
        url = await asyncio.to_thread(visitor.services.storage.signed_url, path, lifetime)
    except SignedUrlUnsupportedError:
        raise ProblemError(
            501, "not-served", "The storage has no addresses to give; read it there yourself."
        ) from None
    except ProcessingError as error:
        raise _storage_problem(error, name) from error
    return RedirectResponse(
        url, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    )


def _storage_problem(error: ProcessingError, name: str) -> Exception:
    if not error.retryable:
        return _no_output(name)
    return ProblemError(
        503,
        "storage-unavailable",
        "The storage is not there. Try again later.",
        headers={"Retry-After": "10"},
    )


def _no_output(name: str) -> ProblemError:
    return ProblemError(
        404, "output-not-found", f"the job has no output {name!r}; output_files lists them"
    )


def _disposition(path: str, *, download: bool) -> str:
    """How to show or call it. Nothing in a name can end the header, or the quotes in it."""
    kind = content_type(path)
    shown = not download and kind.startswith(_SHOWN)
    name = path.rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
