"""A TCP connection to the nearest proxy: every address has its chance, within the time that is left (RFC 8305)."""

import errno
import os
import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from .lookup import Place4or6
from .readiness import when_writable

__all__ = ("ATTEMPT_DELAY", "begin_connect", "dial", "finish_connect", "new_socket")

ATTEMPT_DELAY: Final = 0.25
"""Seconds that an attempt has for itself (RFC 8305 §8)."""

Left = Callable[[], float | None]


def new_socket(family: int, source: tuple[str, int] | None) -> socket.socket:
    """A TCP socket that begins at ``source``."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if source is not None:
        try:
            sock.bind(source)
        except BaseException:
            sock.close()
            raise
    return sock


def dial(places: list[Place4or6], source: tuple[str, int] | None, left: Left) -> socket.socket:
    """A connected socket to the first place that answers; non-blocking if there is a time limit, else blocking.

    Raises OSError of the last attempt that failed, or what ``left`` raises when the time is up.
    """
    if len(places) > 1:
        return _Race(places, source, left).run()
    (place,) = places
    sock = new_socket(place.family, source)
    try:
        limit = left()
        if limit is None:
            sock.connect(place.sockaddr)
        else:
            sock.setblocking(False)
            if not begin_connect(sock, place):
                finish_connect(sock, left)
    except BaseException:
        sock.close()
        raise
    return sock


def begin_connect(sock: socket.socket, place: Place4or6) -> bool:
    """Begins to connect a non-blocking socket: whether it stands already, as on one machine it does at once.

    Otherwise it stands, or has failed, when it can be written to. Raises OSError for what fails at once.
    """
    number = sock.connect_ex(place.sockaddr)
    if number not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        raise OSError(number, os.strerror(number))
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def finish_connect(sock: socket.socket, left: Left) -> None:
    """Waits until what was begun stands. Raises OSError if it fails, and what ``left`` raises when the time is up."""
    wait = when_writable(sock)
    while not wait((left() or 0) * 1000):
        pass
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


class _Race:
    """Attempts side by side; one begins when the one before it has failed or had its delay."""

    def __init__(self, places: list[Place4or6], source: tuple[str, int] | None, left: Left) -> None:
        self._waiting = places[::-1]
        self._source = source
        self._left = left
        self._running: set[socket.socket] = set()
        self._failure: OSError = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    def run(self) -> socket.socket:
        with selectors.DefaultSelector() as selector:
            try:
                winner = self._run(selector)
                self._running.discard(winner)
                winner.setblocking(True)
            finally:
                for sock in self._running:
                    sock.close()
        return winner

    def _run(self, selector: selectors.BaseSelector) -> socket.socket:
        next_start = monotonic()
        while self._waiting or self._running:
            if self._waiting and (not self._running or monotonic() >= next_start):
                sock = self._start(self._waiting.pop())
                if sock is not None:
                    selector.register(sock, selectors.EVENT_WRITE)
                next_start = monotonic() + ATTEMPT_DELAY
                continue
            limit = self._left()
            if self._waiting:
                patience = max(next_start - monotonic(), 0)
                limit = patience if limit is None else min(limit, patience)
            for key, _ in selector.select(limit):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                selector.unregister(ready)
                if self._stands(ready):
                    return ready
                next_start = monotonic()
        raise self._failure

    def _start(self, place: Place4or6) -> socket.socket | None:
        sock: socket.socket | None = None
        try:
            sock = new_socket(place.family, self._source)
            sock.setblocking(False)
            begin_connect(sock, place)
        except OSError as error:
            self._failure = error
            if sock is not None:
                sock.close()
            return None
        self._running.add(sock)
        return sock

    def _stands(self, sock: socket.socket) -> bool:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0:
            return True
        self._failure = OSError(number, os.strerror(number))
        self._running.discard(sock)
        sock.close()
        return False
