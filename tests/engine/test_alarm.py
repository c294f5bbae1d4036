from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hosier.engine.alarm import NestedAlarm, ThreadAlarm, make_alarm

from ..bare import BareLoop
from .harness import descriptors, until

SELECTORS = [selectors.EpollSelector, selectors.PollSelector, selectors.SelectSelector]


class Bell:
    """Counts how often it rang; it must ring in the loop's own thread."""

    def __init__(self) -> None:
        self.rang = 0
        self._thread = threading.get_ident()

    def __call__(self) -> None:
        assert threading.get_ident() == self._thread
        self.rang += 1


class Scene:
    """A selector with one socket in it, and an alarm."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.loop = asyncio.get_running_loop()
        self.selector = selector
        self.bell = Bell()
        self.inner, self.outer = socket.socketpair()
        self.inner.setblocking(False)
        selector.register(self.inner, selectors.EVENT_READ)

    @contextmanager
    def alarm(self) -> Iterator[ThreadAlarm]:
        alarm = ThreadAlarm(self.loop, self.selector, self.bell)
        try:
            yield alarm
        finally:
            alarm.close()

    def close(self) -> None:
        self.selector.close()
        self.inner.close()
        self.outer.close()


@pytest.fixture(params=SELECTORS, ids=lambda selector: selector.__name__)
def play(request: pytest.FixtureRequest) -> Callable[[Callable[[Scene], Awaitable[None]]], None]:
    """Plays ``main(scene)``; afterwards every descriptor and thread must be gone."""

    def play(main: Callable[[Scene], Awaitable[None]]) -> None:
        async def bounded() -> None:
            scene = Scene(request.param())
            try:
                async with asyncio.timeout(20):
                    await main(scene)
            finally:
                scene.close()

        before, threads = descriptors(), threading.active_count()
        asyncio.run(bounded())
        assert descriptors() == before
        assert threading.active_count() == threads

    return play


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


# --- which one ---


@pytest.mark.parametrize(
    ("selector", "loop", "kind"),
    [
        (selectors.EpollSelector, asyncio.new_event_loop, NestedAlarm),
        (selectors.EpollSelector, BareLoop, ThreadAlarm),
        (selectors.PollSelector, asyncio.new_event_loop, ThreadAlarm),
        (selectors.SelectSelector, BareLoop, ThreadAlarm),
    ],
)
def test_nested_where_both_allow_it(
    selector: type[selectors.BaseSelector], loop: Callable[[], asyncio.AbstractEventLoop], kind: type
) -> None:
    async def main() -> None:
        with selector() as made:
            alarm = make_alarm(asyncio.get_running_loop(), made, lambda: None)
            assert type(alarm) is kind
            alarm.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_nested_rings_while_something_is_ready() -> None:
    async def main() -> None:
        scene = Scene(selectors.EpollSelector())
        alarm = make_alarm(scene.loop, scene.selector, scene.bell)
        alarm.set()
        scene.outer.send(b"x")
        await until(lambda: scene.bell.rang > 1)
        alarm.take()
        assert scene.selector.select(0)
        alarm.close()
        rang = scene.bell.rang
        for _ in range(5):
            await asyncio.sleep(0)
        assert scene.bell.rang == rang
        scene.close()

    asyncio.run(main())


# --- the thread ---


def test_rings_when_something_is_ready(play: Play) -> None:
    async def main(scene: Scene) -> None:
        with scene.alarm() as alarm:
            alarm.set()
            await asyncio.sleep(0.01)
            assert not scene.bell.rang
            scene.outer.send(b"x")
            await until(lambda: scene.bell.rang)

    play(main)


def test_rings_once_each_time_it_is_set(play: Play) -> None:
    async def main(scene: Scene) -> None:
        scene.outer.send(b"x")
        with scene.alarm() as alarm:
            for number in range(1, 20):
                alarm.set()
                alarm.set()
                await until(lambda number=number: scene.bell.rang == number)  # type: ignore[misc]
                alarm.take()
                assert scene.selector.select(0)
            await asyncio.sleep(0.01)
            assert scene.bell.rang == 19

    play(main)


def test_what_was_taken_may_be_changed_at_once(play: Play) -> None:
    """Also if the thread was waiting in it, and what is added then is seen when it waits again."""

    async def main(scene: Scene) -> None:
        with scene.alarm() as alarm:
            for _ in range(200):
                alarm.set()
                alarm.take()
                alarm.take()
                scene.selector.unregister(scene.inner)
                scene.selector.register(scene.inner, selectors.EVENT_READ)
            alarm.set()
            scene.outer.send(b"x")
            await until(lambda: scene.bell.rang)

    play(main)


def test_event_and_call_at_once(play: Play) -> None:
    """Whichever is first: nothing hangs, and it still rings for the next event."""

    async def main(scene: Scene) -> None:
        with scene.alarm() as alarm:
            for number in range(200):
                alarm.set()
                scene.outer.send(b"x")
                if number % 2:
                    await asyncio.sleep(0)
                alarm.take()
                assert scene.inner.recv(10) == b"x"
            for _ in range(5):
                await asyncio.sleep(0)
            rang = scene.bell.rang
            alarm.set()
            scene.outer.send(b"x")
            await until(lambda: scene.bell.rang > rang)

    play(main)


def test_close_while_it_waits_and_after_it_rang(play: Play) -> None:
    async def main(scene: Scene) -> None:
        with scene.alarm() as alarm:
            alarm.set()
        with scene.alarm() as alarm:
            alarm.set()
            scene.outer.send(b"x")
            await until(lambda: scene.bell.rang)
        with scene.alarm():
            pass

    play(main)


def test_a_selector_that_fails_is_not_waited_for_in_vain() -> None:
    """Its owner is rung and meets the same error."""

    class Failing(selectors.SelectSelector):
        def select(self, timeout: float | None = None) -> Any:
            raise ValueError("too many file descriptors in select()")

    async def main() -> None:
        scene = Scene(Failing())
        with scene.alarm() as alarm:
            for number in (1, 2):
                alarm.set()
                await until(lambda number=number: scene.bell.rang == number)  # type: ignore[misc]
                alarm.take()
        scene.close()

    asyncio.run(main())


def test_a_loop_that_is_closed_is_not_rung() -> None:
    loop = asyncio.new_event_loop()
    selector = selectors.SelectSelector()
    inner, outer = socket.socketpair()
    selector.register(inner, selectors.EVENT_READ)
    alarm = ThreadAlarm(loop, selector, lambda: None)
    alarm.set()
    loop.close()
    outer.send(b"x")
    alarm.close()
    selector.close()
    inner.close()
    outer.close()
