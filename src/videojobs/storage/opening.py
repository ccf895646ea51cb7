"""From a URL or a path to the storage that it names. Heavy libraries are imported here, on use."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from videojobs.errors import ConfigurationError
from videojobs.storage.local import LocalStorage

if TYPE_CHECKING:
    from videojobs.settings import Settings
    from videojobs.storage.fsspec import FsspecStorage
    from videojobs.storage.supabase import SupabaseStorage

    OpenedStorage: TypeAlias = LocalStorage | SupabaseStorage | FsspecStorage


def open_storage(place: str | Path | None, settings: Settings) -> OpenedStorage:
    """The storage at *place*; the settings' own where it is ``None``.

    Args:
        place: A folder, ``supabase://bucket/prefix``, or a URL that fsspec knows, such as
            ``s3://bucket/prefix``.
        settings: The project and its key, and what a source may take.

    Raises:
        ConfigurationError: It names no storage, or a driver is missing.
    """
    place = place or settings.storage or settings.storage_dir
    if isinstance(place, Path) or "://" not in place:
        return LocalStorage(place, limits=settings.fetch_limits)
    match place.partition("://")[0]:
        case "supabase":
            kind = importlib.import_module("videojobs.storage.supabase").SupabaseStorage
            return kind.from_settings(place, settings)
        case "file" | "local":
            return LocalStorage(_folder(place), limits=settings.fetch_limits)
        case _:
            kind = importlib.import_module("videojobs.storage.fsspec").FsspecStorage
            return kind(place, limits=settings.fetch_limits)


def _folder(url: str) -> Path:
    # Not fsspec's local files, which follow links out of the folder.
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ConfigurationError(f"{url!r} names no folder of this machine; write file:///path")
    return Path(unquote(parts.path))
