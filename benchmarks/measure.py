"""What a server costs: CPU of its whole process tree, its user memory, and the kernel's memory.

CPU is read from the CPU clocks that Linux keeps for every process: user and system time of all its threads, also of
those that have ended, in nanoseconds. Work that the kernel does for a process in its own time slice (on loopback that
includes the delivery of what it sends) counts; work done in other contexts does not. That is the same for every server.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PROCESS_CPU = 2  # CPUCLOCK_SCHED of a whole process, see clock_getcpuclockid(3)

# Slab caches that move for reasons of their own: sockets that wait for their end, and the caches of the file systems.
FOREIGN_CACHES = (
    "tw_sock",
    "inode_cache",
    "radix_tree",
    "buffer_head",
    "ext4",
    "btrfs",
    "xfs",
    "jbd2",
    "bio",
    "overlay",
)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third one (state) on; the second one may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """The process and its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
            except (OSError, IndexError):
                continue
    members = [root]
    for member in members:
        members += children.get(member, [])
    return members


def cpu_ns(root: int) -> int:
    """User and system time that the tree has used so far; children that were waited for count too, by the tick."""
    total = 0
    for pid in tree(root):
        try:
            total += time.clock_gettime_ns((~pid << 3) | PROCESS_CPU)
            reaped = _stat(pid)[13:15]
        except (OSError, IndexError):
            continue
        total += sum(map(int, reaped)) * TICK_NS
    return total


def user_memory(root: int) -> int:
    """Octets of user memory of the tree: proportional set size, so what processes share counts once."""
    total = 0
    for pid in tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def settle(seconds: float = 3.0) -> None:
    """Waits until the number of TCP sockets stands still, but not for ever: until what was closed is gone."""
    before, deadline = -1, time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = _sockets()["inuse"]
        if now == before:
            return
        before = now
        time.sleep(0.25)


def await_free_ports(most: int = 15_000, patience: float = 90.0) -> None:
    """Waits until few closed connections still hold their ports (TIME_WAIT, a minute each): with too many of them
    nobody can connect any more, and that is no server's fault."""
    deadline = time.monotonic() + patience
    while _sockets().get("tw", 0) > most and time.monotonic() < deadline:
        time.sleep(0.5)


def _sockets() -> dict[str, int]:
    """The line "TCP: inuse 5 orphan 0 tw 7 alloc 9 mem 1" of /proc/net/sockstat."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()[1:]
            return dict(zip(words[::2], map(int, words[1::2]), strict=True))
    return {"inuse": 0, "mem": 0}


def _shrink_caches() -> None:
    """Asks the slab caches to give back what is free, so that objects in use can be told from objects in reserve."""
    for cache in Path("/sys/kernel/slab").glob("*/shrink"):
        with suppress(OSError):
            cache.write_text("1")


def _meminfo() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def kernel_memory() -> int:
    """Octets of kernel memory of the whole machine that sessions and processes are made of. A best effort.

    Objects in use in the slab caches (sockets, files, epoll items, …), kernel stacks, page tables, and the pages of TCP
    queues. Whatever else the machine does in the meantime is in it too; so it is meant for differences between two
    moments that are close, over many sessions. Without root the caches cannot be read, and the coarser sum of all slabs
    is used.
    """
    memory = _meminfo()
    total = memory["KernelStack"] + memory["PageTables"] + memory.get("SecPageTables", 0)
    total += _sockets()["mem"] * os.sysconf("SC_PAGE_SIZE")
    _shrink_caches()
    try:
        caches = Path("/proc/slabinfo").read_text().splitlines()[2:]
    except OSError:
        return total + memory["Slab"]
    for line in caches:
        name, active, _, size = line.split()[:4]
        if name == "sock_inode_cache" or not any(foreign in name for foreign in FOREIGN_CACHES):
            total += int(active) * int(size)
    return total
