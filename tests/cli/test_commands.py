"""The commands on a real database: what they print, and what their exit codes mean."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import jwt
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from videojobs import JobStatus, VideoJobManager
from videojobs.local.keys import Secrets

USER = "aaaaaaaa-0000-4000-8000-000000000001"


@pytest.fixture
def on_database(run, database):
    """Run a command on the empty test database."""
    return lambda *arguments: run(*arguments, DATABASE_URL=database)


def created(on_database, *options: str) -> dict[str, object]:
    """A job that the command line made."""
    result = on_database("jobs", "create", "talk.mp4", "--user", USER, "--json", *options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_help_names_every_command(run):
    """A newcomer sees what there is, and the meaning of the exit codes."""
    result = run("--help")

    for command in ("demo", "worker", "migrate", "local", "jobs", "stats", "doctor"):
        assert command in result.stdout
    assert "Exit codes" in result.stdout
    assert result.returncode == 0


def test_the_version_is_told(run):
    """That of the installed package."""
    result = run("--version")

    assert (result.stdout, result.returncode) == (f"videojobs {version('videojobs')}\n", 0)


def test_create_takes_what_a_job_takes(on_database):
    """Every option ends in its column."""
    job = created(
        on_database,
        *("--clips", "4", "--platform", "tiktok", "--quality", "pro", "--enhance", "basic"),
        *("--queue", "urgent", "--priority", "9", "--settings", '{"clip_seconds": 8}'),
    )

    assert (job["clip_count"], job["platform_target"], job["quality_preset"]) == (
        4,
        "tiktok",
        "pro",
    )
    assert (job["queue"], job["priority"], job["settings"]) == ("urgent", 9, {"clip_seconds": 8})
    assert job["status"] == "queued"


def test_list_shows_jobs_to_people_and_to_scripts(on_database):
    """The table has the id; the JSON has items and a cursor."""
    first, second = created(on_database), created(on_database)

    table = on_database("jobs", "list")
    page = json.loads(on_database("jobs", "list", "--json", "--limit", "1").stdout)
    rest = on_database("jobs", "list", "--json", "--limit", "1", "--cursor", page["next_cursor"])

    assert first["id"] in table.stdout and second["id"] in table.stdout
    assert [job["id"] for job in page["items"]] == [second["id"]]
    assert [job["id"] for job in json.loads(rest.stdout)["items"]] == [first["id"]]


def test_an_empty_list_says_what_to_do(on_database):
    """Nothing there is not an error."""
    result = on_database("jobs", "list")

    assert result.returncode == 0
    assert "videojobs jobs create" in result.stdout


def test_show_tells_the_history(on_database):
    """With --events the job comes with what happened to it."""
    job = created(on_database)

    shown = on_database("jobs", "show", job["id"], "--events")
    as_json = json.loads(on_database("jobs", "show", job["id"], "--events", "--json").stdout)

    assert "talk.mp4" in shown.stdout and "created" in shown.stdout
    assert [event["type"] for event in as_json["events"]] == ["created"]


def test_cancel_retry_and_delete_change_the_job(on_database, database):
    """Each command does what its name says, and a final job can be deleted."""
    job = created(on_database)

    assert on_database("jobs", "cancel", job["id"]).returncode == 0
    assert on_database("jobs", "retry", job["id"]).returncode == 0
    assert on_database("jobs", "cancel", job["id"], "--reason", "no longer wanted").returncode == 0
    deleted = on_database("jobs", "delete", job["id"])

    assert deleted.stdout == f"{job['id']} deleted\n"
    with VideoJobManager.from_url(database) as manager:
        assert len(manager.list_jobs()) == 0


def test_the_cancel_of_a_running_job_tells_when_it_stops(on_database, database):
    """That depends on how its worker is connected, which nobody else knows."""
    job = created(on_database)
    with VideoJobManager.from_url(database) as manager:
        manager.start_processing(str(job["id"]))

    result = on_database("jobs", "cancel", job["id"])

    assert "at once on a direct connection, with its next heartbeat elsewhere" in result.stdout


def test_clear_asks_before_it_deletes(on_database, database):
    """Without an answer nothing is deleted; with --yes the final jobs are gone."""
    created(on_database)
    job = created(on_database)
    on_database("jobs", "cancel", job["id"])

    unanswered = on_database("jobs", "clear")
    cleared = on_database("jobs", "clear", "--yes")

    assert unanswered.returncode != 0
    assert "Delete all completed, failed and cancelled jobs for good" in unanswered.stdout
    assert "1 job deleted" in cleared.stdout
    with VideoJobManager.from_url(database) as manager:
        assert [left.status for left in manager.list_jobs()] == [JobStatus.QUEUED]


def test_watch_ends_with_the_job_and_its_verdict(on_database):
    """Watching a cancelled job prints it and exits with 1, since it did not complete."""
    job = created(on_database)
    on_database("jobs", "cancel", job["id"])

    result = on_database("jobs", "watch", job["id"])

    assert "cancelled" in result.stdout
    assert result.returncode == 1


def test_the_warnings_of_a_completed_job_are_shown(on_database, database):
    """A line each, or a list for scripts; a job without any says nothing of them."""
    warnings = ["3 of 20 clips [bold]", "the source has no sound"]
    job, other = created(on_database, "--key", "a"), created(on_database)
    with VideoJobManager.from_url(database) as manager:
        for job_id, detail in ((job["id"], {"warnings": warnings}), (other["id"], {})):
            lease = manager.start_processing(job_id)
            manager.complete_job(lease, [{"path": "clip_01.mp4"}], detail=detail)

    show = ("jobs", "show", job["id"])
    watch = ("jobs", "watch", job["id"])
    wait = ("jobs", "create", "talk.mp4", "--user", USER, "--key", "a", "--wait")
    told = [on_database(*command).stdout.splitlines() for command in (show, watch, wait)]
    as_json = [on_database(*command, "--json") for command in ((*show, "-e"), show, watch, wait)]
    quiet = on_database("jobs", "show", other["id"])

    for lines in told:
        assert [line for line in lines if "warning" in line] == [f"warning: {w}" for w in warnings]
    assert [json.loads(result.stdout)["warnings"] for result in as_json] == [warnings] * 4
    assert "warning" not in quiet.stdout


def test_stats_count_by_status_and_group(on_database):
    """The figures are there for people and for scripts."""
    created(on_database, "--platform", "tiktok")

    for_people = on_database("stats", "--by", "platform")
    for_scripts = json.loads(on_database("stats", "--json", "--days", "1").stdout)

    assert "1 job:" in for_people.stdout and "tiktok" in for_people.stdout
    assert for_scripts["by_status"]["queued"] == 1


def test_doctor_is_content_with_a_good_set_up(on_database):
    """Every check is good, and the exit code says so."""
    result = on_database("doctor", "--json")

    findings = json.loads(result.stdout)
    assert result.returncode == 0
    assert all(finding["ok"] for finding in findings), findings
    assert {finding["severity"] for finding in findings} == {"ok", "note"}
    assert {"database", "schema", "indexes", "migrations", "ffmpeg"} <= {
        finding["check"] for finding in findings
    }


def test_doctor_tells_what_is_wrong_as_the_manager_does(on_database, database):
    """A finding of the database makes the exit code 1, and comes with its advice."""
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("grant select on public.video_jobs to anon")
        try:
            result = on_database("doctor")
        finally:
            owner.execute("revoke select on public.video_jobs from anon")

    assert result.returncode == 1
    assert "BAD grants: 1 too wide: anon has SELECT on table public.video_jobs" in result.stdout
    assert "`revoke SELECT on table public.video_jobs from anon;`" in result.stdout
    assert "note statistics: not counted" in result.stdout


def test_a_deep_doctor_counts_the_jobs(on_database):
    """Nothing is left out then."""
    result = on_database("doctor", "--deep")

    assert "ok  statistics: equal to a count of all jobs" in result.stdout
    assert result.returncode == 0


def test_doctor_says_what_to_do_when_nothing_is_configured(run):
    """The finding names the variables, and the exit code is 1."""
    result = run("doctor")

    assert result.returncode == 1
    assert "SUPABASE_URL" in result.stdout
    assert "--  schema: not checked" in result.stdout
    assert "ok  ffmpeg: ffmpeg " in result.stdout


def test_doctor_does_not_wait_long_for_an_absent_database(run):
    """It says within seconds that nothing answers, once, and what it could not look at."""
    url = "postgresql://owner:hunter2@127.0.0.1:1/nowhere"
    started = time.monotonic()

    result = run("doctor", DATABASE_URL=url)

    assert time.monotonic() - started < 15
    assert result.returncode == 1
    assert result.stdout.count("BAD ") == 1
    assert "--  migrations: not checked" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr
    assert result.stderr == ""


@pytest.fixture
def login_without_rights(database):
    """The URL of a role that may connect, and nothing else."""
    name, password = f"nobody_{uuid4().hex[:8]}", "pw"
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"create role {name} login password '{password}'")
        try:
            yield make_conninfo(database, user=name, password=password)
        finally:
            owner.execute(f"drop role {name}")


@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_a_login_without_rights_is_told_what_it_lacks(run, login_without_rights, command):
    """A sentence that names the schema and whom to connect as, not a traceback."""
    result = run(command, DATABASE_URL=login_without_rights)

    assert result.returncode == (2 if command == "migrate" else 1)
    assert "permission denied for schema" in result.stdout + result.stderr
    assert "use the owner of the database" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_leaves_early_is_no_failure(on_database, bare_environment, database):
    """`videojobs jobs list | head -1` ends with 0 on both sides, and says nothing of a pipe."""
    for _ in range(3):
        created(on_database)
    command = shlex.join([sys.executable, "-m", "videojobs", "jobs", "list"])

    for arguments in ("", " --json"):
        result = subprocess.run(
            ["bash", "-c", f"{command}{arguments} | head -c 1; exit ${{PIPESTATUS[0]}}"],
            env={**bare_environment, "DATABASE_URL": database},
            capture_output=True,
            text=True,
        )

        assert (result.returncode, result.stderr) == (0, "")


def test_output_into_a_pipe_is_not_cut(run, bare_environment, database):
    """Without a terminal, a long name stands in one line, for grep."""
    name = "x" * 200
    bare_environment.pop("COLUMNS")
    with VideoJobManager.from_url(database) as manager:
        manager.create_job(user_id=USER, original_filename=name)

    assert name in run("jobs", "list", DATABASE_URL=database).stdout


def test_show_leaves_out_what_only_the_machinery_needs(on_database):
    """People see no fences and counters, and settings as they were given; scripts see all."""
    job = created(on_database, "--settings", '{"captions": true, "voice_language": "žš"}')

    shown = on_database("jobs", "show", job["id"])
    as_json = on_database("jobs", "show", job["id"], "--json")

    assert '{"captions": true, "voice_language": "žš"}' in shown.stdout
    for internal in ("tenant_id", "seq", "run_token"):
        assert internal not in shown.stdout
        assert internal in as_json.stdout


def test_the_worker_tells_what_it_does_a_line_each(on_database, tmp_path: Path):
    """Where it works, how each attempt ended, and that it stopped."""
    (tmp_path / "videojobs-output").mkdir()
    job = created(on_database, "--max-attempts", "1")

    result = on_database("worker", "--until-idle")

    lines = result.stderr.splitlines()
    assert result.returncode == 0
    assert "works on default, storage" in lines[0]
    assert any(line.startswith(f"{job['id']} failed: there is no source") for line in lines)
    assert lines[-1] == "stopped"


def test_a_token_is_signed_for_the_local_stack(run, tmp_path: Path):
    """With the data folder's secret, whether the stack runs or not."""
    secrets = Secrets()
    (tmp_path / ".videojobs").mkdir()
    secrets.save(tmp_path / ".videojobs" / "secrets.json")

    result = run("local", "token", USER)

    claims = jwt.decode(
        result.stdout.strip(), secrets.jwt_secret, algorithms=["HS256"], audience="authenticated"
    )
    assert (claims["sub"], claims["role"]) == (USER, "authenticated")


def test_a_token_needs_a_stack_that_was_started_once(run):
    """Without a data folder the message says which command makes it."""
    result = run("local", "token", USER)

    assert result.returncode == 2
    assert "videojobs local up" in result.stderr


def test_a_demo_of_a_broken_video_ends_with_its_error(run, tmp_path: Path):
    """No empty tables, and no advice what to try next."""
    (tmp_path / "broken.mp4").write_bytes(b"not a video" * 100)

    result = run("demo", "broken.mp4")

    assert result.returncode == 1
    assert "failed" in result.stdout
    assert "loudness" not in result.stdout
    assert "What to try next" not in result.stdout


def test_migrate_a_second_time_changes_nothing(on_database):
    """The test database has the schema already."""
    result = on_database("migrate")

    assert result.returncode == 0
    assert "up to date" in result.stdout


def test_migrate_copies_the_files_into_a_project(run, tmp_path: Path):
    """They can be pushed with the Supabase CLI then; a second time nothing is written."""
    result = run("migrate", "--copy-to", "supabase/migrations")
    again = run("migrate", "--copy-to", "supabase/migrations")

    copied = sorted(path.name for path in (tmp_path / "supabase" / "migrations").iterdir())
    assert copied[0] == "20261121000100_tables.sql"
    assert result.returncode == again.returncode == 0
    assert again.stdout == f"{len(copied)} files are there already\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["jobs", "show", str(uuid4())], 3, "there is no job"),
        (["jobs", "show", "not-an-id"], 2, "job_id='not-an-id': must be a UUID"),
        (["jobs", "create", "a.mp4", "--user", USER, "--clips", "10000"], 2, "clip_count=10000"),
        (["jobs", "create", "a.mp4", "--user", USER, "--settings", "[1]"], 2, "a JSON object"),
        (["jobs", "create", "a.mp4", "--user", USER, "--platform", "myspace"], 2, "tiktok"),
        (["jobs", "list", "--limit", "501"], 2, "from 1 to 500"),
        (["stats", "--by", "weather"], 2, "platform"),
        (["stats", "--days", "99999999"], 2, "36500"),
        (["jobs", "clear", "--older-than-days", "99999999"], 2, "36500"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line_with_its_code(on_database, arguments, code, told):
    """No traceback; a sentence on standard error, and an exit code that means something."""
    result = on_database(*arguments)

    assert result.returncode == code
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_refusal_has_an_exit_code_of_its_own(on_database):
    """Deleting a queued job is refused by its state."""
    job = created(on_database)

    result = on_database("jobs", "delete", job["id"])

    assert result.returncode == 5
    assert "cancel it first" in result.stderr


def test_an_unreachable_database_is_told_without_its_password(run):
    """Exit code 4, the reason, and no secret."""
    url = "postgresql://owner:hunter2@127.0.0.1:1/nowhere"

    result = run("jobs", "list", DATABASE_URL=url, VIDEOJOBS_DEADLINE_SECONDS="1")

    assert result.returncode == 4
    assert "refused" in result.stderr
    assert "hunter2" not in result.stderr


def test_without_its_extra_the_command_names_the_install(tmp_path: Path):
    """One sentence, not a traceback."""
    program = (
        "import sys; sys.modules['typer'] = None; sys.argv = ['videojobs'];"
        "from videojobs.cli import main; main()"
    )

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path
    )

    assert result.returncode == 2
    assert result.stderr.strip() == (
        "the command line needs an extra: pip install 'videojobs[cli]'"
    )


def test_the_demo_takes_a_video_through_the_whole_system(run, tmp_path: Path):
    """It ends well, and three clips, two renditions and their posters lie in the folder, checked."""
    result = run("demo")

    made = sorted(path.name for path in (tmp_path / "videojobs-output").glob("*/*/*"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert made == [
        "480p.mp4",
        "720p.mp4",
        "clip_01.jpg",
        "clip_01.mp4",
        "clip_02.jpg",
        "clip_02.mp4",
        "clip_03.jpg",
        "clip_03.mp4",
        "poster.jpg",
    ]
    assert "completed 2" in result.stdout
    assert "What to try next" in result.stdout


def test_local_up_serves_until_it_is_told_to_stop(bare_environment, tmp_path: Path):
    """It prints how to reach it, answers, and ends on SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "videojobs", "local", "up", "--no-rest", "--json"],
        env=bare_environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, "}\n")
        variables = json.loads("".join(lines) + "}")
        with VideoJobManager.from_url(variables["SUPABASE_DB_URL"]) as manager:
            health = manager.check()
        process.terminate()
        code = process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    assert health.is_service
    assert code == 0
