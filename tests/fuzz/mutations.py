"""Damages bytes in the ways that uploads, disks and attackers do. The same seed, the same damage."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Mutation = Callable[[bytearray, Random], None]

#: Names of boxes and elements whose neighbourhood holds sizes, counts, times and offsets.
_MARKS = (
    *(b"moov", b"mvhd", b"tkhd", b"mdhd", b"hdlr", b"stsd", b"stts", b"ctts", b"stss", b"stsc"),
    *(b"stsz", b"stco", b"elst", b"mdat", b"avcC", b"esds", b"ftyp", b"trak", b"minf", b"colr"),
    *(b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"),
    *(b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\x44\x89", b"\x63\xa2", b"\xb0\x81", b"\xba\x81"),
    *(b"RIFF", b"hdrl", b"avih", b"strh", b"strf", b"movi", b"idx1", b"FLV", b"onMetaData"),
    *(b"\x47\x40\x00", b"\x47\x40\x11", b"\x00\x00\x01\xba", b"\x00\x00\x01\x67", b"OggS"),
)
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(whole: bytes, seed: int) -> tuple[bytes, str]:
    """The bytes after one to three kinds of damage, and what was done to them."""
    chance = Random(seed)  # repeatable, not secret
    data = bytearray(whole)
    chosen = chance.choices(_MUTATIONS, k=chance.choice((1, 1, 2, 3)))
    for mutation in chosen:
        if len(data) > 64:
            mutation(data, chance)
    return bytes(data), "+".join(mutation.__name__ for mutation in chosen)


def flip_bits(data: bytearray, chance: Random) -> None:
    """A bad disk."""
    for _ in range(chance.choice((1, 4, 32, 256))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_head(data: bytearray, chance: Random) -> None:
    """Bits where a container describes itself."""
    for _ in range(chance.choice((1, 4, 16))):
        data[chance.randrange(min(len(data), 1500))] ^= 1 << chance.randrange(8)


def truncate(data: bytearray, chance: Random) -> None:
    """An upload that broke off."""
    del data[chance.randrange(1, len(data)) :]


def drop(data: bytearray, chance: Random) -> None:
    """A piece is missing."""
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 4, 188, 4096))]


def repeat(data: bytearray, chance: Random) -> None:
    """A piece came twice."""
    start = chance.randrange(len(data))
    piece = data[start : start + chance.choice((4, 188, 4096, 65536))]
    data[start:start] = piece


def splice(data: bytearray, chance: Random) -> None:
    """A piece lies where another should."""
    size = chance.choice((16, 512, 8192))
    source, target = chance.randrange(len(data)), chance.randrange(len(data))
    piece = data[source : source + size]
    data[target : target + len(piece)] = piece


def blank(data: bytearray, chance: Random) -> None:
    """A hole of zeros, as a file system leaves them."""
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice((8, 512, 16384)))
    data[start:end] = bytes(end - start)


def edit_field(data: bytearray, chance: Random) -> None:
    """A number behind the name of a box or element is one that programs stumble over."""
    mark = _found(data, chance)
    width = chance.choice((1, 2, 4, 8))
    _put(data, mark + chance.randrange(4, 48), chance.choice(_NUMBERS), width)


def edit_size(data: bytearray, chance: Random) -> None:
    """A box says that it is larger, smaller or endless."""
    _put(data, _found(data, chance) - 4, chance.choice((*_NUMBERS, 7, 8, len(data) * 2)), 4)


_MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_head, truncate, drop, repeat, splice, blank),
    *(edit_field, edit_field, edit_size),
)


def _found(data: bytearray, chance: Random) -> int:
    places = [place for mark in _MARKS if (place := data.find(mark)) >= 0]
    return chance.choice(places) if places else chance.randrange(len(data))


def _put(data: bytearray, place: int, number: int, width: int) -> None:
    if 0 <= place <= len(data) - width:
        data[place : place + width] = (number & (1 << 8 * width) - 1).to_bytes(width, "big")
