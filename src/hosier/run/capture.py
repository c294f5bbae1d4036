"""Captured connections: the program's half is held back until the proxy has reached the target.

A SYN that is held comes to the gate (see ``network``). If the target is reached, the same SYN is sent again, to the
listener this time, and the two halves are joined. If not, the program gets the error that it would get without a proxy:
a reset, or the ICMP error for it. So its ``connect()`` says the truth.

Where there is no gate, the listener takes the connection at once and a failure is a reset.
"""

from collections.abc import Generator
from contextlib import suppress
from math import inf
from socket import AF_INET, AF_INET6, SocketType
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from ..engine.endpoint import Endpoint
from ..engine.events import EPOLLIN
from ..engine.listener import Listener
from ..engine.relay import Relay
from ..engine.task import Task
from .packets import HostAndPort, Syn, answer_for, parse_syn, released
from .ways import anything, number_for

if TYPE_CHECKING:
    from ..engine.poller import Engine
    from .doors import Doors, Side
    from .voice import Voice
    from .ways import Ways

__all__ = ("Capture", "Captured")

PATIENCE: Final = 150.0
"""Seconds for the proxies to reach a target. The kernel's own patience with a silent host ends before."""

ARRIVAL: Final = 5.0
"""Seconds between a SYN that was let go and its connection; the program may have given up meanwhile."""

MOST_HELD: Final = 65_536
"""Connections; further ones wait for the SYN to be repeated."""

_AT_ONCE: Final = 64
_PACKET: Final = 256  # octets; longer than any SYN

Key = tuple[HostAndPort, HostAndPort]


class Capture:
    """All captured connections; ``held`` are those whose SYN came to the gate, by source and target, until they end."""

    def __init__(self, engine: "Engine", doors: "Doors", ways: "Ways", voice: "Voice") -> None:
        self.engine = engine
        self.ways = ways
        self.voice = voice
        self.owner = self  # of the gate's edges
        self.held: dict[Key, Captured] = {}
        self._raw = {int(side.raw.family): side.raw for side in doors.sides}
        self._listeners = {int(side.raw.family): self._listen(side) for side in doors.sides}
        self.sock = doors.gate
        if self.sock is not None:
            engine.watch(self.sock.fileno(), self, EPOLLIN)

    def on_edge(self, _: Any, events: int) -> None:
        """SYNs wait at the gate."""
        assert self.sock is not None  # it is watched
        recv = self.sock.recv
        with suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                syn = parse_syn(recv(_PACKET))
                if syn is None or len(self.held) >= MOST_HELD:
                    continue
                known = self.held.get((syn.source, syn.target))
                if known is not None and known.syn is not None and syn.repeats(known.syn):
                    continue  # also when it was on its way while the first one was let go
                session = self.held[syn.source, syn.target] = Captured(self, syn.target, syn)
                session.start()

    # --- for the connections ---

    def let_go(self, syn: Syn) -> None:
        """Sends it again; usually the connection is accepted before this returns. Raises OSError."""
        raw = self._raw_for(syn)
        raw.sendto(released(syn.packet), (syn.target[0], 0))
        listener = self._listeners[int(raw.family)]
        listener.on_edge(listener, EPOLLIN)

    def refuse(self, syn: Syn, error: OSError) -> None:
        """Lets the program's ``connect()`` fail."""
        with suppress(OSError):  # then the program's own patience ends it
            self._raw_for(syn).sendto(answer_for(syn, number_for(error)), (syn.source[0], 0))

    # --- private ---

    def _listen(self, side: "Side") -> Listener:
        return Listener(self.engine, side.streams, self._accepted, self._exhausted)

    def _raw_for(self, syn: Syn) -> Any:
        return self._raw[AF_INET6 if ":" in syn.source[0] else AF_INET]

    def _accepted(self, sock: SocketType, peer: Any) -> None:
        target: HostAndPort = sock.getsockname()[:2]
        session = self.held.get((peer[:2], target))
        if session is not None and session.near is None:
            session.arrived(sock)
        else:
            session = Captured(self, target, None)
            session.arrived(sock)
            session.start()

    def _exhausted(self, error: OSError) -> None:
        self.voice.say(f"too many connections: {error.strerror}; raise the limit of open files (ulimit -n)")


class Captured(Task):
    """One captured connection. ``run()`` is its story."""

    __slots__ = ("_capture", "near", "syn", "target")

    def __init__(self, capture: Capture, target: HostAndPort, syn: Syn | None) -> None:
        """``syn``: what is held back; None: the connection stands already and will arrive."""
        Task.__init__(self, capture.engine)
        self.near: Endpoint | None = None
        self.target = target
        self._capture = capture
        self.syn = syn

    async def run(self) -> None:
        """Reach the target, let the program in, relay."""
        capture = self._capture
        far: Endpoint | None = None
        relay: Relay | None = None
        try:
            self.set_limit("connect", PATIENCE)
            egress, address = capture.ways.to(*self.target)
            far, _ = await egress.connect(self, address, anything)
            if self.near is None:
                await self._let_in()
            assert self.near is not None  # it has arrived
            relay = Relay(self, self.near, far, inf)  # how long it may be idle, the program and its target know
            await relay.run()
            if not relay.ended_well:
                await relay.part()
        except OSError as error:
            if far is None:
                self._fail(error)
        finally:
            self._forget()
            if self.near is not None:
                self.near.close()
            if far is not None:
                far.close()
            if relay is not None:
                relay.dissolve()

    def arrived(self, sock: SocketType) -> None:
        """The program's half."""
        self.near = Endpoint(self.engine, sock, self)
        if self.waiting is self:
            self.resume()

    # --- private ---

    @coroutine
    def _let_in(self) -> Generator[None, None, None]:
        """Raises OSError if the program does not come any more."""
        assert self.syn is not None  # or it would have arrived
        self.set_limit("arrival", ARRIVAL)
        self._capture.let_go(self.syn)
        while self.near is None:
            self.waiting = self
            yield

    def _fail(self, error: OSError) -> None:
        self._capture.voice.failed(error)
        if self.syn is not None:
            self._capture.refuse(self.syn, error)
        elif self.near is not None:
            self.near.reset()

    def _forget(self) -> None:
        syn = self.syn
        if syn is not None and self._capture.held.get((syn.source, syn.target)) is self:
            del self._capture.held[syn.source, syn.target]
