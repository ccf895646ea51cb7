"""One owner's jobs, everybody who may want something of them, and a PostgREST to ask as each."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from psycopg.types.json import Jsonb

from videojobs.local import LocalStack

Json = dict[str, Any]

ROLES = (
    "anon",
    "owner",
    "other",
    "member",
    "team_admin",
    "app_admin",
    "pretender",
    "service",
)
OWNER, OTHER, MEMBER, TEAM_ADMIN, APP_ADMIN, PRETENDER = (
    UUID(f"00000000-0000-4000-8000-00000000000{digit}") for digit in "123456"
)
TEAM = UUID("00000000-0000-4000-8000-0000000000ff")
PEOPLE = {
    "owner": OWNER,
    "other": OTHER,
    "member": MEMBER,
    "team_admin": TEAM_ADMIN,
    "app_admin": APP_ADMIN,
    "pretender": PRETENDER,
}
_METADATA = {
    "app_admin": {"app_metadata": {"role": "admin"}},
    # What a user can write about themselves.
    "pretender": {"user_metadata": {"role": "admin", "app_metadata": {"role": "admin"}}},
}

_NEW_TEAM = """
insert into public.teams (id, name) values (%(team)s, 'Harbour Studio');
insert into public.team_members (team_id, user_id, role) values
  (%(team)s, %(owner)s, 'member'), (%(team)s, %(member)s, 'member'), (%(team)s, %(team_admin)s, 'admin');
-- Somebody else's team, which "other" and the pretender administer: that must not help them.
with theirs as (insert into public.teams (name) values ('Another team') returning id)
insert into public.team_members (team_id, user_id, role)
select theirs.id, person.id, 'admin'
from theirs, (values (%(other)s), (%(pretender)s), (%(team_admin)s)) person (id);
"""

_NEW_JOB = """
insert into public.video_jobs (
  user_id, team_id, queue, resource_id, original_filename, status, attempt, run_token, worker_id,
  started_at, completed_at, error_code
)
values (
  %(owner)s, %(team)s, %(mark)s, %(mark)s, 'secret.mp4', %(status)s::public.video_job_status, %(attempt)s, %(attempt)s,
  %(worker)s, case when %(attempt)s > 0 then now() end, case %(status)s when 'failed' then now() end,
  case %(status)s when 'failed' then 'boom' end
)
returning to_jsonb(video_jobs) as job
"""
_NEW_LEASE = """
insert into videojobs.leases (job_id, run_token, worker_id, claim_key, claimed_at, expires_at)
values (%s, 1, 'worker-1', gen_random_uuid(), now() - interval '1 hour', now() + %s * interval '1 second')
"""


class World:
    """The people, and the jobs that they ask about."""

    def __init__(self, stack: LocalStack, database: str) -> None:
        self._stack = stack
        self._sql = psycopg.connect(database, autocommit=True)
        with psycopg.ClientCursor(self._sql) as cursor:
            cursor.execute(_NEW_TEAM, {"team": TEAM, **PEOPLE})
        self._marks = count(1)
        self.tokens = {
            role: stack.user_token(person, **_METADATA.get(role, {}))
            for role, person in PEOPLE.items()
        }
        self.tokens |= {"anon": stack.anon_key, "service": stack.service_role_key}
        self._http = httpx.Client(base_url=f"{stack.api_url}/rest/v1/", timeout=30)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()
        self._sql.close()

    def new_job(self, whose: str, status: str = "queued", *, overdue: bool = False) -> Json:
        """Store a job of the owner's, ``"personal"`` or the ``"team"``'s, and return its row."""
        is_running = status == "processing"
        facts = {
            "owner": OWNER,
            "team": TEAM if whose == "team" else None,
            "mark": f"q{next(self._marks)}",
            "status": status,
            "attempt": 1 if is_running or status == "failed" else 0,
            "worker": "worker-1" if is_running else None,
        }
        (job,) = self._sql.execute(_NEW_JOB, facts).fetchone()
        if is_running:
            self._sql.execute(_NEW_LEASE, (job["id"], -5 if overdue else 300))
        return job

    def new_archived_job(self, whose: str) -> Json:
        """Store a failed job of the owner's, move it to the archive, and return its row."""
        job = self.new_job(whose, "failed")
        self._sql.execute("select public.archive_video_jobs(array['failed'])")
        return job

    def new_uncounted_job(self, whose: str) -> Json:
        """Store a job that the figures do not know of, and return its row."""
        job = self.new_job(whose)
        self._sql.execute("delete from videojobs.tally_changes where queue = %s", (job["queue"],))
        return job

    def stored(self, job: Json) -> Json | None:
        """Return the job's row as it is now, in the table or in the archive."""
        found = self._sql.execute(
            "select to_jsonb(j) from public.get_video_job(%s) j", (job["id"],)
        ).fetchone()
        return found and found[0]

    def headers(self, token: str) -> dict[str, str]:
        """Return what supabase-js sends with a user's token."""
        key = self._stack.service_role_key if token == self.tokens["service"] else None
        return {
            "apikey": key or self._stack.anon_key,
            "Authorization": f"Bearer {token}",
            "Prefer": "return=representation",
        }

    def ask(self, role: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request as that person."""
        return self.ask_with(self.tokens[role], method, path, body)

    def ask_with(
        self, token: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """Send a request with that token."""
        return self._http.request(
            method, path, json=body, headers={**self.headers(token), **headers}
        )

    def as_role(self, role: str, query: str, *values: Any) -> list[Any]:
        """Run a statement as PostgREST would for that person, and undo it; raise what Postgres raises."""
        database_role = {"anon": "anon", "service": "service_role"}.get(role, "authenticated")
        claims: Json = {"role": database_role, **_METADATA.get(role, {})}
        if role in PEOPLE:
            claims["sub"] = str(PEOPLE[role])
        with self._sql.transaction(force_rollback=True):
            self._sql.execute(f"set local role {database_role}")
            self._sql.execute(
                "select set_config('request.jwt.claims', %s::text, true)", (Jsonb(claims),)
            )
            return self._sql.execute(query, values).fetchall()


def new_wish(job: Json, **more: Any) -> Json:
    """Return another job's content as `create_video_jobs` takes it, in the style of the given one."""
    return {
        "id": str(uuid4()),
        "queue": "default",
        "pipeline": "clips",
        "priority": 5,
        "max_attempts": 3,
        "quality_preset": "standard",
        "enhancement_level": "none",
        "settings": {},
        "resource_type": "upload",
        "team_id": job["team_id"],
        **more,
    }
