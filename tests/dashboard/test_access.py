"""Who may see what, and how one signs in and out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from auth_server import PASSWORD, AuthServer, auth_server
from browsing import ADMIN, Person, Server, Windows, bare_environment, keep, row, sign_in
from videojobs import VideoJobManager
from videojobs.local import LocalStack


@pytest.fixture
def finished(
    create: Callable[..., UUID], ada: Person, manager: VideoJobManager, storage_dir: Path
) -> UUID:
    """A completed job of Ada's, with a picture and a text of 1,000 bytes."""
    job_id = create(ada, resource_name="Secret film")
    lease = manager.start_processing(job_id)
    folder = storage_dir / str(job_id) / "1"
    folder.mkdir(parents=True)
    (folder / "clip.jpg").write_bytes(b"a picture, more or less")
    (folder / "clip.mp4").write_bytes(bytes(range(250)) * 4)
    files = [
        {"path": f"{job_id}/1/{name}", "kind": kind}
        for name, kind in (("clip.jpg", "poster"), ("clip.mp4", "video"))
    ]
    manager.complete_job(lease, files)
    return job_id


async def asked(page: Page, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body, asked for with the cookies of the page's window."""
    base = page.url.partition("/video-jobs")[0]
    answer = await page.context.request.get(f"{base}/video-jobs{path}", headers=headers)
    return answer.status, await answer.body()


async def test_nobody_sees_anything_before_signing_in(windows: Windows, finished: UUID):
    """Pages lead to the sign-in and, after it, to where one wanted to go; files are refused."""
    page = await windows.open(None, f"/jobs/{finished}")

    assert page.url == f"{windows.server.url}/sign-in?next=%2Fjobs%2F{finished}"
    await expect(page.locator("main")).not_to_contain_text("Secret film")
    assert (await asked(page, f"/files/{finished}/0/clip.jpg"))[0] == 401
    await sign_in(page, ADMIN)
    assert page.url == f"{windows.server.url}/jobs/{finished}"


@pytest.mark.parametrize(
    "goes_to",
    [
        "https://evil.example",
        "//evil.example/x",
        "/\\evil.example",
        "javascript:alert(1)",
        "/sign-out",
    ],
)
def test_a_sign_in_leads_to_no_other_site(server: Server, goes_to: str):
    """Whatever the address asks for, the way on is a page of the dashboard."""
    form = {"person": "00000000-0000-4000-8000-00000000ad01"}

    answer = httpx.post(f"{server.url}/sign-in", params={"next": goes_to}, data=form)

    assert (answer.status_code, answer.headers["location"]) == (303, "/video-jobs/")


async def test_the_cookie_is_for_the_server_only(windows: Windows, ada: Person):
    """Scripts cannot read it, other sites' forms do not send it, and no token is in the page."""
    page = await windows.open(ada.email)

    (cookie,) = await page.context.cookies()

    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/video-jobs")
    assert "eyJ" not in await page.content() + page.url + cookie["value"]


async def test_another_users_job_is_not_found(
    windows: Windows, finished: UUID, new_person: Callable[[str], Person]
):
    """Its page, its thumbnail and its outputs do not exist for anybody else; for admins they do."""
    stranger = await windows.open(new_person("ben").email)
    admin = await windows.open(ADMIN)

    status, body = await asked(stranger, f"/jobs/{finished}")
    assert (status, b"Secret film" in body) == (404, False)
    assert (await asked(stranger, f"/files/{finished}/0/clip.jpg"))[0] == 404
    assert (await asked(stranger, f"/files/{finished}/1/clip.mp4"))[0] == 404
    await stranger.goto(f"{windows.server.url}/jobs/{finished}")
    await expect(stranger.locator("h1")).to_have_text("There is no such job")
    await stranger.goto(f"{windows.server.url}/jobs/nonsense")
    await expect(stranger.locator("h1")).to_have_text("There is no such job")

    assert (await asked(admin, f"/files/{finished}/0/clip.jpg"))[0] == 200
    await expect(row(admin, finished)).to_contain_text("Secret film")


async def test_outputs_come_whole_or_in_parts(windows: Windows, finished: UUID, ada: Person):
    """A player gets the range that it asks for; what is not there is not found."""
    page = await windows.open(ada.email)
    clip = f"/files/{finished}/1/clip.mp4"

    assert await asked(page, clip) == (200, bytes(range(250)) * 4)
    assert await asked(page, clip, Range="bytes=10-14") == (206, bytes(range(10, 15)))
    assert (await asked(page, clip, Range="bytes=5000-"))[0] == 416
    assert (await asked(page, f"/files/{finished}/9/clip.mp4"))[0] == 404


async def test_signing_out_ends_every_open_page(windows: Windows, finished: UUID, ada: Person):
    """The second tab goes to the sign-in by itself, and the old cookie opens nothing."""
    page = await windows.open(ada.email)
    second = await page.context.new_page()
    await second.goto(f"{windows.server.url}/")
    await row(second, finished).wait_for()
    (cookie,) = await page.context.cookies()

    await page.get_by_role("button", name="Sign out").click()

    await page.wait_for_url("**/sign-in**")
    await second.wait_for_url("**/sign-in**")
    old = {"videojobs_session": cookie["value"]}
    async with httpx.AsyncClient(cookies=old) as http:
        answer = await http.get(f"{windows.server.url}/files/{finished}/0/clip.jpg")
    assert answer.status_code == 401


async def test_only_administrators_see_the_workers(windows: Windows, ada: Person):
    """Others have no link to them, and their address says for whom it is."""
    page = await windows.open(ada.email)
    await expect(page.locator(".vj-nav")).to_have_text("Jobs")

    await page.goto(f"{windows.server.url}/workers")

    await expect(page.locator(".vj-empty")).to_contain_text("For administrators")


async def test_the_development_sign_in_says_what_it_is(windows: Windows, ada: Person):
    """Before the choice and after it."""
    page = await windows.open(None)

    await expect(page.get_by_role("note")).to_contain_text("Development sign-in, without passwords")
    await keep(page, "sign-in")
    await sign_in(page, ada.email)
    await expect(page.locator(".vj-bar")).to_contain_text("Development")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_other_sites_cannot_sign_in_or_out(server: Server, headers: dict[str, str], status: int):
    """Neither by a form of theirs nor by a name of theirs that leads to this machine."""
    form = {"person": "00000000-0000-4000-8000-00000000ad01"}

    signed_in = httpx.post(f"{server.url}/sign-in", data=form, headers=headers)
    signed_out = httpx.post(f"{server.url}/sign-out", headers=headers)

    assert (signed_in.status_code, signed_out.status_code) == (status, status)
    assert "set-cookie" not in signed_in.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "http://["])
def test_other_sites_do_not_reach_the_pages_socket(server: Server, origin: str):
    """Neither over WebSocket nor where it is spoken over HTTP, and no answer lets them read it."""
    address = f"{server.url}/_nicegui_ws/socket.io/?EIO=4&transport=polling"

    ours = httpx.get(address)
    theirs = httpx.get(address, headers={"Origin": origin})

    assert (ours.status_code, theirs.status_code) == (200, 403)
    assert "access-control-allow-origin" not in theirs.headers


def test_no_form_is_larger_than_forms_are(server: Server):
    """Nobody has to sign in to send one; what says its size is refused, and the rest cut off."""
    part = b'--B\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n'
    multipart = {"Content-Type": "multipart/form-data; boundary=B"}
    body = part + bytes(1_100_000) + b"\r\n--B--\r\n"

    told = httpx.post(f"{server.url}/sign-in", content=body, headers=multipart)
    untold = httpx.post(f"{server.url}/sign-in", content=iter([body]), headers=multipart)

    assert (told.status_code, untold.status_code) == (413, 400)


def test_every_answer_forbids_frames_and_other_hosts(server: Server):
    """The headers say so, and what scripts, styles and fonts the pages may load: ours."""
    headers = httpx.get(f"{server.url}/sign-in").headers

    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


def test_a_development_sign_in_is_not_offered_to_the_network(stack: LocalStack):
    """The command refuses an address that others reach, and says why."""
    command = [sys.executable, "-m", "videojobs", "dashboard", "--local", "--host", "0.0.0.0"]

    done = subprocess.run(
        [*command, "--data-dir", str(stack.data_dir)],
        capture_output=True,
        text=True,
        env=bare_environment(),
        check=False,
    )

    assert done.returncode == 2
    assert "sign in without a password" in done.stderr


@pytest.fixture(scope="module")
def project(
    stack: LocalStack, storage_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AuthServer, Server]]:
    """Supabase Auth's stand-in before PostgREST, and a dashboard that is configured for them."""
    folder = tmp_path_factory.mktemp("project")
    with auth_server(stack) as auth:
        environment = {
            **bare_environment(),
            "SUPABASE_URL": auth.url,
            "SUPABASE_PUBLISHABLE_KEY": stack.anon_key,
            "SUPABASE_SECRET_KEY": stack.service_role_key,
            "SUPABASE_JWT_SECRET": stack.jwt_secret,
            "VIDEOJOBS_STORAGE_DIR": str(storage_dir),
        }
        server = Server(["--data-dir", str(folder / "none")], folder / "log", environment)
        server.start()
        yield auth, server
        server.stop()
    assert "Traceback" not in server.log
    assert PASSWORD not in server.log


@pytest.fixture
def auth(project: tuple[AuthServer, Server], ada: Person) -> AuthServer:
    """Supabase Auth's stand-in, which knows Ada."""
    auth, _ = project
    auth.users[ada.email] = ada.user_id
    auth.lifetime_seconds, auth.grants = 3600, []
    return auth


@pytest_asyncio.fixture
async def with_passwords(
    project: tuple[AuthServer, Server], chromium: Browser
) -> AsyncIterator[Windows]:
    """Windows on the dashboard of the project."""
    windows = Windows(chromium, project[1])
    yield windows
    for context in windows.contexts:
        await context.close()


async def enter(page: Page, email: str, password: str) -> None:
    """Fill the form in and send it."""
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_people_sign_in_with_their_password(
    with_passwords: Windows, auth: AuthServer, finished: UUID, ada: Person
):
    """A wrong one is told; with the right one they see their jobs, and the token is renewed in time."""
    page = await with_passwords.open(None)
    await enter(page, ada.email, "wrong")
    await expect(page.get_by_role("alert")).to_have_text(
        "The e-mail address or the password is wrong."
    )
    await expect(page.get_by_label("E-mail address")).to_have_value(ada.email)

    auth.is_broken = True
    await enter(page, ada.email, PASSWORD)
    await expect(page.get_by_role("alert")).to_contain_text("Try again")
    auth.is_broken = False
    auth.lifetime_seconds = 62  # it is renewed a minute before its end
    await enter(page, ada.email, PASSWORD)
    await expect(row(page, finished)).to_contain_text("Secret film")
    await expect(page.locator(".vj-bar")).not_to_contain_text("Development")
    await page.wait_for_timeout(2_500)
    await page.reload()

    await expect(row(page, finished)).to_contain_text("Secret film")
    assert auth.grants[:3] == ["password", "password", "password"]
    assert "refresh_token" in auth.grants


async def test_over_supabase_changes_are_seen_too(
    with_passwords: Windows,
    auth: AuthServer,
    finished: UUID,
    ada: Person,
    create: Callable[..., UUID],
):
    """Without a direct connection, the dashboard looks by itself."""
    page = await with_passwords.open(None)
    await enter(page, ada.email, PASSWORD)
    await row(page, finished).wait_for()

    job_id = create(ada, resource_name="Just made")

    await expect(row(page, job_id)).to_contain_text("Just made")


async def test_a_session_that_cannot_be_renewed_is_over(
    with_passwords: Windows, auth: AuthServer, finished: UUID, ada: Person
):
    """When Supabase Auth refuses, the page leads to the sign-in."""
    auth.lifetime_seconds = 61
    page = await with_passwords.open(None)
    await enter(page, ada.email, PASSWORD)
    await row(page, finished).wait_for()

    auth.refresh_tokens.clear()
    await page.wait_for_timeout(1_500)
    await page.evaluate("document.querySelector('.vj-card.failed')?.click()")

    await page.wait_for_url("**/sign-in**")
