"""A multipart form on its way to a folder: fields are kept, the file is written as it comes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from videojobs.web.containers import HEAD_BYTES, suffix_of
from videojobs.web.limits import too_large
from videojobs.web.problems import FieldProblem, ProblemError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

FILE_FIELD = "file"
_MOST_FIELDS = 40
_BLOCK_BYTES = 1024 * 1024
_LONGEST_NAME = 255
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much of a form is taken."""

    file_bytes: int
    text_bytes: int
    room_bytes: int
    """Kept free on the disk that uploads pass through, however much of them is announced."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A video that has come, whole."""

    path: Path
    size_bytes: int
    sha256: str
    suffix: str
    """By what it begins with."""
    name: str | None
    """What the sender calls it; for people, and never a path of ours."""


@dataclass
class _Part:
    name: str = ""
    file_name: str | None = None
    is_file: bool = False
    text: bytearray = field(default_factory=bytearray)


async def receive_form(
    request: Request, folder: Path, limits: UploadLimits
) -> tuple[dict[str, str], ReceivedFile]:
    """The form's fields, and its file, written below *folder*.

    Raises:
        ProblemError: It is too large, not a video, or not a form with a file.
    """
    form = _Form(folder / "upload", limits)
    parser = MultipartParser(_boundary(request), form.callbacks())
    try:
        async for chunk in request.stream():
            parser.write(chunk)
            if form.waiting_bytes >= _BLOCK_BYTES:
                await asyncio.to_thread(form.write_out)
        parser.finalize()
        await asyncio.to_thread(form.write_out)
        return form.fields, form.received()
    except (FormParserError, UnicodeDecodeError) as error:
        raise _unreadable(str(error)) from error
    except ClientDisconnect:
        raise _unreadable("it broke off") from None
    finally:
        form.close()


def _boundary(request: Request) -> bytes:
    _, options = parse_options_header(request.headers.get("Content-Type"))
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 70:  # as RFC 2046 has it
        raise _unreadable("its Content-Type names no boundary of 1 to 70 characters")
    return boundary


class _Form:
    """Takes what the parser finds. Nothing here waits; `write_out` is for a thread."""

    def __init__(self, path: Path, limits: UploadLimits) -> None:
        self.fields: dict[str, str] = {}
        self._path = path
        self._limits = limits
        self._text_bytes = 0
        self._part = _Part()
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._file: BinaryIO | None = None
        self._waiting = bytearray()
        self._head = b""
        self._digest = hashlib.sha256()
        self._size = 0
        self._name: str | None = None

    def callbacks(self) -> Any:
        """What the parser calls."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
        }

    @property
    def waiting_bytes(self) -> int:
        """What has come and is not written."""
        return len(self._waiting)

    def _on_part_begin(self) -> None:
        self._part, self._disposition = _Part(), b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode()
        part = self._part = _Part(name, is_file=b"filename" in options or name == FILE_FIELD)
        if not part.is_file:
            if name in self.fields:
                raise _refused(name, "may be given once")
            if len(self.fields) >= _MOST_FIELDS:
                raise _unreadable(f"it has more than {_MOST_FIELDS} fields")
            return
        if name != FILE_FIELD or self._file is not None:
            raise _refused(name, f"there must be one file, in the field {FILE_FIELD!r}")
        self._name = _plain_name(options.get(b"filename", b"").decode(errors="replace"))
        self._file = self._path.open("xb")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._size += end - start
            if self._size > self._limits.file_bytes:
                raise too_large(self._limits.file_bytes, "The file")
            self._waiting += data[start:end]
            return
        self._text_bytes += end - start
        if self._text_bytes > self._limits.text_bytes:
            raise too_large(self._limits.text_bytes, "The fields beside the file")
        self._part.text += data[start:end]

    def _on_part_end(self) -> None:
        if not self._part.is_file:
            self.fields[self._part.name] = self._part.text.decode()

    def write_out(self) -> None:
        """What has come is in the file, and was looked at."""
        if self._file is None or not self._waiting:
            return
        if len(self._head) < HEAD_BYTES:
            self._head += bytes(self._waiting[: HEAD_BYTES - len(self._head)])
            self._require_video()
        require_room(self._path.parent, self._limits.room_bytes)
        try:
            self._file.write(self._waiting)
        except OSError as error:
            raise _not_written(error) from error
        self._digest.update(self._waiting)
        self._waiting.clear()

    def _require_video(self) -> str:
        if (suffix := suffix_of(self._head)) is None:
            raise ProblemError(
                415,
                "unsupported-type",
                "The file does not begin like a video: MP4, MOV, Matroska, WebM, AVI, MPEG, FLV, "
                "Ogg and WMV are taken.",
            )
        return suffix

    def received(self) -> ReceivedFile:
        """The file.

        Raises:
            ProblemError: There is none.
        """
        if self._file is None:
            raise _refused(FILE_FIELD, "the form needs a file")
        suffix = self._require_video()
        try:
            self._file.close()
        except OSError as error:
            raise _not_written(error) from error
        return ReceivedFile(self._path, self._size, self._digest.hexdigest(), suffix, self._name)

    def close(self) -> None:
        """The file is closed, whatever happened."""
        if self._file is not None:
            self._file.close()


def _plain_name(given: str) -> str | None:
    """The last part of what may be a path, without what could change how a line is read."""
    name = _UNWANTED.sub("", re.split(r"[/\\]", given)[-1]).strip()
    return name[-_LONGEST_NAME:] or None


def _unreadable(reason: str) -> ProblemError:
    return ProblemError(400, "unreadable-form", f"The form cannot be read: {reason}.")


def _refused(name: str, allowed: str) -> ProblemError:
    problem = FieldProblem(field=name, allowed=allowed)
    return ProblemError(
        422, "invalid-input", f"The form was refused: {name}: {allowed}", problems=(problem,)
    )


def require_room(folder: Path, needed_bytes: int) -> None:
    """Nothing happens, unless the folder's disk has less room.

    Raises:
        ProblemError: It has.
    """
    if shutil.disk_usage(folder).free < needed_bytes:
        raise _no_room("There is no room for the file now.")


def _not_written(error: OSError) -> ProblemError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "There is no room for the file now." if is_full else "The file could not be written."
    return _no_room(what)


def _no_room(what: str) -> ProblemError:
    return ProblemError(503, "no-room", f"{what} Try again later.", headers={"Retry-After": "60"})
