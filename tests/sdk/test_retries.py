"""The retry matrix: which failure of which call is repeated, how often, and what is told in the end.

A call is a READ, is KEYED (a key, token or status makes its repeat harmless), or goes ONCE.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import respx
from people import ADA, NOBODYS_JOB
from postgrest import AsyncPostgrestClient, SyncPostgrestClient
from scripted import ScriptedTransport

from videojobs import (
    AsyncVideoJobManager,
    AuthenticationError,
    Beat,
    IdempotencyConflictError,
    InvalidTransitionError,
    JobChanges,
    JobFilter,
    JobNotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedError,
    SchemaMismatchError,
    Settings,
    SupabaseConnectionError,
    SupabaseValidationError,
    VideoJobManager,
    VideoJobsError,
)
from videojobs.calls import Call, Repeatable
from videojobs.retries import Applied, Failure, Sent, rule
from videojobs.transports import _postgrest, _psycopg
from videojobs.transports.supabase import AsyncSupabaseTransport, SupabaseTransport

URL = "https://project.supabase.co/rest/v1"
READ, KEYED, ONCE = Repeatable.READ, Repeatable.KEYED, Repeatable.ONCE
Reply = httpx.Response | Exception


@dataclass
class Clock:
    """Time that passes only by sleeping."""

    now: float = 1000.0
    naps: list[float] = field(default_factory=list[float])

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it be later."""
        self.naps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        """The same for asyncio."""
        self.sleep(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the repeats go by."""
    clock = Clock()
    monkeypatch.setattr("videojobs.repeating.time", clock)
    monkeypatch.setattr("tenacity.nap.time", clock)
    monkeypatch.setattr("asyncio.sleep", clock.sleep_async)
    return clock


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """An HTTP client, whose requests respx answers."""
    with httpx.Client(verify=False) as client:
        yield client


@pytest.fixture
def manager(http: httpx.Client, clock: Clock) -> VideoJobManager:
    """A manager that has never reached its server."""
    client = SyncPostgrestClient(URL, headers={"apikey": "k"}, http_client=http)
    return VideoJobManager(SupabaseTransport(client), Settings(deadline_seconds=30))


@pytest.fixture
def async_manager(clock: Clock) -> AsyncVideoJobManager:
    """The same for asyncio."""
    http = httpx.AsyncClient(verify=False)
    client = AsyncPostgrestClient(URL, headers={"apikey": "k"}, http_client=http)
    return AsyncVideoJobManager(AsyncSupabaseTransport(client), Settings(deadline_seconds=30))


def call(repeatable: Repeatable, function: str = "a_function") -> Call[list[Any]]:
    """A call of that class."""
    return Call(function, {}, list, repeatable)


def json(status: int, code: str | None, message: str = "told so", **headers: str) -> httpx.Response:
    """An error as PostgREST and gateways send it."""
    body = {"message": message, "code": code, "details": None, "hint": None}
    return httpx.Response(status, json=body, headers=headers)


def html(status: int, **headers: str) -> httpx.Response:
    """An error page of something in between."""
    headers = {"Content-Type": "text/html", **headers}
    return httpx.Response(status, content="<html><h1>Sorry</h1></html>", headers=headers)


DONE = httpx.Response(200, json=[{"done": True}])
_GOAWAY = "<ConnectionTerminated error_code:0, last_stream_id:99, additional_data:None>"
# Five failures, then an answer: so many requests does a READ, a KEYED and a ONCE call make.
AS_LONG_AS_IT_TAKES = (6, 6, 6)
NOT_ONCE = (6, 6, 1)
READS_ONE_REPEAT = (2, 1, 1)
THREE_REPEATS = (4, 4, 4)
NEVER = (1, 1, 1)

# (the failure, the requests by class, the error of a write, its outcome)
MATRIX: list[tuple[Reply, tuple[int, int, int], type[VideoJobsError], str]] = [
    # No connection was made.
    (httpx.ConnectError("refused"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (httpx.ConnectTimeout(""), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (httpx.PoolTimeout(""), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    # The connection broke; nobody knows when.
    (httpx.WriteError(""), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (httpx.WriteTimeout(""), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (httpx.ReadTimeout(""), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (httpx.ReadError(""), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (httpx.RemoteProtocolError("disconnected"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (httpx.RemoteProtocolError(_GOAWAY), NOT_ONCE, OutcomeUnknownError, "unknown"),
    # It cannot be sent at all.
    (httpx.InvalidURL("too long"), NEVER, SupabaseConnectionError, "not_applied"),
    (httpx.UnsupportedProtocol("ftp"), NEVER, SupabaseConnectionError, "not_applied"),
    (httpx.LocalProtocolError("header"), NEVER, SupabaseConnectionError, "not_applied"),
    (ValueError("surrogates"), NEVER, SupabaseConnectionError, "not_applied"),
    # Told to wait.
    (json(429, None), AS_LONG_AS_IT_TAKES, RateLimitedError, "not_applied"),
    (json(429, "PT429"), AS_LONG_AS_IT_TAKES, RateLimitedError, "not_applied"),
    (json(429, "CUSTOM"), AS_LONG_AS_IT_TAKES, RateLimitedError, "not_applied"),
    (html(429), AS_LONG_AS_IT_TAKES, RateLimitedError, "not_applied"),
    (json(425, None), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    # PostgREST had no database connection.
    (json(503, "PGRST000"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (json(503, "PGRST002"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (json(504, "PGRST003"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    # PostgREST lost it.
    (json(503, "PGRST001"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, ""), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, None), NOT_ONCE, OutcomeUnknownError, "unknown"),
    # A gateway lost it.
    (html(408), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (html(502), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (html(503), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (html(504), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (html(520), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (html(522), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (html(524), NOT_ONCE, OutcomeUnknownError, "unknown"),
    # A gateway could not reach the server.
    (html(521), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (html(523), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    # Rolled back for others' sake.
    (json(500, "40001"), THREE_REPEATS, SupabaseConnectionError, "not_applied"),
    (json(500, "40P01"), THREE_REPEATS, SupabaseConnectionError, "not_applied"),
    (json(500, "55P03"), THREE_REPEATS, SupabaseConnectionError, "not_applied"),
    # Postgres is starting, or full.
    (json(503, "57P03"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (json(503, "53300"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    # Postgres is stopping, or its connection broke.
    (json(503, "57P01"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(500, "57P01"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(500, "57P02"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, "08003"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, "08006"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, "08P01"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, "08007"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(500, "40003"), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(503, "08001"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    (json(503, "08004"), AS_LONG_AS_IT_TAKES, SupabaseConnectionError, "not_applied"),
    # Too slow: once more, where that is harmless.
    (json(500, "57014"), (2, 2, 1), SupabaseConnectionError, "not_applied"),
    # No repeat within a deadline would mend it.
    (json(503, "53100"), NEVER, SupabaseConnectionError, "not_applied"),
    (json(503, "53200"), NEVER, SupabaseConnectionError, "not_applied"),
    (json(503, "53400"), NEVER, SupabaseConnectionError, "not_applied"),
    (json(405, "25006"), NEVER, SupabaseConnectionError, "not_applied"),
    # The statement itself is refused, whatever status that is.
    (json(409, "23505"), NEVER, SupabaseValidationError, "not_applied"),
    (json(400, "23514"), NEVER, SupabaseValidationError, "not_applied"),
    (json(400, "22P02"), NEVER, SupabaseValidationError, "not_applied"),
    (json(403, "42501"), NEVER, PermissionDeniedError, "not_applied"),
    (json(500, "42P17"), NEVER, RefusedError, "not_applied"),
    (json(413, "54001"), NEVER, RefusedError, "not_applied"),
    (json(500, "55000"), NEVER, RefusedError, "not_applied"),
    # What PostgREST says of a connection that broke while Postgres restarted.
    (json(400, ""), NOT_ONCE, OutcomeUnknownError, "unknown"),
    (json(400, "P0001"), NEVER, RefusedError, "not_applied"),
    (json(400, "PGRST102"), NEVER, RefusedError, "not_applied"),
    (json(406, "PGRST106"), NEVER, RefusedError, "not_applied"),
    (json(400, "VJ001"), NEVER, JobNotFoundError, "not_applied"),
    (json(400, "VJ002"), NEVER, InvalidTransitionError, "not_applied"),
    (json(400, "VJ003"), NEVER, IdempotencyConflictError, "not_applied"),
    (json(400, "VJ004"), NEVER, SupabaseValidationError, "not_applied"),
    (json(400, "VJ005"), NEVER, PermissionDeniedError, "not_applied"),
    # The schema cache is older than the last migration.
    (json(404, "PGRST202"), (2, 2, 2), SchemaMismatchError, "not_applied"),
    (json(400, "PGRST204"), (2, 2, 2), SchemaMismatchError, "not_applied"),
    (json(404, "PGRST205"), (2, 2, 2), SchemaMismatchError, "not_applied"),
    (json(404, "42883"), NEVER, SchemaMismatchError, "not_applied"),
    (json(404, "42P01"), NEVER, SchemaMismatchError, "not_applied"),
    # Who are you?
    (json(401, "PGRST301"), NEVER, AuthenticationError, "not_applied"),
    (json(401, "PGRST302"), NEVER, AuthenticationError, "not_applied"),
    (json(401, "PGRST303"), NEVER, AuthenticationError, "not_applied"),
    (json(401, None, "Invalid API key"), NEVER, AuthenticationError, "not_applied"),
    # Not so.
    (json(402, None), NEVER, RefusedError, "not_applied"),
    (json(403, None), NEVER, PermissionDeniedError, "not_applied"),
    (html(404), NEVER, RefusedError, "not_applied"),
    (html(413), NEVER, RefusedError, "not_applied"),
    (html(414), NEVER, RefusedError, "not_applied"),
    (json(416, "PGRST103"), NEVER, RefusedError, "not_applied"),
    (html(431), NEVER, RefusedError, "not_applied"),
    (html(301, Location="/elsewhere"), NEVER, RefusedError, "not_applied"),
    # It makes no sense.
    (json(500, "XX000"), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
    (json(500, "PGRSTX00"), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
    (json(500, None), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
    (html(500), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
    (html(200), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
    (httpx.Response(200, json={"rows": 1}), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
    (httpx.Response(204), READS_ONE_REPEAT, OutcomeUnknownError, "unknown"),
]


def name_of(value: Any) -> str | None:
    """What a row of the matrix is called."""
    if isinstance(value, httpx.Response):
        body = value.content.decode()
        code = body.partition('"code":"')[2].partition('"')[0]
        return f"{value.status_code} {code or body[:6]}"
    return type(value).__name__ if isinstance(value, Exception) else None


by_matrix = pytest.mark.parametrize(("failure", "requests", "kind", "outcome"), MATRIX, ids=name_of)
by_class = pytest.mark.parametrize("repeatable", [READ, KEYED, ONCE], ids=lambda it: it.name)


def script(router: respx.MockRouter, *replies: Reply) -> respx.Route:
    """The server's replies, in order."""
    return router.post(url__startswith=URL).mock(side_effect=replies)


@by_class
@by_matrix
def test_the_matrix(
    manager: VideoJobManager,
    respx_mock: respx.MockRouter,
    failure: Reply,
    requests: tuple[int, int, int],
    kind: type[VideoJobsError],
    outcome: str,
    repeatable: Repeatable,
):
    """Each failure is repeated as often as its row says, and no longer; then it has its error."""
    route = script(respx_mock, *[failure] * 5, DONE)
    expected = _expected(failure, requests, kind, outcome, repeatable)

    seen: Any
    try:
        seen = manager.perform(call(repeatable))
    except VideoJobsError as error:
        seen = _facts(error)

    assert (route.call_count, seen) == expected


@by_class
@by_matrix
async def test_the_matrix_async(
    async_manager: AsyncVideoJobManager,
    respx_mock: respx.MockRouter,
    failure: Reply,
    requests: tuple[int, int, int],
    kind: type[VideoJobsError],
    outcome: str,
    repeatable: Repeatable,
):
    """The matrix holds for asyncio too."""
    route = script(respx_mock, *[failure] * 5, DONE)
    expected = _expected(failure, requests, kind, outcome, repeatable)

    seen: Any
    try:
        seen = await async_manager.perform(call(repeatable))
    except VideoJobsError as error:
        seen = _facts(error)

    assert (route.call_count, seen) == expected


def _expected(
    failure: Reply,
    requests: tuple[int, int, int],
    kind: type[VideoJobsError],
    outcome: str,
    repeatable: Repeatable,
) -> tuple[int, Any]:
    count = dict(zip((READ, KEYED, ONCE), requests, strict=True))[repeatable]
    if count == 6:
        return count, [{"done": True}]
    if kind is OutcomeUnknownError and repeatable is READ:
        # Nothing can be unknown about a change that a read does not make.
        kind, outcome = SupabaseConnectionError, "not_applied"
    status = failure.status_code if isinstance(failure, httpx.Response) else None
    code = None
    if isinstance(failure, httpx.Response) and "json" in failure.headers.get("Content-Type", ""):
        code = failure.json().get("code") or None
    return count, (kind, outcome, status, code, "a_function", count)


def _facts(error: VideoJobsError) -> tuple[Any, ...]:
    return (
        type(error),
        error.outcome,
        error.status,
        error.code,
        error.operation,
        error.attempts,
    )


# Which call is of which class


@pytest.mark.parametrize(
    ("function", "repeatable", "send"),
    [
        ("create_video_jobs", KEYED, lambda m: m.create_job(user_id=ADA)),
        ("create_video_jobs", KEYED, lambda m: m.create_jobs([{"user_id": ADA}])),
        ("get_video_job", READ, lambda m: m.get_job(NOBODYS_JOB)),
        ("list_video_jobs", READ, lambda m: m.list_jobs()),
        ("list_video_job_events", READ, lambda m: m.get_job_events(NOBODYS_JOB)),
        ("get_video_job_stats", READ, lambda m: m.get_job_stats()),
        ("get_video_job_times", READ, lambda m: m.get_processing_times()),
        ("cancel_video_job", KEYED, lambda m: m.cancel_job(NOBODYS_JOB)),
        ("retry_video_job", KEYED, lambda m: m.retry_job(NOBODYS_JOB)),
        ("delete_video_job", KEYED, lambda m: m.delete_job(NOBODYS_JOB)),
        ("clear_video_jobs", KEYED, lambda m: m.clear_jobs()),
        (
            "bulk_update_video_jobs",
            KEYED,
            lambda m: m.bulk_update_jobs(JobChanges(priority=1), job_ids=[NOBODYS_JOB]),
        ),
        (
            "bulk_update_video_jobs",
            KEYED,
            lambda m: m.bulk_update_jobs(JobChanges(priority=1), filters=JobFilter()),
        ),
        ("update_video_job_status", ONCE, lambda m: m.update_job_status(NOBODYS_JOB, "failed")),
        ("start_video_job", KEYED, lambda m: m.start_processing(NOBODYS_JOB)),
        ("claim_video_jobs", KEYED, lambda m: m.claim_jobs("w")),
        (
            "heartbeat_video_jobs",
            KEYED,
            lambda m: m.heartbeat([Beat(job_id=NOBODYS_JOB, run_token=1)]),
        ),
        ("complete_video_job", KEYED, lambda m: m.complete_job(NOBODYS_JOB)),
        ("fail_video_job", ONCE, lambda m: m.fail_job(NOBODYS_JOB, "boom")),
        ("find_stuck_video_jobs", READ, lambda m: m.find_stuck_jobs()),
        ("recover_video_jobs", KEYED, lambda m: m.recover_stuck_jobs()),
        ("check_video_jobs", READ, lambda m: m.check()),
        ("check_video_jobs", READ, lambda m: m.doctor()),
    ],
)
def test_each_operation_has_its_class(
    function: str, repeatable: Repeatable, send: Callable[[VideoJobManager], Any]
):
    """Only what cannot be repeated without harm goes once."""
    transport = ScriptedTransport(Failure("enough", sent=Sent.NEVER))

    with pytest.raises(VideoJobsError):
        send(VideoJobManager(transport))

    assert [(sent.function, sent.repeatable) for sent in transport.sent] == [(function, repeatable)]


def test_a_repeat_sends_the_same_keys(manager: VideoJobManager, respx_mock: respx.MockRouter):
    """The id of a new job and the key of a claim are made once for all tries of a call."""
    route = script(respx_mock, httpx.ReadTimeout(""), html(502), httpx.Response(200, json=[]))

    manager.claim_jobs("w1")

    bodies = {request.content for request, _ in route.calls}
    assert len(bodies) == 1
    assert b"claim_key" in bodies.pop()


@pytest.mark.parametrize(
    "function", ["get_video_job_stats", "bulk_update_video_jobs", "clear_video_jobs"]
)
def test_slow_figures_are_not_asked_for_twice(
    manager: VideoJobManager, respx_mock: respx.MockRouter, function: str
):
    """What ran into the statement timeout over many jobs would run into it again."""
    route = script(respx_mock, json(500, "57014"))

    with pytest.raises(SupabaseConnectionError) as caught:
        manager.perform(call(READ, function))

    assert (route.call_count, caught.value.code) == (1, "57014")


def test_a_lost_reply_of_a_delete_is_a_delete(
    manager: VideoJobManager, respx_mock: respx.MockRouter
):
    """When a repeated delete finds no job, the first one had worked."""
    script(respx_mock, httpx.ReadTimeout(""), json(400, "VJ001"))

    assert manager.delete_job(NOBODYS_JOB) is None


def test_a_first_delete_of_nothing_is_refused(
    manager: VideoJobManager, respx_mock: respx.MockRouter
):
    """Without a lost try before it, a delete that finds no job says so."""
    script(respx_mock, json(400, "VJ001", "there is no job"))

    with pytest.raises(JobNotFoundError) as caught:
        manager.delete_job(str(NOBODYS_JOB))

    assert caught.value.job_id == NOBODYS_JOB


# When


def test_waits_grow_and_are_capped(
    manager: VideoJobManager,
    respx_mock: respx.MockRouter,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
):
    """The longest waits double from 0.2 s to 5 s."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    script(respx_mock, *[html(502)] * 7, DONE)

    manager.perform(call(KEYED))

    assert clock.naps == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize(
    ("failure", "naps"),
    [
        (json(429, None), [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]),
        (json(503, "PGRST002"), [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]),
        (html(503), [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]),
        (json(503, "57P03"), [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]),
        (json(503, "53300"), [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]),
    ],
    ids=name_of,
)
def test_a_busy_server_is_given_longer(
    manager: VideoJobManager,
    respx_mock: respx.MockRouter,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    failure: Reply,
    naps: list[float],
):
    """A server that is busy is left alone for up to 30 s, and one that starts for a second at least."""
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    script(respx_mock, *[failure] * 7, DONE)

    manager.perform(call(KEYED), 60)

    assert clock.naps == naps


def test_waits_are_spread(manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock):
    """Each wait is drawn anew from nothing to its ceiling, so that clients do not march in step."""
    script(respx_mock, *[html(502)] * 5, DONE)

    manager.perform(call(KEYED))

    assert len(set(clock.naps)) == 5
    assert all(
        0 <= nap <= most for nap, most in zip(clock.naps, (0.2, 0.4, 0.8, 1.6, 3.2), strict=True)
    )


@pytest.mark.parametrize(
    "failure",
    [
        json(429, None, **{"Retry-After": "7"}),
        html(429, **{"Retry-After": "7.0"}),
        json(503, "PGRST002", **{"Retry-After": "7"}),
        html(503, **{"Retry-After": "7"}),
    ],
    ids=name_of,
)
def test_retry_after_is_honoured(
    manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock, failure: Reply
):
    """A server that says how long to wait is not asked before."""
    script(respx_mock, failure, failure, DONE)

    manager.perform(call(KEYED))

    assert clock.naps == [7.0, 7.0]


def test_retry_after_may_be_a_date(
    manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock
):
    """The other form of Retry-After, a moment, is understood too."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    script(respx_mock, json(429, None, **{"Retry-After": soon}), DONE)

    manager.perform(call(KEYED))

    assert clock.naps == [pytest.approx(19.5, abs=1)]


@pytest.mark.parametrize("nonsense", ["soon", "", "-5", "nan"])
def test_a_retry_after_of_nonsense_is_passed_over(
    manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock, nonsense: str
):
    """A Retry-After that nobody can read does not stop the repeats."""
    script(respx_mock, json(429, None, **{"Retry-After": nonsense}), DONE)

    assert manager.perform(call(KEYED)) == [{"done": True}]
    assert 0 <= clock.naps[0] <= 0.2


def test_a_retry_after_beyond_the_deadline_ends_at_once(
    manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock
):
    """Nobody waits for a minute within a deadline of half a minute; the error says how long to wait."""
    route = script(respx_mock, json(429, None, "slow down", **{"Retry-After": "60"}))

    with pytest.raises(RateLimitedError) as caught:
        manager.perform(call(KEYED))

    assert (route.call_count, clock.naps) == (1, [])
    assert (caught.value.retry_after, caught.value.status, caught.value.attempts) == (60.0, 429, 1)
    assert str(caught.value) == "a_function failed, tried once: slow down"


@pytest.mark.parametrize(("deadline", "least"), [(30.0, 7), (1.0, 1)])
def test_the_deadline_ends_the_repeats(
    manager: VideoJobManager,
    respx_mock: respx.MockRouter,
    clock: Clock,
    deadline: float,
    least: int,
):
    """A server that never answers is tried until the deadline; the error counts the tries."""
    route = respx_mock.post(url__startswith=URL).mock(side_effect=httpx.ConnectError("refused"))

    with pytest.raises(SupabaseConnectionError) as caught:
        manager.perform(call(ONCE), deadline)

    assert sum(clock.naps) <= deadline
    assert caught.value.attempts == route.call_count == len(clock.naps) + 1 >= least
    assert f"a_function failed, tried {route.call_count} times: ConnectError: refused" == str(
        caught.value
    )


def test_a_deadline_of_nothing_means_one_try(
    manager: VideoJobManager, respx_mock: respx.MockRouter
):
    """A deadline of 0 is no deadline of the settings."""
    route = respx_mock.post(url__startswith=URL).mock(side_effect=httpx.ConnectError("refused"))

    with pytest.raises(SupabaseConnectionError):
        manager.perform(call(READ), 0)

    assert route.call_count == 1


def test_slow_tries_count_too(manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock):
    """The time that the tries themselves take is part of the deadline."""

    def time_out(request: httpx.Request) -> httpx.Response:
        clock.now += 12
        raise httpx.ReadTimeout("", request=request)

    route = respx_mock.post(url__startswith=URL).mock(side_effect=time_out)

    with pytest.raises(SupabaseConnectionError):
        manager.perform(call(READ))

    assert route.call_count == 3


def test_a_stale_schema_cache_is_given_two_seconds(
    manager: VideoJobManager, respx_mock: respx.MockRouter, clock: Clock
):
    """After a migration PostgREST does not know the function yet: one more try, then what to do."""
    script(respx_mock, *[json(404, "PGRST202", "Could not find the function")] * 2)

    with pytest.raises(SchemaMismatchError) as caught:
        manager.perform(call(ONCE))

    assert clock.naps == [2.0]
    assert "run `videojobs migrate`, then `notify pgrst, 'reload schema'`" in str(caught.value)


def test_a_repeat_is_logged(
    manager: VideoJobManager, respx_mock: respx.MockRouter, caplog: pytest.LogCaptureFixture
):
    """Whoever reads the log learns of each repeat, its reason and its wait."""
    script(respx_mock, html(502), DONE)

    manager.perform(call(READ))

    assert [record.levelname for record in caplog.records if record.name == "videojobs"] == [
        "WARNING"
    ]
    assert "a_function failed (HTTP 502 Bad Gateway (an HTML page)); trying again in" in caplog.text


# Names, tokens, headers


def unknown_host(request: httpx.Request) -> httpx.Response:
    """What httpx does about a host that no name server knows."""
    error = httpx.ConnectError("[Errno -2] Name or service not known", request=request)
    raise error from socket.gaierror(-2, "Name or service not known")


def answering(*replies: Callable[[httpx.Request], httpx.Response]) -> VideoJobManager:
    """A manager whose requests are answered so, in order; respx would lose an error's cause."""
    left = iter(replies)
    http = httpx.Client(transport=httpx.MockTransport(lambda request: next(left)(request)))
    client = SyncPostgrestClient(URL, headers={"apikey": "k"}, http_client=http)
    return VideoJobManager(SupabaseTransport(client))


def done(request: httpx.Request) -> httpx.Response:
    """An answer."""
    return httpx.Response(200, json=[{"done": True}])


def test_an_unknown_host_is_told_at_once():
    """A host that was never reached is most likely misspelt."""
    manager = answering(unknown_host)

    with pytest.raises(SupabaseConnectionError, match="check the host in SUPABASE_URL") as caught:
        manager.perform(call(READ))

    assert (caught.value.attempts, caught.value.outcome) == (1, "not_applied")


def test_a_host_that_was_known_is_tried_again(clock: Clock):
    """A name server that fails after the host had been reached is worth waiting for."""
    manager = answering(done, unknown_host, unknown_host, done)
    manager.perform(call(READ))

    assert manager.perform(call(ONCE)) == [{"done": True}]
    assert len(clock.naps) == 2


def test_a_ring_of_causes_has_an_end():
    """An error that is its own cause's cause is judged all the same."""
    error = httpx.ConnectError("refused")
    error.__cause__ = ValueError()
    error.__cause__.__cause__ = error

    assert _postgrest.failure_of(error, worked_before=False).sent is Sent.NO


def test_a_token_is_renewed_once(manager: VideoJobManager, respx_mock: respx.MockRouter):
    """On 401 the source is asked for a fresh token, and the call goes out once more."""
    route = script(respx_mock, json(401, "PGRST303", "JWT expired"), DONE)
    tokens = iter(["old", "new"])

    answer = manager.as_user(lambda: next(tokens)).perform(call(ONCE))

    assert answer == [{"done": True}]
    assert [request.headers.get_list("Authorization") for request, _ in route.calls] == [
        ["Bearer old"],
        ["Bearer new"],
    ]


def test_a_token_that_stays_refused_is_an_error(
    manager: VideoJobManager, respx_mock: respx.MockRouter
):
    """A source that only has expired tokens is asked twice, and no more."""
    route = script(respx_mock, *[json(401, "PGRST301", "JWT expired")] * 3)

    with pytest.raises(AuthenticationError, match="the key or token was not accepted: JWT expired"):
        manager.as_user(lambda: "old").perform(call(READ))

    assert route.call_count == 2


async def test_a_token_is_renewed_once_async(
    async_manager: AsyncVideoJobManager, respx_mock: respx.MockRouter
):
    """The source of an async manager may be a coroutine function."""
    route = script(respx_mock, json(401, "PGRST303"), DONE)
    tokens = iter(["old", "new"])

    async def source() -> str:
        return next(tokens)

    await async_manager.as_user(source).perform(call(ONCE))

    assert [request.headers["Authorization"] for request, _ in route.calls] == [
        "Bearer old",
        "Bearer new",
    ]


def test_a_hidden_code_is_found(manager: VideoJobManager, respx_mock: respx.MockRouter):
    """Where a gateway replaced the body, PostgREST's code in Proxy-Status decides."""
    failure = html(503, **{"Proxy-Status": "PostgREST; error=PGRST002"})
    route = script(respx_mock, failure, DONE)

    manager.perform(call(ONCE))

    assert route.call_count == 2


def test_a_page_is_not_shown_whole(manager: VideoJobManager, respx_mock: respx.MockRouter):
    """The error of a page under 200 says that it is one, and what to look at."""
    script(respx_mock, *[html(200)] * 2)

    with pytest.raises(SupabaseConnectionError) as caught:
        manager.perform(call(READ))

    assert str(caught.value) == (
        "a_function failed, tried 2 times: HTTP 200, but no JSON rows: OK (an HTML page); "
        "is there a proxy or another site at this URL?"
    )


def test_within_a_transaction_nothing_is_repeated():
    """What failed has ended the caller's transaction; only the caller can begin again."""
    transport = ScriptedTransport(Failure("deadlock", sent=Sent.ANSWERED, code="40P01"))
    transport.can_repeat = False

    with pytest.raises(SupabaseConnectionError) as caught:
        VideoJobManager(transport).perform(call(READ))

    assert (caught.value.attempts, caught.value.code) == (1, "40P01")


# Postgres

# SQLSTATE -> what it says of the change, and the repeats of a READ, KEYED and ONCE call (of 5)
SQLSTATES: list[tuple[str | None, Applied, tuple[int, int, int]]] = [
    ("40001", Applied.NO, (3, 3, 3)),
    ("40P01", Applied.NO, (3, 3, 3)),
    ("40002", Applied.NO, (3, 3, 3)),
    ("55P03", Applied.NO, (3, 3, 3)),
    ("57P03", Applied.NO, (5, 5, 5)),
    ("53300", Applied.NO, (5, 5, 5)),
    ("08001", Applied.NO, (5, 5, 5)),
    ("08004", Applied.NO, (5, 5, 5)),
    ("PT429", Applied.NO, (5, 5, 5)),
    ("PT503", Applied.NO, (5, 5, 5)),
    ("57014", Applied.NO, (1, 1, 0)),
    ("53000", Applied.NO, (0, 0, 0)),
    ("53100", Applied.NO, (0, 0, 0)),
    ("53200", Applied.NO, (0, 0, 0)),
    ("53400", Applied.NO, (0, 0, 0)),
    ("25006", Applied.NO, (0, 0, 0)),
    ("08000", Applied.PERHAPS, (5, 5, 0)),
    ("08003", Applied.PERHAPS, (5, 5, 0)),
    ("08006", Applied.PERHAPS, (5, 5, 0)),
    ("08007", Applied.PERHAPS, (5, 5, 0)),
    ("08P01", Applied.PERHAPS, (5, 5, 0)),
    ("40003", Applied.PERHAPS, (5, 5, 0)),
    ("57P01", Applied.PERHAPS, (5, 5, 0)),
    ("57P02", Applied.PERHAPS, (5, 5, 0)),
    ("57P05", Applied.PERHAPS, (5, 5, 0)),
    ("58030", Applied.PERHAPS, (1, 0, 0)),
    ("F0000", Applied.PERHAPS, (1, 0, 0)),
    ("XX000", Applied.PERHAPS, (1, 0, 0)),
    ("XX001", Applied.PERHAPS, (1, 0, 0)),
    (None, Applied.PERHAPS, (1, 0, 0)),
    ("0A000", Applied.REFUSED, (0, 0, 0)),
    ("21000", Applied.REFUSED, (0, 0, 0)),
    ("22P02", Applied.REFUSED, (0, 0, 0)),
    ("23505", Applied.REFUSED, (0, 0, 0)),
    ("25P02", Applied.REFUSED, (0, 0, 0)),
    ("28P01", Applied.REFUSED, (0, 0, 0)),
    ("3D000", Applied.REFUSED, (0, 0, 0)),
    ("42501", Applied.REFUSED, (0, 0, 0)),
    ("42883", Applied.REFUSED, (0, 0, 0)),
    ("42P17", Applied.REFUSED, (0, 0, 0)),
    ("54001", Applied.REFUSED, (0, 0, 0)),
    ("55000", Applied.REFUSED, (0, 0, 0)),
    ("P0001", Applied.REFUSED, (0, 0, 0)),
    ("VJ001", Applied.REFUSED, (0, 0, 0)),
]


@pytest.mark.parametrize(("code", "applied", "repeats"), SQLSTATES)
def test_the_matrix_of_sqlstates(code: str | None, applied: Applied, repeats: tuple[int, ...]):
    """What an SQLSTATE of a direct connection means, and how often each class is repeated for it."""
    ruling = rule(Failure("", sent=Sent.ANSWERED, code=code), "a_function")

    allowed = tuple(
        sum(ruling.allows(repeatable, count) for count in range(5))
        for repeatable in (READ, KEYED, ONCE)
    )

    assert (ruling.applied, allowed) == (applied, repeats)


@pytest.mark.parametrize("status", [400, 500, 503])
def test_an_sqlstate_means_the_same_over_http(status: int):
    """Each SQLSTATE that psycopg knows is judged alike directly and through PostgREST."""
    codes = sorted({kind.sqlstate for kind in _tree(psycopg.Error) if kind.sqlstate})

    direct = [rule(Failure("", sent=Sent.ANSWERED, code=code), "f") for code in codes]
    over_http = [
        rule(Failure("", sent=Sent.ANSWERED, code=code, status=status), "f") for code in codes
    ]

    assert len(codes) > 200
    assert over_http == direct


# Every exception of the libraries


def test_no_exception_of_httpx_is_left_unmapped():
    """Whatever httpx may raise on sending is caught, and says how far the request got."""
    expected = {
        "HTTPError": Sent.PERHAPS,
        "RequestError": Sent.PERHAPS,
        "TransportError": Sent.PERHAPS,
        "TimeoutException": Sent.PERHAPS,
        "ConnectTimeout": Sent.NO,
        "ReadTimeout": Sent.PERHAPS,
        "WriteTimeout": Sent.PERHAPS,
        "PoolTimeout": Sent.NO,
        "NetworkError": Sent.PERHAPS,
        "ReadError": Sent.PERHAPS,
        "WriteError": Sent.PERHAPS,
        "ConnectError": Sent.NO,
        "CloseError": Sent.PERHAPS,
        "ProtocolError": Sent.PERHAPS,
        "LocalProtocolError": Sent.NEVER,
        "RemoteProtocolError": Sent.PERHAPS,
        "ProxyError": Sent.PERHAPS,
        "UnsupportedProtocol": Sent.NEVER,
        "DecodingError": Sent.PERHAPS,
        "TooManyRedirects": Sent.PERHAPS,
        "HTTPStatusError": Sent.PERHAPS,
        "InvalidURL": Sent.NEVER,
        "StreamError": Sent.NEVER,
        "StreamConsumed": Sent.NEVER,
        "StreamClosed": Sent.NEVER,
        "ResponseNotRead": Sent.NEVER,
        "RequestNotRead": Sent.NEVER,
    }
    kinds = _tree(httpx.HTTPError) | {httpx.InvalidURL} | _tree(httpx.StreamError)

    sent = {kind.__name__: _sent(kind) for kind in kinds}

    assert sent == expected
    assert all(issubclass(kind, _postgrest.ERRORS) for kind in kinds)
    # The rest of httpx's exceptions are about cookies, of which there are none here.
    assert {name for name in httpx.__all__ if _is_error(getattr(httpx, name))} - set(sent) == {
        "CookieConflict"
    }


def _sent(kind: type[Exception]) -> Sent:
    error = kind.__new__(kind)
    return _postgrest.failure_of(error, worked_before=True).sent


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def test_no_exception_of_psycopg_is_left_unmapped():
    """Whatever psycopg and its pool may raise says how far the statement got."""
    expected = {
        "Error": Sent.NEVER,
        "InterfaceError": Sent.PERHAPS,
        "DatabaseError": Sent.NEVER,
        "DataError": Sent.NEVER,
        "OperationalError": Sent.PERHAPS,
        "IntegrityError": Sent.NEVER,
        "InternalError": Sent.NEVER,
        "ProgrammingError": Sent.NEVER,
        "NotSupportedError": Sent.NEVER,
        "ConnectionTimeout": Sent.PERHAPS,
        "CancellationTimeout": Sent.PERHAPS,
        "PipelineAborted": Sent.PERHAPS,
        "OutOfOrderTransactionNesting": Sent.NEVER,
        "_WaitTimeout": Sent.PERHAPS,
        "PoolClosed": Sent.NEVER,
        "PoolTimeout": Sent.NO,
        "TooManyRequests": Sent.NO,
    }
    kinds = {kind for kind in _tree(psycopg.Error) if not kind.sqlstate}

    sent = {kind.__name__: _psycopg.failure_of(kind("x"), connected=True).sent for kind in kinds}

    assert sent == expected


@pytest.mark.parametrize(
    ("told", "sent", "code"),
    [
        ("connection refused", Sent.NO, None),
        ("the database system is starting up", Sent.NO, None),
        ("failed to resolve host 'x': Name or service not known", Sent.NEVER, None),
        ('could not translate host name "x" to address', Sent.NEVER, None),
        ('FATAL:  password authentication failed for user "ada"', Sent.ANSWERED, "28P01"),
        ("fe_sendauth: no password supplied", Sent.ANSWERED, "28P01"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', Sent.ANSWERED, "28000"),
        ('FATAL:  database "nowhere" does not exist', Sent.ANSWERED, "3D000"),
    ],
)
def test_a_connection_that_cannot_be_made(told: str, sent: Sent, code: str | None):
    """A server that is away may come back; a wrong host, password or database will not."""
    failure = _psycopg.failure_of(psycopg.OperationalError(told), connected=False)

    assert (failure.sent, failure.code) == (sent, code)


def _tree(kind: type[Any]) -> set[type[Any]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


def test_a_refusal_names_the_job(manager: VideoJobManager, respx_mock: respx.MockRouter):
    """An error about a job carries its id, though the server's message is all that came."""
    script(respx_mock, json(400, "VJ002", "it is queued"))

    with pytest.raises(InvalidTransitionError, match="it is queued") as caught:
        manager.retry_job(str(NOBODYS_JOB))

    assert caught.value.job_id == UUID(int=NOBODYS_JOB.int)
