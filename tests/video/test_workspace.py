"""Private folders of attempts come and go, also after a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from videojobs.errors import ConfigurationError, ProcessingError
from videojobs.media.workspace import attempt_folder, sweep_stale_folders, work_root

KILLED = """
import os, pathlib, signal, sys
from videojobs.media.workspace import attempt_folder
with attempt_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "clip_01.mp4.part").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_attempt_leaves_nothing(tmp_path: Path):
    """Also when it fails."""
    with pytest.raises(ZeroDivisionError), attempt_folder(tmp_path) as folder:
        (folder / "clip_01.mp4.part").write_bytes(b"half")
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_swept(tmp_path: Path):
    """The kernel has let go of its lock."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob("attempt-*/clip_01.mp4.part"))) == 1

    swept = sweep_stale_folders(tmp_path)

    assert len(swept) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_running_attempt_is_left_alone(tmp_path: Path):
    """Its lock is held."""
    with attempt_folder(tmp_path) as folder:
        swept = sweep_stale_folders(tmp_path)

        assert swept == ()
        assert folder.is_dir()


def test_a_work_folder_that_cannot_be_made_is_a_matter_of_set_up(tmp_path: Path):
    """The message names the variable."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigurationError, match="VIDEOJOBS_WORK_DIR"):
        work_root(tmp_path / "file" / "work")


def test_a_work_folder_that_a_cleaner_removed_is_made_again(tmp_path: Path):
    """A worker outlives many a sweep of the temporary files, and stays alone in its folder."""
    root = work_root(tmp_path / "work")
    root.rmdir()

    with attempt_folder(root) as folder:
        assert folder.is_dir()
        assert root.stat().st_mode & 0o777 == 0o700


def test_a_work_folder_that_cannot_be_made_now_may_be_later(tmp_path: Path):
    """The attempt may be repeated."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ProcessingError) as failed, attempt_folder(tmp_path / "file" / "work"):
        pass

    assert (failed.value.code, failed.value.retryable) == ("work_dir_unusable", True)
