"""A connect of a non-blocking socket: it begins here and now, goes its way in a thread, and is settled when the program
looks, as non-blocking programs do: when the socket can be written to, they ask for SO_ERROR or connect once more.

Until then the program's descriptor is one end of a pair that is full, so that no selector calls it writable; when the
way has ended, well or not, it is emptied. Settling puts the connection in its place, in the program's own thread.
"""

import contextlib
import os
import socket
import threading
import weakref
from typing import Final

from ..proxy import Proxy
from .adoption import Options, adopt, options_of
from .reaching import PATIENCE, reach
from .scope import carried

__all__ = ("Pending", "begin", "pending_of", "settle")

_pending: "Final[weakref.WeakKeyDictionary[socket.socket, Pending]]" = weakref.WeakKeyDictionary()


class Pending:
    """One way through proxies that a non-blocking socket waits for."""

    def __init__(self, gate: socket.socket, options: Options) -> None:
        self._gate = gate
        self._options = options
        self._lock = threading.Lock()
        self._abandoned = False
        self._made: socket.socket | None = None
        self.error: OSError | None = None
        self.done = False
        """Whether the way has ended."""

    def go(self, chain: tuple[Proxy, ...], host: str, port: int) -> None:
        """The way; at its end the program's descriptor becomes writable."""
        try:
            self._made = reach(chain, host, port, PATIENCE)
        except OSError as error:
            self.error = error
        with self._lock:
            self.done = True
            if self._abandoned:
                self._close()
                return
            with contextlib.suppress(OSError):  # where the program has closed its socket
                self._gate.shutdown(socket.SHUT_RD)  # who writes without a look has an error, not a loss
                while self._gate.recv(65_536):
                    pass

    def take(self, sock: socket.socket) -> None:
        """Puts the connection in the place of the program's socket. Raises OSError if that has been closed."""
        made, self._made = self._made, None
        with self._lock, self._gate:
            if made is not None:
                adopt(sock, made, self._options)

    def abandon(self) -> None:
        """The program's socket is gone."""
        with self._lock:
            self._abandoned = True
            if self.done:
                self._close()

    def _close(self) -> None:
        self._gate.close()
        if self._made is not None:
            self._made.close()


def begin(sock: socket.socket, chain: tuple[Proxy, ...], host: str, port: int) -> None:
    """Begins the way for a non-blocking socket."""
    options = options_of(sock)
    gate = _shut_gate(sock)
    pending = _pending[sock] = Pending(gate, options)
    weakref.finalize(sock, pending.abandon)
    thread = threading.Thread(target=pending.go, args=(chain, host, port), name=f"connect to {host}", daemon=True)
    carried(None, thread.start)()


def pending_of(sock: socket.socket) -> Pending | None:
    """What the socket waits for."""
    return _pending.get(sock) if _pending else None


def settle(sock: socket.socket) -> Pending | None:
    """What the socket has waited for: if it has ended, it is in its place now, or ``error`` says why not."""
    pending = pending_of(sock)
    if pending is not None and pending.done:
        del _pending[sock]
        pending.take(sock)
    return pending


def _shut_gate(sock: socket.socket) -> socket.socket:
    """Makes the program's socket an end that is not writable; the other end."""
    theirs, ours = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with contextlib.suppress(BlockingIOError):
            while True:
                theirs.send(bytes(4096))
        os.dup2(theirs.fileno(), sock.fileno(), inheritable=sock.get_inheritable())
    ours.setblocking(False)
    return ours
