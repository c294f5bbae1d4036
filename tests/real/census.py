"""What a process holds, as the kernel counts it."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Census(NamedTuple):
    descriptors: int
    sockets: int
    pipes: int
    threads: int
    resident: int  # bytes


def census(pid: int) -> Census:
    kinds: list[str] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kinds.append(os.readlink(entry).partition(":")[0])
        except FileNotFoundError:  # closed while we looked
            continue
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return Census(len(kinds), kinds.count("socket"), kinds.count("pipe"), threads, pages * resource.getpagesize())


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[int]:
    """Allow this process, and those it starts meanwhile, this many open files, or as many as the system will give."""
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), max(hard, count)))
    except (ValueError, OSError):  # only who may (CAP_SYS_RESOURCE) can go past the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def peers_of(pid: int) -> set[str]:
    """The IPv4 addresses that a process has connections with."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kind, _, inode = os.readlink(entry).partition(":")
            if kind == "socket":
                inodes.add(inode.strip("[]"))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    addresses = [bytes.fromhex(row[2].partition(":")[0]) for row in rows if row[9] in inodes]
    return {socket.inet_ntoa(octets[:: 1 if sys.byteorder == "big" else -1]) for octets in addresses}
