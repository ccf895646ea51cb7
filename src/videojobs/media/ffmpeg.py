"""Which ffmpeg is run, and what it can do."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import subprocess
from pathlib import Path

from videojobs.errors import ConfigurationError, MissingExtraError
from videojobs.media.launching import BARE_ENVIRONMENT, launched
from videojobs.pipelines.plan import Machine
from videojobs.profiles import CODECS

_INSPECTION_SECONDS = 20
_TRIES = 3
"""A system that is short of memory kills any process, and a look at ffmpeg is one."""
_VERSION = re.compile(r"ffmpeg version n?(\d+)\.")


def find_ffmpeg(configured: str | None = None) -> str:
    """The absolute path of the ffmpeg to run: the configured one, imageio-ffmpeg's, or PATH's.

    Raises:
        ConfigurationError: The configured one is not there.
        MissingExtraError: None was configured and none is installed.
    """
    if configured is not None:
        return _configured(configured)
    found = _bundled() or shutil.which("ffmpeg")
    if found is None:
        raise MissingExtraError("video", "running ffmpeg")
    return str(Path(found).resolve())


def _configured(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"there is no ffmpeg to run at {name!r}; correct VIDEOJOBS_FFMPEG, or unset it to use "
            "the one that comes with pip install 'videojobs[video]'"
        )
    return str(Path(found).resolve())


def _bundled() -> str | None:
    try:
        import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return None
    for _ in range(_TRIES):
        # It runs the binary to see whether it is good.
        with contextlib.suppress(RuntimeError):  # a platform without a binary in the wheel
            return imageio_ffmpeg.get_ffmpeg_exe()
    return None


@functools.lru_cache(maxsize=8)
def inspect_ffmpeg(ffmpeg: str, *, cores: int) -> Machine:
    """What plans may count on with this ffmpeg and so many cores. Asked once for each.

    Raises:
        ConfigurationError: It does not run.
    """
    version = _VERSION.search(_said(ffmpeg, "-version"))
    filters = _said(ffmpeg, "-hide_banner", "-filters")
    encoders = _said(ffmpeg, "-hide_banner", "-encoders")
    return Machine(
        cores=cores,
        # A build from git has no number, and is newer than any that lacks what we ask.
        ffmpeg_major=int(version.group(1)) if version else 9,
        has_tone_mapping=" zscale " in filters and " tonemap " in filters,
        has_vmaf=" libvmaf " in filters,
        lacks_encoders=frozenset(
            codec.encoder for codec in CODECS.values() if f" {codec.encoder} " not in encoders
        ),
    )


def _said(ffmpeg: str, *arguments: str) -> str:
    try:
        answer = _run(ffmpeg, *arguments)
        for _ in range(_TRIES - 1):
            if answer.returncode >= 0:
                break
            answer = _run(ffmpeg, *arguments)  # a signal ended it, which says nothing about ffmpeg
        if answer.returncode:
            raise subprocess.CalledProcessError(answer.returncode, [ffmpeg, *arguments])
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"{ffmpeg} does not run as ffmpeg ({error}); correct VIDEOJOBS_FFMPEG. "
            "A script in its place must end with exec: it can start no process beside its own"
        ) from error
    return answer.stdout.decode("utf-8", "replace")


def _run(ffmpeg: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        # As every run is started: what does not run closed off is told before any work is taken.
        launched((ffmpeg, *arguments), limits={"CORE": 0}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=BARE_ENVIRONMENT,
        timeout=_INSPECTION_SECONDS,
        check=False,
    )
