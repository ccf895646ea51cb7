"""Becomes the command it is given, under limits and closed off, and dies with its parent.

Started as a script by `videojobs.media.launching`, without site packages: it costs about 13 ms.
Not `preexec_fn`, which is unsafe in a process with threads; not setpriv, which macOS and Alpine
lack.

Arguments: the parent's process id, limits as ``name=value,...``, the folder that may be written
(none if empty), and the command. Without a command it tells how it could close itself off.
"""

from __future__ import annotations

import os
import sys

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9  # the module signal costs 4 ms


def _die_with(parent: int) -> None:
    import ctypes

    # "Parent" is the thread that started us: the runner waits in that very thread.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(137)


def _limit(limits: str) -> None:
    import resource

    for pair in filter(None, limits.split(",")):
        name, _, value = pair.partition("=")
        kind: int | None = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        wanted = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        try:
            resource.setrlimit(kind, (wanted, hard))
        except (OSError, ValueError):  # macOS has names that it does not let one set
            continue


def _close_off(writable: str) -> dict[str, str | None]:
    # Behind everything else, so that no module of the system's is hidden by a file beside this one.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 # pathlib costs 4 ms
    from _sandbox import close_off  # pyright: ignore # beside this script, which has no package

    return close_off(writable)  # pyright: ignore


def _main(parent: str, limits: str, writable: str, *command: str) -> None:
    means: dict[str, str | None] = {"network": None, "files": None}
    if sys.platform.startswith("linux"):
        _die_with(int(parent))
        means = _close_off(writable)
    _limit(limits)
    if not command:
        sys.stdout.write("".join(f"{name}={value or ''}\n" for name, value in means.items()))
        return
    try:
        os.execv(command[0], command)  # noqa: S606 # no shell is the point
    except OSError as error:
        sys.stderr.write(f"[fatal] {command[0]}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    _main(*sys.argv[1:])
