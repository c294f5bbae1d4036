"""A local port that leads to one target through an egress: streams and datagrams, over the engine.

Who connects to it need not know of SOCKS. What cannot be reached ends with a reset, as if nobody had listened there.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from socket import SocketType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..engine.egress import Association, Egress
from ..engine.endpoint import Endpoint
from ..engine.listener import Listener
from ..engine.relay import Relay
from ..engine.segments import Cut, Lane, SocketLane, Traffic
from ..engine.task import Task
from ..engine.udp import DatagramSocket, Sizes, Sockaddrs, Views
from ..errors import PolicyDenied
from ..protocol.address import Address

if TYPE_CHECKING:
    from ..engine.poller import Engine

__all__ = ("DatagramForward", "Moved", "StreamForward", "together")

CONNECT_LIMIT: Final = 30.0
IDLE_LIMIT: Final = 3600.0
DATAGRAM_IDLE: Final = 60.0
"""Seconds."""

CORRESPONDENTS: Final = 1024
"""Senders of datagrams at a time; what others send meanwhile is dropped."""

HELD: Final = 32
"""Datagrams of one sender that wait until the way is there."""

BUFFER: Final = 1 << 20

ASK_AGAIN: Final = 1.0
"""Seconds for which new senders of datagrams wait for nothing after a way could not be had, or has ended."""

Say = Callable[[str], None]


class Moved(NamedTuple):
    """Octets of payload that went each way."""

    up: int = 0
    down: int = 0


def together(all_moved: Iterable[Moved]) -> Moved:
    """Their sum."""
    up = down = 0
    for moved in all_moved:
        up += moved.up
        down += moved.down
    return Moved(up, down)


def _any_address(addresses: Sequence[Address]) -> Sequence[Address]:
    """Whoever may use the port may reach the target."""
    return addresses


class StreamForward:
    """Each connection that the listening socket accepts leads to the target."""

    def __init__(self, engine: "Engine", egress: Egress, sock: socket.socket, target: Address, say: Say) -> None:
        """Takes the socket over. ``say`` is told why a target was not reached."""
        self.egress = egress
        self.target = target
        self.say = say
        self._engine = engine
        self._streams: set[_Stream] = set()
        self._ended = Moved()
        self._listener = Listener(engine, sock, self._accepted, self._exhausted)

    def close(self) -> None:
        """Accepts no more; what is under way goes on."""
        self._listener.close()

    @property
    def moved(self) -> Moved:
        """By all connections so far."""
        return together((self._ended, *(stream.moved for stream in self._streams)))

    def ended(self, stream: "_Stream") -> None:
        """One of the connections is over."""
        self._streams.discard(stream)
        self._ended = together((self._ended, stream.moved))

    def _accepted(self, sock: SocketType, _: Any) -> None:
        stream = _Stream(self, self._engine, sock)
        self._streams.add(stream)
        stream.start()

    def _exhausted(self, error: OSError) -> None:
        self.say(f"cannot accept: {error.strerror}")


class _Stream(Task):
    """One connection, from its accept to its end."""

    __slots__ = ("_forward", "_near", "_relay")

    def __init__(self, forward: StreamForward, engine: "Engine", sock: SocketType) -> None:
        Task.__init__(self, engine)
        self._forward = forward
        self._near = Endpoint(engine, sock, self)
        self._relay: Relay | None = None

    @property
    def moved(self) -> Moved:
        relay = self._relay
        return Moved() if relay is None else Moved(relay.up.payload, relay.down.payload)

    async def run(self) -> None:
        forward, near, far = self._forward, self._near, None
        try:
            self.set_limit("connect", CONNECT_LIMIT)
            try:
                far, _ = await forward.egress.connect(self, forward.target, _any_address)
            except (OSError, PolicyDenied) as error:
                near.reset()
                forward.say(str(error))
                return
            relay = self._relay = Relay(self, near, far, IDLE_LIMIT)
            try:
                await relay.run()
                if not relay.ended_well:
                    await relay.part()
            finally:
                relay.dissolve()
        except OSError:
            pass  # the idle limit, or a peer that is gone
        finally:
            near.close()
            if far is not None:
                far.close()
            forward.ended(self)


class DatagramForward:
    """Each sender of datagrams to the socket has an association, in which all that it sends goes to the target."""

    def __init__(self, engine: "Engine", egress: Egress, sock: SocketType, target: Address, say: Say) -> None:
        """Takes the socket over, which is bound and non-blocking."""
        self._engine = engine
        self._egress = egress
        self._target = target
        self._say = say
        self._flows: dict[tuple[Any, ...], _Flow] = {}
        self._ended = Moved()
        self._ask_after = 0.0
        self.dropped = Traffic()
        """What was dropped here, by reason."""
        self._socket = DatagramSocket(engine, sock, self.dropped, self._arrived)

    def close(self) -> None:
        """Ends all associations."""
        for flow in list(self._flows.values()):
            flow.interrupt(asyncio.CancelledError())
        self._socket.close()

    @property
    def moved(self) -> Moved:
        """By all senders so far."""
        return together((self._ended, *(flow.moved for flow in self._flows.values())))

    def _arrived(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        for view, size, sockaddr in zip(views, sizes, sockaddrs, strict=False):
            flow = self._flows.get(sockaddr)
            if flow is None:
                if self._engine.now < self._ask_after:
                    self.dropped.drop("no way")
                    continue
                if len(self._flows) >= CORRESPONDENTS:
                    self.dropped.drop("too many senders")
                    continue
                flow = self._flows[sockaddr] = _Flow(self, sockaddr)
                flow.start()
            flow.send(view[:size])

    # --- for its flows ---

    def associate(self, flow: "_Flow") -> Any:
        return self._egress.associate(flow, flow, buffer=BUFFER)

    def lane(self, association: Association) -> Lane:
        return association.lane(self._target, _any_address)

    def way_back(self, sockaddr: tuple[Any, ...], traffic: Traffic) -> Lane:
        return SocketLane(self._socket, sockaddr, traffic)

    def ended(self, flow: "_Flow", error: Exception | None) -> None:
        if self._flows.pop(flow.sockaddr, None) is flow:
            self._ended = together((self._ended, flow.moved))
        if error is not None:
            self._ask_after = self._engine.now + ASK_AGAIN
            self._say(str(error))


class _Flow(Task):
    """The datagrams of one sender: a :class:`Correspondent`."""

    def __init__(self, forward: DatagramForward, sockaddr: tuple[Any, ...]) -> None:
        Task.__init__(self, forward._engine)
        self.sockaddr = sockaddr
        self.sent = Traffic()
        self.received = Traffic()
        self._forward = forward
        self._lane: Lane | None = None
        self._held: list[bytes] = []
        self._back = forward.way_back(sockaddr, self.received)

    @property
    def moved(self) -> Moved:
        return Moved(self.sent.moved, self.received.moved)

    async def run(self) -> None:
        association: Association | None = None
        failure: Exception | None = None
        try:
            self.set_limit("connect", CONNECT_LIMIT)
            association = await self._forward.associate(self)
            lane = self._lane = self._forward.lane(association)
            for datagram in self._held:
                lane.send((datagram,), 1)
            self._held.clear()
            self.set_limit("idle", DATAGRAM_IDLE)
            await self.engine.loop.create_future()  # until a limit or the proxy ends it
        except (OSError, PolicyDenied) as error:
            if self.limit != "idle" or not isinstance(error, TimeoutError):
                failure = error
        finally:
            if association is not None:
                association.close()
            self._forward.ended(self, failure)

    def send(self, datagram: memoryview) -> None:
        """On its way, or kept until there is one."""
        if self._lane is not None:
            self.deadline = self.engine.now + DATAGRAM_IDLE
            self._lane.send((datagram,), 1)
        elif len(self._held) < HELD:
            self._held.append(bytes(datagram))
        else:
            self.sent.drop("too many waiting")

    # --- as a correspondent ---

    def from_targets(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        """What comes back is the target's, or what the proxy lets pass for it."""
        self.deadline = self.engine.now + DATAGRAM_IDLE
        for view, size, _ in zip(views, sizes, sockaddrs, strict=False):
            self._back.send((view[:size],), 1)

    def joined_from_target(self, cut: Cut, octets: int, sockaddr: tuple[Any, ...]) -> bool:
        """A run as it has come."""
        self.deadline = self.engine.now + DATAGRAM_IDLE
        self._back.send(cut.parts(octets, 0)[1], 1)
        return True

    def reached(self, host: str, port: int) -> None:
        """Who may answer is the proxy's business."""
