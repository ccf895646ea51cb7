"""Which account runs PostgreSQL, and how it gets at its files.

PostgreSQL refuses to run as root. Where we are root, an unprivileged account of the machine is
borrowed; none is added. That account may be unable to enter the folder that holds the data
or the programs (such as /root). Those folders keep their permissions: the data or a copy of the
programs then lives in /var/lib/videojobs instead.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from videojobs.errors import ConfigurationError
from videojobs.local.processes import Account

_ELSEWHERE = Path("/var/lib/videojobs")
_BORROWED = ("postgres", "nobody")


def unprivileged(data: Path) -> Account | None:
    """Return the account to run PostgreSQL as: the one that owns *data*; none if it is ours."""
    if os.geteuid() != 0:
        return None
    with suppress(FileNotFoundError):
        owner = data.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    for name in _BORROWED:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and this machine has neither an account 'postgres' nor "
        "'nobody'; run as an ordinary user"
    )


def as_popen(account: Account | None) -> dict[str, Any]:
    """Return the arguments that make `subprocess` run a program as that account."""
    if account is None:
        return {}
    return {"user": account.user, "group": account.group, "extra_groups": []}


def reachable_place(data: Path, account: Account | None) -> Path:
    """Return where the server can keep *data*: there, or elsewhere with a link at *data*."""
    if data.is_symlink():
        place = data.readlink()
        place.parent.mkdir(parents=True, exist_ok=True)
        return place
    if account is None or data.exists() or _can_enter(data.parent, account):
        return data
    remove_orphans(_ELSEWHERE)
    place = _ELSEWHERE / hashlib.sha256(os.fsencode(data)).hexdigest()[:16] / "postgres"
    data.symlink_to(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    (place.parent / "origin").write_text(str(data))
    return place


def runnable_copy(bin_dir: Path, account: Account | None) -> Path:
    """Return *bin_dir*, or that of a copy if the account cannot run what is there."""
    if account is None or _can_run(bin_dir / "postgres", account):
        return bin_dir
    source = bin_dir.parent
    build = (bin_dir / "postgres").stat()
    mark = hashlib.sha256(f"{source} {build.st_size} {build.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = _ELSEWHERE / f"programs-{mark}"
    if not copy.exists():
        _copy_programs(source, copy)
    return copy / "bin"


def _copy_programs(source: Path, copy: Path) -> None:
    """Copy beside the final name and rename: two at once then cannot disturb each other."""
    draft = copy.with_name(f"{copy.name}.{os.getpid()}")
    shutil.copytree(source, draft, symlinks=True, ignore=shutil.ignore_patterns("include", "doc"))
    for path in [draft, *draft.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    with suppress(OSError):
        draft.rename(copy)
    shutil.rmtree(draft, ignore_errors=True)


def _can_run(program: Path, account: Account) -> bool:
    try:
        subprocess.run(
            [str(program), "--version"],
            capture_output=True,
            check=True,
            cwd="/",
            **as_popen(account),
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _can_enter(folder: Path, account: Account) -> bool:
    command = ["test", "-x", str(folder)]
    return subprocess.call(command, cwd="/", **as_popen(account)) == 0


def remove_orphans(elsewhere: Path) -> None:
    """Remove data whose link is gone: its data folder was deleted."""
    for origin in elsewhere.glob("*/origin"):
        link = Path(origin.read_text())
        if not link.is_symlink() or link.readlink().parent != origin.parent:
            shutil.rmtree(origin.parent, ignore_errors=True)
