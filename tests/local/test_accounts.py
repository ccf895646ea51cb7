"""Root's stack finds an account that can run PostgreSQL, and opens no folder for it."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from videojobs.local import LocalStack, accounts
from videojobs.local.postgres import _wheel_bin_dir


def test_private_programs_are_copied(folder):
    """Programs in a folder that the account cannot enter, such as /root/.venv, run from a copy."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(_wheel_bin_dir().parent, private / "pginstall", symlinks=True)
    account = accounts.unprivileged(folder / "no data yet")

    bin_dir = accounts.runnable_copy(private / "pginstall" / "bin", account)
    version = subprocess.check_output(
        [bin_dir / "postgres", "--version"], cwd="/", text=True, **accounts.as_popen(account)
    )
    if bin_dir.is_relative_to("/var/lib/videojobs"):
        shutil.rmtree(bin_dir.parent)

    assert version.startswith("postgres (PostgreSQL)")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_data_keeps_its_account(folder):
    """The account that owns the data runs the server again, even if another one would be chosen today."""
    data = folder / "data"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, 4321, 4321)

    account = accounts.unprivileged(data)

    assert account == (accounts.Account(4321, 4321) if os.geteuid() == 0 else None)


def test_data_of_deleted_folders_is_removed(folder):
    """What was kept elsewhere for a folder that is gone goes at the next start which keeps data elsewhere."""
    elsewhere = folder / "elsewhere"
    orphan = elsewhere / "0123456789abcdef"
    orphan.mkdir(parents=True)
    (orphan / "origin").write_text(str(folder / "gone" / "postgres"))

    accounts.remove_orphans(elsewhere)

    assert list(Path(elsewhere).iterdir()) == []


def test_a_machine_without_a_postgres_account_will_do(monkeypatch, folder):
    """Where nobody installed PostgreSQL, root borrows the account `nobody`."""
    monkeypatch.setattr(accounts, "_BORROWED", ("nobody",))

    with LocalStack.start(folder, rest=False, migrate=False, durable=False) as stack:
        owner = (stack.data_dir / "postgres").stat().st_uid

    assert owner == (pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid())
