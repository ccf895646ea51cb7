"""Which ffmpeg is used, and what it is asked."""

from __future__ import annotations

import os

import pytest

from videojobs.errors import ConfigurationError
from videojobs.media.ffmpeg import find_ffmpeg, inspect_ffmpeg


@pytest.fixture
def script(tmp_path):
    """Makes an executable of a shell script."""

    def make(text):
        path = tmp_path / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_an_inspection_that_a_signal_ends_is_repeated(script, tmp_path):
    """A system that is short of memory kills what it likes; the ffmpeg is as good as before."""
    os.mkfifo(tmp_path / "orders")
    orders = os.open(tmp_path / "orders", os.O_RDWR)
    os.write(orders, b"die\nlive\nlive\nlive\n")
    ffmpeg = script(
        f'read order < "{tmp_path}/orders"\n[ $order = live ] || kill -9 $$\n'
        f'exec "{find_ffmpeg()}" "$@"'
    )

    machine = inspect_ffmpeg(ffmpeg, cores=2)

    os.close(orders)
    assert machine.ffmpeg_major >= 5


def test_an_ffmpeg_that_always_dies_is_refused(script):
    with pytest.raises(ConfigurationError, match="SIGKILL"):
        inspect_ffmpeg(script("kill -9 $$"), cores=2)


def test_a_script_that_starts_processes_is_refused_before_any_work(script):
    """Every run would fail on it, since ffmpeg may start none."""
    ffmpeg = script(f'"{find_ffmpeg()}" "$@"\nexit $?')

    with pytest.raises(ConfigurationError, match="must end with exec"):
        inspect_ffmpeg(ffmpeg, cores=2)
