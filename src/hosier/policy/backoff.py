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

__all__ = (
    *("PER_SOURCE", "PER_USER", "Acquaintances", "Allowance", "Backoff", "BackoffTables", "FailureTable", "Failures"),
    *("Pair", "Tallies", "FailureTally", "after_failure"),
)

ENTRIES: Final = 8192
"""Of each table."""

_DOUBLINGS: Final = 11  # so the longest wait is 2**10 seconds, about a quarter of an hour

Pair = tuple[str, bytes]
"""A source and a user."""

_Key = TypeVar("_Key", bound=Hashable)
_AnyKey = TypeVar("_AnyKey", contravariant=True)


class Allowance(NamedTuple):
    """How many failures are free, and after how many seconds each time one is forgotten."""

    free: int
    forget: float


PER_SOURCE: Final = Allowance(free=8, forget=60.0)
PER_USER: Final = Allowance(free=40, forget=15.0)


class Failures(Protocol):
    """What a server asks of a back-off."""

    def in_peace(self, now: float) -> bool:
        """Whether nobody waits at all, whoever it is."""

    def wait(self, source: str, user: bytes | None, now: float) -> float:
        """Seconds until this user, or with None anybody, is heard again from this source; 0: now."""

    def failed(self, source: str, user: bytes | None, now: float) -> float:
        """Counts a failure; returns what ``wait`` would."""

    def succeeded(self, source: str, user: bytes) -> None:
        """Notes that the user's secret was known at the source."""


class FailureTally(NamedTuple):
    """What is remembered of a key."""

    at: float = 0.0
    """When it failed last."""

    failures: float = 0.0
    """How many are not forgotten yet, counted then."""

    until: float = 0.0
    """How long it is refused."""


_NONE: Final = FailureTally()


def after_failure(before: FailureTally | None, allowance: Allowance, now: float) -> FailureTally:
    """What to remember after one more failure; ``before``: what was."""
    at, failures, _ = before or _NONE
    free, forget = allowance
    failures = min(max(0.0, failures - (now - at) / forget) + 1, free + _DOUBLINGS)
    # Beyond what is free: 1 second, 2, 4 and so on.
    return FailureTally(now, failures, now + 2 ** (failures - free - 1) if failures > free else now)


class FailureTable(Protocol[_AnyKey]):
    """Failures by key: in one process's memory (below), or where several see them (``workers``)."""

    @property
    def highest(self) -> float:
        """No key is refused from then on, unless it fails again."""

    def wait(self, key: _AnyKey, now: float) -> float:
        """Seconds for which the key is still refused."""

    def add(self, key: _AnyKey, now: float) -> None:
        """One more failure."""


class Acquaintances(Protocol):
    """Users by the sources from which they have logged in."""

    def __contains__(self, pair: Pair, /) -> bool: ...

    def add(self, pair: Pair, /) -> None: ...


class BackoffTables(NamedTuple):
    """All that a back-off remembers, each table bounded."""

    sources: FailureTable[str]
    users: FailureTable[bytes]
    pairs: FailureTable[Pair]
    welcome: Acquaintances


class Tallies(Generic[_Key]):
    """Failures of each key; the keys that failed last, at most ``entries`` of them."""

    def __init__(self, allowance: Allowance, entries: int) -> None:
        self._allowance = allowance
        self._entries = entries
        self._tallies: OrderedDict[_Key, FailureTally] = OrderedDict()
        self.highest = 0.0

    def __len__(self) -> int:
        return len(self._tallies)

    def wait(self, key: _Key, now: float) -> float:
        tally = self._tallies.get(key)
        return 0.0 if tally is None else max(0.0, tally.until - now)

    def add(self, key: _Key, now: float) -> None:
        tally = self._tallies[key] = after_failure(self._tallies.pop(key, None), self._allowance, now)
        self.highest = max(self.highest, tally.until)
        if len(self._tallies) > self._entries:
            self._tallies.popitem(last=False)


class _Acquainted(dict[Pair, None]):
    """Those that came last. A dict itself, so that to ask it, as every login does, costs no call."""

    def __init__(self, entries: int) -> None:
        self._entries = entries

    def add(self, pair: Pair) -> None:
        self[pair] = None
        if len(self) > self._entries:
            del self[next(iter(self))]


class Backoff:
    """The three rules. ``tables``: what they remember, if that is not in this process's memory alone."""

    def __init__(
        self,
        tables: BackoffTables | None = None,
        *,
        per_source: Allowance = PER_SOURCE,
        per_user: Allowance = PER_USER,
        entries: int = ENTRIES,
    ) -> None:
        self._sources, self._users, self._pairs, self._welcome = tables or BackoffTables(
            Tallies(per_source, entries), Tallies(per_user, entries), Tallies(per_source, entries), _Acquainted(entries)
        )

    def in_peace(self, now: float) -> bool:
        return now >= self._sources.highest and now >= self._users.highest and now >= self._pairs.highest

    def wait(self, source: str, user: bytes | None, now: float) -> float:
        if self.in_peace(now):
            return 0.0
        strange = self._sources.wait(source, now)
        if user is None:
            return strange
        strange = max(strange, self._users.wait(user, now))
        known = self._pairs.wait((source, user), now)
        if strange == known:
            return strange
        return known if (source, user) in self._welcome else strange

    def failed(self, source: str, user: bytes | None, now: float) -> float:
        self._sources.add(source, now)
        if user is not None:
            self._users.add(user, now)
            if (source, user) in self._welcome:
                self._pairs.add((source, user), now)
        return self.wait(source, user, now)

    def succeeded(self, source: str, user: bytes) -> None:
        pair = source, user
        if pair not in self._welcome:
            self._welcome.add(pair)
