"""What a call through a manager costs over the bare library calling the same function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import psycopg
from psycopg.rows import dict_row

from benchmarks.measuring import Comparison, compare
from videojobs import VideoJobManager
from videojobs.identity import new_id
from videojobs.local import LocalStack
from videojobs.requests import NewVideoJob

GOAL = 1.25


def lines(stack: LocalStack) -> Iterator[str]:
    """Both transports' figures."""
    for comparison in (*over_postgrest(stack), *over_psycopg(stack)):
        yield comparison.line()


def over_postgrest(stack: LocalStack) -> list[Comparison]:
    """Our Supabase transport against bare httpx, on one PostgREST."""
    key = stack.service_role_key
    headers = {"apikey": key, "Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    environment = {"SUPABASE_URL": stack.api_url or "", "SUPABASE_SECRET_KEY": key}
    with (
        VideoJobManager.from_env(environment) as manager,
        httpx.Client(base_url=f"{stack.api_url}/rest/v1/rpc", headers=headers) as http,
    ):
        owner = uuid4()
        job_id = manager.create_job(user_id=owner).id

        def bare_call(function: str, arguments: dict[str, object]) -> object:
            response = http.post(f"/{function}", content=json.dumps(arguments))
            response.raise_for_status()
            return response.json()

        return [
            compare(
                "Supabase get_job",
                lambda: manager.get_job(job_id),
                lambda: bare_call("get_video_job", {"job_id": str(job_id)}),
                goal=GOAL,
            ),
            compare(
                "Supabase create_job",
                lambda: manager.create_job(user_id=owner),
                lambda: bare_call("create_video_jobs", {"jobs": [_wish(owner)]}),
                goal=GOAL,
            ),
        ]


def over_psycopg(stack: LocalStack) -> list[Comparison]:
    """Our Postgres transport against a bare psycopg connection."""
    with (
        VideoJobManager.from_url(stack.database_url) as manager,
        psycopg.connect(stack.database_url, autocommit=True, row_factory=dict_row) as connection,
    ):
        owner = uuid4()
        job_id = manager.create_job(user_id=owner).id
        get = "select * from public.get_video_job(job_id => %s)"
        create = "select * from public.create_video_jobs(jobs => %s)"
        return [
            compare(
                "Postgres get_job",
                lambda: manager.get_job(job_id),
                lambda: connection.execute(get, [job_id]).fetchall(),
                goal=GOAL,
                rounds=60,
            ),
            compare(
                "Postgres create_job",
                lambda: manager.create_job(user_id=owner),
                lambda: connection.execute(create, [json.dumps([_wish(owner)])]).fetchall(),
                goal=GOAL,
            ),
        ]


def _wish(owner: UUID) -> dict[str, object]:
    return {"id": str(new_id()), **NewVideoJob(user_id=owner).to_json()}
