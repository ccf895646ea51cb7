"""Whose tokens are believed, and which are not."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import jwt
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from signing import ADA, ISSUER, SECRET, Signer, by_secret, claims, key_set, written_by_hand

from videojobs import (
    AuthenticationError,
    ConfigurationError,
    JobNotFoundError,
    Settings,
    SupabaseConnectionError,
    VideoJobManager,
    access,
)
from videojobs.access import TokenVerifier

EC = Signer("ec-1")
RSA = Signer("rsa-1", "RS256")
STRANGER = Signer("ec-1")
"""Another key, under the name of ours."""


@pytest.fixture
def verifier() -> TokenVerifier:
    """Knows the project's secret and its two public keys."""
    return TokenVerifier(issuer=ISSUER, secret=SECRET, jwks=key_set(EC, RSA))


class KeyServer(ThreadingHTTPServer):
    """Serves a key set, and counts how often it is asked."""

    body = b'{"keys": []}'
    status = 200
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    """A running one."""
    server = KeyServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetching(key_server: KeyServer) -> TokenVerifier:
    """Fetches its keys."""
    return TokenVerifier(issuer=ISSUER, jwks_url=f"http://127.0.0.1:{key_server.server_port}/keys")


@pytest.mark.parametrize(
    "token", [by_secret(), EC.sign(), RSA.sign()], ids=["HS256", "ES256", "RS256"]
)
async def test_a_users_token_tells_who_calls(verifier, token):
    """Each of the three ways to sign, by its own key."""
    caller = await verifier.verify(token)

    assert (caller.user_id, caller.email, caller.is_admin) == (ADA, "ada@example.com", False)
    assert timedelta(0) < caller.expires_at - datetime.now(UTC) <= timedelta(hours=1)


async def test_an_admin_is_named_by_app_metadata_alone(verifier):
    """What users can write themselves makes nobody an admin."""
    admin = await verifier.verify(by_secret(app_metadata={"role": "admin"}))
    pretender = await verifier.verify(
        by_secret(user_metadata={"role": "admin"}, app_metadata="admin")
    )

    assert (admin.is_admin, pretender.is_admin) == (True, False)


def _confused() -> str:
    """Our public key, which everybody has, taken for an HS256 secret."""
    return written_by_hand({"alg": "HS256", "kid": "rsa-1"}, claims(), RSA.public_pem)


REFUSED = {
    "no token at all": "",
    "not a token": "not.a.token",
    "expired": by_secret(exp=int(time.time()) - 60),
    "without an end": by_secret(exp=None),
    "an end that is no time": by_secret(exp="tomorrow"),
    "an end beyond all time": by_secret(exp=10**400),
    "an infinite end": written_by_hand({"alg": "HS256"}, claims(exp=float("inf")), SECRET.encode()),
    "not valid yet": by_secret(nbf=int(time.time()) + 86_400),
    "another audience": by_secret(aud="anon"),
    "no audience": by_secret(aud=None),
    "another issuer": by_secret(iss="https://other.supabase.co/auth/v1"),
    "no issuer": by_secret(iss=None),
    "nobody": by_secret(sub=None),
    "a user that is no id": by_secret(sub="ada"),
    "another secret": by_secret("another secret, just as long as the right one"),
    "another key under our name": STRANGER.sign(),
    "an unknown key": Signer("ec-2").sign(),
    "unsigned": written_by_hand({"alg": "none"}, claims()),
    "unsigned, in other letters": written_by_hand({"alg": "nOnE", "kid": "ec-1"}, claims()),
    "signed with the public key": _confused(),
    "the algorithm of another key": written_by_hand({"alg": "RS256", "kid": "ec-1"}, claims()),
    "a list for an algorithm": written_by_hand({"alg": ["HS256"]}, claims(), SECRET.encode()),
    "a list for an algorithm, with a key": written_by_hand(
        {"alg": ["ES256"], "kid": "x"}, claims()
    ),
    "a stronger hash of the secret": jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
    "a service's": by_secret(role="service_role"),
    "the anon key": by_secret(role="anon", sub=None),
    "no role": by_secret(role=None),
    "a role that is a list": by_secret(role=["authenticated"]),
    "very long": by_secret(email="x" * 20_000),
    "an address in the header": written_by_hand(
        {"alg": "ES256", "kid": "evil", "jku": "https://evil.example/keys"}, claims()
    ),
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED.keys())
async def test_no_other_token_is_believed(verifier, token):
    """Each is refused as such, and no error repeats the token."""
    with pytest.raises(AuthenticationError) as caught:
        await verifier.verify(token)

    assert caught.value.status == 401
    assert not token or token not in str(caught.value)


async def test_a_token_without_a_secret_to_check_it_is_refused():
    """Where only public keys are known, HS256 proves nothing, whatever it is signed with."""
    verifier = TokenVerifier(issuer=ISSUER, jwks=key_set(EC))

    with pytest.raises(AuthenticationError):
        await verifier.verify(_confused())


async def test_a_secret_in_a_key_set_is_no_key():
    """A set that holds a symmetric key does not make HS256 of it."""
    hidden = '{"keys": [{"kty": "oct", "kid": "s", "alg": "HS256", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTIzNDU2"}]}'

    with pytest.raises(ConfigurationError, match="cannot be verified"):
        TokenVerifier(issuer=ISSUER, jwks=hidden)


async def test_a_remembered_token_still_expires(verifier):
    """A second look is free, until the token's end."""
    token = by_secret(exp=int(time.time()) + 30)

    first = await verifier.verify(token)
    again = await verifier.verify(token)
    first.token.expires = time.time() - 60
    later = await verifier.verify(token)

    assert again is first
    assert later is not first


async def test_a_caller_shows_no_token(verifier):
    """Neither does its repr, nor that of its token."""
    token = by_secret()

    caller = await verifier.verify(token)

    assert token not in repr(caller)
    assert token not in repr(caller.token)
    assert caller.token == token


async def test_keys_are_fetched_once(fetching, key_server):
    """For all tokens, until the set is ten minutes old."""
    key_server.body = key_set(EC).encode()

    for _ in range(3):
        await fetching.verify(EC.sign(jti=str(uuid4())))

    assert key_server.asked == 1


async def test_a_new_key_is_found_and_forgers_do_not_hurry_us(fetching, key_server, monkeypatch):
    """An unknown key has the set fetched again, at most every half minute."""
    key_server.body = key_set(EC).encode()
    await fetching.verify(EC.sign())
    newer = Signer("ec-2")
    key_server.body = key_set(EC, newer).encode()

    for _ in range(5):
        with pytest.raises(AuthenticationError):
            await fetching.verify(Signer("evil").sign())
    within_half_a_minute = key_server.asked
    monkeypatch.setattr(access, "REFETCH_SECONDS", 0.0)
    caller = await fetching.verify(newer.sign())

    assert within_half_a_minute == 1
    assert (key_server.asked, caller.user_id) == (2, ADA)


async def test_a_key_that_was_withdrawn_is_refused(fetching, key_server, monkeypatch):
    """Once the set and the token are looked at again."""
    key_server.body = key_set(EC).encode()
    token = EC.sign()
    await fetching.verify(token)
    key_server.body = key_set(Signer("ec-2")).encode()
    for name in ("KEY_SET_SECONDS", "REFETCH_SECONDS", "_REMEMBERED_SECONDS"):
        monkeypatch.setattr(access, name, 0.0)

    with pytest.raises(AuthenticationError):
        await fetching.verify(token)


async def test_the_last_keys_serve_while_new_ones_cannot_be_had(fetching, key_server, monkeypatch):
    """An Auth server that is away for a while signs nobody out."""
    key_server.body = key_set(EC).encode()
    await fetching.verify(EC.sign())
    key_server.status = 502
    for name in ("KEY_SET_SECONDS", "REFETCH_SECONDS"):
        monkeypatch.setattr(access, name, 0.0)

    caller = await fetching.verify(EC.sign(jti="2"))

    assert (caller.user_id, key_server.asked) == (ADA, 2)


@pytest.mark.parametrize(
    ("status", "body"), [(502, b""), (200, b"<html>"), (200, b"[]"), (200, b"x" * 300_000)]
)
async def test_without_any_keys_the_database_is_said_to_be_away(fetching, key_server, status, body):
    """It is not the caller's fault, and the server is not asked for each of their requests."""
    key_server.status, key_server.body = status, body

    for _ in range(3):
        with pytest.raises(SupabaseConnectionError, match="could not be fetched"):
            await fetching.verify(EC.sign())
    assert key_server.asked == 1


def test_the_settings_name_issuer_and_keys():
    """A project's URL is enough; without one, the issuer must be named."""
    TokenVerifier.from_settings(Settings(supabase_url="https://project.supabase.co"))
    TokenVerifier.from_settings(Settings(jwt_secret=SECRET, jwt_issuer=ISSUER))

    with pytest.raises(ConfigurationError, match="VIDEOJOBS_JWT_ISSUER"):
        TokenVerifier.from_settings(Settings(jwt_secret=SECRET))
    with pytest.raises(ConfigurationError, match="SUPABASE_JWKS"):
        TokenVerifier.from_settings(Settings(jwt_issuer=ISSUER))
    with pytest.raises(ConfigurationError, match="no JSON Web Key Set"):
        TokenVerifier.from_settings(Settings(jwt_issuer=ISSUER, jwks="[]"))


async def test_a_verified_token_is_not_verified_again_by_postgres(stack, database):
    """A direct connection that knows no key takes our word for it, and for its end."""
    settings = Settings(database_url=database)
    caller = await TokenVerifier(issuer=stack.issuer, secret=stack.jwt_secret).verify(
        stack.user_token(ADA)
    )
    late = replace(caller, token=type(caller.token)(caller.token))
    late.token.claims_json, late.token.expires = caller.token.claims_json, time.time() - 60

    with VideoJobManager.from_url(database, settings=settings) as manager:
        with pytest.raises(JobNotFoundError):
            manager.as_user(caller.token).get_job(uuid4())
        with pytest.raises(ConfigurationError, match="verify the token itself"):
            manager.as_user(str.__str__(caller.token)).get_job(uuid4())
        with pytest.raises(AuthenticationError, match="expired"):
            manager.as_user(late.token).get_job(uuid4())
