"""The engine: one epoll for all its sockets, nested as a single reader in the asyncio loop that runs it.

A round of dispatch serves the edges first (small talk), then gives bulk flows their turns, and ends within a bound
of time, so that neither a fat flow starves the thin ones nor the engine its host program.
"""

import asyncio
import contextlib
import select
from collections import deque
from collections.abc import Sequence
from socket import SocketType
from time import monotonic
from typing import Any, Final, Protocol, cast

from .endpoint import Owner
from .frame_buffers import FrameBuffers
from .gathering import Looks
from .loop import EdgeLoop, LentEpoll
from .pipes import PipePool
from .task import Task
from .timers import Timers

__all__ = ("HELD_LIMIT", "Engine", "Source", "Turn", "Watched")

BATCH: Final = 64
"""Edges served before the clock is looked at again."""

BULK_SLICE: Final = 0.0005
"""Seconds of bulk turns before the edges are looked at again."""

ROUND: Final = 0.001
"""Seconds after which the host program's loop gets its turn."""

HELD_LIMIT: Final = 64 << 20
"""Octets held for slow readers by one engine, kernel pipes included."""

SCRATCH: Final = 65536
"""Octets moved at once by a copy."""


class Watched(Protocol):
    """What is registered under a descriptor: an endpoint, a listener."""

    sock: Any

    @property
    def owner(self) -> Owner: ...


class Source(Protocol):
    """Where edges come from: ``select.epoll``, or what does the same."""

    @property
    def closed(self) -> bool: ...

    def register(self, fd: int, events: int, /) -> object: ...

    def modify(self, fd: int, events: int, /) -> None: ...

    def unregister(self, fd: int, /) -> None: ...

    def poll(self, timeout: float, most: int, /) -> list[tuple[int, int]]: ...

    def close(self) -> None: ...


class Turn(Protocol):
    """A flow that waits for its turn in the round robin."""

    def turn(self) -> None: ...

    def crashed(self, error: Exception) -> None: ...


class Engine:
    """The sockets, tasks, timers and pipes of one event loop. Make it in the loop's thread; ``close()`` it there."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, *, held_limit: int = HELD_LIMIT) -> None:
        self.loop = loop if loop is not None else asyncio.get_running_loop()
        self.timers = Timers(self.loop)
        self.pipes = PipePool()
        self.looks = Looks(self.loop)
        self.tasks: set[Task] = set()
        self.scratch = memoryview(bytearray(SCRATCH))
        """A buffer for the call under way; its contents mean nothing afterwards."""
        self.frames = FrameBuffers()
        """Likewise, for frames of a security layer."""
        self.now = monotonic()
        """The loop's clock, read once per round."""
        self.held_limit = held_limit
        self.room = held_limit
        """Octets that may still be held for slow readers."""
        self._found: Sequence[object] = ()
        """Edges that the loop has found already; the next dispatch serves them."""
        self._epoll = self._open()
        self._watched: dict[int, Watched] = {}
        self._turns: deque[Turn] = deque()
        self._buried: list[SocketType] = []
        self.is_quiet = True
        """Whether there was hardly an edge when they were looked at last: a long turn keeps nobody waiting."""
        self.in_round = False
        """Whether edges and turns are being served, so that ``now`` is fresh."""
        self._round_due = False

    @property
    def held(self) -> int:
        """Octets held for slow readers."""
        return self.held_limit - self.room

    @property
    def sockets(self) -> int:
        """How many are watched."""
        return len(self._watched)

    def watch(self, fd: int, watched: Watched, events: int) -> None:
        """Registers a descriptor, once, for as long as it lives."""
        self._watched[fd] = watched
        self._epoll.register(fd, events)

    def watch_for(self, fd: int, events: int) -> None:
        """Tells of other events from now on; what is the case already is told at once."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int, *, unregister: bool = True) -> None:
        """Forgets a descriptor that stays open."""
        if self._watched.pop(fd, None) is not None and unregister:
            self._epoll.unregister(fd)

    def bury(self, fd: int, sock: SocketType) -> None:
        """Closes a socket when the round is over: until then edges under its number may still wait in the batch,
        and the kernel must not give the number to a new socket."""
        self._watched.pop(fd, None)
        if self.in_round or self._found:
            self._buried.append(sock)
        else:
            sock.close()

    def queue(self, flow: Turn) -> None:
        """Puts a flow at the end of the round robin; the flow sees to it that it does so once."""
        self._turns.append(flow)
        if not self.in_round:
            self._come_back()

    def report(self, error: BaseException, message: str) -> None:
        """Tells the host program's loop of a crash, with its traceback; by default it is logged."""
        self.loop.call_exception_handler({"message": message, "exception": error})

    def close(self) -> None:
        """Cancels what still runs and gives everything back; a second time is harmless."""
        if self._epoll.closed:
            return
        for task in list(self.tasks):
            task.interrupt(asyncio.CancelledError())
        self.timers.close()
        self.looks.close()
        self._turns.clear()
        self.pipes.close()
        self._shut()

    # --- private ---

    def _open(self) -> Source:
        if isinstance(self.loop, EdgeLoop) and (lent := self.loop.lend_epoll(self._on_edges)) is not None:
            self._found = lent.found
            return lent
        epoll = select.epoll()
        self._nested = epoll.fileno()
        try:
            self.loop.add_reader(self._nested, self._on_edges)
        except BaseException:
            epoll.close()
            raise
        return epoll

    def _shut(self) -> None:
        if isinstance(self._epoll, LentEpoll):
            for fd in self._watched:
                with contextlib.suppress(OSError):  # closed by somebody else
                    self._epoll.unregister(fd)
            cast("EdgeLoop", self.loop).take_epoll_back()
        else:
            self.loop.remove_reader(self._nested)
        self._epoll.close()
        self._close_buried()

    def _on_edges(self, edges: Sequence[tuple[int, int]] | None = None) -> None:
        """The loop found edges, these or others that wait, or was asked to come back. If a round is due, it will serve
        those; one per turn of the loop is enough."""
        if edges is not None or not self._round_due:
            self._dispatch(edges)

    def _come_back(self) -> None:
        """Flows wait for their turns; the loop has its own first."""
        if isinstance(self._epoll, LentEpoll):
            self._epoll.come_back()
        elif not self._round_due:
            self._round_due = True
            self.loop.call_soon(self._on_round)

    def _on_round(self) -> None:
        """The loop had its turn; flows wait for theirs."""
        self._round_due = False
        if not self._epoll.closed:
            self._dispatch()

    def _dispatch(self, edges: Sequence[tuple[int, int]] | None = None) -> None:
        self.in_round = True
        turns, buried = self._turns, self._buried
        poll, get = self._epoll.poll, self._watched.get
        self.now = now = monotonic()
        end = now + ROUND
        try:
            if edges is None:
                edges = poll(0, BATCH)
            while True:
                self.is_quiet = len(edges) < 2
                for fd, events in edges:
                    watched = get(fd)
                    if watched is not None:
                        try:
                            watched.owner.on_edge(watched, events)
                        except Exception as error:  # noqa: BLE001  # the other edges are told only once
                            self.report(error, f"the handler of an edge crashed: {error!r}")
                if turns:
                    self._bulk_slice()
                if buried:
                    self._close_buried()
                if not turns and len(edges) < 2:
                    return
                self.now = now = monotonic()
                if now >= end:
                    break
                edges = poll(0, BATCH)
        finally:
            self.in_round = False
            if buried:
                self._close_buried()
        # The epoll itself is level-triggered in the loop: edges that wait bring us back. Turns do not.
        if turns:
            self._come_back()

    def _bulk_slice(self) -> None:
        turns = self._turns
        end = self.now + BULK_SLICE
        while turns:
            flow = turns.popleft()
            try:
                flow.turn()
            except Exception as error:  # noqa: BLE001  # it ends that relay alone
                flow.crashed(error)
            self.now = now = monotonic()
            if now >= end:
                return

    def _close_buried(self) -> None:
        for sock in self._buried:
            sock.close()
        self._buried.clear()
