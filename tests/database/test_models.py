"""The library's words are the database's: enums, columns and defaults."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

import pytest

from videojobs import (
    EnhancementLevel,
    JobEvent,
    JobEventType,
    JobStatus,
    NewVideoJob,
    PlatformTarget,
    QualityPreset,
    ResourceType,
    Verdict,
    VideoJob,
)

USER = UUID("00000000-0000-4000-8000-000000000001")

ENUMS: dict[str, type[StrEnum]] = {
    "video_job_status": JobStatus,
    "video_job_quality_preset": QualityPreset,
    "video_job_enhancement_level": EnhancementLevel,
    "video_job_platform_target": PlatformTarget,
    "video_job_resource_type": ResourceType,
    "video_job_event_type": JobEventType,
    "video_job_verdict": Verdict,
}

DEFAULTS = (
    "queue",
    "pipeline",
    "priority",
    "max_attempts",
    "quality_preset",
    "enhancement_level",
    "platform_target",
    "settings",
    "resource_type",
    "resource_id",
    "resource_name",
    "resource_parent_id",
    "clip_count",
    "original_filename",
    "original_filesize",
    "source_url",
    "idempotency_key",
    "max_runtime_seconds",
    "retry_base_seconds",
    "retry_cap_seconds",
)


def columns_of(sql, table: str) -> list[str]:
    """Return the names of a table's columns, in their order."""
    rows = sql.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
        "order by attnum",
        (table,),
    )
    return [row["attname"] for row in rows]


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_has_the_databases_values(sql, name):
    """Each value of the Python enum is one of the database's, in the same order, and none is missing."""
    row = sql.execute(f"select enum_range(null::public.{name})::text[] as values").fetchone()

    assert row["values"] == [member.value for member in ENUMS[name]]


def test_every_enum_is_compared(sql):
    """No enum of the schema public is without its Python counterpart; the team's roles have none."""
    rows = sql.execute(
        "select typname from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e'"
    )

    names = {row["typname"] for row in rows}

    assert names == {*ENUMS, "video_job_team_role"}


def test_a_job_has_the_tables_columns(sql):
    """`VideoJob` has a field for each column of video_jobs, and no other."""
    columns = columns_of(sql, "public.video_jobs")

    assert sorted(VideoJob.model_fields) == sorted(columns)


def test_an_event_has_the_tables_columns(sql):
    """`JobEvent` has a field for each column of video_job_events but the one that followers read by."""
    columns = columns_of(sql, "public.video_job_events")

    assert sorted([*JobEvent.model_fields, "tx"]) == sorted(columns)


def test_what_may_be_created_is_what_may_be_inserted(sql):
    """The fields of `NewVideoJob`, and the id, are the columns that a user's insert may name."""
    rows = sql.execute(
        """
        select a.attname
        from pg_attribute a
        where a.attrelid = 'public.video_jobs'::regclass and a.attnum > 0
          and has_column_privilege('authenticated', a.attrelid, a.attnum, 'insert')
        """
    )

    columns = {row["attname"] for row in rows}

    assert columns == {"id", *NewVideoJob.model_fields}


@pytest.mark.parametrize("column", DEFAULTS)
def test_the_librarys_default_is_the_tables(sql, column):
    """A job made by the library and one that a browser inserts have the same values where none is given."""
    row = sql.execute(
        f"insert into public.video_jobs (user_id) values (%s) returning {column} as value", (USER,)
    ).fetchone()

    wish = NewVideoJob(user_id=USER)

    assert getattr(wish, column) == row["value"]


def test_every_default_is_compared():
    """Only the owner, the team and the time of the first run have no default to compare."""
    assert set(NewVideoJob.model_fields) == {*DEFAULTS, "user_id", "team_id", "run_at"}
