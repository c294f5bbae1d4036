"""Runs a session's coroutine without an asyncio task: the edge it waits for resumes it directly.

A wait names what it waits for; anything else that happens meanwhile is remembered elsewhere and does not resume it.
Coroutines that we did not write need a real asyncio task around them (for ``asyncio.timeout`` and TaskGroup):
``await foreign(coroutine)``.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Hashable
from contextvars import Context, copy_context
from math import inf
from time import monotonic
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from .events import EPOLLERR, EPOLLHUP

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .poller import Engine

__all__ = ("Task", "foreign")

_BROKEN: Final = EPOLLHUP | EPOLLERR


class Task:
    """One session under way.

    ``waiting`` is the object whose event resumes it; ``wanted`` the epoll events, if that object is an endpoint.
    """

    __slots__ = (
        "_context",
        "_coroutine",
        "_send",
        "bucket",
        "deadline",
        "engine",
        "limit",
        "waiting",
        "wanted",
    )

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._coroutine: Coroutine[Any, Any, None] | None = None
        self._send: Callable[[None], Any]
        self._context: Context | None = None
        self.waiting: object | None = None
        self.wanted = 0
        self.limit = ""
        self.deadline = inf
        self.bucket = inf

    def __repr__(self) -> str:
        return f"<Task {getattr(self._coroutine, '__qualname__', 'finished')} waiting={self.waiting!r}>"

    @property
    def source(self) -> Hashable:
        """Whose it is, wherever many share what is scarce; a subclass tells."""
        return None

    async def run(self) -> None:
        """What it does; a subclass tells."""
        raise NotImplementedError

    def may_wait(self) -> None:
        """It is about to wait for others, who may be slow. A subclass may raise if that is of no use any more."""

    def broke(self, endpoint: "Endpoint") -> None:
        """The connection of an endpoint of its is gone while it waits for something else. A subclass may interrupt
        it; else it will find out."""

    def start(self) -> None:
        """Runs it up to its first wait."""
        coroutine = self._coroutine = self.run()
        self._context = copy_context()
        engine = self.engine
        engine.tasks.add(self)
        if not engine.in_round:
            engine.now = monotonic()  # the engine may have slept until now
        self._send = coroutine.send
        self._run(self._send, None)

    def resume(self) -> None:
        """Goes on after what it waited for has happened."""
        if self._coroutine is not None:
            if not self.engine.in_round:
                self.engine.now = monotonic()  # it may have been a long wait for something outside the engine
            self._run(self._send, None)

    def interrupt(self, error: BaseException) -> None:
        """Raises ``error`` where the coroutine waits."""
        if self._coroutine is not None:
            self.engine.now = monotonic()
            self._run(self._coroutine.throw, error)

    def set_limit(self, name: str, seconds: float) -> None:
        """Interrupts the coroutine with a TimeoutError in ``seconds``, unless a new limit is set before."""
        self.limit = name
        self.deadline = deadline = self.engine.now + seconds
        # A bucket that fires earlier moves it on by itself; that is the rule, not the exception.
        if self.bucket > deadline:
            self.engine.timers.arm(self)

    def on_deadline(self) -> None:
        self.deadline = inf
        self.interrupt(TimeoutError(f"{self.limit} limit"))

    def on_edge(self, endpoint: "Endpoint", events: int) -> None:
        endpoint.seen |= events
        if self.waiting is endpoint and events & self.wanted:
            self._run(self._send, None)
        elif events & _BROKEN:
            self.broke(endpoint)

    # --- private ---

    def _run(self, step: Callable[[Any], Any], value: Any) -> None:
        self.waiting = None
        try:
            yielded = self._context.run(step, value)  # type: ignore[union-attr]  # set with the coroutine
        except StopIteration:
            self._finish()
        except asyncio.CancelledError:
            self._finish()
        except Exception as error:  # noqa: BLE001  # whatever it was, it ends this session alone
            self._finish()
            self.engine.report(error, f"a session crashed: {error!r}")
        else:
            if yielded is not None:
                self._await_future(yielded)
            elif self.waiting is None:
                # A bare yield, as asyncio.sleep(0) does it: come back in the loop's next round.
                self.waiting = self
                self.engine.loop.call_soon(self._come_back)

    def _await_future(self, future: asyncio.Future[Any]) -> None:
        future._asyncio_future_blocking = False
        self.waiting = future
        # One that can tells at once: by a callback it would be a round of the loop later.
        getattr(future, "tell_at_once", future.add_done_callback)(self._future_done)

    def _future_done(self, future: asyncio.Future[Any]) -> None:
        if self.waiting is future:  # else a limit was faster
            self.resume()

    def _come_back(self) -> None:
        if self.waiting is self:
            self.resume()

    def _finish(self) -> None:
        self._coroutine = self._context = None
        del self._send
        self.engine.timers.disarm(self)
        self.engine.tasks.discard(self)


@coroutine
def foreign(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Awaits a coroutine that we did not write, in an asyncio task of its own; cancels it if we are interrupted."""
    task = loop.create_task(work)
    try:
        return (yield from task)
    except BaseException:
        task.cancel()
        raise
