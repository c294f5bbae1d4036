"""Datagrams through a SOCKS5 proxy with asyncio: asyncio's own shape, and an object to await."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ...errors import LocalProtocolError
from ...protocol.address import UNSPECIFIED, Address, parse_address
from ...protocol.messages import Command
from ..datagrams import (
    association_ended,
    connected_udp,
    has_ended,
    largest_for,
    relay_address,
    udp_socket,
    zeros_or,
)
from ..envelope import Envelope, HostPort
from ..journey import Journey, host_of_proxy
from ..lookup import pick
from ..proxy import ProxyChain, chain_for_datagrams
from ..runs import Runs
from .steps import arrive, look_up, raise_from, talk

__all__ = ("DatagramEndpoint", "ProxiedDatagramTransport", "associate", "create_datagram_endpoint")

ProtocolT = TypeVar("ProtocolT", bound=asyncio.DatagramProtocol)

_BATCH: Final = 32
"""Datagrams that are read before others in the loop have their turn."""

_QUEUED: Final = 1024
"""Datagrams that wait to be received; what comes then is lost, as in a full socket."""


async def create_datagram_endpoint(
    protocol_factory: Callable[[], ProtocolT],
    *,
    proxy: ProxyChain,
    timeout: float | None = None,
    announce: bool = False,
    fragment_size: int | None = None,
) -> tuple["ProxiedDatagramTransport", ProtocolT]:
    """The loop's ``create_datagram_endpoint``, through a proxy; arguments and errors are :func:`hosier.associate`'s.

    ``sendto`` takes host and port of any target; ``datagram_received`` is told who really sent. ``connection_lost``
    comes with a ProxyConnectionError when the proxy ends the association.
    """
    loop = asyncio.get_running_loop()
    chain = chain_for_datagrams(proxy)
    envelope = Envelope(fragment_size=fragment_size)
    journey = Journey(chain, Command.UDP_ASSOCIATE, UNSPECIFIED, timeout)
    control: socket.socket | None = None
    udp: socket.socket | None = None
    try:
        async with asyncio.timeout(timeout):
            control = await arrive(loop, journey)
            if announce:
                udp = udp_socket(control.family, (control.getsockname()[0], 0))
            reply = (await talk(loop, control, journey, zeros_or(udp))).reply
            assert reply is not None
            envelope = envelope.under(journey.take_stream())
            journey.step = "connect"
            host, port = relay_address(reply.bound, host_of_proxy(control, chain))
            (place, *_) = await look_up(loop, host, port)
            udp = connected_udp(udp, place)
    except BaseException as error:
        for sock in (control, udp):
            if sock is not None:
                sock.close()
        if isinstance(error, OSError):
            raise_from(journey, error)
        raise
    protocol = protocol_factory()
    return ProxiedDatagramTransport(loop, control, udp, envelope, protocol, remote_dns=chain[0].remote_dns), protocol


async def associate(
    proxy: ProxyChain,
    *,
    timeout: float | None = None,
    announce: bool = False,
    fragment_size: int | None = None,
) -> "DatagramEndpoint":
    """Datagrams through a proxy, as :func:`hosier.associate` has them."""
    transport, inbox = await create_datagram_endpoint(
        _Inbox, proxy=proxy, timeout=timeout, announce=announce, fragment_size=fragment_size
    )
    return DatagramEndpoint(transport, inbox)


class ProxiedDatagramTransport(asyncio.DatagramTransport):
    """A datagram transport whose peers are the targets behind a proxy."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        control: socket.socket,
        udp: socket.socket,
        envelope: Envelope,
        protocol: asyncio.DatagramProtocol,
        *,
        remote_dns: bool,
    ) -> None:
        super().__init__({"socket": udp, "sockname": udp.getsockname(), "peername": udp.getpeername()})
        udp.setblocking(False)
        envelope.fit(largest_for(udp))
        self.envelope = envelope
        self.remote_dns = remote_dns
        self._loop = loop
        self._control = control
        self._udp = udp
        self._protocol = protocol
        self._closing = False
        self._runs: Runs | None = None
        protocol.connection_made(self)
        loop.add_reader(udp, self._readable)
        loop.add_reader(control, self._control_readable)

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Sends to host and port; the type of ``addr`` is asyncio's. What the system has no room for is lost.

        Raises OSError with EMSGSIZE for more than ``max_payload``, LocalProtocolError without an address and for a
        name where names are looked up on this side: look it up first, or use socks5h.
        """
        if self._closing:
            return
        header = self._header(addr)
        for packet in self.envelope.pack(header, data if isinstance(data, bytes) else bytes(data)):
            self._send_packet(packet)

    def send_many(self, payloads: Sequence[bytes], addr: HostPort) -> None:
        """Sends each payload as a datagram to the same place, in few calls where the system can (UDP_SEGMENT).

        From then on those that the relay sends in a row come in one call (UDP_GRO). Raises as :meth:`sendto` does.
        """
        if self._closing:
            return
        if self._runs is None:
            self._runs = Runs(self._udp, self.envelope, self._send_packet)
        self._runs.send(self._header(addr), payloads)

    def max_payload(self, host: str | None = None) -> int:
        """Octets of the largest payload to a host; without one, to any (S5-REQ-81)."""
        return self.envelope.max_payload(host)

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closing

    def close(self) -> None:
        """Ends the association (S5-REQ-78)."""
        self._end(None)

    def abort(self) -> None:
        """The same: nothing is kept back."""
        self._end(None)

    # --- private ---

    def _header(self, addr: Any) -> bytes:
        if addr is None:
            raise LocalProtocolError("a datagram through a proxy needs the address of its target")
        header = self.envelope.headers.get(addr)
        if header is None:
            address = parse_address(*addr)
            if address.is_name and not self.remote_dns:
                raise LocalProtocolError("names are looked up on this side: give an IP address, or use socks5h")
            header = self.envelope.learn(addr, address)
        return header

    def _send_packet(self, packet: bytes) -> None:
        try:
            self._udp.send(packet)
        except BlockingIOError:
            return
        except OSError as error:
            self._protocol.error_received(error)

    def _readable(self) -> None:
        for _ in range(_BATCH):
            try:
                arrived = self._arrived() if self._runs is None else self._runs.receive()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._protocol.error_received(error)
                return
            for data, source in arrived:
                self._protocol.datagram_received(data, source)
                if self._closing:
                    return

    def _arrived(self) -> list[tuple[bytes, HostPort]]:
        found = self.envelope.unpack(self._udp.recv(65_535))
        return [] if found is None else [found]

    def _control_readable(self) -> None:
        if has_ended(self._control):
            self._end(association_ended())

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        for sock in (self._udp, self._control):
            self._loop.remove_reader(sock)
            sock.close()
        self._loop.call_soon(self._protocol.connection_lost, error)


class _Inbox(asyncio.DatagramProtocol):
    """Keeps what has come until somebody asks."""

    def __init__(self) -> None:
        self.arrived: deque[tuple[bytes, HostPort]] = deque()
        self.ended = False
        self.failure: Exception | None = None
        self.waiting: deque[asyncio.Future[None]] = deque()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if len(self.arrived) < _QUEUED:
            self.arrived.append((data, addr))
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.failure = True, exc
        while self.waiting:
            self._wake()

    def give_up(self, waiter: "asyncio.Future[None]") -> None:
        """Who has waited does not any more."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)
        elif self.arrived:
            self._wake()

    def _wake(self) -> None:
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class DatagramEndpoint:
    """Datagrams through a proxy, to await. Leaving an async with-block closes it."""

    def __init__(self, transport: ProxiedDatagramTransport, inbox: _Inbox) -> None:
        self._transport = transport
        self._inbox = inbox

    @property
    def relay(self) -> HostPort:
        """Where datagrams go at the proxy."""
        host, port = self._transport.get_extra_info("peername")[:2]
        return host, port

    async def sendto(self, data: bytes, address: HostPort) -> int:
        """Sends to a host, which may be a name, and a port; the octets of the payload.

        Raises as :meth:`hosier.ProxiedDatagramSocket.sendto` does; ProxyConnectionError when the association has ended.
        """
        await self._ready(address)
        self._transport.sendto(data, address)
        return len(data)

    async def send_many(self, payloads: Sequence[bytes], address: HostPort) -> int:
        """Sends each payload as a datagram to the same place, as :meth:`hosier.ProxiedDatagramSocket.send_many`."""
        if payloads:
            await self._ready(address)
            self._transport.send_many(payloads, address)
        return len(payloads)

    async def recv_many(self) -> list[tuple[bytes, HostPort]]:
        """All datagrams that have come, at least one; otherwise as :meth:`recvfrom`."""
        found = [await self.recvfrom(), *self._inbox.arrived]
        self._inbox.arrived.clear()
        return found

    async def recvfrom(self) -> tuple[bytes, HostPort]:
        """The next datagram and its sender: an IP address as a rule (S5-REQ-80). For a time limit: asyncio.timeout.

        Raises ProxyConnectionError when the association has ended.
        """
        inbox = self._inbox
        while not inbox.arrived:
            if inbox.ended:
                raise inbox.failure or association_ended()
            waiter = asyncio.get_running_loop().create_future()
            inbox.waiting.append(waiter)
            try:
                await waiter
            except BaseException:  # cancelled: nobody is to be woken in vain, and what came is the next one's
                inbox.give_up(waiter)
                raise
        return inbox.arrived.popleft()

    def max_payload(self, host: str | None = None) -> int:
        """Octets of the largest payload to a host; without one, to any (S5-REQ-81)."""
        return self._transport.max_payload(host)

    def close(self) -> None:
        """Ends the association (S5-REQ-78)."""
        self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _ready(self, address: HostPort) -> None:
        """Raises ProxyConnectionError when the association has ended; knows the header otherwise."""
        if self._inbox.ended or self._transport.is_closing():
            raise self._inbox.failure or association_ended()
        if address not in self._transport.envelope.headers:
            self._transport.envelope.learn(address, await self._address(address))

    async def _address(self, destination: HostPort) -> Address:
        host, port = destination
        address = parse_address(host, port)
        if self._transport.remote_dns or not address.is_name:
            return address
        loop = asyncio.get_running_loop()
        return pick(await look_up(loop, host, port), port, only_ipv4=False)
