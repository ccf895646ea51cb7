"""The doctor on a real database: each thing that it looks for is brought about, and found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from parts import Parts, postgres15
from videojobs import PermissionDeniedError, Settings, VideoJobManager, calls, diagnosis
from videojobs.facts import Facts
from videojobs.local import LocalStack
from videojobs.migrations import migrate
from videojobs.reports import Finding, Severity

USER = UUID("00000000-0000-4000-8000-000000000001")

Told = list[tuple[str, str, str]]
Examine = Callable[..., Told]


@pytest.fixture
def uncommitted(database: str) -> Iterator[psycopg.Connection[Any]]:
    """The owner's transaction on the emptied database; it is rolled back after the test."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def examine(uncommitted: psycopg.Connection[Any]) -> Examine:
    """What the doctor finds wrong or worth a note after some statements: check, found and advice."""

    def examine(*statements: str, deep: bool = False) -> Told:
        for statement in statements:
            uncommitted.execute(statement)
        return worth_telling(
            VideoJobManager.from_connection(uncommitted).doctor(deep=deep),
        )

    return examine


def worth_telling(findings: tuple[Finding, ...] | list[Finding]) -> Told:
    """Those that are not fine, but for what is so by design of these tests.

    Statistics are not counted, and other tests leave more dead rows than a vacuum can follow.
    """
    return [
        (finding.check, finding.found, finding.advice)
        for finding in findings
        if finding.severity is not Severity.OK
        and finding.found != "not counted"
        and finding.check != "dead rows"
    ]


def facts_of(url: str) -> Facts:
    """What the database says of itself to its owner."""
    with VideoJobManager.from_url(url) as manager:
        return manager.perform(calls.diagnose())


@pytest.mark.parametrize("version", [15, 18])
def test_a_fresh_database_is_healthy(new_database, version: int):
    """On both versions the indexes, grants and tables are those that the doctor expects."""
    url = new_database(version)
    migrate(url)

    with VideoJobManager.from_url(url) as manager:
        findings = manager.doctor(deep=True)

    assert worth_telling(findings) == []
    assert {finding.severity for finding in findings} == {Severity.OK}


def test_the_owner_of_an_old_snapshot_is_named(database: str):
    """The session that holds back vacuum is told with its pid and application, and no query text."""
    with psycopg.connect(database, application_name="nightly report") as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select 'a secret'")
        facts = facts_of(database)
        (blocker,) = [each for each in facts.vacuum_blockers if each.name == "nightly report"]
        pid = reader.info.backend_pid

    later = blocker.model_copy(update={"age_seconds": blocker.age_seconds + 60})
    aged = facts.model_copy(update={"vacuum_blockers": (later,)})
    ((check, found, advice),) = worth_telling(diagnosis.of_facts(aged))

    assert check == "old transactions"
    assert f"session 'nightly report' (pid {pid}, idle in transaction, 60 s old)" in found
    assert f"pg_terminate_backend({pid})" in advice
    assert "idle_in_transaction_session_timeout" in advice
    assert "secret" not in facts.model_dump_json()


def test_a_session_whose_age_may_not_be_seen_is_listed(
    uncommitted: psycopg.Connection[Any], database: str
):
    """An owner without the rights of pg_read_all_stats still learns that there is one."""
    uncommitted.execute("create role limited")
    uncommitted.execute("grant usage on schema videojobs to limited")
    uncommitted.execute("grant execute on function videojobs.vacuum_blockers() to limited")
    uncommitted.execute("set local role limited")
    with psycopg.connect(database, application_name="nightly report") as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select 1")

        pid = reader.info.backend_pid

        row = uncommitted.execute("select videojobs.vacuum_blockers() as blockers").fetchone()

    (blocker,) = [each for each in row["blockers"] if each["name"] == "nightly report"]
    assert blocker["age_seconds"] is None
    assert blocker["pid"] == pid


def test_a_prepared_transaction_is_named(parts: Parts):
    """One that nobody decided holds back vacuum as long, and outlives its session."""
    with postgres15(parts, "max_prepared_transactions=2") as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("begin")
            owner.execute("update videojobs.settings set max_lost = 4")
            owner.execute("prepare transaction 'forgotten'")

        (blocker,) = facts_of(url).vacuum_blockers

    assert (blocker.kind, blocker.name, blocker.state) == (
        "prepared transaction",
        "forgotten",
        "prepared",
    )
    assert blocker.age_seconds is not None


def test_dead_rows_are_counted(database: str, sql):
    """Rows that were deleted are dead until a vacuum comes, which is due at 500 of them."""
    sql.execute(
        "insert into videojobs.turns select 'q' || n, 5, gen_random_uuid() from generate_series(1, 6000) n"
    )
    sql.execute("delete from videojobs.turns")
    sql.execute("select pg_stat_force_next_flush()")

    tables = {table.name: table for table in facts_of(database).hot_tables}

    assert list(tables) == [
        "public.video_jobs",
        "videojobs.leases",
        "videojobs.turns",
        "videojobs.tally_changes",
    ]
    assert tables["videojobs.turns"].dead_rows >= 6000
    assert tables["videojobs.turns"].vacuum_at == 500


def test_a_table_that_autovacuum_spares_is_found(examine: Examine):
    """The advice is the statement that undoes it."""
    told = examine("alter table videojobs.leases set (autovacuum_enabled = false)")

    assert told == [
        (
            "autovacuum",
            "off for videojobs.leases",
            "`alter table videojobs.leases reset (autovacuum_enabled);`",
        )
    ]


def test_expired_leases_are_found_when_nobody_recovers(
    manager: VideoJobManager, sql: psycopg.Connection[Any]
):
    """A lease that ended minutes ago means that no worker is there to take the job back."""
    manager.create_job(user_id=USER)
    manager.claim_jobs("worker-1")
    sql.execute(
        "update videojobs.leases set claimed_at = now() - interval '1 hour', expires_at = now() - interval '10 minutes'"
    )

    ((check, found, advice),) = worth_telling(manager.doctor())

    assert (check, found) == (
        "expired leases",
        "1, the oldest for 10 min: nobody takes them back",
    )
    assert "videojobs worker" in advice


def test_orphans_are_found_and_the_advice_mends_them(
    manager: VideoJobManager, sql: psycopg.Connection[Any]
):
    """A running job whose lease was deleted is told, and recovery queues it again as the advice says."""
    manager.create_job(user_id=USER)
    manager.claim_jobs("worker-1")
    sql.execute("delete from videojobs.leases")

    ((check, found, advice),) = worth_telling(manager.doctor())
    manager.recover_stuck_jobs()

    assert (check, found) == ("orphans", "1 jobs without a lease, 0 leases without a job")
    assert "recover_stuck_jobs" in advice
    assert worth_telling(manager.doctor()) == []


def test_a_lease_without_its_job_is_an_orphan(examine: Examine):
    """It is counted on the other side."""
    told = examine(
        "insert into videojobs.leases (job_id, run_token, worker_id, claim_key, claimed_at, expires_at) "
        "values (gen_random_uuid(), 1, 'w', gen_random_uuid(), now(), now() + interval '1 minute')"
    )

    assert [found for _, found, _ in told] == ["0 jobs without a lease, 1 leases without a job"]


def test_changes_that_nobody_folds_are_noted(examine: Examine):
    """Above fifty thousand the statistics get slower, which says that no upkeep runs."""
    told = examine(
        "insert into videojobs.tally_changes (user_id, queue, pipeline, created_on) "
        "select gen_random_uuid(), 'default', 'clips', '2026-01-01' from generate_series(1, 50001)"
    )

    ((check, found, advice),) = told
    assert check == "unfolded changes"
    assert found.startswith("50001 changes wait")
    assert "manager.maintain()" in advice


def test_wrong_sums_are_found_by_a_deep_look(examine: Examine):
    """Only deep counts the jobs; without it the doctor says that it did not."""
    wrong = (
        "insert into videojobs.tallies (queue, pipeline, measure, jobs, milliseconds) "
        "values ('default', 'clips', 'queued', 7, 0)"
    )

    shallow = examine(wrong)
    deep = examine(deep=True)

    assert shallow == []
    ((check, found, advice),) = deep
    assert check == "statistics"
    assert found.startswith("1 sums differ") and "7 instead of 0" in found
    assert "reconcile_stats(repair=True)" in advice


def test_a_missing_index_is_found_with_the_statement_that_makes_it(
    uncommitted: psycopg.Connection[Any], examine: Examine
):
    """What the advice says, without the word that a transaction does not allow, mends it."""
    ((check, found, advice),) = examine("drop index public.video_jobs_ready_by_tenant")
    statement = advice.split("`")[1]
    mended = examine(statement.replace(" concurrently", ""))

    assert (check, found) == ("indexes", "public.video_jobs_ready_by_tenant is missing")
    assert statement.startswith("create index concurrently video_jobs_ready_by_tenant on")
    assert mended == []


def test_a_missing_key_is_found_with_the_statements_that_make_it(examine: Examine):
    """A constraint that functions name has to come back as a constraint."""
    ((_, _, advice),) = examine("alter table videojobs.tallies drop constraint tallies_key")
    statements = advice.replace(" concurrently", "").split("`")[1::2]
    mended = examine(*statements)

    assert len(statements) == 2
    assert mended == []


def test_a_changed_index_is_found(examine: Examine):
    """The same name with other columns serves other queries."""
    ((check, found, advice),) = examine(
        "drop index public.video_jobs_running",
        "create index video_jobs_running on public.video_jobs (created_at) where status = 'processing'",
    )

    assert (check, found) == ("indexes", "public.video_jobs_running is changed")
    assert "btree (started_at)" in advice


def test_an_invalid_index_is_found(database: str, sql: psycopg.Connection[Any]):
    """What a broken-off concurrent build leaves is written by everybody and read by nobody."""
    sql.execute("insert into videojobs.workers (worker_id) values ('a'), ('b')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql.execute("create unique index concurrently workers_ccnew on videojobs.workers ((1))")

    with VideoJobManager.from_url(database) as manager:
        ((check, found, advice),) = worth_telling(manager.doctor())
    sql.execute(advice.split("`")[1])
    left = facts_of(database).index_faults

    assert (check, found) == ("indexes", "videojobs.workers_ccnew is invalid")
    assert left == ()


@pytest.mark.parametrize(
    ("statement", "found", "advice"),
    [
        (
            "grant select, delete on public.video_jobs to anon",
            "anon has DELETE, SELECT on table public.video_jobs",
            "`revoke DELETE, SELECT on table public.video_jobs from anon;`",
        ),
        (
            "grant update on public.video_jobs to authenticated",
            "authenticated has UPDATE on table public.video_jobs",
            "`revoke UPDATE on table public.video_jobs from authenticated;`",
        ),
        (
            "grant update (status, progress) on public.video_jobs to authenticated",
            "authenticated has UPDATE (progress), UPDATE (status) on table public.video_jobs",
            "`revoke UPDATE (progress), UPDATE (status) on table public.video_jobs from authenticated;`",
        ),
        (
            "grant insert (run_token) on public.video_jobs to authenticated",
            "authenticated has INSERT (run_token) on table public.video_jobs",
            "`revoke INSERT (run_token) on table public.video_jobs from authenticated;`",
        ),
        (
            "grant select on videojobs.leases to public",
            "public has SELECT on table videojobs.leases",
            "`revoke SELECT on table videojobs.leases from public;`",
        ),
        (
            "grant execute on function public.recover_video_jobs(integer) to authenticated",
            "authenticated has EXECUTE on function public.recover_video_jobs(integer)",
            "`revoke EXECUTE on function public.recover_video_jobs(integer) from authenticated;`",
        ),
        (
            "create function videojobs.mine() returns integer language sql as 'select 1'",
            "public has EXECUTE on function videojobs.mine()",
            "`revoke EXECUTE on function videojobs.mine() from public;`",
        ),
        (
            "grant usage on schema videojobs to anon",
            "anon has USAGE on schema videojobs",
            "`revoke USAGE on schema videojobs from anon;`",
        ),
        (
            "grant usage on sequence public.video_jobs_seq_seq to authenticated",
            "authenticated has USAGE on sequence public.video_jobs_seq_seq",
            "`revoke USAGE on sequence public.video_jobs_seq_seq from authenticated;`",
        ),
        (
            "grant update on public.team_members to authenticated",
            "authenticated has UPDATE on table public.team_members",
            "`revoke UPDATE on table public.team_members from authenticated;`",
        ),
    ],
)
def test_a_grant_that_is_too_wide_is_found(
    examine: Examine, statement: str, found: str, advice: str
):
    """It is told with the role and the object, and the advice takes exactly it back."""
    ((check, told, cure),) = examine(statement)
    cured = examine(*cure.removeprefix("Take them back: ").split("`")[1::2])

    assert check == "grants"
    assert found in told
    assert advice in cure
    assert cured == []


def test_every_function_and_table_of_ours_is_looked_at(uncommitted: psycopg.Connection[Any]):
    """Where everything was granted to anon, as copied advice does, nothing is left out."""
    uncommitted.execute("set local search_path = ''")
    uncommitted.execute("grant all on all functions in schema public, videojobs to anon")
    uncommitted.execute("grant all on all tables in schema public, videojobs to anon")
    ours = uncommitted.execute(
        """
        select 'function ' || p.oid::regprocedure as target
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, 'videojobs'::regnamespace)
        union all
        select 'table ' || c.oid::regclass
        from pg_class c
        where c.relnamespace in ('public'::regnamespace, 'videojobs'::regnamespace) and c.relkind in ('r', 'p', 'v')
        """
    ).fetchall()

    facts = VideoJobManager.from_connection(uncommitted).perform(calls.diagnose())

    assert {grant.target for grant in facts.wide_grants} == {row["target"] for row in ours}


@pytest.mark.parametrize(
    "table",
    [
        "public.video_jobs",
        "public.video_job_events",
        "public.teams",
        "public.team_members",
        "videojobs.archived_jobs",
    ],
)
def test_a_table_without_its_policies_is_found(examine: Examine, table: str):
    """Row-level security that was switched off shows everybody's rows to everybody."""
    ((check, found, advice),) = examine(f"alter table {table} disable row level security")
    cured = examine(advice.split("`")[1])

    assert check == "row-level security"
    assert found.startswith(f"{table} shows every row")
    assert cured == []


def test_a_view_with_its_owners_rights_is_found(examine: Examine):
    """It would show the whole archive to whoever may read it."""
    ((check, found, advice),) = examine(
        "alter view public.archived_video_jobs reset (security_invoker)"
    )
    cured = examine(advice.split("`")[1])

    assert check == "row-level security"
    assert found.startswith("public.archived_video_jobs shows every row")
    assert cured == []


@pytest.mark.parametrize(
    ("schemas", "expected"),
    [
        ("public, videojobs", ["exposed schemas"]),
        ("videojobs", ["exposed schemas"]),
        ("public, graphql_public", []),
    ],
)
def test_an_exposed_schema_is_found(examine: Examine, schemas: str, expected: list[str]):
    """PostgREST's own setting in the database says what it serves."""
    told = examine(f"alter role authenticator set pgrst.db_schemas = '{schemas}'")

    assert [check for check, _, _ in told] == expected


def test_months_that_were_not_made_are_found(
    uncommitted: psycopg.Connection[Any], examine: Examine
):
    """Without next month's table the upkeep has not run for long; a round of it makes the table."""
    uncommitted.execute(
        """
        do $$
        declare
          name text := 'videojobs.video_job_events_'
            || to_char((clock_timestamp() at time zone 'utc') + interval '1 month', 'YYYY_MM');
        begin
          execute 'drop table ' || name;
        end
        $$
        """
    )

    ((check, found, advice),) = examine()
    VideoJobManager.from_connection(uncommitted).maintain()
    after = examine()

    assert check == "months"
    assert found.startswith("public.video_job_events has no table for next month")
    assert "manager.maintain()" in advice
    assert after == []


def test_rows_without_a_month_are_noted(examine: Examine):
    """They are kept, and told because they will not go with their month."""
    told = examine(
        "insert into public.video_job_events (job_id, type, at) "
        "values (gen_random_uuid(), 'created', now() + interval '20 years')"
    )

    ((check, found, _),) = told
    assert check == "months"
    assert found == "public.video_job_events has 1 rows of months without a table"


def test_jobs_that_no_live_worker_runs_are_noted(manager: VideoJobManager, sql):
    """Found behind delayed jobs, whatever the queue: workers that run something else do not help."""
    manager.create_job(user_id=USER)
    for queue in ("films", "shorts"):
        manager.create_job(user_id=USER, queue=queue, priority=3)
        manager.create_job(user_id=USER, queue=queue, pipeline="renditions")
    sql.execute("update public.video_jobs set run_at = now() + interval '1 day'")
    sql.execute(
        "update public.video_jobs set run_at = now() - interval '1 hour' where queue = 'shorts' and priority = 3"
    )

    def told_with(facts):
        sql.execute("delete from videojobs.workers")
        sql.execute(
            "insert into videojobs.workers (worker_id, facts) values ('worker-1', %s)",
            (Jsonb(facts),),
        )
        return worth_telling(manager.doctor())

    alone = worth_telling(manager.doctor())

    assert alone == [
        (
            "workers",
            "0 seen in the last two minutes; none of them runs clips in queue shorts, where a job "
            "has been due for 60 min",
            "Start `videojobs worker -q shorts`; pipelines of your own need a worker of your own.",
        )
    ]
    both = ["clips", "renditions"]
    assert len(told_with({"queues": ["default"], "pipelines": both})) == 1
    assert len(told_with({"queues": ["shorts"], "pipelines": ["renditions"]})) == 1
    assert told_with({"queues": ["default", "shorts"], "pipelines": both}) == []
    assert told_with({"queues": {"default": 2, "shorts": 1}, "pipelines": both}) == []
    assert told_with({}) == []  # it has not said what it runs


def test_a_claimer_that_says_nothing_of_itself_may_run_everything(manager: VideoJobManager, sql):
    """A script that claims by hand has no row among the workers."""
    for _ in range(2):
        manager.create_job(user_id=USER)
    sql.execute("update public.video_jobs set run_at = now() - interval '1 hour'")

    manager.claim_jobs("script")

    assert worth_telling(manager.doctor()) == []


def test_delayed_jobs_do_not_wait(manager: VideoJobManager):
    """A job that is not due yet needs no worker."""
    manager.create_job(user_id=USER, run_at=datetime.now(UTC) + timedelta(hours=1))

    assert worth_telling(manager.doctor()) == []


def test_pg_cron_that_does_not_call_the_upkeep_is_noted(parts: Parts):
    """Where the extension came after the migrations, the advice schedules the upkeep."""
    with postgres15(
        parts, "shared_preload_libraries=pg_cron", "cron.database_name=postgres"
    ) as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as owner:
            absent = facts_of(url)
            owner.execute("create extension pg_cron")
            unscheduled = facts_of(url)
            owner.execute("select videojobs.schedule_upkeep()")
            scheduled = facts_of(url)

    assert [each.upkeep_schedule for each in (absent, unscheduled, scheduled)] == [
        "absent",
        "unscheduled",
        "scheduled",
    ]


def test_a_member_of_service_role_may_ask(database: str):
    """A worker's login sees what the owner sees, through the function that runs as the owner."""
    with psycopg.connect(database) as connection:
        connection.execute("set local role service_role")
        manager = VideoJobManager.from_connection(connection)

        assert worth_telling(manager.doctor(deep=True)) == []


def test_users_may_not_ask(stack: LocalStack, database: str):
    """What is wrong with a database is not for its users to read."""
    settings = Settings(jwt_secret=stack.jwt_secret)
    with VideoJobManager.from_url(database, settings=settings) as service:
        user = service.as_user(stack.user_token(USER))

        with pytest.raises(PermissionDeniedError):
            user.perform(calls.diagnose())
        with pytest.raises(PermissionDeniedError):
            user.doctor()
