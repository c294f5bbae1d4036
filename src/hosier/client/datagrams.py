"""Datagrams through a SOCKS5 proxy, as a socket has them."""

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from ipaddress import ip_address
from struct import Struct
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from ..errors import ProxyConnectionError, RemoteProtocolError
from ..protocol.address import IPV4, IPV6, UNSPECIFIED, Address, address_of_socket, parse_address
from .envelope import LARGEST_IPV4, Envelope, HostPort
from .journey import announced
from .lookup import Place4or6, look_up, pick

if TYPE_CHECKING:
    from .runs import Runs

__all__ = (
    "ProxiedDatagramSocket",
    "association_ended",
    "connected_udp",
    "has_ended",
    "largest_for",
    "relay_address",
    "udp_socket",
    "zeros_or",
)

_GLANCE: Final = 0.25
"""Seconds between looks at the control connection while nothing comes."""

_TIMEVAL: Final = Struct("ll")


class ProxiedDatagramSocket:
    """Datagrams through a proxy, as a socket has them: ``sendto``, ``recvfrom``, a time limit.

    It ends with the connection that it was asked for on: then ``recvfrom`` raises ProxyConnectionError. As with
    any UDP, what is lost on the way is lost silently. Not for two threads that receive at once.
    """

    def __init__(
        self,
        control: socket.socket,
        udp: socket.socket | None,
        relay: Place4or6,
        envelope: Envelope,
        *,
        remote_dns: bool,
    ) -> None:
        self._udp = connected_udp(udp, relay)
        self._udp.settimeout(None)
        envelope.fit(largest_for(self._udp))
        control.setblocking(False)
        self._control = control
        self._envelope = envelope
        self._remote_dns = remote_dns
        self._headers = envelope.headers
        self._bare_up_to = envelope.bare_up_to
        self._runs: Runs | None = None
        self._surplus: deque[tuple[bytes, HostPort]] = deque()
        self._receive = self._udp.recv
        self._send = self._udp.send
        self._timeout: float | None = None
        self._glance = 0.0
        self.settimeout(socket.getdefaulttimeout())

    @property
    def relay(self) -> HostPort:
        """Where datagrams go at the proxy."""
        host, port = self._udp.getpeername()[:2]
        return host, port

    def sendto(self, data: bytes, address: HostPort) -> int:
        """Sends to a host, which may be a name, and a port; the octets of the payload.

        Raises OSError: EMSGSIZE for more than ``max_payload``, others from the system; socket.gaierror for a name
        that is looked up on this side in vain; LocalProtocolError for an address that has no wire form.
        """
        header = self._headers.get(address) or self._learn(address)
        packet = header + data
        if len(packet) <= self._bare_up_to:
            self._send_packet(packet)
        else:
            for piece in self._envelope.pack(header, data):
                self._send_packet(piece)
        return len(data)

    def send_many(self, payloads: Sequence[bytes], address: HostPort) -> int:
        """Sends each payload as a datagram to the same place; how many. Raises as :meth:`sendto` does.

        Where the system can (Linux: UDP_SEGMENT), payloads of one size in a row go out in one call, for a fraction of
        the cost.
        """
        header = self._headers.get(address) or self._learn(address)
        self._in_runs().send(header, payloads)
        return len(payloads)

    def recvfrom(self, size: int = 65_535) -> tuple[bytes, HostPort]:
        """The next datagram, cut to ``size`` octets, and its sender: an IP address as a rule (S5-REQ-80).

        Raises TimeoutError after ``settimeout``, BlockingIOError if that is 0, ProxyConnectionError when the proxy has
        ended the association, which is noticed a quarter of a second later at most.
        """
        if self._runs is not None:
            return self._recv_first(size)
        started = 0.0
        while True:
            try:
                found = self._envelope.unpack(self._receive(65_535, self._flags))
            except BlockingIOError:
                started = self._look_around(started)
                continue
            except ConnectionRefusedError:
                continue  # news of an earlier datagram
            if found is not None:
                return found if len(found[0]) <= size else (found[0][:size], found[1])

    def recv_many(self) -> list[tuple[bytes, HostPort]]:
        """All datagrams that have come, at least one: as :meth:`recvfrom`, which may be called, too.

        Where the system can (Linux: UDP_GRO), those that the relay sent in a row come in one call.
        """
        runs = self._in_runs()
        found = [*self._surplus]
        self._surplus.clear()
        started = 0.0
        while not found:
            try:
                found = runs.receive(self._flags)
            except BlockingIOError:
                started = self._look_around(started)
            except ConnectionRefusedError:
                continue  # news of an earlier datagram
        runs.receive_more(found)
        return found

    def max_payload(self, host: str | None = None) -> int:
        """Octets of the largest payload to a host; without one, to any (S5-REQ-81)."""
        return self._envelope.max_payload(host)

    def settimeout(self, timeout: float | None) -> None:
        """Seconds that ``recvfrom`` waits; None: forever, 0: not at all."""
        if timeout is not None and timeout < 0:
            raise ValueError("a time limit is not negative")
        self._timeout = timeout
        self._flags = socket.MSG_DONTWAIT if timeout == 0 else 0
        # The system's own limit makes a receive one call; when it is over, the other connection has its turn.
        self._set_glance(_GLANCE if timeout is None else min(timeout, _GLANCE))

    def gettimeout(self) -> float | None:
        """What ``settimeout`` said."""
        return self._timeout

    def getsockname(self) -> HostPort:
        """Where datagrams leave from, on this side."""
        host, port = self._udp.getsockname()[:2]
        return host, port

    def fileno(self) -> int:
        """For select: readable when a datagram is there; -1 when closed."""
        return self._udp.fileno()

    def close(self) -> None:
        """Ends the association (S5-REQ-78)."""
        self._udp.close()
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- private ---

    def _address(self, destination: HostPort) -> Address:
        host, port = destination
        address = parse_address(host, port)
        if self._remote_dns or not address.is_name:
            return address
        return pick(look_up(host, port, self.gettimeout), port, only_ipv4=False)

    def _recv_first(self, size: int) -> tuple[bytes, HostPort]:
        """Arrivals may be joined by now: the first of them, the others wait here."""
        if not self._surplus:
            self._surplus.extend(self.recv_many())
        data, source = self._surplus.popleft()
        return data[:size], source

    def _learn(self, address: HostPort) -> bytes:
        return self._envelope.learn(address, self._address(address))

    def _in_runs(self) -> "Runs":
        if self._runs is None:
            from .runs import Runs

            self._runs = Runs(self._udp, self._envelope, self._send_packet)
        return self._runs

    def _send_packet(self, packet: bytes) -> None:
        try:
            self._send(packet)
        except ConnectionRefusedError:
            self._send(packet)  # that was told of an earlier datagram: nobody can know about this one

    def _look_around(self, started: float) -> float:
        """Nothing came for a while: is anybody there, is there time? When the wait began, by the monotonic clock."""
        if has_ended(self._control):
            raise association_ended()
        timeout = self._timeout
        if timeout is None:
            return 0.0
        if timeout == 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        now = monotonic()
        started = started or now - self._glance
        left = started + timeout - now
        if left <= 0.001:
            self._set_glance(min(timeout, _GLANCE))
            raise TimeoutError(errno.ETIMEDOUT, "no datagram in time")
        if left < self._glance:
            self._set_glance(left)
        return started

    def _set_glance(self, seconds: float) -> None:
        if seconds and seconds != self._glance:
            self._glance = seconds
            whole = int(seconds)
            limit = _TIMEVAL.pack(whole, max(int((seconds - whole) * 1e6), 1))
            self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def has_ended(control: socket.socket) -> bool:
    """Whether the proxy closed the connection that the association lives on."""
    try:
        return not control.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def association_ended() -> ProxyConnectionError:
    """The error for datagrams that nobody relays any more."""
    return ProxyConnectionError("the proxy ended the association", errno.ECONNABORTED)


# --- putting one together ---


def udp_socket(family: int, local: tuple[str, int]) -> socket.socket:
    """A UDP socket that begins at ``local``."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind(local)
    except BaseException:
        sock.close()
        raise
    return sock


def largest_for(udp: socket.socket) -> int:
    """Octets of the largest datagram that a socket sends."""
    return 65_527 if udp.family == socket.AF_INET6 else LARGEST_IPV4


def zeros_or(udp: socket.socket | None) -> Address:
    """What to announce: where datagrams will come from, or that it is not known (S5-REQ-70, 71)."""
    return UNSPECIFIED if udp is None else address_of_socket(udp.getsockname())


def relay_address(bound: Address, proxy_host: str) -> HostPort:
    """Where datagrams are to be sent: the reply's address, but the proxy's own where that one cannot be meant:
    zeros (S5-REQ-76), or an address of an inner network told by a proxy outside of it."""
    if not bound.port:
        raise RemoteProtocolError("the proxy's reply has no port for datagrams")
    host, port = announced(bound, proxy_host)
    if bound.kind in (IPV4, IPV6) and ip_address(host).is_private and ip_address(proxy_host).is_global:
        host = proxy_host
    return host, port


def connected_udp(udp: socket.socket | None, relay: Place4or6) -> socket.socket:
    """A socket that hears the relay only; ``udp`` if there is one of the relay's family."""
    if udp is not None and udp.family != relay.family:
        udp.close()
        udp = None
    sock = udp or socket.socket(relay.family, socket.SOCK_DGRAM)
    try:
        sock.connect(relay.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock
