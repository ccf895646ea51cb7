"""Odd input and early ends: typed errors, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from people import ADA

from videojobs import (
    AsyncVideoJobManager,
    AuthenticationError,
    SupabaseValidationError,
    VideoJobManager,
)
from videojobs.local import LocalStack

LISTENERS = "select count(*) from pg_stat_activity where query like 'listen %'"


def listeners(url: str) -> int:
    """How many connections listen."""
    with psycopg.connect(url) as connection:
        row = connection.execute(LISTENERS).fetchone()
    return row[0]


async def test_waiting_leaves_no_listener_behind(database: str):
    """When the call returns, its connection is closed, and not left to the garbage collector."""
    async with AsyncVideoJobManager.from_url(database) as manager:
        job = await manager.create_job(user_id=ADA)
        await manager.cancel_job(job.id)
        before = listeners(database)

        await manager.wait_for_job(job.id)

        assert listeners(database) == before


@pytest.mark.parametrize("token", ["", "é", "two words", "line\n"])
def test_what_is_no_token_is_refused_as_one(stack: LocalStack, token: str):
    """It is the user's sign-in that is wrong, not the network or the service's key."""
    environment = {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_SECRET_KEY": stack.service_role_key,
    }

    with VideoJobManager.from_env(environment) as manager, pytest.raises(AuthenticationError):
        manager.as_user(token).list_jobs()


@pytest.mark.parametrize(
    "ask",
    [
        lambda manager: manager.get_job_events(ADA, after_id=-1),
        lambda manager: manager.get_job_events(ADA, after_id=10**30),
        lambda manager: manager.claim_jobs("w\ud800"),
    ],
)
def test_odd_arguments_are_refused_before_anything_is_sent(
    database: str, ask: Callable[[VideoJobManager], Any]
):
    """A validation error, whatever the value, and no library's own."""
    with (
        VideoJobManager.from_url(database) as manager,
        pytest.raises(SupabaseValidationError) as caught,
    ):
        ask(manager)

    assert caught.value.attempts == 1


def test_a_status_report_survives_a_nul(database: str):
    """An error code or message from anywhere is stored, with the character replaced."""
    with VideoJobManager.from_url(database) as manager:
        job = manager.create_job(user_id=ADA)
        manager.start_processing(job.id)

        failed = manager.update_job_status(
            job.id, "failed", error_code="a\x00b", error_message="c\x00d"
        )

    assert (failed.error_code, failed.error_message) == ("a\ufffdb", "c\ufffdd")
