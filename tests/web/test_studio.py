"""Film and episode jobs in a studio's words."""

from __future__ import annotations

from uuid import UUID

import pytest

from videojobs import VideoJobManager

ADA = UUID("00000000-0000-4000-8000-000000000ada")
BOB = UUID("00000000-0000-4000-8000-000000000b0b")
TEAM = UUID("00000000-0000-4000-8000-0000000007ea")
PATH = "/api/v1/studio/processing-jobs"


@pytest.fixture
def film(people, service: VideoJobManager):
    """A waiting film of Ada's."""
    return service.create_job(
        user_id=ADA,
        pipeline="renditions",
        resource_type="film",
        resource_id="f1",
        resource_name="Metropolis",
        original_filename="metropolis.mkv",
        original_filesize=123,
    )


def episode(service: VideoJobManager, **facts):
    """A waiting episode of Ada's, of the team."""
    return service.create_job(
        user_id=ADA,
        team_id=TEAM,
        resource_type="episode",
        resource_id="e1",
        resource_parent_id="s1",
        **facts,
    )


def failed(service: VideoJobManager, job):
    """The job, after its last attempt."""
    service.start_processing(job.id)
    return service.fail_job(job.id, "it is broken", error_code="corrupt_source", retryable=False)


def test_jobs_are_listed_with_their_statistics(people, service, film):
    """Films and episodes, newest first; no uploads."""
    other = episode(service)
    service.create_job(user_id=ADA)
    failed(service, film)

    reply = people.ada.get(PATH)

    listed = reply.json()
    assert reply.status_code == 200, reply.text
    assert [(job["id"], job["type"], job["status"]) for job in listed["jobs"]] == [
        (str(other.id), "episode", "waiting"),
        (str(film.id), "film", "failed"),
    ]
    assert listed["stats"] == {
        "waiting": 1,
        "active": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
        "total": 2,
    }
    assert listed["nextCursor"] is None


def test_a_job_keeps_the_studios_names(people, service, film):
    """Each of its keys."""
    failed(service, film)

    (job,) = people.ada.get(PATH).json()["jobs"]

    assert set(job) == {
        *("id", "type", "status", "progress", "stage", "resourceId", "resourceName", "seasonId"),
        *(
            "fileName",
            "fileSize",
            "priority",
            "attemptsMade",
            "maxAttempts",
            "failedReason",
            "errorCode",
        ),
        *("canCancel", "canRetry", "canDelete", "cancelRequested", "processingTime"),
        *("createdAt", "startedAt", "finishedAt", "updatedAt"),
    }
    assert (job["resourceName"], job["fileName"], job["failedReason"]) == (
        "Metropolis",
        "metropolis.mkv",
        "it is broken",
    )
    assert (job["canCancel"], job["canRetry"], job["canDelete"]) == (False, True, True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"type": "film"}, 1),
        ({"type": "episode"}, 2),
        ({"status": "waiting"}, 2),
        ({"status": "failed", "type": "film"}, 1),
        ({"status": "active"}, 0),
    ],
)
def test_lists_are_narrowed(people, service, film, query, count):
    """By status and type; the statistics go by type alone."""
    failed(service, film)
    episode(service), episode(service)

    listed = people.ada.get(PATH, params=query).json()

    assert len(listed["jobs"]) == count
    assert listed["stats"]["total"] == {"film": 1, "episode": 2}.get(query.get("type"), 3)


def test_pages_of_both_types_lead_to_each_other(people, service, film):
    """Every job once, in their order."""
    jobs = [film, *(episode(service) if n % 3 else service.create_job(user_id=ADA, resource_type="film", resource_id="f") for n in range(6))]  # fmt: skip
    found, cursor = [], None

    while True:
        page = people.ada.get(
            PATH, params={"limit": 2, **({"cursor": cursor} if cursor else {})}
        ).json()
        found += [job["id"] for job in page["jobs"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert found == [str(job.id) for job in reversed(jobs)]


def test_a_waiting_job_tells_its_position(people, service, film):
    """1 is next."""
    episode(service, priority=9)

    queue = people.ada.get(f"{PATH}/{film.id}").json()["queue"]

    assert (queue["position"], queue["isExact"], queue["attempt"]) == (2, True, 0)


def test_an_active_job_tells_its_lease_and_attempt(people, service, film):
    """And until when."""
    lease = service.start_processing(film.id)

    told = people.ada.get(f"{PATH}/{film.id}").json()

    assert told["job"]["status"] == "active"
    assert told["queue"]["leaseExpiresAt"] == lease.expires_at.isoformat().replace("+00:00", "Z")
    assert told["queue"]["attemptId"] == f"{film.id}/{lease.run_token}"
    assert (told["queue"]["position"], told["queue"]["attempt"]) == (None, 1)


def test_waiting_and_active_jobs_are_cancelled(people, service, film):
    """At once, or as soon as the worker hears of it; others are a conflict."""
    active = episode(service)
    service.start_processing(active.id)

    waiting = people.ada.post(f"{PATH}/{film.id}/cancel").json()["job"]
    asked = people.ada.post(f"{PATH}/{active.id}/cancel").json()["job"]
    done = failed(service, episode(service))
    late = people.ada.post(f"{PATH}/{done.id}/cancel")

    assert (waiting["status"], waiting["canCancel"]) == ("cancelled", False)
    assert (asked["status"], asked["cancelRequested"], asked["canCancel"]) == (
        "active",
        True,
        False,
    )
    assert late.status_code == 409


def test_a_retry_names_the_attempt_to_come(people, service, film):
    """As the worker that claims it next will."""
    failed(service, film)

    told = people.ada.post(f"{PATH}/{film.id}/retry").json()
    again = people.ada.post(f"{PATH}/{film.id}/retry")
    lease = service.start_processing(film.id)

    assert told["job"]["status"] == "waiting"
    assert told["attemptId"] == f"{film.id}/{lease.run_token}"
    assert again.status_code == 409


def test_only_failed_jobs_are_retried(people, service, film):
    """A cancelled one is not."""
    service.cancel_job(film.id)

    assert people.ada.post(f"{PATH}/{film.id}/retry").status_code == 409


def test_finished_jobs_are_removed(people, service, film):
    """Others are a conflict."""
    early = people.ada.delete(f"{PATH}/{film.id}")
    failed(service, film)

    assert early.status_code == 409
    assert people.ada.delete(f"{PATH}/{film.id}").status_code == 204
    assert people.ada.get(f"{PATH}/{film.id}").status_code == 404


@pytest.mark.parametrize(
    ("status", "count"), [("failed", 1), ("cancelled", 1), ("completed", 0), ("all", 2)]
)
def test_finished_jobs_are_cleared_by_status(people, service, film, status, count):
    """Uploads and what is not finished stay."""
    failed(service, film)
    service.cancel_job(episode(service).id)
    kept = [episode(service), failed(service, service.create_job(user_id=ADA))]

    reply = people.ada.post(f"{PATH}/clear", json={"status": status})

    assert reply.json() == {"success": True, "cleared": count}
    assert all(people.ada.get(f"/api/v1/jobs/{job.id}").status_code == 200 for job in kept)


def test_uploads_and_strangers_jobs_are_none(people, service, film):
    """Whatever is tried."""
    upload = service.create_job(user_id=ADA)

    for client, job in ((people.ada, upload), (people.eve, film)):
        replies = [
            client.get(f"{PATH}/{job.id}"),
            client.delete(f"{PATH}/{job.id}"),
            client.post(f"{PATH}/{job.id}/cancel"),
            client.post(f"{PATH}/{job.id}/retry"),
        ]

        assert {reply.status_code for reply in replies} == {404}
    assert people.eve.get(PATH).json()["jobs"] == []


@pytest.mark.parametrize(
    "query", [{"status": "queued"}, {"type": "upload"}, {"limit": 0}, {"cursor": "x"}, {"a": 1}]
)
def test_bad_queries_are_refused(people, query):
    """422."""
    assert people.ada.get(PATH, params=query).status_code == 422
