"""The datagrams of one UDP association, between its client and its targets (RFC 1928 §7).

A header is judged once: it then stands, whole, as the key to the lane that leads to its target, so what follows costs a
look-up. Datagrams of one size to one place travel as a run. Sockets and runs are the engine's business.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from socket import SO_KEEPALIVE, SOL_SOCKET
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..engine.egress import Association
from ..engine.endpoint import Endpoint
from ..engine.paced import PacedLane, Pacer
from ..engine.recent import Recent
from ..engine.segments import RUN_DATAGRAMS, RUN_OCTETS, ClosedLane, Cut, Lane, PeerLane, SocketLane, Traffic
from ..engine.udp import DatagramSocket, Sizes, Sockaddrs, Views
from ..errors import PolicyDenied, RemoteProtocolError
from ..observe.record import DatagramCounts
from ..policy.answers import Filtering
from ..policy.purses import Exhausted
from ..protocol.address import Address
from ..protocol.fragments import REASSEMBLY_SECONDS, Reassembly
from ..protocol.udp import HEADER_SIZES, decode_datagram, encode_header
from .answerers import Answerers
from .ruling import DatagramRuling, may_lead_to

if TYPE_CHECKING:
    from socket import SocketType

    from .session import Session
    from .settings import UdpSettings

__all__ = ("UdpRelay",)

REMEMBERED: Final = 300.0
"""Seconds after which a target that was not used is forgotten, at the latest after twice as many: the recommendation
of RFC 4787 §4.3. A name is then looked up anew."""

EXPLAINED: Final = 8
"""Refused targets of one association that the log explains."""

_DISCARDED: Final = 4096  # octets of the control connection at once
_IN_A_ROW: Final = 16


class UdpRelay:
    """A session's relay, where that session is an association: ``near`` is the control connection, ``far`` the way to
    the targets, ``up`` and ``down`` what went from and to the client."""

    ended_well = True
    fault = ""

    def __init__(self, session: "Session", sock: "SocketType", host: str, scope: tuple[Any, ...], owner: str) -> None:
        """``sock``: where the client is to send its datagrams. ``host``: the address that they must come from
        (S5-REQ-84), with the interface that it belongs to if it is link-local. ``owner``: whose association it is,
        for the server's count."""
        settings = session.server.settings
        self.near: Endpoint = session.client
        self.far: Association
        self.first_ended: Endpoint | None = None
        self.first_was_reset = False
        self.up = self.sent = Traffic()
        self.down = self.received = Traffic()
        self._task = session
        self._engine = session.engine
        self._udp: UdpSettings = settings.udp
        self._strict = settings.strict
        self._host = host, scope
        self._owner = owner
        self._client: tuple[Any, ...] | None = None
        self._up_pace: Pacer | None = None
        self._to_client: PeerLane
        self._inner, self._unpaced = self._entrance(sock)
        self._to_client = self._unpaced
        self._lanes: Recent[bytes, Lane] = Recent(self._udp.targets)
        self._answerers = Answerers(Filtering(self._udp.filtering), self._udp.targets)
        self._age_at = session.engine.now + REMEMBERED
        self._explained = 0
        self._reassembly = Reassembly()
        self._reassembly_timer: asyncio.TimerHandle | None = None

    def announced(self, port: int) -> None:
        """The client said which port it sends from (S5-REQ-73)."""
        host, scope = self._host
        self._pin((host, port, 0, *scope) if scope else (host, port))

    async def run(self, leftover: bytes = b"") -> None:
        """Relays until the control connection ends (S5-REQ-78); what comes on it is discarded (A-17).

        Raises TimeoutError at the idle limit, OSError if the control connection breaks.
        """
        near = self.near
        near.sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        self._task.set_limit("idle", self._udp.idle)
        count = 0
        while await near.recv(_DISCARDED):
            count += 1
            if not count % _IN_A_ROW:
                await asyncio.sleep(0)  # who sends without end gets no more than a turn
        self.first_ended = near

    def pace(self, up: Pacer | None, down: Pacer | None) -> None:
        """Holds the directions to a pace, and to none that was before; what is too fast is dropped."""
        self._up_pace = up
        self._lanes = Recent(self._udp.targets)  # those of before know nothing of it
        if down is not None:
            self._to_client = PacedLane(self._unpaced, self.down, down, self._engine)

    def counts(self) -> DatagramCounts:
        """For the log."""
        dropped = Counter(self.up.dropped) + Counter(self.down.dropped)
        return DatagramCounts(self.up.datagrams, self.down.datagrams, dropped)

    def judge_again(self) -> None:
        """The rules are others now, or say something else: every target is judged anew when the client next sends to
        it. Those that are still allowed may go on answering until then."""
        lanes, self._lanes = self._lanes, Recent(self._udp.targets)
        places = [(decode_datagram(key)[1], lane.place) for key, lane in lanes.items() if lane.place]
        self._answerers.keep([place for target, place in places if may_lead_to(self._task, target, place)])

    async def part(self) -> None:
        """Datagrams say no goodbye."""

    def dissolve(self) -> None:
        """Closes what the client sends to, and unties the parts; the tallies stay."""
        self._inner.close()
        self._abandon_fragments()
        self._lanes = Recent(2)
        self._task.server.associations.leave(self._owner)
        del self._to_client, self._unpaced, self._task

    # --- from the client ---

    def from_anyone(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        """A batch in which the senders must be looked at: they are not fixed yet, or may change."""
        ours_views: list[memoryview] = []
        ours_sizes: list[int] = []
        for view, size, sockaddr in zip(views, sizes, sockaddrs, strict=False):
            if sockaddr == self._client or self._is_the_client(view, size, sockaddr):
                ours_views.append(view)
                ours_sizes.append(size)
        if ours_sizes:
            self.from_client(ours_views, ours_sizes)

    def from_client(self, views: Views, sizes: Sizes) -> None:
        """A batch of the client's."""
        now = self._engine.now
        self._task.deadline = now + self._udp.idle
        if now >= self._age_at:
            self._age()
        datagrams = zip(views, sizes, strict=False)
        if self._reassembly.deadline is not None:
            self._forward_watching(datagrams)
        else:
            self._forward(datagrams)

    def joined_from_client(self, cut: Cut, octets: int, _: tuple[Any, ...]) -> bool:
        """A run that the kernel has joined already goes on as one, if all of it goes to one place that is known."""
        if self._engine.now >= self._age_at or self._reassembly.deadline is not None:
            return False
        self._task.deadline = self._engine.now + self._udp.idle
        first = cut.views[0]
        header = HEADER_SIZES[first[3]] or 7 + first[4]
        key = bytes(first[:header])
        lane = self._lanes.young.get(key)
        if lane is None or cut.size <= header or 0 < octets % cut.size <= header:
            return False
        heads, bodies = cut.parts(octets, header)
        if len(heads) > RUN_DATAGRAMS or b"".join(heads) != key * len(heads):
            return False
        lane.send(bodies, 1)
        return True

    def _forward(self, datagrams: Iterator[tuple[memoryview, int]]) -> None:
        """Gathers runs and sends each along its lane. No function call and no search per datagram."""
        lanes = self._lanes.young
        lane: Lane | None = None
        run: list[memoryview] = []
        key = b""
        header = most = room = 0
        for view, size in datagrams:
            if lane is not None:
                if header < size <= most and size <= room and bytes(view[:header]) == key:
                    run.append(view[header:size])
                    room -= size
                    if size == most and len(run) < RUN_DATAGRAMS:
                        continue
                    lane.send(run, 1)  # it is full, or a shorter one has ended it
                    lane = None
                    continue
                lane.send(run, 1)
            header = HEADER_SIZES[view[3]] or 7 + view[4]
            key = bytes(view[: header if header <= size else size])  # one that is cut short equals no whole one
            lane = lanes.get(key) or self._lane(key, view[:size])
            if lane is not None:
                run = [view[header:size]]
                most = size
                room = RUN_OCTETS - size
            elif self._reassembly.deadline is not None:
                self._forward_watching(datagrams)
                return
        if lane is not None:
            lane.send(run, 1)

    def _forward_watching(self, datagrams: Iterable[tuple[memoryview, int]]) -> None:
        """The same one by one, while fragments wait for the rest: a datagram that stands alone ends their sequence,
        since its FRAG is less than theirs (S5-REQ-96)."""
        for view, size in datagrams:
            if size > 2 and not view[2]:
                self._abandon_fragments()
            self._forward(iter(((view, size),)))

    def _lane(self, key: bytes, packet: memoryview) -> Lane | None:
        """The lane for a header that was not seen lately; None if there is nothing to send along it."""
        lane = self._remembered(key)
        if lane is not None:
            return lane
        try:
            fragment, target, data = decode_datagram(packet, strict=self._strict)
        except RemoteProtocolError:
            self.up.drop("malformed")
            return None
        if fragment:
            self._take_fragment(fragment, target, data)
            return None
        return self._open_lane(key, target.canonical())

    def _remembered(self, key: bytes) -> Lane | None:
        """The lane for a header, which is in use: that its target may answer is not to be forgotten before it is."""
        lane = self._lanes.get(key)
        if lane is not None and lane.place is not None:
            self.reached(lane.place[0], lane.place[1])
        return lane

    def _open_lane(self, key: bytes, target: Address) -> Lane:
        lane: Lane
        try:
            judge = DatagramRuling(self._task, target, self._explain)
            lane = self.far.lane(target, judge.vet, judge.sources)
        except Exhausted:
            return ClosedLane(self.up, "refused target")  # this time: a moment later there may be something to draw on
        except PolicyDenied:
            lane = ClosedLane(self.up, "refused target")
        except OSError:
            return ClosedLane(self.up, "unreachable")  # this time: it may be different in a moment
        if self._up_pace is not None:
            lane = PacedLane(lane, self.up, self._up_pace, self._engine)
        self._lanes[key] = lane
        return lane

    def _explain(self, denied: PolicyDenied) -> None:
        self._explained += 1
        if self._explained <= EXPLAINED:
            self._task.server.explain(self._task, f"datagrams refused: {denied.reason}", denied.advice)

    # --- who the client is ---

    def _entrance(self, sock: "SocketType") -> tuple[DatagramSocket, PeerLane]:
        """Where the client's datagrams come in, and the lane that leads back to it."""
        inner = DatagramSocket(self._engine, sock, self.up, self.from_anyone, self.from_client, self.joined_from_client)
        return inner, SocketLane(inner, None, self.down)

    def may_be_the_client(self, sockaddr: tuple[Any, ...]) -> bool:
        """Whether it sends from where the client is to be (S5-REQ-84)."""
        if sockaddr == self._client:
            return True
        return (sockaddr[0], sockaddr[3:]) == self._host and (self._client is None or self._udp.follow)

    def _is_the_client(self, packet: memoryview, size: int, sockaddr: tuple[Any, ...]) -> bool:
        """Judges a sender that is not known as the client; the first valid datagram from its address makes it so."""
        if not self.may_be_the_client(sockaddr):
            self.up.drop("stranger")
            return False
        try:
            decode_datagram(packet[:size], strict=self._strict)
        except RemoteProtocolError:
            self.up.drop("malformed")
            return False
        self._pin(sockaddr)
        return True

    def _pin(self, sockaddr: tuple[Any, ...]) -> None:
        self._client = sockaddr
        if not self._udp.follow:
            with suppress(OSError):  # then we go on looking at the senders ourselves
                self._inner.connect(sockaddr)
                return
        self._to_client.place = sockaddr

    # --- fragments ---

    def _take_fragment(self, fragment: int, target: Address, data: bytes) -> None:
        if not self._udp.reassemble:
            self.up.drop("fragment")  # S5-REQ-89
            return
        engine, reassembly = self._engine, self._reassembly
        before, abandoned = reassembly.held, reassembly.abandoned
        whole = reassembly.add(fragment, target, data, engine.now)
        engine.room -= reassembly.held - before
        if reassembly.abandoned > abandoned:
            self.up.drop("fragment", reassembly.abandoned - abandoned)
        if engine.room < 0:
            self._abandon_fragments()
        elif reassembly.deadline is not None and self._reassembly_timer is None:
            self._reassembly_timer = engine.loop.call_later(REASSEMBLY_SECONDS, self._fragments_waited)
        if whole is not None:
            key = encode_header(target)
            lane = self._remembered(key) or self._open_lane(key, target.canonical())
            lane.send((whole,), 1)

    def _fragments_waited(self) -> None:
        """The timer of the sequence that was first when it was set; a later one gets the rest of its time."""
        self._reassembly_timer = None
        deadline = self._reassembly.deadline
        if deadline is None:
            return
        left = deadline - monotonic()
        if left > 0:
            self._reassembly_timer = self._engine.loop.call_later(left, self._fragments_waited)
        else:
            self._abandon_fragments()

    def _abandon_fragments(self) -> None:
        if self._reassembly_timer is not None:
            self._reassembly_timer.cancel()
            self._reassembly_timer = None
        held, abandoned = self._reassembly.held, self._reassembly.abandoned
        self._reassembly.reset()
        self._engine.room += held
        if self._reassembly.abandoned > abandoned:
            self.up.drop("fragment", self._reassembly.abandoned - abandoned)

    # --- to the client ---

    def reached(self, host: str, port: int) -> None:
        """The client sends to that place now."""
        self._answerers.expect(host, port)

    def from_targets(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        """A batch from anywhere: what may pass goes to the client, under a header that names its sender (S5-REQ-80)."""
        send = self._to_client.send
        headers = self._answerers.headers.young
        run: list[memoryview | bytes] = []
        sender: tuple[Any, ...] = ()
        header: bytes | None = None
        most = room = 0
        for view, size, sockaddr in zip(views, sizes, sockaddrs, strict=False):
            if run:
                if sockaddr == sender and 0 < size <= most and size <= room:
                    run += (header, view[:size])  # type: ignore[arg-type]  # not None while there is a run
                    room -= size + len(header)  # type: ignore[arg-type]
                    if size == most and len(run) < 2 * RUN_DATAGRAMS:
                        continue
                    send(run, 2)
                    run = []
                    continue
                send(run, 2)
                run = []
            header = headers.get(sockaddr) or self._header(sockaddr)
            if header is not None:
                run = [header, view[:size]]
                sender = sockaddr
                most = size
                room = RUN_OCTETS - size - 2 * len(header)
        if run:
            send(run, 2)
        if sender:  # what was not asked for keeps nothing alive
            self._task.deadline = self._engine.now + self._udp.idle

    def joined_from_target(self, cut: Cut, octets: int, sockaddr: tuple[Any, ...]) -> bool:
        """A run that the kernel has joined already goes on as one, if its sender is known and all of it fits."""
        header = self._answerers.headers.young.get(sockaddr)
        if header is None:
            return False
        bodies = cut.parts(octets, 0)[1]
        if len(bodies) > RUN_DATAGRAMS or octets + len(bodies) * len(header) > RUN_OCTETS:
            return False
        self._task.deadline = self._engine.now + self._udp.idle
        run: list[memoryview | bytes] = [header] * (2 * len(bodies))
        run[1::2] = bodies
        self._to_client.send(run, 2)
        return True

    def _header(self, sockaddr: tuple[Any, ...]) -> bytes | None:
        """The header for a sender that was not heard lately; None if it may not answer."""
        header = self._answerers.header(sockaddr)
        if header is None:
            self.down.drop("unexpected sender")
        return header

    def _age(self) -> None:
        self._age_at = self._engine.now + REMEMBERED
        self._lanes.age()
        self._answerers.age()
