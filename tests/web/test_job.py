"""One job through the API: whose it is, how it is read and changed."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from videojobs import VideoJobManager

ADA = UUID("00000000-0000-4000-8000-000000000ada")
TEAM = UUID("00000000-0000-4000-8000-0000000007ea")


@pytest.fixture
def job(people, service: VideoJobManager):
    """A job of Ada's."""
    return service.create_job(
        user_id=ADA, source_url=f"{ADA}/talk.mp4", original_filename="talk.mp4"
    )


def test_an_owner_reads_their_job(people, job):
    """All that the database tells of it, and nobody's cache but theirs may keep it."""
    reply = people.ada.get(f"/api/v1/jobs/{job.id}")

    assert reply.status_code == 200
    assert reply.json() == job.model_dump(mode="json", exclude={"created"})
    assert reply.headers["Cache-Control"] == "private, no-cache"
    assert reply.headers["Vary"] == "Authorization"


def test_an_unchanged_job_is_not_sent_again(people, job, service):
    """304 for the same state, the job for another one, 404 when it is no longer the caller's."""
    ada = people.ada
    tag = ada.get(f"/api/v1/jobs/{job.id}").headers["ETag"]
    known = {"If-None-Match": f'"other", W/{tag}'}

    same = ada.get(f"/api/v1/jobs/{job.id}", headers=known)
    strangers = people.eve.get(f"/api/v1/jobs/{job.id}", headers=known)
    service.cancel_job(job.id)
    changed = ada.get(f"/api/v1/jobs/{job.id}", headers=known)
    service.delete_job(job.id)
    gone = ada.get(f"/api/v1/jobs/{job.id}", headers={"If-None-Match": "*"})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert (strangers.status_code, changed.status_code, gone.status_code) == (404, 200, 404)
    assert changed.headers["ETag"] != tag


def test_a_strangers_job_looks_like_none(people, job):
    """But for the id that was asked for, the two answers are the same."""
    eve, nobodys = people.eve, uuid4()

    theirs = eve.get(f"/api/v1/jobs/{job.id}", headers={"X-Request-ID": "same"})
    none = eve.get(f"/api/v1/jobs/{nobodys}", headers={"X-Request-ID": "same"})

    assert theirs.status_code == none.status_code == 404
    assert theirs.text.replace(str(job.id), str(nobodys)) == none.text
    assert theirs.headers["Content-Type"] == "application/problem+json"


def test_who_does_not_sign_in_learns_nothing(people, job):
    """Neither of a job's existence nor of what is wrong with the path, without a token."""
    nobody = people.client()

    replies = [nobody.get(f"/api/v1/jobs/{each}") for each in (job.id, uuid4(), "x")]

    assert [reply.status_code for reply in replies] == [401, 401, 401]
    assert {reply.headers["WWW-Authenticate"] for reply in replies} == {"Bearer"}
    assert len({reply.json()["detail"] for reply in replies}) == 1


def test_keys_are_no_users(people, job, stack):
    """A service's key and the publishable one open no user's route."""
    for key in (stack.service_role_key, stack.anon_key, stack.user_token(ADA)[:-4] + "AAAA"):
        reply = people.client(key).get(f"/api/v1/jobs/{job.id}")

        assert reply.status_code == 401
        assert reply.json()["type"] == "urn:videojobs:not-signed-in"
        assert key not in reply.text


def test_a_request_keeps_its_name(people, job):
    """A plain name is given back; what could split a header or a log line is replaced."""
    ada = people.ada

    kept = ada.get(f"/api/v1/jobs/{job.id}", headers={"X-Request-ID": "trace-1.2:3"})
    odd = ada.get(f"/api/v1/jobs/{uuid4()}", headers={"X-Request-ID": "a b" * 100})

    assert kept.headers["X-Request-ID"] == "trace-1.2:3"
    assert odd.json()["request_id"] == odd.headers["X-Request-ID"] != "a b" * 100


def test_a_waiting_job_is_rescheduled(people, job):
    """The changed job comes back."""
    reply = people.ada.patch(
        f"/api/v1/jobs/{job.id}", json={"priority": 2, "run_at": "2030-01-01T00:00:00Z"}
    )

    assert reply.status_code == 200
    assert (reply.json()["priority"], reply.json()["run_at"]) == (2, "2030-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"priority": 9}, 403),
        ({"priority": 10}, 422),
        ({"status": "completed"}, 422),
        ({"user_id": str(uuid4())}, 422),
        ({}, 422),
        ({"run_at": "2030-01-01"}, 422),
        ([], 422),
        (None, 422),
    ],
)
def test_what_may_not_be_set_is_refused(people, job, changes, status):
    """The owner may set what the database lets users set, and nothing else."""
    reply = people.ada.patch(f"/api/v1/jobs/{job.id}", json=changes)

    assert (reply.status_code, reply.json()["status"]) == (status, status)


CHANGES = [
    ("PATCH", "", {"priority": 1}),
    ("POST", "/cancel", {"reason": "no"}),
    ("POST", "/retry", None),
    ("DELETE", "", None),
    ("GET", "/events", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_stranger_cannot_tell_a_job_from_none(people, job, service, method, path, body):
    """Whatever its status, and whatever is tried."""
    eve, nobodys = people.eve, uuid4()
    for _ in range(2):
        theirs, none = (
            eve.request(
                method, f"/api/v1/jobs/{each}{path}", json=body, headers={"X-Request-ID": "same"}
            )
            for each in (job.id, nobodys)
        )
        service.cancel_job(job.id)

        assert theirs.status_code == none.status_code == 404
        assert theirs.text.replace(str(job.id), str(nobodys)) == none.text


def test_a_member_sees_and_does_not_change(people, service):
    """403 for what a teammate may see; a team's admin may change it."""
    job = service.create_job(user_id=UUID("00000000-0000-4000-8000-000000000b0b"), team_id=TEAM)

    seen = people.ada.get(f"/api/v1/jobs/{job.id}")
    refused = [
        people.ada.request(method, f"/api/v1/jobs/{job.id}{path}", json=body)
        for method, path, body in CHANGES[:4]
    ]
    stopped = people.bob.post(f"/api/v1/jobs/{job.id}/cancel")

    assert seen.status_code == 200
    assert {reply.status_code for reply in refused} == {403}
    assert stopped.json()["status"] == "cancelled"


def test_a_job_is_stopped_repeated_and_removed(people, job):
    """Each step answers with the job; what the status does not allow is a conflict."""
    ada, path = people.ada, f"/api/v1/jobs/{job.id}"

    early = ada.delete(path)
    stopped = ada.post(f"{path}/cancel", json={"reason": "the wrong file"})
    again = ada.post(f"{path}/cancel")
    repeated = ada.post(f"{path}/retry")
    late = ada.post(f"{path}/retry")
    ada.post(f"{path}/cancel")
    removed = ada.delete(path)
    gone = ada.delete(path)

    assert [each.json()["status"] for each in (stopped, again, repeated)] == [
        "cancelled",
        "cancelled",
        "queued",
    ]
    assert [each.status_code for each in (early, late, removed, gone)] == [409, 409, 204, 404]
    assert early.json()["type"] == "urn:videojobs:invalid-transition"


def test_a_history_is_read_in_parts(people, job):
    """Oldest first, from any event on; empty behind the last."""
    ada, path = people.ada, f"/api/v1/jobs/{job.id}"
    ada.post(f"{path}/cancel", json={"reason": "the wrong file"})

    first = ada.get(f"{path}/events", params={"limit": 1}).json()
    rest = ada.get(f"{path}/events", params={"after_id": first["next_after_id"]}).json()
    behind = ada.get(f"{path}/events", params={"after_id": rest["items"][-1]["id"]}).json()

    assert [event["type"] for event in first["items"] + rest["items"]] == ["created", "cancelled"]
    assert rest["items"][0]["data"] == {"reason": "the wrong file"}
    assert (rest["next_after_id"], behind["items"]) == (None, [])


HOSTILE = {
    "deep": (b"[" * 100_000, 400),
    "deep object": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 413),
    "large": (b'{"reason": "' + b"x" * 300_000 + b'"}', 413),
    "long number": (b'{"priority": ' + b"9" * 100_000 + b"}", 400),
    "not JSON": (b"{", 422),
    "not text": (b'{"reason": "\xff"}', 400),
    "half a character": (b'{"queue": "\\ud800"}', 422),
    "NaN": (b'{"priority": NaN}', 422),
}


@pytest.mark.parametrize(("body", "status"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_body_made_to_harm_is_refused(people, job, body, status):
    """In a moment, with a problem that says so."""
    reply = people.ada.patch(
        f"/api/v1/jobs/{job.id}", content=body, headers={"Content-Type": "application/json"}
    )

    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
