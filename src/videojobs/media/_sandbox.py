"""Takes from this process what a decoder never needs: sockets, child processes, other files.

A decoder that a hostile file has taken over finds nothing to do. All of it works without rights
of root, is for Linux, and stays across `exec`. Loaded by the launcher, without the package and
without site packages; what the system does not offer is left out and told by `close_off`.
Every run waits for it, so it imports little: pathlib alone would cost 4 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x10000000, 0x40000000, 0x10000

#: Instructions of classic BPF, and what a filter may answer.
_LOAD, _IS, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16

#: AUDIT_ARCH of linux/audit.h, and numbers of system calls.
_X86_64 = (
    0xC000003E,
    "socket 41 clone 56 fork 57 vfork 58 ptrace 101 mount 165 umount2 166 swapon 167 swapoff 168 "
    "reboot 169 pivot_root 155 chroot 161 acct 163 init_module 175 delete_module 176 kcmp 312 "
    "kexec_load 246 add_key 248 request_key 249 keyctl 250 unshare 272 perf_event_open 298 "
    "open_by_handle_at 304 setns 308 finit_module 313 process_vm_readv 310 process_vm_writev 311 "
    "kexec_file_load 320 bpf 321 userfaultfd 323",
)
_AARCH64 = (
    0xC00000B7,
    "socket 198 clone 220 ptrace 117 mount 40 umount2 39 swapon 224 swapoff 225 reboot 142 "
    "pivot_root 41 chroot 51 acct 89 init_module 105 delete_module 106 kcmp 272 kexec_load 104 "
    "add_key 217 request_key 218 keyctl 219 unshare 97 perf_event_open 241 open_by_handle_at 265 "
    "setns 268 finit_module 273 process_vm_readv 270 process_vm_writev 271 kexec_file_load 294 "
    "bpf 280 userfaultfd 282",
)
#: Since Linux 5.1, the same on every machine. A ring of io_uring would open sockets behind a filter.
_EVERYWHERE = (
    "io_uring_setup 425 open_tree 428 move_mount 429 fsopen 430 fsmount 432 pidfd_open 434 "
    "clone3 435 pidfd_getfd 438 mount_setattr 442"
)
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}
#: From here on, x86_64 has the same calls a second time, for programs with short pointers.
_X32 = 0x40000000

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION_QUESTION, _LANDLOCK_PATH_BENEATH = 1, 1
#: Writing, removing, and making of every kind: bits 1 and 4 to 12 of linux/landlock.h.
_WRITES = 1 << 1 | sum(1 << bit for bit in range(4, 13))
#: Moving to another folder (since version 2), and truncating (since 3).
_LATER_WRITES = {2: 1 << 13, 3: 1 << 14}
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_SIGNALS_TO_OTHERS, _SIGNALS_SINCE = 1 << 1, 6

_libc = ctypes.CDLL(None, use_errno=True)


def close_off(writable: str) -> dict[str, str | None]:
    """From now on there is no network, no child process, and nothing to write outside *writable*.

    Tells by which means: ``network`` is ``seccomp``, ``namespace`` or ``None``; ``files`` is
    ``landlock`` or ``None``.
    """
    _die_first()
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return {"network": None, "files": None}
    files = "landlock" if write_only_below(writable) else None
    if filter_calls():
        return {"network": "seccomp", "files": files}
    return {"network": "namespace" if leave_network() else None, "files": files}


def _die_first() -> None:
    """Should memory run out, the kernel takes ffmpeg and not the worker."""
    with contextlib.suppress(OSError):
        _write("/proc/self/oom_score_adj", "500")


def filter_calls(machine: str | None = None) -> bool:
    """The kernel refuses sockets, new processes, and calls that only administrators make."""
    known = _MACHINES.get(machine or os.uname().machine)
    if known is None:
        return False
    program = _program(*known)
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    return _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0) == 0


def _program(machine: int, numbers: str) -> bytes:
    words = f"{numbers} {_EVERYWHERE}".split()
    refused = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    socket, clone, clone3 = (refused.pop(name) for name in ("socket", "clone", "clone3"))
    return b"".join(
        (
            _step(_LOAD, _MACHINE_AT),
            _step(_IS, machine, 1, 0),
            _step(_RETURN, _REFUSE | errno.EPERM),
            _step(_LOAD, _NUMBER_AT),
            *_answer(_AT_LEAST, _X32, errno.EPERM),
            *_answer(_IS, socket, errno.EACCES),
            # Its arguments lie in memory, where no filter looks; without it, libc uses clone.
            *_answer(_IS, clone3, errno.ENOSYS),
            *(step for number in refused.values() for step in _answer(_IS, number, errno.EPERM)),
            _step(_IS, clone, 1, 0),
            _step(_RETURN, _ALLOW),
            # A thread is made by clone as well.
            _step(_LOAD, _FIRST_ARGUMENT_AT),
            _step(_HAS_BITS, _CLONE_THREAD, 1, 0),
            _step(_RETURN, _REFUSE | errno.EPERM),
            _step(_RETURN, _ALLOW),
        )
    )


def _answer(test: int, number: int, error: int) -> tuple[bytes, bytes]:
    return _step(test, number, 0, 1), _step(_RETURN, _REFUSE | error)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def leave_network() -> bool:
    """The process has a network of its own with nothing in it, for machines without a filter."""
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    # Without a name for its user there, it could make no files.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    return True


def write_only_below(folder: str) -> bool:
    """Nothing outside *folder* can be written, made or removed; nowhere if it is empty."""
    version = _call(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION_QUESTION)
    if version < 1:
        return False
    writes = _WRITES | sum(bit for since, bit in _LATER_WRITES.items() if version >= since)
    rules = _call(_LANDLOCK_CREATE, *_sized(_wanted(version, writes)), 0)
    if rules < 0:
        return False
    try:
        _permit(rules, "/dev/null", writes & (_WRITE_FILE | _TRUNCATE))
        if folder:
            _permit(rules, folder, writes)
        return _call(_LANDLOCK_RESTRICT, rules, 0) == 0
    finally:
        os.close(rules)


def _wanted(version: int, writes: int) -> bytes:
    if version < _SIGNALS_SINCE:
        return struct.pack("Q", writes)
    return struct.pack("QQQ", writes, 0, _SIGNALS_TO_OTHERS)


def _sized(data: bytes) -> tuple[bytes, ctypes.c_size_t]:
    return data, ctypes.c_size_t(len(data))


def _permit(rules: int, path: str, accesses: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_LANDLOCK_ADD, rules, _LANDLOCK_PATH_BENEATH, struct.pack("=Qi", accesses, place), 0)
    finally:
        os.close(place)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)


def _call(number: int, *arguments: object) -> int:
    return int(_libc.syscall(number, *arguments))
