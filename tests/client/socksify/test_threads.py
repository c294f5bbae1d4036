"""Threads of ours for ways that hold up whoever makes them."""

from __future__ import annotations

import asyncio
import threading

import pytest

import hosier
from hosier.client.socksify import threads
from hosier.client.socksify.scope import current
from hosier.client.socksify.threads import in_thread

from ..harness import PATIENCE, until


class Made:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()
        raise OSError("it was gone already")


def ways() -> int:
    return sum(thread.name == "hosier-way" for thread in threading.enumerate())


def test_what_is_made_or_why_not() -> None:
    async def main() -> None:
        made = Made()
        assert await in_thread(lambda *arguments: made if arguments == (1, 2) else Made(), 1, 2) is made
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)  # type: ignore[type-var]
        assert not made.closed.is_set()

    asyncio.run(main())
    until(lambda: not ways(), "the threads have ended")


def test_they_are_in_no_scope() -> None:
    """Whatever asked for them: the next way may be somebody else's."""

    async def main() -> None:
        seen: list[object] = []

        def make() -> Made:
            seen.append(current.get())
            return Made()

        with hosier.socksify("socks5h://127.0.0.1:9"):
            await in_thread(make)
        assert seen == [None]

    asyncio.run(main())


def test_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait, and the program's executor has nothing to do with it."""
    monkeypatch.setattr(threads, "_threads", threads._Threads(2))
    may_go = threading.Event()
    begun: list[int] = []

    def make(number: int) -> Made:
        begun.append(number)
        may_go.wait(PATIENCE)
        return Made()

    async def main() -> None:
        asked = [asyncio.create_task(in_thread(make, number)) for number in range(5)]
        await asyncio.to_thread(until, lambda: len(begun) == 2, "two have begun")
        asked[2].cancel()  # before its turn
        await asyncio.wait(asked[2:3])
        may_go.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*asked[:2], *asked[3:])

    asyncio.run(main())
    assert sorted(begun) == [0, 1, 3, 4]
    until(lambda: not ways(), "the threads have ended")


def test_who_leaves_gets_nothing() -> None:
    """What is made too late is closed: while the loop runs, and after it."""
    made = [Made(), Made()]
    may_go = [threading.Event(), threading.Event()]

    def make(number: int) -> Made:
        may_go[number].wait(PATIENCE)
        return made[number]

    async def leave(number: int) -> None:
        waiting = asyncio.create_task(in_thread(make, number))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    async def main() -> None:
        await leave(0)
        may_go[0].set()
        assert await asyncio.to_thread(made[0].closed.wait, PATIENCE)
        await leave(1)

    asyncio.run(main())
    may_go[1].set()
    assert made[1].closed.wait(PATIENCE)
    until(lambda: not ways(), "the threads have ended")
