"""Changes come to browsers as server-sent events and over WebSockets, to each who may see them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from serving import served
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from videojobs import AsyncVideoJobManager, Settings, VideoJobManager, connecting
from videojobs.local import LocalStack
from videojobs.web import create_app
from web.conftest import ADA, BOB, EVE, TEAM

PATH = "/api/v1/user/jobs/live"


@pytest.fixture(scope="module")
def live_url(web_settings: Settings) -> Iterator[str]:
    """The API on a real server that speaks WebSocket too; a user may have three streams."""
    settings = replace(
        web_settings, transport="postgres", web=replace(web_settings.web, streams_per_user=3)
    )
    app = create_app(
        lambda: AsyncVideoJobManager(connecting.open_async_transport(settings), settings),
        settings=settings.web,
    )
    with served(app, ws="websockets-sansio") as url:
        yield url


@pytest.fixture
def team(database: str) -> None:
    """Ada and Bob are in a team; nothing else is stored."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("insert into public.teams (id, name) values (%s, 'Crew')", [TEAM])
        connection.execute(
            "insert into public.team_members (team_id, user_id) values (%s, %s), (%s, %s)",
            [TEAM, ADA, TEAM, BOB],
        )


@dataclass
class Event:
    """One server-sent event."""

    id: str
    type: str
    data: Any


class Stream:
    """The events of one response."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, seconds: float = 5) -> Event:
        """The next event with data."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            async for line in self._lines:
                if not line and "data" in fields:
                    return Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                if not line:
                    fields = {}
                name, _, value = line.partition(": ")
                fields[name] = value
        raise EOFError


@asynccontextmanager
async def follow(url: str, token: str, **options: Any) -> AsyncIterator[Stream]:
    """Follow as whoever holds the token."""
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        while True:
            async with client.stream("GET", PATH, headers=headers, **options) as response:
                if response.status_code == 429:  # the server has yet to see that the last one ended
                    await asyncio.sleep(0.1)
                    continue
                assert response.status_code == 200, await response.aread()
                yield Stream(response)
                return


@asynccontextmanager
async def socket(url: str, *protocols: str) -> AsyncIterator[ClientConnection]:
    """An open WebSocket that has said nothing yet."""
    address = url.replace("http", "ws", 1) + "/api/v1/user/jobs/ws"
    async with connect(address, subprotocols=list(protocols) or None) as connection:
        yield connection


async def heard(connection: ClientConnection) -> Any:
    """The next message."""
    async with asyncio.timeout(5):
        return json.loads(await connection.recv())


async def code_of(connection: ClientConnection) -> int:
    """With which code the server closes."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(5):
            while True:
                await connection.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


@pytest.mark.usefixtures("team")
async def test_a_stream_tells_the_callers_jobs_and_goes_on_after_a_break(
    live_url: str, stack: LocalStack, service: VideoJobManager
):
    """It begins with a reset; what changes while the client is away comes first when it is back."""
    token = stack.user_token(ADA)
    async with follow(live_url, token) as stream:
        begin = await stream.next()
        job = service.create_job(user_id=ADA)
        created = await stream.next()
    service.create_job(user_id=EVE)
    service.cancel_job(job.id)

    async with follow(live_url, token, headers={"Last-Event-ID": created.id}) as stream:
        cancelled = await stream.next()

    assert (begin.type, begin.data["reason"]) == ("reset", "begin")
    assert (created.type, created.data["job"]["status"]) == ("changed", "queued")
    assert created.data["job_id"] == str(job.id)
    assert cancelled.data["job"]["status"] == "cancelled"
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("team")
async def test_a_teams_jobs_come_when_they_are_asked_for(
    live_url: str, stack: LocalStack, service: VideoJobManager
):
    """By default one's own jobs come; with scope=visible or a team_id, the team's too."""
    token = stack.user_token(ADA)
    async with (
        follow(live_url, token) as own,
        follow(live_url, token, params={"scope": "visible"}) as visible,
        follow(live_url, token, params={"team_id": str(TEAM)}) as teams,
    ):
        for stream in (own, visible, teams):
            await stream.next()
        of_team = service.create_job(user_id=BOB, team_id=TEAM)
        of_ada = service.create_job(user_id=ADA)

        assert UUID((await own.next()).data["job_id"]) == of_ada.id
        assert UUID((await visible.next()).data["job_id"]) == of_team.id
        assert UUID((await visible.next()).data["job_id"]) == of_ada.id
        assert UUID((await teams.next()).data["job_id"]) == of_team.id


async def test_who_may_not_follow_is_told_before_the_stream_begins(
    live_url: str, stack: LocalStack
):
    """Without a token, with a bad field, or with too many streams, the answer is a problem."""
    token = stack.user_token(EVE)
    async with httpx.AsyncClient(base_url=live_url) as client:
        nobody = await client.get(PATH)
        wrong = await client.get(
            PATH, params={"status": "queued"}, headers={"Authorization": f"Bearer {token}"}
        )
        async with (
            follow(live_url, token),
            follow(live_url, token),
            follow(live_url, token),
        ):
            crowd = await client.get(PATH, headers={"Authorization": f"Bearer {token}"})

    assert [nobody.status_code, wrong.status_code, crowd.status_code] == [401, 422, 429]
    assert crowd.json()["type"] == "urn:videojobs:too-many-streams"
    async with follow(live_url, token) as stream:  # those that were closed do not count
        assert (await stream.next()).type == "reset"


@pytest.mark.usefixtures("team")
async def test_a_stream_ends_with_its_token(live_url: str, stack: LocalStack):
    """When the token expires, an event says so, and the stream is over."""
    token = stack.user_token(EVE, expires_in=timedelta(seconds=1))
    async with follow(live_url, token) as stream:
        while (last := await stream.next()).type == "reset":
            pass

        assert last.type == "expired"
        with pytest.raises(EOFError):
            await stream.next()


@pytest.mark.usefixtures("team")
async def test_a_websocket_tells_the_same(
    live_url: str, stack: LocalStack, service: VideoJobManager
):
    """With the token as a subprotocol, which is not repeated; after a break it goes on."""
    token = f"bearer.{stack.user_token(ADA)}"
    async with socket(live_url, "videojobs.v1", token) as connection:
        chosen = connection.subprotocol
        await connection.send('{"type": "follow"}')
        begin = await heard(connection)
        job = service.create_job(user_id=ADA)
        created = await heard(connection)
    service.cancel_job(job.id)

    async with socket(live_url, "videojobs.v1", token) as connection:
        await connection.send(json.dumps({"type": "follow", "since": created["id"]}))
        cancelled = await heard(connection)

    assert chosen == "videojobs.v1"
    assert (begin["type"], begin["reason"]) == ("reset", "begin")
    assert (created["type"], created["job"]["status"]) == ("changed", "queued")
    assert cancelled["job"]["status"] == "cancelled"


async def test_a_token_in_the_first_message_can_be_renewed(live_url: str, stack: LocalStack):
    """A fresh token keeps the socket open beyond the first one's end; another user's closes it."""
    async with socket(live_url) as connection:
        short = stack.user_token(EVE, expires_in=timedelta(seconds=2))
        await connection.send(json.dumps({"type": "follow", "token": short}))
        assert (await heard(connection))["type"] == "reset"
        await connection.send(json.dumps({"type": "token", "token": stack.user_token(EVE)}))
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await connection.recv()
        await connection.send(json.dumps({"type": "token", "token": stack.user_token(ADA)}))

        assert await code_of(connection) == 4401
    assert time.monotonic() - started > 2


async def test_who_is_no_admin_any_more_sees_no_more_of_others(live_url: str, stack: LocalStack):
    """A fresh token without the role ends the socket, whose sight was an admin's."""
    async with socket(live_url) as connection:
        admin = stack.user_token(EVE, app_metadata={"role": "admin"})
        wish = {"type": "follow", "token": admin, "filter": {"scope": "visible"}}
        await connection.send(json.dumps(wish))
        assert (await heard(connection))["type"] == "reset"
        await connection.send(json.dumps({"type": "token", "token": stack.user_token(EVE)}))

        assert await code_of(connection) == 4401


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (['{"type": "follow"}'], 4401),
        (['{"type": "follow", "token": "x.y.z"}'], 4401),
        (["hello"], 4400),
        (['{"type": "token", "token": "x"}'], 4400),
        (['{"type": "follow", "filter": {"status": "queued"}}'], 4400),
        (["x" * 40_000], 4400),
    ],
)
async def test_a_websocket_is_closed_with_a_code_that_says_why(
    live_url: str, messages: list[str], code: int
):
    """Without a good token: 4401; with a message that is none: 4400."""
    async with socket(live_url) as connection:
        for message in messages:
            await connection.send(message)

        assert await code_of(connection) == code


@pytest.mark.usefixtures("team")
async def test_an_expired_token_closes_the_websocket(live_url: str, stack: LocalStack):
    """A message says that it has expired, and the code is that of somebody who is not signed in."""
    async with socket(live_url) as connection:
        token = stack.user_token(EVE, expires_in=timedelta(seconds=1))
        await connection.send(json.dumps({"type": "follow", "token": token}))
        while (message := await heard(connection))["type"] == "reset":
            pass

        assert message == {"type": "expired"}
        assert await code_of(connection) == 4401


@pytest.mark.usefixtures("team")
async def test_thirty_streams_are_cut_off_and_none_misses_the_end_of_a_job(
    live_url: str, stack: LocalStack, service: VideoJobManager
):
    """Each of ten users has three; half of them break again and again, and go on where they were."""
    users = [UUID(int=0x9000 + number) for number in range(10)]
    known: list[dict[str, str]] = [{} for _ in range(30)]
    jobs: list[tuple[int, str]] = []
    ready = [asyncio.Event() for _ in known]

    async def watch(number: int) -> None:
        token = stack.user_token(users[number % 10])
        last: dict[str, str] = {}
        while True:
            async with follow(live_url, token, headers=last) as stream:
                for _ in range(3 if number % 2 else 10_000):
                    event = await stream.next(seconds=30)
                    last = {"Last-Event-ID": event.id}
                    ready[number].set()
                    if event.type == "changed":
                        known[number][event.data["job_id"]] = event.data["job"]["status"]

    def change() -> None:
        for number in range(30):
            job = service.create_job(user_id=users[number % 10])
            jobs.append((number % 10, str(job.id)))
            service.complete_job(service.start_processing(job.id))

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(watch(number)) for number in range(30)]
        await asyncio.gather(*(each.wait() for each in ready))
        await asyncio.to_thread(change)
        async with asyncio.timeout(20):
            while any(  # noqa: ASYNC110 # only the streams know
                known[number].get(job) != "completed"
                for number in range(30)
                for user, job in jobs
                if user == number % 10
            ):
                await asyncio.sleep(0.05)
        for task in watching:
            task.cancel()

    mine = [{job for user, job in jobs if user == number % 10} for number in range(30)]
    assert [set(each) for each in known] == mine
