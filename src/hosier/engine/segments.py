"""Runs of datagrams in one call: UDP_SEGMENT when sending, UDP_GRO when receiving.

Python has no sendmmsg, but the kernel cuts one large buffer into datagrams of equal size, the last of which may be
shorter, and joins those that arrive in a row. That works only where kernel, route and device agree, so a run that is
refused is sent again one by one, and its lane does so for a while.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from .udp import DatagramSocket

__all__ = (
    "RUN_DATAGRAMS",
    "RUN_OCTETS",
    "ClosedLane",
    "Cut",
    "MOST_OCTETS",
    "Lane",
    "PeerLane",
    "SocketLane",
    "Traffic",
    "can_segment",
    "join_arrivals",
    "part_arrivals",
    "segment_option",
    "segment_size",
)

RUN_DATAGRAMS: Final = 64
"""Linux takes no more of them in one call (UDP_MAX_SEGMENTS of its older versions)."""

RUN_OCTETS: Final = 65_000
"""All of a run together, headers of UDP and IP included, must fit one packet of IP."""

MOST_OCTETS: Final = 65536
"""Of one datagram, or of those that were joined."""

MOST_JOINED: Final = 128
"""Linux joins 64 and cuts into 128."""

KEPT_PARTS: Final = 4

REFUSED_FOR: Final = 30.0
"""Seconds for which a lane sends one by one after the route or device refused a run."""

FULL_FOR: Final = 1.0
"""The same after the kernel had no room for one."""

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104

_ROUTE: Final = frozenset((errno.EMSGSIZE, errno.EINVAL, errno.EIO, errno.EPERM))
_ROOM: Final = frozenset((errno.EAGAIN, errno.ENOBUFS))

_uint16: Final = Struct("=H")
_int: Final = Struct("=i")

Pieces = Sequence[memoryview | bytes]


class Traffic:
    """What went one way: datagrams, octets of payload, and what was dropped for which reason."""

    __slots__ = ("datagrams", "dropped", "moved")

    def __init__(self) -> None:
        self.datagrams = 0
        self.moved = 0
        self.dropped: dict[str, int] = {}

    @property
    def payload(self) -> int:
        """Octets of payload; nothing else counts as moved."""
        return self.moved

    def drop(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count


class Lane(Protocol):
    """A way to one place."""

    @property
    def place(self) -> tuple[Any, ...] | None:
        """Where it leads, as a sockaddr; None: nowhere, or wherever its socket is connected to."""

    def send(self, pieces: Pieces, width: int) -> None:
        """Sends a run of datagrams, each of ``width`` pieces; all have the size of the first, the last may be shorter.

        What cannot be sent is counted as dropped; nothing is raised, and nothing is kept of the pieces afterwards.
        """


class PeerLane(Lane, Protocol):
    """A way to one peer, wherever that is now."""

    place: Any


class ClosedLane:
    """The way to what must not or cannot be reached: everything is dropped for the same reason."""

    __slots__ = ("_reason", "_tally")

    place = None

    def __init__(self, traffic: Traffic, reason: str) -> None:
        self._tally = traffic
        self._reason = reason

    def send(self, pieces: Pieces, width: int) -> None:
        self._tally.drop(self._reason, len(pieces) // width)


class SocketLane:
    """The way to an address through a socket; without one, to the peer that the socket is connected to."""

    __slots__ = ("_runs_after", "_socket", "_tally", "place")

    def __init__(self, sock: "DatagramSocket", place: tuple[Any, ...] | None, traffic: Traffic) -> None:
        self._socket = sock
        self._tally = traffic
        self._runs_after = 0.0 if can_segment() else float("inf")
        self.place = place

    def send(self, pieces: Pieces, width: int) -> None:
        count = len(pieces) // width
        sock, traffic = self._socket.sock, self._tally
        try:
            if count > 1:
                if self._runs_after and self._runs_after > self._socket.engine.now:
                    self._send_singly(pieces, width)
                    return
                size = len(pieces[0]) if width == 1 else sum(map(len, pieces[:width]))
                sock.sendmsg(pieces, segment_option(size), 0, self.place)
            elif width == 1 and self.place is not None:
                sock.sendto(pieces[0], self.place)
            else:
                sock.sendmsg(pieces, (), 0, self.place)
        except OSError as error:
            self._remember(error)
            self._send_singly(pieces, width)
            return
        traffic.datagrams += count
        traffic.moved += len(pieces[width - 1]) * (count - 1) + len(pieces[-1])

    # --- private ---

    def _remember(self, error: OSError) -> None:
        now = self._socket.engine.now
        if error.errno in _ROUTE:
            self._runs_after = now + REFUSED_FOR
        elif error.errno in _ROOM:
            self._runs_after = now + FULL_FOR

    def _send_singly(self, pieces: Pieces, width: int) -> None:
        traffic = self._tally
        for start in range(0, len(pieces), width):
            datagram = pieces[start : start + width]
            reason = self._send_one(datagram)
            if reason:
                traffic.drop(reason)
            else:
                traffic.datagrams += 1
                traffic.moved += len(datagram[-1])

    def _send_one(self, datagram: Pieces) -> str:
        """Why it could not be sent; empty if it was."""
        for last_try in (False, True):
            try:
                self._socket.sock.sendmsg(datagram, (), 0, self.place)
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return "too large"
                if error.errno in _ROOM:
                    return "no room"
                # It may be what ICMP said of an earlier datagram, to another place even: that is told once.
                if last_try or self._socket.fd < 0:
                    return "unreachable"
            else:
                return ""
        raise AssertionError  # the second try returns


class Cut:
    """A buffer cut into datagrams of one size. Made once for each size, so that a run costs no object per datagram."""

    __slots__ = ("_buffer", "_parts", "size", "views")

    def __init__(self, buffer: memoryview, size: int) -> None:
        self._buffer = buffer
        self._parts: dict[int, tuple[list[memoryview], list[memoryview]]] = {}
        self.size = size
        self.views = [buffer[start:] for start in range(0, min(MOST_OCTETS, MOST_JOINED * size), size)]
        """Each begins with a datagram and goes on beyond its end."""

    def sizes(self, octets: int) -> list[int]:
        """What the datagrams in so many octets have; all but the last are alike."""
        sizes = [self.size] * (octets // self.size)
        if rest := octets % self.size:
            sizes.append(rest)
        return sizes

    def parts(self, octets: int, header: int) -> tuple[list[memoryview], list[memoryview]]:
        """The headers of the datagrams in so many octets, if each has one of that size, and what follows them."""
        parts = self._parts.get(header)
        if parts is None:
            if len(self._parts) >= KEPT_PARTS:
                self._parts.clear()
            size = self.size
            parts = self._parts[header] = (
                [view[:header] for view in self.views],
                [view[header:size] for view in self.views],
            )
        heads, bodies = parts
        count, rest = divmod(octets, self.size)
        bodies = bodies[:count]
        if rest:
            bodies.append(self.views[count][header:rest])
            count += 1
        return heads[:count], bodies


# --- what the kernel can do ---

_can: dict[int, bool] = {}


def can_segment() -> bool:
    """Whether this system cuts runs apart; a kernel that does not know the option would send one large datagram."""
    return _supports(_UDP_SEGMENT)


def join_arrivals(sock: socket.SocketType) -> bool:
    """Has the kernel join datagrams of one sender that arrive in a row; False if it cannot."""
    if not _supports(_UDP_GRO):
        return False
    with suppress(OSError):
        sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        return True
    return False


def part_arrivals(sock: socket.SocketType) -> bool:
    """Has it no longer join them; False: not now. Only for a socket for which nothing was joined and of which nothing
    is to be read: without the option, what is queued joined would be read as one datagram."""
    sock.setsockopt(_SOL_UDP, _UDP_GRO, 0)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass  # of an earlier datagram; it says nothing of those that wait
    sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)  # something came in between: it is still told apart
    return False


def segment_size(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The size of the datagrams that were joined; 0: it is a single one."""
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            return int(_int.unpack(data)[0])
    return 0


def _supports(option: int) -> bool:
    known = _can.get(option)
    if known is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.setsockopt(_SOL_UDP, option, 0)
            except OSError:
                known = False
            else:
                known = True
        _can[option] = known
    return known


_options: dict[int, tuple[tuple[int, int, bytes], ...]] = {}


def segment_option(size: int) -> tuple[tuple[int, int, bytes], ...]:
    """The ancillary data that tells the size; there are at most as many as sizes of datagrams."""
    option = _options.get(size)
    if option is None:
        option = _options[size] = ((_SOL_UDP, _UDP_SEGMENT, _uint16.pack(size)),)
    return option
