"""What differs between fsspec's file systems: S3 on a real server, and memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import fsspec
import httpx
import pytest
import s3fs
from fsspec.implementations.memory import MemoryFileSystem

from videojobs.errors import (
    ConfigurationError,
    ProcessingCancelledError,
    ProcessingError,
    SignedUrlUnsupportedError,
)
from videojobs.storage import LocalStorage
from videojobs.storage.fsspec import FsspecStorage

Files = Callable[..., dict[str, Path]]

LARGE = bytes(range(256)) * (12 * 4096)
"""12 MiB: three parts of a multipart upload."""


@pytest.fixture
def files(s3_options: dict[str, str]) -> s3fs.S3FileSystem:
    """A look at the server from outside."""
    return s3fs.S3FileSystem(**s3_options, use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture
def s3(bucket: str, s3_options: dict[str, str]) -> FsspecStorage:
    """The bucket's folder ``app``."""
    return FsspecStorage(f"s3://{bucket}/app", **s3_options)


@pytest.mark.parametrize("content", [b"video", LARGE], ids=["small", "large"])
def test_outputs_have_their_media_type(s3, files, bucket, make: Files, content: bytes):
    """And a day to be kept, whether they go up whole or in parts."""
    s3.publish(make({"hls/master.m3u8": content}), "job/7")

    facts = files.info(f"{bucket}/app/job/7/hls/master.m3u8", refresh=True)
    head = files.call_s3("head_object", Bucket=bucket, Key="app/job/7/hls/master.m3u8")
    assert facts["size"] == len(content)
    assert head["ContentType"] == "application/vnd.apple.mpegurl"
    assert head["CacheControl"] == "max-age=86400"


def test_a_large_source_is_fetched_whole(s3, files, bucket, work_dir):
    """In reads of 4 MiB."""
    files.pipe_file(f"{bucket}/app/in.mp4", LARGE)

    assert s3.fetch("in.mp4", work_dir).read_bytes() == LARGE


def test_a_source_may_be_given_by_its_full_url(s3, files, bucket, work_dir):
    """Of this storage only."""
    files.pipe_file(f"{bucket}/app/in.mp4", b"video")
    files.pipe_file(f"{bucket}/other/in.mp4", b"secret")

    assert s3.fetch(f"s3://{bucket}/app/in.mp4", work_dir).read_bytes() == b"video"
    with pytest.raises(ProcessingError, match="does not lie"):
        s3.fetch(f"s3://{bucket}/other/in.mp4", work_dir)


def test_a_folder_is_no_source(s3, files, bucket, work_dir):
    """S3 has none; what looks like one is refused."""
    files.pipe_file(f"{bucket}/app/uploads/in.mp4", b"video")

    with pytest.raises(ProcessingError, match="is not a file") as refused:
        s3.fetch("uploads", work_dir)

    assert refused.value.code == "source_refused"


def test_a_cancelled_upload_leaves_no_parts(s3, files, bucket, make: Files, tmp_path):
    """A multipart upload that nobody ends is paid for, and seen by no list of files."""
    cancel = threading.Event()
    pipe = Pipe(tmp_path / "slow.mp4", LARGE, then=cancel.set)

    with pipe, pytest.raises(ProcessingCancelledError):
        s3.publish({"film.mp4": pipe.path}, "job/7", cancel=cancel)

    assert files.find(f"{bucket}/app") == []
    assert "Uploads" not in files.call_s3("list_multipart_uploads", Bucket=bucket)


class Pipe:
    """A file whose writer sends some content, does something, and then sends no more until closed."""

    def __init__(self, path: Path, content: bytes, *, then: Callable[[], None]) -> None:
        import os

        os.mkfifo(path)
        self.path = path
        self._content = content
        self._then = then
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Pipe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _write(self) -> None:
        try:
            with self.path.open("wb", buffering=0) as file:
                file.write(self._content)
                self._then()
                file.write(b"more" * 300_000)
                self._closed.wait(30)
        except BrokenPipeError:
            self._closed.set()


def test_names_are_no_wildcards(s3, files, bucket, make: Files):
    """Removing one attempt's files never removes what a pattern would match."""
    s3.publish(make({"a.mp4": b"a"}), "job/1")
    s3.publish(make({"a.mp4": b"a"}), "job/12")

    s3.remove("job/1*")
    s3.remove("job/?")
    s3.remove("job/[1]")

    assert len(files.find(f"{bucket}/app")) == 2


def test_anybody_can_read_a_signed_address(s3, make: Files):
    """Without credentials, and the secret is not in it."""
    places = s3.publish(make({"clip.mp4": b"video"}), "job/7")

    url = s3.signed_url(places["clip.mp4"], timedelta(minutes=5))

    assert httpx.get(url).content == b"video"
    assert "Expires" in url
    assert "a-secret-of-the-tests" not in url


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_where_nothing_can_be_signed_an_error_says_so(tmp_path: Path, kind: str):
    """A folder and the memory have no addresses."""
    storage = LocalStorage(tmp_path) if kind == "local" else FsspecStorage("memory://app")

    with pytest.raises(SignedUrlUnsupportedError, match="serve"):
        storage.signed_url("job/7/clip.mp4", timedelta(minutes=5))


def test_a_bucket_that_is_not_there_is_a_matter_of_set_up(s3_options: dict[str, str]):
    """A worker learns it before it claims a job."""
    storage = FsspecStorage("s3://no-such-bucket/app", **s3_options)

    with pytest.raises(ConfigurationError, match="VIDEOJOBS_STORAGE"):
        storage.check()


def test_a_server_that_does_not_answer_fails_no_job_for_good(make: Files, bucket: str):
    """The error is retryable, and has neither the address nor the secret."""
    storage = FsspecStorage(
        f"s3://{bucket}",
        endpoint_url="http://127.0.0.1:1",
        key="testing",
        secret="a-secret-of-the-tests",
        config_kwargs={"retries": {"max_attempts": 0}},
    )

    with pytest.raises(ProcessingError) as failed:
        storage.publish(make({"clip.mp4": b"v"}), "job/7")

    assert (failed.value.code, failed.value.retryable) == ("storage_failed", True)
    assert "a-secret" not in str(failed.value)


def test_refused_credentials_are_a_matter_of_set_up(tmp_path: Path, make: Files):
    """Not the job's fault: another worker may have the right ones."""
    storage = FsspecStorage("readonly://app")

    with pytest.raises(ConfigurationError, match="credentials"):
        storage.publish(make({"clip.mp4": b"v"}), "job/7")


class ReadOnly(MemoryFileSystem):
    """A store whose credentials do not allow to write."""

    protocol = "readonly"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("readonly://"))

    def _open(self, path: str, mode: str = "rb", **given: object) -> object:
        raise PermissionError(path)


fsspec.register_implementation("readonly", ReadOnly, clobber=True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("memory://app/videos/", "memory://app/videos"),
        ("memory://ada:password@app/videos?token=x", "memory://app/videos"),
    ],
)
def test_a_storage_tells_its_place_without_passwords(
    url: str, name: str, caplog: pytest.LogCaptureFixture
):
    """Its name is in logs and in the worker's first line."""
    caplog.set_level(logging.DEBUG)

    assert str(FsspecStorage(url)) == name
    assert "password" not in caplog.text
