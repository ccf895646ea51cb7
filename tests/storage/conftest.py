"""The three kinds of storage: a folder, Supabase Storage's stand-in, and fsspec's memory and S3."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import s3fs

from s3_server import CREDENTIALS, s3_server
from storage_server import StorageServer
from videojobs.settings import FetchLimits
from videojobs.storage import LocalStorage, Storage
from videojobs.storage.fsspec import FsspecStorage
from videojobs.storage.supabase import SupabaseStorage


@dataclass(frozen=True)
class World:
    """A storage, and a look at it from outside."""

    storage: Storage
    put: Callable[[str, bytes], None]
    """Stores a source at a path within the storage."""
    paths: Callable[[], set[str]]
    """All paths within the storage."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StorageServer]:
    """Supabase Storage's stand-in, with the bucket ``videos``."""
    with StorageServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
def supabase(server: StorageServer) -> Iterator[SupabaseStorage]:
    """Its bucket's folder ``app``."""
    storage = SupabaseStorage(server.url, server.key, bucket="videos", prefix="app")
    yield storage
    storage.close()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A real S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture
def s3_options(s3_url: str) -> dict[str, str]:
    """How to reach it."""
    return {"endpoint_url": s3_url, **CREDENTIALS}


@pytest.fixture
def bucket(s3_options: dict[str, str]) -> str:
    """A bucket of the test's own."""
    name = f"videos-{secrets.token_hex(4)}"
    s3fs.S3FileSystem(**s3_options).mkdir(name)
    return name


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """Where sources are fetched to."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Files to publish, by name and content."""

    def make(files: dict[str, bytes]) -> dict[str, Path]:
        folder = tmp_path / f"made-{secrets.token_hex(4)}"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return {name: folder / name for name in files}

    return make


OpenWorld = Callable[..., World]


@pytest.fixture(params=["local", "supabase", "memory", "s3"])
def open_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenWorld]:
    """Each kind of storage, with the limits that a test gives it."""
    opened: list[SupabaseStorage] = []

    def open_world(limits: FetchLimits | None = None) -> World:
        match request.param:
            case "local":
                return _folder(tmp_path / "storage", limits)
            case "supabase":
                world = _supabase(request.getfixturevalue("server"), limits)
                opened.append(world.storage)
                return world
            case "memory":
                return _fsspec(f"memory://{secrets.token_hex(4)}/app", limits)
            case _:
                options = request.getfixturevalue("s3_options")
                bucket = request.getfixturevalue("bucket")
                return _fsspec(f"s3://{bucket}/app", limits, **options)

    yield open_world
    for storage in opened:
        storage.close()


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    """Each kind of storage."""
    return open_world()


def _folder(root: Path, limits: FetchLimits | None) -> World:
    root.mkdir()

    def put(path: str, content: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)

    def paths() -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    return World(LocalStorage(root, limits=limits), put, paths)


def _supabase(server: StorageServer, limits: FetchLimits | None) -> World:
    def put(path: str, content: bytes) -> None:
        server.put("videos", f"app/{path}", content)

    def paths() -> set[str]:
        return {name.removeprefix("videos/app/") for name in server.objects}

    storage = SupabaseStorage(server.url, server.key, bucket="videos", prefix="app", limits=limits)
    return World(storage, put, paths)


def _fsspec(url: str, limits: FetchLimits | None, **options: str) -> World:
    import fsspec

    files, root = fsspec.core.url_to_fs(url, **options)

    def put(path: str, content: bytes) -> None:
        files.pipe_file(f"{root}/{path}", content)

    def paths() -> set[str]:
        files.invalidate_cache()
        found = files.find(root) if files.exists(root) else []
        return {path.removeprefix(f"{root}/") for path in found}

    return World(FsspecStorage(url, limits=limits, **options), put, paths)
