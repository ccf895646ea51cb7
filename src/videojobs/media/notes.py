"""Takes down what ffmpeg's filters write while it runs."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

_CHUNK_BYTES = 65536


@contextlib.contextmanager
def note_pipes(folder: Path, names: Sequence[str], *, max_bytes: int) -> Generator[None]:
    """Within the block there are pipes of those names; all that is written to them is kept.

    Plain files would not do: where a source changes its size or the layout of its sound, ffmpeg
    builds its filters anew, and those truncate what the ones before them wrote.

    Raises:
        ProcessingError: ``too_many_notes``: one of them took more than *max_bytes*.
    """
    notes = [_Note(folder / name, max_bytes) for name in names]
    try:
        yield
    finally:
        for note in notes:
            note.close()
    for note in notes:
        note.check()


@contextlib.contextmanager
def kept_notes(folder: Path, name: str) -> Generator[Iterable[str]]:
    """The lines that the pipe took down, which are gone after the block; none if there was no pipe."""
    path = _kept(folder / name)
    if not path.exists():
        yield ()
        return
    try:
        with path.open(encoding="ascii", errors="replace") as lines:
            yield lines
    finally:
        path.unlink(missing_ok=True)


class _Note:
    """One pipe, and the thread that empties it into a file."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._bytes_left = max_bytes
        self._error: Exception | None = None
        os.mkfifo(path, 0o600)
        # With a writer of our own, the pipe does not end when ffmpeg closes it to open it again.
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(path, os.O_WRONLY)
        os.set_blocking(self._reader, True)
        self._thread = threading.Thread(target=self._take_down, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """All that was written is kept, and the pipe is gone."""
        os.close(self._writer)
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error
        if self._bytes_left < 0:
            advice = "Give the parts that you want as cuts, or ask for clip_choice spread."
            raise ProcessingError(
                f"the analysis had more to tell of the source than {self._path.name} may hold. "
                f"{advice}",
                code="too_many_notes",
                advice=advice,
            )

    def _take_down(self) -> None:
        with os.fdopen(self._reader, "rb", buffering=0) as pipe:
            try:
                with _kept(self._path).open("wb") as file:
                    while chunk := pipe.read(_CHUNK_BYTES):
                        self._bytes_left -= len(chunk)
                        if self._bytes_left >= 0:
                            file.write(chunk)
            except OSError as error:
                self._error = error
                while pipe.read(_CHUNK_BYTES):  # ffmpeg must not wait for us
                    pass


def _kept(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept")
