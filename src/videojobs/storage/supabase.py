"""A bucket of Supabase Storage as storage.

The requests are our own: storage3 keeps whole downloads in memory, cuts long uploads off after 20
seconds, and knows no resumable upload.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

import httpx

from videojobs.errors import (
    ConfigurationError,
    ProcessingError,
    SupabaseConnectionError,
    VideoJobsError,
)
from videojobs.settings import FetchLimits
from videojobs.storage import _supabase_wire as wire
from videojobs.storage.content import CACHE_SECONDS, content_type
from videojobs.storage.paths import inside, object_path
from videojobs.storage.receiving import IncomingFile
from videojobs.storage.transfers import (
    CONCURRENCY,
    Patience,
    output_size,
    raise_if_set,
    run_stoppable,
    upload_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from videojobs.settings import Settings

T = TypeVar("T")

logger = logging.getLogger("videojobs.storage")

_LIST_LIMIT = 1000


class SupabaseStorage:
    """Sources and outputs in one bucket of a Supabase project, below a prefix.

    Downloads are continued where the connection broke. Files above 6 MB are uploaded resumably;
    what a broken-off upload leaves is no object, and the server drops it after a day.

    Args:
        url: The project's.
        key: A secret or service-role key. It goes into headers, never into URLs, logs or errors.
        bucket: Must exist.
        prefix: A folder of the bucket, if not all of it.
        limits: What a source may take.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        bucket: str,
        prefix: str = "",
        limits: FetchLimits | None = None,
    ) -> None:
        self._base = f"{url.rstrip('/')}/storage/v1"
        self._key = key
        self._bucket = bucket
        self._prefix = f"{inside(prefix)}/" if prefix else ""
        self._limits = limits or FetchLimits()
        self._http = httpx.Client(
            headers=wire.key_headers(key),
            timeout=wire.TIMEOUT,
            # HTTP/1.1: with HTTP/2, a server's GOAWAY drops the answers of finished uploads.
            limits=httpx.Limits(max_connections=4 * CONCURRENCY, keepalive_expiry=30),
            follow_redirects=False,
        )

    @classmethod
    def from_settings(cls, url: str, settings: Settings) -> Self:
        """The bucket that ``supabase://bucket/prefix`` names, in the settings' project.

        Raises:
            ConfigurationError: The project, its key or the bucket's name is missing.
        """
        if settings.supabase_url is None or settings.supabase_key is None:
            raise ConfigurationError(
                "storage in Supabase needs the project: set SUPABASE_URL and SUPABASE_SECRET_KEY"
            )
        parts = urlsplit(url)
        if parts.scheme != "supabase" or not parts.netloc:
            raise ConfigurationError(f"{url!r} names no bucket; write supabase://bucket/prefix")
        try:
            return cls(
                settings.supabase_url,
                settings.supabase_key,
                bucket=unquote(parts.netloc),
                prefix=unquote(parts.path).strip("/"),
                limits=settings.fetch_limits,
            )
        except ValueError as error:
            raise ConfigurationError(f"{url!r} cannot be a storage: {error}") from error

    def __str__(self) -> str:
        return f"supabase://{self._bucket}/{self._prefix}".rstrip("/")

    def close(self) -> None:
        """The connections are closed."""
        self._http.close()

    def check(self) -> None:
        """The bucket is there and the key may read it.

        Raises:
            ConfigurationError: It is not.
            SupabaseConnectionError: The project's storage does not answer.
        """
        try:
            self._repeated(lambda: self._json("GET", f"bucket/{wire.quoted(self._bucket)}"))
        except wire.StorageRequestError as failure:
            raise failure.error from failure
        except ProcessingError as error:
            raise SupabaseConnectionError(str(error), status=error.status) from error

    def fetch(
        self,
        source_url: str,
        into: Path,
        *,
        cancel: threading.Event | None = None,
        max_bytes: int | None = None,
    ) -> Path:
        """A file in *into*, streamed there.

        Raises:
            ProcessingError: ``missing_source``, ``source_refused``, ``source_too_large``, or
                ``storage_failed``, which is retryable.
            NotEnoughSpaceError: The disk has no room for it.
            ProcessingCancelledError: *cancel* was set.
        """
        path = self._prefix + object_path(source_url, str(self))

        def task(stop: threading.Event) -> Path:
            with IncomingFile(into / "source", self._limits.at_most(max_bytes)) as incoming:
                self._download(path, source_url, incoming, stop)
                return incoming.finished()

        return run_stoppable(task, cancel)

    def publish(
        self, files: Mapping[str, Path], prefix: str, *, cancel: threading.Event | None = None
    ) -> Mapping[str, str]:
        """Every file is uploaded below *prefix*, playlists last; or none is left there.

        Raises:
            ProcessingError: ``storage_failed``, which is retryable, or ``storage_limit``.
            ProcessingCancelledError: *cancel* was set.
        """
        places = {name: str(inside(prefix) / inside(name)) for name in files}

        def upload(name: str, stop: threading.Event) -> None:
            _Upload(self, files[name], self._prefix + places[name], stop).perform()

        def undo(names: Sequence[str]) -> None:
            self._remove_quietly([self._prefix + places[name] for name in names])

        upload_all(tuple(files), upload, undo, cancel)
        return places

    def remove(self, prefix: str) -> None:
        """Nothing is left below *prefix*. Repeating the call is harmless.

        Raises:
            ProcessingError: The storage could not be used (``storage_failed``; retryable).
        """
        try:
            self._remove(list(self._listed(self._prefix + str(inside(prefix)))))
        except wire.StorageRequestError as failure:
            raise failure.error from failure

    def signed_url(self, path: str, expires_in: timedelta) -> str:
        """Where anybody may read an output for a while.

        Args:
            path: As `publish` returned it.
            expires_in: For so long, in whole seconds, at least one.

        Raises:
            ProcessingError: It is not there (``missing_output``), or the storage failed.
        """
        full = self._prefix + str(inside(path))
        address = f"object/sign/{wire.quoted(self._bucket)}/{wire.quoted(full)}"
        wish = {"expiresIn": max(1, int(expires_in.total_seconds()))}
        try:
            answer = self._repeated(lambda: self._json("POST", address, json=wish))
            return f"{self._base}/{str(answer['signedURL']).lstrip('/')}"
        except wire.StorageRequestError as failure:
            if not failure.is_missing:
                raise failure.error from failure
            raise ProcessingError(
                f"there is no output at {path!r}; read the job's output_files again",
                code="missing_output",
            ) from None

    # Downloads

    def _download(
        self, path: str, source_url: str, incoming: IncomingFile, stop: threading.Event
    ) -> None:
        address = (
            f"{self._base}/object/authenticated/{wire.quoted(self._bucket)}/{wire.quoted(path)}"
        )
        patience, etag = Patience(stop), ""
        while True:
            begun_at = incoming.offset
            try:
                # Compressed on the way, a range would be one of other bytes.
                headers = {"Accept-Encoding": "identity"}
                if begun_at:  # of an empty file, no range could be had
                    headers["Range"] = f"bytes={begun_at}-"
                with self._http.stream("GET", address, headers=headers) as r:
                    etag = self._begin(r, incoming, etag)
                    for chunk in r.iter_raw(wire.PIECE_BYTES):
                        raise_if_set(stop)
                        incoming.write(chunk)
                return
            except wire.ERRORS as error:
                failure = wire.no_answer(error)
            except wire.StorageRequestError as refusal:
                failure = _of_source(refusal, source_url)
            if incoming.offset > begun_at:
                patience.renew()
            patience.after(failure.error)

    def _begin(self, response: httpx.Response, incoming: IncomingFile, etag: str) -> str:
        """The file is ready for the body; what another version left there is gone."""
        if response.status_code == 416 and incoming.offset:
            incoming.restart()
            raise wire.nonsense("another size than before")
        if not response.is_success:
            response.read()
            wire.raise_for(response, "the source could not be read", self._key)
        start, size = wire.range_start(response)
        now = response.headers.get("ETag", "")
        if start != incoming.offset or (start and now != etag):
            incoming.restart()
            if start:
                raise wire.nonsense("another version than before")
        if size is not None:
            incoming.expect(size)
        return now

    # Uploads, listing, removal

    def upload_whole(self, path: str, size: int, body: Generator[bytes]) -> None:
        """One request for one small file; a repeat replaces it."""
        self._ask(
            "POST",
            f"{self._base}/object/{wire.quoted(self._bucket)}/{wire.quoted(path)}",
            headers={
                "Content-Type": content_type(path),
                "Content-Length": str(size),
                "Cache-Control": f"max-age={CACHE_SECONDS}",
                "x-upsert": "true",
            },
            content=body,
        )

    def begin_resumable(self, path: str, size: int) -> str:
        """Where the chunks of one large file go."""
        endpoint = f"{wire.resumable_base(self._base)}/upload/resumable"
        headers = wire.creation_headers(self._bucket, path, size, content_type(path), CACHE_SECONDS)
        response = self._ask("POST", endpoint, headers=headers)
        # Only the identifier: behind a proxy the rest may name another host, which must not get the key.
        location: str = response.headers.get("Location", "")
        upload = urlsplit(location).path.rpartition("/")[2]
        if not upload:
            raise wire.nonsense("no Location")
        return f"{endpoint}/{upload}"

    def send_chunk(self, address: str, offset: int, size: int, body: Generator[bytes]) -> int:
        """How far the upload is after the chunk."""
        response = self._ask(
            "PATCH", address, headers=wire.chunk_headers(offset, size), content=body
        )
        return wire.offset_of(response, offset + size)

    def offset_of(self, address: str, size: int) -> int:
        """How far the upload is."""
        return wire.offset_of(self._ask("HEAD", address, headers=wire.TUS), size)

    def size_of(self, path: str) -> int | None:
        """The stored size; ``None`` where nothing is stored."""
        try:
            told = self._json("GET", f"object/info/{wire.quoted(self._bucket)}/{wire.quoted(path)}")
        except wire.StorageRequestError as failure:
            if failure.is_missing:
                return None
            raise
        return int(told.get("size") or 0)

    def _listed(self, folder: str) -> Generator[str]:
        offset, found = 0, _LIST_LIMIT
        while found == _LIST_LIMIT:
            entries = self._entries(folder, offset)
            for entry in entries:
                path = f"{folder}/{entry['name']}"
                if entry.get("id") is None:  # a folder
                    yield from self._listed(path)
                else:
                    yield path
            found = len(entries)
            offset += found

    def _entries(self, folder: str, offset: int) -> list[dict[str, Any]]:
        wish = {
            "prefix": folder,
            "limit": _LIST_LIMIT,
            "offset": offset,
            "sortBy": {"column": "name", "order": "asc"},
        }
        address = f"object/list/{wire.quoted(self._bucket)}"
        return self._repeated(lambda: self._json("POST", address, json=wish))

    def _remove(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _LIST_LIMIT):
            self._remove_some(paths[start : start + _LIST_LIMIT])

    def _remove_some(self, paths: Sequence[str]) -> None:
        wish = {"prefixes": list(paths)}
        address = f"object/{wire.quoted(self._bucket)}"
        self._repeated(lambda: self._json("DELETE", address, json=wish))

    def _remove_quietly(self, paths: Sequence[str]) -> None:
        """After a failure, which is what has to be told."""
        try:
            self._remove(paths)
        except (wire.StorageRequestError, VideoJobsError) as error:
            logger.warning("%d files of a failed upload may be left: %s", len(paths), error)

    # Requests

    def _json(self, method: str, address: str, *, json: object = None) -> Any:
        return wire.json_of(self._ask(method, f"{self._base}/{address}", json=json))

    def _ask(self, method: str, url: str, **given: Any) -> httpx.Response:
        try:
            response = self._http.request(method, url, **given)
        except wire.ERRORS as error:
            raise wire.no_answer(error) from error
        wire.raise_for(response, f"{method} failed", self._key)
        return response

    def _repeated(self, ask: Callable[[], T]) -> T:
        """For requests that are harmless to repeat."""
        patience = Patience(threading.Event())
        while True:
            try:
                return ask()
            except wire.StorageRequestError as failure:
                if not failure.is_passing:
                    raise
                patience.after(failure.error)


class _Upload:
    """One file on its way into the bucket."""

    def __init__(
        self, storage: SupabaseStorage, file: Path, path: str, stop: threading.Event
    ) -> None:
        self._storage = storage
        self._file = file
        self._path = path
        self._stop = stop
        self._size = output_size(file)
        self._address: str | None = None
        """Of the resumable upload, once it has begun."""
        self._patience = Patience(stop)

    def perform(self) -> None:
        """The whole file is stored, however often the connection broke."""
        step = self._whole if self._size <= wire.CHUNK_BYTES else self._resumable
        while True:
            try:
                return step()
            except wire.StorageRequestError as failure:
                if not failure.is_passing and not self._has_lost(failure):
                    raise failure.error from failure
                self._patience.after(failure.error)

    def _whole(self) -> None:
        self._storage.upload_whole(self._path, self._size, self._body(0, self._size))

    def _resumable(self) -> None:
        offset = self._continued()
        while offset < self._size:
            size = min(wire.CHUNK_BYTES, self._size - offset)
            done = self._storage.send_chunk(
                str(self._address), offset, size, self._body(offset, size)
            )
            if done <= offset:
                raise wire.nonsense("an Upload-Offset that does not grow")
            offset = done
            self._patience.renew()

    def _continued(self) -> int:
        """How far the server has come, which may be farther than its answers told."""
        if self._address is not None:
            try:
                return self._storage.offset_of(self._address, self._size)
            except wire.StorageRequestError as failure:
                if not failure.is_missing:
                    raise
            # A finished upload is gone too (supabase/storage issue 417): was the last answer lost?
            if self._storage.size_of(self._path) == self._size:
                return self._size
        self._address = self._storage.begin_resumable(self._path, self._size)
        return 0

    def _has_lost(self, failure: wire.StorageRequestError) -> bool:
        """Whether the server has forgotten an upload that it once knew."""
        return failure.is_missing and self._address is not None

    def _body(self, offset: int, size: int) -> Generator[bytes]:
        raise_if_set(self._stop)
        with self._file.open("rb") as file:
            file.seek(offset)
            while size > 0:
                raise_if_set(self._stop)
                piece = file.read(min(size, wire.PIECE_BYTES))
                size -= len(piece)
                yield piece


def _of_source(failure: wire.StorageRequestError, source_url: str) -> wire.StorageRequestError:
    """The failure, if another try may help; else what to tell of the source is raised."""
    if failure.is_missing:
        advice = "Check source_url: it is a path within the worker's storage."
        raise ProcessingError(
            f"there is no source at {source_url!r}. {advice}", code="missing_source", advice=advice
        ) from None
    if not failure.is_passing:
        raise failure.error from failure
    return failure
