"""A plain socket where there is one with TLS or under a layer: ``ssl`` puts no TLS into its own sockets, nor do our
layers go there, and other programs' sockets carry neither; a thread carries between the two."""

import socket
from contextlib import suppress
from ssl import SSLSocket, SSLWantReadError, SSLWantWriteError
from struct import Struct
from threading import Thread
from typing import Final

from .pairs import tcp_pair
from .protected import ProtectedSocket
from .readiness import wait_for_either

__all__ = ("plain_end",)

_AT_ONCE: Final = 1 << 16

_RESET_ON_CLOSE: Final = Struct("ii").pack(1, 0)

_ASK_AFTER: Final = 60
_ASK_EVERY: Final = 10
"""Seconds."""


def plain_end(sock: socket.socket) -> socket.socket:
    """The same socket, or for one with TLS or under a layer the end of a TCP pair, as ``SSLContext.wrap_socket`` takes.

    Each direction ends alone, which an SSLSocket's own ``shutdown`` cannot do, and one thread may send while another
    receives. What breaks the connection, a forged frame among it, resets the end. That TLS was cut without its
    announcement looks like an end, as with SSLSockets; whether such a peer may still be spoken to is what OpenSSL's
    option ``OP_IGNORE_UNEXPECTED_EOF`` says, which Python sets by itself before 3.12.
    """
    if not isinstance(sock, SSLSocket | ProtectedSocket):
        return sock
    theirs, ours = tcp_pair()
    theirs.settimeout(sock.gettimeout())
    _notice_when_gone(ours)
    sock.setblocking(False)
    Thread(target=_Carrier(sock, ours).run, name="hosier-tls", daemon=True).start()
    return theirs


class _Carrier:
    """Octets from each side to the other one, as far as those take them, in one thread: TLS is not for two at once."""

    def __init__(self, tls: SSLSocket | ProtectedSocket, plain: socket.socket) -> None:
        self._tls = tls
        self._plain = plain
        self._up = b""
        self._down = b""
        self._tls_ended = False
        self._plain_ended = False
        self._told_plain = False
        self._told_tls = False
        self._tls_must_write = False

    def run(self) -> None:
        """Until both sides have ended, and each has all that the other one sent."""
        with self._tls, self._plain:
            try:
                while not (self._told_plain and self._told_tls):
                    if not (self._carry_down() | self._carry_up()):
                        self._wait()
            except OSError:  # both sides see that it is over, and that it is no end as any other
                with suppress(OSError):
                    self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _carry_down(self) -> bool:
        """From the proxy; whether anything moved."""
        moved = False
        self._tls_must_write = False
        if not self._down and not self._tls_ended:
            try:
                self._down = self._tls.recv(_AT_ONCE)
                self._tls_ended = not self._down
                moved = True
            except (SSLWantReadError, BlockingIOError):
                pass
            except SSLWantWriteError:
                self._tls_must_write = True
        if self._down:
            try:
                self._down = self._down[self._plain.send(self._down) :]
                moved = True
            except BlockingIOError:
                pass
        elif self._tls_ended and not self._told_plain:
            self._plain.shutdown(socket.SHUT_WR)
            self._told_plain = moved = True
        return moved

    def _carry_up(self) -> bool:
        """To the proxy; whether anything moved."""
        moved = False
        if not self._up and not self._plain_ended:
            try:
                self._up = self._plain.recv(_AT_ONCE)
                self._plain_ended = not self._up
                moved = True
            except BlockingIOError:
                pass
        if self._up:
            try:
                self._up = self._up[self._tls.send(self._up) :]
                moved = True
            except SSLWantReadError:
                pass
            except (SSLWantWriteError, BlockingIOError):
                self._tls_must_write = True
        elif self._plain_ended and not self._told_tls:
            try:
                self._end_up()
                self._told_tls = moved = True
            except BlockingIOError:
                self._tls_must_write = True
        return moved

    def _end_up(self) -> None:
        """Raises BlockingIOError if there is no room for what announces it."""
        if isinstance(self._tls, ProtectedSocket):
            self._tls.shutdown(socket.SHUT_WR)
        else:
            # Not with TLS's announcement, for which OpenSSL would throw away what comes meanwhile; nor with
            # SSLSocket's own shutdown, which forgets the keys.
            socket.socket.shutdown(self._tls, socket.SHUT_WR)

    def _wait(self) -> None:
        """Nothing can be moved: until something can."""
        reads: list[socket.socket] = []
        writes: list[socket.socket] = []
        if not self._down and not self._tls_ended:
            reads.append(self._tls)
        if not self._up and not self._plain_ended:
            reads.append(self._plain)
        if self._tls_must_write:
            writes.append(self._tls)
        if self._down:
            writes.append(self._plain)
        # Who has said all and waits for the answer says nothing more, unless that nobody waits any more.
        waits_for_answer = self._told_tls and not self._told_plain
        wait_for_either(reads, writes, whole=self._plain if waits_for_answer else None)


def _notice_when_gone(sock: socket.socket) -> None:
    """The end of one direction and of both look alike; only who is gone does not answer whether it is still there."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", _ASK_AFTER), ("TCP_KEEPINTVL", _ASK_EVERY)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
