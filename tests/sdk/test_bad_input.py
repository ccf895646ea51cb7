"""Bad input is refused before anything is sent, in words that name field, value and rule."""

from __future__ import annotations

import pickle
import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf, nan
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import respx
from people import ADA, NOBODYS_JOB
from scripted import ScriptedTransport

import videojobs
from videojobs import (
    AuthenticationError,
    Beat,
    ConfigurationError,
    IdempotencyConflictError,
    InvalidTransitionError,
    JobChanges,
    JobFilter,
    JobNotFoundError,
    JobReceipt,
    LeaseLostError,
    MissingExtraError,
    NewVideoJob,
    NotEnoughSpaceError,
    OutcomeUnknownError,
    PartlyCreatedError,
    PermissionDeniedError,
    ProcessingCancelledError,
    ProcessingError,
    RateLimitedError,
    RefusedError,
    SchemaMismatchError,
    Settings,
    SignedUrlUnsupportedError,
    SupabaseConnectionError,
    SupabaseValidationError,
    VideoJobManager,
    VideoJobsError,
    WaitTimeoutError,
    errors,
)
from videojobs.local import LocalStack
from videojobs.pipelines.settings import ProcessingSettings
from videojobs.transports.supabase import SupabaseTransport

NAIVE = datetime(2027, 1, 1)  # noqa: DTZ001 # what is refused
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
OWNER = {"user_id": ADA}


def refused(bad: Callable[[VideoJobManager], Any]) -> SupabaseValidationError:
    """The refusal, after which nothing was sent."""
    transport = ScriptedTransport()
    manager = VideoJobManager(transport)

    with pytest.raises(SupabaseValidationError) as caught:
        bad(manager)

    assert transport.sent == []
    return caught.value


# (field, what the message says of it, the bad field itself)
BAD_FIELDS: list[tuple[str, str, Any]] = [
    ("original_filesize", "original_filesize=-1: Input should be greater than or equal to 0", -1),
    ("original_filesize", "should be less than or equal to 9007199254740991", 2**53),
    ("clip_count", "clip_count=0: Input should be greater than or equal to 1", 0),
    ("clip_count", "clip_count=10000: Input should be less than or equal to 100", 10_000),
    ("clip_count", "clip_count=2.5: Input should be a valid integer", 2.5),
    (
        "platform_target",
        "platform_target='vine': Input should be 'tiktok', 'instagram' or 'youtube_shorts'",
        "vine",
    ),
    ("quality_preset", "'best': Input should be 'draft', 'standard' or 'pro'", "best"),
    ("enhancement_level", "'max': Input should be 'none', 'basic' or 'advanced'", "max"),
    ("resource_type", "'series': Input should be 'upload', 'film' or 'episode'", "series"),
    ("run_at", "run_at=datetime.datetime(2027, 1, 1, 0, 0): a datetime with a time zone", NAIVE),
    ("idempotency_key", "String should have at most 255 characters", "k" * 300),
    ("idempotency_key", "idempotency_key='': String should have at least 1 character", ""),
    ("original_filename", "original_filename='a\\x00b': text must not contain a NUL", "a\x00b"),
    ("original_filename", "unable to parse raw data as a unicode string", "caf\udce9.mp4"),
    ("resource_name", "text must not contain a NUL character", "\x00"),
    ("source_url", "String should have at most 2048 characters", "a" * 2049),
    ("queue", "queue='Big Queue': String should match pattern", "Big Queue"),
    ("pipeline", "pipeline='': String should match pattern", ""),
    ("priority", "priority=10: Input should be less than or equal to 9", 10),
    ("max_attempts", "max_attempts=0: Input should be greater than or equal to 1", 0),
    ("user_id", "user_id='ada': Input should be a valid UUID", "ada"),
    ("team_id", "team_id=7: UUID input should be a string, bytes or UUID object", 7),
    ("settings", "settings={'a': nan}: must be storable as JSON", {"a": nan}),
    ("settings", "must be storable as JSON", {"a": Decimal("1.5")}),
    ("settings", "must be storable as JSON", {"a": {1, 2}}),
    ("settings", "text must not contain a NUL character", {"a": ["\x00"]}),
    ("settings", "at most 65536 bytes as JSON, not 65537", {"a": "x" * (65_536 - 8)}),
    ("settings", "settings=['a']: Input should be a valid dictionary", ["a"]),
    ("settings", "must be storable as JSON: 'utf-8' codec", {"a": "caf\udce9.mp4"}),
    ("colour", "colour is not a field", "red"),
]


@pytest.mark.parametrize(("field", "told", "value"), BAD_FIELDS)
def test_a_bad_field_is_refused(field: str, told: str, value: Any):
    """A field of a new job that is not allowed is named, with its value and what is allowed."""
    error = refused(lambda manager: manager.create_job(**{**OWNER, field: value}))

    assert error.field == field
    assert told in str(error)
    assert str(error).startswith("NewVideoJob was refused: ")
    assert error.outcome == "not_applied"


def test_the_largest_settings_are_taken():
    """Settings of exactly 64 kB are within the rule that refuses one byte more."""
    job = NewVideoJob(settings={"a": "x" * (65_536 - 9)})

    assert len(job.settings["a"]) == 65_527


def test_every_bad_field_is_told_at_once():
    """Several bad fields are all named in one error."""
    error = refused(lambda manager: manager.create_job(**OWNER, clip_count=0, priority=11))

    assert [problem[:2] for problem in error.problems] == [("priority", 11), ("clip_count", 0)]


def test_a_bad_job_among_many_is_named_by_its_place():
    """Of many jobs, the bad one is named by its index, whatever way it was given in."""
    jobs: list[Any] = [NewVideoJob(user_id=ADA), {**OWNER, "clip_count": 0}]

    field = refused(lambda manager: manager.create_jobs(jobs))
    owner = refused(lambda manager: manager.create_jobs([NewVideoJob()]))
    kind = refused(lambda manager: manager.create_jobs("job"))  # pyright: ignore[reportArgumentType]

    assert (field.field, field.value) == ("jobs[1].clip_count", 0)
    assert str(field).startswith("create_jobs was refused: jobs[1].clip_count=0: Input should be")
    assert owner.field == "jobs[0].user_id"
    assert (kind.field, kind.value) == ("jobs[0]", "j")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"resource_type": "film"}, "a job for a film needs its resource_id"),
        ({"resource_parent_id": "s1"}, "only an episode has a resource_parent_id, its season"),
    ],
)
def test_fields_that_do_not_fit_each_other(fields: dict[str, Any], told: str):
    """A rule over several fields is told without their values."""
    error = refused(lambda manager: manager.create_job(**OWNER, **fields))

    assert str(error) == f"NewVideoJob was refused: {told}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"clip_seconds": -1}, "settings.clip_seconds=-1: Input should be greater than 0"),
        ({"framing": "blurr"}, "settings.framing='blurr': Input should be 'centre', 'follow' or 'blur'"),
        (
            {"cuts": [{"start_seconds": 5, "end_seconds": 3}]},
            "settings: the cut 5 to 3 s ends before it begins",
        ),
        ({"pipeline": "hls"}, "settings.pipeline='hls': give it as the job's own pipeline instead"),
        ({"options": 3}, "settings.options=3: options must be a JSON object"),
    ],
)  # fmt: skip
def test_settings_that_no_worker_could_use_are_refused(settings: dict[str, Any], told: str):
    """At creation, and not once the job has waited for a worker."""
    error = refused(lambda manager: manager.create_job(**OWNER, settings=settings))
    among = refused(lambda manager: manager.create_jobs([{**OWNER, "settings": settings}]))

    assert str(error) == f"create_job was refused: {told}"
    assert str(among) == f"create_jobs was refused: jobs[0].{told}"


def test_settings_of_a_pipeline_of_ones_own_are_taken(manager: VideoJobManager):
    """Whatever they are called, and whatever they say."""
    settings = {"voice": "deep", "framing": "loose", "cuts": "a", "options": {"frames": [1, 2]}}

    job = manager.create_job(**OWNER, pipeline="mine", settings=settings)

    assert manager.get_job(job.id).settings == settings


def test_refused_settings_show_no_secret():
    """What a signed address says stands in no error."""
    settings = {"captions_url": SIGNED_URL, "clip_seconds": -1}
    error = refused(lambda manager: manager.create_job(**OWNER, settings=settings))
    other = refused(
        lambda manager: manager.create_job(
            **OWNER, settings={"captions_url": f"{SIGNED_URL}{'x' * 2048}"}
        )
    )

    assert "c0ffee" not in _everything_printed(error)
    assert "c0ffee" not in _everything_printed(other)


def test_a_service_must_say_whose_job_it_is():
    """Without a signed-in user there is nobody to own the job."""
    error = refused(lambda manager: manager.create_job(clip_count=3))

    assert str(error) == (
        "create_job was refused: user_id=None: a service must say whose job it is: a UUID"
    )


def test_a_job_is_given_in_one_way():
    """A job given whole takes no further fields."""
    error = refused(lambda manager: manager.create_job(NewVideoJob(user_id=ADA), clip_count=3))

    assert "fields=['clip_count']: a NewVideoJob or fields, not both" in str(error)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"created_from": NAIVE}, "a datetime with a time zone, such as datetime.now(UTC)"),
        (
            {"created_from": NEW_YEAR, "created_before": NEW_YEAR},
            "created_from (2027-01-01T00:00:00+00:00) must lie before created_before",
        ),
        ({"status": "done"}, "status.0='done': Input should be 'queued', 'processing'"),
        ({"status": ()}, "Tuple should have at least 1 item"),
        ({"user_id": "ada"}, "user_id='ada': Input should be a valid UUID"),
        ({"search": "\x00"}, "text must not contain a NUL character"),
        ({"search": ""}, "String should have at least 1 character"),
        ({"state": "queued"}, "state is not a field; did you mean status?"),
    ],
)
def test_a_bad_filter_is_refused(fields: dict[str, Any], told: str):
    """A filter says which of its fields is wrong, and how."""
    error = refused(lambda manager: manager.list_jobs(JobFilter(**fields)))

    assert told in str(error)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "give one or more of status, priority, run_at and queue"),
        ({"queue": None}, "give one or more of status, priority, run_at and queue"),
        ({"status": "completed"}, "status may be 'cancelled' or 'queued'"),
        ({"priority": -1}, "priority=-1: Input should be greater than or equal to 0"),
        ({"run_at": NAIVE}, "a datetime with a time zone, such as datetime.now(UTC)"),
    ],
)
def test_bad_changes_are_refused(fields: dict[str, Any], told: str):
    """A bulk update changes what waits, and something at all."""
    error = refused(lambda manager: manager.bulk_update_jobs(JobChanges(**fields), job_ids=[]))

    assert told in str(error)


CHANGES = JobChanges(priority=1)
DAY = timedelta(days=1)
BAD_ARGUMENTS: list[tuple[str, Callable[[Any], Any]]] = [
    ("get_job was refused: job_id='seven': must be a UUID", lambda m: m.get_job("seven")),
    ("get_job was refused: job_id=None: must be a UUID", lambda m: m.get_job(None)),
    ("cancel_job was refused: job_id='seven': must be a UUID", lambda m: m.cancel_job("seven")),
    (
        "reason='': text of 1 to 255 characters without NUL",
        lambda m: m.cancel_job(NOBODYS_JOB, reason=""),
    ),
    (
        "list_jobs was refused: limit=0: a whole number from 1 to 500",
        lambda m: m.list_jobs(limit=0),
    ),
    ("limit=501: a whole number from 1 to 500", lambda m: m.list_jobs(limit=501)),
    ("limit=True: a whole number from 1 to 500", lambda m: m.list_jobs(limit=True)),
    ("limit=2.5: a whole number from 1 to 500", lambda m: m.list_jobs(limit=2.5)),
    ("limit='9': a whole number from 1 to 500", lambda m: m.list_jobs(limit="9")),
    ("offset=-1: a whole number from 0 to", lambda m: m.list_jobs(offset=-1)),
    ("limit=501: a whole number", lambda m: m.get_user_jobs(ADA, 501)),
    ("list_jobs was refused: user_id='ada': must be a UUID", lambda m: m.get_user_jobs("ada")),
    ("list_jobs was refused: team_id='cut': must be a UUID", lambda m: m.get_team_jobs("cut")),
    ("cursor='x': the next_cursor of an earlier page", lambda m: m.list_jobs(cursor="x")),
    ("cursor='bnVsbA==': the next_cursor of", lambda m: m.list_jobs(cursor="bnVsbA==")),
    ("offset=5: 0 beside a cursor", lambda m: m.list_jobs(cursor="x", offset=5)),
    ("limit=0: a whole number from 1 to 500", lambda m: list(m.iter_jobs(page_size=0))),
    ("limit=501: a whole number", lambda m: m.get_job_events(NOBODYS_JOB, limit=501)),
    (
        "group_by='day': one of user_id, team_id, platform_target, pipeline",
        lambda m: m.get_job_stats(group_by="day"),
    ),
    ("days=0: a whole number from 1 to 90", lambda m: m.get_processing_times(days=0)),
    ("days=91: a whole number from 1 to 90", lambda m: m.get_processing_times(days=91)),
    ("timeout=-1: 0 or more seconds, or None", lambda m: m.wait_for_job(NOBODYS_JOB, timeout=-1)),
    ("timeout=nan: 0 or more seconds", lambda m: m.wait_for_job(NOBODYS_JOB, timeout=nan)),
    ("job_id='seven': must be a UUID", lambda m: m.watch_job("seven")),
    ("a datetime with a time zone", lambda m: m.clear_jobs(finished_before=NAIVE)),
    ("a timedelta above zero", lambda m: m.clear_jobs(older_than=-DAY)),
    (
        f"job_ids='{NOBODYS_JOB}': a list of UUIDs",
        lambda m: m.bulk_update_jobs(CHANGES, job_ids=str(NOBODYS_JOB)),
    ),
    ("job_ids='x': must be a UUID", lambda m: m.bulk_update_jobs(CHANGES, job_ids=["x"])),
    ("give either job_ids or filters", lambda m: m.bulk_update_jobs(CHANGES)),
    (
        "status='done': one of queued, processing, completed, failed, cancelled",
        lambda m: m.update_job_status(NOBODYS_JOB, "done"),
    ),
    (
        "progress=101: a whole number from 0 to 100",
        lambda m: m.update_job_status(NOBODYS_JOB, "processing", progress=101),
    ),
    (
        "worker_id='': text of 1 to 255 characters",
        lambda m: m.update_job_status(NOBODYS_JOB, "processing", worker_id=""),
    ),
    ("claim_jobs was refused: worker_id='': text of", lambda m: m.claim_jobs("")),
    ("limit=101: a whole number from 1 to 100", lambda m: m.claim_jobs("w", limit=101)),
    ("queues='default': a list of one", lambda m: m.claim_jobs("w", queues="default")),
    ("queues=[]: a list of one or more", lambda m: m.claim_jobs("w", queues=[])),
    ("queues=['a\\x00']: a list of one", lambda m: m.claim_jobs("w", queues=["a\x00"])),
    ("pipelines=[]: a list of one or more", lambda m: m.claim_jobs("w", pipelines=[])),
    ("lease_seconds=0.0: a number from 1 to", lambda m: m.claim_jobs("w", lease=0 * DAY)),
    ("hard_limit=datetime.timedelta(0)", lambda m: m.claim_jobs("w", hard_limit=0 * DAY)),
    ("lease_seconds=864000.0", lambda m: m.start_processing(NOBODYS_JOB, lease=10 * DAY)),
    (
        "the number of beats=501: a whole number from 0 to 500",
        lambda m: m.heartbeat([Beat(job_id=NOBODYS_JOB, run_token=1)] * 501),
    ),
    ("processing_time=-1: a number", lambda m: m.complete_job(NOBODYS_JOB, [], -1)),
    ("processing_time=inf: a number", lambda m: m.complete_job(NOBODYS_JOB, [], inf)),
    ("outputs='a.mp4': a list of paths", lambda m: m.complete_job(NOBODYS_JOB, "a.mp4")),
    ("path='': String should have at least 1", lambda m: m.complete_job(NOBODYS_JOB, [""])),
    ("size_bytes=-1", lambda m: m.complete_job(NOBODYS_JOB, [{"path": "a", "size_bytes": -1}])),
    (
        "running_longer_than=datetime.timedelta(0)",
        lambda m: m.find_stuck_jobs(running_longer_than=0 * DAY),
    ),
    ("limit=0: a whole number from 1 to 500", lambda m: m.find_stuck_jobs(limit=0)),
    ("limit=501: a whole number from 1 to 500", lambda m: m.recover_stuck_jobs(limit=501)),
]


@pytest.mark.parametrize(("told", "bad"), BAD_ARGUMENTS)
def test_a_bad_argument_is_refused(told: str, bad: Callable[[Any], Any]):
    """An argument of a method that is not allowed is named, with its value and what is allowed."""
    error = refused(bad)

    assert told in str(error)
    assert error.field


# Set-up


ANON_JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiYW5vbiIsImlzcyI6InN1cGFiYXNlIn0.c2lnbmF0dXJl"
)


@pytest.mark.parametrize("key", ["sb_publishable_abc", ANON_JWT], ids=["publishable", "anon JWT"])
def test_a_browsers_key_is_no_service_key(key: str):
    """A publishable or anon key in the place of the secret one is refused, without repeating it."""
    environment = {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_SECRET_KEY": key}

    with pytest.raises(ConfigurationError, match=r"this is a publishable \(anon\) key") as caught:
        VideoJobManager.from_env(environment)

    assert key not in _everything_printed(caught.value)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "no Supabase project is configured: set SUPABASE_URL and SUPABASE_SECRET_KEY"),
        ({"SUPABASE_URL": "https://x.supabase.co"}, "SUPABASE_URL is set, but no key: set"),
        (
            {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_ANON_KEY": "k"},
            r"only a publishable \(anon\) key is set",
        ),
        ({"VIDEOJOBS_TRANSPORT": "postgres"}, "set SUPABASE_DB_URL or DATABASE_URL"),
        ({"VIDEOJOBS_TRANSPORT": "http"}, "VIDEOJOBS_TRANSPORT='http' is not known"),
        ({"VIDEOJOBS_DEADLINE_SECONDS": "-1"}, "VIDEOJOBS_DEADLINE_SECONDS='-1' must be a number"),
        ({"VIDEOJOBS_DEADLINE_SECONDS": "nan"}, "must be a number of seconds above 0"),
        ({"VIDEOJOBS_LEASE_SECONDS": "1.5"}, "VIDEOJOBS_LEASE_SECONDS=1.5 must be a whole number"),
        ({"SUPABASE_SECRET_KEYS": "[]"}, 'must be a JSON object with a "default" key'),
        (
            {"SUPABASE_URL": "not a url", "SUPABASE_SECRET_KEY": "sb_secret_abc"},
            "check that SUPABASE_URL is a URL",
        ),
    ],
)
def test_what_is_missing_in_the_environment(environment: dict[str, str], told: str):
    """A variable that is missing or unusable is named."""
    with pytest.raises(ConfigurationError, match=told):
        VideoJobManager.from_env(environment)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:Tr0ub4dor&3@host:port/db",
        "postgresql://ada:Tr0ub4dor&3%zz@host/db",
        "postgresql://host/db?password=Tr0ub4dor&3=4",
        "Tr0ub4dor&3",
    ],
)
def test_a_bad_database_url_keeps_its_password(url: str):
    """A URL that cannot be read is refused, and no part of it is repeated."""
    with pytest.raises(ConfigurationError, match="the database URL cannot be read") as caught:
        VideoJobManager.from_env({"SUPABASE_DB_URL": url})

    assert "Tr0ub4dor" not in _everything_printed(caught.value)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (
            lambda url: url.replace(":", ":wrong", 2).replace("postgresql:wrong", "postgresql:"),
            AuthenticationError,
            "password authentication failed",
        ),
        (
            lambda url: url.replace("/postgres?", "/nowhere?"),
            RefusedError,
            'database "nowhere" does not exist',
        ),
        (
            lambda url: url.replace("127.0.0.1", "no-such-host.invalid"),
            SupabaseConnectionError,
            "check the host in the database URL",
        ),
    ],
    ids=["password", "database", "host"],
)
def test_a_database_that_lets_nobody_in(
    stack: LocalStack, change: Callable[[str], str], kind: type[VideoJobsError], told: str
):
    """A wrong password, database or host is told at once, and not tried for half a minute."""
    url = change(stack.database_url)
    settings = Settings(connect_timeout_seconds=0.3)

    with (
        VideoJobManager.from_url(url, settings=settings) as manager,
        pytest.raises(kind, match=told) as caught,
    ):
        manager.check()

    assert (caught.value.attempts, caught.value.outcome) == (1, "not_applied")
    assert psycopg.conninfo.conninfo_to_dict(url)["password"] not in _everything_printed(
        caught.value
    )


def test_an_async_token_source_needs_the_async_manager(stack: LocalStack, sdk_settings: Settings):
    """A coroutine function as token source of a sync manager is refused, and leaves no warning."""

    async def source() -> str:
        return "token"

    with (
        VideoJobManager.from_url(stack.database_url, settings=sdk_settings) as manager,
        pytest.raises(ConfigurationError, match="needs the AsyncVideoJobManager"),
    ):
        manager.as_user(source).list_jobs()


# Pickling

JOB = UUID("00000000-0000-4000-8000-000000000001")
FACTS: dict[str, Any] = {
    "status": 503,
    "code": "PGRST000",
    "operation": "get_video_job",
    "attempts": 3,
    "retry_after": 1.5,
    "outcome": "unknown",
}
EXAMPLES: list[VideoJobsError] = [
    VideoJobsError("a", **FACTS),
    ConfigurationError("a", **FACTS),
    MissingExtraError("postgres", "a direct Postgres connection"),
    SupabaseValidationError("a", problems=[("clip_count", 0, "1 to 100")], **FACTS),
    SupabaseConnectionError("a", **FACTS),
    RateLimitedError("a", **FACTS),
    OutcomeUnknownError("a", **FACTS),
    RefusedError("a", job_id=JOB, hint="b", **FACTS),
    JobNotFoundError("a", job_id=JOB, hint="b", **FACTS),
    InvalidTransitionError("a", job_id=JOB, hint="b", **FACTS),
    IdempotencyConflictError("a", job_id=JOB, hint="b", **FACTS),
    PermissionDeniedError("a", job_id=JOB, hint="b", **FACTS),
    AuthenticationError("a", job_id=JOB, hint="b", **FACTS),
    SchemaMismatchError("a", job_id=JOB, hint="b", **FACTS),
    PartlyCreatedError("a", receipts=[JobReceipt(id=JOB, created=True)], **FACTS),
    LeaseLostError("a", job_id=JOB, **FACTS),
    WaitTimeoutError("a", job_id=JOB, **FACTS),
    ProcessingError("a", code="disk_full", retryable=True, exit_code=1, stderr_tail="x"),
    ProcessingCancelledError(),
    NotEnoughSpaceError(needed_bytes=2, free_bytes=1),
    SignedUrlUnsupportedError("a", **FACTS),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error: VideoJobsError):
    """An error from another process has its class, its message and all its facts."""
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


def test_no_error_class_is_left_out():
    """The examples above have one of each class, and the package exports each."""
    classes = _tree(VideoJobsError)

    assert classes == {type(example) for example in EXAMPLES}
    assert {kind.__name__ for kind in classes} <= set(videojobs.__all__)


def test_the_tree_is_drawn_as_it_is():
    """The docstring of the errors draws each class below its parent."""
    drawing = re.findall(r"^([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)

    drawn = {name: len(indent) for indent, name in drawing}

    assert set(drawn) == {kind.__name__ for kind in _tree(VideoJobsError)}
    assert all(
        drawn[kind.__name__] == drawn[kind.__mro__[1].__name__] + 4
        for kind in _tree(VideoJobsError) - {VideoJobsError}
    )


def _tree(kind: type[VideoJobsError]) -> set[type[VideoJobsError]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


# Secrets

SECRET_KEY = "sb_secret_c0ffee"
SECRETS = Settings(
    supabase_url="https://x.supabase.co",
    supabase_key=SECRET_KEY,
    publishable_key="sb_publishable_c0ffee",
    database_url="postgresql://ada:c0ffee@127.0.0.1:1/db",
    jwt_secret="c0ffee",
    jwks='{"keys": [{"kty": "oct", "k": "c0ffee"}]}',
)
TOKEN = "c0ffee.c0ffee.c0ffee"
SIGNED_URL = "https://x.supabase.co/storage/v1/object/sign/a.mp4?token=c0ffee"


def test_settings_show_no_secret():
    """Settings can be printed."""
    assert "c0ffee" not in f"{SECRETS} {SECRETS!r}"


def test_managers_and_transports_show_no_secret():
    """A manager and its transport can be printed, a user's too."""
    with VideoJobManager(SupabaseTransport.open(SECRETS.supabase_url, SECRET_KEY, SECRETS)) as one:
        user = one.as_user("c0ffee")
        shown = [one, one._transport, user, user._transport]
    with VideoJobManager.from_url("postgresql://ada:c0ffee@127.0.0.1:1/db") as other:
        shown += [other, other._transport, other.as_user("c0ffee")._transport]

    assert "c0ffee" not in f"{shown} {[str(each) for each in shown]}"


def test_jobs_and_wishes_show_no_signed_url(manager: VideoJobManager):
    """A job's repr leaves its source out, since a signed URL is a secret."""
    wish = NewVideoJob(user_id=ADA, source_url=SIGNED_URL)
    job = manager.create_job(wish)

    assert job.source_url == SIGNED_URL
    assert "c0ffee" not in f"{wish!r} {wish} {job!r} {job} {manager.list_jobs()!r}"


@pytest.mark.parametrize(
    "source_url",
    [
        f"{SIGNED_URL}{'x' * 2048}",
        f"{SIGNED_URL}\x00",
        "https://ada:c0ffee@host/a.mp4\x00",
    ],
)
def test_a_refused_source_url_shows_no_secret(source_url: str):
    """A refusal of the source shows the path only."""
    error = refused(lambda manager: manager.create_job(user_id=ADA, source_url=source_url))

    assert error.field == "source_url"
    assert "c0ffee" not in _everything_printed(error)
    assert "a.mp4" in str(error)


@pytest.mark.parametrize("url", [f"{SIGNED_URL}{'x' * 2048}", 7])
def test_refused_captions_show_no_secret(url: object):
    """They come from where sources come from."""
    with pytest.raises(SupabaseValidationError) as error:
        ProcessingSettings(captions_url=url, clip_seconds=3)

    assert "c0ffee" not in _everything_printed(error.value)


def test_settings_show_no_signed_url():
    """Processing settings can be printed."""
    assert "c0ffee" not in repr(ProcessingSettings(captions_url=SIGNED_URL))


def test_a_first_wait_longer_than_the_longest_is_refused():
    """The database would have to guess which of the two was meant."""
    error = refused(
        lambda manager: manager.create_job(user_id=ADA, retry_base_seconds=60, retry_cap_seconds=30)
    )

    assert "retry_base_seconds (60)" in str(error)
    assert "retry_cap_seconds (30)" in str(error)


def test_a_refused_pair_shows_no_secret():
    """A rule over several fields does not print the whole job."""
    error = refused(
        lambda manager: manager.create_job(
            user_id=ADA, source_url=SIGNED_URL, resource_type="film", settings={"key": "c0ffee"}
        )
    )

    assert "c0ffee" not in _everything_printed(error)


def test_a_conflict_shows_no_secret(manager: VideoJobManager):
    """A conflict names the fields that differ, and not their values."""
    manager.create_job(user_id=ADA, idempotency_key="k", source_url=SIGNED_URL)

    with pytest.raises(IdempotencyConflictError, match="differs in: source_url") as caught:
        manager.create_job(user_id=ADA, idempotency_key="k", source_url=f"{SIGNED_URL}2")

    assert "c0ffee" not in _everything_printed(caught.value)


@pytest.mark.parametrize("key", [f"{SECRET_KEY}\n", f"{SECRET_KEY}é", f"{SECRET_KEY}\x00"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str, stack: LocalStack):
    """A key with a stray character is told of, in no part of the traceback as it is."""
    environment = {"SUPABASE_URL": stack.api_url or "", "SUPABASE_SECRET_KEY": key}

    with (
        pytest.raises(VideoJobsError) as caught,
        VideoJobManager.from_env(environment) as manager,
    ):
        manager.check()

    assert "c0ffee" not in _everything_printed(caught.value)


def test_a_failed_call_shows_no_secret(respx_mock: respx.MockRouter):
    """Neither the key nor the token are in the error of a call that could not connect."""
    respx_mock.post("https://x.supabase.co/rest/v1/rpc/list_video_jobs").mock(
        side_effect=httpx.UnsupportedProtocol("Request URL has an unsupported protocol")
    )

    with (
        VideoJobManager(SupabaseTransport.open(SECRETS.supabase_url, SECRET_KEY, SECRETS)) as one,
        pytest.raises(SupabaseConnectionError) as caught,
    ):
        one.as_user(TOKEN).list_jobs()

    assert "c0ffee" not in _everything_printed(caught.value)


def _everything_printed(error: BaseException) -> str:
    told = "".join(traceback.format_exception(error))
    # The source lines of this very test, which a traceback quotes, name no secrets but by constants.
    return f"{told} {error!r} {vars(error)}"
