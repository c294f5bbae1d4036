"""A stream under a security layer as asyncio has streams: a transport above, a protocol below."""

import asyncio
from typing import Any, Final, cast

from ..layered import LayeredStream
from .feeding import feed

__all__ = ("LayeredTransport",)


class LayeredTransport(asyncio.Transport, asyncio.Protocol):
    """To the transport below it is the protocol, to the protocol above it is the transport.

    What was changed, repeated, reordered or cut on its way ends the connection: ``connection_lost`` gets a
    RemoteProtocolError, and nothing of it is delivered.
    """

    # What the loop's start_tls looks for in a transport: that it does what one has to do for TLS above it.
    _start_tls_compatible: Final = True

    def __init__(self, stream: LayeredStream, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._stream = stream
        self._protocol = protocol
        self._below: asyncio.Transport
        self._fault: Exception | None = None
        self._has_ended = False

    # --- to the protocol above ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Wraps and sends; as any transport, it keeps what the system has no room for."""
        if data and not self._below.is_closing():
            self._below.write(self._stream.wrap(data))

    def write_eof(self) -> None:
        """Ends our direction, and announces that where the layer does, as TLS does."""
        self._announce_end()
        self._below.write_eof()

    def can_write_eof(self) -> bool:
        """Whether our direction can be ended alone."""
        return self._below.can_write_eof()

    def close(self) -> None:
        """Closes when all is sent, the announcement of our end included: without it all that would look cut."""
        if not self._below.is_closing():
            self._announce_end()
        self._below.close()

    def abort(self) -> None:
        """Closes at once."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Nothing more is delivered, beyond what was read already."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """The reverse."""
        self._below.resume_reading()

    def is_reading(self) -> bool:
        """Whether it delivers."""
        return self._below.is_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who hears what comes."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who hears it now."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport below knows, and the layer as "layer"."""
        if name == "layer":
            return getattr(self._stream, "layer", default)  # TLS is none of those that a method leaves
        return self._below.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Octets, frames included, that wait to be sent."""
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As the transport below has them."""
        return self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of the transport below."""
        self._below.set_write_buffer_limits(high, low)

    def _force_close(self, exc: Exception | None) -> None:
        """How asyncio's TLS closes what it lies on when it cannot go on: a certificate that is not trusted, a broken
        record, a peer that never answers the end. ``exc`` comes back to it in ``connection_lost``."""
        self._fault = self._fault or exc
        self._below.abort()

    # --- to the transport below ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast(asyncio.Transport, transport)  # uvloop's are none by descent
        self._protocol.connection_made(self)
        self._deliver()

    def data_received(self, data: bytes) -> None:
        try:
            self._stream.receive(data)
        except OSError as error:
            self._fault = error
        self._deliver()  # with a fault, what came whole before it
        if self._fault is not None:
            self._below.abort()

    def eof_received(self) -> bool | None:
        self.data_received(b"")
        return None if self._fault is not None else self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(self._fault or exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    # --- private ---

    def _announce_end(self) -> None:
        """Once: nothing can be written behind an end."""
        if not self._has_ended:
            self._has_ended = True
            if farewell := self._stream.end():
                self._below.write(farewell)

    def _deliver(self) -> None:
        if data := self._stream.take():
            feed(self._protocol, data)

    def _end(self) -> bool | None:
        protocol = self._protocol
        return protocol.eof_received() if isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol) else None
