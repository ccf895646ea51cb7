"""Runs the command line as a user does: a process, its output, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bare_environment(tmp_path: Path) -> dict[str, str]:
    """The environment without anything that tells where a database is."""
    told = ("SUPABASE", "NEXT_PUBLIC", "DATABASE_URL", "VIDEOJOBS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "VIDEOJOBS_WORK_DIR": str(tmp_path / "work")}


@pytest.fixture
def run(bare_environment: dict[str, str], tmp_path: Path) -> Run:
    """Run ``videojobs`` with these arguments, in an empty folder."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "videojobs", *arguments],
            env={**bare_environment, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=150,
            stdin=subprocess.DEVNULL,
        )

    return run
