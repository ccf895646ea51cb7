"""Captions: read from what a caller gives, and written anew, so that none of their markup is left.

Subtitle files can name fonts, animate for ever and draw shapes. Only times and plain text are taken
from them.
"""

from __future__ import annotations

import heapq
import html
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING

from videojobs.errors import MissingExtraError, ProcessingError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from pysubs2 import SSAEvent

    from videojobs.profiles import PlatformProfile

#: A film's captions take 100 kB and 1,500 entries.
MAX_CAPTIONS_BYTES = 1_000_000
_MOST_AT_ONCE = 8
_MOST_CAPTIONS = 5_000

#: pysubs2's patterns take the square of this in time: 20 of such captions made for it, 0.3 s.
_LONGEST_CAPTION = 2_000
_PARSED_AT_ONCE = 20

_ADVICE = "Send an SRT or WebVTT file in UTF-8."

_ARROW = re.compile(r"^[ \t]*[\d:.,]+[ \t]+-->[ \t]+[\d:.,]+", re.MULTILINE)
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_SPACES = re.compile(r"[ \t\u00a0]+")

#: libass asks for glyph 0 when even its last resort has no font.
_NO_FONT = "failed to find any fallback with glyph 0x0 "
_NO_GLYPH = re.compile(r"failed to find any fallback with glyph 0x([0-9A-Fa-f]+)")

#: Of the frame's height. Large enough for a phone at arm's length.
_FONT_SHARE = 0.034
_LYING_FONT_SHARE = 0.055
#: Width over height of an ordinary letter of a bold sans-serif, and how much wider others are.
_LETTER_SHARE = 0.6
_CAPITAL, _BROAD, _FULL = 1.25, 1.7, 1.8
_MOST_LINES = 3
#: The frame of the platforms' safe zones, and what is left free in any other shape.
_ZONE_FRAME = (1080, 1920)
_MARGIN_SHARE = 0.06


@dataclass(frozen=True, slots=True)
class Caption:
    """A plain text, of one line or several, and when it is seen."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionBox:
    """Where captions stand in a frame, in its pixels."""

    frame_width: int
    frame_height: int
    left: int
    right: int
    bottom: int
    font_size: int

    @property
    def letters(self) -> int:
        """How many ordinary letters a line holds."""
        return max(4, int((self.right - self.left) / (self.font_size * _LETTER_SHARE)))


def read_captions(data: bytes, go_on: Callable[[], None] = lambda: None) -> tuple[Caption, ...]:
    """The captions of an SRT or WebVTT file, by time; without markup and without empty ones.

    *go_on* is called every fraction of a second; what it raises ends the work.

    Raises:
        ProcessingError: ``bad_captions``, not retryable.
    """
    if len(data) > MAX_CAPTIONS_BYTES:
        raise bad_captions(f"they have more than {MAX_CAPTIONS_BYTES:,} bytes")
    text = _decoded(data)
    _refuse_long(text)
    captions = [
        Caption(event.start / 1000, event.end / 1000, _plain(event.plaintext))
        for event in _parsed(text, go_on)
        if not event.is_drawing and event.end > event.start
    ]
    if not any(caption.text for caption in captions):
        raise bad_captions("there is no text in them")
    found = sorted((each for each in captions if each.text), key=lambda each: each.start_seconds)
    _refuse_crowds(found)
    return tuple(found)


def captions_within(
    captions: Iterable[Caption], *, start_seconds: float, duration_seconds: float
) -> tuple[Caption, ...]:
    """What is seen in that part of the source, in the part's own time."""
    shifted = (
        Caption(
            round(max(0.0, caption.start_seconds - start_seconds), 3),
            round(min(duration_seconds, caption.end_seconds - start_seconds), 3),
            caption.text,
        )
        for caption in captions
    )
    return tuple(caption for caption in shifted if caption.end_seconds > caption.start_seconds)


def caption_box(profile: PlatformProfile, *, width: int, height: int) -> CaptionBox:
    """The platform's safe zone in a frame of that size; a margin where its shape is another."""
    zone_width, zone_height = _ZONE_FRAME
    margin = round(min(width, height) * _MARGIN_SHARE)
    left, right, bottom = margin, width - margin, height - margin
    if width * zone_height <= height * zone_width * 1.1:
        zone = profile.safe_zone
        left, right = round(zone.left * width / zone_width), round(zone.right * width / zone_width)
        bottom = round(zone.bottom * height / zone_height)
    share = _FONT_SHARE if height > width else _LYING_FONT_SHARE
    return CaptionBox(
        frame_width=width,
        frame_height=height,
        left=left,
        right=right,
        bottom=bottom,
        font_size=max(8, round(height * share)),
    )


def burnt_captions(captions: Sequence[Caption], box: CaptionBox) -> str:
    """An ASS script of our own: white letters with a dark edge, at the bottom of the box."""
    style = ",".join(
        (
            *("Caption", "Sans", str(box.font_size)),
            # Colours as AABBGGRR, then bold, and no other change of the letters.
            *("&H00FFFFFF", "&H00FFFFFF", "&H00101010", "&H80000000"),
            *("-1", "0", "0", "0", "100", "100", "0", "0"),
            # An edge and a soft shadow; at the bottom, in the middle.
            *("1", f"{box.font_size * 0.07:.1f}", f"{box.font_size * 0.03:.1f}", "2"),
            *(str(box.left), str(box.frame_width - box.right), str(box.frame_height - box.bottom)),
            "1",
        )
    )
    events = (
        f"Dialogue: 0,{_ass_time(page.start_seconds)},{_ass_time(page.end_seconds)},"
        f"Caption,,0,0,0,,{page.text}"
        for caption in captions
        for page in _pages(caption, box.letters)
    )
    return "\n".join(
        (
            "[Script Info]",
            "ScriptType: v4.00+",
            f"PlayResX: {box.frame_width}",
            f"PlayResY: {box.frame_height}",
            # Lines are broken by us.
            "WrapStyle: 2",
            "ScaledBorderAndShadow: yes",
            "",
            "[V4+ Styles]",
            "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, "
            "BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, "
            "BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding",
            f"Style: {style}",
            "",
            "[Events]",
            "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text",
            *events,
            "",
        )
    )


def sidecar_captions(captions: Sequence[Caption]) -> str:
    """A WebVTT file of our own."""
    cues = (
        f"{_vtt_time(caption.start_seconds)} --> {_vtt_time(caption.end_seconds)}\n"
        f"{html.escape(caption.text, quote=False)}\n"
        for caption in captions
    )
    return "\n".join(("WEBVTT\n", *cues))


def font_error(name: str, stderr: Sequence[str]) -> ProcessingError | None:
    """The error for a run that found no font at all: it ends well, and shows nothing."""
    if not any(_NO_FONT in line for line in stderr):
        return None
    advice = "Install one on the worker, such as fonts-dejavu, or ask for captions_mode sidecar."
    return ProcessingError(
        f"{name} failed: this machine has no font to draw captions with. {advice}",
        code="missing_font",
        advice=advice,
    )


def glyph_warning(name: str, stderr: Sequence[str]) -> str | None:
    """What to tell when letters were drawn as empty boxes."""
    found = [match[1] for line in stderr if (match := _NO_GLYPH.search(line))]
    first, *others = dict.fromkeys(int(code, 16) for code in found) or (None,)
    if first is None:
        return None
    # ffmpeg's middle lines are not kept, where it said a lot.
    more = f" and at least {len(others)} more" if others else ""
    letters = "letters" if others else "letter"
    return (
        f"{name}: no font of this machine has the {letters} U+{first:04X}{more} of the captions; "
        "install one, such as fonts-noto"
    )


def bad_captions(reason: str) -> ProcessingError:
    """The error for captions that cannot be used."""
    return ProcessingError(
        f"the captions cannot be used: {reason}. {_ADVICE}", code="bad_captions", advice=_ADVICE
    )


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise bad_captions("they are not in UTF-8") from None
    if "\0" in text:
        raise bad_captions("they are no text: there is a zero byte in them")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_long(text: str) -> None:
    parts = _ARROW.split(text)
    if len(parts) == 1:
        raise bad_captions("there are no times in them, such as 00:00:01,000 --> 00:00:02,500")
    if len(parts) - 1 > _MOST_CAPTIONS:
        raise bad_captions(
            f"there are {len(parts) - 1:,} of them; at most {_MOST_CAPTIONS:,} are accepted"
        )
    # Before the first arrow there may be a header with styles and notes.
    if max(map(len, parts[1:])) > _LONGEST_CAPTION:
        raise bad_captions(f"one of them has more than {_LONGEST_CAPTION:,} characters")


def _refuse_crowds(captions: Sequence[Caption]) -> None:
    """Else each of a hundred clips would draw thousands of them, one on top of the other."""
    ends: list[float] = []
    for caption in captions:
        while ends and ends[0] <= caption.start_seconds:
            heapq.heappop(ends)
        heapq.heappush(ends, caption.end_seconds)
        if len(ends) > _MOST_AT_ONCE:
            raise bad_captions(
                f"more than {_MOST_AT_ONCE} of them are shown at second {caption.start_seconds:g}"
            )


def _parsed(text: str, go_on: Callable[[], None]) -> Generator[SSAEvent]:
    try:
        import pysubs2
        from pysubs2.exceptions import Pysubs2Error
    except ImportError as error:
        raise MissingExtraError("video", "reading captions") from error
    format_name = "vtt" if text.lstrip().startswith("WEBVTT") else "srt"
    starts = [match.start() for match in _ARROW.finditer(text)]
    # Before the first one there are only headers. A few at a time, since tags may be made to take long.
    edges = [*starts[::_PARSED_AT_ONCE], len(text)]
    for begin, end in pairwise(edges):
        go_on()
        try:
            yield from pysubs2.SSAFile.from_string(text[begin:end], format_=format_name)
        except (Pysubs2Error, ValueError, OverflowError) as error:
            raise bad_captions("they cannot be read") from error


def _plain(text: str) -> str:
    """Text alone: no tags, no control characters, no line without any."""
    # A cue ends at an empty line; what follows is a note, or the name of the next.
    cue = _EMPTY_LINE.split(text.strip(), maxsplit=1)[0]
    lines = html.unescape(cue).split("\n")
    cleaned = (_SPACES.sub(" ", _visible(line)).strip() for line in lines)
    return "\n".join(line for line in cleaned if line)


def _visible(line: str) -> str:
    # Cc: control characters. Zs and Cf stay: joiners and directions belong to some scripts.
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character
        for character in line
    )


def _pages(caption: Caption, letters: int) -> list[Caption]:
    """The caption in lines that fit; what has more of them than fit is shown one part after another."""
    lines = [line for long in caption.text.split("\n") for line in _balanced(long, letters)]
    parts = _evenly(lines, ceil(len(lines) / _MOST_LINES))
    length = (caption.end_seconds - caption.start_seconds) / len(parts)
    return [
        Caption(
            caption.start_seconds + number * length,
            caption.start_seconds + (number + 1) * length,
            r"\N".join(map(_without_meaning, part)),
        )
        for number, part in enumerate(parts)
    ]


def _evenly(lines: Sequence[str], count: int) -> list[Sequence[str]]:
    """So many parts, of which none has two lines more than another."""
    edges = [round(number * len(lines) / count) for number in range(count + 1)]
    return [lines[begin:end] for begin, end in pairwise(edges)]


def _balanced(line: str, letters: int) -> list[str]:
    """As few lines as there must be, and as narrow as so many can be: no word stands alone."""
    widest = _broken(line, letters)
    if len(widest) == 1:
        return widest
    longest = max(_width(word) for word in line.split(" "))
    low, high = max(1, min(letters, ceil(longest))), letters
    while low < high:
        middle = (low + high) // 2
        if len(_broken(line, middle)) > len(widest):
            low = middle + 1
        else:
            high = middle
    return _broken(line, high)


def _broken(line: str, letters: int) -> list[str]:
    """Lines of at most that many letters, broken between words, or within one that is too long."""
    lines, current = [""], 0.0
    for word in line.split(" "):
        for piece in _pieces(word, letters):
            width = _width(piece)
            if current and current + 1 + width > letters:
                lines.append("")
                current = 0.0
            lines[-1] += f" {piece}" if current else piece
            current = _width(lines[-1])
    return lines


def _pieces(word: str, letters: int) -> list[str]:
    pieces = [""]
    for character in word:
        if _width(pieces[-1] + character) > letters:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _width(text: str) -> float:
    return sum(map(_letter_width, text))


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return _FULL
    if letter in "mwMW@%—":
        return _BROAD
    return _CAPITAL if letter.isupper() else 1.0


def _without_meaning(line: str) -> str:
    """Text in which libass finds no command."""
    return line.replace("\\", "/").replace("{", "(").replace("}", ")")


def _ass_time(seconds: float) -> str:
    # Hundredths, rounded down: a caption that ended is never seen in the next frame.
    minutes, hundredths = divmod(int(seconds * 100 + 1e-6), 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{hundredths // 100:02}.{hundredths % 100:02}"


def _vtt_time(seconds: float) -> str:
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"
