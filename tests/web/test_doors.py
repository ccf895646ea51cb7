"""Every route, asked by those who may not."""

from __future__ import annotations

import time
from uuid import UUID, uuid4

import jwt
import pytest

from videojobs import AsyncVideoJobManager
from videojobs.settings import WebSettings
from videojobs.web import create_app

ADA = UUID("00000000-0000-4000-8000-000000000ada")
OPEN = {"/healthz", "/healthz/live"}
_DESCRIBED = create_app(AsyncVideoJobManager.from_env, settings=WebSettings()).openapi()
ROUTES = [
    (method.upper(), path)
    for path, methods in _DESCRIBED["paths"].items()
    for method in methods
    if path not in OPEN
]


@pytest.fixture
def bad_tokens(stack) -> dict[str, str]:
    """Signed by the right key, but for two, and still nobody's here."""
    usual = {
        "iss": stack.issuer,
        "sub": str(ADA),
        "aud": "authenticated",
        "role": "authenticated",
        "exp": int(time.time()) + 600,
    }

    def signed(key: str = stack.jwt_secret, **changes: object) -> str:
        claims = {name: value for name, value in {**usual, **changes}.items() if value is not None}
        return jwt.encode(claims, key, algorithm="HS256")

    return {
        "expired": signed(exp=int(time.time()) - 60),
        "wrong audience": signed(aud="other"),
        "wrong issuer": signed(iss="https://evil.example/auth/v1"),
        "wrong key": signed("another key that is as long as the right one is"),
        "unsigned": jwt.encode(usual, None, algorithm="none"),
        "service": stack.service_role_key,
        "anon": stack.anon_key,
        "a service's with an audience": signed(role="service_role"),
        "unknown key": jwt.encode(usual, stack.jwt_secret, algorithm="HS256", headers={"kid": "x"})[
            :-6
        ]
        + "AAAAAA",
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_is_open(people, bad_tokens, method: str, path: str):
    """Without a token, or with any of the bad ones: 401, before anything is looked at."""
    path = path.format(job_id=uuid4(), team_id=uuid4(), name="x")

    replies = {"none": people.client().request(method, path)}
    replies |= {
        name: people.client(token).request(method, path) for name, token in bad_tokens.items()
    }

    assert {name: reply.status_code for name, reply in replies.items()} == dict.fromkeys(
        replies, 401
    )
    assert all(token not in replies[name].text for name, token in bad_tokens.items())
    assert replies["none"].headers["WWW-Authenticate"] == "Bearer"
    assert replies["expired"].headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
