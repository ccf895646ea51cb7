"""Which kind of video file something is, by its first bytes: names and media types are claims."""

from __future__ import annotations

HEAD_BYTES = 1024
"""So many of the first bytes tell."""

_TS_PACKET, _M2TS_PACKET, _TS_MARK = 188, 192, 0x47
_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_MARKS = (
    (b"FLV\x01", ".flv"),
    (b"OggS", ".ogv"),
    (b"\x00\x00\x01\xba", ".mpg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wmv"),
)


def suffix_of(head: bytes) -> str | None:
    """The usual suffix of a file that begins like this; none where it is no video that we know.

    Whether it can be read is for the worker to find out.
    """
    if head[4:8] in _BOXES:
        return ".mov" if head[8:12] == b"qt  " or head[4:8] != b"ftyp" else ".mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ".webm" if b"webm" in head[:64] else ".mkv"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return ".avi"
    if suffix := next((suffix for mark, suffix in _MARKS if head.startswith(mark)), None):
        return suffix
    if _repeats(head, 0, _TS_PACKET):
        return ".ts"
    return ".m2ts" if _repeats(head, 4, _M2TS_PACKET) else None


def _repeats(head: bytes, start: int, step: int) -> bool:
    places = range(start, min(len(head), start + 3 * step), step)
    return len(places) >= 2 and all(head[place] == _TS_MARK for place in places)
