"""One direction of a relay: from a source to a sink, nothing lost, nothing held beyond the engine's bound.

A flow starts by copying: one recv and one send are the cheapest way for small talk. When it has filled the buffer a
few times running it is bulk, and moves on by splice, in turns, without its octets ever becoming Python objects.
"""

from errno import ECONNRESET, EPIPE
from socket import MSG_PEEK
from typing import TYPE_CHECKING, Final

from .endpoint import ARRIVALS, BROKEN, MAYBE_MORE, READABLE, WRITABLE, Endpoint
from .events import EPOLLIN, EPOLLOUT, EPOLLPRI
from .flow_status import ABANDONED, BLOCKED, BULK, DONE, OVER, QUEUED
from .gathering import GATHERED, ONE_WAY, Gathering, ran_dry
from .pipes import SPLICE_FLAGS, Pipe, splice
from .poller import SCRATCH
from .unsent import bound_unsent

if TYPE_CHECKING:
    from .paced import Pacer
    from .relay import Relay

__all__ = ("Flow",)

FULL_READ: Final = SCRATCH // 2  # octets: what network cards and the loopback join to one segment is less than a buffer
BULK_AFTER: Final = 4  # full reads in a row
TURN: Final = 1 << 20  # octets of a bulk flow's turn, not much more
QUIET_TURN: Final = 4 * TURN  # while nobody else has anything to say, and only the steps of a turn would be more
SMALL_SPLICE: Final = 16384  # octets; a splice that moves less is small talk again

_OTHERS: Final = ~QUEUED
_FINISHED: Final = OVER | DONE


class Flow:
    """What was read and not yet taken by the sink is held: octets in ``_rest``, or in a ``_pipe``. While the flow is
    blocked nothing more is read: that is the back-pressure."""

    __slots__ = (
        "_credit",
        "_full_reads",
        "_pace",
        "_pipe",
        "_rest",
        "gathering",
        "moved",
        "relay",
        "sink",
        "source",
        "status",
        "twin",
    )

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint) -> None:
        self.relay = relay
        self.source = source
        self.sink = sink
        self.twin: Flow
        """The other direction."""
        self.moved = 0
        """Octets that the sink's kernel has taken; exact at any moment."""
        self.status = 0
        """The flags of ``flow_status``; nearly always none, and one look tells."""
        self.gathering: Gathering | None = None
        """Of one that has moved much."""
        self._full_reads = 0
        self._rest = b""
        self._pipe: Pipe | None = None
        self._pace: Pacer
        self._credit: int
        """What was paid for and has not moved. Only flows that are held to a pace have these two."""

    @property
    def payload(self) -> int:
        """Octets of payload among those that moved."""
        return self.moved

    @property
    def held(self) -> int:
        """Octets that were read, and the sink has not taken."""
        return len(self._rest) + (self._pipe.octets if self._pipe is not None else 0)

    @property
    def blocked(self) -> bool:
        return self.status & BLOCKED != 0

    @property
    def ended(self) -> bool:
        return self.status >= OVER

    def on_edge(self, source: Endpoint, events: int) -> None:
        """An edge of the source: octets or an end to read, or room for the twin, which writes there.

        Copies until the source is dry, the sink is full, or the flow turns out to be bulk.
        """
        try:
            if events != EPOLLIN and not self._heed(events):  # nearly always it is octets, and one comparison tells
                return None
            if self.status:
                return self._put_off()
            sink, engine = self.sink, source.engine
            if engine.room < SCRATCH:
                return self._pump_unheld()
            scratch = engine.scratch
            while True:
                try:
                    size = source.sock.recv_into(scratch)
                except BlockingIOError:
                    return source.ran_dry()
                except OSError:
                    return self._source_died()
                if not size:
                    return self._source_ended()
                try:
                    sent = sink.sock.send(scratch[:size])
                except BlockingIOError:
                    sent = 0
                except OSError as error:
                    return self.sink_died(error)
                self.moved += sent
                if sent < size:
                    return self.hold(bytes(scratch[sent:size]))
                if size < FULL_READ:
                    self._full_reads = 0
                elif self._is_bulk_now():
                    return self._queue()
                elif size == SCRATCH:
                    continue
                if events == EPOLLIN:
                    # A short read: dry, the next edge will come. Not so if an end or urgent data was told of.
                    return None
        except Exception as error:  # noqa: BLE001  # it ends this relay alone
            self.crashed(error)

    def pump(self) -> None:
        """Goes on as if an edge had told of octets, and of what else is known."""
        self.on_edge(self.source, EPOLLIN | self.source.seen & MAYBE_MORE)

    def turn(self) -> None:
        """Its turn in the engine's round robin: what is held, and splices, or one copy where splice cannot serve."""
        self.status = status = self.status & _OTHERS
        if status >= BLOCKED:
            if not status & BLOCKED or not self._emptied():
                return None
            status = self.status
        source, engine = self.source, self.source.engine
        # The fuller the engine, the smaller the share that one slow reader may come to hold.
        share = engine.room >> 3
        splices = status & BULK and share >= SCRATCH and not source.seen & EPOLLPRI  # before which splice stops
        if splices and (pipe := engine.pipes.take()) is not None:
            return self._splice(pipe, min(share, pipe.capacity), QUIET_TURN if engine.is_quiet else TURN)
        source.hear(ARRIVALS)
        if share < SCRATCH:
            return self._pump_unheld()
        if status & BULK:
            self._full_reads = BULK_AFTER
            self.status &= ~BULK
        return self.pump()

    def on_writable(self) -> None:
        """The sink can take octets again. A pipe may hold much, so it waits for its turn."""
        if self._pipe is None:
            self.flush()
        else:
            self._queue()

    def begin(self, leftover: bytes) -> None:
        """Sends what has arrived already, and goes on if the source is known to have more."""
        if leftover:
            self._keep(leftover)
            self.flush()
        elif self.source.seen & READABLE:
            self.pump()

    def hold(self, data: bytes) -> None:
        """Keeps octets that the sink did not take, until it does."""
        self._keep(data)
        self.sink.hear(EPOLLOUT)

    def flush(self) -> None:
        """Sends what is held, then goes on with new octets."""
        if not self._emptied():
            return
        if self.status & BULK:
            self._queue()  # what is ignored stays so until there is nothing more
        else:
            self.source.hear(ARRIVALS)
            self.pump()

    def abandon(self) -> None:
        """Gives the direction up, with what it holds. A pipe with octets in it is closed, never used again."""
        self.status = self.status & QUEUED | ABANDONED | OVER | DONE
        engine, pipe = self.source.engine, self._pipe
        engine.room += self.held
        self._rest, self._pipe = b"", None
        if pipe is not None:
            engine.pipes.discard(pipe)

    def sink_died(self, error: OSError) -> None:
        """Writing failed: this direction is over. What the sink sent before is still read and delivered."""
        twin = self.twin
        # EPIPE: the peer had ended its stream properly before it refused ours. Anything else cut that stream, too,
        # and the error that said so is spent: its next read would look like a clean end.
        if error.errno != EPIPE:
            self.sink.was_reset = True
        self.relay.ended_well = False
        self.abandon()
        if twin.status >= DONE:
            self.relay.finish()
        else:
            twin.pump()

    def crashed(self, error: Exception) -> None:
        self.relay.crashed(error)

    # --- private ---

    def _heed(self, events: int) -> bool:
        """Other news of the source than octets alone; whether there is something to read, too."""
        source, twin = self.source, self.twin
        source.seen |= events
        if twin.status & BLOCKED and events & WRITABLE:
            twin.on_writable()
        if self.status < OVER:
            return events != EPOLLOUT
        if twin.status < DONE and events & BROKEN:
            twin.sink_died(ConnectionResetError(ECONNRESET, "connection lost"))  # no read will tell
        return False

    def _put_off(self) -> None:
        """There is more, and it must wait."""
        if self.status & BLOCKED:
            self.source.ignore(ARRIVALS)  # each segment that joins it would be one more edge in vain
        elif self.status == BULK:
            self._queue()

    def _is_bulk_now(self) -> bool:
        """After a full read."""
        self._full_reads += 1
        if self._full_reads < BULK_AFTER:
            return False
        if self._full_reads == BULK_AFTER:
            bound_unsent(self.sink.sock)
        self.status |= BULK
        return True

    def _emptied(self) -> bool:
        """Sends what is held; whether all of it went, and there may be more."""
        try:
            if self._rest:
                self._flush_rest()
            elif self._pipe is not None:
                self._flush_pipe(self._pipe)
        except BlockingIOError:
            pass
        except OSError as error:
            self.sink_died(error)
            return False
        if self._rest or self._pipe is not None:
            self.sink.hear(EPOLLOUT)
            return False
        self.status &= ~BLOCKED
        if self.status >= OVER:
            self._pass_end()
            return False
        return True

    def _queue(self) -> None:
        if not self.status & QUEUED:
            self.status |= QUEUED
            self.source.engine.queue(self)

    def _keep(self, data: bytes) -> None:
        self._rest = data
        self.source.engine.room -= len(data)
        self.status |= BLOCKED

    def _block(self) -> None:
        self.status |= BLOCKED
        self.sink.hear(EPOLLOUT)

    def _pump_unheld(self, most: int = SCRATCH) -> None:
        """One copy that holds nothing: peek, send, and take from the source only what the sink took."""
        source, sink, scratch = self.source, self.sink, self.source.engine.scratch
        try:
            size = source.sock.recv_into(scratch, most, MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return self._source_died()
        if not size:
            return self._source_ended()
        try:
            sent = sink.sock.send(scratch[:size])
        except BlockingIOError:
            return self._block()
        except OSError as error:
            return self.sink_died(error)
        source.sock.recv_into(scratch, sent)
        self.moved += sent
        return self._block() if sent < size else self._queue()

    def _splice(self, pipe: Pipe, share: int, most: int) -> None:
        """Moves a share at a time until one is not filled or ``most`` octets have gone; the sink's rest is held."""
        engine, source, sink, size = self.source.engine, self.source.fd, self.sink.fd, share
        while size == share and most > 0:
            try:
                size = splice(source, pipe.write_fd, share, None, None, SPLICE_FLAGS)
            except BlockingIOError:
                engine.pipes.give(pipe)
                self.source.hear(ARRIVALS)
                return ran_dry(self, SCRATCH, GATHERED // SCRATCH) if self.moved >= ONE_WAY else None
            except OSError:
                engine.pipes.discard(pipe)
                return self._source_died()
            if not size:
                self.source.seen |= EPOLLPRI  # or it is the end: a read will tell
                break
            try:
                sent = splice(pipe.read_fd, sink, size, None, None, SPLICE_FLAGS)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._hold_pipe(pipe, size)
                return self.sink_died(error)
            self.moved += sent
            if sent < size:
                self._hold_pipe(pipe, size - sent)
                return self.sink.ask(EPOLLOUT)
            most -= size
        if size < SMALL_SPLICE:
            self._full_reads = 0
            self.status &= ~BULK
        engine.pipes.give(pipe)
        return self._queue()

    def _hold_pipe(self, pipe: Pipe, octets: int) -> None:
        self._pipe, pipe.octets = pipe, octets
        self.source.engine.room -= octets
        self.status |= BLOCKED

    def _flush_rest(self) -> None:
        sent = self.sink.sock.send(self._rest)
        self.moved += sent
        self.source.engine.room += sent
        self._rest = self._rest[sent:]

    def _flush_pipe(self, pipe: Pipe) -> None:
        engine = self.source.engine
        sent = splice(pipe.read_fd, self.sink.fd, pipe.octets, None, None, SPLICE_FLAGS)
        self.moved += sent
        engine.room += sent
        pipe.octets -= sent
        if pipe.octets:
            self.sink.ask(EPOLLOUT)
        else:
            self._pipe = None
            engine.pipes.give(pipe)

    def _source_ended(self) -> None:
        source, relay, twin = self.source, self.relay, self.twin
        if source.was_reset:
            self._source_died()
            return
        if relay.first_ended is None:
            relay.first_ended = source
        if self.status & BLOCKED:
            self.status |= OVER
        else:
            self._pass_end()
        if twin.status < DONE and source.seen & BROKEN:
            # Its stream has ended, so no read will tell: the connection is gone altogether.
            twin.sink_died(ConnectionResetError(ECONNRESET, "connection lost"))

    def _source_died(self) -> None:
        """Reading failed. What was read before is delivered, then the failure is passed on as one."""
        source, relay, twin = self.source, self.relay, self.twin
        source.was_reset = True
        relay.ended_well = False
        self.status |= OVER
        if relay.first_ended is None:
            relay.first_ended = source
            relay.first_was_reset = True
        if twin.status < DONE:
            twin.abandon()
        if not self.status & BLOCKED:
            self._pass_end()

    def _pass_end(self) -> None:
        self.status = _FINISHED
        if self.twin.status >= DONE:
            self.relay.finish()
        else:
            self.sink.shutdown()
