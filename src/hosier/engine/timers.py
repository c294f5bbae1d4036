"""Deadlines for many tasks at the cost of one loop timer.

A task stands in one bucket, named by a tick of the clock. Postponing a deadline only writes it down: the bucket
notices when it fires, and moves the task on. So a busy relay pays one attribute for its idle limit, not a timer.
"""

import asyncio
import heapq
from math import ceil, inf
from time import monotonic
from typing import Final, Protocol

__all__ = ("TICK", "Timed", "Timers")

TICK: Final = 0.05
"""Seconds; a deadline fires at most this much late."""


class Timed(Protocol):
    deadline: float
    """Monotonic time at which ``on_deadline`` is due; infinity for none."""

    bucket: int
    """The tick under which the timers know it; 0 for none."""

    def on_deadline(self) -> None:
        """Called once; arm again for more."""


class Timers:
    """Buckets of deadlines, one per tick that anybody waits for."""

    __slots__ = ("_buckets", "_handle", "_loop", "_ticks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Timed]] = {}
        self._ticks: list[int] = []
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def arm(self, timed: Timed) -> None:
        """Calls ``timed.on_deadline()`` at ``timed.deadline``. Needed only to make a deadline earlier: one that is
        postponed is found out when its bucket fires."""
        if timed.deadline == inf:
            return  # no deadline; a bucket that still has it will notice
        tick = ceil(timed.deadline / TICK)
        if timed.bucket:
            if timed.bucket <= tick:
                return  # its bucket fires first and will move it on
            self._buckets[timed.bucket].discard(timed)
        self._insert(timed, tick)

    def disarm(self, timed: Timed) -> None:
        """Forgets it; harmless if it has no deadline."""
        if timed.bucket:
            self._buckets[timed.bucket].discard(timed)
            timed.bucket = 0

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        for bucket in self._buckets.values():
            while bucket:
                bucket.pop().bucket = 0
        self._buckets.clear()
        self._ticks.clear()

    # --- private ---

    def _insert(self, timed: Timed, tick: int) -> None:
        timed.bucket = tick
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.add(timed)
            return
        self._buckets[tick] = {timed}
        heapq.heappush(self._ticks, tick)
        if self._ticks[0] == tick:
            self._schedule(tick)

    def _schedule(self, tick: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, tick * TICK - monotonic()), self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = monotonic()
        ticks, buckets = self._ticks, self._buckets
        while ticks and ticks[0] * TICK <= now:
            tick = heapq.heappop(ticks)
            bucket = buckets[tick]
            while bucket:  # it stays in its place meanwhile: who is called may disarm others that are in it
                timed = bucket.pop()
                timed.bucket = 0
                if timed.deadline <= now:
                    timed.on_deadline()
                elif timed.deadline < inf:
                    self._insert(timed, max(ceil(timed.deadline / TICK), tick + 1))
            buckets.pop(tick, None)
        if ticks and self._handle is None:
            self._schedule(ticks[0])
