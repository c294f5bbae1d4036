"""What supervisor and worker say to each other, over a pair of sockets that nobody else has.

First the assignment, which holds the users' passwords and so must not stand on a command line; then single octets. When
one side dies, the other finds the end of the stream: no worker outlives its supervisor unnoticed.
"""

import pickle
import socket
import struct
from typing import Final, NamedTuple

from ..server.settings import ServerSettings
from .shared import TablePlan

__all__ = ("DRAIN", "END", "READY", "Assignment", "packed", "receive_assignment")

DRAIN: Final = b"d"
"""To the worker: accept no more, let the sessions end."""

END: Final = b"e"
"""To the worker: end them now."""

READY: Final = b"r"
"""From the worker: it accepts."""

_SIZE: Final = struct.Struct("!I")


class Assignment(NamedTuple):
    """All that a worker is told at its start."""

    settings: ServerSettings
    sockets: tuple[int, ...]
    """The descriptors on which it is to accept."""

    table: TablePlan
    number: int
    """Which of the workers it is, from 0."""

    log: str
    uvloop: bool
    verbose: bool


def packed(assignment: Assignment) -> bytes:
    """As it travels."""
    data = pickle.dumps(assignment)
    return _SIZE.pack(len(data)) + data


def receive_assignment(channel: socket.socket) -> Assignment | None:
    """Waits for it; None if the supervisor died first."""
    head = _exactly(channel, _SIZE.size)
    data = head and _exactly(channel, _SIZE.unpack(head)[0])
    if not data:
        return None
    assignment = pickle.loads(data)  # noqa: S301  # from the process that started us, and from nobody else
    assert isinstance(assignment, Assignment)
    return assignment


def _exactly(channel: socket.socket, size: int) -> bytes:
    """That many octets; none at all if the stream ends before."""
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(min(size - len(data), 1 << 16))
        if not piece:
            return b""
        data += piece
    return bytes(data)
