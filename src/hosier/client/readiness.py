"""Waits for sockets: with poll, or with select where the system has no poll (Windows)."""

import errno
import os
import select
import socket
from collections.abc import Callable, Collection
from typing import Final

__all__ = ("is_readable", "readable_of", "wait_for_either", "when_readable", "when_writable")

Wait = Callable[[float], object]
"""Waits for so many milliseconds at most; whether the socket is ready."""

_HAS_POLL: Final = hasattr(select, "poll")

_GLANCE: Final = 1.0
"""Seconds between looks at what select does not tell of."""


def when_readable(sock: socket.socket) -> Wait:
    """For data, an end or an error."""
    if not _HAS_POLL:
        return lambda milliseconds: select.select([sock], [], [], milliseconds / 1000)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def when_writable(sock: socket.socket) -> Wait:
    """For room, or for the outcome of a connect; a failed one is what Windows calls an exception."""
    if not _HAS_POLL:
        return lambda milliseconds: any(select.select([], [sock], [sock], milliseconds / 1000)[1:])
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return poll.poll


def is_readable(sock: socket.socket) -> bool:
    """Whether there is something to read now: data, an end or an error."""
    return bool(when_readable(sock)(0))


def readable_of(socks: Collection[socket.socket], seconds: float | None) -> list[socket.socket]:
    """Those that have something to read, as soon as one has; none, if so many seconds have passed. None: no limit."""
    if not _HAS_POLL:
        return select.select(socks, [], [], seconds)[0]
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    ready = dict(poll.poll(None if seconds is None else seconds * 1000))
    return [sock for sock in socks if sock.fileno() in ready]


def wait_for_either(
    reads: Collection[socket.socket], writes: Collection[socket.socket], *, whole: socket.socket | None = None
) -> None:
    """Until one can be read, or one can be written to, however long that takes.

    Raises ConnectionAbortedError if ``whole`` is broken meanwhile, which may be waited for otherwise or not at all.
    """
    if not _HAS_POLL:
        _select_either(reads, writes, whole)
        return
    poll = select.poll()
    # Not for nothing: of a socket that has ended the system tells that again and again.
    for sock in {*reads, *writes, *([] if whole is None else [whole])}:
        poll.register(sock, select.POLLIN * (sock in reads) | select.POLLOUT * (sock in writes))
    found = dict(poll.poll())
    if whole is not None and found.get(whole.fileno(), 0) & (select.POLLERR | select.POLLHUP):
        raise _broken()


def _select_either(
    reads: Collection[socket.socket], writes: Collection[socket.socket], whole: socket.socket | None
) -> None:
    """Select says of a broken socket that it is ready, and nothing of one that is not waited for."""
    watched = [] if whole is None else [whole]
    while True:
        ready = any(select.select(reads, writes, watched, None if whole is None else _GLANCE))
        if whole is not None and whole.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise _broken()
        if ready:
            return


def _broken() -> ConnectionAbortedError:
    return ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
