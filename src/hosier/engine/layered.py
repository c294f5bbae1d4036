"""Flows under a security layer: what near sends is unwrapped on its way up, what far sends is wrapped on its way down.

A layer needs the octets as Python objects, so nothing is spliced here; back-pressure and bounds are those of any flow.
"""

from collections.abc import Callable
from functools import cache
from socket import SocketType
from typing import TYPE_CHECKING, Final, Protocol

from .endpoint import ENDED, Endpoint
from .events import EPOLLIN
from .flow import QUEUED, Flow
from .poller import SCRATCH
from .unsent import unsent

if TYPE_CHECKING:
    from .relay import Relay

__all__ = ("Layer", "SteppingFlow", "Translation", "TunnelLayer", "UnwrappingFlow", "WrappingFlow")

_NO_ROOM: Final = 0.02  # seconds between two looks for room; nothing tells when slow readers have made some
_LITTLE: Final = 16384  # octets to read where there is no room: any empty send buffer takes as many at once

_GATHERS: Final = hasattr(SocketType, "sendmsg")  # Windows' have none
_KEPT: Final = 4 << 20
_LARGE: Final = 16384  # octets of a frame that is bulk

MAX_FRAME: Final = 1 << 20  # octets that wait for the rest of their frame; RFC 1961's largest is 65,539


Pieces = tuple[bytes, bytes]
"""A frame that need not be put together."""


class Layer(Protocol):
    """What the engine must know of a security layer: frames, whatever is in them. One that can has
    ``wrap_in_pieces(data)``, too: the header and the rest of the frame, apart, which saves bulk a copy."""

    max_payload: int

    def wrap(self, data: bytes) -> bytes: ...

    def unwrap(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int] | None: ...


class TunnelLayer(Layer, Protocol):
    """What protects a tunnel: it may keep parts of frames itself, and may have words for an end."""

    @property
    def ended(self) -> bool:
        """The peer has said that nothing more will come, maybe before its stream ends."""

    def finish(self) -> None:
        """The peer has ended its stream. Raises OSError if that was inside a frame, or too early."""

    def end(self) -> bytes:
        """What tells the peer that nothing more will come from us."""


class Translation:
    """Two layers as one: what is opened under one of them is closed again under the other."""

    def __init__(self, opens: Layer, closes: Layer) -> None:
        self.max_payload = opens.max_payload
        self.wrap = opens.wrap
        self._opens = opens
        self._closes = closes

    def close(self, data: bytes) -> bytes:
        """Frames around all of it."""
        size, wrap = self._closes.max_payload, self._closes.wrap
        return b"".join(wrap(data[start : start + size]) for start in range(0, len(data), size))

    def unwrap(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int] | None:
        """As :meth:`Layer.unwrap`, what comes out being frames again."""
        found = self._opens.unwrap(data)
        return None if found is None else (self.close(found[0]), found[1])

    @property
    def ended(self) -> bool:
        return has_ended_early(self._opens)

    def finish(self) -> None:
        finish_layer(self._opens)

    def end(self) -> bytes:
        return last_octets(self._closes)


# A layer that is no tunnel's has nothing to say to these three.


def has_ended_early(layer: Layer) -> bool:
    """As :attr:`TunnelLayer.ended`."""
    return getattr(layer, "ended", False)


def finish_layer(layer: Layer) -> None:
    """As :meth:`TunnelLayer.finish`."""
    finish = getattr(layer, "finish", None)
    if finish is not None:
        finish()


def last_octets(layer: Layer) -> bytes:
    """As :meth:`TunnelLayer.end`."""
    end = getattr(layer, "end", None)
    return b"" if end is None else end()


@cache
def _keep_what_is_freed() -> None:
    """The C library gives the end of its heap back to the system whenever 128 KiB of it are free, which with frames of
    64 KiB is the case after each of them: the next one then pays for its pages anew, a sixth of the cost of a signed
    one. Once a block that was larger has come and gone, twice its size may stay (mallopt(3), M_TRIM_THRESHOLD)."""
    bytes(_KEPT)


class SteppingFlow(Flow):
    """One that does more than to copy: an edge is the beginning of one step."""

    __slots__ = ()

    def on_edge(self, source: Endpoint, events: int) -> None:
        try:
            if events == EPOLLIN or self._heed(events):
                if self.status:
                    self._put_off()
                else:
                    self.pump()
        except Exception as error:  # noqa: BLE001  # it ends this relay alone
            self.crashed(error)

    def pump(self) -> None:
        """The step, if the flow is free to take it."""
        raise NotImplementedError


class _LayeredFlow(SteppingFlow):
    __slots__ = ("_most", "layer")

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer) -> None:
        super().__init__(relay, source, sink)
        self.layer = layer
        self._most = SCRATCH
        _keep_what_is_freed()

    def pump(self) -> None:
        """One read, transformed; then the flow's next turn."""
        if self.status:
            return
        source = self.source
        engine = source.engine
        most = self._wanted()
        if engine.room < 2 * SCRATCH:
            # Wrapped octets cannot be taken back, so nothing is read that would be held: the sink must have taken all
            # before. That needs no room, and however many slow readers hold it, a fast one never waits for them.
            if unsent(self.sink.sock):
                self.status |= QUEUED
                engine.loop.call_later(_NO_ROOM, engine.queue, self)
                return
            most = min(most, _LITTLE)
        try:
            data = source.sock.recv(most)
        except BlockingIOError:
            return
        except OSError:
            self._source_died()
            return
        if not data:
            self._at_end()
            return
        try:
            out = self._transform(data)
        except OSError as error:
            self._forged(error)
            return
        if out and not self._deliver(out):
            return
        # A short read: dry, the next edge will come. Not so if the end was seen, whose edge is spent.
        if len(data) == most or source.seen & ENDED or self._is_over():
            self._queue()

    def turn(self) -> None:
        self.status &= ~QUEUED
        if self.blocked:
            self.flush()
        else:
            self.pump()

    def _wanted(self) -> int:
        """Octets to read."""
        return self._most

    def _is_over(self) -> bool:
        """Whether the source has said that nothing more will come."""
        return False

    def _transform(self, data: bytes) -> bytes | Pieces:
        raise NotImplementedError

    def _at_end(self) -> None:
        self._source_ended()

    def _say_end(self) -> None:
        if out := last_octets(self.layer):
            self._deliver(out)

    def _forged(self, error: OSError) -> None:
        """A broken frame ends the session; nothing that came with it is delivered."""
        self.relay.fault = str(error)
        self._source_died()

    def _deliver(self, out: bytes | Pieces) -> bool:
        """False if the sink is full or gone."""
        try:
            sent = self.sink.sock.send(out) if isinstance(out, bytes) else self.sink.sock.sendmsg(out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.sink_died(error)
            return False
        self.moved += sent
        if sent < (len(out) if isinstance(out, bytes) else len(out[0]) + len(out[1])):
            self.hold((out if isinstance(out, bytes) else b"".join(out))[sent:])
            return False
        return True


class UnwrappingFlow(_LayeredFlow):
    """From the protected side to the plain one. ``moved`` counts plain octets."""

    __slots__ = ("_frame_size", "_frames", "_may_end_early")

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer, wrapped: bytes) -> None:
        """``wrapped``: octets that have arrived below the layer already."""
        super().__init__(relay, source, sink, layer)
        self._frames = bytearray(wrapped)
        self._frame_size = 0
        """Of the last one, if it was large."""
        self._may_end_early = hasattr(layer, "ended")

    @property
    def wrapped(self) -> bytes:
        """What has arrived below the layer and waits for the rest of its frame."""
        return bytes(self._frames)

    def begin(self, leftover: bytes) -> None:
        if leftover and isinstance(self.layer, Translation):
            leftover = self.layer.close(leftover)
        try:
            leftover += self._transform(b"")
        except OSError as error:
            self._forged(error)
            return
        super().begin(leftover)

    def pump(self) -> None:
        if not self._is_over():
            super().pump()
        elif not self.status:
            self._end_well()

    def _is_over(self) -> bool:
        return self._may_end_early and has_ended_early(self.layer)

    def _wanted(self) -> int:
        """Bulk comes in frames of one size: what makes the next one whole need not be put together with others."""
        missing = self._frame_size - len(self._frames)
        return min(self._most, missing) if missing > 0 else self._most

    def _transform(self, data: bytes) -> bytes:
        frames = self._frames
        if frames:
            frames += data
            plain, size = self._unwrap_all(frames)
            del frames[:size]
        else:
            plain, size = self._unwrap_all(data)
            if size < len(data):
                frames += data[size:]
        if len(frames) > MAX_FRAME:
            raise OSError(f"a frame of more than {MAX_FRAME} octets")
        return plain

    def _unwrap_all(self, frames: bytes | bytearray) -> tuple[bytes, int]:
        """What is in all whole frames, and how many octets these have."""
        unwrap = self.layer.unwrap
        plain = []
        offset = 0
        with memoryview(frames) as view:
            while offset < len(view) and (found := unwrap(view[offset:])) is not None:
                plain.append(found[0])
                offset += found[1]
                self._frame_size = found[1] if found[1] >= _LARGE else 0
        return b"".join(plain), offset

    def _at_end(self) -> None:
        # A stream that ends inside a frame was cut; that must not look like an end (GS-REQ-44).
        try:
            if self._frames:
                raise OSError("the stream ended inside a frame")
            finish_layer(self.layer)
        except OSError as error:
            self._forged(error)
        else:
            self._end_well()

    def _end_well(self) -> None:
        if isinstance(self.layer, Translation):
            self._say_end()
        self._source_ended()


class WrappingFlow(_LayeredFlow):
    """From the plain side to the protected one. ``moved`` counts octets of frames, ``payload`` those within."""

    __slots__ = ("_wrap_in_pieces", "_wrapped")

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer) -> None:
        super().__init__(relay, source, sink, layer)
        self._most = min(SCRATCH, layer.max_payload)  # one read, one frame
        self._wrapped = 0
        in_pieces: Callable[[bytes], Pieces] | None = getattr(layer, "wrap_in_pieces", None)
        self._wrap_in_pieces = in_pieces if _GATHERS else None

    @property
    def payload(self) -> int:
        return self._wrapped

    def _at_end(self) -> None:
        if not self.source.was_reset:
            self._say_end()
        self._source_ended()

    def begin(self, leftover: bytes) -> None:
        self._wrapped += len(leftover)
        super().begin(self._wrap_all(leftover))

    def _transform(self, data: bytes) -> bytes | Pieces:
        self._wrapped += len(data)
        if self._wrap_in_pieces is not None and _LARGE <= len(data) <= self.layer.max_payload:
            return self._wrap_in_pieces(data)
        return self._wrap_all(data)

    def _wrap_all(self, data: bytes) -> bytes:
        size = self.layer.max_payload
        return b"".join(self.layer.wrap(data[start : start + size]) for start in range(0, len(data), size))
