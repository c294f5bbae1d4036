"""TLS to a proxy, without the I/O: with the verbs of a stream under a security layer, so that it can lie above one, or
beneath one, and leads through whatever carries octets."""

import ssl
from contextlib import suppress
from functools import cache

from ..errors import RemoteProtocolError
from .layered import LayeredStream

__all__ = ("TlsStream", "usual_context")

_AT_ONCE = 1 << 16


@cache
def usual_context() -> ssl.SSLContext:
    """Trusts whom the system trusts. To read that takes longer than many a connection lives, so it is kept."""
    return ssl.create_default_context()


class TlsStream(LayeredStream):
    """Plain octets in, records out, and back, after ``shake`` has agreed on how.

    Args:
        context: whom to trust.
        host: the proxy's name, or its address, as its certificate has it.
        below: the stream that carries the records, where they go through an earlier proxy's layer; None: a socket.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls", "established")

    def __init__(self, context: ssl.SSLContext, host: str, below: LayeredStream | None = None) -> None:
        self.ended = False
        self.established = False
        """Whether the handshake is over."""
        self._below = below
        self._plain = bytearray()
        self._frames = bytearray()
        self._fault: RemoteProtocolError | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        if below is not None:
            self._incoming.write(below.take())

    @property
    def piece(self) -> int:
        return _AT_ONCE

    def shake(self, data: bytes = b"") -> bytes:
        """Takes the proxy's part of the handshake, at first nothing, and returns ours. Raises SSLError, and
        RemoteProtocolError if what carries it is broken."""
        if data:
            self._incoming.write(self._carried(data))
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._sealed()
        self.established = True
        self._read()
        return self._sealed()

    def wrap(self, data: bytes | bytearray | memoryview) -> bytes:
        """Records around all of it; nothing for nothing."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        return self._sealed()

    def receive(self, data: bytes) -> None:
        """Takes what came below; empty: the peer ended its stream.

        Raises RemoteProtocolError for what is broken or forged, and for an end that TLS has not announced.
        """
        if self._fault is not None:
            raise self._fault
        try:
            carried = self._carried(data)
            if carried:
                self._incoming.write(carried)
                self._read()
            is_over = not data if self._below is None else self._below.ended
            if is_over and not self.ended:
                raise RemoteProtocolError("the stream was cut: TLS has not announced its end")
        except ssl.SSLError as error:
            self._fault = RemoteProtocolError(f"TLS: {error.reason or error}")
            raise self._fault from error
        except RemoteProtocolError as error:
            self._fault = error
            raise

    def end(self) -> bytes:
        """Announces the end of our direction; the other one goes on."""
        with suppress(ssl.SSLError):  # it waits for the peer's announcement; ours is out
            self._tls.unwrap()
        return self._sealed() + super().end()

    # --- private ---

    def _carried(self, data: bytes) -> bytes:
        if self._below is None:
            return data
        self._below.receive(data)
        return self._below.take()

    def _sealed(self) -> bytes:
        out = self._outgoing.read()
        return out if self._below is None else self._below.wrap(out)

    def _read(self) -> None:
        try:
            while piece := self._tls.read(_AT_ONCE):
                self._plain += piece
            self.ended = True
        except ssl.SSLZeroReturnError:  # the same, once we have announced ours
            self.ended = True
        except ssl.SSLWantReadError:
            pass
