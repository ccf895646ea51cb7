"""What a login may do beside Supabase's own roles, and what a user may not do with times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from videojobs import JobChanges, Settings, VideoJobManager
from videojobs.local import LocalStack

USER = UUID("00000000-0000-4000-8000-000000000001")
LONG_AGO = datetime(1971, 1, 1, tzinfo=UTC)


@pytest.fixture
def login(database: str) -> Iterator[str]:
    """The URL of a login that is a member of service_role, and bypasses nothing by itself."""
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("create role backend login password 'x' in role service_role")
        yield make_conninfo(
            "", **{**conninfo_to_dict(database), "user": "backend", "password": "x"}
        )
        owner.execute("drop role backend")


@pytest.fixture
def user(stack: LocalStack, database: str) -> Iterator[VideoJobManager]:
    """A signed-in user's manager."""
    settings = Settings(jwt_secret=stack.jwt_secret)
    with VideoJobManager.from_url(database, settings=settings) as service:
        yield service.as_user(stack.user_token(USER))


def test_a_member_of_service_role_does_a_services_work(login: str):
    """It sees every job, claims and completes, without being the owner or bypassing policies."""
    with VideoJobManager.from_url(login) as manager:
        job = manager.create_job(user_id=USER)
        (lease,) = manager.claim_jobs("worker-1")
        done = manager.complete_job(lease)

        assert [seen.id for seen in manager.list_jobs()] == [job.id]
        assert done.status == "completed"
        assert manager.check().is_service


def test_a_user_cannot_date_a_job_back(user: VideoJobManager):
    """An early run_at would go first in its priority: it becomes now, at creation and later."""
    before = datetime.now(UTC) - timedelta(minutes=2)

    created = user.create_job(run_at=LONG_AGO)
    user.bulk_update_jobs(JobChanges(run_at=LONG_AGO), job_ids=[created.id])

    assert created.run_at > before
    assert user.get_job(created.id).run_at > before


def test_a_user_may_wait(user: VideoJobManager):
    """A later run_at is theirs to choose."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    job = user.create_job(run_at=tomorrow)

    assert job.run_at == tomorrow


def test_a_service_may_date_a_job_back(database: str):
    """An import of older wishes keeps their order."""
    with VideoJobManager.from_url(database) as manager:
        job = manager.create_job(user_id=USER, run_at=LONG_AGO)

    assert job.run_at == LONG_AGO
