"""A few dozen damaged files of the two thousand of ``make fuzz``."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.mutations import damaged
from fuzz.originals import originals
from fuzz.trial import EXPECTED_CODES, Outcome, try_file


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.parametrize("number", range(11))
def test_the_originals_are_good(sources: tuple[Path, ...], tmp_path: Path, number: int):
    """Or else their damaged copies would prove nothing."""
    outcome = try_file(sources[number], tmp_path)

    assert (outcome.code, outcome.outputs, outcome.left_behind) == (
        None,
        ("clip_01.mp4", "clip_01.jpg"),
        (),
    )


@pytest.mark.parametrize("seed", range(1, 31))
def test_a_damaged_file_ends_with_files_or_with_a_code(
    sources: tuple[Path, ...], tmp_path: Path, seed: int
):
    """In bounded time, with no process and no file left: repeat one with ``python -m fuzz --only``."""
    original = sources[seed % len(sources)]
    (tmp_path / "damaged").write_bytes(damaged(original.read_bytes(), seed)[0])
    (tmp_path / "folder").mkdir()

    outcome = try_file(tmp_path / "damaged", tmp_path / "folder")

    assert outcome.fault is None
    assert outcome.code in EXPECTED_CODES | {None}


def test_the_same_seed_does_the_same_damage(sources: tuple[Path, ...]):
    """What failed once can be looked at."""
    whole = sources[0].read_bytes()

    assert damaged(whole, 7) == damaged(whole, 7)
    assert damaged(whole, 7) != damaged(whole, 8)


def test_a_trial_notices_what_is_left_behind(sources: tuple[Path, ...], tmp_path: Path):
    """A file that nobody promised is a fault."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "core").write_bytes(b"")

    outcome = try_file(sources[0], tmp_path)

    assert outcome.fault == "left behind: out/core"


def test_an_unknown_end_is_a_fault():
    """A hang, an exception, a code that nobody documented."""
    hang = Outcome(code="hang", message="not over after 60 s", seconds=60.0)

    assert hang.fault == "hang: not over after 60 s"
