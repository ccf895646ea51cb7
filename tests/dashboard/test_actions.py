"""What people do on the dashboard, to real jobs that a real worker runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psycopg
from playwright.async_api import Page, expect

from browsing import ADMIN, Person, Windows, keep, row
from videojobs import JobStatus, VideoJobManager

_COLLECT_PROGRESS = """
(id) => {
  window.seen = [];
  const note = () => {
    const bar = document.querySelector(`[data-job="${id}"] .vj-progress`);
    if (bar && window.seen.at(-1) !== bar.getAttribute("aria-valuenow")) window.seen.push(bar.getAttribute("aria-valuenow"));
  };
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true });
}
"""
_LONG = {
    "source_url": "long.mp4",
    "pipeline": "renditions",
    "clip_count": None,
    "queue": "default",
    "settings": {"rendition_heights": [360], "segment_seconds": 0},
}


async def confirm(page: Page, told: str) -> None:
    """The dialog says this, and is answered with yes."""
    dialog = page.locator(".vj-dialog")
    await expect(dialog.locator("h2")).to_have_text(told)
    await dialog.locator(".vj-confirm").click()
    await expect(dialog).to_have_count(0)


async def test_a_running_job_is_seen_moving_and_is_cancelled(
    windows: Windows, worker: None, create: Callable[..., UUID], ada: Person
):
    """The row appears by itself, its bar moves, and Cancel stops the real worker; no reload."""
    page = await windows.open(ada.email)
    job_id = create(ada, resource_name="A long one", **_LONG)
    await page.evaluate(_COLLECT_PROGRESS, str(job_id))
    await page.wait_for_function(
        "window.seen.filter((n) => +n > 0 && +n < 100).length >= 3", timeout=30_000
    )
    await keep(page, "running")

    await row(page, job_id).get_by_role("button", name="Cancel A long one").click()
    await confirm(page, "Cancel 1 job?")

    seen = [int(number) for number in await page.evaluate("window.seen")]
    assert seen == sorted(seen)
    await expect(page.locator(".vj-notice")).to_contain_text("A long one")
    await expect(row(page, job_id).locator(".vj-status")).to_have_text("Cancelled")


async def test_a_failed_job_is_retried_and_completes(
    windows: Windows, worker: None, create: Callable[..., UUID], ada: Person, storage_dir: Path
):
    """What failed for want of its source runs again, and its thumbnail appears by itself."""
    job_id = create(ada, source_url="late.mp4", original_filename="late.mp4", queue="default")
    page = await windows.open(ada.email)
    await expect(row(page, job_id).locator(".vj-status")).to_have_text("Failed")
    await expect(row(page, job_id)).to_contain_text("missing_source")
    shutil.copy(storage_dir / "short.mp4", storage_dir / "late.mp4")

    await row(page, job_id).get_by_role("button", name="Retry late.mp4").click()

    await expect(page.locator(".vj-notice")).to_contain_text("late.mp4 is queued again")
    await expect(row(page, job_id).locator(".vj-status")).to_have_text("Completed")
    await page.wait_for_function(
        "(id) => document.querySelector(`[data-job='${id}'] img`)?.naturalWidth > 0",
        arg=str(job_id),
    )


async def test_a_job_is_deleted_only_after_a_yes(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """Esc keeps it; the button in the dialog deletes it."""
    job_id = create(ada)
    manager.cancel_job(job_id)
    page = await windows.open(ada.email)
    delete = row(page, job_id).get_by_role("button", name="Delete short.mp4")

    await delete.click()
    await expect(page.locator(".vj-dialog h2")).to_have_text("Delete 1 job?")
    await page.keyboard.press("Escape")
    await expect(page.locator(".vj-dialog")).to_have_count(0)
    assert manager.get_job(job_id).status is JobStatus.CANCELLED
    await delete.click()
    await confirm(page, "Delete 1 job?")

    await expect(row(page, job_id)).to_have_count(0)
    await expect(page.locator(".vj-empty")).to_contain_text("No jobs yet")


async def test_many_are_cancelled_retried_and_deleted_at_once(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """Each dialog tells how many it will be, and how many cannot; and so it is done."""
    ids = [create(ada, resource_name=f"Job {number}") for number in range(4)]
    manager.cancel_job(ids[0])
    page = await windows.open(ada.email)

    await page.get_by_label("Select all jobs of this page").click()
    await expect(page.locator(".vj-bulk-count")).to_have_text("4 jobs selected")
    await page.locator(".bulk-cancel").click()
    await expect(page.locator(".vj-dialog")).to_contain_text(
        "The other 1 of the 4 have ended already"
    )
    await confirm(page, "Cancel 3 jobs?")
    await expect(page.locator(".vj-notice").last).to_contain_text("3 jobs cancelled")
    await expect(page.locator(".vj-status.cancelled")).to_have_count(4)
    await expect(page.locator(".vj-bulk")).to_be_hidden()

    await row(page, ids[1]).get_by_label("Select Job 1").click()
    await row(page, ids[2]).get_by_label("Select Job 2").click()
    await page.locator(".bulk-retry").click()
    await confirm(page, "Retry 2 jobs?")
    await expect(page.locator(".vj-status.queued")).to_have_count(2)

    await page.get_by_label("Select all jobs of this page").click()
    await page.locator(".bulk-delete").click()
    await expect(page.locator(".vj-dialog")).to_contain_text(
        "The other 2 of the 4 are still waiting"
    )
    await confirm(page, "Delete 2 jobs?")
    await expect(page.locator(".vj-job")).to_have_count(2)
    assert {job.id for job in manager.get_user_jobs(ada.user_id)} == {ids[1], ids[2]}


async def test_finished_jobs_are_cleared_by_status(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """The dialog counts what it would delete, deletes nothing by itself, and leaves the others."""
    ids = [create(ada, resource_name=f"Job {number}") for number in range(3)]
    manager.cancel_job(ids[0])
    manager.cancel_job(ids[1])
    page = await windows.open(ada.email)

    await page.get_by_role("button", name="Clear finished…").click()
    yes = page.locator(".vj-dialog .vj-confirm")
    await expect(yes).to_be_disabled()
    await page.get_by_role("checkbox", name="cancelled").check()
    await expect(yes).to_have_text("Delete 2 jobs")
    await yes.click()

    await expect(page.locator(".vj-notice")).to_contain_text("2 jobs deleted")
    await expect(page.locator(".vj-job")).to_have_count(1)
    await expect(page.locator(".vj-card.cancelled .vj-card-count")).to_have_text("0")


async def test_what_a_filter_hides_is_not_cleared(
    windows: Windows, create: Callable[..., UUID], ada: Person, manager: VideoJobManager
):
    """The dialog counts and deletes the jobs that the search and the period leave, whatever status."""
    kept, dropped = (create(ada, resource_name=name) for name in ("Keep me", "Drop me"))
    manager.cancel_job(kept)
    manager.cancel_job(dropped)
    page = await windows.open(ada.email, "/?q=Drop&created=24h&status=queued")

    await page.get_by_role("button", name="Clear finished…").click()
    await page.get_by_role("checkbox", name="cancelled").check()
    yes = page.locator(".vj-dialog .vj-confirm")
    await expect(yes).to_have_text("Delete 1 job")
    await yes.click()

    await expect(page.locator(".vj-notice")).to_contain_text("1 job deleted")
    assert [job.id for job in manager.get_user_jobs(ada.user_id)] == [kept]


async def test_two_browsers_see_each_others_changes_within_a_second(
    windows: Windows, create: Callable[..., UUID], ada: Person
):
    """What one cancels, the other sees cancelled; the best of three, for the machine may be busy."""
    jobs = [create(ada) for _ in range(3)]
    here, there = await windows.open(ada.email), await windows.open(ada.email)
    took: list[float] = []

    for job_id in jobs:
        await row(here, job_id).get_by_role("button", name="Cancel").click()
        await here.locator(".vj-dialog .vj-confirm").wait_for()
        begun = time.monotonic()
        await here.locator(".vj-confirm").click()
        await expect(row(there, job_id).locator(".vj-status")).to_have_text("Cancelled")
        took.append(time.monotonic() - begun)
        await expect(here.locator(".vj-dialog")).to_have_count(0)

    assert min(took) < 1.0
    await expect(there.locator(".vj-card.cancelled .vj-card-count")).to_have_text("3")


async def test_a_refusal_is_told(
    windows: Windows,
    create: Callable[..., UUID],
    new_person: Callable[[str], Person],
    sql: psycopg.Connection,
):
    """A member of a team sees its job, may not cancel it, and is told so."""
    owner, member = new_person("owner"), new_person("member")
    (team,) = sql.execute(
        "insert into public.teams (name) values ('Studio') returning id"
    ).fetchone()
    for person in (owner, member):
        sql.execute(
            "insert into public.team_members values (%s, %s, 'member')", (team, person.user_id)
        )
    job_id = create(owner, team_id=team)
    page = await windows.open(member.email)

    await row(page, job_id).get_by_role("button", name="Cancel").click()
    await confirm(page, "Cancel 1 job?")

    await expect(page.locator(".vj-notice.bad")).to_be_visible()
    await expect(row(page, job_id).locator(".vj-status")).to_have_text("Queued")


async def test_the_page_of_a_job_grows_with_it(
    windows: Windows, worker: None, create: Callable[..., UUID], ada: Person
):
    """Its history, then its outputs come by themselves; a clip plays, and by ranges."""
    job_id = create(ada, resource_name="Opened early")
    page = await windows.open(ada.email, f"/jobs/{job_id}")
    events = page.locator(".vj-event-name")
    await expect(events).to_have_text(["Created"])
    ranges: list[int] = []
    page.on(
        "response", lambda answer: ranges.append(answer.status) if ".mp4" in answer.url else None
    )

    await page.get_by_role("button", name="Cancel").click()
    await confirm(page, "Cancel 1 job?")
    await expect(events).to_have_text(["Created", "Cancelled"])
    await expect(page.locator(".vj-job-actions")).to_have_text("RetryDelete")
    quick = create(ada, queue="default")
    await page.goto(f"{windows.server.url}/jobs/{quick}")
    await expect(events.last).to_have_text("Completed")
    await page.locator("video").evaluate("(video) => { video.muted = true; return video.play(); }")
    await page.wait_for_function("document.querySelector('video').currentTime > 0.2")

    assert 206 in ranges
    await keep(page, "job")


async def test_a_failed_job_says_what_to_do(
    windows: Windows, worker: None, create: Callable[..., UUID], ada: Person, storage_dir: Path
):
    """The error, the advice and the last lines of ffmpeg stand on its page, and link to its like."""
    whole = (storage_dir / "short.mp4").read_bytes()
    (storage_dir / "broken.mp4").write_bytes(whole[: len(whole) // 3])
    job_id = create(ada, source_url="broken.mp4", queue="default", max_attempts=1)
    page = await windows.open(ada.email, f"/jobs/{job_id}")

    failure = page.locator(".vj-failure")
    await expect(failure).to_be_visible(timeout=15_000)
    await expect(failure.locator(".vj-advice")).to_contain_text("What to do:")
    await keep(page, "failed")
    code = await failure.locator(".vj-code").inner_text()
    await failure.locator(".vj-code").click()

    await expect(row(page, job_id)).to_be_visible()
    assert page.url.endswith(f"/?error={code}")


async def test_the_workers_are_seen_with_what_they_run(
    windows: Windows,
    worker: None,
    create: Callable[..., UUID],
    ada: Person,
    manager: VideoJobManager,
):
    """An administrator sees who is alive, the job and its lease, as they come and go."""
    page = await windows.open(ADMIN, "/workers")
    await expect(page.locator(".vj-worker:not(.gone)").first).to_be_visible()

    job_id = create(ada, resource_name="A film for hours", **_LONG)
    running = page.locator(".vj-leases li", has_text="A film for hours")
    await expect(running).to_contain_text("lease ends")
    await keep(page, "workers")
    manager.cancel_job(job_id)

    await expect(running).to_have_count(0)
