"""Why an ffmpeg run failed: from its exit code and last words to a code and advice.

ffmpeg 6 and later end with the low byte of the error number; ffmpeg 5 ends with 1 for nearly
everything. So the text is asked first, and the exit code when the text is silent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from videojobs.errors import ProcessingCancelledError, ProcessingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from videojobs.pipelines.plan import PlannedRun

_TAIL_LINES = 12
#: Damage that a viewer would forgive: a glitch, not a green picture.
_FEW_DAMAGED_FRAMES, _DAMAGED_SHARE = 10, 0.05
_TAIL_CHARACTERS = 4096


class StopReason(StrEnum):
    """Why we ended a run ourselves."""

    CANCELLED = "cancelled"
    STALLED = "stalled"
    TIME_LIMIT = "time_limit"


@dataclass(frozen=True, slots=True)
class Failure:
    """A class of failures."""

    code: str
    message: str
    advice: str
    retryable: bool = False


CORRUPT_SOURCE = Failure(
    "corrupt_source",
    "the source is damaged or is not a video",
    "Check that it plays, export it again, and upload the new file.",
)
TRUNCATED_SOURCE = Failure(
    "truncated_source",
    "the source ends early",
    "The upload probably broke off. Upload the file again.",
)
SOURCE_TOO_COMPLEX = Failure(
    "source_too_large",
    "the source has too many streams, or needs more memory than a video should",
    "Export the video with one picture and one sound track.",
)
_DISK_FULL = Failure(
    "disk_full",
    "there is no space left on the worker's disk",
    "Free some space in the work folder, or let another worker try.",
    retryable=True,
)
_MEMORY = Failure(
    "out_of_memory",
    "ffmpeg ran out of memory",
    "Run fewer jobs at once on this worker, or give it more memory.",
    retryable=True,
)
_RESOURCES = Failure(
    "resource_limit",
    "the machine refused ffmpeg another thread or file",
    "Run fewer jobs at once on this worker, or raise its limits.",
    retryable=True,
)
_BUILD = Failure(
    "ffmpeg_build",
    "this ffmpeg lacks an encoder, filter or option that is needed",
    "Use the ffmpeg of imageio-ffmpeg: unset VIDEOJOBS_FFMPEG, or install a full build.",
)
_TOO_LARGE = Failure(
    "source_too_large",
    "the source's picture is too large",
    "Scale the video down, to 4K for instance, and send it again.",
)
_MISSING = Failure(
    "missing_file",
    "a file or folder that ffmpeg needs is not there",
    "Check that the work folder exists and that nothing cleans it while jobs run.",
)
_DENIED = Failure(
    "permission_denied",
    "ffmpeg may not read the source or write the output",
    "Check the permissions of the source and of the work folder.",
)
FORMAT_REFUSED = Failure(
    "format_refused",
    "the source is of a kind that is not accepted, such as a playlist",
    "Send a video file: MP4, MOV, MKV, WebM, AVI, MPEG or FLV.",
)
_CODEC = Failure(
    "unsupported_codec",
    "ffmpeg cannot decode the source's codec",
    "Convert it to H.264 with AAC and send it again.",
)
_NO_STREAM = Failure(
    "no_video_stream",
    "the source lacks the stream that was to be used",
    "Send a file with a picture that plays.",
)
_OUTPUT_LARGE = Failure(
    "output_too_large",
    "the output grew beyond its limit",
    "Send a shorter or simpler video, or choose a lower quality preset.",
)
_CPU = Failure(
    "time_limit",
    "the run took more time than it was given",
    "Try again on a less busy worker, or choose a faster quality preset.",
    retryable=True,
)
_STALLED = Failure(
    "stalled",
    "ffmpeg stopped making progress and was ended",
    "Try again; if it happens with this source only, export the source again.",
    retryable=True,
)
_INTERRUPTED = Failure(
    "interrupted",
    "ffmpeg was ended from outside",
    "Try again; somebody or something on the machine stopped it.",
    retryable=True,
)
_CRASHED = Failure(
    "ffmpeg_crashed",
    "ffmpeg crashed on this source",
    "Export the source again, or try another version of ffmpeg.",
)
_PARAMETERS = Failure(
    "bad_parameters",
    "ffmpeg refused what it was asked to do",
    "This is a fault of ours or of your own pipeline: report it with the last lines.",
)
_UNKNOWN = Failure(
    "ffmpeg_failed",
    "ffmpeg failed",
    "Read the last lines that it printed.",
)

_TEXTS: tuple[tuple[re.Pattern[str], Failure], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), failure)
    for pattern, failure in (
        (r"no space left on device|disk quota exceeded", _DISK_FULL),
        # Our own limit for one allocation: a damaged file asks for gigabytes, each time anew.
        (r"error (during demuxing|opening input): cannot allocate memory", CORRUPT_SOURCE),
        (r"cannot allocate memory|out of memory|malloc.*failed", _MEMORY),
        (r"resource temporarily unavailable|too many open files", _RESOURCES),
        (r"unknown (encoder|decoder|filter|muxer)|no such filter|unrecognized option", _BUILD),
        (r"option .* not found|encoder not found", _BUILD),
        (r"exceeds? .*max_?pixels|picture size \S+ is invalid|get_buffer\(\) failed", _TOO_LARGE),
        (r"not on whitelist|not whitelisted|unsafe file name", FORMAT_REFUSED),
        (r"decoder .* not found|no decoder|unsupported codec|could not find codec", _CODEC),
        (r"matches no streams|does not contain any stream", _NO_STREAM),
        (r"file size limit exceeded|file too large", _OUTPUT_LARGE),
        (r"received signal 24|cpu time limit", _CPU),
        (r"file ended prematurely", TRUNCATED_SOURCE),
        (r"moov atom not found|invalid data found when processing input", CORRUPT_SOURCE),
        (r"error opening input.*end of file|invalid nal unit size", CORRUPT_SOURCE),
        # A plan that ffmpeg cannot follow may say so too; else no picture came out of the source.
        (r"error reinitializing filters", _PARAMETERS),
        (r"could not open encoder before eof", CORRUPT_SOURCE),
        (r"permission denied|operation not permitted", _DENIED),
        (r"no such file or directory", _MISSING),
    )
)

_EXIT_CODES: dict[int, Failure] = {
    183: CORRUPT_SOURCE,
    69: CORRUPT_SOURCE,
    254: _MISSING,
    243: _DENIED,
    234: _PARAMETERS,
    187: _PARAMETERS,
    8: _BUILD,
    228: _DISK_FULL,
    244: _MEMORY,
    245: _RESOURCES,
    255: _INTERRUPTED,
    -2: _INTERRUPTED,
    -15: _INTERRUPTED,
    # The kernel's out-of-memory killer leaves no other trace.
    -9: _MEMORY,
    -24: _CPU,
    -25: _OUTPUT_LARGE,
    -4: _CRASHED,
    -6: _CRASHED,
    -8: _CRASHED,
    -11: _CRASHED,
}

_STOPS = {StopReason.STALLED: _STALLED, StopReason.TIME_LIMIT: _CPU}

_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_PATH = re.compile(r"(?:file:|(?<![\w#]))(?:/[^\s/:'\"]+)*/([^\s/:'\"]+)")
_LOUD = re.compile(r"\[(error|fatal|panic)\]")


def run_error(
    name: str, *, exit_code: int, stderr: Sequence[str], stopped: StopReason | None = None
) -> ProcessingError:
    """The error for a run that was stopped or that ended with anything but 0."""
    tail = readable_tail(stderr)
    if stopped is StopReason.CANCELLED:
        return ProcessingCancelledError(
            f"{name} was cancelled", exit_code=exit_code, stderr_tail=tail
        )
    failure = classify(exit_code, stderr, stopped)
    cause = _first_cause(tail)
    return ProcessingError(
        f"{name} failed: {failure.message}{f' ({cause})' if cause else ''}. {failure.advice}",
        code=failure.code,
        retryable=failure.retryable,
        exit_code=exit_code,
        stderr_tail=tail,
        advice=failure.advice,
    )


def damage_error(
    run: PlannedRun, damaged_frames: int, stderr: Sequence[str]
) -> ProcessingError | None:
    """The error for a run that ended well over a source too damaged to show; else ``None``."""
    if damaged_frames <= max(_FEW_DAMAGED_FRAMES, run.frame_count * _DAMAGED_SHARE):
        return None
    return ProcessingError(
        f"{run.name} failed: {damaged_frames} pictures of the source are damaged. "
        f"{CORRUPT_SOURCE.advice}",
        code=CORRUPT_SOURCE.code,
        exit_code=0,
        stderr_tail=readable_tail(stderr),
        advice=CORRUPT_SOURCE.advice,
    )


def classify(exit_code: int, stderr: Sequence[str], stopped: StopReason | None = None) -> Failure:
    """What kind of failure this is."""
    if stopped is not None and stopped in _STOPS:
        return _STOPS[stopped]
    # A signal says more than the lines before it, which may be old complaints.
    if exit_code < 0 and exit_code in _EXIT_CODES:
        return _EXIT_CODES[exit_code]
    for pattern, failure in _TEXTS:
        if any(pattern.search(line) for line in _said(stderr)):
            return failure
    return _EXIT_CODES.get(exit_code, _UNKNOWN)


def readable_tail(stderr: Sequence[str]) -> tuple[str, ...]:
    """The last lines, without addresses, and with file names instead of paths."""
    lines = [_PATH.sub(r"\1", _ADDRESS.sub("", line)).strip() for line in stderr]
    kept: list[str] = []
    room = _TAIL_CHARACTERS
    for line in reversed([line for line in lines if line][-_TAIL_LINES:]):
        room -= len(line)
        if room < 0:
            break
        kept.append(line)
    return tuple(reversed(kept))


def _said(stderr: Sequence[str]) -> Sequence[str]:
    """Lines of level error and above where there are any: a warning is rarely the cause."""
    return [line for line in stderr if _LOUD.search(line)] or stderr


def _first_cause(tail: Sequence[str]) -> str | None:
    # ffmpeg names the cause first; its last lines say only that something went wrong.
    return next((line for line in tail if _LOUD.search(line)), None)
