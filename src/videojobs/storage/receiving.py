"""A source on its way into the work folder: limits, space, and the file that it is written to."""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING, Self

from videojobs.errors import NotEnoughSpaceError, ProcessingError

if TYPE_CHECKING:
    from pathlib import Path

    from videojobs.settings import FetchLimits


class IncomingFile:
    """A file that grows with what is received, within limits. Gone after a failure.

    Args:
        path: Where it is written.
        limits: What it may take.
    """

    def __init__(self, path: Path, limits: FetchLimits) -> None:
        self._path = path
        self._limits = limits
        self._size: int | None = None
        self.offset = 0
        """So many bytes are there."""

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise _unwritable(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What is still in the buffer fails as the write before it did.
        try:
            self._file.close()
        except OSError as error:
            if kind is None:
                raise _unwritable(error) from error
        finally:
            if kind is not None:
                self._path.unlink(missing_ok=True)

    def expect(self, size_bytes: int) -> None:
        """So much will come in all.

        Raises:
            ProcessingError: It is more than allowed (``source_too_large``).
            NotEnoughSpaceError: The disk has no room for it.
        """
        require_room(size_bytes, self._path.parent, self._limits, copies=1)
        self._size = size_bytes

    def write(self, chunk: bytes) -> None:
        """Append, whatever the announced size was.

        Raises:
            ProcessingError: More came than is allowed, or the disk is full.
        """
        self.offset += len(chunk)
        if self.offset > self._limits.max_source_bytes:
            raise too_large(self.offset, self._limits)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _unwritable(error) from error

    def restart(self) -> None:
        """Nothing is there: the source changed, or cannot be continued."""
        self._file.seek(0)
        self._file.truncate()
        self.offset = 0

    def finished(self) -> Path:
        """Where it is.

        Raises:
            ProcessingError: Less or more came than was announced (``storage_failed``).
        """
        if self._size is not None and self._size != self.offset:
            raise ProcessingError(
                f"the source should have {self._size} bytes, and {self.offset} came. "
                "Try again; it may have been replaced while it was read.",
                code="storage_failed",
                retryable=True,
            )
        return self._path


def require_room(size_bytes: int, folder: Path, limits: FetchLimits, *, copies: int) -> None:
    """The source is small enough, and the folder's disk has room for the work.

    Args:
        copies: 1 where the source itself is copied into the folder, 0 where it is not.

    Raises:
        ProcessingError: It is larger than allowed (``source_too_large``).
        NotEnoughSpaceError: The disk has no room for it.
    """
    if size_bytes > limits.max_source_bytes:
        raise too_large(size_bytes, limits)
    factor = limits.space_factor + copies
    needed = int(size_bytes * factor) + limits.space_margin_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NotEnoughSpaceError(needed_bytes=needed, free_bytes=free)


def too_large(size_bytes: int, limits: FetchLimits) -> ProcessingError:
    """The error for a source beyond the limit."""
    advice = "Send a smaller file, or raise VIDEOJOBS_MAX_SOURCE_BYTES for the workers."
    return ProcessingError(
        f"the source has at least {size_bytes} bytes, and {limits.max_source_bytes} are allowed. "
        f"{advice}",
        code="source_too_large",
        advice=advice,
    )


def _unwritable(error: OSError) -> ProcessingError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Free some space in the work folder, or set VIDEOJOBS_WORK_DIR."
    return ProcessingError(
        f"the source could not be written to the work folder ({error.strerror}). {advice}",
        code="disk_full" if is_full else "work_dir_unusable",
        retryable=True,
        advice=advice,
    )
