"""Names within a store: what a source may be called, and where outputs may lie."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from videojobs.errors import ProcessingError

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_ADVICE = "Give source_url as a path within the worker's storage."


def inside(name: str) -> PurePosixPath:
    """The name as a path that stays where it begins.

    Raises:
        ValueError: It is absolute, empty or climbs up. A slip of ours, never a user's.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} must be a relative path without '..'")
    return path


def object_path(source_url: str, root_url: str) -> str:
    """The path of a source below *root_url*, which the source may be given with or without.

    Object stores take ``..`` literally, but gateways, caches and drivers before them do not: a
    path is refused as soon as any of them could read it as another one.

    Raises:
        ProcessingError: ``source_refused``: it lies elsewhere, or is not a plain path.
    """
    path = source_url
    if "://" in source_url:
        root = root_url if root_url.endswith("/") else f"{root_url}/"
        if not source_url.startswith(root):
            raise refused("the source is a URL that does not lie in the worker's storage")
        path = source_url.removeprefix(root)
    if not is_plain(path):
        raise refused(f"{source_url!r} is not a plain path within the storage")
    return path


def is_plain(path: str) -> bool:
    """Whether every reader takes the path for the same one: relative, without dots, undone or not."""
    if _CONTROL.search(path) or not _is_text(path):
        return False
    return all(_has_plain_segments(form) for form in (path, _undone(path)))


def lies_below(source_url: str, folder: str) -> bool:
    """Whether the source is given as a plain path below a folder of the storage."""
    return "://" not in source_url and source_url.startswith(f"{folder}/") and is_plain(source_url)


def refused(reason: str) -> ProcessingError:
    """The error for a source that nobody may ask for."""
    return ProcessingError(f"{reason}. {_ADVICE}", code="source_refused", advice=_ADVICE)


def _has_plain_segments(path: str) -> bool:
    return not _CONTROL.search(path) and not {"", ".", ".."} & set(path.split("/"))


def _undone(path: str) -> str:
    """Without any layer of percent escapes, of which ``%252e`` has two."""
    while (once := unquote(path)) != path:
        path = once
    return path


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
