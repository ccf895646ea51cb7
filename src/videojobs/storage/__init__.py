"""Where sources come from and outputs go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from videojobs.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Storage(Protocol):
    """What a worker needs of a store of files."""

    def check(self) -> None:
        """The store is there; asked once, before any job is claimed.

        Raises:
            ConfigurationError: It is not; the message says what to set.
        """
        ...

    def fetch(self, source_url: str, into: Path) -> Path:
        """A local path of the source: a file in *into*, or one that is local already.

        Raises:
            ProcessingError: It is not there (``missing_source``), may not be read
                (``source_refused``), or could not be had now (retryable).
        """
        ...

    def publish(self, files: Mapping[str, Path], prefix: str) -> Mapping[str, str]:
        """Every file is stored below *prefix* under its name, or none is.

        Returns the stored path of each name.
        """
        ...

    def remove(self, prefix: str) -> None:
        """Nothing is left below *prefix*. Repeating the call is harmless."""
        ...


__all__ = ["LocalStorage", "Storage"]
