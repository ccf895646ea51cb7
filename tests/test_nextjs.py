"""The Next.js example is checked, built, and used in a browser, on the real stack."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    Locator,
    Page,
    Route,
    WebSocketRoute,
    expect,
    sync_playwright,
)

from parts import ROOT, Parts
from videojobs import Beat, VideoJobManager
from videojobs.local import LocalStack
from videojobs.local.postgres import free_port
from videojobs.local.processes import Guarded, last_lines

# The build takes 15 s of processor time, and whatever others leave of it.
pytestmark = pytest.mark.timeout(400)

EXAMPLE = ROOT / "examples" / "nextjs"
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def example(parts: Parts) -> Iterator[Path]:
    """The example in a checkout of its own, with its packages, and nothing else."""
    modules = parts.nextjs_modules
    # Beside the packages: links cannot lead to another disk, and the build follows no symbolic ones.
    with tempfile.TemporaryDirectory(dir=modules.parent, prefix="checkout-") as checkout:
        folder = Path(checkout) / "examples" / "nextjs"
        made = shutil.ignore_patterns("node_modules", ".next", ".env*.local", "*.tsbuildinfo")
        shutil.copytree(EXAMPLE, folder, ignore=made)
        (Path(checkout) / "supabase").mkdir()
        shutil.copy(ROOT / "supabase" / "database.types.ts", Path(checkout) / "supabase")
        shutil.copytree(modules, folder / "node_modules", symlinks=True, copy_function=os.link)
        yield folder


@pytest.fixture(scope="module")
def built(parts: Parts, example: Path) -> Path:
    """The example after ``next build``, which also checks its types."""
    result = _node(parts, example, "next/dist/bin/next", "build")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "reconfigured" not in result.stdout, "Next.js wants another tsconfig.json"
    return example


@pytest.fixture(scope="module")
def browser(parts: Parts) -> Iterator[Browser]:
    """Chromium, which speaks to nobody by itself."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=parts.chromium, args=[*_QUIET])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that nobody used before, and that must not fail unseen."""
    expect.set_options(timeout=20_000)
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(20_000)
        failures: list[Exception] = []
        page.on("pageerror", lambda error: failures.append(error))
        yield page
        assert failures == []


@pytest.fixture(scope="module")
def api_port() -> int:
    """Where the Python API is, or would be."""
    return free_port(None)


@pytest.fixture(scope="module")
def local_app(parts: Parts, built: Path, stack: LocalStack, api_port: int) -> Iterator[str]:
    """The built app on the local stack: its address."""
    local = {"VIDEOJOBS_LOCAL": "1", "VIDEOJOBS_API_URL": f"http://127.0.0.1:{api_port}"}
    yield from _served(parts, built, stack, local)


@pytest.fixture(scope="module")
def hosted_app(parts: Parts, built: Path, stack: LocalStack) -> Iterator[str]:
    """The built app as for a Supabase project, with Auth and Realtime: its address."""
    yield from _served(parts, built, stack, {})


@pytest.fixture
def jobs(database: str) -> Iterator[VideoJobManager]:
    """A service's access to the stack's database, which is empty."""
    with VideoJobManager.from_url(database) as manager:
        yield manager


def test_a_misspelt_column_does_not_compile(parts: Parts, example: Path):
    """The example is held to supabase/database.types.ts."""
    jobs = (example / "lib" / "jobs.ts").read_text()
    misspelt = example / "lib" / "misspelt.ts"
    misspelt.write_text(jobs.replace("'id, original_f", "'id, orignal_f"))
    config = {"extends": "./tsconfig.json", "include": ["lib/misspelt.ts"]}
    (example / "misspelt.json").write_text(json.dumps(config))

    result = _node(parts, example, "typescript/bin/tsc", "-p", "misspelt.json")
    misspelt.unlink()

    assert result.returncode != 0
    assert "column 'orignal_filename' does not exist on 'video_jobs'" in result.stdout


def test_people_see_their_own_jobs_and_cancel_them(
    local_app: str, stack: LocalStack, jobs: VideoJobManager, page: Page, api_port: int
):
    """By a token that was printed; what is no token is told so, and so is an API that is away."""
    mine, theirs = uuid4(), uuid4()
    jobs.create_job(user_id=mine, source_url="a.mp4", original_filename="talk.mp4")
    jobs.create_job(user_id=theirs, source_url="b.mp4", original_filename="secret.mp4")

    page.goto(local_app)
    _sign_in_by_token(page, "talk.mp4")
    expect(_problem(page)).to_contain_text("This is no token")
    _sign_in_by_token(page, stack.user_token(mine))
    expect(_card(page, "talk.mp4")).to_contain_text("queued")
    expect(page.get_by_text("secret.mp4")).to_have_count(0)
    page.get_by_role("button", name="Cancel talk.mp4").click()
    expect(_card(page, "talk.mp4")).to_contain_text("cancelled")
    page.get_by_label("Video").set_input_files(EXAMPLE / "package.json")
    page.get_by_role("button", name="Cut clips").click()
    expect(_problem(page)).to_contain_text(f"{api_port} does not answer")


def test_events_move_the_list_on_the_local_stack(
    local_app: str,
    stack: LocalStack,
    jobs: VideoJobManager,
    page: Page,
    api_port: int,
    tmp_path: Path,
):
    """From the Python API, also those that came while it was away."""
    user = uuid4()
    jobs.create_job(user_id=user, source_url="a.mp4", original_filename="talk.mp4")

    with _api(stack, api_port, tmp_path):
        page.goto(local_app)
        _sign_in_by_token(page, stack.user_token(user))
        expect(_card(page, "talk.mp4")).to_contain_text("queued")
        (lease,) = jobs.claim_jobs("worker", limit=1)
        expect(_card(page, "talk.mp4")).to_contain_text("processing")
        jobs.heartbeat([Beat(job_id=lease.job.id, run_token=lease.run_token, progress=40)])
        expect(_progress(page, "talk.mp4")).to_have_js_property("value", 40)
    jobs.complete_job(lease, ["clip.mp4"], 1)
    with _api(stack, api_port, tmp_path):
        expect(_card(page, "talk.mp4")).to_contain_text("1 files")


def test_an_upload_becomes_a_job(
    local_app: str,
    stack: LocalStack,
    jobs: VideoJobManager,
    page: Page,
    api_port: int,
    tmp_path: Path,
):
    """By a server action, which gives it to the Python API; what that refuses is told."""
    user = uuid4()
    video = tmp_path / "talk.mp4"
    video.write_bytes(b"\0\0\0\x18ftypisom" + b"the rest is the worker's to judge")

    with _api(stack, api_port, tmp_path):
        page.goto(local_app)
        _sign_in_by_token(page, stack.user_token(user))
        page.get_by_label("Clips").fill("2")
        page.get_by_label("Video").set_input_files(EXAMPLE / "package.json")
        page.get_by_role("button", name="Cut clips").click()
        expect(_problem(page)).to_contain_text("does not begin like a video")
        page.get_by_label("Video").set_input_files(video)
        page.get_by_role("button", name="Cut clips").click()
        expect(_card(page, "talk.mp4")).to_contain_text("queued")

    (job,) = jobs.get_user_jobs(user).items
    assert (tmp_path / job.source_url).read_bytes() == video.read_bytes()
    assert (job.clip_count, job.platform_target, job.quality_preset) == (2, "tiktok", "standard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(
    local_app: str, stack: LocalStack, jobs: VideoJobManager, page: Page, scheme: str
):
    """axe-core finds nothing to say about the sign-in, or about jobs in each state."""
    user = uuid4()
    for number in range(5):
        jobs.create_job(user_id=user, source_url=f"{number}.mp4")
    completed, failed, _processing, cancelled = jobs.claim_jobs("worker", limit=4)
    jobs.complete_job(completed, ["clip.mp4"], 1)
    jobs.fail_job(failed, "It has no picture.", error_code="no_video_stream", retryable=False)
    jobs.cancel_job(cancelled.job.id)
    page.emulate_media(color_scheme=scheme)

    page.goto(local_app)
    page.get_by_label("Development token").wait_for()
    at_the_door = Axe().run(page)
    _sign_in_by_token(page, stack.user_token(user))
    expect(page.get_by_text("It has no picture.")).to_be_visible()
    inside = Axe().run(page)

    assert at_the_door.response["violations"] == []
    assert inside.response["violations"] == []


def test_realtime_moves_the_list_of_a_supabase_project(
    hosted_app: str, stack: LocalStack, jobs: VideoJobManager, page: Page
):
    """The app joins the user's private channel, and misses nothing that changed before it had joined.

    Auth and Realtime, which need Docker, are played by the browser's network; the database is real.
    """
    user = uuid4()
    job = jobs.create_job(user_id=user, source_url="a.mp4", original_filename="talk.mp4")
    realtime = Realtime()
    page.route("**/auth/v1/token?grant_type=password", lambda route: _let_in(route, stack, user))
    page.route_web_socket("**/realtime/v1/websocket*", realtime.meet)

    page.goto(hosted_app)
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Sign in").click()
    expect(_card(page, "talk.mp4")).to_contain_text("queued")
    (lease,) = jobs.claim_jobs("worker", limit=1)
    _wait_for(page, lambda: realtime.joined is not None)
    realtime.answer_join()
    expect(_card(page, "talk.mp4")).to_contain_text("processing")
    realtime.tell({"id": str(job.id), "status": "processing", "progress": 40})
    expect(_progress(page, "talk.mp4")).to_have_js_property("value", 40)
    jobs.complete_job(lease, ["clip.mp4"], 1)
    realtime.tell({"id": str(job.id), "status": "completed", "progress": 100})
    expect(_card(page, "talk.mp4")).to_contain_text("1 files")
    expect(page.get_by_role("status")).to_have_text("talk.mp4 is completed")

    assert realtime.topic == f"realtime:videojobs:user:{user}"
    assert realtime.joined["config"]["private"] is True
    assert realtime.joined["access_token"].count(".") == 2


class Realtime:
    """One client of Supabase Realtime, as its protocol 2.0.0 tells: [join_ref, ref, topic, event, payload]."""

    def __init__(self) -> None:
        self.topic = ""
        self.joined: dict[str, Any] | None = None

    def meet(self, socket: WebSocketRoute) -> None:
        """Take the browser's connection."""
        self._socket = socket
        socket.on_message(self._hear)

    def _hear(self, message: str | bytes) -> None:
        join_ref, ref, topic, event, payload = json.loads(message)
        if event == "phx_join":
            self._join_ref, self._ref, self.topic, self.joined = join_ref, ref, topic, payload

    def answer_join(self) -> None:
        """Let the client in."""
        answer = {"status": "ok", "response": {"postgres_changes": []}}
        self._send(self._join_ref, self._ref, "phx_reply", answer)

    def tell(self, change: dict[str, Any]) -> None:
        """Broadcast a change, as the database does."""
        payload = {"type": "broadcast", "event": "job", "payload": change}
        self._send(None, None, "broadcast", payload)

    def _send(self, join_ref: str | None, ref: str | None, event: str, payload: object) -> None:
        self._socket.send(json.dumps([join_ref, ref, self.topic, event, payload]))


def _let_in(route: Route, stack: LocalStack, user: UUID) -> None:
    """Answer a password as Supabase Auth does."""
    session = {
        "access_token": stack.user_token(user),
        "token_type": "bearer",
        "expires_in": 3600,
        "refresh_token": "again",
        "user": {"id": str(user), "aud": "authenticated", "email": "ada@example.com"},
    }
    route.fulfill(json=session, headers={"Access-Control-Allow-Origin": "*"})


def _sign_in_by_token(page: Page, token: str) -> None:
    page.get_by_label("Development token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def _card(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name)


def _progress(page: Page, name: str) -> Locator:
    return page.get_by_role("progressbar", name=f"Progress of {name}")


def _problem(page: Page) -> Locator:
    return page.get_by_role("main").get_by_role("alert")  # Next.js has one of its own outside


def _wait_for(page: Page, is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < until
        page.wait_for_timeout(20)  # lets Playwright hear


@contextmanager
def _api(stack: LocalStack, port: int, storage: Path) -> Iterator[None]:
    """Run the Python API on the stack, as `videojobs serve`."""
    log = storage / "api.log"
    server = Guarded(
        [sys.executable, "-m", "videojobs", "serve", "--port", str(port)],
        log=log,
        signals=[("SIGTERM", 5.0)],
        environment={
            "VIDEOJOBS_TRANSPORT": "postgres",
            "SUPABASE_DB_URL": stack.database_url,
            "SUPABASE_JWT_SECRET": stack.jwt_secret,
            "SUPABASE_URL": stack.api_url,
            "SUPABASE_SECRET_KEY": stack.service_role_key,
            "VIDEOJOBS_STORAGE_DIR": str(storage),
        },
    )
    try:
        _wait_until_listening(port, server, log)
        yield
    finally:
        server.stop()


def _served(
    parts: Parts, folder: Path, stack: LocalStack, variables: dict[str, str]
) -> Iterator[str]:
    port = free_port(None)
    log = folder / f"{port}.log"
    server = Guarded(
        [
            parts.node,
            folder / "node_modules/next/dist/bin/next",
            "start",
            folder,
            "-H",
            "127.0.0.1",
        ],
        log=log,
        signals=[("SIGTERM", 5.0)],
        environment={
            "PORT": str(port),
            "NEXT_TELEMETRY_DISABLED": "1",
            "SUPABASE_URL": stack.api_url,
            "SUPABASE_PUBLISHABLE_KEY": stack.anon_key,
            "VIDEOJOBS_API_URL": "",
            "VIDEOJOBS_LOCAL": "",
            **variables,
        },
    )
    try:
        _wait_until_listening(port, server, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.stop()


def _wait_until_listening(port: int, server: Guarded, log: Path) -> None:
    until = time.monotonic() + 30
    with socket.socket() as client:
        while client.connect_ex(("127.0.0.1", port)) != 0:
            assert server.exit_code is None and time.monotonic() < until, last_lines(log)
            time.sleep(0.05)


def _node(parts: Parts, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the example's packages in its folder."""
    script, *arguments = command
    return subprocess.run(
        [parts.node, folder / "node_modules" / script, *arguments],
        cwd=folder,
        env={**parts.environment(), "NEXT_TELEMETRY_DISABLED": "1", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
