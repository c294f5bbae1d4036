"""Steps that read files or ask others, in threads of their own: the loop that asked is told of the outcome.

Much leaner than an executor, for steps of some ten microseconds: no locks and conditions for each, one thread while it
keeps up, and one wake-up of the loop for all that is done by then.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

__all__ = ("StepThreads",)

ONE_MORE: Final = 16
"""Steps that wait for each thread before there is another one: what takes long is then shared."""

_Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


class _Outbox:
    """What is done for one loop, until it takes note."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._outcomes: deque[_Outcome] = deque()
        self._called = False

    def put(self, outcome: _Outcome) -> None:
        """From a thread."""
        self._outcomes.append(outcome)
        # A loop that has been called has not emptied this yet: it takes that back before it begins.
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._called = False
        outcomes = self._outcomes
        while outcomes:
            future, result, error = outcomes.popleft()
            if future.done():
                continue  # who asked has left
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class StepThreads:
    """At most so many threads, begun when they are needed; they end with the process."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._begun = 0
        self._jobs: SimpleQueue[tuple[_Outbox, asyncio.Future[Any], Callable[[Any], Any], Any]] = SimpleQueue()
        self._outbox: _Outbox | None = None

    def ask(self, step: Callable[[Any], Any], argument: Any) -> "asyncio.Future[Any]":
        """The outcome of ``step(argument)``, for the running loop."""
        loop = asyncio.get_running_loop()
        outbox = self._outbox
        if outbox is None or outbox.loop is not loop:
            outbox = self._outbox = _Outbox(loop)
        future = loop.create_future()
        if self._begun < self._most and self._jobs.qsize() >= self._begun * ONE_MORE:
            self._begun += 1
            Thread(target=self._work, name=f"{self._name}-{self._begun}", daemon=True).start()
        self._jobs.put((outbox, future, step, argument))
        return future

    def _work(self) -> None:
        while True:
            outbox, future, step, argument = self._jobs.get()
            result: Any = None
            error: BaseException | None = None
            try:
                result = step(argument)
            except BaseException as raised:  # noqa: BLE001  # it belongs to who asked
                error = raised
            outbox.put((future, result, error))
            del outbox, future, step, argument, result, error  # or they live until the next one
