"""A dashboard server in a process of its own, and browser windows that look at it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from playwright.async_api import Browser, BrowserContext, Page, expect

from videojobs.local import LocalStack
from videojobs.local.postgres import free_port

SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ADMIN = "Administrator"
_CONFIGURING = (
    "SUPABASE",
    "NEXT_PUBLIC",
    "DATABASE_URL",
    "VIDEOJOBS_STORAGE",
    "VIDEOJOBS_DATABASE",
)

expect.set_options(timeout=20_000)  # the machine may be busy with other tests


def bare_environment() -> dict[str, str]:
    """Nothing of this machine's own projects."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_CONFIGURING)}


class Server:
    """The command ``videojobs dashboard`` in a process of its own, at a port that stays."""

    def __init__(self, options: list[str], log: Path, environment: dict[str, str]) -> None:
        self.port = free_port(None)
        self.url = f"http://127.0.0.1:{self.port}/video-jobs"
        self._options, self._log, self._environment = options, log, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        command = [sys.executable, "-m", "videojobs", "dashboard", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options], stdout=log, stderr=log, env=self._environment
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            try:
                httpx.get(f"{self.url}/assets/icon.svg", timeout=10)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"the dashboard does not answer: {self.log}")

    def stop(self) -> None:
        """End it, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text()


def new_server(stack: LocalStack, storage_dir: Path, log: Path) -> Server:
    """A server on the running stack, found by its folder as `videojobs local up` leaves it."""
    options = ["--local", "--data-dir", str(stack.data_dir), "--storage", str(storage_dir)]
    return Server(options, log, bare_environment())


@dataclass
class Person:
    """A user of the stack."""

    email: str
    user_id: UUID


@dataclass
class Windows:
    """Opens pages, signed in as whom the test says, and sees to it that nothing goes wrong in them."""

    browser: Browser
    server: Server
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def open(self, who: str | None = None, path: str = "/", **options: Any) -> Page:
        """A page of a new window; signed in as the person of that name, if one is given."""
        settings: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, **options}
        context = await self.browser.new_context(**settings)
        context.set_default_timeout(30_000)
        self.contexts.append(context)
        page = await context.new_page()
        self._listen(page)
        await page.goto(f"{self.server.url}{path}")
        if who is not None:
            await sign_in(page, who)
        return page

    def _listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", self._refuse_others)

    def _refuse_others(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.complaints.append(f"a request to {request.url}")


async def sign_in(page: Page, who: str) -> None:
    """Choose the person on the sign-in page, and wait for what comes then."""
    await page.locator(".vj-person", has_text=who).click()
    await page.locator(".vj-job:visible, .vj-empty:visible, .vj-panel:visible").first.wait_for()
    await page.wait_for_function("window.did_handshake === true")


def row(page: Page, job_id: UUID) -> Any:
    """The job's row."""
    return page.locator(f'[data-job="{job_id}"]')


async def keep(page: Page, name: str) -> None:
    """A picture for the eyes, among the build's artefacts."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")
