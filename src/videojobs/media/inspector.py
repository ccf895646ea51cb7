"""Asks the inspecting process about files, in bounded time, and survives its death."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from videojobs.errors import MissingExtraError, ProcessingCancelledError, ProcessingError
from videojobs.media.launching import launched
from videojobs.media.signatures import kind_of
from videojobs.pipelines.failures import (
    CORRUPT_SOURCE,
    FORMAT_REFUSED,
    SOURCE_TOO_COMPLEX,
    TRUNCATED_SOURCE,
)
from videojobs.pipelines.hls import SegmentFacts
from videojobs.pipelines.playlists import Fragment
from videojobs.pipelines.source import AudioFacts, SourceFacts, VideoFacts
from videojobs.pipelines.verification import OutputFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from videojobs.pipelines.plan import OutputKind

_SCRIPT = Path(__file__).with_name("_inspect.py")
_SOURCE_SECONDS = 30.0
#: An output is demuxed once; a slow disk gives 20 MB/s.
_OUTPUT_SECONDS, _BYTES_PER_SECOND = 60.0, 20e6
_TICK_SECONDS = 0.1
_ADDRESS_SPACE_BYTES = 4 << 30

#: libavformat says "cannot allocate" also when there are more streams than it was allowed.
_UNREADABLE = {"FormatRefusedError": FORMAT_REFUSED, "MemoryError": SOURCE_TOO_COMPLEX}


@dataclass(frozen=True, slots=True, kw_only=True)
class FragmentedStream:
    """A stream as ffmpeg left it, not yet cut into segments."""

    codec: str
    extradata: bytes
    """The decoder's configuration, as the codec's specification lays it out."""
    init_bytes: int
    """How much of the file a player needs before any fragment."""
    channels: int
    """0 for a picture."""
    fragments: tuple[Fragment, ...]


class Inspector:
    """Inspecting processes: one for each question that is asked at the same time.

    Loading PyAV takes 110 ms; a process goes on to the next question, to the end of the ``with``
    block.
    """

    def __init__(self, *, should_stop: Callable[[], bool] = lambda: False) -> None:
        if importlib.util.find_spec("av") is None:
            raise MissingExtraError("video", "looking at a video")
        self._should_stop = should_stop
        self._idle: list[subprocess.Popen[bytes]] = []
        # The kernel ends a child with the thread that started it, and threads that ask come and go.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="inspector")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            _end(self._idle.pop())
        self._starter.shutdown()

    def source(self, path: Path) -> SourceFacts:
        """What a source is.

        Raises:
            ProcessingError: ``corrupt_source``, ``format_refused``, ``source_too_large``,
                ``missing_source`` or ``probe_timeout``.
            ProcessingCancelledError: It was to stop.
        """
        reply = self._ask("source", path, seconds=_SOURCE_SECONDS)
        if "facts" not in reply:
            raise _unreadable(path, reply)
        return _source_facts(reply["facts"])

    def output(
        self, path: Path, kind: OutputKind, *, decode_seconds: float | None = None
    ) -> OutputFacts:
        """What a file of our own making is.

        *decode_seconds* is the length of a video of which all is to be decoded; ``None`` decodes
        its first and last group of pictures and the keyframes between.

        Raises:
            ProcessingError: ``invalid_output``; ``truncated_source`` when it is empty.
        """
        seconds = _OUTPUT_SECONDS + path.stat().st_size / _BYTES_PER_SECOND
        if decode_seconds is not None:
            # A busy machine may take four times as long as it takes to watch.
            reply = self._ask("whole video", path, seconds=seconds + 4 * decode_seconds)
        else:
            reply = self._ask(kind, path, seconds=seconds)
        return _output_facts(_of_ours(path, reply))

    def fragments(self, path: Path) -> FragmentedStream:
        """Where the fragments of a stream lie, and how a player must be told about it.

        Raises:
            ProcessingError: ``invalid_output``.
        """
        seconds = _OUTPUT_SECONDS + path.stat().st_size / _BYTES_PER_SECOND
        found = _of_ours(path, self._ask("fragments", path, seconds=seconds))
        return FragmentedStream(
            codec=found["codec"],
            extradata=bytes.fromhex(found["extradata"]),
            init_bytes=found["init_bytes"],
            channels=found["channels"],
            fragments=tuple(Fragment(*each) for each in found["fragments"]),
        )

    def stream(
        self, folder: Path, *, names: Sequence[str], pictures: Sequence[tuple[str, int, int]]
    ) -> tuple[tuple[SegmentFacts, ...], str | None]:
        """What the segments of a finished stream are, and the first thing that does not decode.

        *pictures* are the parts of segments that must show one keyframe each.

        Raises:
            ProcessingError: ``invalid_output``.
        """
        size = sum((folder / name).stat().st_size for name in names)
        seconds = _OUTPUT_SECONDS + size / _BYTES_PER_SECOND + 0.1 * len(pictures)
        more = {"names": list(names), "pictures": [list(each) for each in pictures]}
        found = _of_ours(folder, self._ask("stream", folder, seconds=seconds, more=more))
        return tuple(SegmentFacts(**each) for each in found["segments"]), found["error"]

    def _ask(
        self, look_at: str, path: Path, *, seconds: float, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        request = {"look_at": look_at, "path": str(path), "seconds": seconds, "more": more or {}}
        process = self._running()
        assert process.stdin is not None  # noqa: S101 # a pipe was asked for
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            reply = json.loads(self._line(process, seconds))
        except (BrokenPipeError, EOFError):
            _end(process)
            return {"error": "it ends the program that reads it", "kind": "Crash"}
        except BaseException:
            # Its next answer would belong to this question.
            _end(process)
            raise
        self._idle.append(process)
        return reply

    def _running(self) -> subprocess.Popen[bytes]:
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while True:
                process = self._idle.pop()
                if process.poll() is None:
                    return process
                _end(process)
        return self._starter.submit(_start).result()

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        assert process.stdout is not None  # noqa: S101 # a pipe was asked for
        line, deadline = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                self._refuse_waiting(deadline)
                if selector.select(timeout=_TICK_SECONDS):
                    line += _read(process.stdout.fileno())
        return line

    def _refuse_waiting(self, deadline: float) -> None:
        if self._should_stop():
            raise ProcessingCancelledError
        if time.monotonic() > deadline:
            raise ProcessingError(
                f"looking at the file took too long. {CORRUPT_SOURCE.advice}",
                code="probe_timeout",
                advice=CORRUPT_SOURCE.advice,
            )


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        launched([sys.executable, "-S", "-P", "-B", str(_SCRIPT)], limits=_limits()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=_environment(),
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


def _read(descriptor: int) -> bytes:
    data = os.read(descriptor, 65536)
    if not data:
        raise EOFError
    return data


def _limits() -> dict[str, int]:
    limits = {"CORE": 0, "FSIZE": 0, "NOFILE": 256}
    if sys.platform.startswith("linux"):  # macOS counts shared mappings, and refuses to start
        limits["AS"] = _ADDRESS_SPACE_BYTES
    return limits


def _environment() -> dict[str, str]:
    # The child runs without site packages of its own, and finds PyAV where we do.
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LC_ALL": "C.UTF-8"}


def _of_ours(path: Path, reply: dict[str, Any]) -> dict[str, Any]:
    """What was found out about a file of our own making."""
    if "facts" in reply:
        return reply["facts"]
    raise _unusable(path, reply)


def _unreadable(path: Path, reply: Mapping[str, Any]) -> ProcessingError:
    if reply["kind"] == "FileNotFoundError":
        return ProcessingError("the source is no longer there", code="missing_source")
    if reply["kind"] != "MemoryError" and (kind := kind_of(path)) is not None:
        return ProcessingError(
            f"the source is {kind}, and no video. {FORMAT_REFUSED.advice}",
            code=FORMAT_REFUSED.code,
            advice=FORMAT_REFUSED.advice,
        )
    failure = _UNREADABLE.get(reply["kind"], CORRUPT_SOURCE)
    reason = f" ({reply['error']})" if failure is CORRUPT_SOURCE else ""
    return ProcessingError(
        f"{failure.message}{reason}. {failure.advice}", code=failure.code, advice=failure.advice
    )


def _unusable(path: Path, reply: Mapping[str, Any]) -> ProcessingError:
    name = path.name.removesuffix(".part")
    if reply["kind"] == "NoPictureError":
        # ffmpeg ends with 0 when there is nothing behind the place where it was to begin.
        return ProcessingError(
            f"{TRUNCATED_SOURCE.message}: there is nothing for {name}. {TRUNCATED_SOURCE.advice}",
            code=TRUNCATED_SOURCE.code,
            advice=TRUNCATED_SOURCE.advice,
        )
    return ProcessingError(
        f"{name} was made but cannot be read ({reply['error']}). Try again",
        code="invalid_output",
        retryable=True,
        advice="Try again; if it happens again, report it with the source.",
    )


def _source_facts(found: dict[str, Any]) -> SourceFacts:
    video, audio = found.pop("video"), found.pop("audio")
    return SourceFacts(
        **found,
        video=VideoFacts(**_with_fractions(video)) if video else None,
        audio=AudioFacts(**audio) if audio else None,
    )


def _output_facts(found: dict[str, Any]) -> OutputFacts:
    return OutputFacts(**_with_fractions(found))


def _with_fractions(found: dict[str, Any]) -> dict[str, Any]:
    names = ("frame_rate", "sample_aspect_ratio")
    return found | {name: Fraction(found[name]) for name in names if name in found}
