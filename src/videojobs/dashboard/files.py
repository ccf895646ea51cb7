"""Outputs and posters, for whoever may see their job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response

from videojobs.async_manager import AsyncVideoJobManager
from videojobs.errors import SignedUrlUnsupportedError, VideoJobsError
from videojobs.models import OutputFile
from videojobs.storage import LocalStorage, Storage
from videojobs.storage.content import content_type
from videojobs.storage.paths import inside

_SIGNED_FOR = timedelta(minutes=15)
_CACHE = "private, max-age=3600"
# A picture or a film in a tab of its own is a page of ours: it gets to run and load nothing.
_POLICY = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox"


class Files:
    """Serves what a job made, with the rights of the viewer.

    Args:
        open_storage: Opens where the outputs are. Not called before a file is asked for: a
            dashboard is of use without it too.
    """

    def __init__(self, open_storage: Callable[[], Storage]) -> None:
        self._open = open_storage
        self._storage: Storage | None = None

    async def answer(
        self, manager: AsyncVideoJobManager, job_id: str, number: int, *, download: bool
    ) -> Response:
        """The file, whole or a range of it; or the way to it; or that there is none."""
        try:
            outputs = (await manager.get_job(job_id)).output_files
        except VideoJobsError:
            return _not_found()
        if not 0 <= number < len(outputs):
            return _not_found()
        try:
            return await asyncio.to_thread(self._found, outputs[number], download)
        except SignedUrlUnsupportedError as error:
            return PlainTextResponse(f"{error}\n", status_code=501)
        except (VideoJobsError, OSError, ValueError):
            return _not_found()

    def _found(self, output: OutputFile, download: bool) -> Response:
        if self._storage is None:
            self._storage = self._open()
        if not isinstance(self._storage, LocalStorage):
            return RedirectResponse(
                self._storage.signed_url(output.path, _SIGNED_FOR),
                status_code=307,
                headers={"Cache-Control": "private, max-age=600"},
            )
        path = (self._storage.root / inside(output.path)).resolve()
        if not path.is_relative_to(self._storage.root) or not path.is_file():
            return _not_found()
        way = "attachment" if download else "inline"
        return FileResponse(
            path,
            media_type=content_type(path.name),
            headers={
                "Cache-Control": _CACHE,
                "Content-Disposition": f"{way}; filename*=utf-8''{quote(path.name)}",
                "Content-Security-Policy": _POLICY,
                "Vary": "Cookie",
            },
        )


def _not_found() -> Response:
    return PlainTextResponse(
        "There is no such file, or it is not yours to see.\n",
        status_code=404,
        headers={"Cache-Control": "no-store"},
    )
