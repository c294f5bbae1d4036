"""One line when a cap begins to bite, and one a minute while it does: a flood of clients is no flood of lines."""

from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ("CrowdingLog",)

AGAIN: Final = 60.0
"""Seconds between two lines about the same cap."""


class CrowdingLog:
    """Told of each refusal; ``say(line)`` hears of few. It remembers one number per cap."""

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = monotonic) -> None:
        self._say = say
        self._clock = clock
        self._next: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def refused(self, name: str, cap: int, who: str, done: str) -> None:
        """``who`` met the cap of that name; ``done`` tells what happened, as in "closed"."""
        unsaid = self._unsaid.get(name, 0)
        now = self._clock()
        if now < self._next.get(name, now):
            self._unsaid[name] = unsaid + 1
            return
        self._next[name] = now + AGAIN
        self._unsaid[name] = 0
        since = f"; {unsaid} more since the last such line" if unsaid else ""
        if name == "table":
            self._say(f"{who}: {done}; the table of sources and users is full{since}")
        else:
            cli = name.replace("_", "-")
            self._say(f"{who}: {done}; the cap {cli}={cap} is reached; --cap {cli}=N changes it{since}")
