"""Whoever follows jobs is told of each change that is his to see, and of no other."""

from __future__ import annotations

from typing import Any

import psycopg

from live.conftest import ADA, BOB, Follow, is_silent, told, told_until
from videojobs import (
    AsyncVideoJobManager,
    Beat,
)

Sql = psycopg.AsyncConnection[Any]


async def test_the_life_of_a_job_is_told(follow: Follow, manager: AsyncVideoJobManager):
    """Creation, claim, progress, completion and deletion are told, each with the job as it then is."""
    async with follow() as following:
        job = await manager.create_job(user_id=ADA)
        created = await told(following)
        (lease,) = await manager.claim_jobs("w")
        claimed = await told(following)
        await manager.heartbeat([Beat(job_id=job.id, run_token=lease.run_token, progress=40)])
        moved = await told(following)
        await manager.complete_job(lease, ["a.mp4"])
        completed = await told(following)
        await manager.delete_job(job.id)
        deleted = await told(following)

    seen = [created, claimed, moved, completed, deleted]
    assert [change.type for change in seen] == ["changed"] * 4 + ["deleted"]
    assert {change.job_id for change in seen} == {job.id}
    assert created.job is not None and created.job.status == "queued"
    assert claimed.job is not None and claimed.job.status == "processing"
    assert moved.job is not None and moved.job.progress == 40
    assert completed.job is not None and completed.job.output_files[0].path == "a.mp4"
    assert deleted.job is None


async def test_two_users_never_see_each_others_jobs(follow: Follow, manager: AsyncVideoJobManager):
    """Each of two users is told of his own job only; a service is told of both."""
    async with follow(ADA) as adas, follow(BOB) as bobs, follow() as services:
        of_ada = await manager.create_job(user_id=ADA)
        of_bob = await manager.create_job(user_id=BOB)

        assert (await told(bobs)).job_id == of_bob.id
        assert (await told(adas)).job_id == of_ada.id
        assert {(await told(services)).job_id for _ in "ab"} == {of_ada.id, of_bob.id}
        await manager.cancel_job(of_ada.id)
        await manager.delete_job(of_ada.id)
        last = (await told_until(adas, lambda change: change.type == "deleted"))[-1]
        assert last.job_id == of_ada.id
        assert await is_silent(bobs)
