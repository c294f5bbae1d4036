"""Edges out of levels: what the engine takes from ``select.epoll``, made of any selector.

A selector tells as long as something is ready; the engine wants to be told once, and again only after a call has shown
that it no longer held. So a socket is watched until it is ready, then left alone until one of its own calls finds it
dry or full. Those calls go through an ``EdgeSocket``.
"""

import asyncio
import selectors
import socket
from collections.abc import Callable, Sequence
from errno import EEXIST, EMFILE
from itertools import islice
from math import inf
from os import strerror
from selectors import EVENT_READ, EVENT_WRITE, SelectSelector
from socket import MSG_PEEK, SO_ACCEPTCONN, SOL_SOCKET, SocketType
from typing import Any, ClassVar, Final

from .alarm import make_alarm
from .events import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP

__all__ = ("LOOK", "EdgeSocket", "Edges")

LOOK: Final = 0.5
"""Seconds between two looks at sockets that nobody reads: no selector tells when their connections break."""

SELECT_LIMIT: Final = 500
"""Sockets that are watched at once where there is nothing but select(); Windows' takes 512."""


_ERRORS: Final = EPOLLERR if hasattr(socket, "MSG_ERRQUEUE") else 0
"""A queue of errors, where there is one, makes a selector say readable; whoever asked for errors must look."""


def _events(ready: int) -> int:
    return (EPOLLIN if ready & EVENT_READ else 0) | (EPOLLOUT if ready & EVENT_WRITE else 0)


class Level:
    """A descriptor whose owner is told as long as it is ready, as a listener's is."""

    __slots__ = ("armed", "fd", "wanted")

    is_once: ClassVar = False
    """Whether it is left alone after it was ready, until somebody wants to hear of it again."""

    def __init__(self, fd: int, events: int) -> None:
        self.fd = fd
        self.wanted = (EVENT_READ if events & EPOLLIN else 0) | (EVENT_WRITE if events & EPOLLOUT else 0)
        self.armed = 0
        """What the selector watches; what is wanted comes true when the selector is next at hand."""

    def edge(self, ready: int) -> int:
        """The events to tell of."""
        return _events(ready) | _ERRORS


class EdgeSocket(Level):
    """A connection whose owner is told once.

    It stands in the place of the plain socket while that is watched, and asks for a new edge when a call shows that
    the last one is used up: a read or a write that came back short or not at all. A read that filled its buffer shows
    nothing.
    """

    __slots__ = ("_edges", "_failure", "broken", "plain")

    is_once: ClassVar = True

    def __init__(self, edges: "Edges", fd: int, events: int, plain: SocketType) -> None:
        super().__init__(fd, events)
        self.plain = plain
        self.broken = False
        """Its owner has been told that the connection is gone."""
        self._edges = edges
        self._failure: OSError | None = None
        """What a look at the stream was told, and who reads has to be."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def recv(self, limit: int, flags: int = 0) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            data = self.plain.recv(limit, flags)
        except BlockingIOError:
            self._edges.want(self, EVENT_READ)
            raise
        if len(data) < limit:
            self._edges.want(self, EVENT_READ)
        return data

    def recv_into(self, buffer: bytearray | memoryview, limit: int = 0, flags: int = 0) -> int:
        if self._failure is not None:
            raise self._failure
        try:
            size = self.plain.recv_into(buffer, limit, flags)
        except BlockingIOError:
            self._edges.want(self, EVENT_READ)
            raise
        if size < (limit or len(buffer)):
            self._edges.want(self, EVENT_READ)
        return size

    def recvmsg_into(self, buffers: Sequence[bytearray]) -> tuple[int, Any, int, Any]:
        if self._failure is not None:
            raise self._failure
        try:
            found = self.plain.recvmsg_into(buffers)
        except BlockingIOError:
            self._edges.want(self, EVENT_READ)
            raise
        if found[0] < sum(map(len, buffers)):
            self._edges.want(self, EVENT_READ)
        return found

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        try:
            size = self.plain.send(data, flags)
        except BlockingIOError:
            self._edges.want(self, EVENT_WRITE)
            raise
        if size < len(data):
            self._edges.want(self, EVENT_WRITE)
        return size

    def sendmsg(self, pieces: Sequence[bytes]) -> int:
        try:
            size = self.plain.sendmsg(pieces)
        except BlockingIOError:
            self._edges.want(self, EVENT_WRITE)
            raise
        if size < sum(map(len, pieces)):
            self._edges.want(self, EVENT_WRITE)
        return size

    def edge(self, ready: int) -> int:
        # A broken connection counts as readable and writable anyhow; see ``endpoint``.
        if self.breaks():
            return EPOLLHUP | EPOLLERR
        events = _events(ready)
        return events | EPOLLRDHUP if events & EPOLLIN and self._ends() else events

    def breaks(self) -> bool:
        """Whether the connection is gone, or a connect() has failed."""
        try:
            self.plain.getpeername()  # it leaves the error itself to who reads; SO_ERROR would spend it
        except OSError:
            self.broken = True
        return self.broken

    @property
    def is_unread(self) -> bool:
        """Whether only a look can tell that its connection breaks."""
        return not self.broken and not self.wanted & EVENT_READ

    def _ends(self) -> bool:
        """Whether the end of the stream comes next."""
        try:
            return not self.plain.recv(1, MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError as error:  # it broke just now
            self._failure = error
            return True


class EdgeListener(EdgeSocket):
    """A listening socket whose owner is told once, until a call finds nobody waiting."""

    __slots__ = ()

    def __init__(self, edges: "Edges", fd: int, _: int, plain: SocketType) -> None:
        super().__init__(edges, fd, EPOLLIN, plain)

    def _accept(self) -> tuple[int, Any]:
        try:
            return self.plain._accept()  # type: ignore[attr-defined, no-any-return]  # see ``listener``
        except BlockingIOError:
            self._edges.want(self, EVENT_READ)
            raise

    def edge(self, ready: int) -> int:
        return _events(ready)

    def breaks(self) -> bool:
        return False


class Edges:
    """What ``select.epoll`` is to the engine; ``ring()`` is called in the loop when there is something to poll."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self.closed = False
        self._loop = loop
        self._ring = ring
        self._selector = selectors.DefaultSelector()
        self._most = SELECT_LIMIT if isinstance(self._selector, SelectSelector) else inf
        self._alarm = make_alarm(loop, self._selector, self._rang)
        self._watched: dict[int, Level] = {}
        self._changed: set[Level] = set()
        self._ready: dict[int, int] = {}
        """What is ready by descriptor, and has not been polled yet."""
        self._settling = False
        self._looking: asyncio.TimerHandle | None = None

    def register(self, fd: int, events: int) -> None:
        """Watches a descriptor, told of as long as it is ready. Raises OSError if too many are watched, or this one."""
        self._register(Level(fd, events))

    def register_socket(self, fd: int, events: int, sock: SocketType) -> EdgeSocket:
        """Watches a stream socket, told of once per edge; its owner must use what is returned in its place."""
        kind = EdgeListener if sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN) else EdgeSocket
        found = kind(self, fd, events, sock)
        self._register(found)
        return found

    def modify(self, fd: int, events: int) -> None:
        """Nothing to do: a socket that was ready is left alone, and its own calls find out what is to be told next."""

    def unregister(self, fd: int) -> None:
        """Forgets a descriptor; at once, for it may be closed next. Harmless if it is not watched."""
        found = self._watched.pop(fd, None)
        if found is None:
            return
        self._ready.pop(fd, None)
        self._changed.discard(found)
        if found.armed and not self.closed:
            self._alarm.take()
            self._selector.unregister(fd)
            self._settle_soon()

    def want(self, sock: EdgeSocket, readiness: int) -> None:
        """Asks for a new edge."""
        if not sock.wanted & readiness and self._watched.get(sock.fd) is sock:
            sock.wanted |= readiness
            self._change(sock)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """What is ready now; never waits, whatever the timeout says. What is too much comes the next time."""
        self._alarm.take()
        self._update()
        for key, readiness in self._selector.select(0):
            found: Level | None = key.data
            if found is not None:
                self._ready[found.fd] = self._ready.get(found.fd, 0) | readiness
                if found.is_once:
                    found.wanted &= ~readiness
                    self._change(found)
                    if self._looking is None:
                        self._looking = self._loop.call_later(LOOK, self._look)
        self._settle_soon()
        ready, watched = self._ready, self._watched
        return [(fd, watched[fd].edge(ready.pop(fd))) for fd in list(islice(ready, most))]

    def close(self) -> None:
        self.closed = True
        if self._looking is not None:
            self._looking.cancel()
        self._alarm.close()
        self._selector.close()

    # --- private ---

    def _rang(self) -> None:
        if not self.closed:
            self._ring()

    def _register(self, level: Level) -> None:
        if level.fd in self._watched:
            raise FileExistsError(EEXIST, "this descriptor is watched already")
        if len(self._watched) >= self._most:
            raise OSError(EMFILE, strerror(EMFILE))
        self._watched[level.fd] = level
        self._change(level)

    def _change(self, level: Level) -> None:
        self._changed.add(level)
        self._settle_soon()

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """The loop has had its turn: what is left over is polled next, or else the selector is watched again."""
        self._settling = False
        if self.closed:
            return
        if self._ready:
            self._ring()
        else:
            self._alarm.take()
            self._update()
            self._alarm.set()

    def _update(self) -> None:
        """Tells the selector what has come to be wanted; most of it has changed to and fro meanwhile."""
        for level in self._changed:
            if level.wanted == level.armed:
                continue
            if not level.armed:
                self._selector.register(level.fd, level.wanted, level)
            elif not level.wanted:
                self._selector.unregister(level.fd)
            else:
                self._selector.modify(level.fd, level.wanted, level)
            level.armed = level.wanted
        self._changed.clear()

    def _look(self) -> None:
        self._looking = None
        unread = [sock for sock in self._watched.values() if isinstance(sock, EdgeSocket) and sock.is_unread]
        broken = [sock for sock in unread if sock.breaks()]
        for sock in broken:
            self._ready.setdefault(sock.fd, 0)
        if broken:
            self._settle_soon()
        if len(unread) > len(broken):
            self._looking = self._loop.call_later(LOOK, self._look)
