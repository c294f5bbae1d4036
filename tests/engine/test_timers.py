from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import Any

import pytest

from hosier.engine.timers import TICK, Timers

from .harness import Run, until


class Alarm:
    """Writes down when it was called, and does what it is told then."""

    def __init__(self, seconds: float = inf, then: Callable[[Alarm], object] = lambda alarm: None) -> None:
        self.deadline = monotonic() + seconds
        self.bucket = inf
        self.then = then
        self.called: list[tuple[float, float]] = []
        """When it was due, and when it was called."""

    def on_deadline(self) -> None:
        self.called.append((self.deadline, monotonic()))
        self.then(self)


class Clock:
    """The clock of the timers and what they asked of their loop; the test moves both."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pending: list[tuple[float, Any]] = []
        self.scheduled = 0
        monkeypatch.setattr("hosier.engine.timers.monotonic", lambda: self.now)
        self.timers = Timers(self)  # type: ignore[arg-type]  # all of a loop that the timers use

    def call_later(self, delay: float, callback: Callable[[], None]) -> Clock.Handle:
        assert delay >= 0
        self.scheduled += 1
        handle = Clock.Handle(self, self.now + delay, callback)
        self.pending.append((handle.when, handle))
        return handle

    class Handle:
        def __init__(self, clock: Clock, when: float, callback: Callable[[], None]) -> None:
            self.clock, self.when, self.callback = clock, when, callback

        def cancel(self) -> None:
            self.clock.pending = [entry for entry in self.clock.pending if entry[1] is not self]

    def alarm(self, seconds: float, then: Callable[[Alarm], object] = lambda alarm: None) -> Alarm:
        alarm = Alarm(then=then)
        alarm.deadline = self.now + seconds
        self.timers.arm(alarm)
        return alarm

    def advance(self, seconds: float) -> None:
        """Time passes, and the loop calls what is due."""
        end = self.now + seconds
        while self.pending:
            when, handle = min(self.pending, key=lambda entry: entry[0])
            if when > end:
                break
            self.now = max(self.now, when + 1e-6)
            handle.cancel()
            handle.callback()
            assert len(self.pending) <= 1, "one timer of the loop is enough for all"
        self.now = max(self.now, end)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- by the test's clock ---


def test_fires_once_and_not_before(clock: Clock) -> None:
    alarm = clock.alarm(10)
    assert len(clock.timers) == 1
    clock.advance(9.99)
    assert not alarm.called
    clock.advance(0.01 + 2 * TICK)
    assert len(alarm.called) == 1
    assert len(clock.timers) == 0
    assert alarm.bucket == inf
    assert not clock.pending
    clock.advance(1000)
    assert len(alarm.called) == 1


@pytest.mark.parametrize("seconds", [0, -1, -1000])
def test_what_is_due_already_fires_at_once(clock: Clock, seconds: float) -> None:
    alarm = clock.alarm(seconds)
    assert not alarm.called, "never from within arm()"
    clock.advance(2 * TICK)
    assert len(alarm.called) == 1


def test_earlier(clock: Clock) -> None:
    alarm = clock.alarm(10)
    alarm.deadline = clock.now + 1
    clock.timers.arm(alarm)
    assert len(clock.timers) == 1
    clock.advance(1 + 2 * TICK)
    assert len(alarm.called) == 1
    clock.advance(20)
    assert len(alarm.called) == 1


@pytest.mark.parametrize("armed", [True, False])
def test_later(clock: Clock, armed: bool) -> None:
    """Writing the new deadline is all that it takes; arming it does no harm."""
    alarm = clock.alarm(1)
    alarm.deadline = clock.now + 10
    if armed:
        clock.timers.arm(alarm)
    clock.advance(9)
    assert not alarm.called
    assert len(clock.timers) == 1
    clock.advance(1 + 2 * TICK)
    assert len(alarm.called) == 1


def test_later_and_then_earlier_again(clock: Clock) -> None:
    alarm = clock.alarm(1)
    alarm.deadline = clock.now + 10
    clock.advance(2)
    alarm.deadline = clock.now + 3
    clock.timers.arm(alarm)
    clock.advance(2.9)
    assert not alarm.called
    clock.advance(0.1 + 2 * TICK)
    assert len(alarm.called) == 1


def test_postponing_all_the_time_costs_no_timer(clock: Clock) -> None:
    alarm = clock.alarm(10)
    for _ in range(1000):
        alarm.deadline = clock.now + 10
        clock.advance(0.001)
    assert clock.scheduled == 1
    for _ in range(1000):
        alarm.deadline = clock.now + 10
        clock.advance(0.1)
    assert clock.scheduled < 15
    assert not alarm.called


def test_armed_again_after_it_fired(clock: Clock) -> None:
    alarm = clock.alarm(1)
    for count in range(1, 4):
        clock.advance(1 + 2 * TICK)
        assert len(alarm.called) == count
        alarm.deadline = clock.now + 1
        clock.timers.arm(alarm)


def test_armed_again_by_what_it_calls(clock: Clock) -> None:
    def again(alarm: Alarm) -> None:
        if len(alarm.called) < 5:
            alarm.deadline += 1
            clock.timers.arm(alarm)

    alarm = clock.alarm(1, again)
    clock.advance(3 + 2 * TICK)
    assert len(alarm.called) == 3
    clock.advance(100)
    assert len(alarm.called) == 5
    assert len(clock.timers) == 0


def test_deadline_moved_by_what_it_calls_without_arming(clock: Clock) -> None:
    """It has no bucket any more, so that alone does nothing."""

    def move(alarm: Alarm) -> None:
        alarm.deadline += 1

    alarm = clock.alarm(1, move)
    clock.advance(100)
    assert len(alarm.called) == 1


def test_no_deadline(clock: Clock) -> None:
    alarm = clock.alarm(inf)
    assert len(clock.timers) == 0
    assert alarm.bucket == inf
    alarm = clock.alarm(1)
    alarm.deadline = inf
    clock.timers.arm(alarm)
    clock.advance(2)
    assert not alarm.called
    assert len(clock.timers) == 0
    assert alarm.bucket == inf


def test_disarmed(clock: Clock) -> None:
    alarm = clock.alarm(1)
    neighbour = clock.alarm(1)
    clock.timers.disarm(alarm)
    assert len(clock.timers) == 1
    clock.timers.disarm(alarm)
    clock.advance(10)
    assert not alarm.called
    assert len(neighbour.called) == 1
    clock.timers.disarm(neighbour)


def test_disarmed_and_armed(clock: Clock) -> None:
    alarm = clock.alarm(1)
    clock.timers.disarm(alarm)
    alarm.deadline = clock.now + 5
    clock.timers.arm(alarm)
    clock.advance(2)
    assert not alarm.called
    clock.advance(4)
    assert len(alarm.called) == 1


def test_disarmed_by_a_neighbour_that_fires_first(clock: Clock) -> None:
    """Both are due at once; whoever comes first takes the other out."""
    alarms: list[Alarm] = []

    def disarm_the_others(alarm: Alarm) -> None:
        for other in alarms:
            clock.timers.disarm(other)

    alarms += [clock.alarm(1, disarm_the_others) for _ in range(5)]
    later = clock.alarm(2)
    clock.advance(1.5)
    assert sum(len(alarm.called) for alarm in alarms) == 1
    clock.advance(1)
    assert len(later.called) == 1


def test_neighbour_made_earlier_while_their_bucket_fires(clock: Clock) -> None:
    alarms: list[Alarm] = []

    def hurry(alarm: Alarm) -> None:
        for other in alarms:
            if not other.called:
                other.deadline = clock.now - 1
                clock.timers.arm(other)

    alarms += [clock.alarm(1, hurry) for _ in range(5)]
    clock.advance(2)
    assert all(len(alarm.called) == 1 for alarm in alarms)


def test_neighbour_postponed_while_their_bucket_fires(clock: Clock) -> None:
    alarms: list[Alarm] = []

    def postpone(alarm: Alarm) -> None:
        for other in alarms:
            if not other.called:
                other.deadline = clock.now + 10

    alarms += [clock.alarm(1, postpone) for _ in range(5)]
    clock.advance(2)
    assert sum(len(alarm.called) for alarm in alarms) == 1
    clock.advance(50)
    assert all(len(alarm.called) == 1 for alarm in alarms)


def test_many_at_once_and_in_order(clock: Clock) -> None:
    order: list[float] = []
    alarms = []
    for n in range(2000):
        seconds = (n * 7919 % 2000) / 100
        alarms.append(clock.alarm(seconds, lambda alarm: order.append(alarm.deadline)))
    assert len(clock.timers) == 2000
    clock.advance(30)
    assert all(len(alarm.called) == 1 for alarm in alarms)
    assert all(later > earlier - TICK for earlier, later in itertools.pairwise(order))


def test_a_late_loop_fires_all_that_is_due(clock: Clock) -> None:
    due = [clock.alarm(seconds) for seconds in (1, 2, 3)]
    waiting = clock.alarm(60)
    ((_, handle),) = clock.pending
    handle.cancel()
    clock.now += 30
    handle.callback()
    assert [len(alarm.called) for alarm in due] == [1, 1, 1]
    assert not waiting.called
    clock.advance(31)
    assert len(waiting.called) == 1


def test_closed_timers_never_fire(clock: Clock) -> None:
    alarms = [clock.alarm(seconds) for seconds in (1, 1, 2)]
    clock.timers.close()
    assert len(clock.timers) == 0
    assert not clock.pending
    clock.advance(10)
    for alarm in alarms:
        assert not alarm.called
        clock.timers.disarm(alarm)
    clock.timers.close()


def test_closed_by_what_is_called(clock: Clock) -> None:
    alarms = [clock.alarm(1, lambda alarm: clock.timers.close()) for _ in range(3)]
    alarms.append(clock.alarm(2))
    clock.advance(10)
    assert sum(len(alarm.called) for alarm in alarms) == 1
    assert len(clock.timers) == 0


def test_what_has_fired_is_not_kept_alive(clock: Clock) -> None:
    gone = []
    for disarm in (False, True):
        alarm = clock.alarm(1)
        if disarm:
            clock.timers.disarm(alarm)
        gone.append(weakref.ref(alarm))
    del alarm
    clock.advance(2)
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


# --- by a real one ---


def with_timers(work: Callable[[Timers], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    async def main(_: Any) -> None:
        timers = Timers(asyncio.get_running_loop())
        await work(timers)
        timers.close()

    return main


def test_in_a_loop(run: Run) -> None:
    async def work(timers: Timers) -> None:
        alarms = [Alarm(n / 1000) for n in range(200)]
        for alarm in alarms:
            timers.arm(alarm)
        await until(lambda: all(alarm.called for alarm in alarms), "all alarms")
        for alarm in alarms:
            ((due, when),) = alarm.called
            assert due <= when
        assert len(timers) == 0

    run(with_timers(work))


def test_armed_earlier_in_a_loop(run: Run) -> None:
    async def work(timers: Timers) -> None:
        alarm = Alarm(3600)
        timers.arm(alarm)
        alarm.deadline = monotonic()
        timers.arm(alarm)
        await until(lambda: alarm.called, "the alarm")

    run(with_timers(work))
