"""A plain descriptor for what is under a security layer: two threads carry its octets from and to the frames."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import Final

from .layered import LayeredStream

__all__ = ("carry_for",)

_AT_ONCE: Final = 1 << 17


def carry_for(
    sock: socket.socket, stream: LayeredStream, unsent: memoryview, farewell: memoryview | None = None
) -> None:
    """Puts one end of a socket pair in the place of the socket's descriptor, and carries between the other end and the
    connection that the descriptor led to, until both directions have ended.

    Args:
        unsent: of a frame that has begun.
        farewell: what is left to send of the announcement of our end, where there has been one; None: we go on.
    """
    if os.name == "nt":
        raise NotImplementedError("Windows cannot put one socket in another's place; with hosier.aio it needs not")
    below = socket.socket(sock.family, sock.type, sock.proto, os.dup(sock.fileno()))
    below.setblocking(True)
    plain, given = socket.socketpair()
    with given:
        if farewell is not None:
            given.shutdown(socket.SHUT_WR)
        os.dup2(given.fileno(), sock.fileno(), inheritable=False)
    turn = Lock()  # a context is not for two threads

    def send(frames: bytes | memoryview) -> None:
        if frames:  # where our direction has ended, even nothing cannot be sent
            below.sendall(frames)

    def up() -> None:
        send(unsent)
        while data := plain.recv(_AT_ONCE):
            with turn:
                frames = stream.wrap(data)
            send(frames)
        with turn:
            last = stream.end() if farewell is None else farewell
        send(last)
        below.shutdown(socket.SHUT_WR)

    def down() -> None:
        try:
            while not stream.ended:
                if data := stream.take():
                    plain.sendall(data)
                frames = below.recv(_AT_ONCE)
                with turn:
                    stream.receive(frames)
        finally:
            plain.sendall(stream.take())  # what came whole, before a fault, too
        plain.shutdown(socket.SHUT_WR)

    def carry() -> None:
        other = Thread(target=_until_broken, args=(up, plain, below), daemon=True, name="hosier-layer-up")
        other.start()
        _until_broken(down, plain, below)
        other.join()
        plain.close()
        below.close()

    Thread(target=carry, daemon=True, name="hosier-layer").start()


def _until_broken(direction: Callable[[], None], *socks: socket.socket) -> None:
    """What breaks one direction breaks the other."""
    try:
        direction()
    except OSError:
        for sock in socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
