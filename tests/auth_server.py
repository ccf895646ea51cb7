"""A stand-in for Supabase Auth, which cannot run without Docker: password and refresh-token grants.

It speaks as the documented API does (``POST /auth/v1/token?grant_type=...``) and signs real tokens.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import jwt

PASSWORD = "correct horse"
PUBLISHABLE_KEY = "sb_publishable_test"


class AuthServer:
    """One user with `PASSWORD`; tells which grants were asked for."""

    def __init__(self, secret: str, email: str, user_id: UUID) -> None:
        self._secret, self._email, self._user_id = secret, email, user_id
        self.lifetime_seconds = 3600
        self.grants: list[str] = []
        self.is_broken = False
        self._refresh_tokens: set[str] = set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def run(self) -> None:
        """Answer until `stop`."""
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()

    def answer(
        self, grant: str, key: str | None, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Status and content of the reply."""
        self.grants.append(grant)
        if self.is_broken:
            return 503, {"message": "out of order"}
        if key != PUBLISHABLE_KEY:
            return 401, {"message": "Invalid API key"}
        if grant == "password" and (body["email"], body["password"]) == (self._email, PASSWORD):
            return 200, self._session()
        if grant == "refresh_token" and body["refresh_token"] in self._refresh_tokens:
            self._refresh_tokens.discard(body["refresh_token"])
            return 200, self._session()
        return 400, {"error_code": "invalid_credentials", "msg": "Invalid login credentials"}

    def _session(self) -> dict[str, Any]:
        now = int(time.time())
        refresh_token = f"refresh-{len(self.grants)}"
        self._refresh_tokens.add(refresh_token)
        claims = {
            "iss": f"{self.url}/auth/v1",
            "sub": str(self._user_id),
            "aud": "authenticated",
            "role": "authenticated",
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "email": self._email,
            "app_metadata": {"provider": "email"},
            "user_metadata": {},
        }
        moment = "2026-01-01T00:00:00Z"
        user = {
            "id": str(self._user_id),
            "aud": "authenticated",
            "role": "authenticated",
            "email": self._email,
            "app_metadata": {},
            "user_metadata": {},
            "created_at": moment,
            "updated_at": moment,
        }
        return {
            "access_token": jwt.encode(claims, self._secret, algorithm="HS256"),
            "token_type": "bearer",
            "expires_in": self.lifetime_seconds,
            "expires_at": now + self.lifetime_seconds,
            "refresh_token": refresh_token,
            "user": user,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"{}")
                grant = parse_qs(urlsplit(self.path).query).get("grant_type", [""])[0]
                status, content = server.answer(grant, self.headers.get("apikey"), body)
                text = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def auth_server(secret: str, email: str, user_id: UUID) -> Iterator[AuthServer]:
    """Run it in a thread."""
    server = AuthServer(secret, email, user_id)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
