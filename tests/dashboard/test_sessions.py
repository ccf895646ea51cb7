"""Sessions, and how changes are gathered; without a browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from auth_server import auth_server
from videojobs import AsyncVideoJobManager, Settings
from videojobs.access import TokenVerifier
from videojobs.changes import JobChange
from videojobs.dashboard import feed, sessions
from videojobs.dashboard.feed import Batch, Feed, Soon
from videojobs.dashboard.sessions import LONGEST_SECONDS, Grant, Session, Sessions
from videojobs.dashboard.signing_in import PasswordSignIn
from videojobs.dashboard.viewing import Viewer
from videojobs.errors import AuthenticationError, SupabaseConnectionError
from videojobs.live import LiveJobs
from videojobs.local import LocalStack

_SECRET = "a secret of at least thirty-two bytes"
_ISSUER = "http://127.0.0.1/auth/v1"
_USER = UUID("aaaaaaaa-0000-4000-8000-000000000001")


async def grant(*, seconds: float = 3600, is_admin: bool = False) -> Grant:
    """What a sign-in gives."""
    now = int(time.time())
    claims = {
        "iss": _ISSUER,
        "sub": str(_USER),
        "aud": "authenticated",
        "role": "authenticated",
        "iat": now,
        "exp": now + int(seconds),
        "jti": str(uuid4()),
        "app_metadata": {"role": "admin"} if is_admin else {},
    }
    token = jwt.encode(claims, _SECRET, algorithm="HS256")
    return Grant(await TokenVerifier(issuer=_ISSUER, secret=_SECRET).verify(token), "refresh")


class Renewals:
    """Gives new grants, and counts."""

    def __init__(self, **of: Any) -> None:
        self.count, self._of = 0, of

    async def __call__(self, old: Grant) -> Grant:
        self.count += 1
        await asyncio.sleep(0)
        return await grant(**self._of)


async def test_many_at_once_renew_a_token_once():
    """Refresh tokens are good for one use."""
    renew = Renewals()
    session = Session(await grant(seconds=30), renew)

    tokens = await asyncio.gather(*(session.token() for _ in range(5)))

    assert (renew.count, len(set(tokens))) == (1, 1)


async def test_rights_are_those_of_the_latest_token():
    """Who is no administrator any more after a renewal has lost the workers."""
    session = Session(await grant(seconds=30, is_admin=True), Renewals())
    manager = AsyncVideoJobManager.from_url("postgresql://127.0.0.1:1/none", settings=Settings())
    viewer = Viewer(session, manager, "/video-jobs")

    assert viewer.is_admin
    assert await viewer.service() is None
    await manager.close()


async def test_who_is_signed_out_has_no_service():
    """An open page cannot go on to look at the workers."""
    session = Session(await grant(is_admin=True), Renewals())
    manager = AsyncVideoJobManager.from_url("postgresql://127.0.0.1:1/none", settings=Settings())
    session.end()

    with pytest.raises(AuthenticationError, match="Sign in again"):
        await Viewer(session, manager, "/video-jobs").service()
    await manager.close()


async def test_a_session_ends_for_all_its_pages_once():
    """Each page that is open is told; one that was closed is not."""
    known, told = Sessions(), list[str]()
    word = known.begin(session := Session(await grant(), Renewals()))
    session.when_ended(lambda: told.append("open"))
    session.when_ended(lambda: told.append("closed"))()

    known.end(word)
    known.end(word)

    assert (told, known.find(word)) == (["open"], None)


async def test_a_week_is_the_longest():
    """However busy it is, an old session asks to sign in."""
    known = Sessions()
    word = known.begin(session := Session(await grant(), Renewals()))

    session.begun_at -= LONGEST_SECONDS + 1

    assert known.find(word) is None
    with pytest.raises(AuthenticationError):
        await session.token()


async def test_guessing_passwords_is_slow():
    """After ten wrong ones from an address, it waits; others do not."""
    settings = Settings(supabase_url="http://127.0.0.1:1", publishable_key="sb_publishable_x")
    way = PasswordSignIn(settings, TokenVerifier(issuer=_ISSUER, secret=_SECRET))
    way._failures["10.0.0.1"] = [time.monotonic()] * 10

    with pytest.raises(AuthenticationError, match="Too many tries"):
        await way.sign_in("a@example.com", "x", peer="10.0.0.1")
    with pytest.raises(SupabaseConnectionError, match="could not be reached"):
        await way.sign_in("a@example.com", "x", peer="10.0.0.2")


async def test_guessing_many_passwords_at_once_is_slow_too(stack: LocalStack):
    """Tries count before they are answered; those that nobody answered do not."""
    with auth_server(stack) as auth:
        settings = Settings(supabase_url=auth.url, publishable_key=stack.anon_key)
        way = PasswordSignIn(settings, TokenVerifier(issuer=_ISSUER, secret=_SECRET))
        auth.is_broken = True
        with pytest.raises(SupabaseConnectionError):
            await way.sign_in("a@example.com", "x", peer="10.0.0.1")
        auth.is_broken, auth.grants = False, []

        tries = (way.sign_in("a@example.com", "x", peer="10.0.0.1") for _ in range(30))
        results = await asyncio.gather(*tries, return_exceptions=True)

    assert len(auth.grants) == 10
    assert all(isinstance(result, AuthenticationError) for result in results)


async def test_a_page_follows_with_the_rights_of_the_latest_token(
    stack: LocalStack, database: str, monkeypatch: pytest.MonkeyPatch
):
    """Who was an administrator is told of nobody else's jobs as soon as the old token has ended."""
    monkeypatch.setattr(sessions, "RENEW_SECONDS", 0.5)
    monkeypatch.setattr(feed, "_SHORTEST_SECONDS", 0.1)
    session = Session(await grant(seconds=2, is_admin=True), Renewals())
    seen: list[Batch] = []

    async def tell(batch: Batch) -> None:
        seen.append(batch)

    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():  # noqa: ASYNC110 # only the batches know
                await asyncio.sleep(0.02)

    settings = Settings(jwt_secret=_SECRET)
    async with (
        AsyncVideoJobManager.from_url(database, settings=settings) as manager,
        LiveJobs(manager) as live,
    ):
        viewer = Viewer(session, manager, "/video-jobs")
        following = asyncio.create_task(
            Feed(live, viewer.jobs, tell, seconds_left=lambda: session.seconds_left).run()
        )
        await until(lambda: any(batch.missed for batch in seen))
        before = await manager.create_job(user_id=uuid4())
        await until(lambda: any(before.id in batch.changed for batch in seen))
        await until(lambda: sum(batch.missed for batch in seen) == 2)
        others, own = (
            await manager.create_job(user_id=uuid4()),
            await manager.create_job(user_id=_USER),
        )
        await until(lambda: any(own.id in batch.changed for batch in seen))
        following.cancel()

    assert not any(others.id in batch.changed for batch in seen)


def test_a_batch_has_each_job_as_it_was_last():
    """What was deleted is not changed any more."""
    batch, job_id = Batch(), uuid4()
    job: Any = object()

    batch.add(JobChange("1", "changed", job_id, job))
    batch.add(JobChange("2", "deleted", job_id))
    batch.add(JobChange("3", "reset", reason="too_many"))

    assert (batch.changed, batch.deleted, batch.missed) == ({}, {job_id}, True)


async def test_what_is_asked_for_often_runs_at_once_and_then_seldom():
    """The first runs now, all others together later."""
    runs: list[float] = []

    async def run() -> None:
        runs.append(time.monotonic())

    soon = Soon(run, every_seconds=0.05)
    for _ in range(20):
        soon.ask()
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    soon.stop()

    assert 2 <= len(runs) <= 3
    assert runs[1] - runs[0] >= 0.045
