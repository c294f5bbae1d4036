"""Standard input and output, joined with a connection: what ``hosier connect`` and ``hosier listen`` end in.

A thread for each direction, each with calls that block: standard input and output may be shared with other programs,
which would be surprised to find them non-blocking.
"""

import errno
import os
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard

from .progress import BULK, TELL_EVERY, ProgressLine, is_wanted

if TYPE_CHECKING:
    from ssl import SSLSocket

__all__ = ("Connected", "Counted", "Turns", "join_stdio")

PIECE: Final = 1 << 18
"""Octets at once."""


class Connected(Protocol):
    """What is needed of a connection: a socket's own calls."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class Counted:
    """Octets that went each way, and when it began."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.up = 0
        self.down = 0


class Turns:
    """A socket under TLS, for two threads: OpenSSL lets one at a time at a connection.

    TLS' sockets cannot end one direction: the end of the input is not passed on.
    """

    def __init__(self, sock: "SSLSocket") -> None:
        sock.setblocking(False)
        self._sock = sock
        self._turn = threading.Lock()
        self.close = sock.close

    def recv(self, size: int, /) -> bytes:
        received: bytes = self._patiently(partial(self._sock.recv, size))
        return received

    def sendall(self, data: bytes, /) -> None:
        view = memoryview(data)
        while view:
            view = view[self._patiently(partial(self._sock.send, view)) :]

    def shutdown(self, how: int, /) -> None:
        """Nothing: the socket would forget that it is under TLS."""

    def _patiently(self, call: Callable[[], Any]) -> Any:
        from ssl import SSLWantReadError, SSLWantWriteError  # whoever comes here has them loaded

        while True:
            try:
                with self._turn:
                    return call()
            except SSLWantReadError:
                select.select([self._sock], [], [])
            except SSLWantWriteError:
                select.select([], [self._sock], [])


def join_stdio(sock: socket.socket, *, progress: str = "auto") -> Counted:
    """Relays between the connection and standard input and output until both directions have ended; the end of one is
    passed on while the other goes on. A person at the terminal is not waited for once the peer has ended.

    ``progress``: whether to tell on standard error how much has gone, as the option has it.

    Raises OSError if the connection breaks; BrokenPipeError (EPIPE) if nobody reads standard output any more.
    """
    connection: Connected = Turns(sock) if _is_under_tls(sock) else sock
    counted = Counted()
    failures: list[OSError] = []
    done = threading.Event()
    sending = threading.Thread(target=_send, args=(connection, counted, failures), daemon=True)
    sending.start()
    telling = threading.Thread(target=_tell, args=(counted, done), daemon=True)
    if _wants_progress(progress):
        telling.start()
    try:
        _receive(connection, counted)
        if not os.isatty(0):
            sending.join()
    finally:
        connection.close()
        done.set()
        if telling.ident is not None:
            telling.join()
    if failures:
        raise failures[0]
    return counted


def _is_under_tls(sock: socket.socket) -> TypeGuard["SSLSocket"]:
    loaded = sys.modules.get("ssl")  # who has no TLS need not load it now
    return loaded is not None and isinstance(sock, loaded.SSLSocket)


# --- the two directions ---


def _receive(connection: Connected, counted: Counted) -> None:
    while data := connection.recv(PIECE):
        _write(data)
        counted.down += len(data)
    # Whoever reads our output learns of the end now; the descriptor's number must stay taken.
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)


def _send(connection: Connected, counted: Counted, failures: list[OSError]) -> None:
    try:
        while data := _read(PIECE):
            connection.sendall(data)
            counted.up += len(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        # The peer does not take any more; what it says itself may still come, and tells what happened.
        if error.errno not in (errno.EPIPE, errno.ENOTCONN, errno.EBADF):
            failures.append(error)


def _read(size: int) -> bytes:
    while True:
        try:
            return os.read(0, size)
        except BlockingIOError:  # somebody who has it, too, has made it so
            select.select([0], [], [])


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(1, view) :]
        except BlockingIOError:
            select.select([], [1], [])


# --- progress ---


def _wants_progress(wanted: str) -> bool:
    return is_wanted(wanted, _is_file(0) or _is_file(1))


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # it is closed, as with `<&-`
        return False


def _tell(counted: Counted, done: threading.Event) -> None:
    line = ProgressLine()
    while not done.wait(TELL_EVERY):
        moved = counted.up + counted.down
        if moved >= BULK:
            line.tell(counted.up, counted.down, moved / (monotonic() - counted.began))
    line.wipe()
