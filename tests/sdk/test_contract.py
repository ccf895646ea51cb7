"""What every manager does, over each of the four transports and a transaction pooler: real PostgREST, PostgreSQL and PgBouncer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pytest
from people import ADA, BOB, EVE, NOBODYS_JOB, TEAM

from videojobs import (
    Beat,
    DayStats,
    IdempotencyConflictError,
    InvalidTransitionError,
    JobChanges,
    JobFilter,
    JobNotFoundError,
    JobStatus,
    LeaseLostError,
    NewVideoJob,
    OutputFile,
    PartlyCreatedError,
    PermissionDeniedError,
    Settings,
    SupabaseConnectionError,
    SupabaseValidationError,
    VideoJob,
    VideoJobManager,
    VideoJobsError,
    WaitTimeoutError,
)
from videojobs.local import LocalStack

Sql = Callable[..., list[Any]]
Open = Callable[[str, Settings], VideoJobManager]
AsUser = Callable[[UUID], VideoJobManager]

NOON = datetime(2100, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


# Create


def test_create_stores_every_field(manager: VideoJobManager, team: None):
    """A job that was created comes back with everything that was said of it."""
    said: dict[str, Any] = {
        "user_id": ADA,
        "team_id": TEAM,
        "pipeline": "renditions",
        "queue": "express",
        "priority": 9,
        "run_at": NOON,
        "max_attempts": 7,
        "source_url": "uploads/talk.mp4",
        "original_filename": "Ünï „talk“ 🎬.mp4",
        "original_filesize": 9_007_199_254_740_991,
        "clip_count": 100,
        "quality_preset": "pro",
        "enhancement_level": "advanced",
        "platform_target": "youtube_shorts",
        "max_runtime_seconds": 7200.0,
        "retry_base_seconds": 1.5,
        "retry_cap_seconds": 60.0,
        "settings": {"captions": {"language": "de"}, "ladder": [1080, 720], "loud": -14.5},
        "resource_type": "episode",
        "resource_id": "s01e02",
        "resource_name": 'The Pilot\'s \\ 100% "return"',
        "resource_parent_id": "s01",
        "idempotency_key": "episode/s01e02",
    }

    job = manager.create_job(**said)

    assert {name: getattr(job, name) for name in said} == said
    assert job.created
    assert manager.get_job(job.id) == VideoJob.model_validate(job.model_dump())


def test_create_has_defaults(manager: VideoJobManager):
    """A job of which only the owner is known waits in the default queue, ready at once."""
    job = manager.create_job(user_id=ADA)

    assert job.model_dump(exclude={"id", "run_at", "created_at", "updated_at"}) == {
        "created": True,
        "seq": 1,
        "user_id": ADA,
        "team_id": None,
        "tenant_id": ADA,
        "queue": "default",
        "pipeline": "clips",
        "status": "queued",
        "priority": 5,
        "attempt": 0,
        "max_attempts": 3,
        "max_runtime_seconds": None,
        "retry_base_seconds": None,
        "retry_cap_seconds": None,
        "lost_count": 0,
        "run_token": 0,
        "progress": 0,
        "progress_detail": {},
        "stage": None,
        "original_filename": None,
        "original_filesize": None,
        "source_url": None,
        "clip_count": None,
        "quality_preset": "standard",
        "enhancement_level": "none",
        "platform_target": None,
        "settings": {},
        "resource_type": "upload",
        "resource_id": None,
        "resource_name": None,
        "resource_parent_id": None,
        "output_files": (),
        "error_code": None,
        "error_message": None,
        "worker_id": None,
        "idempotency_key": None,
        "cancel_requested_at": None,
        "started_at": None,
        "completed_at": None,
        "cancelled_at": None,
        "processing_time": None,
        "parent_job_id": None,
    }
    assert job.run_at <= job.updated_at
    assert job.created_at.tzinfo is UTC


def test_create_takes_a_new_video_job(manager: VideoJobManager):
    """A job can be given whole instead of field by field."""
    job = manager.create_job(NewVideoJob(user_id=ADA, clip_count=3))

    assert (job.user_id, job.clip_count) == (ADA, 3)


def test_the_same_key_makes_one_job(manager: VideoJobManager):
    """Creating again with the same key and content returns the first job, marked as not created."""
    first = manager.create_job(user_id=ADA, clip_count=3, idempotency_key="talk")

    second = manager.create_job(user_id=ADA, clip_count=3, idempotency_key="talk")

    assert (second.id, second.created) == (first.id, False)
    assert len(manager.list_jobs()) == 1


def test_the_same_key_for_other_content_is_a_conflict(manager: VideoJobManager):
    """A key that names a job with other content is refused, with what differs."""
    first = manager.create_job(user_id=ADA, clip_count=3, idempotency_key="talk")

    with pytest.raises(IdempotencyConflictError) as caught:
        manager.create_job(user_id=ADA, clip_count=4, idempotency_key="talk")

    assert caught.value.code == "VJ003"
    assert str(caught.value) == (
        f"the idempotency key 'talk' already names job {first.id}, which differs in: clip_count "
        "(use another key for other content)"
    )


def test_keys_of_two_users_do_not_meet(manager: VideoJobManager):
    """Two users may use the same key, each for a job of their own."""
    adas = manager.create_job(user_id=ADA, idempotency_key="talk")
    bobs = manager.create_job(user_id=BOB, idempotency_key="talk")

    assert bobs.created
    assert bobs.id != adas.id


def test_a_foreign_team_is_refused(manager: VideoJobManager, team: None):
    """Nobody creates a job for a team that they are not in."""
    with pytest.raises(PermissionDeniedError, match=f"team_id {TEAM} is not a team of user {EVE}"):
        manager.create_job(user_id=EVE, team_id=TEAM)

    assert len(manager.list_jobs()) == 0


def test_many_are_created_in_order(manager: VideoJobManager):
    """The receipts of many jobs stand in the order of the wishes, over several batches."""
    wishes = [NewVideoJob(user_id=ADA, original_filename=f"{n}.mp4") for n in range(501)]

    receipts = manager.create_jobs(wishes)

    stored = {job.id: job.original_filename for job in manager.iter_jobs()}
    assert [stored[receipt.id] for receipt in receipts] == [f"{n}.mp4" for n in range(501)]
    assert all(receipt.created for receipt in receipts)


def test_many_may_repeat_a_key(manager: VideoJobManager):
    """Of wishes with one key and one content, the first makes the job and the others find it."""
    wish = NewVideoJob(user_id=ADA, idempotency_key="talk")

    first, second = manager.create_jobs([wish, {"user_id": ADA, "idempotency_key": "talk"}])

    assert (first.created, second.created) == (True, False)
    assert first.id == second.id


def test_none_of_many_is_nothing(manager: VideoJobManager):
    """An empty list of wishes has an empty list of receipts."""
    assert manager.create_jobs([]) == []


def test_a_batch_is_stored_whole_or_not_at_all(manager: VideoJobManager):
    """One conflict in the only batch leaves nothing behind."""
    manager.create_job(user_id=ADA, clip_count=1, idempotency_key="talk")
    wishes = [
        NewVideoJob(user_id=ADA, clip_count=2),
        NewVideoJob(user_id=ADA, clip_count=2, idempotency_key="talk"),
    ]

    with pytest.raises(IdempotencyConflictError):
        manager.create_jobs(wishes)

    assert [job.clip_count for job in manager.iter_jobs()] == [1]


@pytest.fixture
def pairs(manager: VideoJobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many jobs are sent two at a time."""
    monkeypatch.setattr(type(manager._transport), "batch_size", 2)


def test_batches_keep_the_order(manager: VideoJobManager, pairs: None):
    """The receipts of several batches stand in the order of the wishes."""
    receipts = manager.create_jobs([{"user_id": ADA, "clip_count": n} for n in (5, 4, 3, 2, 1)])

    assert [manager.get_job(receipt.id).clip_count for receipt in receipts] == [5, 4, 3, 2, 1]


def test_a_later_batch_that_fails_tells_what_was_stored(manager: VideoJobManager, pairs: None):
    """When the second batch is refused, the error carries the receipts of the first."""
    first = manager.create_job(user_id=ADA, clip_count=1, idempotency_key="talk")
    wish = NewVideoJob(user_id=ADA, clip_count=2)
    conflict = NewVideoJob(user_id=ADA, clip_count=2, idempotency_key="talk")

    with pytest.raises(PartlyCreatedError) as caught:
        manager.create_jobs([wish, wish, wish, conflict])

    stored = {job.id for job in manager.iter_jobs()}
    assert {receipt.id for receipt in caught.value.receipts} == stored - {first.id}
    assert len(caught.value.receipts) == 2
    assert str(caught.value).startswith("2 of 4 jobs were created, then: the idempotency key")
    assert (caught.value.code, caught.value.outcome) == ("VJ003", "not_applied")
    assert isinstance(caught.value.__cause__, IdempotencyConflictError)


# Read


def test_a_missing_job_is_not_found(manager: VideoJobManager):
    """Reading a job that is not there says so, with its id and what was called."""
    with pytest.raises(JobNotFoundError) as caught:
        manager.get_job(NOBODYS_JOB)

    assert str(caught.value) == f"there is no job {NOBODYS_JOB}, or it is not yours"
    assert (caught.value.job_id, caught.value.code) == (NOBODYS_JOB, "VJ001")
    assert caught.value.operation == "get_video_job"


def test_an_id_may_be_text(manager: VideoJobManager):
    """A job is found by its id as a UUID and as text."""
    job = manager.create_job(user_id=ADA)

    assert manager.get_job(str(job.id)) == manager.get_job(job.id)


@pytest.fixture
def library(manager: VideoJobManager, sql: Sql, team: None) -> None:
    """Four jobs, of which each filter chooses some; named a to d, oldest first."""
    manager.create_jobs(
        [
            {
                "user_id": ADA,
                "original_filename": "a",
                "quality_preset": "draft",
                "queue": "slow",
                "resource_type": "film",
                "resource_id": "f1",
                "resource_name": "50% Blue_Sky",
            },
            {
                "user_id": ADA,
                "team_id": TEAM,
                "original_filename": "b",
                "platform_target": "tiktok",
                "resource_type": "episode",
                "resource_id": "e1",
                "resource_parent_id": "s1",
            },
            {"user_id": BOB, "original_filename": "c", "pipeline": "renditions"},
            {"user_id": EVE, "original_filename": "d", "resource_name": "505 blue sky\\s"},
        ]
    )
    sql("""
        update public.video_jobs
        set status = 'processing', started_at = now(), worker_id = 'w1'
        where original_filename in ('c', 'd')
    """)
    sql("""
        update public.video_jobs
        set created_at = '2020-01-01 00:00Z'::timestamptz + seq * interval '1 day'
    """)
    sql("""
        update public.video_jobs
        set status = 'failed', completed_at = now(), error_code = 'no_video'
        where original_filename = 'd'
    """)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (JobFilter(), "dcba"),
        (JobFilter(user_id=ADA), "ba"),
        (JobFilter(team_id=TEAM), "b"),
        (JobFilter(status="failed"), "d"),
        (JobFilter(status=("queued", JobStatus.PROCESSING)), "cba"),
        (JobFilter(pipeline="renditions"), "c"),
        (JobFilter(queue="slow"), "a"),
        (JobFilter(platform_target="tiktok"), "b"),
        (JobFilter(quality_preset="draft"), "a"),
        (JobFilter(resource_type="film"), "a"),
        (JobFilter(resource_id="e1"), "b"),
        (JobFilter(resource_parent_id="s1"), "b"),
        (JobFilter(search="BLUE"), "da"),
        (JobFilter(search="0%"), "a"),
        (JobFilter(search="e_s"), "a"),
        (JobFilter(search="y\\s"), "d"),
        (JobFilter(search="'); drop table"), ""),
        (JobFilter(worker_id="w1"), "dc"),
        (JobFilter(error_code="no_video"), "d"),
        (JobFilter(created_from=datetime(2020, 1, 3, tzinfo=UTC)), "dcb"),
        (JobFilter(created_before=datetime(2020, 1, 3, tzinfo=UTC)), "a"),
        (JobFilter(user_id=ADA, status="queued", platform_target="tiktok"), "b"),
        (JobFilter(user_id=ADA, status="failed"), ""),
    ],
    ids=repr,
)
def test_each_filter_chooses(
    manager: VideoJobManager, library: None, filters: JobFilter, names: str
):
    """A filter lets through the jobs that match all its fields, and no others; newest first."""
    found = [job.original_filename for job in manager.list_jobs(filters)]

    assert found == list(names)


@pytest.mark.parametrize(
    ("list_them", "names"),
    [
        (lambda manager: manager.get_user_jobs(ADA), "ba"),
        (lambda manager: manager.get_user_jobs(str(ADA), 1), "b"),
        (lambda manager: manager.get_user_jobs(ADA, 1, 1), "a"),
        (lambda manager: manager.get_user_jobs(ADA, 10, 0, JobFilter(queue="slow")), "a"),
        (lambda manager: manager.get_team_jobs(TEAM), "b"),
        (lambda manager: manager.get_team_jobs(TEAM, 10, 0, JobFilter(status="failed")), ""),
        (lambda manager: manager.list_jobs(limit=2, offset=2), "ba"),
        (lambda manager: manager.list_jobs(limit=2, offset=4), ""),
    ],
)
def test_lists_of_users_and_teams(
    manager: VideoJobManager, library: None, list_them: Callable[..., Any], names: str
):
    """A user's and a team's jobs come newest first, cut by limit and offset."""
    page = list_them(manager)

    assert "".join(job.original_filename for job in page) == names


def test_pages_have_no_gaps_and_no_doubles(manager: VideoJobManager, sql: Sql):
    """Pages by cursor give each job once, even where jobs share their time of creation and more come."""
    manager.create_jobs([{"user_id": ADA, "original_filename": f"{n}"} for n in range(7)])
    sql("update public.video_jobs set created_at = '2020-01-01 12:00:00.123456Z' where seq > 2")

    first = manager.list_jobs(limit=3)
    manager.create_job(user_id=ADA, original_filename="late")
    second = manager.list_jobs(limit=3, cursor=first.next_cursor)
    third = manager.list_jobs(limit=3, cursor=second.next_cursor)

    assert [[job.original_filename for job in page] for page in (first, second, third)] == [
        ["1", "0", "6"],
        ["5", "4", "3"],
        ["2"],
    ]
    assert third.next_cursor is None


def test_a_full_last_page_has_no_next(manager: VideoJobManager):
    """A page that holds exactly the rest leads nowhere."""
    manager.create_jobs([{"user_id": ADA}] * 2)

    page = manager.list_jobs(limit=2)

    assert len(page) == 2
    assert page.next_cursor is None


def test_a_cursor_keeps_to_its_filter(manager: VideoJobManager):
    """A cursor handed back with another filter is refused."""
    manager.create_jobs([{"user_id": ADA}] * 2)
    page = manager.get_user_jobs(ADA, 1)

    with pytest.raises(SupabaseValidationError, match="the cursor belongs to another filter"):
        manager.list_jobs(limit=1, cursor=page.next_cursor)

    assert len(manager.get_user_jobs(ADA, 1, cursor=page.next_cursor)) == 1


def test_iter_jobs_gives_all(manager: VideoJobManager):
    """Every job that matches comes once, newest first, over several pages."""
    manager.create_jobs([{"user_id": ADA, "original_filename": f"{n}"} for n in range(5)])
    manager.create_job(user_id=BOB)

    names = [j.original_filename for j in manager.iter_jobs(JobFilter(user_id=ADA), page_size=2)]

    assert names == ["4", "3", "2", "1", "0"]


def test_iter_jobs_may_be_left(manager: VideoJobManager):
    """Whoever iterates may stop early."""
    manager.create_jobs([{"user_id": ADA}] * 5)

    some = list(islice(manager.iter_jobs(page_size=2), 3))

    assert len(some) == 3


def test_events_tell_the_history(manager: VideoJobManager):
    """A job's events stand in order, with who did what in which run."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")
    manager.fail_job(lease, "no room", error_code="disk_full", detail={"free_bytes": 0})

    events = manager.get_job_events(job.id)

    assert [(e.type, e.run_token, e.worker_id) for e in events] == [
        ("created", None, None),
        ("claimed", 1, "w1"),
        ("retried", 1, "w1"),
    ]
    assert events[1].data == {"attempt": 1}
    assert events[2].data["free_bytes"] == 0
    assert events[2].data["error_code"] == "disk_full"
    assert manager.get_job_events(job.id, after_id=events[0].id, limit=1) == [events[1]]


def test_a_stranger_job_has_no_events(manager: VideoJobManager):
    """The history of a job that is not there is empty."""
    assert manager.get_job_events(NOBODYS_JOB) == []


# Statistics


@pytest.fixture
def figures(manager: VideoJobManager, sql: Sql, team: None) -> None:
    """Four completed jobs of 10, 20, 30 and 100 seconds, a failed one, a cancelled one, a queued one."""
    sql(
        """
        insert into public.video_jobs
          (user_id, team_id, pipeline, platform_target, status, created_at, started_at,
           completed_at, cancelled_at, processing_time, progress, error_code)
        values
          (%(ada)s, null, 'clips', 'tiktok', 'completed', '2027-03-01 23:30Z', '2027-03-01 23:30Z',
           '2027-03-02 00:30Z', null, 10, 100, null),
          (%(ada)s, null, 'clips', 'tiktok', 'completed', '2027-03-02 01:00Z', '2027-03-02 01:00Z',
           '2027-03-02 02:00Z', null, 20, 100, null),
          (%(ada)s, %(team)s, 'clips', null, 'completed', '2027-03-02 02:00Z', '2027-03-02 02:00Z',
           '2027-03-02 03:00Z', null, 30, 100, null),
          (%(bob)s, %(team)s, 'renditions', null, 'completed', '2027-03-02 03:00Z', '2027-03-02 03:00Z',
           '2027-03-04 03:00Z', null, 100, 100, null),
          (%(bob)s, null, 'renditions', null, 'failed', '2027-03-04 01:00Z', '2027-03-04 01:00Z',
           '2027-03-04 04:00Z', null, 7, 0, 'no_video'),
          (%(ada)s, null, 'clips', 'tiktok', 'cancelled', '2027-03-04 02:00Z', null,
           null, '2027-03-04 05:00Z', null, 0, null),
          (%(ada)s, null, 'clips', 'tiktok', 'queued', '2027-03-04 03:00Z', null,
           null, null, null, 0, null)
        """.replace("%(ada)s", f"'{ADA}'")
        .replace("%(bob)s", f"'{BOB}'")
        .replace("%(team)s", f"'{TEAM}'")
    )


def test_stats_over_all(manager: VideoJobManager, figures: None):
    """The figures are those of the rows: counts, average, median, 95th percentile, sum, days."""
    stats = manager.get_job_stats()

    assert stats.total == 7
    assert stats.by_status == {
        "queued": 1,
        "processing": 0,
        "completed": 4,
        "failed": 1,
        "cancelled": 1,
    }
    assert stats.average_processing_seconds == 40.0
    assert stats.median_processing_seconds == pytest.approx(25.0, rel=0.022)
    assert stats.p95_processing_seconds == pytest.approx(89.5, rel=0.022)
    assert stats.total_processing_seconds == 160.0
    assert stats.success_rate == 0.8
    assert stats.by_day == (
        DayStats(day=date(2027, 3, 1), created=1, completed=0, failed=0, cancelled=0),
        DayStats(day=date(2027, 3, 2), created=3, completed=3, failed=0, cancelled=0),
        DayStats(day=date(2027, 3, 4), created=3, completed=1, failed=1, cancelled=1),
    )
    assert stats.groups == ()


@pytest.mark.parametrize(
    ("group_by", "rows"),
    [
        ("user_id", [(str(ADA), 5, 3, 20.0, 60.0), (str(BOB), 2, 1, 100.0, 100.0)]),
        ("team_id", [(None, 5, 2, 15.0, 30.0), (str(TEAM), 2, 2, 65.0, 130.0)]),
        ("platform_target", [("tiktok", 4, 2, 15.0, 30.0), (None, 3, 2, 65.0, 130.0)]),
        ("pipeline", [("clips", 5, 3, 20.0, 60.0), ("renditions", 2, 1, 100.0, 100.0)]),
    ],
)
def test_stats_by_group(
    manager: VideoJobManager, figures: None, group_by: Any, rows: list[tuple[Any, ...]]
):
    """Each group has its count, its completed, and their average and total time; largest first."""
    groups = manager.get_job_stats(group_by=group_by).groups

    assert [
        (
            group.key,
            group.total,
            group.by_status[JobStatus.COMPLETED],
            group.average_processing_seconds,
            group.total_processing_seconds,
        )
        for group in groups
    ] == rows


def test_stats_of_a_range(manager: VideoJobManager, figures: None):
    """A filter narrows the figures; a range includes its first moment and not its last."""
    range_ = JobFilter(
        user_id=ADA,
        created_from=datetime(2027, 3, 2, 1, tzinfo=UTC),
        created_before=datetime(2027, 3, 4, 3, tzinfo=UTC),
    )

    stats = manager.get_job_stats(range_)

    assert (stats.total, stats.median_processing_seconds) == (
        3,
        pytest.approx(25.0, rel=0.022),
    )


def test_processing_times_by_day(manager: VideoJobManager, sql: Sql):
    """Of completed jobs, by the day of their creation; quiet days, and days before, are left out."""
    sql(
        """
        insert into public.video_jobs
          (user_id, status, created_at, started_at, completed_at, processing_time, progress)
        select
          case n when 4 then %s::uuid else %s::uuid end, 'completed', at, at, at + interval '1 hour', n, 100
        from (select n, now() - (n %% 3) * interval '5 days' as at from generate_series(1, 24) n) made
        """,
        BOB,
        ADA,
    )

    everybodys = manager.get_processing_times(days=8)
    adas = manager.get_processing_times(JobFilter(user_id=ADA), days=8)

    today = datetime.now(UTC).date()
    assert [day.day for day in everybodys] == [today - timedelta(days=5), today]
    assert [day.jobs for day in everybodys] == [8, 8]
    assert (everybodys[1].median_seconds, everybodys[1].p95_seconds) == (13.5, pytest.approx(22.95))
    assert [day.jobs for day in adas] == [7, 8]


def test_stats_of_nothing(manager: VideoJobManager):
    """Without jobs, counts are zero and averages are absent."""
    stats = manager.get_job_stats(group_by="user_id")

    assert (stats.total, stats.total_processing_seconds) == (0, 0.0)
    assert stats.by_status[JobStatus.COMPLETED] == 0
    assert (stats.average_processing_seconds, stats.median_processing_seconds) == (None, None)
    assert (stats.success_rate, stats.by_day, stats.groups) == (None, (), ())


# Cancel, retry, delete, clear


def test_cancel_a_queued_job(manager: VideoJobManager):
    """A queued job is cancelled at once; the reason stands in its history; a repeat is harmless."""
    job = manager.create_job(user_id=ADA)

    cancelled = manager.cancel_job(job.id, reason="wrong file")
    again = manager.cancel_job(job.id)

    assert (cancelled.status, cancelled.cancelled_at is not None) == ("cancelled", True)
    assert again == cancelled
    assert manager.get_job_events(job.id)[-1].data == {"reason": "wrong file"}


def test_cancel_a_running_job(manager: VideoJobManager):
    """A running job is asked to stop, and stays running until its worker has."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")

    asked = manager.cancel_job(job.id)
    stopped = manager.confirm_cancel(lease)

    assert (asked.status, asked.cancel_requested_at is not None) == ("processing", True)
    assert stopped.status == "cancelled"


def test_cancel_a_final_job(manager: VideoJobManager):
    """What has completed cannot be cancelled."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")
    manager.complete_job(lease)

    with pytest.raises(InvalidTransitionError) as caught:
        manager.cancel_job(job.id)

    assert caught.value.code == "VJ002"
    assert str(caught.value) == (
        f"job {job.id} is completed and cannot be cancelled (only queued and running jobs can be)"
    )


def test_retry_a_failed_job(manager: VideoJobManager):
    """A failed job is queued again with all its attempts; the old result stays in the events."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")
    manager.fail_job(lease, "no picture", error_code="no_video", retryable=False)

    again = manager.retry_job(job.id)

    assert (again.status, again.attempt, again.error_code) == ("queued", 0, None)
    event = manager.get_job_events(job.id)[-1]
    assert (event.type, event.data["status"], event.data["error_code"]) == (
        "requeued",
        "failed",
        "no_video",
    )


def test_retry_a_queued_job(manager: VideoJobManager):
    """Only what failed or was cancelled can be retried."""
    job = manager.create_job(user_id=ADA)

    with pytest.raises(InvalidTransitionError, match="is queued and cannot be retried"):
        manager.retry_job(job.id)


def test_delete_a_final_job(manager: VideoJobManager):
    """A deleted job is gone, with its history."""
    job = manager.create_job(user_id=ADA)
    manager.cancel_job(job.id)

    manager.delete_job(job.id)

    assert manager.get_job_events(job.id) == []
    with pytest.raises(JobNotFoundError):
        manager.get_job(job.id)
    with pytest.raises(JobNotFoundError):
        manager.delete_job(job.id)


def test_delete_a_waiting_job(manager: VideoJobManager):
    """A job that waits cannot be deleted before it is cancelled."""
    job = manager.create_job(user_id=ADA)

    with pytest.raises(InvalidTransitionError, match="is queued and cannot be deleted"):
        manager.delete_job(job.id)

    assert manager.get_job(job.id).status == "queued"


def test_clear_deletes_final_jobs_only(manager: VideoJobManager):
    """Clearing takes the final jobs that match, and leaves the others."""
    done, other, waiting = (
        manager.create_job(user_id=user, original_filename=name)
        for user, name in ((ADA, "done"), (BOB, "other"), (ADA, "waiting"))
    )
    manager.cancel_job(done.id)
    manager.cancel_job(other.id)

    deleted = manager.clear_jobs(JobFilter(user_id=ADA))

    assert deleted == 1
    assert {job.id for job in manager.list_jobs()} == {other.id, waiting.id}


@pytest.mark.parametrize(
    ("when", "deleted"),
    [
        ({"older_than": timedelta(hours=2)}, 1),
        ({"older_than": timedelta(minutes=30)}, 2),
        ({"finished_before": datetime(2020, 1, 1, tzinfo=UTC)}, 0),
        ({"finished_before": datetime(2100, 1, 1, tzinfo=UTC)}, 3),
    ],
)
def test_clear_by_age(manager: VideoJobManager, sql: Sql, when: dict[str, Any], deleted: int):
    """Clearing can be kept to what ended before a moment, or so long ago."""
    sql(
        """
        insert into public.video_jobs (user_id, status, created_at, cancelled_at)
        select
          %s, 'cancelled', now() - interval '1 day', now() - hours * interval '1 hour'
        from unnest('{0,1,3}'::int[]) hours
        """,
        ADA,
    )

    assert manager.clear_jobs(**when) == deleted


def test_clear_goes_on_until_all_are_gone(manager: VideoJobManager, sql: Sql):
    """More jobs than one call takes are all cleared, and counted."""
    sql(
        """
        insert into public.video_jobs (user_id, status, cancelled_at)
        select %s, 'cancelled', now() from generate_series(1, 1001)
        """,
        ADA,
    )

    assert manager.clear_jobs() == 1001
    assert len(manager.list_jobs()) == 0


# Bulk update


def test_bulk_update_by_ids_tells_each_outcome(manager: VideoJobManager):
    """Each id has its outcome, in the order of the ids, and doubles count once."""
    high, low, running = (manager.create_job(user_id=ADA, priority=p).id for p in (9, 1, 5))
    manager.start_processing(running)

    results = manager.bulk_update_jobs(
        JobChanges(priority=9), job_ids=[running, low, str(high), NOBODYS_JOB, low]
    )

    assert [(result.job_id, result.outcome, result.status) for result in results] == [
        (running, "invalid_transition", "processing"),
        (low, "updated", "queued"),
        (high, "unchanged", "queued"),
        (NOBODYS_JOB, "not_found", None),
    ]
    assert manager.get_job(low).priority == 9


def test_bulk_update_of_a_team(manager: VideoJobManager, as_user: AsUser, team: None):
    """A plain member may see a team's job and not change it; its admin may."""
    job = manager.create_job(user_id=BOB, team_id=TEAM)

    (member,) = as_user(ADA).bulk_update_jobs(JobChanges(queue="slow"), job_ids=[job.id])
    (stranger,) = as_user(EVE).bulk_update_jobs(JobChanges(queue="slow"), job_ids=[job.id])
    (admin,) = as_user(BOB).bulk_update_jobs(JobChanges(queue="slow"), job_ids=[job.id])

    assert (member.outcome, stranger.outcome, admin.outcome) == (
        "not_allowed",
        "not_found",
        "updated",
    )


def test_bulk_update_by_filter(manager: VideoJobManager):
    """All jobs that match are changed, over several batches, and no others."""
    manager.create_jobs([{"user_id": ADA}] * 501)
    other = manager.create_job(user_id=BOB)

    results = manager.bulk_update_jobs(
        JobChanges(priority=0, run_at=NOON, queue="night"), filters=JobFilter(user_id=ADA)
    )

    assert len(results) == 501
    changed = list(manager.iter_jobs(JobFilter(queue="night"), page_size=500))
    assert {(job.priority, job.run_at) for job in changed} == {(0, NOON)}
    assert len(changed) == 501
    assert manager.get_job(other.id).queue == "default"


def test_bulk_update_moves(manager: VideoJobManager):
    """Many jobs can be cancelled at once, and queued again."""
    waiting, running = (manager.create_job(user_id=ADA).id for _ in range(2))
    manager.start_processing(running)

    cancelled = manager.bulk_update_jobs(JobChanges(status="cancelled"), job_ids=[waiting, running])
    requeued = manager.bulk_update_jobs(
        JobChanges(status="queued", priority=8), job_ids=[waiting, running]
    )

    assert [(r.outcome, r.status) for r in cancelled] == [
        ("updated", "cancelled"),
        ("updated", "processing"),
    ]
    assert [(r.outcome, r.status) for r in requeued] == [
        ("updated", "queued"),
        ("invalid_transition", "processing"),
    ]
    assert manager.get_job(waiting).priority == 8


def test_a_dry_run_changes_nothing(manager: VideoJobManager):
    """A dry run tells what would happen, by ids and by filter, and leaves all as it was."""
    job = manager.create_job(user_id=ADA)

    by_id = manager.bulk_update_jobs(JobChanges(status="cancelled"), job_ids=[job.id], dry_run=True)
    by_filter = manager.bulk_update_jobs(
        JobChanges(status="cancelled"), filters=JobFilter(), dry_run=True
    )

    assert by_id == by_filter
    assert [(result.outcome, result.status) for result in by_id] == [("updated", "cancelled")]
    assert manager.get_job(job.id).updated_at == job.updated_at


# Work


def test_claim_gives_a_lease(manager: VideoJobManager):
    """A claimed job is running, in the worker's name, for as long as its lease says."""
    created = manager.create_job(user_id=ADA, source_url="a.mp4", settings={"a": [1]})

    (lease,) = manager.claim_jobs("w1", lease=timedelta(seconds=90), hard_limit=timedelta(hours=2))

    assert (lease.job_id, lease.run_token, lease.worker_id) == (created.id, 1, "w1")
    assert lease.expires_at - lease.claimed_at == timedelta(seconds=90)
    assert lease.hard_deadline is not None
    assert lease.hard_deadline - lease.claimed_at == timedelta(hours=2)
    assert lease.checkpoint is None
    assert lease.job == manager.get_job(created.id)
    assert (lease.job.status, lease.job.attempt, lease.job.worker_id) == ("processing", 1, "w1")


def test_claim_follows_the_order(manager: VideoJobManager):
    """Queues in the given order, then priority, then run_at, then age; not before run_at."""
    for name, queue, priority, run_at in (
        ("third", "b", 1, None),
        ("second", "a", 1, None),
        ("first", "a", 2, None),
        ("later", "a", 9, NOON),
        ("elsewhere", "c", 9, None),
        ("earlier", "b", 1, datetime(2020, 1, 1, tzinfo=UTC)),
    ):
        manager.create_job(
            user_id=ADA, original_filename=name, queue=queue, priority=priority, run_at=run_at
        )

    leases = [manager.claim_jobs("w1", queues=["a", "b"])[0] for _ in range(4)]

    assert [lease.job.original_filename for lease in leases] == [
        "first",
        "second",
        "earlier",
        "third",
    ]
    assert manager.claim_jobs("w1", queues=["a", "b"], limit=100) == []


def test_claim_keeps_to_its_limit_and_pipelines(manager: VideoJobManager):
    """A claim takes no more than asked for, and only what the worker can do."""
    manager.create_jobs([{"user_id": ADA}] * 3)
    manager.create_job(user_id=ADA, pipeline="renditions", priority=9)

    leases = manager.claim_jobs("w1", pipelines=["clips"], limit=2)

    assert [lease.job.pipeline for lease in leases] == ["clips", "clips"]


def test_no_job_is_claimed_twice(manager: VideoJobManager):
    """Workers that claim at the same time never get the same job."""
    manager.create_jobs([{"user_id": ADA}] * 20)

    with ThreadPoolExecutor(4) as pool:
        claims = pool.map(lambda n: manager.claim_jobs(f"w{n}", limit=5), range(4))
        ids = [lease.job_id for leases in claims for lease in leases]

    assert len(ids) == len(set(ids)) == 20


def test_start_processing_leases_one_job(manager: VideoJobManager):
    """A named job can be started, whatever its run_at; only once, and only when queued."""
    job = manager.create_job(user_id=ADA, run_at=NOON)

    lease = manager.start_processing(job.id, "laptop", lease=timedelta(minutes=5))

    assert (lease.job_id, lease.worker_id) == (job.id, "laptop")
    assert lease.expires_at - lease.claimed_at == timedelta(minutes=5)
    with pytest.raises(InvalidTransitionError, match="is processing and cannot be started"):
        manager.start_processing(job.id)
    with pytest.raises(JobNotFoundError):
        manager.start_processing(NOBODYS_JOB)


def test_heartbeat_keeps_the_lease_and_stores_progress(manager: VideoJobManager):
    """A beat moves the lease's end on, and its progress, stage and checkpoint are kept."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")
    beat = Beat(
        job_id=job.id,
        run_token=lease.run_token,
        progress=40,
        progress_detail={"720p": 40},
        stage="encoding",
        checkpoint={"clip": 2},
    )

    (reply,) = manager.heartbeat([beat], lease=timedelta(minutes=10))

    assert (reply.job_id, reply.verdict) == (job.id, "ok")
    assert reply.expires_at is not None
    assert reply.expires_at > lease.expires_at + 8 * MINUTE
    stored = manager.get_job(job.id)
    assert (stored.progress, stored.progress_detail, stored.stage) == (40, {"720p": 40}, "encoding")
    manager.release_job(lease)
    assert manager.claim_jobs("w2")[0].checkpoint == {"clip": 2}


def test_each_beat_has_its_verdict(manager: VideoJobManager):
    """One call answers for many jobs: fine, asked to stop, settled before, or lost."""
    running, stopping, done, taken = (manager.create_job(user_id=ADA).id for _ in range(4))
    leases = manager.claim_jobs("w1", limit=4)
    manager.cancel_job(stopping)
    manager.complete_job(leases[2])
    manager.release_job(leases[3])
    manager.start_processing(taken, "w2")
    beats = [Beat(job_id=lease.job_id, run_token=lease.run_token) for lease in leases]

    replies = manager.heartbeat([*beats, Beat(job_id=NOBODYS_JOB, run_token=1)])

    assert {reply.job_id: reply.verdict for reply in replies} == {
        running: "ok",
        stopping: "cancel_requested",
        done: "final",
        taken: "lost",
        NOBODYS_JOB: "lost",
    }
    assert {reply.job_id for reply in replies if reply.expires_at is None} == {
        done,
        taken,
        NOBODYS_JOB,
    }


def test_no_beats_are_no_replies(manager: VideoJobManager):
    """A worker without jobs has nothing to hear."""
    assert manager.heartbeat([]) == []


def test_complete_by_lease(manager: VideoJobManager):
    """A completed job has its outputs with their facts; the same lease again returns it as it is."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")
    outputs = [
        "poster.jpg",
        OutputFile(path="1.mp4", name="clip_01", size_bytes=10, duration_seconds=1.5, width=1080),
        {"path": "2.mp4", "scenes": [1, 2]},
    ]

    done = manager.complete_job(lease, outputs, 120)
    again = manager.complete_job(lease, outputs, 120)

    assert (done.status, done.progress, done.processing_time) == ("completed", 100, 120.0)
    assert [(file.path, file.kind) for file in done.output_files] == [
        ("poster.jpg", "video"),
        ("1.mp4", "video"),
        ("2.mp4", "video"),
    ]
    assert done.output_files[1].duration_seconds == 1.5
    assert done.output_files[2].model_extra == {"scenes": [1, 2]}
    assert again == done == manager.get_job(job.id)


def test_complete_by_id(manager: VideoJobManager):
    """A service may complete by id what it started; a repeat with the same outputs is harmless."""
    job = manager.create_job(user_id=ADA)
    manager.start_processing(job.id)

    done = manager.complete_job(job.id, ["a.mp4"], 120)
    again = manager.complete_job(str(job.id), ["a.mp4"], 120)

    assert (done.status, done.processing_time) == ("completed", 120.0)
    assert again == done
    with pytest.raises(InvalidTransitionError, match="is completed and cannot be completed"):
        manager.complete_job(job.id, ["b.mp4"], 120)


def test_complete_by_id_needs_a_running_job(manager: VideoJobManager):
    """A job that nobody started cannot be completed."""
    job = manager.create_job(user_id=ADA)

    with pytest.raises(InvalidTransitionError, match="is queued and cannot be completed"):
        manager.complete_job(job)

    assert manager.get_job(job.id).status == "queued"


@pytest.mark.parametrize(
    "settle",
    [
        lambda manager, lease: manager.complete_job(lease),
        lambda manager, lease: manager.fail_job(lease, "boom"),
        lambda manager, lease: manager.release_job(lease),
        lambda manager, lease: manager.confirm_cancel(lease),
    ],
    ids=["complete", "fail", "release", "confirm_cancel"],
)
def test_a_lost_lease_settles_nothing(
    manager: VideoJobManager,
    expire: Callable[[], Any],
    settle: Callable[..., Any],
):
    """Once another attempt owns the job, no write of the old one is accepted."""
    job = manager.create_job(user_id=ADA)
    (old,) = manager.claim_jobs("w1")
    expire()
    (new,) = manager.claim_jobs("w2")

    with pytest.raises(LeaseLostError) as caught:
        settle(manager, old)

    assert (caught.value.job_id, caught.value.outcome) == (job.id, "not_applied")
    assert manager.complete_job(new).worker_id == "w2"


def test_fail_is_retried_later(manager: VideoJobManager):
    """A failed attempt with others left is queued again, after a pause, with what went wrong."""
    manager.create_job(user_id=ADA, max_attempts=2)
    (lease,) = manager.claim_jobs("w1")

    job = manager.fail_job(lease, "no\x00room", error_code="disk_full")

    assert (job.status, job.attempt) == ("queued", 1)
    assert (job.error_code, job.error_message) == ("disk_full", "no\N{REPLACEMENT CHARACTER}room")
    assert timedelta(seconds=4) < job.run_at - lease.claimed_at < timedelta(seconds=20)


@pytest.mark.parametrize(
    ("max_attempts", "retryable"), [(1, True), (3, False)], ids=["last attempt", "permanent"]
)
def test_fail_for_good(manager: VideoJobManager, max_attempts: int, retryable: bool):
    """The last attempt's failure and a permanent one are the job's; a repeat is harmless."""
    manager.create_job(user_id=ADA, max_attempts=max_attempts)
    (lease,) = manager.claim_jobs("w1")

    job = manager.fail_job(lease, "no picture", error_code="no_video", retryable=retryable)
    again = manager.fail_job(lease, "no picture", error_code="no_video", retryable=retryable)

    assert (job.status, job.error_code, job.error_message) == ("failed", "no_video", "no picture")
    assert again == job


def test_fail_by_id(manager: VideoJobManager):
    """A service may fail by id what it started, and nothing else."""
    job = manager.create_job(user_id=ADA)
    manager.start_processing(job.id)

    failed = manager.fail_job(job.id, "no picture", retryable=False)

    assert (failed.status, failed.error_code) == ("failed", "processing_failed")
    with pytest.raises(InvalidTransitionError):
        manager.fail_job(job.id, "again")


def test_failure_detail_may_hold_anything(manager: VideoJobManager):
    """What ffmpeg printed is kept, even where Postgres could not store it as it is."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")

    manager.fail_job(lease, "\udcff", detail={"a\x00": ["\x00b", {"c": "\udcff"}], "d": -1.5})

    data = manager.get_job_events(job.id)[-1].data
    assert data["a\N{REPLACEMENT CHARACTER}"] == ["\N{REPLACEMENT CHARACTER}b", {"c": "?"}]
    assert (data["d"], data["error_message"]) == (-1.5, "?")


def test_facts_that_are_no_numbers_are_left_out(manager: VideoJobManager):
    """A silent file's loudness is minus infinity, which JSON cannot hold: it is stored as absent."""
    manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")

    job = manager.complete_job(lease, [OutputFile(path="a.mp4", loudness_lufs=float("-inf"))])

    assert job.output_files[0].loudness_lufs is None


def test_release_costs_no_attempt(manager: VideoJobManager):
    """A job that is given back waits as if nobody had touched it; a repeat is harmless."""
    manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")

    job = manager.release_job(lease)
    again = manager.release_job(lease)

    assert (job.status, job.attempt, job.progress) == ("queued", 0, 0)
    assert again == job
    assert [lease.job_id for lease in manager.claim_jobs("w2")] == [job.id]


def test_cancelling_wins_over_failing(manager: VideoJobManager):
    """Who asked to stop gets a stopped job, however the attempt ended."""
    job = manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")
    manager.cancel_job(job.id)

    ended = manager.fail_job(lease, "killed")

    assert ended.status == "cancelled"


def test_stuck_jobs_are_found(manager: VideoJobManager, sql: Sql, expire: Callable[[], Any]):
    """Stuck is what a silent worker holds; on request also what runs too long."""
    silent, running = (manager.create_job(user_id=ADA).id for _ in range(2))
    manager.start_processing(silent)
    expire()
    manager.start_processing(running)
    sql(
        "update public.video_jobs set started_at = started_at - interval '1 hour' where id = %s",
        running,
    )

    stuck = manager.find_stuck_jobs()
    slow = manager.find_stuck_jobs(running_longer_than=timedelta(minutes=30))
    one = manager.find_stuck_jobs(running_longer_than=timedelta(minutes=30), limit=1)

    assert [job.id for job in stuck] == [silent]
    assert [job.id for job in slow] == [running, silent]
    assert [job.id for job in one] == [running]


def test_recovery_takes_jobs_back(manager: VideoJobManager, sql: Sql, expire: Callable[[], Any]):
    """Jobs of silent workers are queued again, cancelled if asked for, failed after three such."""
    rescued, cancelled, lost = (manager.create_job(user_id=ADA).id for _ in range(3))
    sql("update public.video_jobs set lost_count = 2 where id = %s", lost)
    manager.claim_jobs("w1", limit=3)
    manager.cancel_job(cancelled)
    expire()

    recovered = manager.recover_stuck_jobs()

    assert {(r.job_id, r.outcome, r.worker_id) for r in recovered} == {
        (rescued, "rescued", "w1"),
        (cancelled, "cancelled", "w1"),
        (lost, "lost", "w1"),
    }
    assert [
        (job.status, job.lost_count, job.error_code)
        for job in (manager.get_job(job_id) for job_id in (rescued, cancelled, lost))
    ] == [("queued", 1, None), ("cancelled", 0, None), ("failed", 3, "worker_lost")]
    assert manager.recover_stuck_jobs() == []


def test_recovery_keeps_to_its_limit(manager: VideoJobManager, expire: Callable[[], Any]):
    """No more jobs are taken back than asked for."""
    manager.create_jobs([{"user_id": ADA}] * 3)
    manager.claim_jobs("w1", limit=3)
    expire()

    assert len(manager.recover_stuck_jobs(limit=2)) == 2
    assert len(manager.recover_stuck_jobs(limit=2)) == 1


def test_check_tells_the_health(manager: VideoJobManager, expire: Callable[[], Any]):
    """The database says what waits, what runs, and what is overdue."""
    manager.create_jobs([{"user_id": ADA}] * 3)
    manager.claim_jobs("w1")
    expire()

    health = manager.check()

    assert health.is_service
    assert (health.queued, health.processing, health.expired_leases) == (2, 1, 1)
    assert (health.processing_without_lease, health.leases_without_job) == (0, 0)
    assert health.server_version.startswith("18")
    assert health.server_time.tzinfo is UTC


# Without a lease


def test_status_by_hand(manager: VideoJobManager):
    """A script brings a job through its statuses by name."""
    job = manager.create_job(user_id=ADA)

    started = manager.update_job_status(job.id, "processing", worker_id="script")
    moved = manager.update_job_status(job.id, JobStatus.PROCESSING, progress=30, stage="encoding")
    done = manager.update_job_status(job.id, "completed", output_files=["a.mp4"])

    assert (started.status, started.worker_id, started.attempt) == ("processing", "script", 1)
    assert (moved.progress, moved.stage) == (30, "encoding")
    assert (done.status, done.output_files[0].path) == ("completed", "a.mp4")


def test_status_failed_and_queued_by_hand(manager: VideoJobManager):
    """A script fails a job for good, queues it again, and gives a running one back."""
    job = manager.create_job(user_id=ADA)
    manager.update_job_status(job.id, "processing")

    failed = manager.update_job_status(job.id, "failed", error_code="oops", error_message="Ouch")
    queued = manager.update_job_status(job.id, "queued")
    manager.update_job_status(job.id, "processing")
    released = manager.update_job_status(job.id, "queued")

    assert (failed.status, failed.error_code, failed.error_message) == ("failed", "oops", "Ouch")
    assert (queued.status, queued.attempt) == ("queued", 0)
    assert (released.status, released.attempt) == ("queued", 0)


def test_status_cancelled_by_hand(manager: VideoJobManager):
    """A script cancels a job."""
    job = manager.create_job(user_id=ADA)

    assert manager.update_job_status(job.id, "cancelled").status == "cancelled"


def test_status_that_does_not_follow(manager: VideoJobManager):
    """No job goes where its status does not lead."""
    job = manager.create_job(user_id=ADA)

    with pytest.raises(InvalidTransitionError, match="is queued and cannot be completed"):
        manager.update_job_status(job.id, "completed")
    with pytest.raises(InvalidTransitionError, match="is queued and cannot be failed"):
        manager.update_job_status(job.id, "failed")
    with pytest.raises(JobNotFoundError):
        manager.update_job_status(NOBODYS_JOB, "cancelled")

    assert manager.get_job(job.id).status == "queued"


# Wait and watch


def test_wait_ends_when_the_job_does(manager: VideoJobManager):
    """Whoever waits for a job gets it as it ended, though another thread ended it."""
    job = manager.create_job(user_id=ADA)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(manager.wait_for_job, job.id, timeout=30)
        manager.start_processing(job.id)
        manager.complete_job(job.id, ["a.mp4"])
        waited = waiting.result()

    assert waited == manager.get_job(job.id)
    assert waited.is_final


def test_wait_for_a_final_job(manager: VideoJobManager):
    """There is nothing to wait for when the job has ended before."""
    job = manager.create_job(user_id=ADA)
    manager.cancel_job(job.id)

    assert manager.wait_for_job(str(job.id), timeout=timedelta(0)).status == "cancelled"


def test_wait_gives_up_in_time(manager: VideoJobManager):
    """A job that does not end in time goes on; the error says how far it is."""
    job = manager.create_job(user_id=ADA)

    with pytest.raises(WaitTimeoutError) as caught:
        manager.wait_for_job(job.id, timeout=0.05)

    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.job_id, caught.value.operation) == (job.id, "wait_for_job")
    assert f"job {job.id} is still queued at 0 % after 0." in str(caught.value)


def test_wait_for_a_missing_job(manager: VideoJobManager):
    """Nobody waits for ever for a job that is not there."""
    with pytest.raises(JobNotFoundError):
        manager.wait_for_job(NOBODYS_JOB)


def test_watch_gives_each_change(manager: VideoJobManager):
    """A watcher sees the job now, after each change, and at its end; then the iteration ends."""
    job = manager.create_job(user_id=ADA)
    seen = manager.watch_job(job.id)

    statuses = [next(seen).status]
    manager.start_processing(job.id)
    statuses.append(next(seen).status)
    manager.update_job_status(job.id, "processing", progress=50)
    progress = next(seen).progress
    manager.complete_job(job.id)
    statuses.append(next(seen).status)

    assert (statuses, progress) == (["queued", "processing", "completed"], 50)
    assert list(seen) == []


def test_watch_may_be_left(manager: VideoJobManager):
    """A watcher may stop watching, and the manager works on."""
    job = manager.create_job(user_id=ADA)
    seen = manager.watch_job(job.id)

    first = next(seen)
    seen.close()  # pyright: ignore[reportAttributeAccessIssue]

    assert first.status == "queued"
    assert manager.get_job(job.id).status == "queued"


# Users


def test_a_user_owns_what_they_create(as_user: AsUser):
    """A signed-in user need not say who they are, and finds what they created."""
    ada = as_user(ADA)

    job = ada.create_job(clip_count=3)

    assert (job.user_id, job.created) == (ADA, True)
    assert [found.id for found in ada.list_jobs()] == [job.id]
    assert ada.cancel_job(job.id).status == "cancelled"
    assert ada.get_job_events(job.id)[-1].actor_id == ADA


def test_a_user_sees_their_own_and_their_teams(
    manager: VideoJobManager, as_user: AsUser, team: None
):
    """A user sees their own jobs and their teams', in lists, by id and in the figures."""
    own, teams, other = (
        manager.create_job(user_id=ADA).id,
        manager.create_job(user_id=BOB, team_id=TEAM).id,
        manager.create_job(user_id=EVE).id,
    )
    ada = as_user(ADA)

    assert {job.id for job in ada.iter_jobs()} == {own, teams}
    assert ada.get_job_stats().total == 2
    assert ada.get_job_events(other) == []
    with pytest.raises(JobNotFoundError):
        ada.get_job(other)
    with pytest.raises(JobNotFoundError):
        ada.cancel_job(other)


def test_a_member_may_not_change_a_teams_job(manager: VideoJobManager, as_user: AsUser, team: None):
    """Only the owner and the team's admins change a job; a plain member is told so."""
    job = manager.create_job(user_id=BOB, team_id=TEAM)

    with pytest.raises(PermissionDeniedError) as caught:
        as_user(ADA).cancel_job(job.id)

    assert caught.value.code == "VJ005"
    assert as_user(BOB).cancel_job(job.id).status == "cancelled"


def test_a_user_creates_for_nobody_else(as_user: AsUser):
    """A signed-in user cannot create a job in another's name."""
    with pytest.raises(PermissionDeniedError, match=f"user_id {BOB} is not yours"):
        as_user(ADA).create_job(user_id=BOB)


def test_a_user_clears_their_own_only(manager: VideoJobManager, as_user: AsUser):
    """Clearing as a user leaves everybody else's jobs."""
    for user in (ADA, EVE):
        manager.cancel_job(manager.create_job(user_id=user).id)

    assert as_user(ADA).clear_jobs() == 1
    assert [job.user_id for job in manager.list_jobs()] == [EVE]


@pytest.mark.parametrize(
    "work",
    [
        lambda manager, lease: manager.claim_jobs("w1"),
        lambda manager, lease: manager.start_processing(lease.job_id),
        lambda manager, lease: manager.heartbeat([Beat(job_id=lease.job_id, run_token=1)]),
        lambda manager, lease: manager.complete_job(lease),
        lambda manager, lease: manager.complete_job(lease.job_id),
        lambda manager, lease: manager.fail_job(lease, "boom"),
        lambda manager, lease: manager.release_job(lease),
        lambda manager, lease: manager.confirm_cancel(lease),
        lambda manager, lease: manager.update_job_status(lease.job_id, "completed"),
        lambda manager, lease: manager.find_stuck_jobs(),
        lambda manager, lease: manager.recover_stuck_jobs(),
        lambda manager, lease: manager.check(),
    ],
)
def test_a_user_does_no_workers_work(
    manager: VideoJobManager, as_user: AsUser, work: Callable[..., Any]
):
    """What workers do is refused to users, even for their own job and with its lease."""
    manager.create_job(user_id=ADA)
    (lease,) = manager.claim_jobs("w1")

    with pytest.raises(PermissionDeniedError) as caught:
        work(as_user(ADA), lease)

    assert (caught.value.code, caught.value.outcome) == ("42501", "not_applied")
    assert "workers need the secret (service role) key" in str(caught.value)


# All four alike


def test_the_same_story_gives_the_same_models(
    managers: dict[str, VideoJobManager], wipe: Callable[[], Any], stack: LocalStack, sql: Sql
):
    """One scenario over each transport ends in equal models, but for ids and times."""
    stories = []

    for manager in managers.values():
        wipe()
        stories.append(_story(manager, manager.as_user(stack.user_token(ADA)), sql))

    assert stories[0] == stories[1] == stories[2] == stories[3]
    assert len(stories[0]) > 30


def _story(manager: VideoJobManager, ada: VideoJobManager, sql: Sql) -> list[Any]:
    told: list[Any] = [
        manager.create_job(user_id=ADA, settings={"a": [1, 2.5, None, "ü"]}, source_url="a.mp4"),
        ada.create_job(clip_count=2, original_filename="b.mp4", original_filesize=2**53 - 1),
        *manager.create_jobs([{"user_id": BOB, "priority": 9}, {"user_id": EVE, "queue": "q"}]),
        *manager.claim_jobs("w1", limit=3, hard_limit=MINUTE),
    ]
    leases = told[4:7]
    told += manager.heartbeat(
        [
            Beat(job_id=leases[0].job_id, run_token=1, progress=10, progress_detail={"a": 1.5}),
            Beat(job_id=leases[1].job_id, run_token=9, progress=10),
        ]
    )
    told += [
        manager.complete_job(leases[0], [OutputFile(path="a", frame_rate=29.97)], 12.25),
        manager.fail_job(leases[1], "boom", retryable=False, detail={"tail": ["x"]}),
        manager.cancel_job(leases[2].job_id),
        *manager.heartbeat([Beat(job_id=leases[2].job_id, run_token=1)]),
        manager.confirm_cancel(leases[2]),
        manager.retry_job(leases[2].job_id),
        *manager.bulk_update_jobs(JobChanges(priority=3), filters=JobFilter()),
        manager.list_jobs(limit=10),
        *manager.iter_jobs(page_size=2),
        *ada.list_jobs(),
        *(event for lease in leases for event in manager.get_job_events(lease.job_id)),
        manager.get_job_stats(group_by="pipeline"),
        ada.get_job_stats(),
        *manager.get_processing_times(),
        manager.update_job_status(leases[2].job_id, "processing", progress=5),
        *manager.find_stuck_jobs(running_longer_than=timedelta(microseconds=1)),
        manager.check(),
        *manager.watch_job(leases[0].job_id),
        manager.clear_jobs(),
    ]
    return [_without_ids_and_times(item) for item in told]


def _without_ids_and_times(value: Any) -> Any:
    """The value's types and contents; which id or moment it was becomes its type."""
    match value:
        case UUID() | datetime():
            return type(value)
        case str() if _is_an_id_or_a_moment(value):
            return "an id or a moment"
        case dict():
            return {key: _without_ids_and_times(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_ids_and_times(item) for item in value]
        case str() | int() | float() | None | date():
            return value if not isinstance(value, float) or value == 12.25 else float
        case _:
            return type(value).__name__, _without_ids_and_times(dict(value.__dict__))


def _is_an_id_or_a_moment(text: str) -> bool:
    for read in (UUID, datetime.fromisoformat):
        try:
            read(text)
        except ValueError:
            continue
        return True
    return False


@pytest.fixture
def job_ids(managers: dict[str, VideoJobManager], team: None) -> dict[str, UUID]:
    """A queued, a running, a failed and a team's job, by what they are."""
    manager = managers["postgres"]
    jobs = {name: manager.create_job(user_id=ADA).id for name in ("queued", "running", "failed")}
    manager.start_processing(jobs["running"])
    manager.start_processing(jobs["failed"])
    manager.fail_job(jobs["failed"], "boom", retryable=False)
    jobs["team's"] = manager.create_job(user_id=BOB, team_id=TEAM, idempotency_key="k").id
    return jobs


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("VJ001", lambda manager, ada, jobs: manager.get_job(NOBODYS_JOB)),
        ("VJ001", lambda manager, ada, jobs: manager.cancel_job(NOBODYS_JOB)),
        ("VJ001", lambda manager, ada, jobs: manager.retry_job(NOBODYS_JOB)),
        ("VJ001", lambda manager, ada, jobs: manager.delete_job(NOBODYS_JOB)),
        ("VJ001", lambda manager, ada, jobs: manager.start_processing(NOBODYS_JOB)),
        ("VJ001", lambda manager, ada, jobs: manager.complete_job(NOBODYS_JOB)),
        ("VJ001", lambda manager, ada, jobs: manager.update_job_status(NOBODYS_JOB, "failed")),
        ("VJ002", lambda manager, ada, jobs: manager.cancel_job(jobs["failed"])),
        ("VJ002", lambda manager, ada, jobs: manager.retry_job(jobs["queued"])),
        ("VJ002", lambda manager, ada, jobs: manager.delete_job(jobs["running"])),
        ("VJ002", lambda manager, ada, jobs: manager.complete_job(jobs["queued"])),
        ("VJ002", lambda manager, ada, jobs: manager.update_job_status(jobs["failed"], "failed")),
        (
            "VJ003",
            lambda manager, ada, jobs: manager.create_job(
                user_id=BOB, idempotency_key="k", clip_count=1
            ),
        ),
        ("VJ005", lambda manager, ada, jobs: manager.create_job(user_id=EVE, team_id=TEAM)),
        ("VJ005", lambda manager, ada, jobs: ada.create_job(user_id=BOB)),
        ("VJ005", lambda manager, ada, jobs: ada.cancel_job(jobs["team's"])),
        ("VJ005", lambda manager, ada, jobs: ada.retry_job(jobs["team's"])),
        ("VJ005", lambda manager, ada, jobs: ada.delete_job(jobs["team's"])),
        ("42501", lambda manager, ada, jobs: ada.claim_jobs("w1")),
        ("42501", lambda manager, ada, jobs: ada.check()),
        (None, lambda manager, ada, jobs: manager.list_jobs(limit=0)),
        (None, lambda manager, ada, jobs: manager.list_jobs(cursor="bad")),
        (None, lambda manager, ada, jobs: manager.wait_for_job(jobs["queued"], timeout=-1)),
    ],
)
def test_errors_are_alike(
    managers: dict[str, VideoJobManager],
    job_ids: dict[str, UUID],
    stack: LocalStack,
    code: str | None,
    refused: Callable[..., Any],
):
    """The same refusal has the same class, code, message and facts over each transport."""
    facts = []

    for manager in managers.values():
        with pytest.raises(VideoJobsError) as caught:
            refused(manager, manager.as_user(stack.user_token(ADA)), job_ids)
        facts.append((type(caught.value), _without_http(caught.value)))

    assert facts[0] == facts[1] == facts[2] == facts[3]
    assert facts[0][1]["code"] == code


def _without_http(error: VideoJobsError) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if name != "status"}


def test_an_expired_token_is_refused_alike(managers: dict[str, VideoJobManager], stack: LocalStack):
    """A token that has expired, or that nobody signed, is an AuthenticationError everywhere."""
    expired = stack.user_token(ADA, expires_in=timedelta(hours=-1))
    facts = []

    for manager in managers.values():
        for token in (expired, "not.a.token", f"{expired}x"):
            with pytest.raises(VideoJobsError) as caught:
                manager.as_user(token).list_jobs()
            error = caught.value
            facts.append((type(error).__name__, error.operation, error.outcome))

    assert set(facts) == {("AuthenticationError", "list_video_jobs", "not_applied")}


def test_a_token_source_is_asked_again(managers: dict[str, VideoJobManager], stack: LocalStack):
    """When the server refuses a token as expired, its source is asked once for a fresh one."""
    expired = stack.user_token(ADA, expires_in=timedelta(hours=-1))
    fresh = stack.user_token(ADA)
    pages = []

    for manager in managers.values():
        tokens = iter([expired, fresh])
        pages.append(len(manager.as_user(lambda tokens=tokens: next(tokens)).list_jobs()))

    assert pages == [0, 0, 0, 0]


every_transport = pytest.mark.parametrize(
    "transport", ["supabase", "postgres", "async supabase", "async postgres"]
)


@every_transport
@pytest.mark.parametrize("was_used", [True, False], ids=["used", "unused"])
def test_a_closed_manager_says_so(
    transport: str,
    was_used: bool,
    open_manager: Open,
    sdk_settings: Settings,
    stack: LocalStack,
):
    """A manager that was closed refuses its calls, as do its users'; closing again is harmless."""
    manager = open_manager(transport, sdk_settings)
    user = manager.as_user(stack.user_token(ADA))
    if was_used:
        manager.check()

    manager.close()
    manager.close()

    with pytest.raises(SupabaseConnectionError, match="the manager was closed") as caught:
        manager.create_job(user_id=ADA)
    with pytest.raises(SupabaseConnectionError, match="the manager was closed"):
        user.list_jobs()
    assert (caught.value.attempts, caught.value.outcome) == (1, "not_applied")


@pytest.mark.parametrize("transport", ["supabase", "postgres"])
def test_closing_a_users_manager_leaves_the_service_open(
    transport: str, open_manager: Open, sdk_settings: Settings, stack: LocalStack
):
    """A user's manager is made for one request; closing it closes no shared connection."""
    with open_manager(transport, sdk_settings) as manager:
        with manager.as_user(stack.user_token(ADA)) as user:
            user.list_jobs()

        assert manager.check().is_service
