"""Over Supabase, the database calls servers, workers and senders of webhooks through Realtime."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import httpx
import pytest
from supabase import AsyncClient, Client
from supabase.lib.client_options import AsyncClientOptions, SyncClientOptions
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from yarl import URL

from live.conftest import ADA, told, told_until
from realtime_server import RealtimeServer, realtime
from videojobs import AsyncVideoJobManager, Settings, VideoJobManager
from videojobs.live import LiveJobs
from videojobs.local import LocalStack
from videojobs.transports import _phoenix, _realtime
from videojobs.transports._phoenix import EVERYTHING, Address, Conversation, RefusedError
from videojobs.transports._protocol import AsyncAnnouncements, Channel
from videojobs.transports._realtime import AsyncRealtimeListener, Line, RealtimeListener

NEVER = Settings(poll_seconds=600)
"""Whoever is not called does not look again in time."""
CHANGES, QUEUE = "videojobs:service:changes", "videojobs:service:queue"
KEY = "head.body.signature"


@pytest.fixture
def server(stack: LocalStack, database: str) -> Iterator[RealtimeServer]:
    """Realtime beside the stack."""
    with realtime(database, stack.jwt_secret) as server:
        yield server


@pytest.fixture
def open_sync(
    stack: LocalStack, server: RealtimeServer
) -> Callable[..., AbstractContextManager[VideoJobManager]]:
    """A manager over PostgREST and the stand-in, with the service's key if no other is given."""

    @contextmanager
    def open_sync(key: str | None = None, settings: Settings = NEVER) -> Iterator[VideoJobManager]:
        with httpx.Client() as http:
            options = SyncClientOptions(httpx_client=http)
            client = Client(stack.api_url, key or stack.service_role_key, options)
            client.realtime_url = URL(server.url)
            with VideoJobManager.from_client(client, settings=settings) as manager:
                yield manager

    return open_sync


@pytest.fixture
def open_async(
    stack: LocalStack, server: RealtimeServer
) -> Callable[[], AbstractAsyncContextManager[AsyncVideoJobManager]]:
    """The same for asyncio."""

    @asynccontextmanager
    async def open_async() -> AsyncIterator[AsyncVideoJobManager]:
        async with httpx.AsyncClient() as http:
            options = AsyncClientOptions(httpx_client=http)
            client = AsyncClient(stack.api_url, stack.service_role_key, options)
            client.realtime_url = URL(server.url)
            async with AsyncVideoJobManager.from_client(client, settings=NEVER) as manager:
                yield manager

    return open_async


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is made anew without a pause."""
    monkeypatch.setattr(_realtime, "_FIRST_RETRY_SECONDS", 0.05)


async def joined(announcements: AsyncAnnouncements) -> None:
    """It connects in the background."""
    async with asyncio.timeout(10):
        while not announcements.silence_seconds:
            assert await announcements.hear(1) == frozenset()


async def test_the_life_of_a_job_is_told(open_async, manager: AsyncVideoJobManager):
    """Creation, claim, completion and deletion, though nobody looks by himself for ten minutes."""
    async with (
        open_async() as over_http,
        LiveJobs(over_http, tick_seconds=0.01) as live,
        live.follow() as following,
    ):
        assert (await told(following)).reason == "begin"
        job = await manager.create_job(user_id=ADA)
        created = await told(following)
        (lease,) = await manager.claim_jobs("w")
        claimed = await told(following)
        await manager.complete_job(lease, ["a.mp4"])
        completed = await told(following)
        await manager.delete_job(job.id)
        deleted = await told(following)

    told_jobs = [created.job, claimed.job, completed.job]
    assert [each and each.status for each in told_jobs] == ["queued", "processing", "completed"]
    assert deleted.type == "deleted"


async def test_nothing_is_missed_while_the_connection_was_lost(
    open_async, manager: AsyncVideoJobManager, server: RealtimeServer, at_once: None
):
    """Whoever was not called meanwhile looks when it is there again."""
    async with (
        open_async() as over_http,
        LiveJobs(over_http, tick_seconds=0.01) as live,
        live.follow() as following,
    ):
        await told(following)
        jobs = []
        for _ in range(5):
            await asyncio.to_thread(server.lose_all)
            jobs.append(await manager.create_job(user_id=ADA))
        heard = await told_until(following, lambda change: change.job_id == jobs[-1].id)

    assert {change.job_id for change in heard} == {job.id for job in jobs}


def test_workers_hear_of_new_jobs_and_of_cancels(open_sync, server: RealtimeServer):
    """Of a job in their queue, and that one of theirs is to be stopped; not of another queue."""
    with open_sync() as manager, manager.listen_for_work() as listener:
        manager.create_job(user_id=ADA, queue="slow")
        job = manager.create_job(user_id=ADA)
        heard = listener.wait(["default"], 20)
        manager.claim_jobs("w-1", queues=["default"])
        manager.cancel_job(job.id)
        called = listener.wait(["w-1"], 20)

        assert server.topics == [QUEUE]
    assert (set(heard), set(called)) == ({"default"}, {"w-1"})


def test_a_listener_that_lost_its_connection_comes_back(
    open_sync, server: RealtimeServer, at_once: None
):
    """After a break everything may have happened; then it is called again."""
    with open_sync() as manager, manager.listen_for_work() as listener:
        server.lose_all()
        while not (missed := listener.wait(["default", "w"], 0.1)):
            pass
        manager.create_job(user_id=ADA)
        heard = listener.wait(["default", "w"], 20)

    assert (set(missed), set(heard)) == ({"default", "w"}, {"default"})


async def test_senders_of_webhooks_are_called(open_async, manager: AsyncVideoJobManager):
    """As soon as there is something to send."""
    await manager.add_webhook("https://example.com/hook")
    async with open_async() as over_http, over_http.listen_for_webhooks() as announcements:
        await joined(announcements)
        job = await manager.create_job(user_id=ADA)
        await manager.cancel_job(job.id)

        assert await announcements.hear(20)


def test_nobody_else_hears_what_services_are_told(
    open_sync, stack: LocalStack, server: RealtimeServer
):
    """Neither visitors nor users may join; they poll."""
    for key in (stack.anon_key, stack.user_token(ADA)):
        with open_sync(key) as manager, manager.listen_for_work() as listener:
            assert listener.wait(["default"], 0.01) == ()

    assert (server.topics, server.refused) == ([], [QUEUE, QUEUE])


def test_the_key_is_in_no_address_and_no_log(
    open_sync, stack: LocalStack, server: RealtimeServer, caplog: pytest.LogCaptureFixture
):
    """It goes in headers, and nothing repeats it."""
    caplog.set_level(logging.DEBUG)
    key = stack.service_role_key
    with open_sync() as manager, manager.listen_for_work() as listener:
        listener.wait(["default"], 0.01)

    assert server.paths == ["/realtime/v1/websocket?vsn=1.0.0"]
    assert key not in repr(Address("ws://x", key))
    # The stand-in's own side of the connection is no part of this.
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert key not in "\n".join(record.getMessage() for record in ours)


def test_a_key_that_the_server_repeats_is_in_no_error():
    """Its words are shown to whoever reads the log."""
    with pytest.raises(RefusedError) as refused:
        heard(
            conversation(Channel.QUEUE),
            event="phx_reply",
            payload={"status": "error", "response": {"reason": f"no {KEY} here"}},
        )

    assert str(refused.value) == f"realtime:{QUEUE}: no … here"


class Hanging:
    """Accepts connections, and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.address = Address(f"ws://127.0.0.1:{port}/websocket", KEY)

    def __enter__(self) -> Hanging:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


async def test_a_realtime_that_hangs_keeps_no_reader_waiting(
    stack: LocalStack, database: str, manager: AsyncVideoJobManager
):
    """They are told what is found by looking, as where there is none."""
    with Hanging() as hanging:
        async with httpx.AsyncClient() as http:
            options = AsyncClientOptions(httpx_client=http)
            client = AsyncClient(stack.api_url, stack.service_role_key, options)
            client.realtime_url = URL(hanging.address.url).parent
            settings = Settings(poll_seconds=0.2)
            async with (
                AsyncVideoJobManager.from_client(client, settings=settings) as over_http,
                LiveJobs(over_http, tick_seconds=0.01) as live,
                live.follow() as following,
            ):
                assert (await told(following, seconds=2)).reason == "begin"
                job = await manager.create_job(user_id=ADA)
                assert (await told(following, seconds=2)).job_id == job.id


async def test_a_listener_that_is_left_while_it_connects_leaves_nothing():
    """Its connection is closed, not lost; the test fails where one is left open."""
    with Hanging() as hanging:
        async with AsyncRealtimeListener(Line(hanging.address), Channel.QUEUE) as listener:
            assert await listener.hear(0.05) == frozenset()
        hearing = asyncio.create_task(listener.hear(60))
        await asyncio.sleep(0.05)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        await listener.__aexit__(None, None, None)


async def test_the_key_follows_no_redirect(server: RealtimeServer):
    """It is for the project, and for nobody else."""
    elsewhere: list[str] = []

    def redirect(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(302, "")
        response.headers["Location"] = f"{server.url}/websocket"
        elsewhere.append(request.path)
        return response

    with serve(lambda _: None, "127.0.0.1", 0, process_request=redirect) as redirecting:
        thread = threading.Thread(target=redirecting.serve_forever)
        thread.start()
        port = redirecting.socket.getsockname()[1]
        address = Address(f"ws://127.0.0.1:{port}/websocket", KEY)
        async with AsyncRealtimeListener(Line(address), Channel.QUEUE) as listener:
            await listener.hear(0.5)
            assert listener.breaks == 1
        with RealtimeListener(Line(address), Channel.QUEUE) as blocking:
            blocking.wait(["a"], 0.1)
        redirecting.shutdown()
        thread.join(10)

    assert (elsewhere, server.paths) == (["/websocket"] * 2, [])


def test_a_failure_is_remembered_by_those_who_come_later(monkeypatch: pytest.MonkeyPatch):
    """Each new listener would else try at once."""
    monkeypatch.setattr(_realtime, "_FIRST_RETRY_SECONDS", 60.0)
    line = Line(Address("ws://127.0.0.1:1/websocket", KEY))
    with RealtimeListener(line, Channel.QUEUE) as first:
        first.hear(0.01)
    with RealtimeListener(line, Channel.QUEUE) as second:
        second.hear(0.01)

    assert (first.breaks, second.breaks) == (1, 0)


def test_where_there_is_no_realtime_one_polls(
    stack: LocalStack, database: str, caplog: pytest.LogCaptureFixture
):
    """The local stack has none, and nothing is wrong with that."""
    caplog.set_level(logging.INFO, "videojobs")
    environ = {
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
    }
    with (
        VideoJobManager.from_env(environ) as manager,
        manager.listen_for_changes() as announcements,
    ):
        assert announcements.hear(0.01) == frozenset()
        assert announcements.silence_seconds == 0

    assert caplog.messages == []


def test_it_can_be_switched_off(open_sync, server: RealtimeServer):
    """Realtime's connections and messages are counted by those who sell them."""
    settings = Settings.from_env({"VIDEOJOBS_REALTIME": "no"})
    with open_sync(settings=settings) as manager, manager.listen_for_work() as listener:
        listener.wait(["default"], 0.01)

    assert server.paths == []


# What is said, without a connection


def conversation(*channels: Channel) -> Conversation:
    """One that begins at 100 seconds."""
    return Conversation(Address("ws://x", KEY), channels, 100.0)


def heard(talk: Conversation, **message: Any) -> frozenset[str]:
    """What a message means."""
    return talk.hear(json.dumps({"topic": f"realtime:{QUEUE}", **message}), 100.0)


def test_channels_are_joined_privately_and_with_the_key():
    """One message each; whoever hears of changes needs no queues, since new jobs are changes."""
    talk = conversation(Channel.CHANGES, Channel.QUEUE)

    (join,) = map(json.loads, talk.joins())

    assert (join["topic"], join["event"]) == (f"realtime:{CHANGES}", "phx_join")
    assert join["payload"]["config"]["private"] is True
    assert join["payload"]["access_token"] == KEY


def test_a_key_that_is_no_token_is_left_to_the_gateway():
    """Supabase's newer keys are turned into tokens by the gateway."""
    address = Address("ws://x", "sb_secret_abc")
    (join,) = map(json.loads, Conversation(address, [Channel.QUEUE], 0.0).joins())

    assert address.headers == {"apikey": "sb_secret_abc"}
    assert "access_token" not in join["payload"]
    assert Address("ws://x", KEY).headers == {"apikey": KEY, "x-api-key": KEY}


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ({"event": "broadcast", "payload": {"payload": {"names": ["a", "b"]}}}, {"a", "b"}),
        ({"event": "broadcast", "payload": {"payload": {"names": []}}}, {EVERYTHING}),
        ({"event": "broadcast", "payload": {"payload": {"names": [None, "", "a"]}}}, {"a"}),
        ({"event": "broadcast", "payload": {"payload": {}}}, set()),
        ({"event": "broadcast", "payload": "?"}, set()),
        ({"event": "broadcast", "topic": "realtime:other", "payload": {"payload": {"names": ["a"]}}}, set()),
        ({"event": "system", "payload": {"status": "ok"}}, set()),
        ({"topic": ["?"]}, set()),
    ],
)  # fmt: skip
def test_only_calls_of_ours_are_heard(message: dict[str, Any], names: set[str]):
    """Whatever else comes is passed over."""
    assert heard(conversation(Channel.QUEUE), **message) == names


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", b"\xff", "[" * 200_000])
def test_what_is_no_message_is_passed_over(text: str | bytes):
    """A server's odd words break nothing."""
    assert conversation(Channel.QUEUE).hear(text, 100.0) == frozenset()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"event": "phx_reply", "payload": {"status": "error", "response": {"reason": "No!"}}}, "No!"),
        ({"event": "phx_reply", "payload": {"status": "error"}}, "phx_reply"),
        ({"event": "phx_close", "payload": {}}, "phx_close"),
        ({"event": "phx_error", "payload": {}}, "phx_error"),
    ],
)  # fmt: skip
def test_a_closed_channel_is_an_error(message: dict[str, Any], reason: str):
    """It says which and why."""
    with pytest.raises(RefusedError, match=f"realtime:{QUEUE}: {reason}"):
        heard(conversation(Channel.QUEUE), **message)


def test_heartbeats_are_sent_and_must_be_answered():
    """Every 25 seconds; a server that answered none of the last is gone."""
    talk = conversation(Channel.QUEUE)

    assert (talk.heartbeat(124.0), talk.until_heartbeat(124.0)) == (None, 1.0)
    assert json.loads(talk.heartbeat(125.0) or "")["event"] == "heartbeat"
    talk.hear('{"topic": "phoenix", "event": "phx_reply"}', 126.0)
    assert talk.heartbeat(150.0)
    with pytest.raises(RefusedError, match="heartbeat"):
        talk.heartbeat(175.0)


def test_whoever_comes_late_first_reads_what_was_answered():
    """Between two looks something else may have taken its time."""
    talk = conversation(Channel.QUEUE)
    talk.heartbeat(125.0)

    assert talk.heartbeat(200.0)


async def test_a_mute_server_is_left(open_async, server: RealtimeServer, monkeypatch):
    """A connection that is open and says nothing is as good as none."""
    monkeypatch.setattr(_phoenix, "_HEARTBEAT_SECONDS", 0.05)
    async with open_async() as over_http, over_http.listen_for_changes() as announcements:
        await joined(announcements)
        server.is_mute = True
        async with asyncio.timeout(10):
            while announcements.silence_seconds:
                await announcements.hear(0.2)

        assert announcements.breaks == 1
