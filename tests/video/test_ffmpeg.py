"""Which ffmpeg is used, and what it is asked."""

from __future__ import annotations

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
    once = tmp_path / "once"
    ffmpeg = script(
        f'[ -e "{once}" ] || {{ touch "{once}"; kill -9 $$; }}\nexec "{find_ffmpeg()}" "$@"'
    )

    assert inspect_ffmpeg(ffmpeg, cores=2).ffmpeg_major >= 5
    assert once.exists()


def test_an_ffmpeg_that_always_dies_is_refused(script):
    with pytest.raises(ConfigurationError, match="SIGKILL"):
        inspect_ffmpeg(script("kill -9 $$"), cores=2)
