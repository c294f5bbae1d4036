"""How a program's socket becomes the connection that was made for it: under its own number, with its own options."""

import os
import socket
from typing import Final

__all__ = ("adopt", "options_of")

Options = list[tuple[int, int, int]]
"""Level, option and value, as setsockopt takes them."""

_KEPT: Final = [
    (getattr(socket, level), getattr(socket, option))
    for level, option in (
        ("SOL_SOCKET", "SO_KEEPALIVE"),
        ("SOL_SOCKET", "SO_PRIORITY"),
        ("SOL_SOCKET", "SO_MARK"),
        ("SOL_SOCKET", "SO_OOBINLINE"),
        ("IPPROTO_TCP", "TCP_NODELAY"),
        ("IPPROTO_TCP", "TCP_KEEPIDLE"),
        ("IPPROTO_TCP", "TCP_KEEPINTVL"),
        ("IPPROTO_TCP", "TCP_KEEPCNT"),
        ("IPPROTO_TCP", "TCP_USER_TIMEOUT"),
    )
    if hasattr(socket, option)
]


def options_of(sock: socket.socket) -> Options:
    """The options of a TCP socket that are worth keeping, where they are not what every new socket has."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
        found = [(level, option, sock.getsockopt(level, option)) for level, option in _KEPT]
        return [one for one in found if fresh.getsockopt(*one[:2]) != one[2]]


def adopt(sock: socket.socket, made: socket.socket, options: Options) -> None:
    """The program's socket is the connection from now on, and ``made`` is closed.

    It keeps its number, time limit and inheritance. Raises OSError if it has been closed meanwhile.
    """
    with made:
        if made.family in (socket.AF_INET, socket.AF_INET6):
            for option in options:
                made.setsockopt(*option)
        os.dup2(made.fileno(), sock.fileno(), inheritable=sock.get_inheritable())
        sock.settimeout(sock.gettimeout())
