"""Calls into the kernel that Python 3.11 has no words for. Each raises OSError."""

import ctypes
import os
import struct
from functools import cache
from socket import SOL_SOCKET, SocketType
from typing import Any, Final

__all__ = (
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWUSER",
    "MS_BIND",
    "MS_REC",
    "MS_SLAVE",
    "attach_filter",
    "mount",
    "name_process",
    "setns",
    "unmount",
    "unshare",
    "watch_until_unmounted",
)

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SLAVE: Final = 0x80000

_MNT_DETACH: Final = 2
_IN_CLOEXEC: Final = 0o2000000
_IN_UNMOUNT: Final = 0x2000
_PR_SET_NAME: Final = 15
_ARG_START: Final = 48
_ARG_END: Final = 49
_SO_ATTACH_FILTER: Final = 26


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(kinds: int) -> None:
    """Puts this process (with CLONE_NEWUSER) or this thread into new namespaces."""
    _checked(_libc().unshare(kinds), "unshare")


def setns(fd: int, kind: int) -> None:
    """Puts this thread into the namespace that a descriptor stands for."""
    _checked(_libc().setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() if text else None for text in (source, target, kind)]
    _checked(_libc().mount(*texts, ctypes.c_ulong(flags), options.encode() if options else None), f"mount {target}")


def unmount(target: str) -> None:
    """Takes a mount out of sight; what is still used of it lives on."""
    _checked(_libc().umount2(target.encode(), _MNT_DETACH), f"unmount {target}")


def watch_until_unmounted(path: str) -> int:
    """A descriptor that is readable once the file system of the path is mounted nowhere any more. It does not keep the
    file system alive."""
    fd = _checked(_libc().inotify_init1(_IN_CLOEXEC), "inotify_init1")
    try:
        _checked(_libc().inotify_add_watch(fd, path.encode(), _IN_UNMOUNT), f"watch {path}")
    except OSError:
        os.close(fd)
        raise
    return fd


def name_process(name: str) -> None:
    """What ``ps`` shows: the command's name, at most 15 octets, and the same in the place of the arguments, which may
    hold a password and are for everybody to see."""
    _libc().prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()  # from the third one on (proc_pid_stat(5))
    start, end = (int(fields[number - 3]) for number in (_ARG_START, _ARG_END))
    if end > start:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, name.encode(), min(len(name.encode()), end - start - 1))


def attach_filter(sock: SocketType, program: list[tuple[int, int, int, int]]) -> None:
    """Lets a socket see only what a program of the classic BPF accepts: code, jump if true, jump if false, operand."""
    octets = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(octets)))
