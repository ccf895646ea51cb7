"""The only place that knows ffmpeg-python: from filters and options to an argument list.

ffmpeg-python is used for building only, and only with keyword arguments: it escapes positional
ones twice (kkroening/ffmpeg-python issues 138 and 745). No text of a user's may ever become a
filter's value: ``movie=http://...`` opens the URL in spite of every protocol whitelist.
"""

# ffmpeg-python has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from videojobs.errors import MissingExtraError
from videojobs.pipelines.plan import SOURCE_NAME

Options = Mapping[str, str | int | float]

_LABEL = re.compile(r"\[([^\[\]]+)\]")

#: What every run starts with. Progress goes to stdout as key=value; stdin is closed, since ``q``
#: on it would end the run with exit code 0 and a short, playable file. Always ``-y``: with ``-n``
#: an existing file gives exit code 0. No allocation is larger than a plane of the largest picture
#: could need: a file may ask for two gigabytes at a time.
_HEAD = (
    "-hide_banner",
    "-nostdin",
    "-nostats",
    "-stats_period",
    "0.5",
    "-progress",
    "pipe:1",
    "-max_alloc",
    str(256 << 20),
    "-y",
)
_LOG_WARNINGS = ("-loglevel", "repeat+level+warning")
#: ebur128 prints its summary at level info.
_LOG_SUMMARY = ("-loglevel", "repeat+level+info")

#: Containers that hold what they play. Playlists, concat scripts, SDP and image sequences name
#: other files, and are not among them. ffmpeg wants the whole group ``mov,...,mj2``.
FORMAT_WHITELIST = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv,asf,mpeg,ogg,mxf"

#: Repeated before every input, since ffmpeg applies them to the next one only.
HOSTILE_INPUT: Options = {
    "protocol_whitelist": "file",
    "format_whitelist": FORMAT_WHITELIST,
    "max_pixels": 36_000_000,
    "max_streams": 64,
}

#: A list of segments that we wrote ourselves. Without a list of formats the demuxer would guess at them.
_OWN_LIST: Options = {
    "f": "concat",
    "protocol_whitelist": "file",
    "format_whitelist": "concat,mov,mp4,m4a,3gp,3g2,mj2",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """One ffmpeg filter with its options."""

    name: str
    options: Options = field(default_factory=dict[str, "str | int | float"])


@dataclass(frozen=True, slots=True)
class Layers:
    """The picture on top of a copy of itself that went through filters of its own."""

    background: Sequence[Filter]
    overlay: Filter


Step = Filter | Layers


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInput:
    """Which part of the source is read, and which of its streams."""

    start_seconds: float | None = None
    """Seeks before decoding, which is three times faster than after it; ``None`` for the start."""
    duration_seconds: float
    video_index: int | None = None
    audio_index: int | None = None
    threads: int | None = None
    only_keyframes: bool = False
    """Leaves all other frames undecoded, at a fifth of the time. From the one before the start on,
    so that there is one.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One output file of a graph."""

    file_name: str
    options: Options
    steps: Sequence[Step] = ()
    """Change the picture for this branch and for all after it: a cascade of sizes."""
    tail: Sequence[Step] = ()
    """Change the picture for this branch only."""
    has_audio: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCopy:
    """One stream of a finished file, copied into a file of its own."""

    source_name: str
    stream: str
    """ffmpeg's name for it: ``v:0`` or ``a:0``."""
    file_name: str
    options: Options


def copy_arguments(copies: Sequence[StreamCopy]) -> tuple[str, ...]:
    """One run that copies all of these streams; nothing is decoded."""
    ffmpeg = _ffmpeg()
    outputs = [
        ffmpeg.output(
            ffmpeg.input(f"file:{copy.source_name}", **HOSTILE_INPUT)[copy.stream],
            f"file:{copy.file_name}",
            **copy.options,
        )
        for copy in copies
    ]
    return _compiled(ffmpeg, outputs, _LOG_WARNINGS)


def compare_arguments(
    file_name: str, source: SourceInput, *, video: Sequence[Filter], threads: int
) -> tuple[str, ...]:
    """How much of the source's filtered picture a file shows, by VMAF on every fifth frame.

    Measured on every frame it would cost twice as much, and differ by a tenth.
    """
    ffmpeg = _ffmpeg()
    shown = ffmpeg.input(f"file:{file_name}", **HOSTILE_INPUT)["v:0"]
    meant = _chain(_input(ffmpeg, source)[str(source.video_index)], video)
    score = ffmpeg.filter([shown, meant], "libvmaf", n_subsample=5, n_threads=threads)
    return _compiled(ffmpeg, [ffmpeg.output(score, "-", f="null")], _LOG_SUMMARY)


def sheet_arguments(
    source_name: str, filters: Sequence[Filter], file_name: str, options: Options
) -> tuple[str, ...]:
    """The keyframes of a finished file, and nothing else of it, as one picture."""
    ffmpeg = _ffmpeg()
    read = ffmpeg.input(f"file:{source_name}", **HOSTILE_INPUT, skip_frame="nokey")
    picture = _chain(read["v:0"], filters)
    return _compiled(
        ffmpeg, [ffmpeg.output(picture, f"file:{file_name}", **options)], _LOG_WARNINGS
    )


def encode_arguments(
    source: SourceInput,
    *,
    video: Sequence[Step],
    audio: Sequence[Filter],
    branches: Sequence[Branch],
) -> tuple[str, ...]:
    """One decode of the source, filtered once, feeding every branch in the order given."""
    ffmpeg = _ffmpeg()
    read = _input(ffmpeg, source)
    pictures = _pictures(_chain(read[str(source.video_index)], video), branches)
    sounds = _sounds(read, source, audio, branches)
    outputs = [
        ffmpeg.output(picture, *sound, f"file:{branch.file_name}", **branch.options)
        for picture, sound, branch in zip(pictures, sounds, branches, strict=True)
    ]
    return _compiled(ffmpeg, outputs, _LOG_WARNINGS)


def join_arguments(
    source: SourceInput,
    *,
    lists: Sequence[str],
    audio: Sequence[Filter],
    branches: Sequence[Branch],
) -> tuple[str, ...]:
    """The pictures of each list of segments, copied, with the source's sound encoded beside them.

    The sound is encoded once for the whole title: an encoder that begins anew at each segment leaves
    a click there.
    """
    ffmpeg = _ffmpeg()
    sounds = _sounds(_input(ffmpeg, source), source, audio, branches)
    outputs = [
        ffmpeg.output(
            ffmpeg.input(f"file:{name}", **_OWN_LIST)["v"],
            *sound,
            f"file:{branch.file_name}",
            **branch.options,
        )
        for name, sound, branch in zip(lists, sounds, branches, strict=True)
    ]
    return _compiled(ffmpeg, outputs, _LOG_WARNINGS)


def measure_arguments(
    source: SourceInput, *, audio: Sequence[Filter], file_name: str = SOURCE_NAME
) -> tuple[str, ...]:
    """The sound alone, through the filters and an EBU R 128 meter, into nothing.

    Without ``-vn`` the picture would be decoded too: 13 seconds instead of 0.3.
    """
    ffmpeg = _ffmpeg()
    meter = Filter("ebur128", {"peak": "true", "framelog": "quiet"})
    sound = _chain(_input(ffmpeg, source, file_name)[str(source.audio_index)], (*audio, meter))
    output = ffmpeg.output(sound, "-", f="null", vn=None, t=source.duration_seconds)
    return _compiled(ffmpeg, [output], _LOG_SUMMARY)


def analyse_arguments(
    source: SourceInput, *, video: Sequence[Filter], sounds: Sequence[Sequence[Filter]]
) -> tuple[str, ...]:
    """Picture and sound, each decoded once, through filters that take notes, into nothing."""
    ffmpeg = _ffmpeg()
    read = _input(ffmpeg, source)
    streams = [_chain(read[str(source.video_index)], video)]
    if sounds:
        split = read[str(source.audio_index)].filter_multi_output("asplit")
        streams += [_chain(split[place], steps) for place, steps in enumerate(sounds)]
    output = ffmpeg.output(*streams, "-", f="null", t=source.duration_seconds)
    return _compiled(ffmpeg, [output], _LOG_WARNINGS)


def _ffmpeg() -> Any:
    try:
        import ffmpeg  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError("video", "planning an ffmpeg run") from error
    return ffmpeg


def _input(ffmpeg: Any, source: SourceInput, file_name: str = SOURCE_NAME) -> Any:
    given = {"ss": source.start_seconds, "t": source.duration_seconds, "threads": source.threads}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if source.only_keyframes:
        options |= {"skip_frame:v": "nokey", "noaccurate_seek": None}
    return ffmpeg.input(f"file:{file_name}", **HOSTILE_INPUT, **options)


def _chain(stream: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        stream = _layered(stream, step) if isinstance(step, Layers) else _filtered(stream, step)
    return stream


def _filtered(stream: Any, step: Filter) -> Any:
    return stream.filter(step.name, **step.options)


def _layered(stream: Any, step: Layers) -> Any:
    split = stream.filter_multi_output("split")
    background = _chain(split[0], step.background)
    overlay = step.overlay
    return _ffmpeg().filter([background, split[1]], overlay.name, **overlay.options)


def _pictures(picture: Any, branches: Sequence[Branch]) -> list[Any]:
    pictures: list[Any] = []
    for branch in branches:
        picture = _chain(picture, branch.steps)
        own = picture
        if branch is not branches[-1]:
            split = picture.filter_multi_output("split")
            own, picture = split[0], split[1]
        pictures.append(_chain(own, branch.tail))
    return pictures


def _sounds(
    read: Any, source: SourceInput, audio: Sequence[Filter], branches: Sequence[Branch]
) -> list[list[Any]]:
    heard = [branch.has_audio for branch in branches]
    if not any(heard):
        return [[] for _ in branches]
    sound = _chain(read[str(source.audio_index)], audio)
    if sum(heard) == 1:
        return [[sound] if has_audio else [] for has_audio in heard]
    split = sound.filter_multi_output("asplit")
    return [
        [split[sum(heard[:place])]] if has_audio else [] for place, has_audio in enumerate(heard)
    ]


def _compiled(ffmpeg: Any, outputs: list[Any], log: tuple[str, ...]) -> tuple[str, ...]:
    whole = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    # Global options first: ffmpeg-python's own way puts them behind the outputs.
    arguments = tuple(map(str, ffmpeg.compile(whole, cmd=["ffmpeg", *_HEAD, *log])[1:]))
    if "-filter_complex" not in arguments:
        return arguments
    place = arguments.index("-filter_complex")
    graphs = (("-filter_complex", graph) for graph in _apart(arguments[place + 1]))
    return (*arguments[:place], *chain.from_iterable(graphs), *arguments[place + 2 :])


def _apart(graph: str) -> list[str]:
    """The graph as the graphs that it consists of: picture and sound hardly ever meet.

    When the picture's size changes, ffmpeg begins its graph anew. Sound in the same one would begin
    with silence from time 0 again.
    """
    found: list[tuple[set[str], list[str]]] = []
    for part in graph.split(";"):
        labels = {label for label in _LABEL.findall(part) if ":" not in label}
        first, *others = [each for each in found if each[0] & labels] or [(set[str](), list[str]())]
        for each in others:
            first[0].update(each[0])
            first[1].extend(each[1])
            found.remove(each)
        first[0].update(labels)
        first[1].append(part)
        if first not in found:
            found.append(first)
    return [";".join(parts) for _, parts in found]
