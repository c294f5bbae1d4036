"""Work beside the event loop: threads, the queue's end, who is dropped."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest

from hosier.auth.hashing import HashingPool
from hosier.errors import PolicyDenied

PATIENCE = 20.0


class Work:
    """Work that lasts until it is told to end."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun: list[str] = []

    def __call__(self) -> str:
        self.begun.append(threading.current_thread().name)
        assert self.go_on.wait(PATIENCE)
        return "done"


def run(main: object) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()  # type: ignore[operator]

    asyncio.run(bounded())


def test_it_runs_beside_the_loop() -> None:
    async def main() -> None:
        pool, work = HashingPool(), Work()
        waiting = asyncio.ensure_future(pool.run(work))
        while not work.begun:
            await asyncio.sleep(0.001)
        work.go_on.set()  # said by the loop, which is free
        assert await waiting == "done"
        assert work.begun[0].startswith("hosier-hash")
        pool.close()
        pool.close()

    run(main)


def test_errors_come_back() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        pool = HashingPool()
        with pytest.raises(ZeroDivisionError):
            await pool.run(fail)
        assert await pool.run(lambda: 1) == 1  # its thread lives
        pool.close()

    run(main)


def test_the_queue_ends() -> None:
    """Beyond its end clients are turned away at once; when there is room again, they are not."""

    async def main() -> None:
        pool, work = HashingPool(threads=1, pending=3), Work()
        waiting = [asyncio.ensure_future(pool.run(work)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(PolicyDenied, match="too many passwords are being checked"):
            await pool.run(work)
        work.go_on.set()
        assert await asyncio.gather(*waiting) == ["done"] * 3
        assert await pool.run(work) == "done"
        assert len(set(work.begun)) == 1  # one thread did it all
        pool.close()

    run(main)


def test_who_has_gone_costs_nothing() -> None:
    """Work that waits is not begun once its caller has given up, and makes room."""

    async def main() -> None:
        pool, work, unwanted = HashingPool(threads=1, pending=2), Work(), Work()
        first = asyncio.ensure_future(pool.run(work))
        gone = asyncio.ensure_future(pool.run(unwanted))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        last = asyncio.ensure_future(pool.run(work))
        await asyncio.sleep(0)
        work.go_on.set()
        assert [await first, await last] == ["done", "done"]
        assert not unwanted.begun
        pool.close()

    run(main)


def test_closing_drops_what_waits() -> None:
    async def main() -> None:
        pool, work, unwanted = HashingPool(threads=1), Work(), Work()
        first = asyncio.ensure_future(pool.run(work))
        waiting = asyncio.ensure_future(pool.run(unwanted))
        while not work.begun:
            await asyncio.sleep(0.001)
        pool.close()
        work.go_on.set()
        assert await first == "done"
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not unwanted.begun

    run(main)


def test_again_in_another_loop() -> None:
    pool = HashingPool()

    async def main() -> None:
        assert await pool.run(lambda: 1) == 1
        pool.close()

    run(main)
    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
def test_its_threads_give_way() -> None:
    """They get what the loop's thread leaves."""

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    async def main() -> None:
        pool = HashingPool()
        before = priority()
        assert await pool.run(priority) == 19
        assert priority() == before
        pool.close()

    run(main)


def test_a_process_keeps_its_priority_where_threads_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "other")

    async def main() -> None:
        pool = HashingPool()
        assert await pool.run(lambda: os.getpriority(os.PRIO_PROCESS, 0)) == os.getpriority(os.PRIO_PROCESS, 0)
        pool.close()

    run(main)


def test_a_system_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)

    async def main() -> None:
        pool = HashingPool()
        assert await pool.run(lambda: 1) == 1
        pool.close()

    run(main)
