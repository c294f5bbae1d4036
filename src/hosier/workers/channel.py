"""What supervisor and worker say to each other, over a pair of sockets that nobody else has.

First the assignment, which holds the users' passwords and so must not stand on a command line; then words of one octet,
some of which have a value behind them. When one side dies, the other finds the end of the stream: no worker outlives
its supervisor unnoticed.
"""

import asyncio
import json
import pickle
import socket
import struct
from typing import Any, Final, NamedTuple

from ..engine.egress import MakeEgress
from ..observe.destinations import STDOUT, Destination
from ..server.settings import ServerSettings
from .records import RecordPlan
from .shared import TablePlan

__all__ = (
    "ABANDON",
    "DRAIN",
    "END",
    "PREPARE",
    "READY",
    "REOPEN",
    "SNAPSHOT",
    "SWITCH",
    "Assignment",
    "packed",
    "packed_settings",
    "receive_assignment",
    "receive_octets",
    "receive_value",
    "value",
)

DRAIN: Final = b"d"
"""To the worker: accept no more, let the sessions end."""

END: Final = b"e"
"""To the worker: end them now."""

READY: Final = b"r"
"""From the worker: it accepts."""

REOPEN: Final = b"o"
"""To the worker: open the log's file anew."""

SNAPSHOT: Final = b"s"
"""To the worker: who is with you? From the worker: what follows, as a value."""

PREPARE: Final = b"p"
"""To the worker: other settings, pickled, follow. From the worker: what is wrong with them, as a value."""

SWITCH: Final = b"w"
"""To the worker: they hold from now on. From the worker: how many sessions that has ended, or in words why it could not
change, as a value."""

ABANDON: Final = b"a"
"""To the worker: they never will."""

_SIZE: Final = struct.Struct("!I")


class Assignment(NamedTuple):
    """All that a worker is told at its start."""

    settings: ServerSettings
    sockets: tuple[int, ...]
    """The descriptors on which it is to accept."""

    table: TablePlan
    """Where sessions are counted for their caps."""

    counts: TablePlan
    """Where everything is counted for the metrics."""

    purses: TablePlan
    """Where the numbers of budgets stand."""

    memory: RecordPlan
    """What they remember together of those who authenticate."""

    number: int
    """Which of the workers it is, from 0."""

    log: str
    uvloop: bool
    verbose: bool
    destination: Destination = STDOUT
    """Of the access log."""

    egress: MakeEgress | None = None
    """What makes the way to targets; None: straight out."""

    watched: bool = True
    """Whether anybody wants the metrics."""

    doors: int = -1
    """The descriptor of a socket on which further ones come that it is to accept on; -1: none will."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that are passed on with it."""
        doors = (self.doors,) if self.doors >= 0 else ()
        return *self.sockets, self.table.fd, self.counts.fd, self.purses.fd, self.memory.fd, *doors


def packed(assignment: Assignment) -> bytes:
    """As it travels."""
    return _packed(pickle.dumps(assignment))


def value(content: Any) -> bytes:
    """Plain data as it travels behind a word."""
    return _packed(json.dumps(content).encode())


async def receive_value(stream: asyncio.StreamReader) -> Any:
    """What ``value`` has packed. Raises EOFError if the other side died meanwhile."""
    return json.loads(await receive_octets(stream))


def packed_settings(settings: ServerSettings, sockets: int) -> bytes:
    """As they travel behind a word, with the number of descriptors that are on their own way."""
    return _packed(pickle.dumps((settings, sockets)))


async def receive_octets(stream: asyncio.StreamReader) -> bytes:
    """What is packed behind a word. Raises EOFError if the other side died meanwhile."""
    (size,) = _SIZE.unpack(await stream.readexactly(_SIZE.size))
    return await stream.readexactly(size)


def receive_assignment(channel: socket.socket) -> Assignment | None:
    """Waits for it; None if the supervisor died first."""
    head = _exactly(channel, _SIZE.size)
    data = head and _exactly(channel, _SIZE.unpack(head)[0])
    if not data:
        return None
    assignment = pickle.loads(data)  # noqa: S301  # from the process that started us, and from nobody else
    assert isinstance(assignment, Assignment)
    return assignment


def _packed(data: bytes) -> bytes:
    return _SIZE.pack(len(data)) + data


def _exactly(channel: socket.socket, size: int) -> bytes:
    """That many octets; none at all if the stream ends before."""
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(min(size - len(data), 1 << 16))
        if not piece:
            return b""
        data += piece
    return bytes(data)
