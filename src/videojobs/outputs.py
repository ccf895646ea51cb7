"""Finished files: their way into the folder of outputs, and what is told of them."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videojobs.errors import ProcessingError
from videojobs.models import OutputFile
from videojobs.storage.local import move_file

if TYPE_CHECKING:
    from videojobs.media.execution import MadeOutput
    from videojobs.pipelines.verification import OutputFacts


@contextlib.contextmanager
def folder_for_outputs(output_dir: Path) -> Generator[None]:
    """The folder is there, and after a failure it is as it was: made now, since encoding takes long."""
    new = [path for path in (output_dir, *output_dir.parents) if not path.exists()]
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(output_dir, error) from error
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def places_of(made: tuple[MadeOutput, ...], folder: Path) -> dict[str, Path]:
    """Where each file lies, by its final name: what a playlist names comes before it."""
    places: dict[str, Path] = {}
    for output in made:
        places |= {name: folder / name for name in output.companions}
        places[output.planned.file_name] = output.path
    return places


def put_in_place(places: Mapping[str, Path], output_dir: Path) -> None:
    """All files are in the folder, or none is.

    Raises:
        ProcessingError: They cannot be written there.
    """
    placed: list[Path] = []
    new: list[Path] = []
    try:
        for name, path in places.items():
            target = output_dir / name
            new += _made_folders(target.parent)
            move_file(path, target)
            placed.append(target)
    except BaseException as error:
        for path in placed:
            path.unlink(missing_ok=True)
        for path in reversed(new):
            path.rmdir()
        if isinstance(error, OSError):
            raise _unwritable(output_dir, error) from error
        raise


def _made_folders(folder: Path) -> list[Path]:
    """The folder is there; those that were not are named, outermost first."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return new[::-1]


def _unwritable(output_dir: Path, error: OSError) -> ProcessingError:
    advice = "Free some space, or choose a folder that this user can write."
    return ProcessingError(
        f"the outputs cannot be written to {output_dir} ({error.strerror}). {advice}",
        code="output_dir_unwritable",
        retryable=True,
        advice=advice,
    )


def output_file(made: MadeOutput) -> OutputFile:
    """What the job tells of a file."""
    planned = made.planned
    file = OutputFile(
        path=planned.file_name,
        kind=planned.kind,
        name=planned.name,
        **_more_facts(made),
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        source_start_seconds=planned.source_start_seconds,
        source_end_seconds=planned.source_end_seconds,
        score=planned.score,
        reason=planned.reason,
    )
    return file if made.facts is None else file.model_copy(update=_media_facts(made, made.facts))


def _more_facts(made: MadeOutput) -> dict[str, Any]:
    key = made.planned.segments_key
    return {**made.details, **({"segments_key": key} if key else {})}


def _media_facts(made: MadeOutput, facts: OutputFacts) -> dict[str, object]:
    loudness = made.loudness
    return {
        "duration_seconds": round(facts.duration_seconds, 3) or None,
        "width": facts.width,
        "height": facts.height,
        "frame_rate": round(float(facts.frame_rate), 3) if facts.frame_rate else None,
        "video_codec": facts.video_codec,
        "audio_codec": facts.audio_codec,
        "bitrate_kbps": facts.bitrate_kbps or None,  # a playlist's own is nothing to tell
        "loudness_lufs": loudness.integrated_lufs if loudness else None,
    }
