"""What the pages show, in any state, size and light, and after whatever happens to the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from browsing import ADMIN, Person, Server, Windows, keep, new_server, row, sign_in
from videojobs import JobFilter, JobStatus, VideoJobManager
from videojobs.local import LocalStack

_PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "device_scale_factor": 2}
_HOSTILE = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>{{ constructor.constructor('window.hacked=1')() }}"
_MANY_JOBS = """
insert into public.video_jobs (user_id, queue, original_filename, created_at)
select %s, 'held', 'upload ' || n || '.mp4', now() - n * interval '1 second'
from generate_series(1, 10000) n
"""


async def violations(page: Page) -> list[str]:
    """What axe-core finds to be serious or critical."""
    results = await Axe().run(page, options={"resultTypes": ["violations"]})
    return [
        f"{found['impact']}: {found['id']}: {node['target']}: {node['failureSummary']}"
        for found in results.response["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


async def test_filters_survive_a_reload_and_the_back_button_undoes_them(
    windows: Windows, create: Callable[..., UUID], ada: Person
):
    """They stand in the address, so a link to it shows the same."""
    film = create(ada, resource_type="film", resource_id="f1", resource_name="Metropolis")
    clip = create(ada, resource_name="Metropolis, the trailer")
    create(ada, resource_name="Something else")
    page = await windows.open(ada.email)

    await page.locator("#vj-search-field").fill("metro")
    await expect(page.locator(".vj-job")).to_have_count(2)
    await page.locator("select[name=type]").select_option("film")
    await expect(page.locator(".vj-job")).to_have_count(1)
    assert page.url.endswith("/?q=metro&type=film")
    await page.reload()
    await expect(page.locator(".vj-job")).to_have_count(1)
    await expect(row(page, film)).to_be_visible()
    await expect(page.locator("#vj-search-field")).to_have_value("metro")
    await expect(page.locator("select[name=type]")).to_have_value("film")
    await page.go_back()

    await expect(row(page, clip)).to_be_visible()
    await expect(page.locator("select[name=type]")).to_have_value("")
    assert page.url.endswith("/?q=metro")


async def test_the_cards_filter_by_status(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """Each is a button that tells whether it is pressed; pressing it again shows all."""
    manager.cancel_job(create(ada))
    create(ada)
    page = await windows.open(ada.email)
    card = page.locator(".vj-card.cancelled")

    await card.click()
    await expect(page.locator(".vj-job")).to_have_count(1)
    await expect(card).to_have_attribute("aria-pressed", "true")
    await card.click()

    await expect(page.locator(".vj-job")).to_have_count(2)
    await expect(page.locator(".vj-card.all")).to_have_attribute("aria-pressed", "true")


async def test_a_filter_that_is_none_is_told(windows: Windows, ada: Person):
    """An address with nonsense in it shows the rest, and says what was left out."""
    page = await windows.open(ada.email, "/?status=running&user=ada&q=x")

    await expect(page.locator(".vj-notice.bad")).to_contain_text("status=running, user=ada")
    await expect(page.locator(".vj-empty")).to_contain_text("No job matches")


async def test_ten_thousand_jobs_are_pages_of_fifty(
    windows: Windows, ada: Person, sql: psycopg.Connection
):
    """The page never holds more rows, and a bulk action reaches all of them."""
    sql.execute(_MANY_JOBS, (ada.user_id,))
    page = await windows.open(ada.email)
    await expect(page.locator(".vj-job")).to_have_count(50)
    await expect(page.locator(".vj-pager .vj-under")).to_have_text("1–50 of 10,000 jobs")

    for _ in range(3):
        first = await page.locator(".vj-job").first.get_attribute("data-job")
        await page.get_by_role("button", name="Older").click()
        await expect(page.locator(f'[data-job="{first}"]')).to_have_count(0)
    await expect(page.locator(".vj-pager .vj-under")).to_have_text("151–200 of 10,000 jobs")
    await expect(page.locator(".vj-job")).to_have_count(50)
    await expect(page.locator(".vj-job").first).to_contain_text("upload 151.mp4")
    await page.reload()
    await expect(page.locator(".vj-job").first).to_contain_text("upload 151.mp4")
    await page.go_back()
    await expect(page.locator(".vj-job").first).to_contain_text("upload 101.mp4")

    await page.get_by_label("Select all jobs of this page").click()
    await page.get_by_role("button", name="Select all that match").click()
    await expect(page.locator(".vj-bulk-count")).to_have_text("All 10,000 that match are selected")
    await page.locator(".bulk-delete").click()
    await expect(page.locator(".vj-notice.bad")).to_contain_text(
        "the 10,000 jobs are still waiting"
    )


async def test_all_that_match_are_changed_on_every_page(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """What is selected beyond the page is counted in the dialog, and done; what does not match stays."""
    wishes = {"user_id": ada.user_id, "queue": "held", "resource_name": "Holiday"}
    manager.create_jobs([{**wishes, "original_filename": f"{n}.mp4"} for n in range(120)])
    other = create(ada, resource_name="Work")
    page = await windows.open(ada.email, "/?q=holiday")

    await page.get_by_label("Select all jobs of this page").click()
    await page.get_by_role("button", name="Select all that match").click()
    await page.locator(".bulk-cancel").click()
    await expect(page.locator(".vj-dialog h2")).to_have_text("Cancel 120 jobs?")
    await keep(page, "bulk")
    await page.locator(".vj-confirm").click()
    await expect(page.locator(".vj-notice")).to_contain_text("120 jobs cancelled")

    counts = manager.get_job_stats(JobFilter(user_id=ada.user_id)).by_status
    assert (counts["cancelled"], counts["queued"]) == (120, 1)
    assert manager.get_job(other).status is JobStatus.QUEUED


async def test_a_change_redraws_its_row_only(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """The rows around a change stay as they are, element by element."""
    changed, other = create(ada, resource_name="First"), create(ada, resource_name="Second")
    page = await windows.open(ada.email)
    await page.evaluate(
        """([changed, other]) => {
          window.touched = [];
          for (const id of [changed, other]) {
            const row = document.querySelector(`[data-job="${id}"]`);
            new MutationObserver(() => window.touched.push(id)).observe(row.querySelector(".job-cell-status"), { subtree: true, childList: true, characterData: true, attributes: true });
          }
        }""",
        [str(changed), str(other)],
    )

    manager.cancel_job(changed)
    await expect(row(page, changed).locator(".vj-status")).to_have_text("Cancelled")

    assert set(await page.evaluate("window.touched")) == {str(changed)}


async def test_names_are_text_and_never_markup(
    windows: Windows, create: Callable[..., UUID], ada: Person, sql: psycopg.Connection
):
    """Markup and templates in names, notes and errors are shown, letter by letter."""
    job_id = create(
        ada,
        original_filename=_HOSTILE,
        resource_name=_HOSTILE,
        source_url=_HOSTILE,
        settings={"note": _HOSTILE},
        max_attempts=1,
    )
    sql.execute(
        "update public.video_jobs set status = 'processing', attempt = 1, run_token = 1, started_at = now() where id = %s",
        (job_id,),
    )
    sql.execute(
        "update public.video_jobs set status = 'failed', completed_at = now(), error_code = %s, error_message = %s, output_files = %s::jsonb where id = %s",
        (
            "boom",
            _HOSTILE,
            '[{"path": "a/<b>x.mp4", "reason": "<img src=x onerror=window.hacked=1>"}]',
            job_id,
        ),
    )
    sql.execute(
        "insert into public.video_job_events (job_id, type, data) values (%s, 'failed', jsonb_build_object('message', %s::text, 'detail', jsonb_build_object('stderr_tail', jsonb_build_array(%s::text), 'advice', %s::text)))",
        (job_id, _HOSTILE, _HOSTILE, _HOSTILE),
    )
    page = await windows.open(ada.email)

    await expect(row(page, job_id).locator(".job-link")).to_have_text(_HOSTILE)
    await row(page, job_id).get_by_role("button", name="Delete").click()
    await expect(page.locator(".vj-dialog")).to_contain_text(_HOSTILE)
    await page.keyboard.press("Escape")
    await page.goto(f"{windows.server.url}/jobs/{job_id}")
    await expect(page.locator("h1")).to_have_text(_HOSTILE)
    await expect(page.locator(".vj-stderr")).to_have_text(_HOSTILE)
    await expect(page.locator(".vj-advice")).to_contain_text(_HOSTILE)
    await page.goto(
        f"{windows.server.url}/?q=%3Cimg%20src=x%20onerror=window.hacked=1%3E&error=%3Cb%3E"
    )
    await expect(page.locator(".vj-chip")).to_have_text("Error: <b>")

    assert await page.evaluate("window.hacked") is None


async def test_on_a_phone_each_job_is_a_card(
    windows: Windows, create: Callable[..., UUID], ada: Person
):
    """Nothing is cut off at the side, the heads of columns are gone, and the actions are there."""
    job_id = create(
        ada, resource_name="A name that is a good deal longer than the screen of a phone is wide"
    )
    page = await windows.open(ada.email, **_PHONE)

    width = await page.evaluate("document.documentElement.scrollWidth")
    layout = await row(page, job_id).evaluate("(row) => getComputedStyle(row).display")
    await row(page, job_id).get_by_role("button", name="Cancel").tap()
    await expect(page.locator(".vj-dialog h2")).to_have_text("Cancel 1 job?")
    await keep(page, "phone")

    assert (width, layout) == (390, "grid")
    assert (await page.locator(".vj-dialog").bounding_box())["width"] <= 390


async def test_keys_do_what_the_mouse_does(
    windows: Windows, create: Callable[..., UUID], ada: Person
):
    """/ searches, j and k move, x selects, Esc lets go, Enter opens, Esc goes back."""
    older, newer = create(ada, resource_name="Older"), create(ada, resource_name="Newer")
    page = await windows.open(ada.email)
    press = page.keyboard.press

    await press("/")
    await expect(page.locator("#vj-search-field")).to_be_focused()
    await press("Escape")
    await press("j")
    await expect(row(page, newer).locator(".job-link")).to_be_focused()
    await press("j")
    await press("j")
    await expect(row(page, older).locator(".job-link")).to_be_focused()
    await press("x")
    await expect(page.locator(".vj-bulk-count")).to_have_text("1 job selected")
    await press("Escape")
    await expect(page.locator(".vj-bulk")).to_be_hidden()
    await press("k")
    await press("Enter")
    await expect(page.locator("h1")).to_have_text("Newer")
    await press("Escape")
    await expect(row(page, older)).to_be_visible()
    await press("?")

    await expect(page.locator(".vj-dialog h2")).to_have_text("Keys")


async def test_the_way_back_leads_to_the_list_as_it_was(
    windows: Windows, create: Callable[..., UUID], ada: Person
):
    """With its filters, by the link and by Esc."""
    job_id = create(ada, resource_name="Mine")
    create(ada, resource_name="Other")
    page = await windows.open(ada.email)
    await page.goto(f"{windows.server.url}/?status=queued&q=Mine")

    for go_back in (partial(page.keyboard.press, "Escape"), page.locator(".vj-back").click):
        await row(page, job_id).locator(".job-link").click()
        await expect(page.locator("h1")).to_have_text("Mine")
        await go_back()
        await expect(page.locator(".vj-job")).to_have_count(1)
        assert page.url.endswith("/?status=queued&q=Mine")


async def test_the_warnings_of_a_completed_job_stand_on_its_page(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """Each once, and as text."""
    job_id = create(ada)
    lease = manager.start_processing(job_id)
    warnings = ["3 of 20 clips", _HOSTILE]
    manager.complete_job(lease, ["clip_01.mp4"], detail={"warnings": warnings})
    page = await windows.open(ada.email)

    await page.goto(f"{windows.server.url}/jobs/{job_id}")

    await expect(page.locator(".vj-job-warnings li")).to_have_text(warnings)
    await expect(page.get_by_text("3 of 20 clips")).to_have_count(1)
    await keep(page, "warnings")


async def test_the_skip_link_comes_first(windows: Windows, ada: Person):
    """The first Tab reaches it, and Enter leads past the bar."""
    page = await windows.open(ada.email)
    await page.reload()
    await page.locator(".vj-empty").wait_for()

    await page.keyboard.press("Tab")
    await expect(page.locator(".vj-skip")).to_be_focused()
    await page.keyboard.press("Enter")

    await expect(page.locator(".vj-pages")).to_be_focused()


async def test_the_theme_follows_the_system_until_it_is_chosen(windows: Windows, ada: Person):
    """Dark where the system is; a choice is kept over a reload."""
    page = await windows.open(ada.email, color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    by_system = await page.evaluate(back)

    await page.locator(".vj-theme").click()
    light = await page.evaluate(back)
    await page.reload()

    assert by_system == "rgb(12, 13, 16)"
    assert light == await page.evaluate(back) == "rgb(247, 247, 249)"
    await expect(page.locator(".vj-theme")).to_have_attribute(
        "aria-label", "Theme: light. Change it"
    )


async def test_an_empty_list_teaches_the_next_command(windows: Windows, ada: Person):
    """Whoever has no jobs sees how to create one as themselves, and how to run it."""
    page = await windows.open(ada.email)

    await expect(page.locator(".vj-command").first).to_have_text(
        f"videojobs jobs create uploads/talk.mp4 --user {ada.user_id}"
    )
    await expect(page.locator(".vj-command").last).to_have_text("videojobs worker")
    await keep(page, "empty")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    scheme: str,
    windows: Windows,
    create: Callable[..., UUID],
    ada: Person,
    manager: VideoJobManager,
    sql: psycopg.Connection,
):
    """On every page, with a dialog open, on a phone, and when there is nothing; light and dark."""
    waiting, cancelled, failed = (
        create(ada, resource_name=name) for name in ("Waits", "Cancelled", "Failed")
    )
    manager.cancel_job(cancelled)
    with_lease = manager.start_processing(failed)
    manager.fail_job(
        with_lease,
        "it broke",
        error_code="corrupt_source",
        retryable=False,
        detail={"stderr_tail": ["line"], "advice": "Try another."},
    )
    page = await windows.open(None, color_scheme=scheme)
    found = {"sign-in": await violations(page)}
    await sign_in(page, ada.email)

    await page.get_by_label("Select Waits").click()
    await expect(page.locator(".vj-bulk")).to_be_visible()
    await keep(page, f"jobs-{scheme}")
    found["jobs"] = await violations(page)
    await page.locator(".bulk-cancel").click()
    await page.locator(".vj-dialog").wait_for()
    await page.wait_for_timeout(250)  # until it is no longer see-through
    found["dialog"] = await violations(page)
    for name, path in (
        ("job", f"/jobs/{failed}"),
        ("waiting", f"/jobs/{waiting}"),
        ("none", "/?q=zzz"),
        ("lost", "/nowhere"),
    ):
        await page.goto(f"{windows.server.url}{path}")
        await page.locator(".vj-event, .vj-empty:visible").first.wait_for()
        await keep(page, f"{name}-{scheme}")
        found[name] = await violations(page)
    await page.set_viewport_size(_PHONE["viewport"])
    await page.goto(f"{windows.server.url}/")
    await row(page, waiting).wait_for()
    await keep(page, f"phone-{scheme}")
    found["phone"] = await violations(page)
    admin = await windows.open(ADMIN, "/workers", color_scheme=scheme)
    found["workers"] = await violations(admin)

    assert found == {name: [] for name in found}


async def test_a_lost_connection_ends_with_the_truth(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """What changed while the browser was cut off is there when it is back."""
    job_id = create(ada)
    page = await windows.open(ada.email)
    await page.context.set_offline(True)
    await page.evaluate("window.socket.io.engine.close()")

    manager.cancel_job(job_id)
    newer = create(ada)
    await page.context.set_offline(False)

    await expect(row(page, newer)).to_be_visible(timeout=15_000)
    await expect(row(page, job_id).locator(".vj-status")).to_have_text("Cancelled")


@pytest_asyncio.fixture
async def own_server(stack: LocalStack, storage_dir: Path, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that the test may stop."""
    server = new_server(stack, storage_dir, tmp_path / "log")
    server.start()
    yield server
    server.stop()


async def test_a_restarted_server_asks_to_sign_in_and_shows_the_truth(
    own_server: Server,
    chromium: Browser,
    create: Callable[..., UUID],
    ada: Person,
    manager: VideoJobManager,
):
    """The open page notices by itself; after the sign-in it is the page of before."""
    job_id = create(ada)
    windows = Windows(chromium, own_server)
    page = await windows.open(ada.email, f"/jobs/{job_id}")
    await expect(page.locator(".vj-event")).to_have_count(1)

    own_server.stop()
    manager.cancel_job(job_id)
    own_server.start()
    await page.locator(".vj-person").first.wait_for()
    await sign_in(page, ada.email)

    assert page.url.endswith(f"/jobs/{job_id}")
    await expect(page.locator(".vj-job-status .vj-status")).to_have_text("Cancelled")
    await page.context.close()
