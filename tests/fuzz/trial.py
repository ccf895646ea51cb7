"""One file through the processor, and what can be said of it afterwards.

As a program (``python -m fuzz.trial FOLDER``), it limits its own memory, reads a path a line from
stdin, and answers each with a line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from videojobs.errors import ProcessingCancelledError, ProcessingError
from videojobs.processor import ProcessingSettings, VideoProcessor

SETTINGS = ProcessingSettings(
    clip_count=1, clip_seconds=1, clip_width=90, clip_height=160, quality_preset="draft"
)

#: How a bad file may end: refused or failed for good, with advice for its owner.
EXPECTED_CODES = frozenset(
    {
        *("corrupt_source", "format_refused", "no_video_stream", "source_too_large"),
        *("source_too_long", "source_too_short", "truncated_source", "unsupported_codec"),
    }
)
#: Known as well, but each is worth a look: a cause that is ours, or another attempt for nothing.
DOUBTFUL_CODES = frozenset(
    {
        *("bad_parameters", "ffmpeg_crashed", "ffmpeg_failed", "invalid_output", "missing_file"),
        *("out_of_memory", "output_too_large", "probe_timeout", "resource_limit", "stalled"),
        *("time_limit", "ffmpeg_build", "permission_denied"),
    }
)

#: All that a trial and its ffmpeg may have of addresses.
_ADDRESS_SPACE_BYTES = 3 << 30


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended."""

    code: str | None
    """The error's; ``None`` when there are outputs."""
    message: str
    seconds: float
    outputs: Sequence[str] = ()
    left_behind: Sequence[str] = ()
    """Files and processes that should not be there."""
    peak_bytes: int = 0
    """The most memory of any process so far."""

    @property
    def fault(self) -> str | None:
        """What is wrong with our side of it; ``None`` if nothing is."""
        if self.left_behind:
            return f"left behind: {', '.join(self.left_behind)}"
        if self.code is None or self.code in EXPECTED_CODES | DOUBTFUL_CODES:
            return None
        return f"{self.code}: {self.message}"


def try_file(source: Path, folder: Path, *, at_most_seconds: float = 60.0) -> Outcome:
    """What becomes of a file; *folder* is empty before and after."""
    processor = VideoProcessor(work_dir=folder / "work", cores=1)
    there_before = _children()
    cancel = threading.Event()
    timer = threading.Timer(at_most_seconds, cancel.set)
    timer.start()
    started_at = time.monotonic()
    code, message, outputs = None, "", ()
    try:
        result = processor.process(source, SETTINGS, output_dir=folder / "out", cancel=cancel)
        outputs = tuple(output.path for output in result.output_files)
    except ProcessingCancelledError:
        code, message = "hang", f"not over after {at_most_seconds:g} s"
    except ProcessingError as error:
        code, message = error.code, str(error)
    except Exception as error:  # noqa: BLE001 # it would have ended a worker's attempt
        code, message = "exception", repr(error)
    finally:
        timer.cancel()
    return Outcome(
        code=code,
        message=message,
        seconds=round(time.monotonic() - started_at, 2),
        outputs=outputs,
        left_behind=(
            *_swept(folder, expected=set(outputs)),
            *(f"process {pid}" for pid in sorted(_children() - there_before)),
        ),
        peak_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )


def _swept(folder: Path, *, expected: set[str]) -> list[str]:
    """Every file below the folder is gone; named are those that nobody promised."""
    unexpected: list[str] = []
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
            continue
        if path.parent != folder / "out" or path.name not in expected:
            unexpected.append(str(path.relative_to(folder)))
        path.unlink()
    return unexpected


def _children() -> set[str]:
    """The processes that this one has started and that are still there (on Linux)."""
    found: set[str] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended since
            found |= {*task.joinpath("children").read_text().split()}
    return found


def _main(folder: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    for line in sys.stdin:
        outcome = try_file(Path(line.strip()), Path(folder))
        print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
