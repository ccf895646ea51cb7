"""Looks at media files with PyAV, in a process of its own: a hostile file may crash it.

Started as a script, knows nothing of the package. Reads one JSON request a line from stdin
(``{"look_at": ..., "path": ..., "seconds": ..., "more": {...}}``) and answers each with one line:
``{"facts": ...}``, or ``{"error": ..., "kind": ...}``. `_LOOKS` names what can be looked at.
"""

# pyright: basic
# PyAV's stubs leave half of its types open, and everything here ends as JSON.

from __future__ import annotations

import bisect
import hashlib
import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import av.stream

_INPUT_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,flv,asf,mpeg,ogg,mxf",
    "max_streams": "64",
}
_FINGERPRINT_BYTES = 64 * 1024
_MAX_SIDE, _MAX_PIXELS = 8192, 36_000_000
_MAX_PACKETS_TO_FIRST_FRAME = 500
#: Of the first and of the last group of pictures, should a group be long beyond all custom.
_MOST_OF_A_GROUP = 600

#: Deblocking smooths pictures that nobody will look at here, and cannot fail: without it, all that
#: was written is still decoded, in three quarters of the time.
_STRICTLY = {"err_detect": "explode", "skip_loop_filter": "all"}

# Numbers of ITU-T H.273.
_TRANSFERS = {1: "bt709", 6: "bt601", 16: "smpte2084", 18: "arib-std-b67"}
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_FULL_RANGE = 2


class FormatRefusedError(Exception):
    """No container that holds what it plays."""


class NoPictureError(Exception):
    """A file of our own making is empty."""


def look_at_source(path: str) -> dict[str, Any]:
    with _opened(path) as container:
        video, audio = _picture(container), _sound(container)
        facts = {
            "container": container.format.name,
            "size_bytes": _size(path),
            "fingerprint": _fingerprint(path),
            "stream_count": len(container.streams),
            "is_cut_short": video is not None and _is_cut_short(video, _size(path)),
            "audio": audio and _audio_facts(audio),
            "video": video and _video_facts(container, video),
        }
        facts["duration_seconds"] = _duration(path, container, video)
        return facts


def _opened(path: str) -> Any:
    try:
        return av.open(f"file:{path}", options=_INPUT_OPTIONS)
    except av.error.ArgumentError as error:  # how libavformat says "not on the whitelist"
        raise FormatRefusedError(str(error)) from error


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _fingerprint(path: str) -> str:
    """Tells a file from another that took its place, without reading all of it."""
    size, digest = _size(path), hashlib.sha256()
    with Path(path).open("rb") as file:
        for place in (0, size // 2, max(0, size - _FINGERPRINT_BYTES)):
            file.seek(place)
            digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()[:16]


def _picture(container: Any) -> Any:
    # Cover art is a video stream too.
    covers = av.stream.Disposition.attached_pic
    own = [stream for stream in container.streams.video if not stream.disposition & covers]
    best = container.streams.best("video") if own else None
    return best if best in own else next(iter(own), None)


def _sound(container: Any) -> Any:
    best = container.streams.best("audio") if container.streams.audio else None
    # A track that declares no channels cannot be decoded.
    return best if best is not None and best.codec_context.layout.nb_channels else None


def _is_cut_short(video: Any, size: int) -> bool:
    entries = video.index_entries
    if not len(entries):
        return False
    last = entries[len(entries) - 1]
    return last.pos + last.size > size


def _audio_facts(audio: Any) -> dict[str, Any]:
    return {
        "stream_index": audio.index,
        "codec": _codec_name(audio.codec_context),
        "sample_rate": audio.codec_context.sample_rate,
        "channels": audio.codec_context.layout.nb_channels,
    }


def _video_facts(container: Any, video: Any) -> dict[str, Any]:
    context = video.codec_context
    facts = {
        "stream_index": video.index,
        "codec": _codec_name(context),
        "width": context.width,
        "height": context.height,
        "frame_rate": str(video.average_rate or video.guessed_rate or 25),
        "sample_aspect_ratio": str(video.sample_aspect_ratio or 1),
    }
    is_sane = max(context.width, context.height) <= _MAX_SIDE
    if is_sane and 0 < context.width * context.height <= _MAX_PIXELS:
        facts |= _first_frame(container, video)
    return facts


def _codec_name(context: Any) -> str:
    # The decoder's name may be a library's or its own: libdav1d for av1, mp3float for mp3.
    return str(context.codec.canonical_name)


def _first_frame(container: Any, video: Any) -> dict[str, Any]:
    video.codec_context.thread_count = 1
    frame = _decoded(container, video)
    field_order = int(video.codec_context.field_order)
    return {
        "width": frame.width,
        "height": frame.height,
        "rotation_degrees": int(frame.rotation) % 360,
        "is_interlaced": bool(frame.interlaced_frame) or field_order > 1,
        "is_full_range": int(frame.color_range) == _FULL_RANGE,
        "transfer": _TRANSFERS.get(int(frame.color_trc)),
        "matrix": _MATRICES.get(int(frame.colorspace)),
    }


def _decoded(container: Any, video: Any) -> Any:
    for number, packet in enumerate(container.demux(video)):
        try:
            for frame in packet.decode():
                return frame
        except av.error.InvalidDataError:
            # A recording may begin in the middle of a group of pictures.
            continue
        if number > _MAX_PACKETS_TO_FIRST_FRAME:
            break
    raise ValueError("no picture could be decoded")


def _duration(path: str, container: Any, video: Any) -> float:
    if video is not None and video.duration:
        return float(video.duration * video.time_base)
    if container.duration:
        # FLV counts from nought, though its first picture comes later when pictures are reordered.
        unused = max(0, container.start_time or 0) if container.format.name == "flv" else 0
        return (container.duration - unused) / av.time_base
    return _measured_duration(path, 0 if video is None else video.index)


def _measured_duration(path: str, index: int) -> float:
    """Browsers record WebM without a duration: the packets know."""
    first, end = float("inf"), 0.0
    with _opened(path) as container:
        for packet in container.demux(container.streams[index]):
            if packet.pts is not None:
                first = min(first, float(packet.pts * packet.time_base))
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return max(0.0, end - first)


def look_at_whole_video(path: str) -> dict[str, Any]:
    return look_at_video(path, whole=True)


def look_at_video(path: str, *, whole: bool = False) -> dict[str, Any]:
    with av.open(f"file:{path}", format="mp4") as container:
        if not container.streams.video:
            raise NoPictureError("it has no picture")
        video = container.streams.video[0]
        audio = next(iter(container.streams.audio), None)
        context = video.codec_context
        # The encoder has ended, so its cores are free.
        context.thread_type, context.thread_count = "AUTO", 2
        for stream in container.streams:
            stream.codec_context.options = _STRICTLY
        facts = {
            "size_bytes": _size(path),
            "width": context.width,
            "height": context.height,
            "video_codec": _codec_name(context),
            "pixel_format": context.pix_fmt,
            "sample_aspect_ratio": str(video.sample_aspect_ratio or 1),
            "frame_rate": str(video.average_rate),
            "audio_codec": audio and _codec_name(audio.codec_context),
        }
        return facts | _walk(container, video, audio, whole) | _boxes(path)


def _walk(container: Any, video: Any, audio: Any, whole: bool) -> dict[str, Any]:
    """One pass over the packets, which are decoded as they come: all, or those of `_Sample`."""
    ends: dict[int, float] = {}
    starts: dict[int, float] = {}
    last_dts: dict[int, int] = {}
    keys: list[float] = []
    ordered, frames, decoder = True, 0, _Decoder(video)
    sample = _Sample(decoder)
    for packet in container.demux():
        if packet.dts is None:
            continue
        index, pts = packet.stream_index, float(packet.pts * packet.time_base)
        starts.setdefault(index, pts)
        starts[index] = min(starts[index], pts)
        length = float((packet.duration or 0) * packet.time_base)
        ends[index] = max(ends.get(index, 0.0), pts + length)
        ordered = ordered and packet.dts > last_dts.get(index, -(1 << 62))
        last_dts[index] = packet.dts
        if index == video.index:
            frames += 1
            if packet.is_keyframe:
                keys.append(pts)
        if whole:
            decoder.feed(packet)
        elif index == video.index:
            sample.feed(packet)
    sample.end()
    decoder.end()
    return {
        "duration_seconds": ends.get(video.index, 0.0) - starts.get(video.index, 0.0),
        "audio_seconds": ends.get(audio.index) if audio else None,
        "frame_count": frames,
        "rotation_degrees": decoder.rotation,
        "longest_keyframe_gap_seconds": _longest_gap(keys, ends.get(video.index, 0.0)),
        "has_ordered_times": ordered,
        "decode_error": decoder.error or (None if frames else "it has no frames"),
    }


def _longest_gap(keys: list[float], end: float) -> float:
    return max(
        (after - before for before, after in zip(keys, [*keys[1:], end], strict=False)), default=0.0
    )


class _Sample:
    """The first and the last group of pictures, and the keyframes of those between: 1 % of the
    cost of the encode, where all pictures cost a tenth."""

    def __init__(self, decoder: _Decoder) -> None:
        self._decoder = decoder
        self._group: list[Any] = []
        self._groups = 0

    def feed(self, packet: Any) -> None:
        if packet.is_keyframe:
            self._decode(_MOST_OF_A_GROUP if self._groups == 1 else 1)
            self._groups += 1
            self._group = []
        if len(self._group) < _MOST_OF_A_GROUP:
            self._group.append(packet)

    def end(self) -> None:
        self._decode(_MOST_OF_A_GROUP)

    def _decode(self, most: int) -> None:
        for packet in self._group[:most]:
            self._decoder.feed(packet)


class _Decoder:
    """Decodes packets, and remembers the first complaint."""

    def __init__(self, video: Any) -> None:
        self._video = video
        self._fed = self._came = 0
        self.rotation = 0
        self.error: str | None = None

    def feed(self, packet: Any) -> None:
        try:
            if packet.stream_index == self._video.index:
                self._fed += 1
                self._saw(self._video.codec_context.decode(packet))
            else:
                packet.decode()
        except av.error.FFmpegError as error:
            self._note(error)

    def end(self) -> None:
        try:
            self._saw(self._video.codec_context.decode(None))
        except av.error.FFmpegError as error:
            self._note(error)
        if self.error is None and self._came != self._fed:
            self.error = f"{self._fed - self._came} of {self._fed} frames did not decode"

    def _saw(self, frames: list[Any]) -> None:
        for frame in frames:
            self._came += 1
            if isinstance(frame, av.VideoFrame):
                self.rotation = int(frame.rotation) % 360

    def _note(self, error: Any) -> None:
        self.error = self.error or str(error.strerror)


def _boxes(path: str) -> dict[str, Any]:
    """The order of an MP4's boxes, and whether it has edit lists."""
    order: list[str] = []
    has_edit_list = False
    with Path(path).open("rb") as file:
        size, place = _size(path), 0
        while place + 8 <= size and len(order) < 1000:
            file.seek(place)
            length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            header = 8
            if length == 1:
                length, header = int.from_bytes(file.read(8), "big"), 16
            length = length or size - place
            order.append(kind.decode("latin-1"))
            if kind == b"moov":
                has_edit_list = b"elst" in file.read(max(0, length - header))
            place += max(length, 8)
    first = {kind: order.index(kind) for kind in ("moov", "mdat") if kind in order}
    is_faststart = first.get("moov", 1 << 30) < first.get("mdat", -1)
    return {
        "is_faststart": is_faststart,
        "has_edit_list": has_edit_list,
        # A box that is longer than what is left was not written to its end.
        "is_whole": place == size,
    }


def look_at_poster(path: str) -> dict[str, Any]:
    with av.open(f"file:{path}", format="jpeg_pipe") as container:
        frame = next(container.decode(video=0))
        return {
            "size_bytes": _size(path),
            "width": frame.width,
            "height": frame.height,
            "video_codec": "mjpeg",
        }


def look_at_fragments(path: str) -> dict[str, Any]:
    """A fragmented MP4 of one stream: the places of its fragments, from the packets' own places."""
    boxes = list(_top_boxes(path))
    starts = [place for kind, place, _ in boxes if kind == "moof"]
    ends = [place + length for kind, place, length in boxes if kind == "mdat"]
    if not starts or len(starts) != len(ends):
        raise ValueError("it is not fragmented")
    seconds, picture_ends = [0.0] * len(starts), [0] * len(starts)
    with _opened_as_mp4(f"file:{path}") as container:
        stream = container.streams[0]
        context = stream.codec_context
        for packet in container.demux(stream):
            if packet.dts is None:
                continue
            place = bisect.bisect(starts, packet.pos) - 1
            seconds[place] += float((packet.duration or 0) * packet.time_base)
            picture_ends[place] = picture_ends[place] or packet.pos + packet.size
        return {
            "codec": _codec_name(context),
            "extradata": bytes(context.extradata or b"").hex(),
            "init_bytes": starts[0],
            "channels": context.layout.nb_channels if stream.type == "audio" else 0,
            "fragments": list(zip(starts, ends, seconds, picture_ends, strict=True)),
        }


def _top_boxes(path: str) -> Iterator[tuple[str, int, int]]:
    """Kind, place and length of each box of an MP4."""
    size, place = _size(path), 0
    with Path(path).open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            length = int.from_bytes(file.read(8), "big") if length == 1 else length
            yield kind.decode("latin-1"), place, length
            place += max(length, 8)


def look_at_stream(path: str, names: list[str], pictures: list[list[Any]]) -> dict[str, Any]:
    """Segments as a player gets them: each behind the stream's beginning, none before it."""
    folder = Path(path)
    init = (folder / "init.mp4").read_bytes()
    error: str | None = None
    segments = []
    for name in names:
        data = init + (folder / name).read_bytes()
        facts, packets_error = _segment(data, decode=name in (names[0], names[-1]))
        segments.append(facts | {"size_bytes": len(data) - len(init)})
        error = error or (packets_error and f"{name}: {packets_error}")
    for name, offset, length in pictures:
        with (folder / name).open("rb") as file:
            file.seek(offset)
            alone = init + file.read(length)
        error = error or _picture_error(alone, name)
    return {"segments": segments, "error": error}


def _segment(data: bytes, *, decode: bool) -> tuple[dict[str, Any], str | None]:
    with _opened_as_mp4(io.BytesIO(data)) as container:
        stream = container.streams[0]
        decoder = _Decoder(stream)
        _decode_strictly(stream)
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        if decode:
            for packet in packets:
                decoder.feed(packet)
            decoder.end()
        return {
            "seconds": sum(float((each.duration or 0) * each.time_base) for each in packets),
            "start_seconds": float(packets[0].dts * packets[0].time_base),
            "starts_with_keyframe": bool(packets[0].is_keyframe),
        }, decoder.error


def _picture_error(data: bytes, name: str) -> str | None:
    """Why a part of a segment does not show exactly one keyframe."""
    with _opened_as_mp4(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        decoder = _Decoder(stream)
        _decode_strictly(stream)
        packet = next(iter(container.demux(stream)))
        if not packet.is_keyframe:
            return f"{name}: a picture for fast winding is no keyframe"
        decoder.feed(packet)
        decoder.end()
        return decoder.error and f"{name}: {decoder.error}"


def _opened_as_mp4(file: Any) -> Any:
    return av.open(file, format="mp4")


def _decode_strictly(stream: Any) -> None:
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _STRICTLY


_LOOKS = {
    "source": look_at_source,
    "video": look_at_video,
    "whole video": look_at_whole_video,
    "poster": look_at_poster,
    "sprite": look_at_poster,
    "fragments": look_at_fragments,
    "stream": look_at_stream,
}


def _answer(line: str) -> dict[str, Any]:
    request = json.loads(line)
    # Ends this process, even inside a decoder, when the parent is no longer there to do it.
    signal.alarm(int(request["seconds"]) + 5)
    try:
        return {"facts": _LOOKS[request["look_at"]](request["path"], **request["more"])}
    except Exception as error:  # noqa: BLE001 # the parent decides what it means
        return {"error": _words(error), "kind": type(error).__name__}
    finally:
        signal.alarm(0)


def _words(error: Exception) -> str:
    # "[Errno 1094995529] Invalid data found: '/tmp/...'": neither number nor path helps anybody.
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)).partition(": '")[0]


def _main() -> None:
    av.logging.set_level(None)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
