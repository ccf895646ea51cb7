"""What jobs have made is served to those who may see them, and nothing beside it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest

from storage_server import StorageServer
from videojobs import OutputFile, VideoJobManager
from videojobs.storage.supabase import SupabaseStorage

ADA = UUID("00000000-0000-4000-8000-000000000ada")
BYTES = bytes(range(256)) * 40


@pytest.fixture
def made(people, service: VideoJobManager, files: Path):
    """A completed job of Ada's, with files of several kinds."""
    job = service.create_job(user_id=ADA)
    lease = service.start_processing(job.id)
    folder = files / f"{job.id}/{lease.run_token}"
    names = ["clip_01.mp4", "a b'ü\".mp4", "page.html", "hls/master.m3u8", "hls/v0/seg_1.m4s"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(BYTES)
    (files / "secret.txt").write_text("secret")
    (folder / "link.mp4").symlink_to(files.parent / "outside.mp4")
    (files.parent / "outside.mp4").write_text("secret")
    listed = [
        OutputFile(
            path=f"{job.id}/{lease.run_token}/{name}",
            name=f"n{place}",
            kind="playlist" if "m3u8" in name else "video",
        )
        for place, name in enumerate(names[:4])
    ]
    paths = [
        "../secret.txt",
        "/etc/passwd",
        "a\r\nSet-Cookie: b.mp4",
        "https://evil.example/x",
        f"{job.id}/{lease.run_token}/link.mp4",
    ]
    listed += [OutputFile(path=path, name=f"bad{place}") for place, path in enumerate(paths)]
    return service.complete_job(lease, listed)


def test_an_output_is_found_by_name_and_by_file_name(people, made):
    """With its type, and to be shown."""
    ada, path = people.ada, f"/api/v1/jobs/{made.id}/outputs"

    replies = [ada.get(f"{path}/{name}") for name in ("n0", "clip_01.mp4")]

    for reply in replies:
        assert (reply.status_code, reply.content) == (200, BYTES)
        assert reply.headers["Content-Type"] == "video/mp4"
        assert reply.headers["Content-Disposition"].startswith('inline; filename="clip_01.mp4"')
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"].startswith("private")


def test_its_size_is_told_without_it(people, made):
    """To a HEAD, as players and download managers ask first."""
    reply = people.ada.head(f"/api/v1/jobs/{made.id}/outputs/n0")

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["Content-Length"] == str(len(BYTES))
    assert reply.headers["Accept-Ranges"] == "bytes"


def test_a_missing_output_is_not_a_missing_job(people, made):
    """The problem says which of them is not there, and where to look."""
    problem = people.ada.get(f"/api/v1/jobs/{made.id}/outputs/nix").json()

    assert (problem["type"], problem["title"]) == (
        "urn:videojobs:output-not-found",
        "No such output",
    )
    assert "'nix'" in problem["detail"] and "output_files" in problem["detail"]


def test_a_part_is_sent_alone(people, made):
    """By Range, as players ask for it; what is beyond the end is refused."""
    ada, path = people.ada, f"/api/v1/jobs/{made.id}/outputs/n0"

    part = ada.get(path, headers={"Range": "bytes=256-511"})
    beyond = ada.get(path, headers={"Range": f"bytes={10**9}-"})

    assert (part.status_code, part.content) == (206, BYTES[256:512])
    assert part.headers["Content-Range"] == f"bytes 256-511/{len(BYTES)}"
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    "asked", ["bytes=" + "0-,1-," * 5000 + "2-", "bytes=9-1", "bytes=a-b", "lines=0-1", "bytes=--1"]
)
def test_odd_ranges_do_no_harm(people, made, asked):
    """The whole file, or none; at once."""
    path = f"/api/v1/jobs/{made.id}/outputs/n0"

    reply = people.ada.get(path, headers={"Range": asked})

    assert reply.status_code in (200, 400, 416)
    assert reply.elapsed.total_seconds() < 2


def test_a_name_cannot_end_its_header(people, made):
    """Quotes, and letters beyond ASCII."""
    reply = people.ada.get(f"/api/v1/jobs/{made.id}/outputs/n1?download=1")

    assert reply.status_code == 200
    assert reply.headers["Content-Disposition"] == (
        "attachment; filename=\"a b___.mp4\"; filename*=UTF-8''a%20b%27%C3%BC%22.mp4"
    )


def test_what_is_no_film_is_not_shown(people, made):
    """A page that somebody made an output is downloaded, and runs nowhere."""
    reply = people.ada.get(f"/api/v1/jobs/{made.id}/outputs/page.html")

    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in reply.headers["Content-Security-Policy"]


def test_a_playlists_files_are_found_beside_it(people, made):
    """By the addresses that stand in it."""
    ada, path = people.ada, f"/api/v1/jobs/{made.id}/outputs"

    playlist = ada.get(f"{path}/hls/master.m3u8")
    segment = ada.get(f"{path}/hls/v0/seg_1.m4s")

    assert (playlist.status_code, segment.status_code) == (200, 200)
    assert segment.headers["Content-Type"] == "video/iso.segment"


@pytest.mark.parametrize(
    "name",
    [
        *(f"bad{n}" for n in range(5)),
        *("nix", "", "hls", "link.mp4", "hls/../link.mp4", "hls/v0"),
        *(
            "../../secret.txt",
            "..%2f..%2fsecret.txt",
            "..%252f..%252fsecret.txt",
            "....//secret.txt",
        ),
        *("%2fetc%2fpasswd", "hls/%00", "..%5c..%5csecret.txt", "n" * 5000),
    ],
)
def test_nothing_else_is_served(people, made, name):
    """Whatever a name, or a stored path, tries."""
    reply = people.ada.get(f"/api/v1/jobs/{made.id}/outputs/{quote(name, safe='%/.')}")

    assert reply.status_code in (404, 422), reply.text
    assert b"secret" not in reply.content.replace(b"secret.txt", b"")


def test_strangers_get_nothing(people, made):
    """As if there were no such job."""
    reply = people.eve.get(f"/api/v1/jobs/{made.id}/outputs/n0", headers={"X-Request-ID": "a"})
    none = people.eve.get(f"/api/v1/jobs/{uuid4()}/outputs/n0", headers={"X-Request-ID": "a"})

    assert reply.status_code == none.status_code == 404
    assert reply.json()["code"] == none.json()["code"]


@pytest.fixture
def bucket(tmp_path: Path):
    """Supabase Storage's stand-in, and its bucket as a storage."""
    with StorageServer(tmp_path / "server") as server:
        storage = SupabaseStorage(server.url, server.key, bucket="videos")
        yield server, storage
        storage.close()


def test_a_storage_with_addresses_is_sent_to(serve, stack, people, service, bucket):
    """For a while, without our key; playlists are sent, so that what stands in them is found here."""
    server, storage = bucket
    url = serve(storage=storage)
    mine = {"Authorization": f"Bearer {stack.user_token(ADA)}"}
    job = httpx.post(
        f"{url}/api/v1/process", headers=mine, files={"file": b"\x00\x00\x00\x18ftypmp42" + BYTES}
    ).json()
    lease = service.start_processing(job["id"])
    prefix = f"{lease.job_id}/{lease.run_token}"
    for name in ("a.mp4", "hls/master.m3u8"):
        server.put("videos", f"{prefix}/{name}", BYTES)
    service.complete_job(
        lease,
        [
            OutputFile(path=f"{prefix}/a.mp4", name="a", size_bytes=len(BYTES)),
            OutputFile(path=f"{prefix}/hls/master.m3u8", name="hls", kind="playlist"),
            OutputFile(path=f"{prefix}/gone.mp4", name="gone"),
        ],
    )
    path = f"{url}/api/v1/jobs/{job['id']}/outputs"

    sent = httpx.get(f"{path}/a", headers=mine)
    playlist = httpx.get(f"{path}/hls/master.m3u8", headers=mine)
    gone = httpx.get(f"{path}/gone", headers=mine)
    asked = httpx.head(f"{path}/a", headers=mine)

    assert server.content(f"videos/{job['source_url']}").endswith(BYTES)
    assert (sent.status_code, sent.headers["Cache-Control"]) == (307, "no-store")
    assert server.key not in sent.headers["Location"]
    assert httpx.get(sent.headers["Location"]).content == BYTES
    assert (playlist.status_code, playlist.content) == (200, BYTES)
    assert gone.status_code == 404
    assert (asked.status_code, asked.headers["Content-Length"]) == (200, str(len(BYTES)))
