"""The datagrams of a PySocks socket: a UDP ASSOCIATE beside a UDP socket that the program has made itself."""

import errno
import os
import socket
from time import monotonic
from typing import Any

from ...client.datagrams import association_ended, has_ended, largest_for, relay_address
from ...client.envelope import Envelope
from ...client.journey import host_of_proxy
from ...client.lookup import Place4or6, look_up, pick
from ...client.proxy import Proxy
from ...client.readiness import readable_of
from ...client.steps import raise_from
from ...protocol.address import UNSPECIFIED, Address
from ...protocol.messages import Command
from .reaching import SystemSocket, destination_of, new_journey, walk

__all__ = ("Association",)

Datagram = tuple[bytes, tuple[str, int]]


class Association:
    """Sends and receives for a socket that is bound already. Raises OSError, as :func:`hosier.associate` does."""

    def __init__(self, udp: socket.socket, proxy: Proxy) -> None:
        self._udp = udp
        self._remote_dns = proxy.remote_dns
        self._envelope = Envelope(largest=largest_for(udp))
        self._peeked: Datagram | None = None
        # Some relays drop what comes from another port than they were told; the address is better left open (NAT).
        announced = UNSPECIFIED._replace(port=udp.getsockname()[1])
        journey = new_journey(proxy, Command.UDP_ASSOCIATE, announced, udp.gettimeout())
        opened: list[socket.socket] = []

        def open_as(family: int) -> socket.socket:
            self.control = SystemSocket(family, socket.SOCK_STREAM)
            opened.append(self.control)
            return self.control

        try:
            _, handshake, _ = walk(journey, open_as)
            assert handshake.reply is not None
            relay = relay_address(handshake.reply.bound, host_of_proxy(self.control, journey.chain))
            SystemSocket.connect(udp, _as_family(udp.family, look_up(*relay, journey.left)[0]))
            self.control.setblocking(False)
        except BaseException as error:
            for sock in opened:
                sock.close()
            if isinstance(error, OSError):
                raise_from(journey, error)
            raise
        for sock in opened[:-1]:
            sock.close()

    def send(self, data: Any, destination: Any, flags: int = 0) -> int:
        """To a host and a port; the octets of the payload."""
        pair = (destination[0], destination[1])
        header = self._envelope.headers.get(pair)
        if header is None:
            header = self._envelope.learn(pair, self._address(destination))
        (packet,) = self._envelope.pack(header, bytes(data))
        try:
            SystemSocket.send(self._udp, packet, flags)
        except ConnectionRefusedError:
            SystemSocket.send(self._udp, packet, flags)  # that was told of an earlier datagram
        return len(packet) - len(header)

    def receive(self, peer: tuple[str, int] | None, flags: int = 0) -> Datagram:
        """The next datagram and its sender; with a peer, the next one of this peer's."""
        limit = 0.0 if flags & socket.MSG_DONTWAIT else self._udp.gettimeout()
        deadline = None if limit is None else monotonic() + limit
        while True:
            found, self._peeked = self._peeked, None
            if found is None:
                found = self._next(deadline, flags & ~socket.MSG_PEEK)
            if found is not None and (peer is None or _is_from(peer, found[1])):
                if flags & socket.MSG_PEEK:
                    self._peeked = found
                return found

    def close(self) -> None:
        """Ends the association (S5-REQ-78)."""
        self.control.close()

    # --- private ---

    def _next(self, deadline: float | None, flags: int) -> Datagram | None:
        """A datagram, or None for one that is none. The wait is for two: for it, and for the end of the association."""
        left = None if deadline is None else max(deadline - monotonic(), 0)
        ready = readable_of((self._udp, self.control), left)
        if self._udp in ready:
            try:
                return self._envelope.unpack(SystemSocket.recv(self._udp, 65_535, flags))
            except ConnectionRefusedError:
                return None  # news of an earlier datagram
        if ready and has_ended(self.control):
            raise association_ended()
        if not ready:
            if self._udp.gettimeout() and not flags & socket.MSG_DONTWAIT:
                raise TimeoutError("timed out")
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return None

    def _address(self, destination: Any) -> Address:
        address = destination_of(destination)
        if self._remote_dns or not address.is_name:
            return address
        return pick(look_up(address.host, address.port, self._udp.gettimeout), address.port, only_ipv4=False)


def _as_family(family: int, place: Place4or6) -> Any:
    """The relay's address for a socket of this family."""
    if place.family == socket.AF_INET and family == socket.AF_INET6:
        return f"::ffff:{place.sockaddr[0]}", place.sockaddr[1]
    if place.family != family:
        raise OSError(errno.EAFNOSUPPORT, "the proxy's relay has an IPv6 address, and the socket is of IPv4")
    return place.sockaddr


def _is_from(peer: tuple[str, int], sender: tuple[str, int]) -> bool:
    """Whether a datagram is the peer's; who has a name sends from an address that only the proxy knows."""
    host, port = peer
    return port in (0, sender[1]) and (host == sender[0] or destination_of((host, 0)).is_name)
