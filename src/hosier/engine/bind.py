"""Waiting for one peer to connect to us: what BIND does straight out of this machine.

One listening socket for each family of the peer's addresses, all on one port. The first who connects is the one; the
sockets close behind it, so nobody can follow.
"""

import errno
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import repeat
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_V6ONLY,
    SO_OOBINLINE,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    SocketType,
)
from types import coroutine
from typing import TYPE_CHECKING, Final

from ..protocol.address import IPV4, IPV6, Address, address_of_socket, parse_address
from .dial import Departures
from .endpoint import ENDED, Endpoint
from .events import EPOLLIN
from .listener import OWN_PORT
from .ports import PortRange

if TYPE_CHECKING:
    from .poller import Engine
    from .task import Task

__all__ = ("Advertise", "PeerListener", "listen_for_peer", "local_address_towards")

ATTEMPTS: Final = 16
"""Ports of the kernel's choice that are tried when the other family's port is taken."""

BACKLOG: Final = 1  # one peer is expected; whoever else queues up is reset when the sockets close

SOMEWHERE: Final = {IPV4: parse_address("192.0.2.1", 9), IPV6: parse_address("2001:db8::1", 9)}
"""Nobody's addresses (RFC 5737, RFC 3849): the way to them is the way to anyone."""

# What accept() may say of a connection that broke while it waited in the queue; the next one may be whole.
_BROKEN: Final = frozenset(
    (
        *(errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),
    )
)

Advertise = Callable[[Address], Address]
"""Given an address of this machine, what the outside calls it."""


class PeerListener:
    """Listens from the moment it is made; ``await accept(control)`` once, or ``close()``."""

    __slots__ = ("_engine", "_expected", "_listening", "_task", "bound")

    def __init__(
        self, task: "Task", engine: "Engine", sockets: Sequence[SocketType], bound: Address, expected: Sequence[Address]
    ) -> None:
        """``expected``: who may come, whatever the port; nobody named: anyone. Takes the sockets over."""
        self.bound = bound
        """Where the peer is to connect, as the outside calls it."""
        self._task = task
        self._engine = engine
        self._expected = frozenset(address[:2] for address in expected)
        self._listening = [Endpoint(engine, sock, self) for sock in sockets]
        try:
            for endpoint in self._listening:
                endpoint.register()
        except OSError:
            self.close()
            raise

    def expects(self, peer: Address) -> bool:
        """Whether this is who was waited for. Only addresses are compared, never ports (S4-REQ-34)."""
        return not self._expected or peer[:2] in self._expected

    @coroutine
    def accept(self, control: Endpoint) -> Generator[None, None, tuple[Endpoint, Address] | None]:
        """The first who connects, and where from; None if the peer of ``control`` ends its stream before. Either way
        nobody else can connect afterwards.

        ``control`` is not read: what its peer sends meanwhile stays with the kernel. Raises OSError.
        """
        control.owner = self
        try:
            if not control.heard:
                control.register()
            while not control.seen & ENDED:
                if (arrival := self._arrival()) is not None:
                    return arrival
                self._task.waiting = self
                yield
        finally:
            control.owner = self._task
            self.close()
        return None

    def on_edge(self, endpoint: Endpoint, events: int) -> None:
        endpoint.seen |= events
        if self._task.waiting is self and (events & ENDED or endpoint in self._listening):
            self._task.resume()

    def close(self) -> None:
        """Nobody can connect any more; a second time is harmless."""
        for endpoint in self._listening:
            endpoint.close()

    # --- private ---

    def _arrival(self) -> tuple[Endpoint, Address] | None:
        for listening in self._listening:
            while listening.seen & EPOLLIN:
                try:
                    fd, sockaddr = listening.sock._accept()  # type: ignore[attr-defined]  # the raw accept
                except BlockingIOError:
                    listening.seen &= ~EPOLLIN
                except OSError as error:
                    if error.errno not in _BROKEN:
                        raise
                else:
                    sock = SocketType(listening.sock.family, SOCK_STREAM, 0, fd)
                    sock.setblocking(False)
                    return Endpoint(self._engine, sock, self._task), address_of_socket(sockaddr)
        return None


def listen_for_peer(
    task: "Task",
    engine: "Engine",
    peers: Sequence[Address],
    near: Address,
    *,
    advertise: Advertise = lambda local: local,
    ports: PortRange | None = None,
    sources: Departures | None = None,
) -> PeerListener:
    """Listens for one of the peers, in each family among them that the machine has; the first one's is told.

    Args:
        peers: whom to expect. Their port, if it is not 0, is tried first for listening. An unspecified address as the
            only one: anyone of its family.
        near: an address of this machine, told where anyone may come and it has the right family.
        ports: where to listen, if the port that was wished for is 0 or taken; None: any free port.
        sources: our address towards a peer, where that is settled.

    Raises OSError: ENETUNREACH or EHOSTUNREACH without a way to any peer, EAFNOSUPPORT without their family,
    EADDRINUSE without a free port.
    """
    anyone = not any(peers[0].octets)
    local = _local_addresses(peers, near, sources)
    settled = sources is not None and sources(peers[0]) is not None
    places = [peers[0]] if anyone and not settled else list(local.values())
    for port in _candidates(peers[0].port, ports):
        try:
            sockets = _listening_sockets(places, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            taken = sockets[0].getsockname()[1]
            bound = advertise(next(iter(local.values()))._replace(port=taken))
            return PeerListener(task, engine, sockets, bound, () if anyone else peers)
    raise OSError(errno.EADDRINUSE, f"no free port in {ports}" if ports else os.strerror(errno.EADDRINUSE))


def local_address_towards(peer: Address) -> Address:
    """Our own address on the way to another one, port 0; nothing is sent. Raises OSError if there is no way."""
    with closing(SocketType(_family(peer.kind), SOCK_DGRAM)) as probe:
        try:
            probe.connect((peer.host, peer.port or SOMEWHERE[peer.kind].port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:  # the family is there and switched off (catalogue 3.5)
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT)) from error
            raise
        return address_of_socket(probe.getsockname())._replace(port=0)


def _local_addresses(peers: Sequence[Address], near: Address, sources: Departures | None) -> dict[int, Address]:
    """By family, our address that the peers of that family can connect to. Raises OSError if there is none at all."""
    found: dict[int, Address] = {}
    failures: list[OSError] = []
    for peer in peers:
        anyone = not any(peer.octets)
        source = None if sources is None else sources(peer)
        if source is not None:
            found[peer.kind] = source
        elif anyone and near.kind == peer.kind:
            found[peer.kind] = near
        elif peer.kind not in found:
            try:
                found[peer.kind] = local_address_towards(SOMEWHERE[peer.kind] if anyone else peer)
            except OSError as error:
                failures.append(error)
    if not found:
        raise failures[0]
    return found


def _candidates(wished: int, ports: PortRange | None) -> Iterator[int]:
    if wished:
        yield wished
    yield from repeat(0, ATTEMPTS) if ports is None else ports.from_random_start()


def _listening_sockets(places: Sequence[Address], port: int) -> list[SocketType]:
    """One for each place, all on the port; 0: on the one that the kernel chooses for the first. Raises OSError."""
    sockets: list[SocketType] = []
    try:
        for place in places:
            sockets.append(sock := SocketType(_family(place.kind), SOCK_STREAM))
            sock.setblocking(False)
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # what is accepted inherits both
            sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
            if place.kind == IPV6:
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            if port:
                sock.setsockopt(SOL_SOCKET, OWN_PORT, 1)  # earlier peers' connections may still be there
            sock.bind((place.host, port))
            sock.listen(BACKLOG)
            port = port or sock.getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _family(kind: int) -> int:
    return AF_INET if kind == IPV4 else AF_INET6
