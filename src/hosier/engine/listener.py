"""A listening socket in the engine."""

import socket
from collections.abc import Callable
from enum import Enum
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from socket import SocketType
from typing import TYPE_CHECKING, Any, Final

from .events import EPOLLIN

if TYPE_CHECKING:
    from .poller import Engine

__all__ = ("OWN_PORT", "Listener", "Sharing", "listening_socket")

BACKLOG: Final = 4096
MOST_AT_ONCE: Final = 64
PAUSE: Final = 0.5  # seconds without accepting when the process has no descriptors left
OWN_PORT: Final = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
"""On Windows SO_REUSEADDR would let others take a port that is in use; elsewhere it only forgives old connections."""

_EXHAUSTED: Final = frozenset((EMFILE, ENFILE, ENOBUFS, ENOMEM))


class Sharing(Enum):
    """Whether several sockets listen on one address, each with a queue of its own (SO_REUSEPORT)."""

    ALONE = "alone"

    FIRST = "first"
    """Takes the address as if alone, so that one in use is noticed, then lets others of the same user in."""

    NEXT = "next"
    """Joins a first one."""


def listening_socket(
    sockaddr: tuple[Any, ...], family: int, *, client_speaks_first: bool, sharing: Sharing = Sharing.ALONE
) -> socket.socket:
    """A bound, listening, non-blocking TCP socket. What it sets, the accepted sockets inherit.

    ``client_speaks_first`` lets the kernel hold connections back until data is there (TCP_DEFER_ACCEPT): one
    wake-up less for each, but a server that must speak first would stall. Raises OSError.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, OWN_PORT, 1)
        if sharing is Sharing.NEXT:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # urgent data is ordinary data
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if client_speaks_first and hasattr(socket, "TCP_DEFER_ACCEPT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        sock.bind(sockaddr)
        if sharing is Sharing.FIRST:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class Listener:
    """Accepts and hands each connection on: ``accepted(sock, sockaddr)``, the socket non-blocking.

    It accepts as many as came last time before it looks again, so that a steady trickle costs no call in vain.
    When descriptors run out it pauses, says so through ``exhausted(error)``, and tries again; it says so once, until
    all who waited have been accepted.
    """

    __slots__ = ("_accepted", "_burst", "_engine", "_exhausted", "_family", "_paused", "_short", "owner", "sock")

    def __init__(
        self,
        engine: "Engine",
        sock: socket.socket,
        accepted: Callable[[SocketType, Any], None],
        exhausted: Callable[[OSError], None],
    ) -> None:
        self.sock = sock
        self.owner = self
        self._engine = engine
        self._accepted = accepted
        self._exhausted = exhausted
        self._family = int(sock.family)
        self._burst = 1
        self._paused: Any = None
        self._short = False
        engine.watch(sock.fileno(), self, EPOLLIN)

    def on_edge(self, _: Any, events: int) -> None:
        # The raw accept returns a descriptor; socket.accept() would wrap it in enums at several times the cost.
        accept, family = self.sock._accept, self._family  # type: ignore[attr-defined]
        for count in range(self._burst):
            try:
                fd, sockaddr = accept()
            except BlockingIOError:
                self._burst = max(1, count)
                self._short = False
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                continue  # the peer of this one is gone already
            sock = SocketType(family, socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            try:
                self._accepted(sock, sockaddr)
            except Exception as error:  # noqa: BLE001  # it ends this connection alone
                sock.close()
                self._engine.report(error, f"an accepted connection crashed: {error!r}")
        self._burst = min(self._burst * 2, MOST_AT_ONCE)

    def close(self) -> None:
        """Stops accepting and closes the socket."""
        if self._paused is not None:
            self._paused.cancel()
        fd = self.sock.fileno()
        self._engine.unwatch(fd)  # while another process holds the socket, closing alone would leave it in the epoll
        self._engine.bury(fd, self.sock)

    # --- private ---

    def _pause(self, error: OSError) -> None:
        if self.sock.fileno() < 0:
            return  # closed by what was accepted just before
        if not self._short:
            self._short = True
            self._exhausted(error)
        self._engine.unwatch(self.sock.fileno())
        self._paused = self._engine.loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        self._engine.watch(self.sock.fileno(), self, EPOLLIN)
        self._paused = None
