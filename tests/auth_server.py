"""A stand-in for a project's Supabase Auth, which cannot run without Docker, before a real PostgREST.

It speaks as the documented API does (``POST /auth/v1/token?grant_type=...``: password and refresh
token) and signs real tokens. Whatever else it is asked, it passes on to the stack.
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

import httpx
import jwt

from videojobs.local import LocalStack

PASSWORD = "correct horse"
_PASSED_ON = (
    "apikey",
    "authorization",
    "content-type",
    "accept",
    "prefer",
    "content-profile",
    "accept-profile",
)


class AuthServer:
    """Users who all have `PASSWORD`; tells which grants were asked for."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.users: dict[str, UUID] = {}
        self.lifetime_seconds = 3600
        self.grants: list[str] = []
        self.is_broken = False
        self.http = httpx.Client(timeout=30)
        self.stack_url = stack.api_url
        self.refresh_tokens: dict[str, str] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def run(self) -> None:
        """Answer until `stop`."""
        self._http.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()
        self.http.close()

    def answer(
        self, grant: str, key: str | None, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Status and content of the reply."""
        self.grants.append(grant)
        if self.is_broken:
            return 503, {"message": "out of order"}
        if key != self._stack.anon_key:
            return 401, {"message": "Invalid API key"}
        if grant == "password" and body["email"] in self.users and body["password"] == PASSWORD:
            return 200, self._session(body["email"])
        if grant == "refresh_token" and body["refresh_token"] in self.refresh_tokens:
            return 200, self._session(self.refresh_tokens.pop(body["refresh_token"]))
        return 400, {"error_code": "invalid_credentials", "msg": "Invalid login credentials"}

    def _session(self, email: str) -> dict[str, Any]:
        now = int(time.time())
        user_id = str(self.users[email])
        refresh_token = f"refresh-{len(self.grants)}"
        self.refresh_tokens[refresh_token] = email
        claims = {
            "iss": f"{self.url}/auth/v1",
            "sub": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "email": email,
            "app_metadata": {"provider": "email"},
            "user_metadata": {},
        }
        moment = "2026-01-01T00:00:00Z"
        user = {
            "id": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": email,
            "app_metadata": {},
            "user_metadata": {},
            "created_at": moment,
            "updated_at": moment,
        }
        return {
            "access_token": jwt.encode(claims, self._stack.jwt_secret, algorithm="HS256"),
            "token_type": "bearer",
            "expires_in": self.lifetime_seconds,
            "expires_at": now + self.lifetime_seconds,
            "refresh_token": refresh_token,
            "user": user,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on("GET", b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not self.path.startswith("/auth/v1/token"):
                    return self._pass_on("POST", body)
                grant = parse_qs(urlsplit(self.path).query).get("grant_type", [""])[0]
                key = self.headers.get("apikey")
                status, content = server.answer(grant, key, json.loads(body or b"{}"))
                return self._reply(status, "application/json", json.dumps(content).encode())

            def _pass_on(self, method: str, body: bytes) -> None:
                headers = {k: v for k, v in self.headers.items() if k.lower() in _PASSED_ON}
                url = f"{server.stack_url}{self.path}"
                answer = server.http.request(method, url, headers=headers, content=body)
                self._reply(answer.status_code, answer.headers["content-type"], answer.content)

            def _reply(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def auth_server(stack: LocalStack) -> Iterator[AuthServer]:
    """Run it in a thread."""
    server = AuthServer(stack)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
