"""How much the machine and the process carry."""

import contextlib
import os

from ..policy.limits import room_for

__all__ = ("processors", "raise_descriptor_limit", "room")

_ELSEWHERE = 8192, 1 << 30  # descriptors and octets where the system does not tell


def processors() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def raise_descriptor_limit() -> None:
    """Takes as many open files as this process may: each session needs two, and the soft limit is often 1024."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room(workers: int = 1) -> int:
    """Sessions that so many processes like this one can carry."""
    return room_for(_descriptors(), _memory(), workers)


def _descriptors() -> int:
    try:
        import resource
    except ImportError:
        return _ELSEWHERE[0]
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ELSEWHERE[0] if soft == resource.RLIM_INFINITY else soft


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _ELSEWHERE[1]
