"""The folder of one stack, and the lock that keeps a second stack out of it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from videojobs.errors import ConfigurationError

_held_by_this_process: set[Path] = set()
"""A process may lock a file twice over, so the lock alone does not keep us from ourselves."""


class DataFolder:
    """A folder that this process alone uses until `release`.

    The lock is a record lock: the system drops it when this process dies, however it dies, and a
    forked child does not inherit it, so that no stale lock can be left behind.
    """

    def __init__(self, path: Path | None) -> None:
        """Take *path*, or a new temporary folder.

        Raises:
            ConfigurationError: Another stack uses the folder; the message names its process.
        """
        self.is_temporary = path is None
        self.path = _temporary() if path is None else path.expanduser().resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {self.path} cannot be made ({error.strerror}); choose another one"
            ) from None
        if os.geteuid() == 0:
            # The account that runs PostgreSQL must get through to its own folder inside.
            self.path.chmod(self.path.stat().st_mode | 0o711)
        self._lock = self._take()

    @property
    def secrets(self) -> Path:
        """Where the keys and passwords are kept, readable by the owner only."""
        return self.path / "secrets.json"

    def release(self) -> None:
        """Let others use the folder. Repeating the call is harmless."""
        if self.path in _held_by_this_process:
            _held_by_this_process.discard(self.path)
            os.close(self._lock)

    def _take(self) -> int:
        if self.path in _held_by_this_process:
            raise self._in_use(os.getpid())
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:
            raise ConfigurationError(
                f"{self.path} belongs to another user; run as that user, or choose another data folder"
            ) from None
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 32, 0).decode().strip()
            os.close(lock)
            raise self._in_use(holder or "unknown") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        _held_by_this_process.add(self.path)
        return lock

    def _in_use(self, holder: int | str) -> ConfigurationError:
        return ConfigurationError(
            f"the data folder {self.path} is in use by process {holder}: stop it, choose another "
            "data folder, or use the variables that it printed, if it is `videojobs local up`"
        )


def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="videojobs-")).resolve()
