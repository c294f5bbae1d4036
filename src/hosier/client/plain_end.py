"""A plain socket where there is one with TLS: ``ssl`` puts no TLS into its own sockets, nor do our layers go there; a
thread carries between the two."""

import select
import socket
from ssl import SSLSocket, SSLWantReadError, SSLWantWriteError
from threading import Thread
from typing import Final

from .pairs import tcp_pair

__all__ = ("plain_end",)

_AT_ONCE: Final = 1 << 16


def plain_end(sock: socket.socket) -> socket.socket:
    """The same socket, or for one with TLS the end of a pair, which ``SSLContext.wrap_socket`` takes.

    To be cut off looks like an end there, which the layer that is put into it tells apart.
    """
    if not isinstance(sock, SSLSocket):
        return sock
    theirs, ours = tcp_pair()
    theirs.settimeout(sock.gettimeout())
    sock.setblocking(False)
    Thread(target=_Carrier(sock, ours).run, name="TLS inside TLS", daemon=True).start()
    return theirs


class _Carrier:
    """Octets from each side to the other one, as far as those take them, in one thread: TLS is not for two at once."""

    def __init__(self, tls: SSLSocket, plain: socket.socket) -> None:
        self._tls = tls
        self._plain = plain
        self._up = b""
        self._down = b""
        self._tls_ended = False
        self._plain_ended = False
        self._tls_must_write = False

    def run(self) -> None:
        """Until one side has ended, and the other one has all that it sent."""
        with self._tls, self._plain:
            try:
                while not (self._tls_ended and not self._down) and not (self._plain_ended and not self._up):
                    if not (self._carry_down() | self._carry_up()):
                        self._wait()
            except OSError:
                pass  # both sides see that it is over

    def _carry_down(self) -> bool:
        """From the proxy; whether anything moved."""
        moved = False
        self._tls_must_write = False
        if not self._down and not self._tls_ended:
            try:
                self._down = self._tls.recv(_AT_ONCE)
                self._tls_ended = not self._down
                moved = True
            except SSLWantReadError:
                pass
            except SSLWantWriteError:
                self._tls_must_write = True
        if self._down:
            try:
                self._down = self._down[self._plain.send(self._down) :]
                moved = True
            except BlockingIOError:
                pass
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
            except SSLWantWriteError:
                self._tls_must_write = True
        return moved

    def _wait(self) -> None:
        """Nothing can be moved: until something can."""
        poll = select.poll()
        reads_tls = not self._down and not self._tls_ended
        poll.register(self._tls, select.POLLIN * reads_tls | select.POLLOUT * self._tls_must_write)
        reads_plain = not self._up and not self._plain_ended
        poll.register(self._plain, select.POLLIN * reads_plain | select.POLLOUT * bool(self._down))
        poll.poll()
