"""An asyncio loop with one epoll for everything: its own descriptors, and an engine's.

Nested in a loop's, an engine's epoll works in any loop, and costs more: two calls for each wake-up, and whatever is
added to an epoll that is watched itself is checked for loops by the kernel. Who makes the loop need not pay that, nor a
round of the loop for each wake-up or turn: while nothing is asked of it, the engine is served where the loop waits.
"""

import asyncio
import contextlib
import select
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context, copy_context
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from time import monotonic
from typing import Any, Final, TypeVarTuple

from .events import EPOLLIN, EPOLLOUT

__all__ = ("EdgeLoop", "EdgeSelector", "LentEpoll")

BATCH: Final = 64
"""Events that are taken at once; others come next."""

Edges = list[tuple[int, int]]
"""Descriptors, and what is told of each."""

_Args = TypeVarTuple("_Args")


class EdgeSelector(BaseSelector):
    """What ``selectors.EpollSelector`` is to asyncio. What is ready and not the loop's own is an engine's.

    The engine waits for it as for its own epoll, by a reader on ``fileno()``.
    """

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.found: Edges = []
        """What the engine has still to look at."""
        self.serve: Callable[[Edges], None] | None = None
        """Lets the engine look at edges at once."""
        self.is_asked = False
        """Whether anything was asked of the loop since then, and it has to go round."""
        self.is_due = False
        """Whether the engine has something to do without an edge, too."""
        self._own = self.epoll.fileno()
        self._keys: dict[int, SelectorKey] = {}
        self._descriptors = self._keys.keys()
        self._map = _Map(self._keys)

    def fileno(self) -> int:
        return self._own

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        fd = _number(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        if fd != self._own:
            self.epoll.register(fd, _wanted(events))
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        fd = _number(fileobj)
        key = self._keys.pop(fd)
        if fd != self._own:
            with contextlib.suppress(OSError):  # it was closed before, and epoll has forgotten it
                self.epoll.unregister(fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        fd = _number(fileobj)
        before = self._keys[fd]
        if events != before.events and fd != self._own:
            self.epoll.modify(fd, _wanted(events))
        key = self._keys[fd] = before._replace(events=events, data=data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """What is ready of the loop's own; while only the engine has something to do, that is done here."""
        found, keys = self.found, self._keys
        if found:
            timeout = 0
        seconds = -1 if timeout is None else max(0, timeout)
        until = monotonic() + seconds
        edges = self.epoll.poll(0 if self.is_due else seconds, BATCH)
        while seconds and (edges or self.is_due) and self.serve is not None:
            if edges and not self._descriptors.isdisjoint(dict(edges)):
                break
            self.is_asked = self.is_due = False
            self.serve(edges)
            if self.is_asked or (timeout is not None and (seconds := until - monotonic()) <= 0):
                return []
            edges = self.epoll.poll(0 if self.is_due else seconds, BATCH)
        ready: list[tuple[SelectorKey, int]] = []
        if len(edges) > len(keys):
            # Much has come, and the loop's own are few: they are looked for, and the engine overlooks them.
            found += edges
            told = dict(edges)
            edges = [(fd, told[fd]) for fd in keys if fd in told]
        for edge in edges:
            key = keys.get(edge[0])
            if key is None:
                found.append(edge)
            elif readiness := _readiness(edge[1]) & key.events:
                ready.append((key, readiness))
        if (found or self.is_due) and (engine := keys.get(self._own)) is not None:
            self.is_due = False
            ready.append((engine, EVENT_READ))
        return ready

    def get_key(self, fileobj: Any) -> SelectorKey:
        return self._keys[_number(fileobj)]

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return self._map

    def close(self) -> None:
        self._keys.clear()
        self.epoll.close()


class _Map(Mapping[Any, SelectorKey]):
    """The keys by descriptor, and by what has one."""

    def __init__(self, keys: dict[int, SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> SelectorKey:
        return self._keys[_number(fileobj)]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class LentEpoll:
    """The loop's epoll, as an engine sees it: what the loop has found, and then what else there is.

    Events of the loop's own descriptors are among that. They are nothing to the engine, and come again.
    """

    def __init__(self, selector: EdgeSelector) -> None:
        self.closed = False
        self._selector = selector
        self.found = selector.found
        self.register = selector.epoll.register
        self.modify = selector.epoll.modify
        self.unregister = selector.epoll.unregister
        self._poll = selector.epoll.poll

    def poll(self, timeout: float, most: int) -> Edges:
        if self.found:
            edges = self.found[:]
            self.found.clear()
            return edges
        return self._poll(timeout, most)

    def come_back(self) -> None:
        """The engine is rung again, edges or not, when the loop has had its turn."""
        self._selector.is_due = not self.closed

    def close(self) -> None:
        self.closed = True
        self.found.clear()
        self._selector.is_due = False


class EdgeLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, over such a selector."""

    def __init__(self) -> None:
        self._edges = EdgeSelector()
        self._ring: Callable[..., None]
        self._context: Context
        super().__init__(self._edges)

    def lend_epoll(self, ring: Callable[..., None]) -> LentEpoll | None:
        """The loop's epoll, for an engine that is rung when there is something for it, with the edges where they were
        just found; None: another one has it."""
        if self._edges.serve is not None:
            return None
        self._ring, self._context = ring, copy_context()
        self.add_reader(self._edges.fileno(), ring)
        self._edges.serve = self._serve
        return LentEpoll(self._edges)

    def take_epoll_back(self) -> None:
        """The engine is closed, and nothing of its own is registered any more."""
        self.remove_reader(self._edges.fileno())
        self._edges.serve = None
        del self._ring, self._context

    def call_soon(
        self, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.Handle:
        self._edges.is_asked = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._edges.is_asked = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self._edges.is_asked = True
        super().stop()

    # --- private ---

    def _serve(self, edges: Edges) -> None:
        """The engine's turn, as the loop's callbacks have theirs."""
        try:
            self._context.run(self._ring, edges)
        except Exception as error:  # noqa: BLE001  # it must not end the loop
            self.call_exception_handler({"message": f"an engine crashed: {error!r}", "exception": error})


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _wanted(events: int) -> int:
    return (EPOLLIN if events & EVENT_READ else 0) | (EPOLLOUT if events & EVENT_WRITE else 0)


def _readiness(events: int) -> int:
    """As selectors have it: what is broken counts as both."""
    return (EVENT_READ if events & ~EPOLLOUT else 0) | (EVENT_WRITE if events & ~EPOLLIN else 0)
