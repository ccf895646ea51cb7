"""Any file system that fsspec knows as storage: S3, Google Cloud Storage, Azure, SFTP and others."""

from __future__ import annotations

import importlib
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from videojobs.errors import (
    ConfigurationError,
    MissingExtraError,
    ProcessingError,
    SignedUrlUnsupportedError,
    VideoJobsError,
)
from videojobs.settings import FetchLimits
from videojobs.storage.content import CACHE_SECONDS, content_type
from videojobs.storage.paths import inside, object_path, refused
from videojobs.storage.receiving import IncomingFile
from videojobs.storage.transfers import (
    Patience,
    output_size,
    raise_if_set,
    run_stoppable,
    upload_all,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

logger = logging.getLogger("videojobs.storage")

_READ_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 takes; it is in memory, twice, while it is sent."""
_MOST_PARTS = 9_000
"""S3 takes 10,000 of a file."""
_PIECE_BYTES = 1024 * 1024
_DRIVERS = {
    "abfs": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
_WITH_BUCKETS = {"abfs", "az", "gcs", "gs", "s3", "s3a"}


class FsspecStorage:
    """Sources and outputs below one URL of fsspec's, such as ``s3://bucket/prefix``.

    The driver finds its credentials by itself, S3's for instance in ``AWS_ACCESS_KEY_ID``.

    Args:
        url: The root. What lies beside it is never read.
        limits: What a source may take.
        options: For the driver, such as ``endpoint_url="https://…"`` for a store that speaks S3.

    Raises:
        MissingExtraError: fsspec is not installed.
        ConfigurationError: The URL's driver is unknown or not installed.
    """

    def __init__(self, url: str, *, limits: FetchLimits | None = None, **options: Any) -> None:
        self._protocol = url.partition("://")[0]
        self._name = _without_secrets(url)
        self._files, root = _opened(url, self._protocol, options)
        self._root = root.rstrip("/")
        self._limits = limits or FetchLimits()

    def __str__(self) -> str:
        return self._name

    def check(self) -> None:
        """The bucket or folder is there.

        Raises:
            ConfigurationError: It is not, or may not be read.
        """
        if self._protocol == "memory":
            return
        place = self._root.partition("/")[0] if self._protocol in _WITH_BUCKETS else self._root
        try:
            self._files.invalidate_cache()
            self._files.info(place)
        except Exception as error:  # drivers raise what they like
            raise ConfigurationError(
                f"the storage {self} cannot be used ({type(error).__name__}); create it, give the "
                "worker its credentials, or correct VIDEOJOBS_STORAGE"
            ) from error

    def fetch(
        self,
        source_url: str,
        into: Path,
        *,
        cancel: threading.Event | None = None,
        max_bytes: int | None = None,
    ) -> Path:
        """A file in *into*, read there piece by piece.

        Raises:
            ProcessingError: ``missing_source``, ``source_refused``, ``source_too_large``, or
                ``storage_failed``, which is retryable.
            NotEnoughSpaceError: The disk has no room for it.
            ConfigurationError: The worker's credentials do not let it read.
            ProcessingCancelledError: *cancel* was set.
        """
        path = self._path(object_path(source_url, self._name))

        def task(stop: threading.Event) -> Path:
            with IncomingFile(into / "source", self._limits.at_most(max_bytes)) as incoming:
                patience = Patience(stop)
                while not self._read(path, source_url, incoming, stop, patience):
                    pass
                return incoming.finished()

        return run_stoppable(task, cancel)

    def publish(
        self, files: Mapping[str, Path], prefix: str, *, cancel: threading.Event | None = None
    ) -> Mapping[str, str]:
        """Every file is uploaded below *prefix*, playlists last; or none is left there.

        Raises:
            ProcessingError: ``storage_failed``, which is retryable.
            ConfigurationError: The worker's credentials do not let it write.
            ProcessingCancelledError: *cancel* was set.
        """
        places = {name: str(inside(prefix) / inside(name)) for name in files}

        def upload(name: str, stop: threading.Event) -> None:
            patience = Patience(stop)
            while not self._write(files[name], self._path(places[name]), stop, patience):
                pass

        def undo(names: Sequence[str]) -> None:
            for name in names:
                self._remove_quietly(self._path(places[name]))

        upload_all(tuple(files), upload, undo, cancel)
        return places

    def remove(self, prefix: str) -> None:
        """Nothing is left below *prefix*. Repeating the call is harmless.

        Raises:
            ProcessingError: The storage could not be used (``storage_failed``; retryable).
        """
        folder = self._path(str(inside(prefix)))
        try:
            self._files.invalidate_cache()
            # Not rm(recursive=True), which would take a name's "*" for a wildcard.
            for path in self._files.find(folder):
                self._files.rm_file(path)
            with suppress(FileNotFoundError, NotImplementedError):
                if self._protocol not in _WITH_BUCKETS:
                    self._files.rm(folder, recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:  # drivers raise what they like
            raise _told(error, "the files could not be removed") from error

    def signed_url(self, path: str, expires_in: timedelta) -> str:
        """Where anybody may read an output for a while.

        Args:
            path: As `publish` returned it.
            expires_in: For so long, in whole seconds, at least one.

        Raises:
            SignedUrlUnsupportedError: This kind of storage has no such addresses.
        """
        seconds = max(1, int(expires_in.total_seconds()))
        try:
            return str(self._files.sign(self._path(str(inside(path))), expiration=seconds))
        except NotImplementedError:
            raise SignedUrlUnsupportedError(
                f"{self._protocol}:// has no addresses that could be signed; serve the files "
                "yourself, or use s3://, gs:// or supabase://"
            ) from None
        except Exception as error:  # drivers raise what they like
            raise _told(error, "the address could not be signed") from error

    def _path(self, within: str) -> str:
        return f"{self._root}/{within}"

    def _read(
        self,
        path: str,
        source_url: str,
        incoming: IncomingFile,
        stop: threading.Event,
        patience: Patience,
    ) -> bool:
        """Whether all of it has come; if not, it is worth going on."""
        try:
            self._receive(path, source_url, incoming, stop)
        except VideoJobsError:
            raise
        except FileNotFoundError:
            raise _missing(source_url) from None
        except PermissionError as error:
            raise _told(error, "the source could not be read") from error
        except Exception as error:  # noqa: BLE001 # drivers raise what they like
            # Another version may have taken its place.
            incoming.restart()
            patience.after(_told(error, "the source could not be read"))
            return False
        return True

    def _receive(
        self, path: str, source_url: str, incoming: IncomingFile, stop: threading.Event
    ) -> None:
        self._files.invalidate_cache()  # a listing from before the upload would hide it
        facts = self._files.info(path)
        if facts.get("type") == "directory":
            raise refused(f"{source_url!r} is not a file")
        if facts.get("size") is not None:
            incoming.expect(int(facts["size"]))
        with self._files.open(path, "rb", cache_type="none") as file:
            while chunk := file.read(_READ_BYTES):
                raise_if_set(stop)
                incoming.write(chunk)

    def _write(self, source: Path, path: str, stop: threading.Event, patience: Patience) -> bool:
        """Whether it is stored; if not, it is worth another try."""
        try:
            self._send(source, path, stop)
        except VideoJobsError:
            raise
        except PermissionError as error:
            raise _told(error, "an output could not be stored") from error
        except Exception as error:  # noqa: BLE001 # drivers raise what they like
            patience.after(_told(error, "an output could not be stored"))
            return False
        return True

    def _send(self, source: Path, path: str, stop: threading.Event) -> None:
        size = output_size(source)
        block = max(_BLOCK_BYTES, -(-size // _MOST_PARTS))
        raise_if_set(stop)
        self._make_folder(path)
        target = self._files.open(path, "wb", block_size=block, **self._headers(path))
        try:
            with source.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    raise_if_set(stop)
                    target.write(piece)
            raise_if_set(stop)
        except BaseException:
            _discard(target)
            raise
        target.close()

    def _make_folder(self, path: str) -> None:
        if self._protocol not in _WITH_BUCKETS:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _headers(self, path: str) -> dict[str, Any]:
        kind, cache = content_type(path), f"max-age={CACHE_SECONDS}"
        match self._protocol:
            case "s3" | "s3a":
                return {"ContentType": kind, "CacheControl": cache}
            case "gs" | "gcs":
                return {"content_type": kind, "fixed_key_metadata": {"cache_control": cache}}
            case _:
                return {}

    def _remove_quietly(self, path: str) -> None:
        """After a failure, which is what has to be told."""
        try:
            self._files.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 # drivers raise what they like
            logger.warning("a file of a failed upload may be left: %s", type(error).__name__)


def _opened(url: str, protocol: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        core = importlib.import_module("fsspec.core")
    except ModuleNotFoundError as error:
        raise MissingExtraError("storage", f"storage at {protocol}://") from error
    try:
        return core.url_to_fs(url, **options)
    except ImportError as error:
        driver = _DRIVERS.get(protocol)
        advice = f"pip install {driver}" if driver else f"install its driver: {error}"
        raise ConfigurationError(f"storage at {protocol}:// needs a driver: {advice}") from error
    except ValueError as error:
        raise ConfigurationError(
            f"{protocol}:// is no storage that fsspec knows; use a folder, supabase://, s3://, "
            "gs:// or another of its protocols"
        ) from error


def _without_secrets(url: str) -> str:
    """Without a user's name and password, and without a query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{f'{place}{parts.path}'.rstrip('/')}"


def _discard(target: Any) -> None:
    """What was written is not stored: closing the file would store the half of it."""
    if not hasattr(target, "discard"):
        target.close()
        return
    target.discard()
    # Its destructor would close it. A file in memory has no such mark, and is removed by its name.
    with suppress(AttributeError):
        target.closed = True


def _missing(source_url: str) -> ProcessingError:
    advice = "Check source_url: it is a path within the worker's storage."
    return ProcessingError(
        f"there is no source at {source_url!r}. {advice}", code="missing_source", advice=advice
    )


def _told(error: Exception, what: str) -> VideoJobsError:
    # Only the error's kind: its words may hold addresses and keys.
    if isinstance(error, PermissionError):
        return ConfigurationError(
            f"{what}: the storage refused the worker's credentials; check them"
        )
    advice = "Check the storage and its credentials, and try again."
    return ProcessingError(
        f"{what} ({type(error).__name__}). {advice}",
        code="storage_failed",
        retryable=True,
        advice=advice,
    )
