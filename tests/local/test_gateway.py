"""The gateway has the manners of Supabase's, and passes on what PostgREST says."""

from __future__ import annotations

import http.client
import socket
import threading
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from postgrest import SyncPostgrestClient

from videojobs.local import LocalStack

FUNCTIONS = """
create table if not exists public.notes (id int primary key, body text);
grant select, insert on public.notes to service_role;

create or replace function public.who() returns jsonb language sql stable as $$
  select jsonb_build_object('role', current_user, 'uid', auth.uid(), 'claim', auth.jwt() -> 'app_metadata' ->> 'role')
$$;

create or replace function public.echo(body text) returns text language sql immutable as $$ select body $$;

create or replace function public.nap(seconds float8) returns text language plpgsql as $$
begin
  perform pg_sleep(seconds);
  return 'awake';
end;
$$;

create or replace function public.slow_down() returns text language plpgsql as $$
begin
  raise sqlstate 'PGRST' using
    message = '{"code":"429","message":"slow down"}',
    detail = '{"status":429,"headers":{"Retry-After":"7"}}';
end;
$$;
notify pgrst, 'reload schema';
"""


@pytest.fixture(scope="module")
def gateway(bare_stack: LocalStack, request) -> LocalStack:
    """The bare stack with a table and functions that answer in telling ways."""
    with psycopg.connect(bare_stack.database_url, autocommit=True) as connection:
        connection.execute(FUNCTIONS)
    bare_stack.stop_rest()
    bare_stack.start_rest()
    return bare_stack


@pytest.fixture
def client(gateway: LocalStack):
    """A client with the service key."""
    with httpx.Client(
        base_url=f"{gateway.api_url}/rest/v1/", headers={"apikey": gateway.service_role_key}
    ) as client:
        yield client


def raw_answer(stack: LocalStack, request: bytes) -> bytes:
    """Send bytes as they are and return all that comes back."""
    address = urlsplit(stack.api_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_request_without_a_key_is_refused(gateway):
    """Without `apikey` the answer is 401, as Supabase words it, and browsers may read it."""
    answer = httpx.get(f"{gateway.api_url}/rest/v1/notes")

    assert answer.status_code == 401
    assert answer.json()["message"] == "No API key found in request"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_an_unknown_key_is_refused(gateway):
    """A key that is not one of the two is answered with 401, also when it is a valid token."""
    token = gateway.user_token(uuid4())

    answer = httpx.get(f"{gateway.api_url}/rest/v1/notes", headers={"apikey": token})

    assert answer.status_code == 401
    assert answer.json()["message"] == "Invalid API key"


def test_the_key_may_stand_in_the_url(gateway):
    """`?apikey=` does as well as the header."""
    answer = httpx.post(f"{gateway.api_url}/rest/v1/rpc/who?apikey={gateway.service_role_key}")

    assert answer.json()["role"] == "service_role"


def test_without_a_token_the_key_says_who_calls(gateway):
    """The anon key alone makes the caller anon, the service key service_role."""
    roles = [
        httpx.post(f"{gateway.api_url}/rest/v1/rpc/who", headers={"apikey": key}).json()["role"]
        for key in (gateway.anon_key, gateway.service_role_key)
    ]

    assert roles == ["anon", "service_role"]


def test_a_user_token_says_who_calls(gateway):
    """Behind the anon key, a user's token makes the caller that user, with their claims."""
    user = uuid4()
    headers = {
        "apikey": gateway.anon_key,
        "Authorization": f"Bearer {gateway.user_token(user, app_metadata={'role': 'admin'})}",
    }

    with httpx.Client() as session:
        postgrest = SyncPostgrestClient(
            f"{gateway.api_url}/rest/v1", headers=headers, http_client=session
        )
        answer = postgrest.rpc("who", {}).execute().data

    assert answer == {"role": "authenticated", "uid": str(user), "claim": "admin"}


def test_an_expired_token_is_refused(gateway):
    """PostgREST's own 401 comes through."""
    token = gateway.user_token(uuid4(), expires_in=timedelta(minutes=-5))

    answer = httpx.post(
        f"{gateway.api_url}/rest/v1/rpc/who",
        headers={"apikey": gateway.anon_key, "Authorization": f"Bearer {token}"},
    )

    assert answer.status_code == 401
    assert answer.json()["message"] == "JWT expired"


def test_headers_of_the_reply_are_passed_on(client):
    """Retry-After and Content-Range, which clients act on, arrive."""
    slowed = client.post("rpc/slow_down")
    listed = client.get("notes", headers={"Prefer": "count=exact"})

    assert (slowed.status_code, slowed.headers["retry-after"]) == (429, "7")
    assert listed.headers["content-range"] == "*/0"


def test_query_strings_arrive_unchanged(client):
    """Filters, quotes and escapes in the URL mean what they mean to PostgREST."""
    client.post("notes", json=[{"id": 1, "body": "a,b (c) ü"}, {"id": 2, "body": "other"}])

    found = client.get("notes", params={"body": 'in.("a,b (c) ü")', "select": "id"})

    assert found.json() == [{"id": 1}]


def test_large_bodies_pass_both_ways(client):
    """Five megabytes go up and come back whole."""
    body = "0123456789" * 500_000

    answer = client.post("rpc/echo", json={"body": body}, timeout=30)

    assert answer.json() == body


def test_streamed_uploads_pass(client):
    """A request body of unknown length arrives whole."""
    pieces = (piece for piece in (b'{"body":"', b"in ", b"pieces", b'"}'))

    answer = client.post("rpc/echo", content=pieces, headers={"Content-Type": "application/json"})

    assert answer.json() == "in pieces"


def test_one_connection_carries_many_requests(gateway):
    """The gateway keeps the caller's connection, whatever the answers were."""
    address = urlsplit(gateway.api_url)
    connection = http.client.HTTPConnection(address.hostname, address.port)
    key = {"apikey": gateway.service_role_key}
    sockets = set()

    for path, headers in (("/rest/v1/notes", key), ("/rest/v1/notes", {}), ("/rest/v1/notes", key)):
        connection.request("GET", path, headers=headers)
        connection.getresponse().read()
        sockets.add(connection.sock)
    connection.close()

    assert len(sockets) == 1


def test_pipelined_requests_are_answered_in_order(gateway):
    """Two requests sent at once get two answers."""
    head = f"Host: x\r\napikey: {gateway.service_role_key}\r\n".encode()
    first = b"GET /rest/v1/notes?id=eq.-1 HTTP/1.1\r\n" + head + b"\r\n"
    second = b"GET /elsewhere HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n"

    answer = raw_answer(gateway, first + second)

    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.index(b"200 OK") < answer.index(b"404")


def test_a_caller_that_waits_before_sending_is_told_to_go_on(gateway):
    """`Expect: 100-continue`, which curl sends before large bodies, is answered."""
    body = b'{"body":"x"}'
    head = (
        f"POST /rest/v1/rpc/echo HTTP/1.1\r\nHost: x\r\napikey: {gateway.service_role_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n"
    ).encode()
    address = urlsplit(gateway.api_url)

    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head)
        told = connection.recv(65536)
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert told.startswith(b"HTTP/1.1 100 ")
    assert b'"x"' in answer


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /rest/v1/x HTTP/1.0\r\nHost: x\r\n\r\n", b"505"),
        (b"GET /rest/v1/x HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /rest/v1/x HTTP/1.1\r\n\r\n", b"400"),
        (b"not http at all\r\n\r\n", b"400"),
    ],
    ids=["HTTP/1.0", "a head over 16 KiB", "no Host", "no HTTP"],
)
def test_unusable_requests_are_answered(gateway, request_head, status):
    """What cannot be read or passed on gets a status and not silence."""
    answer = raw_answer(gateway, request_head)

    assert answer.startswith(b"HTTP/1.1 " + status)


def test_browsers_may_call(gateway):
    """A preflight needs no key and allows every header that was asked for."""
    answer = httpx.options(
        f"{gateway.api_url}/rest/v1/notes",
        headers={
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "apikey,authorization,x-client-info",
        },
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "apikey,authorization,x-client-info"


def test_browsers_may_read_the_reply(gateway):
    """A reply of PostgREST's to a browser allows its origin."""
    answer = httpx.get(
        f"{gateway.api_url}/rest/v1/notes",
        headers={"apikey": gateway.service_role_key, "Origin": "http://localhost:3000"},
    )

    assert answer.headers["access-control-allow-origin"] == "*"


def test_the_key_set_is_empty(gateway):
    """Who looks for public keys learns that tokens are signed with the shared secret."""
    answer = httpx.get(f"{gateway.api_url}/auth/v1/.well-known/jwks.json")

    assert answer.json() == {"keys": []}


def test_other_paths_do_not_exist(gateway):
    """Parts of Supabase that are not here answer 404, in the gateway's words."""
    answer = httpx.get(
        f"{gateway.api_url}/storage/v1/bucket", headers={"apikey": gateway.service_role_key}
    )

    assert answer.status_code == 404
    assert answer.json()["message"] == "no Route matched with those values"


def test_postgrest_can_be_away_for_a_while(gateway, client):
    """While PostgREST is stopped the answer is 502; after its start all is as before, at the same URL."""
    before = client.post("rpc/who").status_code

    gateway.stop_rest()
    away = client.post("rpc/who")
    gateway.start_rest()
    after = client.post("rpc/who").status_code

    assert (before, away.status_code, after) == (200, 502, 200)
    assert "upstream" in away.json()["message"]


def test_a_reply_that_never_comes_is_a_502(gateway, client, eventually):
    """When PostgREST dies while it works on a request, the caller gets 502."""
    answers = []
    call = threading.Thread(
        target=lambda: answers.append(client.post("rpc/nap", json={"seconds": 4}))
    )
    naps = "select count(*) from pg_stat_activity where usename = 'authenticator' and wait_event = 'PgSleep'"

    call.start()
    with psycopg.connect(gateway.database_url, autocommit=True) as connection:
        assert eventually(lambda: connection.execute(naps).fetchone() == (1,))
    gateway.stop_rest()
    call.join()
    gateway.start_rest()

    assert answers[0].status_code == 502
