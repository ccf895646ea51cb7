"""The operators' commands on a real database: limits, settings, workers, archive, upkeep."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest

from videojobs import JobStatus, VideoJobManager

USER = UUID("aaaaaaaa-0000-4000-8000-000000000001")


@pytest.fixture
def on_database(run, database):
    """Run a command on the empty test database."""
    return lambda *arguments: run(*arguments, DATABASE_URL=database)


def test_limits_are_set_listed_and_lifted(on_database):
    """Each answer shows all limits that hold afterwards."""
    on_database("limits", "--tenant", "*", "--max-running", "2")
    listed = json.loads(on_database("limits", "--json").stdout)
    lifted = on_database("limits", "--tenant", "*", "--lift")

    assert listed == [{"kind": "tenant", "key": "*", "max_running": 2, "running": 0}]
    assert "No limits." in lifted.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--max-running", "1"),
        ("--lift",),
        ("--queue", "bulk"),
        ("--queue", "bulk", "--max-running", "1", "--lift"),
        ("--queue", "bulk", "--pipeline", "clips", "--max-running", "1"),
        ("--tenant", "nobody", "--max-running", "1"),
    ],
)
def test_a_limit_that_is_not_clear_is_refused(on_database, options):
    """Nothing is set where it is not said of what, or how many, and exactly once."""
    result = on_database("limits", *options)

    assert (result.returncode, "was refused" in result.stderr) == (2, True)
    assert json.loads(on_database("limits", "--json").stdout) == []


def test_settings_are_set_by_name(on_database):
    """A value is JSON; null takes it away again."""
    kept = on_database("settings", "--set", "archive_failed_after_days=9", "--json")
    gone = on_database("settings", "--set", "archive_failed_after_days=null", "--json")

    assert json.loads(kept.stdout)["archive_failed_after_days"] == 9
    assert json.loads(gone.stdout)["archive_failed_after_days"] is None


@pytest.mark.parametrize(
    "setting", ["nonsense=4", "queue_wakeups=bananas", "max_lost=0", "max_lost"]
)
def test_a_setting_that_is_none_is_refused(on_database, setting):
    """The error names the setting, in our words and not in SQL's."""
    result = on_database("settings", "--set", setting)

    assert result.returncode == 2
    assert setting.partition("=")[0] in result.stderr
    assert "constraint" not in result.stderr


def test_the_archive_takes_final_jobs_only(on_database, database):
    """A cancelled job goes, and is still found; one that waits stays."""
    with VideoJobManager.from_url(database) as manager:
        gone, waiting = manager.create_job(user_id=USER), manager.create_job(user_id=USER)
        manager.cancel_job(gone.id)

        result = on_database("archive", "--older-than-days", "0")

        assert result.stdout.strip() == "archived 1 job"
        assert [job.id for job in manager.list_jobs()] == [waiting.id]
        assert manager.get_job(gone.id).status is JobStatus.CANCELLED


def test_workers_are_listed_and_drained_by_name(on_database, database):
    """Who holds a lease works; a name that nobody has is refused."""
    with VideoJobManager.from_url(database) as manager:
        manager.create_job(user_id=USER)
        manager.claim_jobs("camera-1", lease=timedelta(minutes=5))

    listed = on_database("workers").stdout
    drained = json.loads(on_database("workers", "--drain", "camera-1", "--json").stdout)
    unknown = on_database("workers", "--drain", "camera-2")

    assert "camera-1" in listed and "works" in listed
    assert [each["worker_id"] for each in drained if each["drain_requested_at"]] == ["camera-1"]
    assert (unknown.returncode, "camera-2" in unknown.stderr) == (2, True)


def test_maintain_does_a_round(on_database):
    """It says what it did."""
    done = json.loads(on_database("maintain", "--json").stdout)

    assert (done["recovered"], done["archived"], done["dropped"]) == ([], 0, [])


@pytest.mark.parametrize(
    "options",
    [("-q", "a:x"), ("-q", "a:2", "-q", "b"), ("--fast", "--lease-seconds", "60")],
)
def test_a_worker_that_is_not_clear_does_not_start(on_database, options):
    """Weights are for all queues or for none, and there is one lease."""
    result = on_database("worker", *options)

    assert (result.returncode, "was refused" in result.stderr) == (2, True)
