"""What the engine is told of a way through proxies: where it is bound, what has arrived, what protects it."""

from ...engine.endpoint import Endpoint, Tunnel
from ...engine.events import EPOLLIN
from ...protocol.address import Address
from ..journey import Journey
from ..layered import LayeredStream

__all__ = ("StreamLayer", "tunnel_of")


class StreamLayer:
    """The layers that the proxies of a chain have agreed on, one within the other, as a :class:`TunnelLayer`."""

    max_payload = 1 << 17
    """Octets that are wrapped at once; the layers cut them as they need."""

    def __init__(self, stream: LayeredStream) -> None:
        self._stream = stream
        self.wrap = stream.wrap
        self.end = stream.end

    @property
    def ended(self) -> bool:
        """The peer has announced its end, maybe before the connection ends."""
        return self._stream.ended

    def unwrap(self, data: bytes | bytearray | memoryview) -> tuple[bytes, int] | None:
        """Takes all of it: parts of frames wait in the stream. Raises RemoteProtocolError for a broken one."""
        if not data:
            return None
        self._stream.receive(bytes(data))
        return self._stream.take(), len(data)

    def finish(self) -> None:
        """The end of the stream. Raises RemoteProtocolError if it is inside a frame (GS-REQ-44)."""
        if not self._stream.ended:
            self._stream.receive(b"")


def tunnel_of(journey: Journey, endpoint: Endpoint, bound: Address, said: bytes) -> Tunnel:
    """The tunnel that a journey, whose last answer is there, leads through. ``said``: what came behind that answer.

    Raises RemoteProtocolError if what has come under a layer already is broken.
    """
    stream = journey.take_stream()
    if stream is None:
        return Tunnel(bound, said)
    endpoint.seen |= EPOLLIN  # what came with the answer lies in the stream: look at once
    return Tunnel(bound, stream.take(), StreamLayer(stream))
