"""Where sources come from and outputs go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from videojobs.storage.local import LocalStorage
from videojobs.storage.opening import open_storage

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from datetime import timedelta
    from pathlib import Path


class Storage(Protocol):
    """What a worker needs of a store of files."""

    def check(self) -> None:
        """The store is there; asked once, before any job is claimed.

        Raises:
            ConfigurationError: It is not; the message says what to set.
        """
        ...

    def fetch(
        self,
        source_url: str,
        into: Path,
        *,
        cancel: threading.Event | None = None,
        max_bytes: int | None = None,
    ) -> Path:
        """A local path of the source: a file in *into*, or one that is local already.

        *max_bytes* is the most that it may have, where it is no source and has a limit of its own.

        Raises:
            ProcessingError: It is not there (``missing_source``), may not be read
                (``source_refused``), is too large (``source_too_large``), finds no room
                (``disk_full``, retryable), or could not be had now (retryable).
            ProcessingCancelledError: *cancel* was set; it is raised within 2 seconds.
        """
        ...

    def publish(
        self, files: Mapping[str, Path], prefix: str, *, cancel: threading.Event | None = None
    ) -> Mapping[str, str]:
        """Every file is stored below *prefix* under its name, the last one last; or none is.

        Returns the stored path of each name.

        Raises:
            ProcessingError: It could not be; retryable where another try may help.
            ProcessingCancelledError: *cancel* was set; uploading ends within 2 seconds.
        """
        ...

    def remove(self, prefix: str) -> None:
        """Nothing is left below *prefix*. Repeating the call is harmless.

        Raises:
            ProcessingError: Something is; retryable.
        """
        ...

    def signed_url(self, path: str, expires_in: timedelta) -> str:
        """Where anybody may read an output for a while, by its path as `publish` returned it.

        Raises:
            SignedUrlUnsupportedError: The storage has no such addresses.
        """
        ...


__all__ = ["LocalStorage", "Storage", "open_storage"]
