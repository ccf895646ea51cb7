"""How ffmpeg and the probe are started: closed off, under limits, and bound to this process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_LAUNCHER = Path(__file__).with_name("_launch.py")
_CHECK_SECONDS = 20

#: What ffmpeg sees of the environment: FFREPORT would write files and http_proxy open connections.
BARE_ENVIRONMENT: Mapping[str, str] = MappingProxyType({"PATH": os.defpath, "LC_ALL": "C.UTF-8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """By which means of the system the children are closed off; ``None`` where there is none."""

    network: str | None
    """``seccomp``, which also refuses child processes, or ``namespace``."""
    files: str | None
    """``landlock``: nothing can be written outside the attempt's folder."""

    @property
    def gaps(self) -> tuple[str, ...]:
        """What a hostile file's code could do here, in words; empty when nothing is missing."""
        missing = (
            (self.network is None, "open connections"),
            (self.network == "namespace", "start other programs"),
            (self.files is None, "write wherever this user may"),
        )
        return tuple(words for is_missing, words in missing if is_missing)


def launched(
    command: Sequence[str], *, limits: Mapping[str, int], writable: str = ""
) -> tuple[str, ...]:
    """The command that starts *command* without network and child processes, able to write only in
    the folder *writable*, and ended by the kernel with the thread that starts it (on Linux).

    *limits* are numbers by the names of `resource`, such as ``{"CORE": 0}``.
    """
    limit_text = ",".join(f"{name}={value}" for name, value in limits.items())
    launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), limit_text, writable)
    return (*launcher, *command)


@functools.cache
def isolation() -> Isolation:
    """What this system offers, found by a trial in a process of its own. Asked once."""
    answer = subprocess.run(
        launched((), limits={}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=BARE_ENVIRONMENT,
        timeout=_CHECK_SECONDS,
        check=True,
    ).stdout
    means = dict(line.split("=") for line in answer.split())
    return Isolation(network=means["network"] or None, files=means["files"] or None)
