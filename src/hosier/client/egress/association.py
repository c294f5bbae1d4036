"""Datagrams through proxies over the engine.

Each proxy of a chain relays for the one behind it: a datagram bears a header for each, the nearest proxy's first, and
what comes back bears as many. All of them travel through one socket, which is connected to the nearest relay.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ...engine.association import Correspondent, DirectAssociation, Vetted
from ...engine.dial import Departures
from ...engine.endpoint import ENDED, Endpoint
from ...engine.layered_datagrams import DatagramLayer, WrappingLane, opened
from ...engine.recent import Recent
from ...engine.resolve import Resolver
from ...engine.segments import RUN_OCTETS, Lane, Pieces, SocketLane
from ...engine.udp import DatagramSocket, Sizes, Sockaddrs, Views, datagram_socket
from ...errors import ProxyConnectionError, RemoteProtocolError
from ...protocol.address import NAME, Address, address_of_socket
from ...protocol.udp import HEADER_SIZES, decode_datagram, encode_header

if TYPE_CHECKING:
    from ...engine.task import Task

__all__ = ("HeaderLane", "ProxiedAssociation")

SENDERS: Final = 1024
"""Whose headers are remembered."""


class ProxiedAssociation(DirectAssociation):
    """A way for datagrams through the proxies' relays, for as long as their control connections last."""

    __slots__ = (
        "_controls",
        "_depth",
        "_layer",
        "_names_used",
        "_outer",
        "_passes_names",
        "_senders",
        "_sock",
        "_task",
        "_way",
    )

    def __init__(
        self,
        task: "Task",
        resolver: Resolver,
        correspondent: Correspondent,
        controls: Sequence[Endpoint],
        relays: Sequence[Address],
        *,
        buffer: int,
        names: bool,
        layer: DatagramLayer | None = None,
    ) -> None:
        """Takes the control connections over if it succeeds.

        Args:
            task: interrupted with an OSError when a proxy ends its association.
            controls: the connection on which each proxy was asked.
            relays: where each takes datagrams; the nearest one's is an IP address.
            names: whether names are passed on.
            layer: what protects each datagram on its way to the only proxy.

        Raises OSError.
        """
        super().__init__(task.engine, resolver, correspondent, buffer=buffer, source=task.source)
        self._task = task
        self._passes_names = names
        self._layer = layer
        self._names_used = False
        self._depth = len(relays)
        self._outer = b"".join(map(encode_header, relays[1:]))
        self._senders: Recent[bytes, tuple[Any, ...]] = Recent(SENDERS)
        near = address_of_socket(controls[0].sock.getsockname())
        same = near.kind == relays[0].kind
        raw = datagram_socket(near if same else Address(relays[0].kind, bytes(len(relays[0].octets)), 0), buffer=buffer)
        self._sock = DatagramSocket(task.engine, raw, correspondent.received, self._from_anyone, self._from_relay)
        try:
            self._sock.connect(relays[0].sockaddr)
            self._way: Lane = SocketLane(self._sock, None, correspondent.sent)
            if layer is not None:
                self._way = WrappingLane(self._sock, None, layer, correspondent.sent)
            self._controls = controls
            for control in controls:
                control.owner = self
                if control.seen & ENDED:
                    raise _ended()
                if not control.heard:
                    control.register()
        except BaseException:
            self._sock.close()
            raise

    def lane(self, target: Address, vet: Vetted, sources: Departures | None = None) -> Lane:
        """As :meth:`Association.lane`; a name that is passed on needs no look-up."""
        if target.kind == NAME and self._passes_names:
            vet((target,))
            self._names_used = True
            return HeaderLane(self._way, self._outer + encode_header(target), None)
        return super().lane(target, vet, sources)

    def open(self, addresses: Sequence[Address], sources: Departures | None) -> Lane:
        """The way to the first of them: the last proxy has both families, or says so to nobody (S5-REQ-83)."""
        target = addresses[0]
        user = self._correspondent
        assert user is not None  # it is not closed
        user.reached(*target.sockaddr)
        return HeaderLane(self._way, self._outer + encode_header(target), target.sockaddr)

    def close(self) -> None:
        """Ends the associations (S5-REQ-78); a second time is harmless."""
        super().close()
        self._sock.close()
        for control in self._controls:
            control.close()

    def on_edge(self, control: Endpoint, events: int) -> None:
        """A proxy has no more to say on its control connection than that it is over."""
        control.seen |= events
        if events & ENDED and not control.closed:
            self.close()
            self._task.interrupt(_ended())

    # --- private ---

    def _from_anyone(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        """What had arrived before the socket was connected may be anybody's."""
        relay = self._sock.sock.getpeername()
        ours = [index for index, sockaddr in enumerate(sockaddrs) if sockaddr == relay]
        self._from_relay([views[index] for index in ours], [sizes[index] for index in ours])

    def _from_relay(self, views: Views, sizes: Sizes) -> None:
        """A batch from the targets: headers come off, and their innermost one tells the sender."""
        user = self._correspondent
        if user is None:
            return
        if self._layer is not None:
            views, sizes = opened(self._layer, views, sizes, user.received)
        senders = self._senders.young
        bodies: list[memoryview] = []
        rests: list[int] = []
        sockaddrs: list[tuple[Any, ...]] = []
        single = self._depth == 1
        for view, size in zip(views, sizes, strict=False):
            header = HEADER_SIZES[view[3]] or 7 + view[4] if single else self._headers(view, size)
            key = bytes(view[:header])
            sender = (senders.get(key) or self._sender(key)) if header <= size else None
            if sender is None:
                user.received.drop("malformed")
                continue
            bodies.append(view[header:])
            rests.append(size - header)
            sockaddrs.append(sender)
        if not bodies:
            return
        if self._names_used:  # nobody here knows what they stand for: the last proxy does, and filters what answers
            for host, port, *_ in set(sockaddrs):
                user.reached(host, port)
        user.from_targets(bodies, rests, sockaddrs)

    def _headers(self, view: memoryview, size: int) -> int:
        """Octets of all headers together."""
        end = 0
        for _ in range(self._depth):
            if end + 5 > size:
                return size + 1
            end += HEADER_SIZES[view[end + 3]] or 7 + view[end + 4]
        return end

    def _sender(self, headers: bytes) -> tuple[Any, ...] | None:
        """Who sent what bears these headers; None: they are none, or of fragments (S5-REQ-89)."""
        sender = self._senders.get(headers)
        if sender is not None:
            return sender
        address: Address | None = None
        for _ in range(self._depth):
            try:
                fragment, address, headers_left = decode_datagram(headers)
            except RemoteProtocolError:
                return None
            if fragment:
                return None
            headers = headers_left
        assert address is not None  # there is one hop at least
        return address.canonical().sockaddr


class HeaderLane:
    """A way through which each datagram bears a header; ``place`` is where it leads in the end."""

    __slots__ = ("_header", "_way", "place")

    def __init__(self, way: Lane, header: bytes, place: tuple[Any, ...] | None) -> None:
        self._way = way
        self._header = header
        self.place = place

    def send(self, pieces: Pieces, width: int) -> None:
        """As :meth:`Lane.send`; a run that the headers make too large for one goes in parts."""
        header = self._header
        wide = width + 1
        run: list[memoryview | bytes] = [header] * (len(pieces) // width * wide)
        for index in range(width):
            run[index + 1 :: wide] = pieces[index::width]
        most = max(RUN_OCTETS // sum(map(len, run[:wide])), 1) * wide
        for start in range(0, len(run), most):
            self._way.send(run[start : start + most], wide)


def _ended() -> ProxyConnectionError:
    return ProxyConnectionError("the proxy has ended the association")
