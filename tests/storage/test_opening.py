"""From a URL or a path to the storage that it names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from videojobs.errors import ConfigurationError, MissingExtraError
from videojobs.settings import FetchLimits, Settings
from videojobs.storage import LocalStorage, open_storage
from videojobs.storage.fsspec import FsspecStorage
from videojobs.storage.supabase import SupabaseStorage

PROJECT = Settings(supabase_url="https://abc.supabase.co", supabase_key="sb_secret_x")


@pytest.mark.parametrize(
    ("place", "kind", "name"),
    [
        ("/srv/videos", LocalStorage, "/srv/videos"),
        (Path("/srv/videos"), LocalStorage, "/srv/videos"),
        ("file:///srv/my%20videos", LocalStorage, "/srv/my videos"),
        ("supabase://videos/app", SupabaseStorage, "supabase://videos/app"),
        ("supabase://videos", SupabaseStorage, "supabase://videos"),
        ("memory://videos/app/", FsspecStorage, "memory://videos/app"),
    ],
)
def test_a_place_names_its_storage(place: str | Path, kind: type, name: str):
    """A folder, a bucket of Supabase, or a URL of fsspec's."""
    storage = open_storage(place, PROJECT)

    assert type(storage) is kind
    assert str(storage) == name


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"VIDEOJOBS_STORAGE_DIR": "/srv/a"}, "/srv/a"),
        ({"VIDEOJOBS_STORAGE": "memory://b", "VIDEOJOBS_STORAGE_DIR": "/srv/a"}, "memory://b"),
    ],
)
def test_the_environment_names_the_storage(environ: dict[str, str], name: str):
    """A URL rather than a folder, where both are set."""
    storage = open_storage(None, Settings.from_env(environ))

    assert str(storage) == name


@pytest.mark.parametrize(
    ("place", "settings", "told"),
    [
        ("supabase://videos", Settings(), "SUPABASE_SECRET_KEY"),
        ("supabase:///app", PROJECT, "supabase://bucket/prefix"),
        ("supabase://videos/../app", PROJECT, "cannot be a storage"),
        ("file://host/srv", PROJECT, "file:///path"),
        ("nonsense://videos", PROJECT, "no storage that fsspec knows"),
        ("gs://videos", PROJECT, "pip install gcsfs"),
    ],
)
def test_a_place_that_is_none_says_what_to_do(place: str, settings: Settings, told: str):
    """Before a worker claims anything."""
    with pytest.raises(ConfigurationError, match=told):
        open_storage(place, settings)


def test_without_fsspec_the_extra_is_named(monkeypatch):
    """And nothing else needs it."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'videojobs\[storage\]'"):
        open_storage("s3://videos", Settings())


def test_heavy_packages_wait_until_they_are_needed():
    """Opening a folder loads neither httpx nor fsspec."""
    code = (
        "import sys; from videojobs.settings import Settings; "
        "from videojobs.storage import open_storage; open_storage('/tmp', Settings()); "
        "print(sorted({'httpx', 'fsspec', 'supabase'} & set(sys.modules)))"
    )

    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).strip()

    assert loaded == "[]"


def test_the_key_and_the_url_are_in_no_repr():
    """A URL may hold a user's password."""
    settings = Settings(storage="sftp://ada:password@host/videos", supabase_key="sb_secret_x")

    assert "password" not in repr(settings)
    assert "sb_secret_x" not in repr(settings)


def test_limits_and_policy_come_from_the_environment():
    """With defaults where nothing is said."""
    environ = {
        "VIDEOJOBS_MAX_SOURCE_BYTES": "1000",
        "VIDEOJOBS_SOURCE_POLICY": "own_prefix",
    }

    settings = Settings.from_env(environ)

    assert settings.fetch_limits == FetchLimits(max_source_bytes=1000)
    assert settings.source_policy == "own_prefix"
    assert Settings.from_env({}).source_policy == "any"
    assert Settings.from_env({}).fetch_limits.max_source_bytes == 20_000_000_000


@pytest.mark.parametrize(
    "environ",
    [
        {"VIDEOJOBS_MAX_SOURCE_BYTES": "20 GB"},
        {"VIDEOJOBS_MAX_SOURCE_BYTES": "0"},
        {"VIDEOJOBS_SOURCE_POLICY": "mine"},
    ],
)
def test_a_variable_that_makes_no_sense_is_named(environ: dict[str, str]):
    """With what it should be."""
    (name,) = environ

    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env(environ)
