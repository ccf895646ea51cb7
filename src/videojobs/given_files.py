"""The files that a caller names: the video, and the captions beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from videojobs.errors import ProcessingError
from videojobs.pipelines.captions import (
    MAX_CAPTIONS_BYTES,
    Caption,
    bad_captions,
    read_captions,
)


def existing_source(source: str | Path) -> Path:
    """Where the video really lies.

    Raises:
        ProcessingError: There is no file, or it is empty.
    """
    path = Path(source).resolve()
    if not path.is_file():  # a pipe or a device would never end
        advice = "Check the path; it must be a file that this machine can read."
        raise ProcessingError(
            f"there is no video file at {str(source)!r}. {advice}",
            code="missing_source",
            advice=advice,
        )
    if path.stat().st_size == 0:
        advice = "The upload probably broke off. Upload the file again."
        raise ProcessingError(
            f"the source is empty. {advice}", code="corrupt_source", advice=advice
        )
    return path


def captions_of_file(path: Path, go_on: Callable[[], None]) -> tuple[Caption, ...]:
    """What an SRT or WebVTT file says, and when. *go_on* may end the reading.

    Raises:
        ProcessingError: It cannot be read, or is no such file.
    """
    if path.exists() and not path.is_file():  # a pipe would never end
        raise bad_captions("what is there is no file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CAPTIONS_BYTES + 1)
    except OSError as error:
        raise bad_captions(f"there is no file that can be read ({error.strerror})") from error
    return read_captions(data, go_on)
