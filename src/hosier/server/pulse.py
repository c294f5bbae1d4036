"""Twice a second: what must be done regularly, and how late the loop was to do it."""

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ("EVERY", "Pulse")

EVERY: Final = 0.5
"""Seconds: what is written down then has time to be written before a second is over."""


class Pulse:
    """Calls ``beat(seconds, lag)`` in the loop until it is stopped: the seconds since the last time, and how many of
    them the loop was late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, beat: Callable[[float, float], object]) -> None:
        self._loop = loop
        self._beat = beat
        self._last = loop.time()
        self._handle: asyncio.TimerHandle | None = loop.call_at(self._last + EVERY, self._due)

    def stop(self) -> None:
        """A second time is harmless."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    # --- private ---

    def _due(self) -> None:
        now, last = self._loop.time(), self._last
        self._last = now
        # What was missed is not made up for: a loop that was stopped for a minute beats once.
        self._handle = self._loop.call_at(now + EVERY, self._due)
        self._beat(now - last, max(0.0, now - last - EVERY))
