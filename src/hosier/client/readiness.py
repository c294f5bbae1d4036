"""Waits for one socket: with poll, or with select where the system has no poll (Windows)."""

import select
import socket
from collections.abc import Callable
from typing import Final

__all__ = ("when_readable", "when_writable")

Wait = Callable[[float], object]
"""Waits for so many milliseconds at most; whether the socket is ready."""

_HAS_POLL: Final = hasattr(select, "poll")


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
