"""What a file is that is no video, by the bytes that it begins with."""

from __future__ import annotations

import re
from pathlib import Path

_READ_BYTES = 512
_KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), kind)
    for pattern, kind in (
        (rb"\x89PNG\r\n", "a PNG picture"),
        (rb"GIF8[79]a", "a GIF picture"),
        (rb"\xff\xd8\xff", "a JPEG picture"),
        (rb"RIFF....WEBP", "a WebP picture"),
        (rb".{4}ftyp(heic|heix|mif1|avif)", "a HEIF or AVIF picture"),
        (rb"RIFF....WAVE", "a WAV sound file"),
        (rb"fLaC", "a FLAC sound file"),
        (rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "an MP3 sound file"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", "an AAC sound file"),
        (rb"%PDF-", "a PDF document"),
        (rb"PK\x03\x04", "a ZIP archive"),
        (rb"\x1f\x8b\x08", "a gzip archive"),
        (rb"(\xef\xbb\xbf)?#EXTM3U", "a playlist (M3U8), which names other files"),
        (rb"ffconcat version", "a list of files (ffconcat)"),
        (rb"v=0\r?\n", "a description of a stream (SDP)"),
        (rb"(\xef\xbb\xbf)?WEBVTT", "a file of captions (WebVTT)"),
        (rb"(\xef\xbb\xbf)?\[Script Info\]", "a file of captions (ASS)"),
        (rb"(\xef\xbb\xbf)?1\r?\n\d\d:\d\d:\d\d,\d{3} -->", "a file of captions (SRT)"),
        (rb"\s*<(\?xml[^>]*>\s*<)?MPD", "a manifest (DASH), which names other files"),
        (rb"\s*<(!doctype html|html|head|body)", "a web page"),
        (rb"\s*<\?xml", "an XML document"),
        (rb"\s*[{\[]\s*[\"{\[]", "a JSON document"),
    )
)


def kind_of(path: Path) -> str | None:
    """Which kind of file that is no video, as in "a PNG picture"; ``None`` if none that is known."""
    try:
        with path.open("rb") as file:
            head = file.read(_READ_BYTES)
            if head.startswith(b"ID3"):
                # A tag before the sound; recordings of broadcasts have such, too.
                file.seek(_tag_bytes(head))
                head = file.read(_READ_BYTES)
    except OSError:
        return None
    return next((kind for pattern, kind in _KINDS if pattern.match(head)), None)


def _tag_bytes(head: bytes) -> int:
    """How long an ID3 tag is, with its header: its size has seven bits in each byte."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size
