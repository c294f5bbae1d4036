"""A non-blocking socket in the engine: registered once, edge-triggered.

What an edge told is remembered in ``seen`` until a call shows that it no longer holds, so nothing is asked of the
kernel that is already known, and no wait misses an edge that came before it. Room to write is an edge like the others,
but is heard of only once somebody had to wait for it: most sockets always have some.
"""

import contextlib
import struct
from collections.abc import Generator
from socket import SHUT_WR, SO_ERROR, SO_LINGER, SOL_SOCKET, SocketType
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ..protocol.address import Address, address_of_socket
from .events import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP

if TYPE_CHECKING:
    from .layers import TunnelLayer
    from .poller import Engine
    from .task import Task

__all__ = ("ARRIVALS", "BROKEN", "ENDED", "MAYBE_MORE", "READABLE", "WRITABLE", "Endpoint", "Owner", "Tunnel")

ARRIVALS: Final = EPOLLIN | EPOLLPRI
"""Heard of and ignored together: whatever arrives wakes who hears of either."""
EDGES: Final = ARRIVALS | EPOLLRDHUP | EPOLLET
BROKEN: Final = EPOLLHUP | EPOLLERR
ENDED: Final = EPOLLRDHUP | BROKEN
MAYBE_MORE: Final = ENDED | EPOLLPRI
"""After these a short read means nothing: the end's edge is spent, and a read stops before urgent data, which comes at
its place among the rest (A-40)."""
READABLE: Final = EPOLLIN | ENDED
WRITABLE: Final = EPOLLOUT | BROKEN

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """Who is told of an endpoint's edges: a task, a relay, a race of connects."""

    def on_edge(self, endpoint: Any, events: int, /) -> None: ...


class _Nobody:
    """The owner of what is closed; owning back would keep both alive."""

    def on_edge(self, endpoint: Any, events: int, /) -> None:
        pass


NOBODY: Final = _Nobody()


class Tunnel(NamedTuple):
    """What is to be known of an endpoint that leads farther than its socket: through others, who relay."""

    bound: Address
    """Where the last of them comes from, towards the target."""

    said: bytes = b""
    """What has arrived already: plain octets."""

    layer: "TunnelLayer | None" = None
    """What protects the octets on the way."""


class Endpoint:
    """One connected (or connecting) stream socket. Its ``owner`` gets the edges."""

    __slots__ = ("engine", "fd", "heard", "owner", "seen", "sock", "tunnel", "was_reset")

    def __init__(self, engine: "Engine", sock: SocketType, owner: Owner, seen: int = 0) -> None:
        """``seen``: what is known of the socket already, EPOLLIN where data is likely to be there."""
        self.engine = engine
        self.sock = sock
        self.fd = sock.fileno()
        self.owner = owner
        self.seen = seen
        self.heard = 0
        """What the engine tells of; nothing before it is registered."""
        self.was_reset = False
        self.tunnel: Tunnel | None = None

    def __repr__(self) -> str:
        return f"<Endpoint fd={self.fd}>"

    @property
    def closed(self) -> bool:
        return self.fd < 0

    @property
    def bound(self) -> Address:
        """Where it comes from, in the eyes of whom it leads to."""
        tunnel = self.tunnel
        return address_of_socket(self.sock.getsockname()) if tunnel is None else tunnel.bound

    def register(self) -> None:
        """Tells the engine to watch it. A connecting socket is registered after connect(): before, epoll calls it
        hung up."""
        self.heard = EDGES
        self.engine.watch(self.fd, self, EDGES)

    def hear(self, events: int) -> None:
        """Wants to be told of these events, too; what is the case already is told at once."""
        wanted = self.heard | events
        if not self.heard:
            self.heard = wanted | EDGES
            self.engine.watch(self.fd, self, self.heard)
        elif wanted != self.heard:
            self.heard = wanted
            self.engine.watch_for(self.fd, wanted)

    def ask(self, events: int) -> None:
        """Wants to be told of these events as soon as they are the case, even if they are now and were told before: a
        call that came back short shows neither. It must be registered."""
        self.heard |= events
        self.engine.watch_for(self.fd, self.heard)

    def ignore(self, events: int) -> None:
        """Does not want to be told of these events until it wants to hear of them again."""
        if self.heard & events:
            self.heard &= ~events
            self.engine.watch_for(self.fd, self.heard)

    @coroutine
    def recv(self, limit: int) -> Generator[Any, Any, bytes]:
        """Up to ``limit`` octets; empty at the end of the stream. Raises OSError."""
        while True:
            if not self.seen & READABLE:
                if not self.heard:
                    self.register()
                elif not self.heard & EPOLLIN:
                    self.hear(ARRIVALS)
                task: Task = self.owner  # type: ignore[assignment]  # only the task that owns it can wait for it
                while not self.seen & READABLE:
                    task.waiting, task.wanted = self, READABLE
                    yield
            if (data := self.recv_some(limit)) is not None:
                return data

    def recv_some(self, limit: int) -> bytes | None:
        """Up to ``limit`` octets that have arrived already; empty at the end of the stream, None if there are none.
        Raises OSError."""
        seen = self.seen
        if not seen & READABLE:
            return None
        try:
            data: bytes = self.sock.recv(limit)
        except BlockingIOError:
            self.seen = seen & EPOLLOUT
            return None
        if len(data) < limit and not seen & MAYBE_MORE:
            self.seen = seen & EPOLLOUT
        return data

    def send_some(self, data: bytes) -> bytes:
        """Sends what the kernel takes at once, nearly always all of it; returns the rest. Raises OSError."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        return b"" if sent == len(data) else data[sent:]

    @coroutine
    def send_all(self, data: bytes) -> Generator[Any, Any, None]:
        """Sends all of it. Raises OSError."""
        while data := self.send_some(data):
            self.seen &= ~EPOLLOUT
            yield from self.wait(WRITABLE)

    def ran_dry(self) -> None:
        """A read has found nothing: whatever was urgent is read."""
        self.seen &= ~EPOLLPRI

    def connect_result(self) -> int:
        """The errno of a connect() whose edge has come; the kernel is asked only if the edge carries an error."""
        return self.sock.getsockopt(SOL_SOCKET, SO_ERROR) if self.seen & (EPOLLERR | EPOLLHUP) else 0

    def shutdown(self) -> None:
        """Ends our direction; harmless if the connection is gone."""
        try:  # noqa: SIM105  # contextlib.suppress costs more than the call, and every session makes it
            self.sock.shutdown(SHUT_WR)
        except OSError:
            pass

    def release(self) -> SocketType:
        """Hands the socket on: unregistered, ours no more."""
        self.engine.unwatch(self.fd, unregister=self.heard != 0)
        self.fd = -1
        return self.sock

    def close(self) -> None:
        """Closes; a second time is harmless. The descriptor itself lives until the batch is over, so that its
        number cannot come back in it."""
        if self.fd >= 0:
            self.engine.bury(self.fd, self.sock)
            self.fd = -1
            self.owner = NOBODY

    def reset(self) -> None:
        """Closes with a reset instead of an orderly end."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
            self.close()

    def wait(self, events: int) -> Generator[None, None, None]:
        """Suspends the task that owns it until one of the epoll events was seen."""
        task: Task = self.owner  # type: ignore[assignment]  # only the task that owns it can wait for it
        self.hear(events & (EPOLLIN | EPOLLOUT))
        while not self.seen & events:
            task.waiting, task.wanted = self, events
            yield
