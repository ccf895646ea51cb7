"""Supabase Storage, by its stand-in: what it is told, and what becomes of broken connections."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from storage_server import Fault, StorageServer
from videojobs.errors import (
    ConfigurationError,
    ProcessingCancelledError,
    ProcessingError,
    SupabaseConnectionError,
)
from videojobs.storage import _supabase_wire as wire
from videojobs.storage.supabase import SupabaseStorage

Files = Callable[..., dict[str, Path]]

CHUNK = 6 * 1024 * 1024
LARGE = bytes(range(256)) * (14 * 4096)
"""14 MiB: three chunks, the last one smaller."""
UPLOAD = "upload/resumable"


def methods(server: StorageServer) -> Counter[str]:
    """How often each method was used."""
    return Counter(method for method, _ in server.requests)


# Uploads


def test_a_small_file_is_one_request(supabase: SupabaseStorage, server: StorageServer, make: Files):
    """Up to 6 MiB, with its media type and a time to be kept."""
    supabase.publish(make({"clip.mp4": b"v" * CHUNK}), "job/7")

    stored = server.objects["videos/app/job/7/clip.mp4"]
    assert methods(server) == {"POST": 1}
    assert stored.path.stat().st_size == CHUNK
    assert stored.headers["Content-Type"] == "video/mp4"
    assert stored.headers["Cache-Control"] == "max-age=86400"


def test_a_large_file_goes_up_in_chunks(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """Of 6 MiB each, which the server insists on, with media type and time in the metadata."""
    supabase.publish(make({"film.mp4": LARGE}), "job/7")

    stored = server.objects["videos/app/job/7/film.mp4"]
    assert methods(server) == {"POST": 1, "PATCH": 3}
    assert stored.path.read_bytes() == LARGE
    assert stored.headers == {"Content-Type": "video/mp4", "Cache-Control": "86400"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PATCH", UPLOAD, "cut", at=1_000_000),
        Fault("PATCH", UPLOAD, "lose"),
        Fault("PATCH", UPLOAD, "status", at=502),
        Fault("PATCH", UPLOAD, "status", at=423),
        Fault("POST", UPLOAD, "lose"),
        Fault("POST", UPLOAD, "status", at=503),
    ],
    ids=lambda fault: f"{fault.method}-{fault.kind}-{fault.at}",
)
def test_a_broken_upload_goes_on_where_it_broke(
    supabase: SupabaseStorage, server: StorageServer, make: Files, fault: Fault
):
    """The server says how far it came; not a byte that it has is sent again."""
    server.faults.append(fault)

    supabase.publish(make({"film.mp4": LARGE}), "job/7")

    assert server.content("videos/app/job/7/film.mp4") == LARGE
    assert server.received == len(LARGE)
    assert not server.faults


def test_an_upload_whose_last_answer_was_lost_is_finished(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """The server has forgotten the upload (410), but has the file, in its full size."""
    size = CHUNK + 1
    server.faults += [Fault("PATCH", UPLOAD, "passes"), Fault("PATCH", UPLOAD, "lose")]

    supabase.publish(make({"film.mp4": b"v" * size}), "job/7")

    assert len(server.content("videos/app/job/7/film.mp4")) == size
    assert methods(server) == {"POST": 1, "PATCH": 2, "HEAD": 1, "GET": 1}


def test_an_upload_that_the_server_forgot_begins_again(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """Its address expires after a day, and may be lost before."""
    server.faults += [
        Fault("PATCH", UPLOAD, "status", at=404),
        Fault("HEAD", UPLOAD, "status", 404),
    ]

    supabase.publish(make({"film.mp4": LARGE}), "job/7")

    assert server.content("videos/app/job/7/film.mp4") == LARGE
    assert len(server.uploads) == 2


@pytest.mark.parametrize("kind", ["cut", "lose", "status"])
def test_a_broken_small_upload_is_repeated(
    supabase: SupabaseStorage, server: StorageServer, make: Files, kind: str
):
    """Whether it was stored or not: the repeat replaces it."""
    server.faults.append(Fault("POST", "object/videos", kind, at=503))

    supabase.publish(make({"clip.mp4": b"v" * 100_000}), "job/7")

    assert server.content("videos/app/job/7/clip.mp4") == b"v" * 100_000


def test_a_storage_that_stays_broken_is_left_after_a_while(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """The attempt fails, retryable, and nothing is left."""
    server.faults += [Fault("POST", "object/videos/app/job/7/b", "status", at=503)] * 6

    with pytest.raises(ProcessingError) as failed:
        supabase.publish(make({"a.mp4": b"a", "b.mp4": b"b"}), "job/7")

    assert (failed.value.code, failed.value.retryable) == ("storage_failed", True)
    assert server.objects == {}


@pytest.mark.parametrize("size", [2_000, CHUNK + 2_000])
def test_a_file_beyond_the_buckets_limit_is_told(
    supabase: SupabaseStorage, server: StorageServer, make: Files, size: int
):
    """No repeat would help; the advice is whose limit to raise."""
    server.size_limit = 1_000

    with pytest.raises(ProcessingError, match="file size limit") as failed:
        supabase.publish(make({"film.mp4": b"v" * size}), "job/7")

    assert (failed.value.code, failed.value.retryable) == ("storage_limit", False)
    assert methods(server)["POST"] == 1


def test_playlists_go_last(supabase: SupabaseStorage, server: StorageServer, make: Files):
    """In the order they are given, after all segments: a player that finds one finds the rest."""
    segments = {f"hls/480p/{number:03}.m4s": b"s" * 1000 for number in range(40)}
    playlists = {"hls/480p/index.m3u8": b"p", "hls/master.m3u8": b"m"}

    supabase.publish(make({**playlists, **segments}), "job/7")

    assert server.order[-2:] == [
        "videos/app/job/7/hls/480p/index.m3u8",
        "videos/app/job/7/hls/master.m3u8",
    ]
    assert len(server.order) == 42


@pytest.mark.parametrize("content", [b"v" * 1000, LARGE], ids=["small", "large"])
def test_a_repeat_replaces_what_is_there(
    supabase: SupabaseStorage, server: StorageServer, make: Files, content: bytes
):
    """A lost answer must not turn into a conflict: every request asks for the right to replace."""
    server.put("videos", "app/job/7/film.mp4", b"half")

    supabase.publish(make({"film.mp4": content}), "job/7")

    assert server.content("videos/app/job/7/film.mp4") == content


# Downloads


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "object/authenticated", "cut", at=3_000_000),
        Fault("GET", "object/authenticated", "status", at=502),
        Fault("GET", "object/authenticated", "status", at=429),
        Fault("GET", "object/authenticated", "cut", at=0),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.at}",
)
def test_a_broken_download_goes_on_where_it_broke(
    supabase: SupabaseStorage, server: StorageServer, work_dir: Path, fault: Fault
):
    """With a range request; the file is whole."""
    server.put("videos", "app/in.mp4", LARGE)
    server.faults.append(fault)

    fetched = supabase.fetch("in.mp4", work_dir)

    assert fetched.read_bytes() == LARGE
    first, second = (headers.get("Range") for headers in server.headers)
    assert first is None
    assert (second is not None) is (fault.at == 3_000_000)


def test_a_source_that_was_replaced_meanwhile_is_fetched_anew(
    supabase: SupabaseStorage, server: StorageServer, work_dir: Path
):
    """Never half of one and half of the other."""
    new = LARGE[::-1]
    server.put("videos", "app/in.mp4", LARGE)
    server.faults.append(Fault("GET", "object/authenticated", "cut", at=3_000_000))
    replacing = threading.Thread(target=replace_after_a_cut, args=(server, new))
    replacing.start()

    fetched = supabase.fetch("in.mp4", work_dir)

    replacing.join()
    assert fetched.read_bytes() == new


def replace_after_a_cut(server: StorageServer, content: bytes) -> None:
    """Put another file in the place of the one whose first half is on its way."""
    while server.faults:
        time.sleep(0.001)
    server.put("videos", "app/in.mp4", content)


# Cancelling


@pytest.mark.timeout(25)  # a silent connection is given up after 30 seconds
@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "object/authenticated", "stall", at=1_000_000),
        Fault("GET", "object/authenticated", "hang"),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_cancelled_fetch_ends_though_the_server_is_silent(
    supabase: SupabaseStorage, server: StorageServer, work_dir: Path, fault: Fault
):
    """Within 2 seconds, not after the timeout of a silent connection."""
    server.put("videos", "app/in.mp4", LARGE)
    server.faults.append(fault)
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()

    with pytest.raises(ProcessingCancelledError):
        supabase.fetch("in.mp4", work_dir, cancel=cancel)


@pytest.mark.timeout(25)
def test_a_cancelled_publication_ends_though_the_server_is_silent(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """Files that were stored are gone, and those that wait are not begun."""
    server.faults.append(Fault("POST", "object/videos/app/job/7/00", "hang"))
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    files = make({f"{number:02}.mp4": b"v" for number in range(12)})

    with pytest.raises(ProcessingCancelledError):
        supabase.publish(files, "job/7", cancel=cancel)

    assert server.objects == {}
    assert methods(server)["DELETE"] >= 1


def test_a_cancelled_upload_sends_no_more(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """It stops between two pieces of a chunk, and its file never appears."""
    cancel = threading.Event()

    class CancelledByTheFirstChunk(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "PATCH" in record.getMessage():
                cancel.set()

    handler, httpx_log = CancelledByTheFirstChunk(), logging.getLogger("httpx")
    httpx_log.addHandler(handler)
    httpx_log.setLevel(logging.INFO)
    try:
        with pytest.raises(ProcessingCancelledError):
            supabase.publish(make({"film.mp4": LARGE * 12}), "job/7", cancel=cancel)
    finally:
        httpx_log.removeHandler(handler)
        httpx_log.setLevel(logging.NOTSET)

    assert server.objects == {}
    assert server.received < len(LARGE) * 12


# Signed addresses


def test_anybody_can_read_a_signed_address(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """Without a key, and only the one file."""
    places = supabase.publish(make({"clip 1.mp4": b"video"}), "job/7")

    url = supabase.signed_url(places["clip 1.mp4"], timedelta(minutes=5))

    assert httpx.get(url).content == b"video"
    assert server.key not in url
    assert httpx.get(url.replace("clip", "klip")).status_code == 400


def test_an_output_that_is_not_there_is_not_signed(supabase: SupabaseStorage):
    """The error says so."""
    with pytest.raises(ProcessingError) as missing:
        supabase.signed_url("job/7/gone.mp4", timedelta(minutes=5))

    assert missing.value.code == "missing_output"


# Set-up and secrets


def test_a_bucket_that_is_not_there_is_a_matter_of_set_up(server: StorageServer):
    """A worker learns it before it claims a job."""
    storage = SupabaseStorage(server.url, server.key, bucket="nowhere")

    with pytest.raises(ConfigurationError, match="VIDEOJOBS_STORAGE"):
        storage.check()

    storage.close()


def test_a_bucket_that_vanished_fails_no_job_for_good(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """It is this worker's trouble: another one may do better."""
    server.buckets = ()

    with pytest.raises(ConfigurationError, match="no such bucket"):
        supabase.publish(make({"clip.mp4": b"v"}), "job/7")


def test_a_project_that_does_not_answer_is_a_connection_error(server: StorageServer):
    """After some tries."""
    storage = SupabaseStorage("http://127.0.0.1:1", server.key, bucket="videos")

    with pytest.raises(SupabaseConnectionError, match="did not answer"):
        storage.check()

    storage.close()


@pytest.mark.parametrize("method", ["check", "fetch", "publish"])
def test_a_wrong_key_is_told_without_the_key(
    server: StorageServer,
    make: Files,
    work_dir: Path,
    caplog: pytest.LogCaptureFixture,
    method: str,
):
    """Neither the error nor any log line has it, and no URL ever had."""
    caplog.set_level(logging.DEBUG)
    storage = SupabaseStorage(server.url, "sb_secret_wrong", bucket="videos")
    calls = {
        "check": storage.check,
        "fetch": lambda: storage.fetch("in.mp4", work_dir),
        "publish": lambda: storage.publish(make({"clip.mp4": b"v"}), "job/7"),
    }

    with pytest.raises(ConfigurationError, match="SUPABASE_SECRET_KEY") as refused:
        calls[method]()

    storage.close()
    assert "sb_secret_wrong" not in str(refused.value)
    assert "sb_secret_wrong" not in caplog.text
    assert all("sb_secret" not in path for _, path in server.requests)


def test_an_upload_stays_at_the_projects_own_address(
    supabase: SupabaseStorage, server: StorageServer, make: Files
):
    """The server's Location may name another host, which must not get the key."""
    supabase.publish(make({"film.mp4": LARGE}), "job/7")

    (upload,) = server.uploads
    paths = {path for method, path in server.requests if method == "PATCH"}
    assert paths == {f"/storage/v1/upload/resumable/{upload}"}


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("https://abc.supabase.co/storage/v1", "abc.storage.supabase.co"),
        ("https://videos.example.com/storage/v1", "videos.example.com"),
        ("https://a.b.supabase.co/storage/v1", "a.b.supabase.co"),
        ("https://abc.supabase.co.evil.example/storage/v1", "abc.supabase.co.evil.example"),
    ],
)
def test_hosted_projects_have_a_host_for_large_files(base: str, host: str):
    """The path stays; hosts of one's own have none."""
    parts = urlsplit(wire.resumable_base(base))

    assert (parts.hostname, parts.path) == (host, "/storage/v1")


def test_more_files_than_one_list_holds_are_removed(
    supabase: SupabaseStorage, server: StorageServer
):
    """A list has 1000 entries at the most."""
    for number in range(1100):
        server.put("videos", f"app/job/7/hls/{number:04}.m4s", b"")
    server.put("videos", "app/job/71/kept.mp4", b"")

    supabase.remove("job/7")

    assert set(server.objects) == {"videos/app/job/71/kept.mp4"}
