"""What a security layer does to a client's connection, without the I/O: a stream of plain octets above frames, and a
handshake with the next proxy of a chain that travels within it."""

from typing import Final

from ..errors import RemoteProtocolError
from ..protocol.auth.base import SecurityLayer
from ..protocol.client_connection import ClientHandshake
from ..protocol.connection import Handoff
from ..protocol.messages import Reply
from .http_connect import HttpConnect
from .quick import QuickHandshake

__all__ = ("BareHandshake", "LayeredHandshake", "LayeredStream")

_EVERYTHING: Final = 1 << 62
_AT_ONCE: Final = 1 << 17  # octets to read below the layer: two frames of the largest size

_MAX_FRAME: Final = 1 << 20  # octets that wait for the rest of their frame; RFC 1961's largest is 65,539

BareHandshake = ClientHandshake | QuickHandshake | HttpConnect
"""With a proxy that nothing but a socket leads to."""


class LayeredStream:
    """Plain octets in, frames out, and back.

    Args:
        layer: what protects it.
        handoff: what the handshake that agreed on the layer has left over.
        below: the stream that carries the frames, where they go through an earlier proxy's layer; None: a socket.

    Not for two threads at once. Once a frame was broken, ``receive`` raises for ever; what came whole before it can
    still be taken.
    """

    __slots__ = ("_below", "_fault", "_frames", "_plain", "ended", "layer")

    def __init__(self, layer: SecurityLayer, handoff: Handoff, below: "LayeredStream | None" = None) -> None:
        """Raises RemoteProtocolError if what has come already is broken."""
        self.layer = layer
        self.ended = False
        """The peer has ended its stream; what is left to ``take`` was sent before."""
        self._below = below
        self._plain = bytearray(handoff.leftover)
        self._frames = bytearray(handoff.wrapped)
        self._fault: RemoteProtocolError | None = None
        if below is not None:
            self._frames += below.take()
        self._open()

    @property
    def piece(self) -> int:
        """Plain octets that are best wrapped at once."""
        return self.layer.max_payload

    @property
    def pending(self) -> int:
        """Plain octets that can be taken."""
        return len(self._plain)

    def wrap(self, data: bytes | bytearray | memoryview) -> bytes:
        """Frames around all of it, as large as the layer makes them; nothing for nothing."""
        size, wrap = self.layer.max_payload, self.layer.wrap
        if not isinstance(data, bytes):
            data = bytes(data)
        if len(data) <= size:
            frames = wrap(data) if data else b""
        else:
            frames = b"".join(wrap(data[start : start + size]) for start in range(0, len(data), size))
        return frames if self._below is None else self._below.wrap(frames)

    def receive(self, data: bytes) -> None:
        """Takes what came below the layer; empty: the peer ended its stream.

        Raises RemoteProtocolError for a frame that is broken, forged, repeated or, at the end, cut (GS-REQ-41, 44).
        """
        if self._fault is not None:
            raise self._fault
        try:
            if self._below is not None:
                self._below.receive(data)
                data = self._below.take()
                if not data and not self._below.ended:
                    return
            self._receive(data)
        except RemoteProtocolError as error:
            self._fault = error
            raise

    def take(self, size: int = _EVERYTHING) -> bytes:
        """At most so many plain octets; empty: none have come."""
        plain = self._plain
        if len(plain) <= size:
            data = bytes(plain)
            plain.clear()
        else:
            data = bytes(plain[:size])
            del plain[:size]
        return data

    def end(self) -> bytes:
        """What announces the end of our direction, if anything below does."""
        return b"" if self._below is None else self._below.end()

    # --- private ---

    def _receive(self, data: bytes) -> None:
        if data:
            self._frames += data
            self._open()
        if not data or (self._below is not None and self._below.ended):
            if self._frames:
                raise RemoteProtocolError("the stream ended inside a frame of the security layer")
            self.ended = True

    def _open(self) -> None:
        frames, offset = self._frames, 0
        with memoryview(frames) as view:
            while offset < len(view) and (found := self.layer.unwrap(view[offset:])) is not None:
                self._plain += found[0]
                offset += found[1]
        del frames[:offset]
        if len(frames) > _MAX_FRAME:
            raise RemoteProtocolError(f"a frame of more than {_MAX_FRAME} octets")


class LayeredHandshake:
    """The handshake with a proxy behind a protected one: the same verbs, its octets within the layer."""

    __slots__ = ("_handshake", "_stream")

    owed: Final = _AT_ONCE
    """Below the layer all may be read: what comes behind the answer waits in the stream."""

    def __init__(self, handshake: BareHandshake, stream: LayeredStream) -> None:
        self._handshake = handshake
        self._stream = stream

    @property
    def within(self) -> BareHandshake:
        """The handshake itself."""
        return self._handshake

    @property
    def done(self) -> bool:
        return self._handshake.done

    @property
    def blocks(self) -> bool:
        return self._handshake.blocks

    @property
    def step(self) -> str:
        return self._handshake.step

    @property
    def first_reply(self) -> Reply | None:
        return self._handshake.first_reply

    @property
    def reply(self) -> Reply | None:
        return self._handshake.reply

    def start(self) -> bytes:
        return self._stream.wrap(self._handshake.start())

    def feed(self, data: bytes) -> bytes:
        """Raises what the handshake raises, and RemoteProtocolError for a broken frame."""
        handshake, stream = self._handshake, self._stream
        stream.receive(data)
        out = b""
        while stream.pending and not handshake.done:
            out += handshake.feed(stream.take(handshake.owed))
        if stream.ended and not handshake.done:
            out += handshake.feed(b"")
        return stream.wrap(out)
