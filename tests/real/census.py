"""What a process holds, as the kernel counts it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
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
