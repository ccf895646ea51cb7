"""What every storage does: a folder, Supabase Storage, fsspec's memory, and S3."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from videojobs.errors import NotEnoughSpaceError, ProcessingCancelledError, ProcessingError
from videojobs.settings import FetchLimits

Files = Callable[..., dict[str, Path]]


def test_a_storage_that_is_there_passes_its_check(world):
    """Nothing is said."""
    world.storage.check()


@pytest.mark.parametrize("path", ["in.mp4", "uploads/ada/in.mp4", "uploads/Größe & 100% #1.mp4"])
def test_a_source_is_fetched_as_it_is(world, work_dir, path: str):
    """Byte by byte, whatever its name holds."""
    world.put(path, b"video" * 1000)

    fetched = world.storage.fetch(path, work_dir)

    assert fetched.read_bytes() == b"video" * 1000


def test_a_source_that_came_later_is_found(world, work_dir):
    """A look before the upload leaves nothing behind that would hide it."""
    with pytest.raises(ProcessingError):
        world.storage.fetch("late.mp4", work_dir)
    world.put("late.mp4", b"video")

    fetched = world.storage.fetch("late.mp4", work_dir)

    assert fetched.read_bytes() == b"video"


def test_a_source_that_is_not_there_is_missing(world, work_dir):
    """No later attempt would find it; nothing is left in the work folder."""
    world.put("in.mp4", b"video")

    with pytest.raises(ProcessingError) as missing:
        world.storage.fetch("gone.mp4", work_dir)

    assert (missing.value.code, missing.value.retryable) == ("missing_source", False)
    assert "source_url" in (missing.value.advice or "")
    assert list(work_dir.iterdir()) == []


@pytest.mark.parametrize(
    "source_url",
    [
        "../other/in.mp4",
        "uploads/../../other/in.mp4",
        "/etc/passwd",
        "https://example.com/in.mp4",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "supabase://other/app/in.mp4",
        "s3://other/app/in.mp4",
        "memory://other/in.mp4",
        "in\x00.mp4",
        "in\ud800.mp4",
    ],
)
def test_a_source_elsewhere_is_refused(world, work_dir, source_url: str):
    """Other folders, buckets, stores and hosts: whoever creates a job reads none of them."""
    with pytest.raises(ProcessingError) as refused:
        world.storage.fetch(source_url, work_dir)

    assert (refused.value.code, refused.value.retryable) == ("source_refused", False)
    assert list(work_dir.iterdir()) == []


def test_a_source_beyond_the_limit_is_refused(open_world, work_dir):
    """By its size, before it is fetched."""
    world = open_world(FetchLimits(max_source_bytes=999))
    world.put("in.mp4", b"v" * 1000)

    with pytest.raises(ProcessingError, match="999 are allowed") as refused:
        world.storage.fetch("in.mp4", work_dir)

    assert (refused.value.code, refused.value.retryable) == ("source_too_large", False)
    assert list(work_dir.iterdir()) == []


def test_what_is_no_source_has_a_limit_of_its_own(open_world, work_dir):
    """Captions may have as much as they may, whatever the limit of sources."""
    world = open_world(FetchLimits(max_source_bytes=999))
    world.put("in.srt", b"v" * 1000)

    with pytest.raises(ProcessingError, match="500 are allowed"):
        world.storage.fetch("in.srt", work_dir, max_bytes=500)

    assert world.storage.fetch("in.srt", work_dir, max_bytes=1000).read_bytes() == b"v" * 1000


def test_a_source_needs_room_for_the_work(open_world, work_dir):
    """Another worker may have more: nothing is fetched, and the error has both numbers."""
    world = open_world(FetchLimits(space_margin_bytes=2**60))
    world.put("in.mp4", b"v" * 1000)

    with pytest.raises(NotEnoughSpaceError) as refused:
        world.storage.fetch("in.mp4", work_dir)

    assert (refused.value.code, refused.value.retryable) == ("disk_full", True)
    assert refused.value.needed_bytes > 2**60 > refused.value.free_bytes > 0
    assert list(work_dir.iterdir()) == []


def test_outputs_are_published_below_their_prefix(world, make: Files):
    """Under their names, folders included; their paths are within the storage."""
    files = make({"clip_01.mp4": b"clip", "hls/480p/segment_000.m4s": b"segment"})

    places = world.storage.publish(files, "job-1/7")

    assert places == {
        "clip_01.mp4": "job-1/7/clip_01.mp4",
        "hls/480p/segment_000.m4s": "job-1/7/hls/480p/segment_000.m4s",
    }
    assert world.paths() == set(places.values())


def test_an_output_can_be_a_source(world, make: Files, work_dir):
    """By the path that it was published under."""
    places = world.storage.publish(make({"clip.mp4": b"clip"}), "job-1/7")

    fetched = world.storage.fetch(places["clip.mp4"], work_dir)

    assert fetched.read_bytes() == b"clip"


def test_an_empty_file_is_published(world, make: Files):
    """Subtitles of silence, for instance."""
    world.storage.publish(make({"captions.vtt": b"", "clip.mp4": b"clip"}), "job-1/7")

    assert world.paths() == {"job-1/7/captions.vtt", "job-1/7/clip.mp4"}


def test_a_failed_publication_leaves_nothing(world, make: Files, tmp_path: Path):
    """Not even the files that could be stored."""
    world.put("in.mp4", b"video")
    files = make({f"clip_{number:02}.mp4": b"clip" for number in range(12)})

    with pytest.raises(ProcessingError) as failed:
        world.storage.publish({**files, "gone.mp4": tmp_path / "gone"}, "job-1/7")

    assert (failed.value.code, failed.value.retryable) == ("storage_failed", True)
    assert world.paths() == {"in.mp4"}


def test_a_cancelled_publication_leaves_nothing(world, make: Files):
    """The attempt's lease may be lost."""
    cancel = threading.Event()
    cancel.set()

    with pytest.raises(ProcessingCancelledError):
        world.storage.publish(make({"a.mp4": b"a", "b.mp4": b"b"}), "job-1/7", cancel=cancel)

    assert world.paths() == set()


def test_what_is_removed_is_gone_with_all_folders(world, make: Files):
    """And nothing beside it, whose name begins the same; twice is harmless."""
    world.storage.publish(make({"a.mp4": b"a", "hls/480p/0.m4s": b"s"}), "job-1/7")
    world.storage.publish(make({"a.mp4": b"a"}), "job-1/77")

    world.storage.remove("job-1/7")
    world.storage.remove("job-1/7")

    assert world.paths() == {"job-1/77/a.mp4"}


@pytest.mark.parametrize("prefix", ["../elsewhere", "/tmp/elsewhere", ""])
def test_a_prefix_stays_within_the_storage(world, make: Files, prefix: str):
    """A slip of the caller's must not write or remove somebody's files."""
    with pytest.raises(ValueError, match="relative path"):
        world.storage.remove(prefix)
    with pytest.raises(ValueError, match="relative path"):
        world.storage.publish(make({"a.mp4": b"a"}), prefix)


def test_a_storage_tells_its_place(world):
    """For a worker's first line."""
    assert str(world.storage).endswith(("/storage", "/app"))
