"""``videojobs serve`` as a user runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from videojobs.local.postgres import free_port


@contextmanager
def serving(
    folder: Path, environment: dict[str, str], *arguments: str
) -> Iterator[tuple[str, Path]]:
    """Run it until the block ends, and give its address and its log."""
    port, log = free_port(None), folder / "log"
    command = [sys.executable, "-m", "videojobs", "serve", "--port", str(port), *arguments]
    with log.open("w") as told:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=told, stderr=told)
    try:
        _wait_for(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}", log
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            httpx.get(f"{url}/healthz/live")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(log.read_text())


def test_without_a_database_it_serves_an_embedded_one(bare_environment, tmp_path: Path):
    """With a login for development that says so, in its answer and in the log, and for this machine.

    No page of another site signs in, though CORS lets all of them call.
    """
    environment = {**bare_environment, "VIDEOJOBS_WEB_CORS_ORIGINS": "*"}
    with serving(tmp_path, environment, "--dashboard") as (url, log):
        page = httpx.get(f"{url}/video-jobs", follow_redirects=True)
        session = httpx.post(f"{url}/dev/login", json={"email": "ada@example.com"}).json()
        token = {"Authorization": f"Bearer {session['access_token']}"}
        video = b"\x00\x00\x00\x18ftypmp42" + bytes(1000)
        made = httpx.post(f"{url}/api/v1/process", headers=token, files={"file": video})
        figures = httpx.get(f"{url}/metrics", headers=token)
        job = made.json()
        listed = subprocess.run(
            [sys.executable, "-m", "videojobs", "jobs", "list", "--json"],
            env=bare_environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        rebound = httpx.post(f"{url}/dev/login", json={}, headers={"Host": "evil.example"})
        pages = [
            httpx.post(f"{url}/dev/login", json={}, headers={"Origin": origin}).status_code
            for origin in ("https://evil.example", "null", "http://[", "http://localhost:3000")
        ]
        told = log.read_text()

    assert pages == [403, 403, 403, 200]
    assert job["id"] in listed.stdout
    assert (made.status_code, made.json()["user_id"]) == (201, session["user_id"])
    assert (tmp_path / "videojobs-output" / made.json()["source_url"]).read_bytes() == video
    assert "development login" in session["notice"]
    assert f"development login of {session['user_id']}" in told
    assert (figures.status_code, rebound.status_code) == (403, 400)
    assert session["access_token"] not in told
    assert (page.status_code, page.url.path) == (200, "/video-jobs/sign-in")


def test_a_stack_that_runs_is_served_too(bare_environment, tmp_path: Path, stack, database):
    """With the lines in the environment that `videojobs local up` printed."""
    environment = {
        **bare_environment,
        "SUPABASE_DB_URL": database,
        "SUPABASE_JWT_SECRET": stack.jwt_secret,
    }
    with serving(tmp_path, environment, "--data-dir", str(stack.data_dir)) as (url, _):
        session = httpx.post(f"{url}/dev/login", json={}).json()
        token = {"Authorization": f"Bearer {session['access_token']}"}
        jobs = httpx.get(f"{url}/api/v1/user/jobs", headers=token)

    assert (jobs.status_code, jobs.json()["items"]) == (200, [])


def test_on_a_configured_database_there_is_no_development_login(
    bare_environment, tmp_path: Path, stack, database
):
    """Whoever signs in does so with Supabase."""
    (tmp_path / "files").mkdir()
    environment = {
        **bare_environment,
        "SUPABASE_DB_URL": database,
        "SUPABASE_JWT_SECRET": stack.jwt_secret,
        "VIDEOJOBS_JWT_ISSUER": stack.issuer,
        "VIDEOJOBS_STORAGE_DIR": "files",
    }
    with serving(tmp_path, environment) as (url, _):
        login = httpx.post(f"{url}/dev/login", json={})
        ready = httpx.get(f"{url}/healthz")

    assert (login.status_code, ready.status_code) == (404, 200)


def test_an_address_in_use_is_said_before_anything_is_served(run, tmp_path: Path):
    """By its own words, and as a mistake of the set-up."""
    (tmp_path / "videojobs-output").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        result = run(
            "serve",
            "--port",
            port,
            SUPABASE_URL="http://127.0.0.1:1",
            SUPABASE_SECRET_KEY="sb_secret_x",
        )

    assert result.returncode == 2
    assert f"127.0.0.1:{port} cannot be listened at" in result.stderr
    assert "serving at" not in result.stderr


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SUPABASE_DB_URL": "postgresql://h/d"}, "VIDEOJOBS_JWT_ISSUER"),
        (
            {"SUPABASE_DB_URL": "postgresql://h/d", "VIDEOJOBS_JWT_ISSUER": "i"},
            "SUPABASE_JWT_SECRET",
        ),
        ({"SUPABASE_URL": "http://127.0.0.1:1", "VIDEOJOBS_STORAGE_DIR": "nix"}, "nix"),
    ],
)
def test_what_is_missing_is_said_at_the_start(run, tmp_path: Path, variables, told):
    """Not with the first request."""
    (tmp_path / "videojobs-output").mkdir()

    result = run("serve", "--port", "0", **variables)

    assert result.returncode == 2
    assert told in result.stderr
