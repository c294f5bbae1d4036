"""Captured datagrams: a flow is what one socket of the program sends to one place, and what comes back from there.

The first datagrams of a flow come to the socket for all. Then the flow has a socket of its own, which has the target's
place, and an association with the proxy. Where there is none to be had, the program gets the ICMP error that says so,
and looks for another way.
"""

from collections.abc import Generator, Sequence
from contextlib import suppress
from socket import AF_INET, AF_INET6, IPPROTO_IP, SocketType, inet_ntop
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from ..engine.egress import Association
from ..engine.events import EPOLLIN
from ..engine.segments import RUN_DATAGRAMS, RUN_OCTETS, Cut, Lane, SocketLane, Traffic
from ..engine.task import Task
from ..engine.udp import DatagramSocket, Sizes, Sockaddrs, Views
from ..errors import ReplyCode, ReplyError, SocksError
from .packets import HostAndPort, port_unreachable
from .ways import anything

if TYPE_CHECKING:
    from ..engine.poller import Engine
    from .doorman import Doorman
    from .doors import Doors
    from .voice import Voice
    from .ways import Ways

__all__ = ("CapturedFlow", "Flows")

MOST_FLOWS: Final = 2048
WAITING: Final = 32
"""Datagrams of a flow that wait for its association."""

IDLE: Final = 180.0
"""Seconds; at least two minutes (RFC 4787 §4.3)."""

PATIENCE: Final = 30.0
"""Seconds for an association to be made."""

ASK_AGAIN: Final = 30.0
"""Seconds for which a proxy that has no UDP is not asked again."""

BUFFER: Final = 1 << 20
"""Octets in each direction that the system may hold for a flow."""

_AT_ONCE: Final = 64
_OCTETS: Final = 65536
_ANCILLARY: Final = 128
_NO_UDP: Final = (ReplyCode.COMMAND_NOT_SUPPORTED, ReplyCode.NOT_ALLOWED, ReplyCode.GENERAL_FAILURE)

Key = tuple[HostAndPort, HostAndPort]


class _Entrance:
    """The socket for all, of one family."""

    def __init__(self, flows: "Flows", sock: SocketType) -> None:
        self.sock = sock
        self.owner = self
        self._flows = flows
        flows.engine.watch(sock.fileno(), self, EPOLLIN)

    def on_edge(self, _: Any, events: int) -> None:
        with suppress(OSError):  # it is dry, or has heard of an earlier datagram
            for _ in range(_AT_ONCE):
                octets, ancillary, _, source = self.sock.recvmsg(_OCTETS, _ANCILLARY)
                place = _original_place(ancillary)
                if place is not None:
                    self._flows.arrived(source[:2], place, octets)


class Flows:
    """All captured flows, at most MOST_FLOWS."""

    def __init__(self, engine: "Engine", doors: "Doors", doorman: "Doorman", ways: "Ways", voice: "Voice") -> None:
        self.engine = engine
        self.ways = ways
        self.doorman = doorman
        self.voice = voice
        self.running: dict[Key, CapturedFlow] = {}
        self._no_udp_until = 0.0
        self._raw = {side.raw.family: side.raw for side in doors.sides}
        self._entrances = [_Entrance(self, side.datagrams) for side in doors.sides]

    def arrived(self, source: HostAndPort, place: HostAndPort, octets: bytes) -> None:
        """A datagram that no flow's own socket has taken."""
        flow = self.running.get((source, place))
        if flow is None:
            if self.engine.now < self._no_udp_until or len(self.running) >= MOST_FLOWS:
                self.refuse(source, place, len(octets))
                return
            flow = self.running[source, place] = CapturedFlow(self, source, place)
            flow.start()
        flow.take(octets)

    def refuse(self, source: HostAndPort, place: HostAndPort, size: int) -> None:
        """Tells the program that nobody takes its datagram."""
        raw = self._raw[AF_INET6 if ":" in source[0] else AF_INET]
        with suppress(OSError):
            raw.sendto(port_unreachable(source, place, size), (source[0], 0))

    def failed(self, error: OSError) -> None:
        """A flow's association could not be had."""
        refused = isinstance(error, ReplyError) and error.code in _NO_UDP
        # Some proxies do not answer what they do not know; ssh is one.
        unanswered = isinstance(error, SocksError) and error.place is not None and error.place.step == "reply"
        if refused or unanswered:
            self._no_udp_until = self.engine.now + ASK_AGAIN
            self.voice.say(f"no UDP: {error}; programs are told at once, and fall back if they can")
        else:
            self.voice.failed(error)


class CapturedFlow(Task):
    """One flow: a Correspondent of its association. ``run()`` is its story."""

    def __init__(self, flows: Flows, source: HostAndPort, place: HostAndPort) -> None:
        super().__init__(flows.engine)
        self.sent = Traffic()
        self.received = Traffic()
        self._flows = flows
        self._source = source
        self._place = place
        self._waiting: list[bytes] = []
        self._refused = False
        self._lane: Lane | None = None
        self._to_program: SocketLane | None = None
        self._expected: HostAndPort | None = None

    async def run(self) -> None:
        """Associate, join, and wait until nobody has anything to say any more."""
        association: Association | None = None
        inner: DatagramSocket | None = None
        try:
            self.set_limit("associate", PATIENCE)
            egress, target = self._flows.ways.to(*self._place)
            association = await egress.associate(self, self, buffer=BUFFER)
            self._expected = None if target.is_name else target.sockaddr
            inner = self._open()
            self._lane = association.lane(target, anything)
            for octets in self._waiting:
                self._lane.send((octets,), 1)
            self._waiting.clear()
            self.set_limit("idle", IDLE)
            await self._until_idle()
        except OSError as error:
            if self._lane is None:
                self._give_up(error)
        finally:
            self._lane = self._to_program = None
            if association is not None:
                association.close()
            if inner is not None:
                inner.close()
            self._flows.running.pop((self._source, self._place), None)

    def take(self, octets: bytes) -> None:
        """One that came to the socket for all."""
        if self._lane is not None:
            self.deadline = self.engine.now + IDLE
            self._lane.send((octets,), 1)
        elif self._refused:
            self._flows.refuse(self._source, self._place, len(octets))
        elif len(self._waiting) < WAITING:
            self._waiting.append(octets)

    # --- from the program ---

    def _from_anyone(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        for view, size, sockaddr in zip(views, sizes, sockaddrs, strict=False):
            if sockaddr[:2] == self._source:  # another one's may have come before the socket was connected
                self._from_program((view,), (size,))

    def _from_program(self, views: Views, sizes: Sizes) -> None:
        if self._lane is not None and sizes:
            self.deadline = self.engine.now + IDLE
            _send_in_runs(self._lane, views, sizes)

    def _joined_from_program(self, cut: Cut, octets: int, _: tuple[Any, ...]) -> bool:
        return self._pass_joined(self._lane, cut, octets)

    # --- from the target: what a Correspondent is asked for ---

    def from_targets(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        if self._to_program is None:
            return
        if self._expected is not None and any(sockaddr[:2] != self._expected for sockaddr in sockaddrs):
            ours = [index for index, sockaddr in enumerate(sockaddrs) if sockaddr[:2] == self._expected]
            views, sizes = [views[index] for index in ours], [sizes[index] for index in ours]
        if sizes:
            self.deadline = self.engine.now + IDLE
            _send_in_runs(self._to_program, views, sizes)

    def joined_from_target(self, cut: Cut, octets: int, sockaddr: tuple[Any, ...]) -> bool:
        expected = self._expected is None or sockaddr[:2] == self._expected
        return expected and self._pass_joined(self._to_program, cut, octets)

    def reached(self, host: str, port: int) -> None:
        """It is the one place that this flow leads to."""

    # --- private ---

    def _open(self) -> DatagramSocket:
        raw = self._flows.doorman.open(self._place, self._source, BUFFER)
        inner = DatagramSocket(
            self.engine, raw, self.sent, self._from_anyone, self._from_program, self._joined_from_program
        )
        try:
            inner.connect(self._source)
        except OSError:
            inner.close()
            raise
        self._to_program = SocketLane(inner, None, self.received)
        return inner

    def _pass_joined(self, lane: Lane | None, cut: Cut, octets: int) -> bool:
        if lane is None or octets > RUN_OCTETS or octets > cut.size * RUN_DATAGRAMS:
            return False
        self.deadline = self.engine.now + IDLE
        lane.send(cut.parts(octets, 0)[1], 1)
        return True

    def _give_up(self, error: OSError) -> None:
        self._flows.failed(error)
        self._refused = True
        for octets in self._waiting:
            self._flows.refuse(self._source, self._place, len(octets))
        self._waiting.clear()

    @coroutine
    def _until_idle(self) -> Generator[None, None, None]:
        """Raises TimeoutError then, or what ends the association."""
        while True:
            self.waiting = self
            yield


def _send_in_runs(lane: Lane, views: Views, sizes: Sizes) -> None:
    """Datagrams of one size go together, with a shorter one at the end."""
    run: list[memoryview] = []
    most = room = 0
    for view, size in zip(views, sizes, strict=False):
        if run and not (0 < size <= most and size <= room and len(run) < RUN_DATAGRAMS):
            lane.send(run, 1)
            run = []
        if not run:
            most, room = size, RUN_OCTETS
        run.append(view[:size])
        room -= size
        if size < most or not size:
            lane.send(run, 1)
            run = []
    if run:
        lane.send(run, 1)


def _original_place(ancillary: Sequence[tuple[int, int, bytes]]) -> HostAndPort | None:
    """Where a datagram was sent to, as the kernel tells: a ``sockaddr``, of either family."""
    for level, kind, data in ancillary:
        if (level, kind) == (IPPROTO_IP, 20):  # IP_ORIGDSTADDR
            return inet_ntop(AF_INET, data[4:8]), int.from_bytes(data[2:4], "big")
        if (level, kind) == (41, 74):  # IPPROTO_IPV6, IPV6_ORIGDSTADDR
            return inet_ntop(AF_INET6, data[8:24]), int.from_bytes(data[2:4], "big")
    return None
