"""Several transfers at once: their order, their end, and what is undone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from videojobs.errors import NotEnoughSpaceError, ProcessingCancelledError, ProcessingError
from videojobs.settings import FetchLimits
from videojobs.storage.content import content_type
from videojobs.storage.receiving import IncomingFile, require_room
from videojobs.storage.transfers import CONCURRENCY, Patience, run_stoppable, stages, upload_all

PLENTY = FetchLimits(space_margin_bytes=0)


def nothing(names: Sequence[str]) -> None:
    """Undoes nothing."""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["a.mp4"], [["a.mp4"]]),
        (["a.mp4", "b.jpg", "c.mp4"], [["a.mp4", "b.jpg"], ["c.mp4"]]),
        (
            ["hls/index.m3u8", "hls/0.m4s", "hls/1.m4s", "master.m3u8"],
            [["hls/0.m4s", "hls/1.m4s"], ["hls/index.m3u8"], ["master.m3u8"]],
        ),
        (["master.m3u8", "0.m4s"], [["0.m4s"], ["master.m3u8"]]),
    ],
)
def test_what_is_asked_for_first_goes_last(names: list[str], expected: list[list[str]]):
    """Playlists after all else in the given order, and else the last name."""
    assert stages(names) == expected


def test_uploads_go_side_by_side():
    """As many as are allowed meet each other; with fewer, the barrier would break."""
    barrier = threading.Barrier(CONCURRENCY)
    names = [f"{number}.m4s" for number in range(CONCURRENCY)]

    upload_all([*names, "z.m3u8"], lambda name, _: meet(barrier, name), nothing, None)

    assert not barrier.broken


def meet(barrier: threading.Barrier, name: str) -> None:
    """Wait for the others, but for the one that goes alone."""
    if name != "z.m3u8":
        barrier.wait(10)


def test_the_first_error_is_raised_and_all_that_was_begun_is_undone():
    """Also what had succeeded."""
    undone: set[str] = set()

    def upload(name: str, stop: threading.Event) -> None:
        if name == "b":
            raise ProcessingError("b failed")

    with pytest.raises(ProcessingError, match="b failed"):
        upload_all(["a", "b", "c"], upload, undone.update, None)

    assert undone == {"a", "b"}


def test_what_a_straggler_finishes_late_is_undone():
    """It was left behind when the cancel came, and removes its file by itself."""
    cancel, release, finished = threading.Event(), threading.Event(), threading.Event()
    stored: set[str] = set()

    def upload(name: str, stop: threading.Event) -> None:
        cancel.set()
        release.wait(20)
        stored.add(name)

    def undo(names: Sequence[str]) -> None:
        stored.difference_update(names)
        if release.is_set():
            finished.set()

    with pytest.raises(ProcessingCancelledError):
        upload_all(["a.mp4"], upload, undo, cancel)
    release.set()

    assert finished.wait(20)
    assert stored == set()


def test_a_task_gives_its_result():
    """And its error."""
    assert run_stoppable(lambda stop: stop.is_set(), None) is False
    with pytest.raises(ZeroDivisionError):
        run_stoppable(lambda stop: 1 / 0, None)


def test_patience_ends_with_the_error():
    """After six failures in a row; headway renews it."""
    patience, error = Patience(threading.Event()), ProcessingError("broken")
    for _ in range(2):
        patience.after(error)
    patience.renew()
    for _ in range(5):
        patience.after(error)

    with pytest.raises(ProcessingError, match="broken"):
        patience.after(error)


def test_a_pause_ends_when_somebody_asks_to_stop():
    """However long the server asked to wait."""
    stop, error = threading.Event(), ProcessingError("busy", retry_after=30.0)
    stop.set()

    with pytest.raises(ProcessingCancelledError):
        Patience(stop).after(error)


# What comes in


def test_a_source_that_grows_beyond_the_limit_is_stopped(tmp_path: Path):
    """Whatever size was announced; nothing is left."""
    with (
        pytest.raises(ProcessingError) as refused,
        IncomingFile(tmp_path / "source", FetchLimits(max_source_bytes=10)) as incoming,
    ):
        incoming.write(b"12345")
        incoming.write(b"67890!")

    assert refused.value.code == "source_too_large"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_told_as_such(tmp_path: Path):
    """Retryable: another worker may have room. /dev/full is a disk without any."""
    (tmp_path / "source").symlink_to("/dev/full")

    with (
        pytest.raises(ProcessingError) as failed,
        IncomingFile(tmp_path / "source", PLENTY) as incoming,
    ):
        incoming.write(b"v" * 1_000_000)

    assert (failed.value.code, failed.value.retryable) == ("disk_full", True)


def test_a_disk_that_fills_up_at_the_very_end_is_told_as_such(tmp_path: Path):
    """The last bytes wait in a buffer until the file is closed."""
    (tmp_path / "source").symlink_to("/dev/full")

    with (
        pytest.raises(ProcessingError) as failed,
        IncomingFile(tmp_path / "source", PLENTY) as incoming,
    ):
        incoming.write(b"v")

    assert failed.value.code == "disk_full"


def test_less_than_was_announced_is_not_a_source(tmp_path: Path):
    """It would be cut without a word."""
    with (
        pytest.raises(ProcessingError, match="10 bytes, and 3 came") as failed,
        IncomingFile(tmp_path / "source", PLENTY) as incoming,
    ):
        incoming.expect(10)
        incoming.write(b"123")
        incoming.finished()

    assert failed.value.retryable is True


@pytest.mark.parametrize(("copies", "needed"), [(0, 2**61), (1, 2**62)])
def test_room_is_reckoned_in_sizes_of_the_source(tmp_path: Path, copies: int, needed: int):
    """One for the work, and one more for a copy of the source."""
    limits = FetchLimits(max_source_bytes=2**62, space_margin_bytes=0)

    with pytest.raises(NotEnoughSpaceError) as refused:
        require_room(2**61, tmp_path, limits, copies=copies)

    assert refused.value.needed_bytes == needed


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clip.mp4", "video/mp4"),
        ("hls/0.m4s", "video/iso.segment"),
        ("master.m3u8", "application/vnd.apple.mpegurl"),
        ("captions.vtt", "text/vtt"),
        ("POSTER.JPG", "image/jpeg"),
        ("sprites.webp", "image/webp"),
        ("README", "application/octet-stream"),
    ],
)
def test_a_files_media_type_follows_from_its_name(name: str, kind: str):
    """On every machine the same."""
    assert content_type(name) == kind
