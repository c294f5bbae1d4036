"""What one of those who share a budget has left: the state of a budget for one key.

Where the numbers live is not decided here: one process keeps them to itself (below), several share a table
(``workers``). What is left of a period's octets is each process's own view, which is told what the others have used
(``Usage.learn``).
"""

from collections.abc import MutableSequence
from contextlib import AbstractContextManager
from math import inf
from sys import maxsize
from typing import Final, NamedTuple, Protocol

from ..errors import PolicyDenied
from .bucket import Bucket, Store
from .budgets import Budget
from .limits import LocalTally, Tally
from .periods import start_of

__all__ = ("Exhausted", "LocalVault", "Purse", "Slot", "Usage", "Vault")

_HOUR: Final = 3600.0

MOST: Final = 1 << 16
"""Purses that one process has at the same time, if it keeps them to itself."""


class Slot(NamedTuple):
    """Where the numbers of one purse stand."""

    tally: Tally
    cells: MutableSequence[int]
    up: int
    down: int
    rate: int
    """The places of its buckets in ``cells``."""

    lock: AbstractContextManager[object] | None = None
    """Held while they are changed, if others change them, too."""


class Vault(Protocol):
    """All slots of a server."""

    def open(self, key: str) -> Slot | None:
        """The slot of a key, kept until it is closed. None: there is no room for another one."""

    def close(self, key: str) -> None:
        """Nobody needs it any more, and its buckets are full."""


class LocalVault:
    """For a server that is one process."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}  # those that are open

    def __len__(self) -> int:
        return len(self._slots)

    def open(self, key: str) -> Slot | None:
        if len(self._slots) >= MOST:
            return None
        slot = self._slots[key] = Slot(LocalTally(), [0, 0, 0], 0, 1, 2)
        return slot

    def close(self, key: str) -> None:
        del self._slots[key]


class Usage:
    """What one key uses of a budget: octets in the period under way, what of them is not on disk yet, and sessions of
    this process. It outlives a change of the budget."""

    __slots__ = ("left", "limit", "period", "portion", "renew_at", "sessions", "since", "unsaved", "used", "used_up")

    def __init__(self, limit: int | None, period: str, now: float, used: int = 0) -> None:
        self.limit = maxsize if limit is None else limit
        self.period = period
        self.since = start_of(period, now)
        self.renew_at = 0.0
        """When to look whether the period is over, in seconds since 1970."""
        self.used = used
        """By all processes, as far as this one knows."""
        self.unsaved = 0
        """By this process, since it was last saved."""
        self.left = self.limit - used
        """What may still be taken; what was taken and is under way is out of it already."""
        self.portion = 0.0
        self.sessions = 0
        self.used_up = "the octets of this period are used up"
        """Why nothing more is to be had, once that is so."""

    def change(self, limit: int | None, period: str, now: float) -> None:
        """The budget has become another one."""
        before, self.limit = self.limit, maxsize if limit is None else limit
        self.left += self.limit - before
        self.period = period
        self.renew_at = 0.0
        self.renew(now)

    def level(self, _: float) -> float:
        return self.left

    def spend(self, amount: float, _: float) -> float:
        """Raises PolicyDenied if nothing is left."""
        if self.left <= 0:
            raise PolicyDenied(self.used_up)
        self.left -= int(amount)
        return 0.0

    def give_back(self, amount: float) -> None:
        self.left += int(amount)

    def moved(self, octets: int) -> None:
        """So many have been delivered."""
        self.used += octets
        self.unsaved += octets

    def saved(self, since: int, octets: int, total: int) -> None:
        """Of what was unsaved of the period since then, so much was saved; all processes have used ``total`` in it."""
        if since == self.since:  # else it ended meanwhile
            self.unsaved -= octets
            self.learn(total)

    def learn(self, total: int) -> None:
        """So much is on disk for all processes together."""
        used = total + self.unsaved
        self.left -= used - self.used
        self.used = used

    def renew(self, now: float) -> None:
        """Begins anew if the period is over. What is unsaved of it nobody will ask for."""
        if now < self.renew_at:
            return
        self.renew_at = (now // _HOUR + 1) * _HOUR  # no period ends within an hour
        since = start_of(self.period, now)
        if since != self.since:
            self.since = since
            self.used = self.unsaved = 0
            self.left = self.limit


class Purse:
    """``enter`` for each session that draws on it, ``leave`` when it has ended."""

    __slots__ = ("_counts_sessions", "_rate", "_slot", "budget", "down", "end", "key", "name", "up", "usage")

    def __init__(self, name: str, budget: Budget, key: str, slot: Slot, usage: Usage) -> None:
        """``name``: of the budget; ``key``: who has it."""
        self.name = name
        self.budget = budget
        self.key = key
        self.usage = usage
        usage.used_up = f"{key}: the octets of budget {name!r} are used up"
        self._slot = slot
        self.end = inf if budget.end is None else budget.end
        """When it expires, in seconds since 1970."""
        self._counts_sessions = bool(budget.sessions or budget.rate)
        self._rate = self._bucket(budget.rate, slot.rate, size=max(1.0, budget.rate))
        self.up = self._stores(budget.up, slot.up)
        self.down = self._stores(budget.down, slot.down)
        """What flows draw from, each way."""

    @property
    def is_idle(self) -> bool:
        """Nobody is drawing on it here."""
        return not self.usage.sessions

    def changed(self, budget: Budget, now: float) -> "Purse":
        """The same for a budget that has become another one. Who draws on this one keeps what it limits, but how far:
        a limit that is there before and after is the new one for all."""
        self.usage.change(None if budget.octets is None else int(budget.octets), budget.period, now)
        after = Purse(self.name, budget, self.key, self._slot, self.usage)
        after.up = _going_on(self.up, after.up)
        after.down = _going_on(self.down, after.down)
        return after

    def is_full(self, now: float) -> bool:
        """Whether it would make no difference if it were new. ``now``: of the monotonic clock."""
        buckets = (store for store in (self._rate, *self.up, *self.down) if isinstance(store, Bucket))
        return all(bucket.level(now) >= bucket.size for bucket in buckets)

    def enter(self, now: float, today: float) -> None:
        """One more session. ``now``: of the monotonic clock; ``today``: seconds since 1970.

        Raises Exhausted.
        """
        usage = self.usage
        if today >= self.end:
            raise Exhausted("budget expired", f"{self._whose} has expired: {self.budget.expires}")
        if today >= usage.renew_at:
            usage.renew(today)
        if usage.left <= 0:
            raise Exhausted("budget octets", usage.used_up)
        if self._counts_sessions:
            self._take_place(now)
        usage.sessions += 1

    def leave(self, moved: int = 0) -> None:
        """One session less, which has delivered so many octets that nobody has told yet."""
        usage = self.usage
        usage.sessions -= 1
        usage.used += moved  # as ``moved`` does it: every session comes by here
        usage.unsaved += moved
        if self.budget.sessions:
            self._slot.tally.leave()

    # --- private ---

    def _take_place(self, now: float) -> None:
        """One more session, where it matters how many there are or how fast they come. Raises Exhausted."""
        budget = self.budget
        if budget.sessions and self._slot.tally.enter(budget.sessions, maxsize):
            raise Exhausted("budget sessions", f"{self._whose} allows {budget.sessions} sessions at the same time")
        if self._rate is not None and not self._rate.take(1, now):
            if budget.sessions:
                self._slot.tally.greeted()
                self._slot.tally.leave()
            raise Exhausted("budget rate", f"{self._whose} allows {budget.rate:g} new sessions a second")
        if budget.sessions:
            self._slot.tally.greeted()

    @property
    def _whose(self) -> str:
        return f"{self.key}: budget {self.name!r}"

    def _bucket(self, rate: float | None, place: int, size: float | None = None) -> Bucket | None:
        slot = self._slot
        return Bucket(rate, size, cells=slot.cells, place=place, lock=slot.lock) if rate else None

    def _stores(self, rate: int | str | None, place: int) -> tuple[Store, ...]:
        bucket = self._bucket(None if rate is None else int(rate), place)
        found: tuple[Store | None, ...] = (bucket, self.usage if self.budget.octets is not None else None)
        return tuple(store for store in found if store is not None)


def _going_on(before: tuple[Store, ...], after: tuple[Store, ...]) -> tuple[Store, ...]:
    """The stores of a way after a change: where there was a bucket and is one, it is the same, at its new rate."""
    old = next((store for store in before if isinstance(store, Bucket)), None)
    new = next((store for store in after if isinstance(store, Bucket)), None)
    if old is None or new is None:
        return after
    old.change(new.rate)
    return tuple(old if store is new else store for store in after)


class Exhausted(PolicyDenied):
    """A budget has nothing for this session; ``limit`` is what was reached, as the metrics call it."""

    def __init__(self, limit: str, reason: str) -> None:
        super().__init__(reason)
        self.limit = limit
