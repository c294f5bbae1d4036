"""Steps in threads: who asked is told, in its own loop."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from hosier.auth.threads import ONE_MORE, StepThreads

PATIENCE = 20.0


class Gate:
    """A step that waits until it is let through."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.threads: set[int] = set()

    def step(self, number: int) -> int:
        self.threads.add(threading.get_ident())
        self.begun.release()
        assert self.open.wait(PATIENCE)
        return number


async def handed_over(gate: Gate) -> None:
    """The loop's round in which a step was asked for is over, and it has begun."""
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(gate.begun.acquire)


async def bounded(future: asyncio.Future[object]) -> object:
    async with asyncio.timeout(PATIENCE):
        return await future


def test_outcomes() -> None:
    def fail(_: int) -> int:
        raise ValueError("no")

    async def main() -> None:
        threads = StepThreads(2, "steps")
        assert await bounded(threads.ask(abs, -3)) == 3
        with pytest.raises(ValueError, match="no"):
            await bounded(threads.ask(fail, 1))
        assert [await bounded(threads.ask(abs, -number)) for number in range(100)] == list(range(100))

    asyncio.run(main())


def test_not_in_the_loop() -> None:
    async def main() -> None:
        where = await bounded(StepThreads(1, "steps").ask(lambda _: threading.current_thread().name, None))
        assert where == "steps-1"

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has this way of waiting")
def test_a_thread_that_is_woken_does_not_push_the_loop_aside() -> None:
    async def main() -> None:
        assert await bounded(StepThreads(1, "steps").ask(os.sched_getscheduler, 0)) == os.SCHED_BATCH
        assert os.sched_getscheduler(0) != os.SCHED_BATCH  # it is about that thread alone

    asyncio.run(main())


def test_a_system_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "SCHED_BATCH", raising=False)
    asyncio.run(works())


def test_a_system_that_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError("by a filter of system calls")

    monkeypatch.setattr(os, "sched_setscheduler", forbidden, raising=False)
    monkeypatch.setattr(os, "SCHED_BATCH", 3, raising=False)
    monkeypatch.setattr(os, "sched_param", int, raising=False)
    asyncio.run(works())


async def works() -> None:
    assert await bounded(StepThreads(1, "steps").ask(abs, -3)) == 3


def test_many_are_told_together() -> None:
    async def main() -> None:
        gate, threads = Gate(), StepThreads(1, "steps")
        futures = [threads.ask(gate.step, number) for number in range(ONE_MORE)]
        gate.open.set()
        assert [await bounded(future) for future in futures] == list(range(ONE_MORE))
        assert len(gate.threads) == 1

    asyncio.run(main())


def test_one_more_thread_for_what_takes_long() -> None:
    async def main() -> None:
        gate, threads = Gate(), StepThreads(2, "steps")
        futures = [threads.ask(gate.step, number) for number in range(ONE_MORE + 2)]
        for _ in range(2):
            await handed_over(gate)
        assert len(gate.threads) == 2
        gate.open.set()
        assert [await bounded(future) for future in futures] == list(range(ONE_MORE + 2))
        assert len(gate.threads) == 2

    asyncio.run(main())


def test_who_has_left() -> None:
    """Its step may have begun; the next one is served all the same."""

    async def main() -> None:
        gate, threads = Gate(), StepThreads(1, "steps")
        leaving = threads.ask(gate.step, 1)
        await handed_over(gate)
        leaving.cancel()
        gate.open.set()
        assert await bounded(threads.ask(abs, -2)) == 2

    asyncio.run(main())


def test_who_is_told_at_once() -> None:
    """When the outcome is told, and not a round of the loop later; whoever has left is not."""

    async def main() -> None:
        gate, threads = Gate(), StepThreads(1, "steps")
        told: list[object] = []
        first, leaving, last = (threads.ask(gate.step, number) for number in range(3))
        first.tell_at_once(lambda answer: told.append((answer.result(), last.done())))
        leaving.tell_at_once(told.append)
        leaving.cancel()
        gate.open.set()
        assert await bounded(last) == 2
        assert told == [(0, False)]

    asyncio.run(main())


def test_an_error_is_told_at_once() -> None:
    async def main() -> None:
        heard = asyncio.get_running_loop().create_future()
        answer = StepThreads(1, "steps").ask(int, "no number")
        answer.tell_at_once(lambda one: heard.set_result(one.exception()))
        assert isinstance(await bounded(heard), ValueError)

    asyncio.run(main())


def test_a_loop_that_is_gone() -> None:
    """Nobody waits there; another loop is served."""
    gate, threads = Gate(), StepThreads(1, "steps")

    async def leave() -> None:
        threads.ask(gate.step, 1)
        threads.ask(abs, -1)
        await handed_over(gate)

    async def stay() -> None:
        asked = threads.ask(abs, -2)
        gate.open.set()
        assert await bounded(asked) == 2

    asyncio.run(leave())
    asyncio.run(stay())


def test_who_is_quick_need_not_wait_for_who_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosier.auth.threads._UNTOLD", 0.0)

    async def main() -> None:
        gate, threads = Gate(), StepThreads(1, "steps")
        quick, slow = threads.ask(abs, -3), threads.ask(gate.step, 4)
        assert await bounded(quick) == 3
        assert not slow.done()
        gate.open.set()
        assert await bounded(slow) == 4

    asyncio.run(main())


def test_a_loop_that_is_busy_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not looked at what it was called for before: it finds that and the rest together."""
    monkeypatch.setattr("hosier.auth.threads._UNTOLD", 0.0)

    async def main() -> None:
        threads, both_told = StepThreads(1, "steps"), threading.Event()
        first, second = threads.ask(abs, -1), threads.ask(abs, -2)
        third = threads.ask(lambda _: both_told.set(), None)
        asyncio.get_running_loop().call_soon(both_told.wait, PATIENCE)  # after the round's steps were handed over
        assert await bounded(second) == 2
        assert first.done()
        await bounded(third)

    asyncio.run(main())
