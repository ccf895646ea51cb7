"""Which files of the storage a job may read, and how they come to the worker."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

from videojobs.errors import JobNotFoundError, ProcessingError
from videojobs.models import VideoJob
from videojobs.pipelines.captions import MAX_CAPTIONS_BYTES, bad_captions
from videojobs.settings import SourcePolicy
from videojobs.storage import LocalStorage, Storage
from videojobs.storage.paths import lies_below

_OUTPUT_PATH = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/+(?:\./+)*[0-9]+(?:\.segments)?/", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSources:
    """The storage as one job sees it: outputs lie where sources come from, and one tenant's are no
    other's source.
    """

    job: VideoJob
    storage: Storage
    policy: SourcePolicy
    tenant_of: Callable[[UUID], UUID]
    """The tenant of any job, by its id; raises `JobNotFoundError`."""

    def source(self, into: Path, *, cancel: threading.Event) -> Path:
        """The job's video.

        Raises:
            ProcessingError: ``missing_source``, ``source_refused``, or what the storage raises.
        """
        if self.job.source_url is None:
            raise ProcessingError(
                "the job has no source_url; create it with the path or URL of its video",
                code="missing_source",
            )
        return self._fetched(self.job.source_url, into, cancel=cancel)

    def captions(self, into: Path, *, cancel: threading.Event) -> Path | None:
        """The job's captions, if it has any; *into* is made for them.

        Raises:
            ProcessingError: ``missing_captions``, ``bad_captions`` where they are too large,
                ``source_refused``, or what the storage raises.
        """
        url = self.job.settings.get("captions_url")
        if url is None:
            return None
        into.mkdir()
        try:
            return self._fetched(str(url), into, cancel=cancel, max_bytes=MAX_CAPTIONS_BYTES)
        except ProcessingError as error:
            if type(error) is not ProcessingError:  # a cancel, or a full disk
                raise
            raise _of_captions(error, str(url)) from error

    def refuse_what_is_not_its_own(self) -> None:
        """Nothing happens, unless the job names a file of another tenant.

        Raises:
            ProcessingError: ``source_refused``.
        """
        for url in (self.job.source_url, self.job.settings.get("captions_url")):
            if url is not None:
                self._refuse_strangers(str(url))

    def _fetched(
        self, url: str, into: Path, *, cancel: threading.Event, max_bytes: int | None = None
    ) -> Path:
        path = self.storage.fetch(url, into, cancel=cancel, max_bytes=max_bytes)
        if not path.is_relative_to(into):
            # In a folder, links and ".." lead to another place than a path's words say.
            self._refuse_strangers_outputs(str(self._within(path)))
        return path

    def _within(self, path: Path) -> Path:
        root = self.storage.root if isinstance(self.storage, LocalStorage) else None
        return path.relative_to(root) if root and path.is_relative_to(root) else path

    def _refuse_strangers(self, url: str) -> None:
        self._refuse_strangers_outputs(url)
        if self.policy == "own_prefix" and not lies_below(url, str(self.job.tenant_id)):
            advice = (
                "Upload them below the folder that is named by the tenant's id, and give source_url "
                f"as {self.job.tenant_id}/name.mp4."
            )
            raise ProcessingError(
                f"the source or its captions are not this tenant's. {advice}",
                code="source_refused",
                advice=advice,
            )

    def _refuse_strangers_outputs(self, url: str) -> None:
        for found in _OUTPUT_PATH.finditer(_CONTROL.sub("", unquote(url))):
            if not self._is_own(UUID(found[1])):
                advice = "Give source_url and captions_url paths of files of your own."
                raise ProcessingError(
                    f"the source is an output of a job that is not this tenant's. {advice}",
                    code="source_refused",
                    advice=advice,
                )

    def _is_own(self, job_id: UUID) -> bool:
        try:
            return self.tenant_of(job_id) == self.job.tenant_id
        except JobNotFoundError:
            return False  # deleted, with its files left: nobody can tell whose they are


def _of_captions(error: ProcessingError, url: str) -> ProcessingError:
    # A storage knows the file as a source, with a source's limit, and advises on source_url.
    if error.code == "source_too_large":
        return bad_captions(f"they have more than {MAX_CAPTIONS_BYTES:,} bytes")
    if error.code == "missing_source":
        advice = "Check captions_url: it is a path within the worker's storage."
        return ProcessingError(
            f"there is no captions file at {url!r}. {advice}",
            code="missing_captions",
            advice=advice,
        )
    said, advised = (
        text and text.replace("source_url", "captions_url") for text in (str(error), error.advice)
    )
    return ProcessingError(
        f"the captions cannot be fetched: {said}",
        code=error.code or "processing_failed",
        retryable=error.retryable,
        advice=advised,
    )
