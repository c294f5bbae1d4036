"""One direction of a relay: from a source to a sink, nothing lost, nothing held beyond the engine's bound.

A flow starts by copying: one recv and one send are the cheapest way for small talk. When it has filled the buffer a
few times running it is bulk, and moves on by splice, in turns, without its octets ever becoming Python objects.
"""

import os
from errno import ECONNRESET, EPIPE
from socket import MSG_PEEK
from typing import TYPE_CHECKING, Final

from .endpoint import BROKEN, ENDED, READABLE, WRITABLE, Endpoint
from .events import EPOLLIN, EPOLLOUT
from .pipes import Pipe
from .poller import SCRATCH

if TYPE_CHECKING:
    from .paced import Pacer
    from .relay import Relay

__all__ = ("Flow",)

SPLICE_FLAGS: Final = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
FULL_READ: Final = SCRATCH // 2  # octets: what network cards and the loopback join to one segment is less than a buffer
BULK_AFTER: Final = 4  # full reads in a row
SMALL_SPLICE: Final = 16384  # octets; a splice that moves less is small talk again


class Flow:
    """What was read and not yet taken by the sink is held: octets in ``_rest``, or ``_piped`` of them in ``_pipe``.

    While the flow is blocked nothing more is read: that is the back-pressure.
    """

    __slots__ = (
        "_credit",
        "_full_reads",
        "_pace",
        "_pipe",
        "_piped",
        "_queued",
        "_rest",
        "abandoned",
        "blocked",
        "done",
        "ended",
        "moved",
        "relay",
        "sink",
        "source",
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
        self.blocked = False
        """The sink is full; its next writable edge calls ``flush``."""
        self.ended = False
        """Nothing more is read from the source."""
        self.done = False
        """Everything is delivered and the end passed on, or the direction is given up."""
        self.abandoned = False
        """Given up: the source may still be sending."""
        self._pace: Pacer
        self._credit: int
        """What was paid for and has not moved. Only flows that are held to a pace have these two."""
        self._full_reads = 0
        self._queued = False
        self._rest = b""
        self._pipe: Pipe | None = None
        self._piped = 0

    @property
    def payload(self) -> int:
        """Octets of payload among those that moved."""
        return self.moved

    def on_edge(self, source: Endpoint, events: int) -> None:
        """An edge of the source: octets or an end to read, or room for the twin, which writes there."""
        twin = self.twin
        try:
            if events == EPOLLIN and not self.blocked:  # nearly always, and one comparison tells
                self.pump()
                return
            if events & ENDED:
                source.seen |= events & ENDED
            if twin.blocked and events & WRITABLE:
                twin.on_writable()
            if events & READABLE and not self.ended:
                if self.blocked:
                    # There is more, and it must wait. Each segment that joins it would be one more edge in vain.
                    source.ignore(EPOLLIN)
                else:
                    self.pump()
            if events & BROKEN and self.ended and not twin.done:
                # Its stream has ended, so no read will tell: the connection is gone altogether.
                twin.sink_died(ConnectionResetError(ECONNRESET, "connection lost"))
        except Exception as error:  # noqa: BLE001  # it ends this relay alone
            self.crashed(error)

    def pump(self) -> None:
        """Copies until the source is dry, the sink is full, or the flow turns out to be bulk."""
        if self.ended or self.blocked or self._queued:
            return None
        if self._full_reads >= BULK_AFTER:
            return self._queue()
        source, sink = self.source, self.sink
        engine = source.engine
        if engine.room < SCRATCH:
            return self._pump_unheld()
        scratch = engine.scratch
        while True:
            try:
                size = source.sock.recv_into(scratch)
            except BlockingIOError:
                return None
            except OSError:
                return self._source_died()
            if not size:
                return self._source_ended()
            data = scratch[:size]
            try:
                sent = sink.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                return self.sink_died(error)
            self.moved += sent
            if sent < size:
                return self.hold(bytes(data[sent:]))
            if size >= FULL_READ:
                self._full_reads += 1
                if self._full_reads >= BULK_AFTER:
                    return self._queue()
            else:
                self._full_reads = 0
            if size < SCRATCH and not source.seen & ENDED:
                # A short read: dry, the next edge will come. Not so if the end was seen, whose edge is spent.
                return None

    def turn(self) -> None:
        """The flow's turn in the engine's round robin: what is held, and one splice, or one copy where splice cannot
        serve."""
        self._queued = False
        if self.blocked:
            if not self._emptied():
                return
        elif self.ended:
            return
        engine = self.source.engine
        # The fuller the engine, the smaller the share that one slow reader may come to hold.
        share = engine.room >> 3
        is_bulk = self._full_reads >= BULK_AFTER
        if is_bulk and share >= SCRATCH and (pipe := engine.pipes.take()) is not None:
            self._splice(pipe, min(share, pipe.capacity))
            return
        self.source.hear(EPOLLIN)
        if share < SCRATCH:
            self._pump_unheld()
            return
        if is_bulk:
            self._full_reads = BULK_AFTER - 1
        self.pump()

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
        if self._full_reads >= BULK_AFTER:
            self._queue()  # what is ignored stays so until there is nothing more
        else:
            self.source.hear(EPOLLIN)
            self.pump()

    def abandon(self) -> None:
        """Gives the direction up, with what it holds. A pipe with octets in it is closed, never used again."""
        self.abandoned = self.ended = self.done = True
        self.blocked = False
        self.source.engine.room += len(self._rest) + self._piped
        self._rest, self._piped = b"", 0
        if self._pipe is not None:
            self.source.engine.pipes.discard(self._pipe)
            self._pipe = None

    def sink_died(self, error: OSError) -> None:
        """Writing failed: this direction is over. What the sink sent before is still read and delivered."""
        sink, twin = self.sink, self.twin
        # EPIPE: the peer had ended its stream properly before it refused ours. Anything else cut that stream, too,
        # and the error that said so is spent: its next read would look like a clean end.
        if error.errno != EPIPE:
            sink.was_reset = True
        self.relay.ended_well = False
        self.abandon()
        if twin.done:
            self.relay.finish()
        else:
            twin.pump()

    def crashed(self, error: Exception) -> None:
        self.relay.crashed(error)

    # --- private ---

    def _emptied(self) -> bool:
        """Sends what is held; whether all of it went, and there may be more."""
        try:
            if self._rest:
                self._flush_rest()
            elif self._pipe is not None:
                self._flush_pipe(self._pipe)
        except BlockingIOError:
            self.sink.hear(EPOLLOUT)
            return False
        except OSError as error:
            self.sink_died(error)
            return False
        if self._rest or self._piped:
            self.sink.hear(EPOLLOUT)
            return False
        self.blocked = False
        if self.ended:
            self._pass_end()
            return False
        return True

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self.source.engine.queue(self)

    def _keep(self, data: bytes) -> None:
        self._rest = data
        self.source.engine.room -= len(data)
        self.blocked = True

    def _block(self) -> None:
        self.blocked = True
        self.sink.hear(EPOLLOUT)

    def _pump_unheld(self, most: int = SCRATCH) -> None:
        """One copy that holds nothing: peek, send, and take from the source only what the sink took."""
        source, sink, scratch = self.source, self.sink, self.source.engine.scratch
        try:
            size = source.sock.recv_into(scratch, most, MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._source_died()
            return
        if not size:
            self._source_ended()
            return
        try:
            sent = sink.sock.send(scratch[:size])
        except BlockingIOError:
            self._block()
            return
        except OSError as error:
            self.sink_died(error)
            return
        source.sock.recv_into(scratch, sent)
        self.moved += sent
        if sent < size:
            self._block()
        else:
            self._queue()

    def _splice(self, pipe: Pipe, share: int) -> None:
        engine = self.source.engine
        pipes = engine.pipes
        try:
            size = os.splice(self.source.fd, pipe.write_fd, share, flags=SPLICE_FLAGS)
        except BlockingIOError:
            pipes.give(pipe)
            self.source.hear(EPOLLIN)
            return
        except OSError:
            pipes.discard(pipe)
            self._source_died()
            return
        if not size:
            pipes.give(pipe)
            self._source_ended()
            return
        self._pipe, self._piped = pipe, size
        engine.room -= size
        if size < SMALL_SPLICE:
            self._full_reads = 0
        try:
            self._flush_pipe(pipe)
        except BlockingIOError:
            self._block()
        except OSError as error:
            self.sink_died(error)
        else:
            if self._piped:
                self._block()
            else:
                self._queue()

    def _flush_rest(self) -> None:
        sent = self.sink.sock.send(self._rest)
        self.moved += sent
        self.source.engine.room += sent
        self._rest = self._rest[sent:]

    def _flush_pipe(self, pipe: Pipe) -> None:
        engine = self.source.engine
        sent = os.splice(pipe.read_fd, self.sink.fd, self._piped, flags=SPLICE_FLAGS)
        self.moved += sent
        engine.room += sent
        self._piped -= sent
        if not self._piped:
            self._pipe = None
            engine.pipes.give(pipe)

    def _source_ended(self) -> None:
        source, relay = self.source, self.relay
        if source.was_reset:
            self._source_died()
            return
        self.ended = True
        if relay.first_ended is None:
            relay.first_ended = source
        if not self.blocked:
            self._pass_end()

    def _source_died(self) -> None:
        """Reading failed. What was read before is delivered, then the failure is passed on as one."""
        source = self.source
        source.was_reset = True
        self.relay.ended_well = False
        self.ended = True
        if self.relay.first_ended is None:
            self.relay.first_ended = source
            self.relay.first_was_reset = True
        twin = self.twin
        if not twin.done:
            twin.abandon()
        if not self.blocked:
            self._pass_end()

    def _pass_end(self) -> None:
        self.done = True
        if self.twin.done:
            self.relay.finish()
        else:
            self.sink.shutdown()
