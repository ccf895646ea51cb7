"""A folder of this machine as storage."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from videojobs.errors import ConfigurationError, ProcessingError, SignedUrlUnsupportedError
from videojobs.settings import FetchLimits
from videojobs.storage.paths import inside
from videojobs.storage.receiving import require_room
from videojobs.storage.transfers import raise_if_set

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

_INCOMING = ".incoming-"


class LocalStorage:
    """Sources and outputs below one folder.

    Args:
        root: Must exist. It is never made here: what is missing may be a disk that is not mounted,
            and outputs written in its place would vanish below it.
        allow_outside: Whether a source may be an absolute path or a ``file:`` URL outside of
            *root*. Only for machines where those who create jobs may read every file.
        limits: What a source may take.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        allow_outside: bool = False,
        limits: FetchLimits | None = None,
    ) -> None:
        self.root = Path(root).resolve()
        self._allow_outside = allow_outside
        self._limits = limits or FetchLimits()

    def __str__(self) -> str:
        return str(self.root)

    def check(self) -> None:
        """The folder is there and can be read.

        Raises:
            ConfigurationError: It is not.
        """
        if not self._is_there():
            raise ConfigurationError(
                f"the storage folder {self.root} does not exist or cannot be read; create it, "
                "mount it, or set VIDEOJOBS_STORAGE_DIR"
            )

    def fetch(
        self,
        source_url: str,
        into: Path,
        *,
        cancel: threading.Event | None = None,
        max_bytes: int | None = None,
    ) -> Path:
        """The source's own path, with no link left in it; nothing is copied, so *cancel* comes too late.

        Raises:
            ProcessingError: ``missing_source``, ``source_refused``, ``source_unreadable`` or
                ``source_too_large``; or ``storage_failed``, which is retryable, when the storage's
                folder is not there.
            NotEnoughSpaceError: The disk of *into* has no room for the work.
        """
        del cancel
        if not self._is_there():
            raise _absent(self.root)
        path = _resolved(self.root, source_url)
        if not self._allow_outside and not path.is_relative_to(self.root):
            raise _refused(f"{source_url!r} lies outside of the storage's folder")
        readable = _readable(path, source_url)
        limits = self._limits.at_most(max_bytes)
        require_room(readable.stat().st_size, into, limits, copies=0)
        return readable

    def publish(
        self, files: Mapping[str, Path], prefix: str, *, cancel: threading.Event | None = None
    ) -> Mapping[str, str]:
        """The files are moved below *prefix* together: a reader sees all of them or none.

        Raises:
            ProcessingError: ``already_published`` when *prefix* is taken; ``disk_full`` or
                ``storage_failed``, which are retryable.
            ProcessingCancelledError: *cancel* was set before the last file was there.
        """
        names = {name: str(inside(prefix) / inside(name)) for name in files}
        target = self.root / inside(prefix)
        incoming = self.root / f"{_INCOMING}{secrets.token_hex(8)}"
        try:
            _fill(incoming, files, cancel or threading.Event())
            target.parent.mkdir(parents=True, exist_ok=True)
            _rename_new(incoming, target)
        except OSError as error:
            raise _not_stored(prefix, error) from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
        return names

    def _is_there(self) -> bool:
        return os.access(self.root, os.R_OK | os.X_OK) and self.root.is_dir()

    def remove(self, prefix: str) -> None:
        """Nothing is left below *prefix*. Repeating the call is harmless.

        Raises:
            ProcessingError: Something is (``storage_failed``; retryable).
        """
        folder = self.root / inside(prefix)
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(folder):
            raise ProcessingError(
                f"{folder} cannot be removed; let the worker's user write there",
                code="storage_failed",
                retryable=True,
            )

    def signed_url(self, path: str, expires_in: timedelta) -> str:
        """Always refused.

        Raises:
            SignedUrlUnsupportedError: A folder has no addresses.
        """
        raise SignedUrlUnsupportedError(
            "files of a local folder have no addresses that could be signed; serve them yourself, "
            "or use a storage such as supabase:// or s3://"
        )


def move_file(source: Path, target: Path) -> None:
    """*target* holds the whole file, on disk, or is not there; *source* is gone.

    Works across file systems: the copy is finished beside the target and renamed.
    """
    _flush(source)
    try:
        os.replace(source, target)  # noqa: PTH105 # the rename is the point
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """The folder's names are on disk, as far as the file system can promise."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _copy_across(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        shutil.copyfile(source, part)
        _flush(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    source.unlink()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _fill(incoming: Path, files: Mapping[str, Path], cancel: threading.Event) -> None:
    incoming.mkdir()
    for name, path in files.items():
        raise_if_set(cancel)
        target = incoming / inside(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        move_file(path, target)


def _rename_new(incoming: Path, target: Path) -> None:
    # Renaming a folder onto a filled one fails with ENOTEMPTY, so a late twin changes nothing.
    incoming.rename(target)
    sync_folder(target.parent)


def _resolved(root: Path, source_url: str) -> Path:
    try:
        return (root / _local_path(source_url)).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # A loop of links, "//[x", half a surrogate pair: no later attempt will read these.
        raise _refused(f"{source_url!r} is not a path that can be followed") from error


def _local_path(source_url: str) -> str:
    if "\x00" in source_url:
        raise _refused("the source's path holds a NUL character")
    parts = urlsplit(source_url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    if "://" in source_url:
        raise _refused(f"{parts.scheme}:// is not a path that the local storage can read")
    return source_url


def _readable(path: Path, source_url: str) -> Path:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refused(f"{source_url!r} is not a file")
        with path.open("rb"):
            return path
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(source_url) from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # Path.resolve says nothing from Python 3.13 on
            raise _refused(f"{source_url!r} is a link that leads to itself") from error
        raise _unreadable(source_url, error) from error


def _missing(source_url: str) -> ProcessingError:
    advice = "Check source_url: it is a path within the worker's storage folder."
    return ProcessingError(
        f"there is no source at {source_url!r}. {advice}", code="missing_source", advice=advice
    )


def _absent(root: Path) -> ProcessingError:
    advice = "Create it, mount it, or set VIDEOJOBS_STORAGE_DIR, and try again."
    return ProcessingError(
        f"the storage folder {root} is not there or cannot be read. {advice}",
        code="storage_failed",
        retryable=True,
        advice=advice,
    )


def _refused(reason: str) -> ProcessingError:
    advice = "Give source_url as a path within the worker's storage folder."
    return ProcessingError(f"{reason}. {advice}", code="source_refused", advice=advice)


def _unreadable(source_url: str, error: OSError) -> ProcessingError:
    advice = "Let the worker's user read the file."
    return ProcessingError(
        f"the source {source_url!r} cannot be read ({error.strerror}). {advice}",
        code="source_unreadable",
        advice=advice,
    )


def _not_stored(prefix: str, error: OSError) -> ProcessingError:
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return ProcessingError(
            f"{prefix} holds files already; each attempt needs a prefix of its own",
            code="already_published",
        )
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Free some space in the storage folder." if is_full else "Check the storage folder."
    return ProcessingError(
        f"the outputs could not be stored below {prefix} ({error.strerror}). {advice}",
        code="disk_full" if is_full else "storage_failed",
        retryable=True,
        advice=advice,
    )
