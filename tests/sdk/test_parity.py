"""What is written twice says the same twice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_type_hints
from uuid import RFC_4122

import pytest
from people import ADA, NOBODYS_JOB
from scripted import ScriptedTransport

import videojobs
from videojobs import (
    AsyncVideoJobManager,
    Beat,
    JobChanges,
    JobFilter,
    Lease,
    NewVideoJob,
    VideoJob,
    VideoJobManager,
    VideoJobsError,
    calls,
)
from videojobs.calls import Call
from videojobs.messages import ClaimedDelivery
from videojobs.requests import NewVideoJobFields
from videojobs.retries import Failure, Sent
from videojobs.transports.postgres import AsyncPostgresTransport, PostgresTransport
from videojobs.transports.supabase import AsyncSupabaseTransport, SupabaseTransport

Sql = Callable[..., list[Any]]

# How asyncio's words are written for threads.
_SYNC_WORDS = {
    "AsyncVideoJobManager": "VideoJobManager",
    "AsyncTransport": "Transport",
    "AsyncConnection": "Connection",
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "AsyncListener": "Listener",
    "AsyncAnnouncements": "Announcements",
    "AbstractAsyncContextManager": "AbstractContextManager",
}


def as_sync(text: str) -> str:
    """The words of asyncio as those of threads."""
    return re.sub("|".join(_SYNC_WORDS), lambda found: _SYNC_WORDS[found[0]], text)


def names_of(kind: type[Any]) -> set[str]:
    """The public names of a class."""
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("threads", "asyncio"),
    [
        (VideoJobManager, AsyncVideoJobManager),
        (SupabaseTransport, AsyncSupabaseTransport),
        (PostgresTransport, AsyncPostgresTransport),
        (SupabaseTransport, PostgresTransport),
    ],
    ids=lambda kind: kind.__name__,
)
def test_both_have_the_same_names(threads: type[Any], asyncio: type[Any]):
    """Classes that stand for each other have the same public names."""
    constructors = {"open", "of_client"}  # which only Supabase needs

    assert names_of(threads) - constructors == names_of(asyncio) - constructors


@pytest.mark.parametrize("name", sorted(names_of(VideoJobManager)))
def test_both_managers_say_the_same(name: str):
    """A method of both managers has the same parameters, defaults, types and docstring."""
    threads = getattr(VideoJobManager, name)
    asyncio = getattr(AsyncVideoJobManager, name)

    assert as_sync(str(inspect.signature(asyncio))) == str(inspect.signature(threads))
    assert as_sync(inspect.getdoc(asyncio) or "") == inspect.getdoc(threads)


def test_every_method_is_documented():
    """Each public method of the managers says what is true after the call."""
    methods = [getattr(VideoJobManager, name) for name in names_of(VideoJobManager)]

    assert [method for method in methods if not inspect.getdoc(method)] == []


def test_what_waits_is_awaited():
    """With asyncio, exactly those methods are plain that make a manager, a context or an iterator."""
    plain = {
        name
        for name in names_of(AsyncVideoJobManager)
        if not inspect.iscoroutinefunction(getattr(AsyncVideoJobManager, name))
    }

    assert plain == {
        "as_user",
        "from_client",
        "from_connection",
        "from_env",
        "from_url",
        "iter_jobs",
        "listen_for_changes",
        "listen_for_webhooks",
        "listen_for_work",
        "watch_job",
    }


def test_the_package_lists_its_names_in_order():
    """__all__ is sorted, has no double, and names all that the package imports for its users."""
    listed = videojobs.__all__
    public = {
        name
        for name, value in vars(videojobs).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert listed == sorted(set(listed))
    assert public <= set(listed)
    assert all(hasattr(videojobs, name) for name in listed)


def test_every_public_class_has_a_docstring_of_its_own():
    """What the package exports, it explains."""
    exported = [getattr(videojobs, name) for name in videojobs.__all__]

    assert [each for each in exported if not vars(each).get("__doc__")] == []


def test_keyword_arguments_are_the_fields():
    """create_job's keyword arguments are NewVideoJob's fields, in their order."""
    assert list(get_type_hints(NewVideoJobFields)) == list(NewVideoJob.model_fields)
    assert NewVideoJobFields.__required_keys__ == frozenset()


# The calls and the database's functions

OPERATIONS: list[Callable[[VideoJobManager, Lease], Any]] = [
    lambda m, lease: m.create_job(user_id=ADA),
    lambda m, lease: m.create_jobs([{"user_id": ADA}]),
    lambda m, lease: m.get_job(NOBODYS_JOB),
    lambda m, lease: m.list_jobs(),
    lambda m, lease: m.list_jobs(cursor=CURSOR),
    lambda m, lease: m.get_job_events(NOBODYS_JOB),
    lambda m, lease: m.get_job_place(NOBODYS_JOB),
    lambda m, lease: m.get_job_stats(group_by="user_id"),
    lambda m, lease: m.get_processing_times(days=2),
    lambda m, lease: m.cancel_job(NOBODYS_JOB, reason="x"),
    lambda m, lease: m.retry_job(NOBODYS_JOB),
    lambda m, lease: m.delete_job(NOBODYS_JOB),
    lambda m, lease: m.clear_jobs(),
    lambda m, lease: m.bulk_update_jobs(JobChanges(priority=1), job_ids=[NOBODYS_JOB]),
    lambda m, lease: m.bulk_update_jobs(JobChanges(priority=1), filters=JobFilter()),
    lambda m, lease: m.update_job_status(NOBODYS_JOB, "failed"),
    lambda m, lease: m.start_processing(NOBODYS_JOB),
    lambda m, lease: m.claim_jobs("w"),
    lambda m, lease: m.heartbeat([Beat(job_id=NOBODYS_JOB, run_token=1)]),
    lambda m, lease: m.complete_job(NOBODYS_JOB),
    lambda m, lease: m.fail_job(NOBODYS_JOB, "boom"),
    lambda m, lease: m.release_job(lease),
    lambda m, lease: m.confirm_cancel(lease),
    lambda m, lease: m.find_stuck_jobs(),
    lambda m, lease: m.recover_stuck_jobs(),
    lambda m, lease: m.check(),
    lambda m, lease: m.log(lease, "x"),
    lambda m, lease: m.maintain(),
    lambda m, lease: m.archive_jobs(older_than=timedelta(days=1)),
    lambda m, lease: m.configure(max_lost=3),
    lambda m, lease: m.set_limit(1, tenant=ADA),
    lambda m, lease: m.list_limits(),
    lambda m, lease: m.set_queue_fairness("default", fair=True),
    lambda m, lease: m.perform(calls.read_changes(None)),
    lambda m, lease: m.perform(calls.get_sight()),
    lambda m, lease: m.perform(calls.list_teams([ADA])),
    lambda m, lease: m.add_webhook("https://example.com/"),
    lambda m, lease: m.list_webhooks(),
    lambda m, lease: m.remove_webhook(ADA),
    lambda m, lease: m.list_webhook_deliveries(),
    lambda m, lease: m.test_webhook(ADA),
    lambda m, lease: m.resend_webhook(ADA),
    lambda m, lease: m.perform(calls.claim_deliveries(1, per_endpoint=1, busy=[], lease_seconds=1)),
    lambda m, lease: m.perform(
        calls.settle_delivery(ClaimedDelivery.model_construct(id=ADA, claim=ADA), is_delivered=True)
    ),
    lambda m, lease: m.list_workers(),
    lambda m, lease: m.list_queue_waits(),
    lambda m, lease: m.drain_worker("w"),
    lambda m, lease: m.reconcile_stats(),
    lambda m, lease: m.perform(calls.settle_jobs([])),
    lambda m, lease: m.perform(calls.remove_worker("w")),
    lambda m, lease: m.perform(calls.claim_leftovers("0123456789abcdef")),
    lambda m, lease: m.perform(calls.settle_leftovers(["x"])),
    lambda m, lease: m.perform(calls.diagnose()),
    lambda m, lease: m.perform(calls.probe_rows(501)),
]
# ["2027-01-01T00:00:00+00:00", 1, the fingerprint of an empty filter]
CURSOR = "WyIyMDI3LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwgMSwgIjQ0MTM2ZmEzNTViMyJd"


def calls_of_all_operations() -> list[Call[Any]]:
    """One call, at least, for each of the managers' operations."""
    lease = Lease.model_construct(job=VideoJob.model_construct(id=NOBODYS_JOB), run_token=1)
    sent: list[Call[Any]] = []
    for operation in OPERATIONS:
        transport = ScriptedTransport(Failure("enough", sent=Sent.NEVER))
        with pytest.raises(VideoJobsError):
            operation(VideoJobManager(transport), lease)
        sent += transport.sent
    return sent


def functions_of(sql: Sql) -> dict[str, tuple[set[str], set[str]]]:
    """The functions in public that an API role may call: their arguments, and those without default."""
    rows = sql("""
        select
          p.proname,
          array(
            select a.name
            from unnest(p.proargnames, p.proargmodes) with ordinality a (name, mode, place)
            where coalesce(a.mode, 'i') in ('i', 'b')
            order by a.place
          ),
          p.pronargdefaults
        from pg_proc p
        where p.pronamespace = 'public'::regnamespace
          and (has_function_privilege('authenticated', p.oid, 'execute')
            or has_function_privilege('service_role', p.oid, 'execute'))
          and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    """)
    return {
        name: (set(arguments), set(arguments[: len(arguments) - defaults]))
        for name, arguments, defaults in rows
    }


def test_every_call_has_its_function(sql: Sql):
    """Each call names a function of the database, only arguments it has, and all that it needs."""
    functions = functions_of(sql)

    misfits = [
        call.function
        for call in calls_of_all_operations()
        if not functions[call.function][1] <= set(call.arguments) <= functions[call.function][0]
    ]

    assert misfits == []


def test_every_function_has_its_call(sql: Sql):
    """Each function that the API offers is used by an operation of the managers."""
    called = {call.function for call in calls_of_all_operations()}

    assert set(functions_of(sql)) == called


def test_anon_may_call_nothing(sql: Sql):
    """No function in public is open to those who have not signed in."""
    assert (
        sql("""
        select p.proname from pg_proc p
        where p.pronamespace = 'public'::regnamespace
          and has_function_privilege('anon', p.oid, 'execute')
        """)
        == []
    )


def test_every_job_column_has_its_field(sql: Sql):
    """The columns of a job are the fields of VideoJob, in the same order."""
    rows = sql("""
        select attname from pg_attribute
        where attrelid = 'public.video_jobs'::regclass and attnum > 0 and not attisdropped
        order by attnum
    """)

    assert [name for (name,) in rows] == list(VideoJob.model_fields)


@pytest.mark.parametrize(
    ("sql_type", "kind"),
    [
        ("video_job_status", videojobs.JobStatus),
        ("video_job_quality_preset", videojobs.QualityPreset),
        ("video_job_enhancement_level", videojobs.EnhancementLevel),
        ("video_job_platform_target", videojobs.PlatformTarget),
        ("video_job_resource_type", videojobs.ResourceType),
        ("video_job_event_type", videojobs.JobEventType),
        ("video_job_verdict", videojobs.Verdict),
    ],
)
def test_every_enum_has_the_same_words(sql: Sql, sql_type: str, kind: Any):
    """An enum of the database and its twin in Python have the same words."""
    rows = sql(f"select unnest(enum_range(null::public.{sql_type}))::text")

    assert {word for (word,) in rows} == set(kind)


def test_ids_of_this_side_are_of_version_7(sql: Sql):
    """Both sides make ids that begin with the time, of the same version and variant."""
    ((theirs,),) = sql("select videojobs.uuid7()")
    ours = videojobs.manager.new_id()

    assert (theirs.version, theirs.variant) == (7, RFC_4122)
    assert (ours.version, ours.variant) == (7, RFC_4122)
    assert abs((theirs.int >> 80) - (ours.int >> 80)) < 60_000
