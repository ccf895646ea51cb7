"""What operators, scrapers and orchestrators see, and nobody else."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from videojobs import AsyncVideoJobManager, Settings, VideoJobManager
from videojobs.settings import WebSettings
from videojobs.web import create_app

ADA = UUID("00000000-0000-4000-8000-000000000ada")
PATH = "/api/v1/admin/jobs/maintenance"
ORDERS = [
    {"action": "recover"},
    {"action": "maintain"},
    {"action": "archive", "older_than_days": 30},
    {"action": "doctor"},
    {"action": "bulk_update", "changes": {"priority": 1}, "filters": {}},
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order["action"])
def test_only_admins_do_operators_work(people, order):
    """A user may not, whatever they ask; an admin may."""
    refused = people.ada.post(PATH, json=order)
    done = people.admin.post(PATH, json=order)

    assert (refused.status_code, done.status_code) == (403, 200), done.text
    assert done.json()["action"] == order["action"]


def test_load_balancers_may_ask_without_wanting_words(people):
    """HEAD of the health routes."""
    replies = [people.client().head(path) for path in ("/healthz", "/healthz/live")]

    assert [(reply.status_code, reply.content) for reply in replies] == [(200, b"")] * 2


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"/api/v1/jobs/{ADA}", "DELETE, GET, PATCH"),
        (f"/api/v1/jobs/{ADA}/outputs/a", "GET, HEAD"),
        (f"/api/v1/jobs/{ADA}/cancel", "POST"),
    ],
)
def test_a_method_that_is_not_there_names_those_that_are(people, path: str, allowed: str):
    """All of the path, in `Allow`."""
    reply = people.ada.put(path)

    assert (reply.status_code, reply.headers["Allow"]) == (405, allowed)


def test_a_silent_workers_job_is_recovered(people, service: VideoJobManager, owner):
    """And the answer names it."""
    job = service.create_job(user_id=ADA)
    service.start_processing(job.id)
    owner(
        "update videojobs.leases set claimed_at = claimed_at - interval '1 day', expires_at = claimed_at"
    )

    reply = people.admin.post(PATH, json={"action": "recover"})

    assert [each["job_id"] for each in reply.json()["recovered"]] == [str(job.id)]


def test_old_jobs_are_archived(people, service: VideoJobManager):
    """By status; they are still found."""
    job = service.create_job(user_id=ADA)
    service.cancel_job(job.id)

    kept = people.admin.post(
        PATH, json={"action": "archive", "older_than_days": 0, "statuses": ["failed"]}
    )
    gone = people.admin.post(PATH, json={"action": "archive", "older_than_days": 0})

    assert (kept.json()["archived"], gone.json()["archived"]) == (0, 1)
    assert people.ada.get(f"/api/v1/jobs/{job.id}").status_code == 200


def test_an_admin_changes_many_jobs(people, service: VideoJobManager):
    """A dry run first; the history names the admin."""
    job = service.create_job(user_id=ADA)
    order = {"action": "bulk_update", "changes": {"status": "cancelled"}, "job_ids": [str(job.id)]}

    dry = people.admin.post(PATH, json={**order, "dry_run": True}).json()["outcomes"]
    still = service.get_job(job.id).status
    done = people.admin.post(PATH, json=order).json()["outcomes"]

    assert (dry[0]["outcome"], still, done[0]["outcome"]) == ("updated", "queued", "updated")
    assert service.get_job_events(job.id)[-1].actor_id == UUID(
        "00000000-0000-4000-8000-00000000ad00"
    )


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"action": "drop"},
        {"action": "archive"},
        {"action": "archive", "older_than_days": -1},
        {"action": "archive", "older_than_days": 1, "statuses": ["queued"]},
        {"action": "recover", "limit": 501},
        {"action": "bulk_update", "changes": {}, "filters": {}},
        {"action": "bulk_update", "changes": {"priority": 1}},
        {"action": "bulk_update", "changes": {"priority": 1}, "filters": {}, "job_ids": []},
        {"action": "bulk_update", "changes": {"user_id": "x"}, "filters": {}},
        {"action": "doctor", "shell": "rm"},
    ],
)
def test_a_bad_order_is_refused(people, order):
    """422, for an admin too."""
    assert people.admin.post(PATH, json=order).status_code == 422


def test_everybody_may_ask_whether_it_lives(people):
    """And hears no more than that."""
    for path in ("/healthz", "/healthz/live"):
        reply = people.client().get(path)

        assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_without_a_database_it_lives_and_is_not_ready(serve):
    """The answer tells no host, port or password."""
    settings = Settings(database_url="postgresql://ada:pass@127.0.0.1:1/x", jwt_secret="s" * 32, jwt_issuer="i", connect_timeout_seconds=0.3)  # fmt: skip
    url = serve(
        app=create_app(
            lambda: AsyncVideoJobManager.from_url(settings.database_url, settings=settings)
        )
    )

    live, ready = httpx.get(f"{url}/healthz/live"), httpx.get(f"{url}/healthz", timeout=20)

    assert (live.status_code, ready.status_code) == (200, 503)
    assert "127.0.0.1" not in ready.text


def test_without_a_database_a_caller_is_told_before_a_service_would_be(serve, stack):
    """503, with when to come back; a service's own calls go on for ten minutes here."""
    settings = Settings(database_url="postgresql://ada:pass@127.0.0.1:1/x", jwt_secret=stack.jwt_secret, jwt_issuer=stack.issuer, connect_timeout_seconds=0.3, deadline_seconds=600)  # fmt: skip
    url = serve(
        app=create_app(
            lambda: AsyncVideoJobManager.from_url(settings.database_url, settings=settings),
            settings=WebSettings(deadline_seconds=0.2),
        )
    )
    token = {"Authorization": f"Bearer {stack.user_token(ADA)}"}

    reply = httpx.get(f"{url}/api/v1/user/jobs", headers=token, timeout=20)

    assert (reply.status_code, reply.json()["title"]) == (503, "The database is not there")
    assert int(reply.headers["Retry-After"]) >= 1
    assert "127.0.0.1" not in reply.text


def figures(reply) -> dict[tuple[str, ...], float]:
    """Each sample, by its name and the values of its labels."""
    families = text_string_to_metric_families(reply.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_figures_tell_of_jobs_queues_workers_and_requests(serve, people, service, stack, owner):
    """As Prometheus reads them."""
    service.create_job(user_id=ADA)
    owner("update public.video_jobs set run_at = now() - interval '1 hour'")
    running = service.create_job(user_id=ADA, priority=9)
    service.start_processing(running.id)
    url = serve(metrics_token="scraper's")
    mine = {"Authorization": f"Bearer {stack.user_token(ADA)}"}
    httpx.get(f"{url}/api/v1/user/jobs", headers=mine)

    reply = httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer scraper's"})

    found = figures(reply)
    assert reply.status_code == 200
    assert found["videojobs_jobs", "queued"] == found["videojobs_jobs", "processing"] == 1
    assert 3600 <= found["videojobs_queue_age_seconds", "clips", "default"] < 3700
    assert found["videojobs_leases",] == 1
    assert found["videojobs_http_requests_total", "GET", "/api/v1/user/jobs", "200"] == 1
    assert found["videojobs_http_request_seconds_count", "GET", "/api/v1/user/jobs"] == 1


def test_figures_are_not_for_tenants(serve, people, stack):
    """Nor for a wrong token; without one, admins may read them."""
    with_token = serve(metrics_token="scraper's")

    nobody = httpx.get(f"{with_token}/metrics")
    wrong = httpx.get(f"{with_token}/metrics", headers={"Authorization": "Bearer scraper"})
    tenant = people.ada.get("/metrics")
    admin = people.admin.get("/metrics")

    assert [each.status_code for each in (nobody, wrong, tenant, admin)] == [401, 401, 403, 200]


def test_too_many_requests_are_told_when_to_come_again(serve, stack):
    """Each user by themselves, and those without a token by their address."""
    url = serve(requests_per_minute=3)
    first, second = (
        {"Authorization": f"Bearer {stack.user_token(user)}"} for user in (ADA, UUID(int=7))
    )

    statuses = [httpx.get(f"{url}/api/v1/user/jobs", headers=first) for _ in range(4)]
    others = httpx.get(f"{url}/api/v1/user/jobs", headers=second)
    forgers = [httpx.get(f"{url}/api/v1/user/jobs").status_code for _ in range(4)]

    assert [each.status_code for each in statuses] == [200, 200, 200, 429]
    assert 1 <= int(statuses[3].headers["Retry-After"]) <= 20
    assert others.status_code == 200
    assert forgers == [401, 401, 401, 429]


def test_pages_of_named_origins_may_call(serve, stack):
    """Without cookies; others may not, and by default nobody."""
    url = serve(cors_origins=("https://app.example.com",))
    ask = {
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization",
    }

    ours = httpx.options(
        f"{url}/api/v1/jobs/x", headers={**ask, "Origin": "https://app.example.com"}
    )
    evil = httpx.options(f"{url}/api/v1/jobs/x", headers={**ask, "Origin": "https://evil.example"})
    none = httpx.get(f"{serve()}/healthz", headers={"Origin": "https://evil.example"})

    assert ours.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "Access-Control-Allow-Credentials" not in ours.headers
    assert "Access-Control-Allow-Origin" not in evil.headers
    assert "Access-Control-Allow-Origin" not in none.headers


def test_a_host_header_leads_nowhere(serve, people, stack):
    """No answer is made of it; where hosts are named, others are refused."""
    token = {"Authorization": f"Bearer {stack.user_token(ADA)}", "Host": "evil.example"}
    named = serve(allowed_hosts=("127.0.0.1",))

    listed = people.ada.get("/api/v1/user/jobs/", headers={"Host": "evil.example"})
    created = people.ada.post(
        "/api/v1/process", json={"source_url": f"{ADA}/a.mp4"}, headers={"Host": "evil.example"}
    )

    assert httpx.get(f"{named}/healthz", headers=token).status_code == 400
    assert httpx.get(f"{named}/healthz").status_code == 200
    assert listed.status_code == 404
    assert "evil" not in str(listed.headers) + listed.text + str(created.headers) + created.text


def test_a_router_lives_in_an_application_of_yours(serve, web_settings, stack, database):
    """Below a prefix, with its errors told its way, and your own routes as they are."""
    from fastapi import FastAPI

    from videojobs.web import router

    app = FastAPI()
    app.get("/mine")(lambda: {"mine": True})
    app.include_router(
        router(lambda: AsyncVideoJobManager.from_url(database, settings=web_settings)),
        prefix="/video",
    )
    url = serve(app=app)

    refused = httpx.get(f"{url}/video/api/v1/user/jobs")
    listed = httpx.get(
        f"{url}/video/api/v1/user/jobs",
        headers={"Authorization": f"Bearer {stack.user_token(ADA)}"},
    )

    assert httpx.get(f"{url}/mine").json() == {"mine": True}
    assert (refused.status_code, refused.headers["Content-Type"]) == (
        401,
        "application/problem+json",
    )
    assert listed.json()["items"] == []
