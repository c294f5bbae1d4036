"""The sockets inside at which everything ends that the program sends. They are opened inside and handed out."""

import os
import socket
from dataclasses import dataclass
from typing import Final

from . import kernel
from .network import DOOR_PORT, HELD, OURS, OWN_IPV4, OWN_IPV6, RELEASED

__all__ = ("Doors", "Side", "flow_socket", "open_doors", "receive_doors", "send_doors")

BACKLOG: Final = 4096
BUFFER: Final = 4 << 20
"""Octets for the datagrams that wait at the socket for all."""

IP_RECVORIGDSTADDR: Final = 20
IPV6_RECVORIGDSTADDR: Final = 74
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_SO_MARK: Final = 36
_ETH_P_ALL: Final = 3

# Of all packets on the interface: those that arrive (each is seen twice) and bear the mark.
_ANCILLARY: Final = 0xFFFFF000
_FILTER: Final = [
    (0x20, 0, 0, _ANCILLARY + 4),  # the packet's type
    (0x15, 0, 3, 0),  # PACKET_HOST
    (0x20, 0, 0, _ANCILLARY + 20),  # its mark
    (0x15, 0, 1, HELD),
    (0x06, 0, 0, 256),
    (0x06, 0, 0, 0),
]


@dataclass(frozen=True)
class Side:
    """The sockets of one family."""

    streams: socket.socket
    """Listens for captured connections."""
    datagrams: socket.socket
    """Gets the first datagrams of captured flows."""
    questions: socket.socket
    """Gets what is asked of any name server."""
    long_questions: socket.socket
    """Listens for the same over TCP."""
    raw: socket.socket
    """Takes packets with their headers."""


_SOCKETS_OF_A_SIDE: Final = 5


@dataclass(frozen=True)
class Doors:
    """All of them, and what else the outside must have of the inside."""

    sides: tuple[Side, ...]
    """IPv4; IPv6, if the kernel has it."""
    gate: socket.socket | None
    """Sees each SYN that is held back; None: nothing is."""
    network: int
    """A descriptor of the network namespace."""
    end: int
    """A descriptor that is readable when the program and all its children have ended."""


def open_gate() -> socket.socket:
    """The packet socket, in the network namespace of this thread. Raises OSError."""
    gate = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        kernel.attach_filter(gate, _FILTER)
        gate.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        gate.bind(("lo", _ETH_P_ALL))
        gate.setblocking(False)
    except OSError:
        gate.close()
        raise
    return gate


def open_doors(*, ipv6: bool, held: bool, end: int) -> Doors:
    """In the network namespace of this thread. Raises OSError."""
    families = [socket.AF_INET, socket.AF_INET6] if ipv6 else [socket.AF_INET]
    sides = tuple(_open_side(family) for family in families)
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return Doors(sides, open_gate() if held else None, network, end)


def send_doors(channel: socket.socket, doors: Doors) -> None:
    """Hands them to the process at the other end of a unix socket. Raises OSError."""
    sockets = [sock for side in doors.sides for sock in vars(side).values()]
    fds = [doors.network, doors.end, *(sock.fileno() for sock in sockets)]
    if doors.gate is not None:
        fds.append(doors.gate.fileno())
    socket.send_fds(channel, [bytes((len(doors.sides), doors.gate is not None))], fds)


def receive_doors(channel: socket.socket) -> Doors | None:
    """The other half; None if the sender ended without. Raises OSError."""
    data, fds, _, _ = socket.recv_fds(channel, 2, 3 + 2 * _SOCKETS_OF_A_SIDE)
    if not data:
        return None
    for fd in fds:
        os.set_inheritable(fd, False)
    network, end, *rest = fds
    sockets = [socket.socket(fileno=fd) for fd in rest]
    for sock in sockets:
        sock.setblocking(False)
    parts = [sockets[start : start + _SOCKETS_OF_A_SIDE] for start in range(0, len(sockets), _SOCKETS_OF_A_SIDE)]
    sides = tuple(Side(*part) for part in parts[: data[0]])
    return Doors(sides, sockets[-1] if data[1] else None, network, end)


def flow_socket(place: tuple[str, int], peer: tuple[str, int], buffer: int) -> socket.SocketType:
    """A socket that has a target's place and talks to a program's: the kernel gives it what the program sends there.
    In the network namespace of this thread. Raises OSError."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    sock = socket.SocketType(int(family), int(socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others talk to the same place
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        _transparent(sock, family)
        sock.bind(place)
        sock.connect(peer)
    except OSError:
        sock.close()
        raise
    return sock


# --- private ---


def _open_side(family: int) -> Side:
    own = (OWN_IPV6 if family == socket.AF_INET6 else OWN_IPV4, DOOR_PORT)
    everywhere = ("::" if family == socket.AF_INET6 else "0.0.0.0", 53)  # noqa: S104  # all of it is inside
    streams, long_questions = (_opened(family, socket.SOCK_STREAM) for _ in range(2))
    datagrams, questions = (_opened(family, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (streams, datagrams, questions):
        _transparent(sock, family)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    if family == socket.AF_INET6:
        datagrams.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
        questions.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        datagrams.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
        questions.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    for sock, place in ((streams, own), (datagrams, own), (questions, everywhere), (long_questions, everywhere)):
        sock.bind(place)
    for listener in (streams, long_questions):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # urgent data is ordinary data
        listener.listen(BACKLOG)
    streams.setsockopt(socket.SOL_SOCKET, _SO_MARK, OURS)  # which those that it accepts inherit
    raw = _opened(family, socket.SOCK_RAW, socket.IPPROTO_RAW)  # which means: with headers
    raw.setsockopt(socket.SOL_SOCKET, _SO_MARK, RELEASED)
    return Side(streams, datagrams, questions, long_questions, raw)


_IP_PKTINFO: Final = 8


def _opened(family: int, kind: int, protocol: int = 0) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    if family == socket.AF_INET6 and kind != socket.SOCK_RAW:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    return sock


def _transparent(sock: socket.SocketType, family: int) -> None:
    """For addresses that are not ours in the eyes of the kernel."""
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
