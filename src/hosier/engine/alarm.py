"""How an asyncio loop learns that a selector has something to tell.

Where the selector has a descriptor (kqueue, epoll) and the loop can watch one, the selector is nested in the loop.
Elsewhere (Windows' proactor loop; a selector over poll or select) a thread waits in the loop's stead.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue
from selectors import EVENT_READ, BaseSelector
from typing import Protocol

__all__ = ("Alarm", "NestedAlarm", "ThreadAlarm", "make_alarm")


class Alarm(Protocol):
    """Calls ``ring()`` in the loop, once it is set and as soon as something registered in the selector is ready.

    A selector serves one thread at a time: who is about to touch it takes it first, and sets the alarm when done.
    """

    def take(self) -> None:
        """From now on the selector is the caller's."""

    def set(self) -> None:
        """Watches the selector from now on."""

    def close(self) -> None:
        """Rings no more; the selector is the caller's, to be closed."""


def make_alarm(loop: asyncio.AbstractEventLoop, selector: BaseSelector, ring: Callable[[], None]) -> Alarm:
    """The cheaper one, if this loop and this selector allow it."""
    if hasattr(selector, "fileno"):
        with contextlib.suppress(NotImplementedError):
            return NestedAlarm(loop, selector.fileno(), ring)
    return ThreadAlarm(loop, selector, ring)


class NestedAlarm:
    """One descriptor in another's set: there is nothing to hand to and fro."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        loop.add_reader(fd, ring)

    def take(self) -> None:
        pass

    def set(self) -> None:
        pass

    def close(self) -> None:
        self._loop.remove_reader(self._fd)


class ThreadAlarm:
    """A thread that waits in ``select()``, and does nothing else, while the selector is lent to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, selector: BaseSelector, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._selector = selector
        self._ring = ring
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        selector.register(self._bell, EVENT_READ)
        self._lent = False
        self._asked = False
        self._lend: SimpleQueue[bool] = SimpleQueue()
        self._returned = threading.Semaphore(0)
        # A daemon: an engine that nobody closed must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="hosier-alarm", daemon=True)
        self._thread.start()

    def take(self) -> None:
        if not self._lent:
            return
        self._lent = False
        if not self._returned.acquire(blocking=False):
            self._asked = True
            self._rope.send(b"\0")
            self._returned.acquire()  # as long as it takes to leave select()
            self._asked = False

    def set(self) -> None:
        if not self._lent:
            self._lent = True
            self._lend.put(True)

    def close(self) -> None:
        self.take()
        self._lend.put(False)
        self._thread.join()
        self._selector.unregister(self._bell)
        self._bell.close()
        self._rope.close()

    # --- the thread ---

    def _work(self) -> None:
        while self._lend.get():
            # What is wrong with a selector its owner will find out, who is rung.
            with contextlib.suppress(OSError, ValueError):
                if any(key.fileobj is self._bell for key, _ in self._selector.select()):
                    self._bell.recv(64)
            self._returned.release()
            # A pull at the rope that came too late for its own call ends a later one: that rings for nothing.
            if not self._asked:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    self._loop.call_soon_threadsafe(self._ring)
