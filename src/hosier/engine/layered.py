"""Flows under a security layer: what near sends is unwrapped on its way up, what far sends is wrapped on its way down.

A layer needs the octets as Python objects, so nothing is spliced here; back-pressure and bounds are those of any flow.
"""

from typing import TYPE_CHECKING, Final, Protocol

from .endpoint import Endpoint
from .flow import Flow
from .poller import SCRATCH
from .unsent import unsent

if TYPE_CHECKING:
    from .relay import Relay

__all__ = ("Layer", "Translation", "TunnelLayer", "UnwrappingFlow", "WrappingFlow", "finish_layer")

_NO_ROOM: Final = 0.02  # seconds between two looks for room; nothing tells when slow readers have made some
_LITTLE: Final = 16384  # octets to read where there is no room: any empty send buffer takes as many at once

MAX_FRAME: Final = 1 << 20  # octets that wait for the rest of their frame; RFC 1961's largest is 65,539


class Layer(Protocol):
    """What the engine must know of a security layer: frames, whatever is in them."""

    max_payload: int

    def wrap(self, data: bytes) -> bytes: ...

    def unwrap(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int] | None: ...


class TunnelLayer(Layer, Protocol):
    """What protects a tunnel: it may keep parts of frames itself, so it is asked whether the end is one."""

    def finish(self) -> None:
        """The peer has ended its stream. Raises OSError if that was inside a frame."""


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

    def finish(self) -> None:
        """As :meth:`TunnelLayer.finish`."""
        finish_layer(self._opens)


def finish_layer(layer: Layer) -> None:
    """Raises OSError if the layer, where it keeps parts of frames itself, has one that will never be whole."""
    finish = getattr(layer, "finish", None)
    if finish is not None:
        finish()


class _LayeredFlow(Flow):
    __slots__ = ("_most", "layer")

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer) -> None:
        super().__init__(relay, source, sink)
        self.layer = layer
        self._most = SCRATCH

    def pump(self) -> None:
        """One read, transformed; then the flow's next turn."""
        if self.ended or self.blocked or self._queued:
            return
        engine = self.source.engine
        most = self._most
        if engine.room < 2 * SCRATCH:
            # Wrapped octets cannot be taken back, so nothing is read that would be held: the sink must have taken all
            # before. That needs no room, and however many slow readers hold it, a fast one never waits for them.
            if unsent(self.sink.sock):
                self._queued = True
                engine.loop.call_later(_NO_ROOM, engine.queue, self)
                return
            most = min(most, _LITTLE)
        try:
            data = self.source.sock.recv(most)
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
        self._queue()

    def turn(self) -> None:
        self._queued = False
        if self.blocked:
            self.flush()
        else:
            self.pump()

    def _transform(self, data: bytes) -> bytes:
        raise NotImplementedError

    def _at_end(self) -> None:
        self._source_ended()

    def _forged(self, error: OSError) -> None:
        """A broken frame ends the session; nothing that came with it is delivered."""
        self.relay.fault = str(error)
        self._source_died()

    def _deliver(self, out: bytes) -> bool:
        """False if the sink is full or gone."""
        try:
            sent = self.sink.sock.send(out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.sink_died(error)
            return False
        self.moved += sent
        if sent < len(out):
            self.hold(out[sent:])
            return False
        return True


class UnwrappingFlow(_LayeredFlow):
    """From the protected side to the plain one. ``moved`` counts plain octets."""

    __slots__ = ("_frames",)

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer, wrapped: bytes) -> None:
        """``wrapped``: octets that have arrived below the layer already."""
        super().__init__(relay, source, sink, layer)
        self._frames = bytearray(wrapped)

    @property
    def wrapped(self) -> bytes:
        """What has arrived below the layer and waits for the rest of its frame."""
        return bytes(self._frames)

    def begin(self, leftover: bytes) -> None:
        if leftover and isinstance(self.layer, Translation):
            leftover = self.layer.close(leftover)
        try:
            leftover += self._unwrap_all()
        except OSError as error:
            self._forged(error)
            return
        super().begin(leftover)

    def _transform(self, data: bytes) -> bytes:
        self._frames += data
        return self._unwrap_all()

    def _unwrap_all(self) -> bytes:
        plain = []
        offset = 0
        with memoryview(self._frames) as frames:
            while offset < len(frames) and (found := self.layer.unwrap(frames[offset:])) is not None:
                plain.append(found[0])
                offset += found[1]
        del self._frames[:offset]
        if len(self._frames) > MAX_FRAME:
            raise OSError(f"a frame of more than {MAX_FRAME} octets")
        return b"".join(plain)

    def _at_end(self) -> None:
        # A stream that ends inside a frame was cut; that must not look like an end (GS-REQ-44).
        try:
            if self._frames:
                raise OSError("the stream ended inside a frame")
            finish_layer(self.layer)
        except OSError as error:
            self._forged(error)
        else:
            self._source_ended()


class WrappingFlow(_LayeredFlow):
    """From the plain side to the protected one. ``moved`` counts octets of frames, ``payload`` those within."""

    __slots__ = ("_wrapped",)

    def __init__(self, relay: "Relay", source: Endpoint, sink: Endpoint, layer: Layer) -> None:
        super().__init__(relay, source, sink, layer)
        self._most = min(SCRATCH, layer.max_payload)  # one read, one frame
        self._wrapped = 0

    @property
    def payload(self) -> int:
        return self._wrapped

    def begin(self, leftover: bytes) -> None:
        super().begin(self._transform(leftover) if leftover else b"")

    def _transform(self, data: bytes) -> bytes:
        self._wrapped += len(data)
        size = self.layer.max_payload
        return b"".join(self.layer.wrap(data[start : start + size]) for start in range(0, len(data), size))
