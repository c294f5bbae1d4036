"""The engine where there is no epoll: macOS, the BSDs, Windows, and loops that cannot watch a descriptor.

Tasks, timers, relays and turns are the same; only where edges come from differs, and that nothing is spliced.
"""

from socket import SocketType
from typing import Any

from .edges import Edges, EdgeSocket
from .events import EPOLLET
from .pipes import Pipe, PipePool
from .poller import Engine, Source, Watched

__all__ = ("PortableEngine",)


class _NoPipes(PipePool):
    """Without splice there is nothing to fill pipes with; every flow copies."""

    __slots__ = ()

    def take(self) -> Pipe | None:
        return None


class PortableEngine(Engine):
    """The engine over any selector and any asyncio loop."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.pipes = _NoPipes()

    def watch(self, fd: int, watched: Watched, events: int) -> None:
        if events & EPOLLET:
            watched.sock = self._edges.register_socket(fd, events, watched.sock)
            self._watched[fd] = watched
        else:
            super().watch(fd, watched, events)

    def unwatch(self, fd: int, *, unregister: bool = True) -> None:
        watched = self._watched.get(fd)
        super().unwatch(fd, unregister=unregister)
        if watched is not None and isinstance(watched.sock, EdgeSocket):
            watched.sock = watched.sock.plain

    def bury(self, fd: int, sock: SocketType) -> None:
        # A selector must not hold what is closed; epoll forgets by itself.
        if fd in self._watched:
            self._edges.unregister(fd)
        super().bury(fd, sock)

    def _open(self) -> Source:
        self._edges = Edges(self.loop, self._on_edges)
        return self._edges

    def _shut(self) -> None:
        self._edges.close()
