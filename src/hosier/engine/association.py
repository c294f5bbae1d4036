"""Datagrams straight out of this machine: to IPv4, IPv6 and names alike, from one socket per family."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import PolicyDenied
from ..protocol.address import IPV4, IPV6, NAME, Address
from .dial import Departures
from .resolve import Resolver
from .segments import Cut, Lane, Pieces, SocketLane, Traffic
from .udp import DatagramSocket, Sizes, Sockaddrs, Views, datagram_socket

if TYPE_CHECKING:
    from .poller import Engine

__all__ = ("Correspondent", "DirectAssociation", "LOOK_UPS", "Vetted", "WAITING")

Vetted = Callable[[Sequence[Address]], Sequence[Address]]
"""Given what a target stands for, the addresses that may be reached; raises if there are none."""

LOOK_UPS: Final = 16
"""Names that one association may have looked up at the same time."""

WAITING: Final = 32
"""Datagrams that may wait for one name."""

ASK_AGAIN: Final = 5.0
"""Seconds for which a name that could not be looked up is left alone."""

_EVERYWHERE: Final = {IPV4: Address(IPV4, bytes(4), 0), IPV6: Address(IPV6, bytes(16), 0)}


class Correspondent(Protocol):
    """Who has an association."""

    sent: Traffic
    """What goes out."""

    received: Traffic
    """What comes back."""

    def from_targets(self, views: Views, sizes: Sizes, sockaddrs: Sockaddrs) -> None:
        """A batch has come, from anywhere; it lies where it is until this returns."""

    def joined_from_target(self, cut: Cut, octets: int, sockaddr: tuple[Any, ...]) -> bool:
        """Datagrams of one sender have come together; False if they are to come as a batch."""

    def reached(self, host: str, port: int) -> None:
        """Datagrams can go there from now on."""


class DirectAssociation:
    """``lane(target)`` is the way to a target; ``correspondent`` gets what comes back."""

    __slots__ = ("_correspondent", "_look_ups", "_sockets", "_source", "buffer", "engine", "resolver")

    def __init__(
        self,
        engine: "Engine",
        resolver: Resolver,
        correspondent: Correspondent,
        *,
        buffer: int,
        source: Hashable = None,
    ) -> None:
        """``source``: whose it is, for the resolver."""
        self.engine = engine
        self.resolver = resolver
        self.buffer = buffer
        self._source = source
        self._correspondent: Correspondent | None = correspondent
        self._sockets: dict[Address, DatagramSocket] = {}  # by where they are bound to
        self._look_ups: dict[asyncio.Task[None], NameLane] = {}

    def lane(self, target: Address, vet: Vetted, sources: Departures | None = None) -> Lane:
        """The way to the target; one to a name holds datagrams back until the name has been looked up.

        ``vet`` sees the target's addresses before anything is sent there, ``sources`` tells where to leave from.
        Raises OSError, or what ``vet`` raises.
        """
        if target.kind == NAME:
            assert self._correspondent is not None  # it is not closed
            return NameLane(self, target, self._correspondent.sent, vet, sources)
        return self.open(vet((target,)), sources)

    def open(self, addresses: Sequence[Address], sources: Departures | None) -> Lane:
        """The way to the first address whose family this machine has."""
        for address in addresses[:-1]:
            try:
                return self._open(address, sources)
            except OSError:
                continue
        return self._open(addresses[-1], sources)

    def close(self) -> None:
        """Closes the sockets and forgets what waits for names; a second time is harmless."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        for task, lane in self._look_ups.items():
            task.cancel()
            lane.give_up("unresolved")
        self._look_ups.clear()
        self._correspondent = None  # it has us, too

    # --- for its lanes ---

    def look_up(self, lane: "NameLane", name: Address) -> bool:
        """Begins to look a name up; False: too many are under way."""
        if len(self._look_ups) >= LOOK_UPS:
            return False
        task = self.engine.loop.create_task(self._look_up(lane, name))
        self._look_ups[task] = lane
        task.add_done_callback(self._looked_up)
        return True

    # --- private ---

    async def _look_up(self, lane: "NameLane", name: Address) -> None:
        try:
            found = await self.resolver.resolve(name.octets, name.port, self._source)
            lane.lead(self.open(lane.vet([address.canonical() for address in found]), lane.sources))
        except PolicyDenied:
            lane.give_up("refused target")
        except OSError:
            lane.give_up("unresolved")
        except Exception:
            lane.give_up("unresolved")
            raise  # a fault: it is reported

    def _looked_up(self, task: "asyncio.Task[None]") -> None:
        self._look_ups.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.engine.report(error, f"a look-up crashed: {error!r}")

    def _open(self, address: Address, sources: Departures | None) -> Lane:
        user = self._correspondent
        assert user is not None  # it is not closed
        local = (sources and sources(address)) or _EVERYWHERE[address.kind]
        sock = self._sockets.get(local)
        if sock is None:
            raw = datagram_socket(local, buffer=self.buffer)
            sock = self._sockets[local] = DatagramSocket(
                self.engine, raw, user.received, user.from_targets, joined_run=user.joined_from_target
            )
        user.reached(*address.sockaddr)
        return SocketLane(sock, address.sockaddr, user.sent)


class NameLane:
    """The way to a name: datagrams wait, within bounds, until it leads somewhere."""

    __slots__ = ("_again", "_association", "_lane", "_reason", "_tally", "_target", "_waiting", "sources", "vet")

    def __init__(
        self,
        association: DirectAssociation,
        target: Address,
        traffic: Traffic,
        vet: Vetted,
        sources: Departures | None,
    ) -> None:
        self.vet = vet
        self.sources = sources
        self._association = association
        self._target = target
        self._tally = traffic
        self._lane: Lane | None = None
        self._waiting: list[bytes] | None = None
        self._again = 0.0
        self._reason = ""

    @property
    def place(self) -> tuple[Any, ...] | None:
        return None if self._lane is None else self._lane.place

    def send(self, pieces: Pieces, width: int) -> None:
        if self._lane is not None:
            self._lane.send(pieces, width)
            return
        engine = self._association.engine
        if self._waiting is None:
            if self._reason and engine.now < self._again:
                self._tally.drop(self._reason, len(pieces) // width)
                return
            if not self._association.look_up(self, self._target):
                self._tally.drop("too many names", len(pieces) // width)
                return
            self._waiting = []
        for start in range(0, len(pieces), width):
            datagram = b"".join(pieces[start : start + width])
            if len(self._waiting) < WAITING and len(datagram) <= engine.room:
                engine.room -= len(datagram)
                self._waiting.append(datagram)
            else:
                self._tally.drop("too many waiting")

    def lead(self, lane: Lane) -> None:
        """The name stands for this."""
        self._lane = lane
        for datagram in self._take():
            lane.send((datagram,), 1)

    def give_up(self, reason: str) -> None:
        """It stands for nothing that may be reached; what comes is dropped for a while."""
        self._reason = reason
        self._again = self._association.engine.now + ASK_AGAIN
        if waiting := self._take():
            self._tally.drop(reason, len(waiting))

    def _take(self) -> list[bytes]:
        waiting, self._waiting = self._waiting or [], None
        self._association.engine.room += sum(map(len, waiting))
        return waiting
