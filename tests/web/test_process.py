"""Videos come in, whole or not at all, and become jobs."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from starlette.requests import Request

from videojobs.web.problems import ProblemError
from videojobs.web.uploads import UploadLimits, receive_form

ADA = UUID("00000000-0000-4000-8000-000000000ada")
BOB = UUID("00000000-0000-4000-8000-000000000b0b")
TEAM = UUID("00000000-0000-4000-8000-0000000007ea")
VIDEO = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00" * 5000
PATH = "/api/v1/process"


def stored(files: Path) -> set[str]:
    """Every file in the storage."""
    return {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def passing(web_settings):
    """Says how many uploads are on their way; in the end, none is."""

    def count() -> int:
        return len(list(web_settings.work_dir.iterdir()))

    yield count
    assert count() == 0


def test_an_upload_becomes_a_job(people, files):
    """Stored below its owner's id, under a name of ours, with the sender's name for people."""
    reply = people.ada.post(
        PATH,
        files={"file": ("../../My talk.mp4", VIDEO, "text/html")},
        data={"clip_count": "2", "platform_target": "tiktok", "settings": '{"clip_seconds": 5}'},
    )

    job = reply.json()
    assert reply.status_code == 201, reply.text
    assert reply.headers["Location"] == f"jobs/{job['id']}"
    assert (job["user_id"], job["clip_count"], job["settings"]) == (
        str(ADA),
        2,
        {"clip_seconds": 5},
    )
    assert (job["original_filename"], job["original_filesize"]) == ("My talk.mp4", len(VIDEO))
    assert job["source_url"].startswith(f"{ADA}/uploads/")
    assert (files / job["source_url"]).read_bytes() == VIDEO
    assert people.ada.get(f"/api/v1/{reply.headers['Location']}").status_code == 200


def test_a_teams_upload_lies_below_the_teams_id(people, files):
    """So that workers of the policy own_prefix take it."""
    job = people.ada.post(PATH, files={"file": VIDEO}, data={"team_id": str(TEAM)}).json()

    assert job["source_url"].startswith(f"{TEAM}/uploads/")
    assert job["tenant_id"] == str(TEAM)


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1.mp4", '"; filename*=x"', "\u202egpj.mp4", "x" * 500, ""]
)
def test_a_file_name_is_only_a_name(people, files, name):
    """Whatever it holds, nothing but the job's text is made of it."""
    before = stored(files)

    reply = people.ada.post(PATH, files={"file": (name or "a", VIDEO)})

    assert reply.status_code == 201, reply.text
    (new,) = stored(files) - before
    assert new.endswith("/source.mp4")
    told = reply.json()["original_filename"]
    assert told is None or (len(told) <= 255 and told.isprintable())


REFUSED = {
    "too large": ({"file": VIDEO + bytes(2_000_001)}, {}, 413),
    "not a video": ({"file": b"<html><script>" * 1000}, {}, 415),
    "a playlist": ({"file": ("a.mp4", b"#EXTM3U\nfile:///etc/passwd", "video/mp4")}, {}, 415),
    "empty": ({"file": b""}, {}, 415),
    "another field": ({"video": VIDEO}, {}, 422),
    "two files": ([("file", VIDEO), ("file", VIDEO)], {}, 422),
    "no such field": ({"file": VIDEO}, {"colour": "red"}, 422),
    "somebody else": ({"file": VIDEO}, {"user_id": str(BOB)}, 422),
    "a key in the form": ({"file": VIDEO}, {"idempotency_key": "x"}, 422),
    "a source too": ({"file": VIDEO}, {"source_url": f"{ADA}/x.mp4"}, 422),
    "a bad value": ({"file": VIDEO}, {"clip_count": "1000"}, 422),
    "bad JSON": ({"file": VIDEO}, {"settings": "{"}, 400),
    "settings that are no object": ({"file": VIDEO}, {"settings": "[]"}, 422),
    "settings that no worker could use": (
        {"file": VIDEO},
        {"settings": '{"clip_seconds": -1}'},
        422,
    ),
    "long fields": ({"file": VIDEO}, {"resource_name": "x" * 300_000}, 413),
    "many fields": ({"file": VIDEO}, {f"f{n}": "1" for n in range(50)}, 400),
    "strangers' captions": (
        {"file": VIDEO},
        {"settings": json.dumps({"captions_url": f"{BOB}/a.srt"})},
        422,
    ),
    "no team of theirs": ({"file": VIDEO}, {"team_id": str(BOB)}, 403),
}


@pytest.mark.parametrize(("sent", "fields", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refused_upload_leaves_nothing(people, files, sent, fields, status):
    """Neither a file nor a job."""
    before = stored(files)

    reply = people.ada.post(PATH, files=sent, data=fields)

    assert (reply.status_code, reply.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    ), reply.text
    assert stored(files) == before
    assert people.ada.get("/api/v1/user/jobs").json()["items"] == []


def test_the_same_wish_makes_one_job(people, files):
    """By its key; with other content the key is refused, and the other file is gone."""
    ada, key = people.ada, {"Idempotency-Key": str(uuid4())}
    before = stored(files)

    first = ada.post(PATH, files={"file": VIDEO}, headers=key)
    again = ada.post(PATH, files={"file": VIDEO}, headers=key)
    other_file = ada.post(PATH, files={"file": VIDEO + b"x"}, headers=key)
    other_wish = ada.post(PATH, files={"file": VIDEO}, data={"clip_count": "9"}, headers=key)
    bobs = people.bob.post(PATH, files={"file": VIDEO}, headers=key)

    assert [first.status_code, again.status_code, bobs.status_code] == [201, 200, 201]
    assert first.json()["id"] == again.json()["id"]
    assert [other_file.status_code, other_wish.status_code] == [409, 409]
    assert stored(files) - before == {first.json()["source_url"], bobs.json()["source_url"]}


def test_a_named_source_becomes_a_job(people):
    """Below the caller's own folder, or their team's."""
    ada, key = people.ada, {"Idempotency-Key": "wish-1"}
    wish = {"source_url": f"{ADA}/talk.mp4", "clip_count": 1}

    created = ada.post(PATH, json=wish, headers=key)
    again = ada.post(PATH, json=wish, headers=key)
    teams = ada.post(PATH, json={"source_url": f"{TEAM}/talk.mp4", "team_id": str(TEAM)})

    assert [created.status_code, again.status_code, teams.status_code] == [201, 200, 201]


@pytest.mark.parametrize(
    "path",
    [
        f"{BOB}/talk.mp4",
        f"{ADA}/../{BOB}/talk.mp4",
        f"{ADA}/%2e%2e/{BOB}/talk.mp4",
        f"{ADA}/%252e%252e/{BOB}/talk.mp4",
        f"{ADA}/..\\{BOB}",
        f"{ADA}",
        f"{TEAM}/talk.mp4",
        "/etc/passwd",
        "file:///etc/passwd",
        "https://evil.example/a.mp4",
        f"s3://bucket/{ADA}/a.mp4",
        None,
    ],
)
def test_a_source_elsewhere_is_refused(people, path):
    """However it is written."""
    reply = people.ada.post(PATH, json={"source_url": path})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == "source_url"


def test_an_operator_may_allow_other_sources(people, serve, web_settings, stack):
    """By setting."""
    import httpx

    open_to_all = serve(source_policy="any")
    token = stack.user_token(ADA)

    reply = httpx.post(
        open_to_all + PATH,
        json={"source_url": "shared/a.mp4"},
        headers={"Authorization": f"Bearer {token}"},
    )

    assert reply.status_code == 201


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"x", 415),
        ("", b"x", 415),
        ("application/json", b"[1]", 422),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"\xff", 400),
        ("application/json", b'{"settings": ' + b'{"a":' * 60 + b"1" + b"}" * 61, 422),
        ("application/json", b'{"a": "' + b"x" * 300_000 + b'"}', 413),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=" + "b" * 200, b"x", 400),
        ("multipart/form-data; boundary=b", b"no form at all", 400),
        ("multipart/form-data; boundary=b", b"", 422),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\n--b--\r\n", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\n1\r\n--b--\r\n',
            400,
        ),
    ],
)
def test_what_cannot_be_read_is_refused(people, content_type, body, status):
    """With a problem, and at once."""
    reply = people.ada.post(PATH, content=body, headers={"Content-Type": content_type})

    assert (reply.status_code, reply.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    ), reply.text


def head(token: str, length: int) -> bytes:
    """The beginning of an upload."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    ).encode() + VIDEO


def until(holds) -> None:
    """Wait, for ten seconds at the most."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_connection_that_breaks_leaves_nothing(stack, urls, files, people, passing):
    """Midway through a file: what had come is gone, and no job is there."""
    place, before = urlsplit(urls["postgres"]), stored(files)

    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(head(stack.user_token(ADA), 1_000_000) + bytes(500_000))
        until(lambda: passing() == 1)
    until(lambda: passing() == 0)

    assert stored(files) == before
    assert people.ada.get("/api/v1/user/jobs").json()["items"] == []


def test_a_sender_who_falls_silent_is_turned_away(serve, stack, files):
    """After the idle time, with a problem; what had come is gone."""
    place, before = urlsplit(serve(idle_seconds=0.3)), stored(files)

    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(head(stack.user_token(ADA), 1_000_000))
        client.settimeout(10)
        reply = http.client.HTTPResponse(client)
        reply.begin()

        assert reply.status == 408
        assert reply.getheader("Connection") == "close"
    assert stored(files) == before


def test_a_body_that_announces_too_much_is_not_read(urls, stack):
    """The answer comes before the body does."""
    place = urlsplit(urls["postgres"])

    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(head(stack.user_token(ADA), 10**12))
        client.settimeout(10)
        reply = http.client.HTTPResponse(client)
        reply.begin()

        assert reply.status in (413, 503)  # 503 where the disk is smaller than that


async def test_an_upload_of_untold_size_leaves_room_on_the_disk(tmp_path: Path):
    """What comes in chunks announces nothing; it ends where the disk has no room left for it."""
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + VIDEO
    head = [(b"content-type", b"multipart/form-data; boundary=B")]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": part + b"\r\n--B--\r\n", "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": head}, receive)
    limits = UploadLimits(file_bytes=10**6, text_bytes=10**6, room_bytes=2**62)

    with pytest.raises(ProblemError, match="no room") as caught:
        await receive_form(request, tmp_path, limits)

    assert (caught.value.status, caught.value.kind) == (503, "no-room")
    assert (tmp_path / "upload").read_bytes() == b""
