"""Local storage: nothing read from outside, nothing seen half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from videojobs.errors import ConfigurationError, ProcessingError
from videojobs.storage import LocalStorage, Storage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    root = tmp_path / "storage"
    (root / "uploads").mkdir(parents=True)
    (root / "uploads" / "in.mp4").write_bytes(b"video")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    return LocalStorage(root)


@pytest.mark.parametrize("url", ["uploads/in.mp4", "./uploads/../uploads/in.mp4"])
def test_sources_are_found_below_the_root(storage: Storage, tmp_path: Path, url: str):
    """By a path within the folder."""
    assert storage.fetch(url, tmp_path).read_bytes() == b"video"


def test_a_file_url_below_the_root_is_a_path(storage: LocalStorage, tmp_path: Path):
    """With its escapes undone."""
    (storage.root / "my film.mp4").write_bytes(b"film")

    path = storage.fetch(f"file://{storage.root}/my%20film.mp4", tmp_path)

    assert path.read_bytes() == b"film"


@pytest.mark.parametrize(
    "url", ["../secret.mp4", "uploads/../../secret.mp4", "/etc/passwd", "file:///etc/passwd"]
)
def test_sources_outside_of_the_root_are_refused(storage: Storage, tmp_path: Path, url: str):
    """Whoever creates a job must not read the worker's files."""
    with pytest.raises(ProcessingError) as refused:
        storage.fetch(url, tmp_path)

    assert (refused.value.code, refused.value.retryable) == ("source_refused", False)


def test_a_link_to_the_outside_is_refused(storage: LocalStorage, tmp_path: Path):
    """The path is judged after all links are followed."""
    (storage.root / "link.mp4").symlink_to(tmp_path / "secret.mp4")

    with pytest.raises(ProcessingError, match="outside"):
        storage.fetch("link.mp4", tmp_path)


def test_the_outside_is_read_where_that_is_allowed(storage: LocalStorage, tmp_path: Path):
    """For a machine whose users may read all of it."""
    trusting = LocalStorage(storage.root, allow_outside=True)

    assert trusting.fetch(str(tmp_path / "secret.mp4"), tmp_path).read_bytes() == b"secret"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("uploads/gone.mp4", "missing_source"),
        ("uploads", "source_refused"),
        ("https://example.com/in.mp4", "source_refused"),
        ("uploads/\x00.mp4", "source_refused"),
        ("uploads/\ud800.mp4", "source_refused"),
        ("//[x", "source_refused"),
        ("loop.mp4", "source_refused"),
        ("uploads/in.mp4/in.mp4", "missing_source"),
    ],
)
def test_what_cannot_be_fetched_is_told(storage: LocalStorage, tmp_path: Path, url: str, code: str):
    """With a code and with what to do; no later attempt would fare better."""
    (storage.root / "loop.mp4").symlink_to("loop.mp4")

    with pytest.raises(ProcessingError) as refused:
        storage.fetch(url, tmp_path)

    assert (refused.value.code, refused.value.retryable) == (code, False)
    assert refused.value.advice


def test_a_disk_that_is_not_mounted_fails_no_job_for_good(storage: LocalStorage, tmp_path: Path):
    """The jobs wait until it is back; only a file that is missing from it is missing."""
    storage.root.rename(tmp_path / "unmounted")

    with pytest.raises(ProcessingError) as failed:
        storage.fetch("uploads/in.mp4", tmp_path)

    assert (failed.value.code, failed.value.retryable) == ("storage_failed", True)
    assert "VIDEOJOBS_STORAGE_DIR" in (failed.value.advice or "")


def test_nothing_is_published_below_a_disk_that_is_not_mounted(
    storage: LocalStorage, tmp_path: Path
):
    """The files would vanish below the disk once it is back."""
    (tmp_path / "a.part").write_bytes(b"a")
    storage.root.rename(tmp_path / "unmounted")

    with pytest.raises(ProcessingError) as failed:
        storage.publish({"a.mp4": tmp_path / "a.part"}, "job-1/7")

    assert (failed.value.code, failed.value.retryable) == ("storage_failed", True)
    assert not storage.root.exists()


def test_a_storage_that_is_there_passes_its_check(storage: Storage):
    """Nothing is said."""
    storage.check()


@pytest.mark.parametrize("name", ["gone", "secret.mp4"])
def test_a_storage_that_is_no_folder_is_a_matter_of_set_up(
    storage: LocalStorage, tmp_path: Path, name: str
):
    """A worker learns it before it claims a job."""
    with pytest.raises(ConfigurationError, match="VIDEOJOBS_STORAGE_DIR"):
        LocalStorage(tmp_path / name).check()


def test_outputs_are_published_together(storage: LocalStorage, tmp_path: Path):
    """Their paths are relative to the root, and the work files are gone."""
    (tmp_path / "a.part").write_bytes(b"a")
    (tmp_path / "b.part").write_bytes(b"b")

    paths = storage.publish(
        {"clip_01.mp4": tmp_path / "a.part", "poster.jpg": tmp_path / "b.part"}, "job-1/7"
    )

    assert paths == {"clip_01.mp4": "job-1/7/clip_01.mp4", "poster.jpg": "job-1/7/poster.jpg"}
    assert (storage.root / "job-1/7/clip_01.mp4").read_bytes() == b"a"
    assert not (tmp_path / "a.part").exists()


def test_a_failed_publication_leaves_nothing(storage: LocalStorage, tmp_path: Path):
    """Not even the files that could be moved."""
    (tmp_path / "a.part").write_bytes(b"a")

    with pytest.raises(ProcessingError) as failed:
        storage.publish({"a.mp4": tmp_path / "a.part", "b.mp4": tmp_path / "gone"}, "job-1/7")

    assert (failed.value.code, failed.value.retryable) == ("storage_failed", True)
    assert [path.name for path in storage.root.iterdir()] == ["uploads"]


def test_a_prefix_is_published_once(storage: LocalStorage, tmp_path: Path):
    """A late twin of an attempt changes nothing."""
    for name in ("first", "second"):
        (tmp_path / name).write_bytes(name.encode())
    storage.publish({"a.mp4": tmp_path / "first"}, "job-1/7")

    with pytest.raises(ProcessingError, match="holds files already"):
        storage.publish({"a.mp4": tmp_path / "second"}, "job-1/7")

    assert (storage.root / "job-1/7/a.mp4").read_bytes() == b"first"


@pytest.mark.parametrize("prefix", ["../elsewhere", "/tmp/elsewhere", ""])
def test_a_prefix_stays_below_the_root(storage: LocalStorage, tmp_path: Path, prefix: str):
    """A slip of the caller's must not remove somebody's files."""
    with pytest.raises(ValueError, match="relative path"):
        storage.remove(prefix)


def test_removing_twice_is_harmless(storage: LocalStorage, tmp_path: Path):
    """Nothing is left below the prefix."""
    (tmp_path / "a.part").write_bytes(b"a")
    storage.publish({"a.mp4": tmp_path / "a.part"}, "job-1/7")

    storage.remove("job-1")
    storage.remove("job-1")

    assert not (storage.root / "job-1").exists()
