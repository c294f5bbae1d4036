"""Standard input and output, joined with a connection: what ``hosier connect`` and ``hosier listen`` end in.

A thread for each direction, each with calls that block: standard input and output may be shared with other programs,
which would be surprised to find them non-blocking.
"""

import errno
import os
import select
import socket
import stat
import threading
from time import monotonic
from typing import Final

from .progress import MUCH, TELL_EVERY, ProgressLine, is_wanted

__all__ = ("Counted", "join_stdio")

PIECE: Final = 1 << 18
"""Octets at once."""


class Counted:
    """Octets that went each way, and when it began."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.up = 0
        self.down = 0


def join_stdio(sock: socket.socket, *, progress: str = "auto") -> Counted:
    """Relays between the connection and standard input and output until both directions have ended; the end of one is
    passed on while the other goes on. A person at the terminal is not waited for once the peer has ended.

    ``progress``: whether to tell on standard error how much has gone, as the option has it.

    Raises OSError if the connection breaks; BrokenPipeError (EPIPE) if nobody reads standard output any more.
    """
    counted = Counted()
    failures: list[OSError] = []
    done = threading.Event()
    sending = threading.Thread(target=_send, args=(sock, counted, failures), daemon=True)
    sending.start()
    telling = threading.Thread(target=_tell, args=(counted, done), daemon=True)
    if _wants_progress(progress):
        telling.start()
    try:
        _receive(sock, counted)
        if not os.isatty(0):
            sending.join()
    finally:
        sock.close()
        done.set()
        if telling.ident is not None:
            telling.join()
    if failures:
        raise failures[0]
    return counted


# --- the two directions ---


def _receive(sock: socket.socket, counted: Counted) -> None:
    while data := sock.recv(PIECE):
        _write(data)
        counted.down += len(data)
    # Whoever reads our output learns of the end now; the descriptor's number must stay taken.
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)


def _send(sock: socket.socket, counted: Counted, failures: list[OSError]) -> None:
    try:
        while data := _read(PIECE):
            sock.sendall(data)
            counted.up += len(data)
        sock.shutdown(socket.SHUT_WR)
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
        if moved >= MUCH:
            line.tell(counted.up, counted.down, moved / (monotonic() - counted.began))
    line.wipe()
