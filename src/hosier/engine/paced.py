"""Flows and lanes that are held to a pace: their next turn is delayed, or a datagram dropped.

A turn moves no more than was given to it; what it could not use goes back. Nothing here knows why a pace is what it is.
"""

from typing import TYPE_CHECKING, Any, Protocol

from .endpoint import ARRIVALS, MAYBE_MORE
from .events import EPOLLPRI
from .flow import FULL_READ, SMALL_SPLICE, Flow
from .flow_status import BLOCKED, BULK, DONE, OVER, QUEUED
from .layered import UnwrappingFlow, WrappingFlow
from .poller import SCRATCH
from .segments import Lane, Pieces, Traffic
from .stepping import SteppingFlow

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .layers import Layer
    from .poller import Engine
    from .relay import Relay

__all__ = ("Pacer", "PacedFlow", "PacedLane", "PacedUnwrappingFlow", "PacedWrappingFlow", "paced")


class Pacer(Protocol):
    """How much may go when, in octets and seconds of the engine's clock."""

    @property
    def portion(self) -> float:
        """What is worth a turn; with less, one waits."""

    def take(self, now: float) -> tuple[int, float]:
        """So many may go after so many seconds. What it raises ends the session."""

    def give_back(self, octets: int) -> None:
        """Of those taken, so many did not go."""

    def fits(self, now: float) -> float:
        """So many may go at once."""

    def spend(self, octets: int, now: float) -> None:
        """So many go in any case."""


class _Paced(SteppingFlow):
    """What the three have in common: each turn is paid for, before or at once."""

    __slots__ = ()  # two bases that have some could not be one class; so theirs are the flow's

    def pump(self) -> None:
        if not self.status & ~BULK:
            self.turn()

    def turn(self) -> None:
        self.status = status = self.status & ~QUEUED
        if status & BLOCKED:
            self.flush()
        elif status >= OVER:
            return
        elif self._credit:
            self._spend_credit()
        else:
            engine, pace = self.source.engine, self._pace
            room = pace.fits(engine.now)
            if room < pace.portion:
                self._wait()
            elif (moved := self._step(int(room))) > 0:  # nearly always: what has moved is paid for at once
                pace.spend(moved, engine.now)

    def _wait(self) -> None:
        """Pays for a turn that is yet to come."""
        engine = self.source.engine
        self._credit, seconds = self._pace.take(engine.now)
        if seconds > 0:
            self.status |= QUEUED
            engine.loop.call_later(seconds, self._paid)
        else:
            self._spend_credit()

    def _spend_credit(self) -> None:
        credit = self._credit
        moved = self._step(credit)
        if moved > credit:  # a layer has let go of what it held before
            self._pace.spend(moved - credit, self.source.engine.now)
        self._credit = max(0, min(credit, credit - moved))
        if not self.status & QUEUED or self.blocked or self._credit < SMALL_SPLICE:
            self._return_credit()  # a rest that is not worth a call goes back, too

    def _step(self, most: int) -> int:
        """Moves at most so many octets, and tells how many the sink has, or are held for it, besides."""
        before = self.moved + self.held
        self._advance(most)
        return self.moved + self.held - before

    def begin(self, leftover: bytes) -> None:
        if leftover:
            self._pace.spend(len(leftover), self.source.engine.now)
        super().begin(leftover)

    def abandon(self) -> None:
        super().abandon()
        self._return_credit()

    def _paid(self) -> None:
        """The wait is over. The engine may have slept meanwhile, or be closed; who was abandoned has no more turns."""
        if self.status < DONE:
            self.source.engine.queue(self)

    def _return_credit(self) -> None:
        if self._credit:
            self._pace.give_back(self._credit)
            self._credit = 0

    def _advance(self, most: int) -> None:
        """One step of at most so many octets; queues itself if there may be more."""
        raise NotImplementedError


class PacedFlow(_Paced):
    """Copies or splices, like any flow."""

    __slots__ = ()

    def __init__(self, relay: "Relay", source: "Endpoint", sink: "Endpoint", pace: Pacer) -> None:
        super().__init__(relay, source, sink)
        self._pace = pace
        self._credit = 0

    def _advance(self, most: int) -> None:
        engine = self.source.engine
        share = engine.room >> 3
        splices = self.status & BULK and share >= SCRATCH and not self.source.seen & EPOLLPRI
        if splices and (pipe := engine.pipes.take()) is not None:
            # What is ignored stays so until there is nothing more: to be told of each segment meanwhile costs a tenth.
            share = min(share, pipe.capacity, most)
            return self._splice(pipe, share, share)
        self.source.hear(ARRIVALS)
        if share < SCRATCH:
            self._pump_unheld(min(most, SCRATCH))
        else:
            self._copy(min(most, SCRATCH))
        return None

    def _copy(self, most: int) -> None:
        source, sink, scratch = self.source, self.sink, self.source.engine.scratch
        try:
            size = source.sock.recv_into(scratch, most)
        except BlockingIOError:
            source.ran_dry()
            return
        except OSError:
            self._source_died()
            return
        if not size:
            self._source_ended()
            return
        data = scratch[:size]
        try:
            sent = sink.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.sink_died(error)
            return
        self.moved += sent
        if size < min(most, FULL_READ):
            self._full_reads = 0
        else:
            self._is_bulk_now()
        if sent < size:
            self.hold(bytes(data[sent:]))
        elif size == most or source.seen & MAYBE_MORE:
            self._queue()


class PacedUnwrappingFlow(_Paced, UnwrappingFlow):
    """Through a security layer, upwards."""

    __slots__ = ()

    def __init__(
        self, relay: "Relay", source: "Endpoint", sink: "Endpoint", layer: "Layer", wrapped: bytes, pace: Pacer
    ) -> None:
        UnwrappingFlow.__init__(self, relay, source, sink, layer, wrapped)
        self._pace = pace
        self._credit = 0

    def _advance(self, most: int) -> None:
        self.source.hear(ARRIVALS)
        self._most = min(SCRATCH, most)
        UnwrappingFlow.pump(self)


class PacedWrappingFlow(_Paced, WrappingFlow):
    """Through a security layer, downwards."""

    __slots__ = ()

    def __init__(self, relay: "Relay", source: "Endpoint", sink: "Endpoint", layer: "Layer", pace: Pacer) -> None:
        WrappingFlow.__init__(self, relay, source, sink, layer)
        self._pace = pace
        self._credit = 0

    def _advance(self, most: int) -> None:
        self.source.hear(ARRIVALS)
        self._most = min(SCRATCH, self.layer.max_payload, most)
        WrappingFlow.pump(self)


class PacedLane:
    """A lane that drops what comes too fast: a datagram that waits is of no use to anybody."""

    __slots__ = ("_engine", "_lane", "_pace", "_tally")

    def __init__(self, lane: Lane, traffic: Traffic, pace: Pacer, engine: "Engine") -> None:
        self._lane = lane
        self._tally = traffic
        self._pace = pace
        self._engine = engine

    @property
    def place(self) -> tuple[Any, ...] | None:
        return self._lane.place

    @place.setter
    def place(self, place: tuple[Any, ...]) -> None:
        self._lane.place = place  # type: ignore[misc]  # whoever sets it has made the lane

    def send(self, pieces: Pieces, width: int) -> None:
        now = self._engine.now
        size, count = len(pieces[width - 1]), len(pieces) // width
        octets = size * (count - 1) + len(pieces[-1])
        room = self._pace.fits(now)
        if octets > room:
            fitting = max(0, int(room / size)) if size else 0
            self._tally.drop("bandwidth", count - fitting)
            pieces, octets = pieces[: fitting * width], fitting * size
        if pieces:
            self._pace.spend(octets, now)
            self._lane.send(pieces, width)


def paced(flow: Flow, pace: Pacer) -> Flow:
    """A flow that has not begun, held to the pace from its beginning."""
    relay, source, sink = flow.relay, flow.source, flow.sink
    if isinstance(flow, UnwrappingFlow):
        return PacedUnwrappingFlow(relay, source, sink, flow.layer, flow.wrapped, pace)
    if isinstance(flow, WrappingFlow):
        return PacedWrappingFlow(relay, source, sink, flow.layer, pace)
    return PacedFlow(relay, source, sink, pace)
