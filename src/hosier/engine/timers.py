"""Deadlines for many tasks at the cost of one loop timer.

A task stands in one bucket, named by the time at which it fires. Postponing a deadline only writes it down: the bucket
notices when it fires, and moves the task on. So a busy relay pays one attribute for its idle limit, not a timer.
"""

import asyncio
import heapq
from math import inf
from time import monotonic
from typing import Final, Protocol

__all__ = ("TICK", "Timed", "Timers")

TICK: Final = 0.05
"""Seconds; a deadline fires at most this much late."""


class Timed(Protocol):
    deadline: float
    """Monotonic time at which ``on_deadline`` is due; infinity for none."""

    bucket: float
    """When its bucket fires, a multiple of TICK; infinity for none."""

    def on_deadline(self) -> None:
        """Called once; arm again for more."""


class Timers:
    """Buckets of deadlines, one per tick that anybody waits for."""

    __slots__ = ("_buckets", "_handle", "_loop", "_times")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[float, set[Timed]] = {}
        self._times: list[float] = []
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def arm(self, timed: Timed) -> None:
        """Calls ``timed.on_deadline()`` at ``timed.deadline``. Needed only to make a deadline earlier: one that is
        postponed is found out when its bucket fires."""
        deadline, bucket = timed.deadline, timed.bucket
        if bucket <= deadline:
            return  # its bucket fires first and will move it on
        if bucket < inf:
            self._buckets[bucket].discard(timed)
        time = deadline // TICK * TICK + TICK
        if (others := self._buckets.get(time)) is None:
            self._insert(timed, time)
        else:  # nearly always, and one call less
            timed.bucket = time
            others.add(timed)

    def disarm(self, timed: Timed) -> None:
        """Forgets it; harmless if it has no deadline."""
        if timed.bucket < inf:
            self._buckets[timed.bucket].discard(timed)
            timed.bucket = inf

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        for bucket in self._buckets.values():
            while bucket:
                bucket.pop().bucket = inf
        self._buckets.clear()
        self._times.clear()

    # --- private ---

    def _insert(self, timed: Timed, time: float) -> None:
        timed.bucket = time
        bucket = self._buckets.get(time)
        if bucket is not None:
            bucket.add(timed)
            return
        self._buckets[time] = {timed}
        heapq.heappush(self._times, time)
        if self._times[0] == time:
            self._schedule(time)

    def _schedule(self, time: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, time - monotonic()), self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = monotonic()
        times, buckets = self._times, self._buckets
        while times and times[0] <= now:
            time = heapq.heappop(times)
            bucket = buckets[time]
            while bucket:  # it stays in its place meanwhile: who is called may disarm others that are in it
                timed = bucket.pop()
                timed.bucket = inf
                if timed.deadline <= now:
                    timed.on_deadline()
                elif timed.deadline < inf:
                    self._insert(timed, max(timed.deadline // TICK * TICK + TICK, time + TICK))
            buckets.pop(time, None)
        if times and self._handle is None:
            self._schedule(times[0])
