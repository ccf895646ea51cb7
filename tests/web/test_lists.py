"""Lists through the API: filters, pages and their links, and figures."""

from __future__ import annotations

from urllib.parse import parse_qs, urljoin
from uuid import UUID, uuid4

import pytest

from videojobs import VideoJobManager

ADA = UUID("00000000-0000-4000-8000-000000000ada")
BOB = UUID("00000000-0000-4000-8000-000000000b0b")
TEAM = UUID("00000000-0000-4000-8000-0000000007ea")


def ids(reply) -> list[str]:
    """Of the listed jobs."""
    assert reply.status_code == 200, reply.text
    return [job["id"] for job in reply.json()["items"]]


def links(reply) -> dict[str, str]:
    """The addresses in the Link header, by their relation."""
    parts = [each.split("; rel=") for each in reply.headers.get("Link", "").split(", ") if each]
    return {name.strip('"'): urljoin(str(reply.url), place.strip("<>")) for place, name in parts}


@pytest.fixture
def many(people, service: VideoJobManager) -> list[str]:
    """Seven jobs of Ada's, newest first, the third of which has failed; one of them is the team's."""
    jobs = [service.create_job(user_id=ADA, original_filename=f"{n}%.mp4") for n in range(6)]
    jobs.append(service.create_job(user_id=ADA, team_id=TEAM, platform_target="tiktok"))
    service.create_job(user_id=BOB)
    service.start_processing(jobs[4].id)
    service.fail_job(jobs[4].id, "broken", error_code="corrupt_source", retryable=False)
    return [str(job.id) for job in reversed(jobs)]


def test_pages_lead_to_each_other(people, many):
    """By cursor to the end, with the filters kept, and every job once."""
    ada, found = people.ada, []
    next_page = "/api/v1/user/jobs?limit=3&quality_preset=standard"

    for _ in range(3):
        reply = ada.get(next_page)
        found += ids(reply)
        next_page = links(reply).get("next")

    assert found == many
    assert next_page is None
    assert "first" in links(reply)


def test_offsets_have_links_back(people, many):
    """The page before, and the first."""
    reply = people.ada.get("/api/v1/user/jobs", params={"limit": 2, "offset": 4})

    assert ids(reply) == many[4:6]
    assert parse_qs(links(reply)["prev"].partition("?")[2])["offset"] == ["2"]
    assert {"first", "prev", "next"} == set(links(reply))


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"status": "failed"}, [2]),
        ({"status": ["failed", "completed"]}, [2]),
        ({"search": "%.mp4"}, [1, 2, 3, 4, 5, 6]),
        ({"error_code": "corrupt_source"}, [2]),
        ({"platform_target": "tiktok"}, [0]),
        ({"resource_type": "film"}, []),
        ({"created_from": "2999-01-01T00:00:00Z"}, []),
        ({"user_id": str(BOB)}, []),
        ({"team_id": str(TEAM)}, [0]),
    ],
)
def test_filters_are_those_of_the_sdk(people, many, query, places):
    """Each narrows the list; another user's jobs stay theirs."""
    assert ids(people.ada.get("/api/v1/user/jobs", params=query)) == [many[n] for n in places]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"offset": -1}, "offset"),
        ({"status": "waiting"}, "status.0"),
        ({"colour": "red"}, "colour"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"created_from": "yesterday"}, "created_from"),
        ({"created_from": "2026-01-01T00:00:00"}, "created_from"),
        ({"search": "\x00"}, "search"),
    ],
)
def test_a_bad_query_is_refused_by_name(people, query, field):
    """422, and which parameter."""
    reply = people.ada.get("/api/v1/user/jobs", params=query)

    assert reply.status_code == 422
    assert field in [problem["field"] for problem in reply.json()["errors"]]


def test_a_cursor_of_another_filter_is_refused(people, many):
    """It would skip jobs."""
    cursor = people.ada.get("/api/v1/user/jobs?limit=2").json()["next_cursor"]

    reply = people.ada.get("/api/v1/user/jobs", params={"cursor": cursor, "status": "failed"})

    assert reply.status_code == 422


def test_members_see_their_teams_jobs(people, many):
    """Strangers get an empty page, as for a team that does not exist."""
    path = f"/api/v1/team/{TEAM}/jobs"

    assert ids(people.ada.get(path)) == ids(people.bob.get(path)) == many[:1]
    assert ids(people.eve.get(path)) == ids(people.eve.get(f"/api/v1/team/{uuid4()}/jobs")) == []


def test_figures_count_the_callers_jobs(people, many):
    """By status, and by what is asked for."""
    stats = people.ada.get("/api/v1/user/jobs/stats", params={"group_by": "pipeline"}).json()

    assert stats["by_status"] == {
        "queued": 6,
        "processing": 0,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
    }
    assert [group["key"] for group in stats["groups"]] == ["clips"]
    assert people.eve.get("/api/v1/user/jobs/stats").json()["total"] == 0
