"""Large files go through in pieces: what is in memory does not depend on their size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from videojobs.storage import LocalStorage, Storage
from videojobs.storage.fsspec import FsspecStorage

SIZE = 60_000_000
MEGABYTE = 1_000_000


@pytest.fixture(params=["local", "supabase", "s3"])
def streaming(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, int]:
    """A storage, and how much it may keep in memory: S3's driver sends parts of 5 MB from a buffer."""
    match request.param:
        case "local":
            (tmp_path / "storage").mkdir()
            return LocalStorage(tmp_path / "storage"), 1 * MEGABYTE
        case "supabase":
            return request.getfixturevalue("supabase"), 4 * MEGABYTE
        case _:
            options = request.getfixturevalue("s3_options")
            url = f"s3://{request.getfixturevalue('bucket')}/app"
            return FsspecStorage(url, **options), 24 * MEGABYTE


def test_a_large_file_is_never_whole_in_memory(
    streaming: tuple[Storage, int], tmp_path: Path, work_dir: Path
):
    """60 MB are published and fetched with a fraction of it, and come back as they were."""
    storage, allowed = streaming
    large = tmp_path / "film.mp4"
    large.touch()
    # A hole costs no disk. The server of the tests is not ours, or streams as well.
    with large.open("r+b") as file:
        file.truncate(SIZE)
    # Clients, connections and the imports of drivers are no part of a file.
    storage.publish({"warm.mp4": copy_of(b"w", tmp_path)}, "job/0")
    storage.fetch("job/0/warm.mp4", work_dir)

    with peak() as published:
        places = storage.publish({"film.mp4": large}, "job/7")
    with peak() as fetched:
        source = storage.fetch(places["film.mp4"], work_dir)

    assert source.stat().st_size == SIZE
    assert published() < allowed
    assert fetched() < allowed


def copy_of(content: bytes, folder: Path) -> Path:
    """A small file."""
    path = folder / "warm"
    path.write_bytes(content)
    return path


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """How much more memory than at the beginning was in use within the block, at the most."""
    tracemalloc.start(1)
    before = tracemalloc.get_traced_memory()[0]
    most = 0
    yield lambda: most - before
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
