"""Private folders for attempts, and the removal of those whose process was killed.

A lock file beside each folder is held locked (flock) while the attempt lives. The kernel lets go
of it when the process dies in whatever way, so a free lock means a stale folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from videojobs.errors import ConfigurationError, ProcessingError

if TYPE_CHECKING:
    from collections.abc import Generator

_PREFIX = "attempt-"


def work_root(configured: Path | None = None) -> Path:
    """The folder for all attempts of this user, there and ours alone.

    Raises:
        ConfigurationError: It cannot be made or belongs to somebody else.
    """
    root = configured or Path(tempfile.gettempdir()) / f"videojobs-{os.getuid()}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the work folder {root} cannot be made ({error.strerror}); set VIDEOJOBS_WORK_DIR"
        ) from error
    if configured is None and root.lstat().st_uid != os.getuid():
        raise ConfigurationError(f"{root} belongs to another user; set VIDEOJOBS_WORK_DIR")
    return root


@contextlib.contextmanager
def attempt_folder(root: Path) -> Generator[Path]:
    """A new private folder; it and all in it are gone after the block, whatever happens there.

    Raises:
        ProcessingError: It cannot be made (``disk_full``, ``work_dir_unusable``; retryable).
    """
    try:
        folder, lock = _locked_folder(root)
    except OSError as error:
        raise _unusable(root, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _lock_path(folder).unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def folder_within(parent: Path) -> Generator[Path]:
    """A new folder in a private one, and gone with all in it after the block. Ten times cheaper than
    an `attempt_folder`, whose lock it shares.

    Raises:
        ProcessingError: It cannot be made (``disk_full``, ``work_dir_unusable``; retryable).
    """
    folder = parent / secrets.token_hex(8)
    try:
        # With parents: a cleaner of temporary files may have been at work.
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise _unusable(parent, error) from error
    try:
        yield folder
    finally:
        try:
            folder.rmdir()
        except OSError:  # it is not empty
            shutil.rmtree(folder, ignore_errors=True)


def sweep_stale_folders(root: Path) -> tuple[Path, ...]:
    """The folders of attempts whose process is gone are removed, and named.

    Safe beside running attempts of other processes; their folders are left alone.
    """
    return tuple(
        folder
        for lock in sorted(root.glob(f"{_PREFIX}*.lock"))
        if _removed(folder := lock.with_suffix(""))
    )


def _removed(folder: Path) -> bool:
    try:
        lock = os.open(_lock_path(folder), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # another sweeper was faster
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        _lock_path(folder).unlink(missing_ok=True)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _locked_folder(root: Path) -> tuple[Path, int]:
    # A cleaner of temporary files may have removed the root since the worker began.
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        folder = root / f"{_PREFIX}{secrets.token_hex(8)}"
        lock = os.open(_lock_path(folder), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A sweeper may have seen the file before it was locked, and removed it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), _lock_path(folder).stat()):
                folder.mkdir(mode=0o700)
                return folder, lock
        os.close(lock)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _unusable(root: Path, error: OSError) -> ProcessingError:
    advice = "Free some space, or set VIDEOJOBS_WORK_DIR to a folder that can be written."
    return ProcessingError(
        f"no folder for temporary files can be made in {root} ({error.strerror}). {advice}",
        code="disk_full" if error.errno == errno.ENOSPC else "work_dir_unusable",
        retryable=True,
        advice=advice,
    )
