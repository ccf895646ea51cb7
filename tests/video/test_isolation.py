"""What a hostile file could make ffmpeg do, were it to take it over: nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from videojobs.media.ffmpeg import find_ffmpeg
from videojobs.media.launching import Isolation, isolation
from videojobs.media.runner import RunLimits, RunReport, run_ffmpeg

LIMITS = RunLimits(expected_seconds=4.0, deadline_seconds=30.0, max_output_bytes=1_000_000)
SANDBOX = Path(sys.modules[Isolation.__module__].__file__ or "").with_name("_sandbox.py")

CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
#: The second means, for machines without a filter of system calls.
LEAVE_AND_CONNECT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("sandbox", {str(SANDBOX)!r})
sandbox = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sandbox)
assert sandbox.leave_network()
open("made", "w").close()
{CONNECT}
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def python(folder: Path, code: str, *arguments: object) -> RunReport:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return run_ffmpeg(command, folder=folder, limits=LIMITS)


def bare(folder: Path, code: str, *arguments: object) -> str:
    """What a process that nobody closed off says when it fails."""
    command = [sys.executable, "-I", "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, timeout=30, check=False
    ).stderr


def test_this_system_offers_all_means():
    """Linux from 5.13 on does; elsewhere this test tells what is missing."""
    assert isolation().gaps == ()


def test_gaps_are_told_in_words():
    """A person reads them in the worker's log."""
    nothing = Isolation(network=None, files=None)
    own_network = Isolation(network="namespace", files="landlock")

    assert nothing.gaps == ("open connections", "write wherever this user may")
    assert own_network.gaps == ("start other programs",)


def test_no_connection_can_be_opened(tmp_path: Path, listener: socket.socket):
    """Not even to this machine; the server that waits hears of nobody."""
    report = python(tmp_path, CONNECT, listener.getsockname()[1])

    assert "PermissionError: [Errno 13]" in report.stderr[-2]
    with pytest.raises(TimeoutError):
        listener.accept()


def test_ffmpeg_opens_no_url_even_when_it_is_told_to(tmp_path: Path, listener: socket.socket):
    """A widened whitelist, or a filter that forgets it, still meets the kernel."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.mp4"

    report = run_ffmpeg(
        [find_ffmpeg(), "-protocol_whitelist", "http,tcp,file", "-i", url, "-f", "null", "-"],
        folder=tmp_path,
        limits=LIMITS,
    )

    assert report.exit_code != 0
    assert "Permission denied" in " ".join(report.stderr)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_a_network_of_its_own_has_nothing_in_it(tmp_path: Path, listener: socket.socket):
    """Where calls cannot be filtered; files can still be made there."""
    said = bare(tmp_path, LEAVE_AND_CONNECT, listener.getsockname()[1])

    assert "Network is unreachable" in said
    assert (tmp_path / "made").exists()
    with pytest.raises(TimeoutError):
        listener.accept()


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['/bin/true'])",
    ],
)
def test_no_other_process_can_be_started(tmp_path: Path, code: str):
    """Limits on processes count by user and do not hold for root; this holds for all."""
    report = python(tmp_path, code)

    assert report.exit_code == 1
    assert "Operation not permitted" in report.stderr[-2]


def test_threads_can_be_started(tmp_path: Path):
    """An encoder lives of them, and they are made by the same call as processes."""
    code = "import threading as t; a = t.Thread(target=print, args=('x',)); a.start(); a.join()"

    assert python(tmp_path, code).exit_code == 0


def test_only_the_own_folder_can_be_written(tmp_path: Path):
    """Files beside it can be neither made, nor changed, nor removed, nor replaced."""
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "other").write_text("kept")
    code = (
        "import os\n"
        "open('mine', 'w').write('x'); os.rename('mine', 'renamed'); open('/dev/null', 'w')\n"
        "refused = 0\n"
        "for act in (lambda: open('../new', 'w'), lambda: open('../other', 'w'),\n"
        "            lambda: os.remove('../other'), lambda: os.rename('renamed', '../other'),\n"
        "            lambda: os.mkdir('../folder'), lambda: os.symlink('x', '../link')):\n"
        "    try: act()\n"
        "    except OSError: refused += 1\n"
        "open('count', 'w').write(str(refused))\n"
    )

    report = python(own, code)

    assert (report.exit_code, report.stderr) == (0, ("",))
    assert (own / "count").read_text() == "6"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "own"]
    assert (tmp_path / "other").read_text() == "kept"


def test_the_worker_cannot_be_ended_from_inside(tmp_path: Path):
    """Signals reach nobody but the process itself."""
    report = python(tmp_path, "import os, signal; os.kill(os.getppid(), signal.SIGTERM)")

    assert "Operation not permitted" in report.stderr[-2]


def test_rights_cannot_be_won_back(tmp_path: Path):
    """Neither by a program with the rights of root, nor by another namespace."""
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert 'NoNewPrivs:\\t1' in open('/proc/self/status').read()\n"
        "assert libc.unshare(0x10000000) == -1\n"
        "assert libc.ptrace(0, 0, 0, 0) == -1\n"
        "assert libc.syscall(425, 1, 0) == -1 and ctypes.get_errno() == 1\n"
    )

    assert python(tmp_path, code).exit_code == 0


def test_memory_that_runs_out_costs_ffmpeg_and_not_the_worker(tmp_path: Path):
    """The kernel's choice is told to fall on the child."""
    python(tmp_path, "open('score', 'w').write(open('/proc/self/oom_score_adj').read())")

    assert (tmp_path / "score").read_text() == "500\n"
