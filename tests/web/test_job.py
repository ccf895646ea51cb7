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
