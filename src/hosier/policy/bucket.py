"""Token buckets: so much a second, and at most so much at once. The time in, seconds to wait out.

A bucket is one number, the moment at which it will be full again, in nanoseconds of the monotonic clock: so it needs no
timer, costs nothing while nobody asks, and can stand in a cell that several processes share.
"""

from collections.abc import MutableSequence, Sequence
from contextlib import AbstractContextManager
from math import ceil
from typing import Final, Protocol

__all__ = ("Bucket", "Pace", "Store", "portion_of")

BURST: Final = 0.1
"""Seconds of its rate that a bucket of octets holds."""

LEAST_BURST: Final = 1 << 16
"""Octets that it holds at least: the largest datagram goes through the slowest."""

PORTION: Final = 0.005
"""Seconds of its rate that are waited for at once, so that a wait is worth its wake-up."""

LEAST_PORTION: Final = 1460
"""Octets; a packet's worth."""

MOST_AT_ONCE: Final = 1 << 20
"""Octets that a pace gives out at once."""

_SECOND: Final = 1_000_000_000
_NOTHING: Final = 1e-6  # seconds; less is an error of rounding


class Store(Protocol):
    """What may be taken from: a bucket, or what is left of a period's octets."""

    @property
    def portion(self) -> float:
        """What may be taken although less is there, if one waits for it."""

    def level(self, now: float) -> float:
        """What is in it; less than nothing if some have taken what is yet to come."""

    def spend(self, amount: float, now: float) -> float:
        """Takes it out, even if it is not there; the seconds until it is."""

    def give_back(self, amount: float) -> None:
        """Puts back what was not needed."""


class Bucket:
    """``rate`` a second, ``size`` at most. Amounts are octets, or whatever is counted.

    Args:
        cells: where its number stands, at ``place``; 0 is a bucket that was never used.
        lock: held while the number is changed, where others change it, too.
    """

    __slots__ = ("_cells", "_lock", "_place", "portion", "rate", "size")

    def __init__(
        self,
        rate: float,
        size: float | None = None,
        *,
        cells: MutableSequence[int] | None = None,
        place: int = 0,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.rate: float
        self.size: float
        self.portion: float
        self.change(rate, size)
        self._cells: MutableSequence[int] = [0] if cells is None else cells
        self._place = place
        self._lock = lock

    def change(self, rate: float, size: float | None = None) -> None:
        """From now on it is filled at another rate; the time until it is full stays."""
        self.rate = rate
        self.size = max(rate * BURST, LEAST_BURST) if size is None else size
        self.portion = portion_of(rate, self.size)

    def level(self, now: float) -> float:
        missing = self._cells[self._place] - now * _SECOND
        return self.size if missing <= 0 else self.size - missing * self.rate / _SECOND

    def spend(self, amount: float, now: float) -> float:
        time = ceil(amount * _SECOND / self.rate)
        if self._lock is None:
            full_at = self._add(time, int(now * _SECOND))
        else:
            with self._lock:
                full_at = self._add(time, int(now * _SECOND))
        # It is in debt while it takes longer to fill than a whole bucket does.
        debt = full_at / _SECOND - now - self.size / self.rate
        return debt if debt > _NOTHING else 0.0

    def give_back(self, amount: float) -> None:
        time = ceil(amount * _SECOND / self.rate)
        if self._lock is None:
            self._cells[self._place] -= time
        else:
            with self._lock:
                self._cells[self._place] -= time

    def _add(self, time: int, now: int) -> int:
        cells, place = self._cells, self._place
        full_at = cells[place]
        cells[place] = full_at = (full_at if full_at > now else now) + time
        return full_at

    def take(self, amount: float, now: float) -> bool:
        """Takes it out if it is there."""
        if self.level(now) < amount:
            return False
        self.spend(amount, now)
        return True


def portion_of(rate: float, size: float) -> float:
    """What is worth waiting for: some milliseconds, at least a packet, never more than half of what there can be."""
    return min(max(rate * PORTION, LEAST_PORTION), size / 2)


class Pace:
    """Several stores that are taken from together: those of a user, of a source, of a listener."""

    __slots__ = ("_stores", "portion")

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = tuple(stores)
        self.portion = min(LEAST_BURST, max(1.0, *(store.portion for store in stores)))
        """What is worth a turn: with less, one waits."""

    def take(self, now: float) -> tuple[int, float]:
        """Octets that may be moved at once, at least one, after so many seconds. No more than each holds by then.

        Raises what an empty store raises that will not be filled.
        """
        grant: float = MOST_AT_ONCE
        for store in self._stores:
            grant = min(grant, max(store.level(now), store.portion))
        octets = max(1, int(grant))
        return octets, max(store.spend(octets, now) for store in self._stores)

    def give_back(self, octets: int) -> None:
        """Of what was taken, this was not moved."""
        for store in self._stores:
            store.give_back(octets)

    def fits(self, now: float) -> float:
        """Octets that may be moved now, without a wait."""
        least: float = MOST_AT_ONCE
        for store in self._stores:
            level = store.level(now)
            if level < least:
                least = level
        return least

    def spend(self, octets: int, now: float) -> None:
        """Takes what is moved in any case."""
        for store in self._stores:
            store.spend(octets, now)
