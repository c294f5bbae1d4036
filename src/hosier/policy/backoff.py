"""Who has failed to authenticate too often, and how long they must wait. Facts and the time in, seconds out.

Counted are the failures of each source, an IPv4 address or an IPv6 network of 64 bits, and those against each user.
Some are free; from then on each one doubles the wait, and time takes them back one by one, so that in the long run
a source gets one guess a minute. Three rules keep that from becoming a weapon:

- One source alone cannot use up what is free for a user, so it cannot lock the user out elsewhere.
- A user who has once logged in from a source stays welcome there, whatever others do: only this user's failures from
  this source count then. Nobody gains by it, they are counted like a source's.
- The tables are bounded: a crowd of sources or invented names makes them forget, oldest failure first, and grows
  nothing. What is forgotten is treated as new; nobody is blamed for others.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

__all__ = ("Allowance", "Backoff", "Failures", "Tallies")

ENTRIES: Final = 8192
"""Of each table."""

_DOUBLINGS: Final = 11  # so the longest wait is 2**10 seconds, about a quarter of an hour

_Key = TypeVar("_Key", bound=Hashable)


class Allowance(NamedTuple):
    """How many failures are free, and after how many seconds each time one is forgotten."""

    free: int
    forget: float


PER_SOURCE: Final = Allowance(free=8, forget=60.0)
PER_USER: Final = Allowance(free=40, forget=15.0)


class Failures(Protocol):
    """What a server asks of a back-off; one that several processes share has the same three verbs."""

    def wait(self, source: str, user: bytes | None, now: float) -> float:
        """Seconds until this user, or with None anybody, is heard again from this source; 0: now."""

    def failed(self, source: str, user: bytes | None, now: float) -> float:
        """Counts a failure; returns what ``wait`` would."""

    def succeeded(self, source: str, user: bytes) -> None:
        """Notes that the user's secret was known at the source."""


class _Tally(NamedTuple):
    failures: float
    at: float
    until: float


class Tallies(Generic[_Key]):
    """Failures of each key; the keys that failed last, at most ``entries`` of them."""

    def __init__(self, allowance: Allowance, entries: int) -> None:
        self._allowance = allowance
        self._entries = entries
        self._tallies: OrderedDict[_Key, _Tally] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tallies)

    def wait(self, key: _Key, now: float) -> float:
        """Seconds for which the key is still refused."""
        tally = self._tallies.get(key)
        return 0.0 if tally is None else max(0.0, tally.until - now)

    def add(self, key: _Key, now: float) -> None:
        """One more failure."""
        free, forget = self._allowance
        before = self._tallies.pop(key, _NONE)
        failures = min(max(0.0, before.failures - (now - before.at) / forget) + 1, free + _DOUBLINGS)
        # Beyond what is free: 1 second, 2, 4 and so on.
        until = now + 2 ** (failures - free - 1) if failures > free else now
        self._tallies[key] = _Tally(failures, now, until)
        if len(self._tallies) > self._entries:
            self._tallies.popitem(last=False)


_NONE: Final = _Tally(0.0, 0.0, 0.0)


class Backoff:
    """The failures of one process, in memory."""

    def __init__(
        self, *, per_source: Allowance = PER_SOURCE, per_user: Allowance = PER_USER, entries: int = ENTRIES
    ) -> None:
        self._sources: Tallies[str] = Tallies(per_source, entries)
        self._users: Tallies[bytes] = Tallies(per_user, entries)
        self._pairs: Tallies[tuple[str, bytes]] = Tallies(per_source, entries)
        self._welcome: dict[tuple[str, bytes], None] = {}
        self._entries = entries

    def wait(self, source: str, user: bytes | None, now: float) -> float:
        if user is None:
            return self._sources.wait(source, now)
        if (source, user) in self._welcome:
            return self._pairs.wait((source, user), now)
        return max(self._sources.wait(source, now), self._users.wait(user, now))

    def failed(self, source: str, user: bytes | None, now: float) -> float:
        self._sources.add(source, now)
        if user is not None:
            self._users.add(user, now)
            if (source, user) in self._welcome:
                self._pairs.add((source, user), now)
        return self.wait(source, user, now)

    def succeeded(self, source: str, user: bytes) -> None:
        if (source, user) not in self._welcome:
            self._welcome[source, user] = None
            if len(self._welcome) > self._entries:
                del self._welcome[next(iter(self._welcome))]
