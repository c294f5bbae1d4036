"""What stands in for the datagrams of a program's own UDP sockets within a scope.

The first datagram, or ``connect``, asks the proxy for an association (``hosier.associate``); the program's descriptor
becomes the one that hears the relay, so selectors see what comes, and each call goes through the association.
"""

import asyncio
import errno
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any, Final

from ...errors import ConfigError, LocalProtocolError
from .. import blocking
from ..datagrams import ProxiedDatagramSocket
from .scope import Scope, carried

__all__ = ("DATAGRAMS", "AssociatedSocket", "ask", "associated", "association_of", "take")

PATIENCE: Final = 10.0
"""Seconds that a socket which does not wait is made to wait for the proxy, once."""

_send: Final[Callable[..., int]] = socket.socket.send
_sendall: Final[Callable[..., None]] = socket.socket.sendall
_recv: Final[Callable[..., bytes]] = socket.socket.recv
_recv_into: Final[Callable[..., int]] = socket.socket.recv_into
_recvfrom: Final[Callable[..., Any]] = socket.socket.recvfrom
_recvfrom_into: Final[Callable[..., Any]] = socket.socket.recvfrom_into
_recvmsg: Final[Callable[..., Any]] = socket.socket.recvmsg
_recvmsg_into: Final[Callable[..., Any]] = socket.socket.recvmsg_into


class AssociatedSocket:
    """One program's socket and its association."""

    def __init__(self, sock: socket.socket, made: ProxiedDatagramSocket) -> None:
        self._family = sock.family
        self._made = made
        self.peer: tuple[str, int] | None = None
        """The only one to send to and to hear, after ``connect``; of a name whatever address answers is heard."""

    def sendto(self, data: Any, destination: tuple[str, int]) -> int:
        """Raises OSError, also for a destination that has no form in SOCKS."""
        try:
            return self._made.sendto(bytes(data), destination)
        except LocalProtocolError as error:
            raise OSError(errno.EINVAL, str(error)) from error

    def send(self, data: Any) -> int:
        """To its peer. Raises OSError, also (EDESTADDRREQ) where there is none."""
        if self.peer is None:
            raise OSError(errno.EDESTADDRREQ, os.strerror(errno.EDESTADDRREQ))
        return self.sendto(data, self.peer)

    def receive(self, size: int, flags: int, limit: float | None) -> tuple[bytes, Any]:
        """The next datagram and its sender, as a socket of this family tells it. Raises as a socket does."""
        if flags:
            raise OSError(errno.EOPNOTSUPP, "datagrams through a proxy are received without flags")
        made = self._made
        if made.gettimeout() != limit:
            made.settimeout(limit)
        if not os.get_blocking(made.fileno()):
            os.set_blocking(made.fileno(), True)  # the program's limit is kept without
        while True:
            data, source = made.recvfrom(size)
            if self.peer is None or source == self.peer or not _is_number(self.peer[0]):
                break
        if self._family == socket.AF_INET:
            return data, source
        host = source[0] if ":" in source[0] else f"::ffff:{source[0]}"
        return data, (host, source[1], 0, 0)


_associations: "Final[weakref.WeakKeyDictionary[socket.socket, AssociatedSocket]]" = weakref.WeakKeyDictionary()


def association_of(sock: socket.socket) -> AssociatedSocket | None:
    """That of a socket which has one."""
    return _associations.get(sock) if _associations else None


def associated(scope: Scope, sock: socket.socket) -> AssociatedSocket:
    """That of a socket, made now if need be.

    Raises OSError as :func:`hosier.associate` does, and (EOPNOTSUPP) where it would hold up an event loop.
    """
    association = association_of(sock)
    if association is not None:
        return association
    limit = sock.gettimeout()
    if limit == 0:
        if asyncio._get_running_loop() is not None:
            raise OSError(
                errno.EOPNOTSUPP, "the proxy would hold up the loop: use remote_addr, or hosier.aio's endpoints"
            )
        limit = PATIENCE
    return take(sock, ask(scope, limit))


def ask(scope: Scope, limit: float | None) -> ProxiedDatagramSocket:
    """An association; OSError (EOPNOTSUPP) for proxies that carry no datagrams."""
    try:
        return carried(None, blocking.associate)(scope.chain, timeout=limit)
    except ConfigError as error:
        raise OSError(errno.EOPNOTSUPP, str(error)) from error


def take(sock: socket.socket, made: ProxiedDatagramSocket) -> AssociatedSocket:
    """The program's descriptor hears the relay from now on. The association ends with the program's socket."""
    try:
        os.dup2(made.fileno(), sock.fileno(), inheritable=sock.get_inheritable())
        association = _associations[sock] = AssociatedSocket(sock, made)
        weakref.finalize(sock, made.close)
    except BaseException:
        made.close()
        raise
    return association


def send(sock: socket.socket, data: Any, *flags: int) -> int:
    association = association_of(sock)
    return _send(sock, data, *flags) if association is None else association.send(data)


def sendall(sock: socket.socket, data: Any, *flags: int) -> None:
    association = association_of(sock)
    if association is None:
        _sendall(sock, data, *flags)
    else:
        association.send(data)


def recv(sock: socket.socket, size: int, flags: int = 0) -> bytes:
    association = association_of(sock)
    if association is None:
        return _recv(sock, size, flags)
    return association.receive(size, flags, sock.gettimeout())[0]


def recvfrom(sock: socket.socket, size: int, flags: int = 0) -> Any:
    association = association_of(sock)
    if association is None:
        return _recvfrom(sock, size, flags)
    return association.receive(size, flags, sock.gettimeout())


def recv_into(sock: socket.socket, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
    if association_of(sock) is None:
        return _recv_into(sock, buffer, nbytes, flags)
    return int(recvfrom_into(sock, buffer, nbytes, flags)[0])


def recvfrom_into(sock: socket.socket, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
    association = association_of(sock)
    if association is None:
        return _recvfrom_into(sock, buffer, nbytes, flags)
    view = memoryview(buffer).cast("B")
    if nbytes > len(view):
        raise ValueError("nbytes is greater than the length of the buffer")
    data, source = association.receive(nbytes or len(view), flags, sock.gettimeout())
    view[: len(data)] = data
    return len(data), source


def recvmsg(sock: socket.socket, size: int, ancillary: int = 0, flags: int = 0) -> Any:
    association = association_of(sock)
    if association is None:
        return _recvmsg(sock, size, ancillary, flags)
    data, source = association.receive(size, flags, sock.gettimeout())
    return data, [], 0, source


def recvmsg_into(sock: socket.socket, buffers: Any, ancillary: int = 0, flags: int = 0) -> Any:
    association = association_of(sock)
    if association is None:
        return _recvmsg_into(sock, buffers, ancillary, flags)
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    data, source = association.receive(sum(map(len, views)), flags, sock.gettimeout())
    rest = data
    for view in views:
        view[: len(rest[: len(view)])] = rest[: len(view)]
        rest = rest[len(view) :]
    return len(data), [], 0, source


DATAGRAMS: Final[list[tuple[Any, str, Any]]] = [
    (socket.socket, call.__name__, call)
    for call in (send, sendall, recv, recvfrom, recv_into, recvfrom_into, recvmsg, recvmsg_into)
]


def _is_number(host: str) -> bool:
    return host[-1:].isdigit() or ":" in host
