"""A UDP socket in the engine: it hands on what has arrived in batches, without an object per datagram.

The octets lie in a buffer that all sockets of a thread share, and mean nothing after the call that got them.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from socket import SocketType
from typing import TYPE_CHECKING, Any, Final

from ..protocol.address import IPV4, Address
from .events import EPOLLERR, EPOLLIN
from .joining import BUSY, DRAIN_BATCHES, Joining
from .ports import PortRange
from .segments import MOST_OCTETS, Cut, Traffic, segment_size

if TYPE_CHECKING:
    from .endpoint import Owner
    from .poller import Engine

__all__ = ("AT_ONCE", "DatagramSocket", "Sizes", "Sockaddrs", "Views", "datagram_socket")

AT_ONCE: Final = 48
"""Datagrams that are looked at together."""

RUNS_AT_ONCE: Final = 8
"""Of those that the kernel has joined."""

_SLOT: Final = MOST_OCTETS + 512  # the largest datagram, and room for who looks at a header that is not all there
_ANCILLARY: Final = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0
_KEPT_CUTS: Final = 32

_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_MSG_ERRQUEUE: Final = int(getattr(socket, "MSG_ERRQUEUE", 0))
_ICMP_ORIGINS: Final = frozenset((2, 3))  # SO_EE_ORIGIN_ICMP, _ICMP6

Views = Sequence[memoryview]
"""Each begins with a datagram and goes on beyond its end."""

Sizes = Sequence[int]
Sockaddrs = Sequence[tuple[Any, ...]]


class _Slots(threading.local):
    """The buffer: each thread has its own, made when it is first needed. Untouched pages cost nothing."""

    def __init__(self) -> None:
        memory = memoryview(bytearray(AT_ONCE * _SLOT))
        self.views = tuple(memory[start : start + _SLOT] for start in range(0, len(memory), _SLOT))
        self._cuts: dict[tuple[int, int], Cut] = {}

    def cut(self, number: int, size: int) -> Cut:
        """A slot cut into datagrams of one size."""
        cut = self._cuts.get((number, size))
        if cut is None:
            if len(self._cuts) >= _KEPT_CUTS:
                self._cuts.clear()
            cut = self._cuts[number, size] = Cut(self.views[number], size)
        return cut


_slots: Final = _Slots()


class _GatheringSocket(SocketType):
    """With what Windows' sockets lack: a datagram of several pieces is put together first."""

    def sendmsg(self, pieces: Iterable[bytes | memoryview], ancillary: object, flags: int, place: Any) -> int:  # type: ignore[override]
        octets = b"".join(pieces)
        return self.send(octets, flags) if place is None else self.sendto(octets, flags, place)


_Socket: Final = SocketType if hasattr(SocketType, "sendmsg") else _GatheringSocket


def datagram_socket(address: Address, *, scope: int = 0, buffer: int, ports: PortRange | None = None) -> SocketType:
    """A bound, non-blocking UDP socket on the address. Raises OSError.

    Args:
        address: its port is not looked at.
        scope: the interface that a link-local address belongs to.
        buffer: octets for each direction, as far as the system allows.
        ports: those to choose from; None: any free one.
    """
    family = socket.AF_INET if address.kind == IPV4 else socket.AF_INET6
    sock = _Socket(int(family), int(socket.SOCK_DGRAM))
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        if _MSG_ERRQUEUE:
            four = family == socket.AF_INET
            level = socket.IPPROTO_IP if four else socket.IPPROTO_IPV6
            sock.setsockopt(level, _IP_RECVERR if four else _IPV6_RECVERR, 1)
        _bind(sock, address.host, (0, scope) if family == socket.AF_INET6 else (), ports)
    except OSError:
        sock.close()
        raise
    return sock


def _bind(sock: SocketType, host: str, flow_and_scope: tuple[int, ...], ports: PortRange | None) -> None:
    for port in (0,) if ports is None else ports.from_random_start():
        try:
            sock.bind((host, port, *flow_and_scope))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise OSError(errno.EADDRINUSE, f"no free port in {ports}" if ports else os.strerror(errno.EADDRINUSE))


def _not_taken(*_: object) -> bool:
    return False


class DatagramSocket:
    """Calls ``from_anyone(views, sizes, sockaddrs)`` for each batch, and once it is connected
    ``from_peer(views, sizes)``: the kernel then drops what others send, and nobody need look who sent what.

    Datagrams that the kernel has joined are offered to ``joined_run(cut, octets, sockaddr)`` first, except while it
    must be looked at who sent what to a socket that is to be connected; what that does not take (False) is handed on
    like the others.

    What ICMP says is counted in ``traffic`` and is otherwise without consequence.
    """

    __slots__ = (
        "_burst",
        "_joining",
        "_only_peer",
        "_queue_checked",
        "engine",
        "fd",
        "from_anyone",
        "from_peer",
        "joined_run",
        "owner",
        "sock",
        "traffic",
    )

    def __init__(
        self,
        engine: "Engine",
        sock: SocketType,
        traffic: Traffic,
        from_anyone: Callable[[Views, Sizes, Sockaddrs], None],
        from_peer: Callable[[Views, Sizes], None] | None = None,
        joined_run: Callable[[Cut, int, tuple[Any, ...]], bool] = _not_taken,
    ) -> None:
        self.engine = engine
        self.sock = sock
        self.fd = sock.fileno()
        self.traffic = traffic
        self.from_anyone = from_anyone
        self.from_peer = from_peer
        self.joined_run = joined_run
        self.owner: Owner = self
        self._burst = 1
        self._joining = Joining(sock)
        self._only_peer = False
        self._queue_checked = False
        engine.watch(self.fd, self, EPOLLIN)

    def __repr__(self) -> str:
        return f"<DatagramSocket fd={self.fd}>"

    def connect(self, sockaddr: tuple[Any, ...]) -> None:
        """Takes datagrams from nobody else from now on. Raises OSError."""
        self.sock.connect(sockaddr)
        self._only_peer = True
        self._burst = AT_ONCE  # what is queued already may be anybody's: see its end soon

    def close(self) -> None:
        """Closes; a second time is harmless."""
        if self.fd >= 0:
            self.engine.bury(self.fd, self.sock)
            self.fd = -1
            del self.from_anyone, self.from_peer, self.joined_run, self.owner

    def on_edge(self, _: Any, events: int) -> None:
        if events & EPOLLERR:
            self._count_errors()
        if not events & EPOLLIN:
            return
        joining = self._joining
        if joining.on:
            self._receive_joined()
            if joining.drains:
                self._drain()
        elif self._queue_checked:
            self._receive_from_peer()
        else:
            self._receive_from_anyone()

    # --- private ---

    def _receive_from_peer(self) -> None:
        recv = self.sock.recv_into
        views = _slots.views
        sizes: list[int] = []
        take = sizes.append
        try:
            for slot in views[: self._burst]:
                take(recv(slot))
        except BlockingIOError:
            self._burst = len(sizes) or 1
        except OSError:
            pass  # what ICMP said is counted elsewhere
        else:
            self._burst = min(self._burst * 2, AT_ONCE)
        if len(sizes) >= BUSY:
            self._joining.count_busy(len(sizes))
        self.from_peer(views, sizes)  # type: ignore[misc]  # who connects it has set it

    def _receive_from_anyone(self) -> None:
        recv = self.sock.recvfrom_into
        views = _slots.views
        sizes: list[int] = []
        sockaddrs: list[tuple[Any, ...]] = []
        try:
            for slot in views[: self._burst]:
                size, sockaddr = recv(slot)
                sizes.append(size)
                sockaddrs.append(sockaddr)
        except BlockingIOError:
            self._burst = len(sizes) or 1
            self._queue_checked = self._only_peer
        except OSError:
            pass
        else:
            self._burst = min(self._burst * 2, AT_ONCE)
        if len(sizes) >= BUSY:
            self._joining.count_busy(len(sizes))
        self.from_anyone(views, sizes, sockaddrs)

    def _receive_joined(self) -> None:
        recv, slots, joining = self.sock.recvmsg_into, _slots, self._joining
        buffers = slots.views
        offer = self.from_peer is None or self._queue_checked
        views: list[memoryview] = []
        sizes: list[int] = []
        sockaddrs: list[tuple[Any, ...]] = []
        slot = count = runs = 0
        try:
            while count < self._burst and runs < RUNS_AT_ONCE:
                octets, ancillary, _, sockaddr = recv((buffers[slot],), _ANCILLARY)
                count += 1
                size = segment_size(ancillary) if ancillary else 0
                if 0 < size < octets:
                    runs += 1
                    joining.won = True
                    cut = slots.cut(slot, size)
                    if offer and not slot and self.joined_run(cut, octets, sockaddr):
                        continue  # its slot is free again
                    found = cut.sizes(octets)
                    views += cut.views[: len(found)]
                    sizes += found
                    sockaddrs += (sockaddr,) * len(found)
                else:
                    views.append(buffers[slot])
                    sizes.append(octets)
                    sockaddrs.append(sockaddr)
                slot += 1
        except BlockingIOError:
            self._burst = count or 1
            self._queue_checked = self._only_peer
            joining.was_dry()
        except OSError:
            pass
        else:
            self._burst = min(count * 2, AT_ONCE)
        if not slot:
            return
        joining.count_singles(slot)
        if self.from_peer is not None and offer:
            self.from_peer(views, sizes)
        else:
            self.from_anyone(views, sizes, sockaddrs)

    def _drain(self) -> None:
        self._joining.drains = False
        for _ in range(DRAIN_BATCHES):
            if not self._joining.on or self.fd < 0:
                return
            self._receive_joined()

    def _count_errors(self) -> None:
        try:
            for _ in range(AT_ONCE):
                ancillary = self.sock.recvmsg(0, 512, _MSG_ERRQUEUE)[1]
                if any(len(data) >= 5 and data[4] in _ICMP_ORIGINS for _, _, data in ancillary):
                    self.traffic.drop("icmp error")
        except OSError:
            pass
