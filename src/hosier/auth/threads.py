"""Steps that read files or ask others, in threads of their own: the loop that asked is told of the outcome.

Much leaner than an executor, for steps of some ten microseconds: no locks and conditions for each. What one round of
the loop asks is handed over together, done one after the other, and told together; so the two wake each other, and
contend for the interpreter, once for many steps and not several times for each.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Final

__all__ = ("StepOutcome", "StepThreads")

ONE_MORE: Final = 64
"""Steps that wait for each thread before there is another one: what takes long is then shared. Quick ones are done
faster by one thread, which need not contend with others."""

_UNTOLD: Final = 0.001
"""Seconds after which the loop is told, although more is to be done: slow steps are told of one by one."""


class StepOutcome(asyncio.Future[Any]):
    """The outcome of a step, for one loop."""

    _waiter: Callable[[asyncio.Future[Any]], object] | None = None

    def tell_at_once(self, waiter: Callable[[asyncio.Future[Any]], object]) -> None:
        """As ``add_done_callback``, for one who may be called where the outcome is told. A round of the loop later,
        as any future does it, costs as much as a signed message."""
        self._waiter = waiter

    def tell(self, result: Any, error: BaseException | None) -> None:
        """In the loop: the outcome. Who asked may have left."""
        if self.done():
            return
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)
        if self._waiter is not None:
            self._waiter(self)


_Outcome = tuple[StepOutcome, Any, BaseException | None]


class _Outbox:
    """What is done for one loop, until it takes note."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.outcomes: deque[_Outcome] = deque()
        self._called = False

    def call(self) -> None:
        """From a thread: what is here should be looked at."""
        # A loop that has been called has not emptied this yet: it takes that back before it begins.
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._called = False
        outcomes = self.outcomes
        while outcomes:
            answer, result, error = outcomes.popleft()
            answer.tell(result, error)


_Job = tuple[_Outbox, StepOutcome, Callable[[Any], Any], Any]


class StepThreads:
    """At most so many threads, begun when they are needed; they end with the process."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._begun = 0
        self._jobs: deque[_Job] = deque()
        # Rung after jobs were added; who hears it works until there are none. So none is left behind.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._outbox: _Outbox | None = None
        self._due: asyncio.Handle | None = None

    def ask(self, step: Callable[[Any], Any], argument: Any) -> StepOutcome:
        """The outcome of ``step(argument)``, for the running loop."""
        loop = asyncio.get_running_loop()
        outbox = self._outbox
        if outbox is None or outbox.loop is not loop:
            outbox = self._outbox = _Outbox(loop)
            self._due = None  # that loop may be gone, and its round with it
        answer = StepOutcome(loop=loop)
        self._jobs.append((outbox, answer, step, argument))
        if self._due is None:
            self._due = loop.call_soon(self._hand_over)
        return answer

    def _hand_over(self) -> None:
        """What this round of the loop has asked."""
        self._due = None
        waiting = len(self._jobs)
        while self._begun < self._most and waiting > self._begun * ONE_MORE:
            self._begun += 1
            Thread(target=self._work, name=f"{self._name}-{self._begun}", daemon=True).start()
        for _ in range(0, waiting, ONE_MORE):
            self._bell.put(None)

    def _work(self) -> None:
        _let_others_finish()
        while True:
            self._work_off()
            self._bell.get()

    def _work_off(self) -> None:
        """All jobs that there are."""
        jobs, told = self._jobs, monotonic()
        untold: _Outbox | None = None
        while True:
            try:
                outbox, answer, step, argument = jobs.popleft()
            except IndexError:
                if untold is not None:
                    untold.call()
                return
            if untold is not None and untold is not outbox:
                untold.call()
            result: Any = None
            error: BaseException | None = None
            try:
                result = step(argument)
            except BaseException as raised:  # noqa: BLE001  # it belongs to who asked
                error = raised
            outbox.outcomes.append((answer, result, error))
            untold = outbox
            if (now := monotonic()) - told >= _UNTOLD:
                untold = None
                outbox.call()
                told = now
            del outbox, answer, step, argument, result, error  # or they live until the next one


def _let_others_finish() -> None:
    """This thread, when it is woken, leaves its processor to who runs there for a while yet (sched(7)): the loop hands
    over more before the first step begins, and many in a row cost less than each of them alone."""
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # a service manager may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
