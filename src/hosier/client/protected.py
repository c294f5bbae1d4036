"""A socket whose octets travel under TLS to a proxy, or a security layer, for plain blocking use and for select."""

import socket
from contextlib import suppress
from threading import Lock
from typing import IO, Any, Final, NoReturn

from ..errors import RemoteProtocolError
from .layered import LayeredStream

__all__ = ("ProtectedSocket",)

_AT_ONCE: Final = 1 << 17
_FILE_PIECE: Final = 1 << 16


class ProtectedSocket(socket.socket):
    """A socket as ssl.SSLSocket is one, under TLS to a proxy or GSSAPI: what is sent is wrapped, what is received is
    unwrapped, all else as ever.

    ``recv`` reads ahead: before a select, look at ``pending()``. Non-blocking, ``send`` may have to be called again
    with the same octets, as with TLS, and so may ``shutdown``. One thread may send while another receives. What the
    system's own calls do with the descriptor goes past the layer, so there is no ``dup``, ``sendmsg`` or ``recvmsg``;
    ``detach`` is safe.

    Raises RemoteProtocolError for what was changed, repeated, reordered or cut on its way, each time, once all that
    came whole before it has been received: nothing that comes behind it ever is.
    """

    def __init__(self, sock: socket.socket, stream: LayeredStream) -> None:
        """Takes the socket over."""
        limit = sock.gettimeout()
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self.settimeout(limit)
        self._stream = stream
        self._turn = Lock()  # a context is not for two threads
        self._unsent = memoryview(b"")
        self._farewell: memoryview | None = None
        self._accepted = 0
        self._fault: RemoteProtocolError | None = None

    def pending(self) -> int:
        """Octets that ``recv`` has at once."""
        return self._stream.pending

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """At most so many octets; empty: the peer ended its stream properly."""
        _no_flags(flags)
        stream = self._stream
        while not stream.pending and not stream.ended and bufsize:
            if self._fault is not None:
                raise self._fault
            data = super().recv(_AT_ONCE)
            try:
                with self._turn:
                    stream.receive(data)
            except RemoteProtocolError as error:
                self._fault = error
                with suppress(OSError):
                    super().shutdown(socket.SHUT_RDWR)
        return stream.take(bufsize)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """The same, into a buffer."""
        with memoryview(buffer) as view, view.cast("B") as octets:
            if nbytes > len(octets):
                raise ValueError("buffer too small for requested bytes")
            data = self.recv(nbytes or len(octets), flags)
            octets[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Sends a frame's worth: how many of the octets that is.

        If it raises BlockingIOError or TimeoutError, a frame is half sent: the next call must begin with the same
        octets, and sends the rest of it.
        """
        _no_flags(flags)
        if not self._unsent:
            with memoryview(data) as view, view.cast("B") as octets:
                piece = bytes(octets[: self._stream.piece])
            with self._turn:
                self._unsent = memoryview(self._stream.wrap(piece))
            self._accepted = len(piece)
        while self._unsent:
            self._unsent = self._unsent[super().send(self._unsent) :]
        return self._accepted

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Sends all of it."""
        with memoryview(data) as view, view.cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self.send(octets[sent:], flags)

    def shutdown(self, how: int, /) -> None:
        """Ends a direction, or both; of ours the end is announced where the layer does so, as TLS does, behind the rest
        of a frame that is half sent.

        Raises BlockingIOError if only ours is to end and there is no room for the announcement, without which it would
        look cut: nothing has ended, and it is to be called again.
        """
        if how != socket.SHUT_RD:
            if self._farewell is None:
                with self._turn:
                    rest, self._unsent = self._unsent, memoryview(b"")
                    self._farewell = memoryview(bytes(rest) + self._stream.end())
            try:
                while self._farewell:
                    self._farewell = self._farewell[super().send(self._farewell) :]
            except BlockingIOError:
                if how == socket.SHUT_WR:
                    raise
            except OSError:
                pass  # who does not take it any more learns of the end all the same
        super().shutdown(how)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:  # type: ignore[override]
        """Sends a file, from the offset on; how many octets."""
        file.seek(offset)
        sent = 0
        while count is None or sent < count:
            piece = file.read(_FILE_PIECE if count is None else min(_FILE_PIECE, count - sent))
            if not piece:
                break
            self.sendall(piece)
            sent += len(piece)
        return sent

    def detach(self) -> int:
        """A descriptor of a plain stream, which a thread of ours carries from and to the layer; this object is then
        closed. So whatever wants a socket of its own gets one: ``context.wrap_socket(sock, server_hostname=...)`` puts
        TLS with the target into the layer. It is a socket pair's: a stream that was spoiled ends like one that is over,
        which TLS tells apart and a plain reader does not. Where ``shutdown`` has ended our direction, or has begun to,
        nothing can be sent through it."""
        from .carrier import carry_for

        carry_for(self, self._stream, self._unsent, self._farewell)
        return super().detach()

    def dup(self) -> NoReturn:
        _refuse("dup")

    def sendto(self, *_: Any) -> NoReturn:
        _refuse("sendto")

    def sendmsg(self, *_: Any) -> NoReturn:
        _refuse("sendmsg")

    def recvfrom(self, *_: Any) -> NoReturn:
        _refuse("recvfrom")

    def recvfrom_into(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("recvfrom_into")

    def recvmsg(self, *_: Any) -> NoReturn:
        _refuse("recvmsg")

    def recvmsg_into(self, *_: Any) -> NoReturn:
        _refuse("recvmsg_into")


def _no_flags(flags: int) -> None:
    if flags:
        raise ValueError("a protected socket takes no flags")


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(f"a protected socket has no {name}: it would go past the security layer")
