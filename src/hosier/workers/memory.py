"""What all workers remember together: who failed to authenticate, who is welcome, and which passwords are known.

Each has a table of its own, so that a crowd of one kind pushes out its own kind only.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

from ..policy.backoff import PER_SOURCE, PER_USER, Allowance, Backoff, BackoffTables, FailureTally, Pair, after_failure
from .records import Record, RecordPlan, Records, RecordTable

__all__ = ("CommonMemory",)

ENTRIES: Final = 16384
"""Of each table."""

_Key = TypeVar("_Key")


class CommonMemory:
    """All of it, as one worker sees it. The supervisor makes it and looks at nothing in it."""

    def __init__(self, records: Records) -> None:
        self._records = records
        sources, users, pairs, welcome, passwords = records.tables
        self.failures = Backoff(
            BackoffTables(
                SharedFailures(sources, str.encode, PER_SOURCE),
                SharedFailures(users, bytes, PER_USER),
                SharedFailures(pairs, _octets, PER_SOURCE),
                SharedAcquaintances(welcome),
            )
        )
        self.passwords = SharedProofs(passwords)

    @classmethod
    def create(cls) -> "CommonMemory":
        """A new one, in which nothing is remembered."""
        return cls(Records.create(tables=5, rows=ENTRIES))

    @classmethod
    def open(cls, plan: RecordPlan) -> "CommonMemory":
        """The one that another process has made."""
        return cls(Records(plan))

    @property
    def plan(self) -> RecordPlan:
        return self._records.plan

    def close(self) -> None:
        self._records.close()


class SharedFailures(Generic[_Key]):
    """A :class:`~hosier.policy.backoff.FailureTable` of several processes. Their clock is one: it is the system's."""

    def __init__(self, table: RecordTable, octets: Callable[[_Key], bytes], allowance: Allowance) -> None:
        self._table = table
        self._octets = octets
        self._allowance = allowance

    @property
    def highest(self) -> float:
        return self._table.highest

    def wait(self, key: _Key, now: float) -> float:
        if now >= self._table.highest:
            return 0.0
        record = self._table.read(self._octets(key))
        return 0.0 if record is None else max(0.0, FailureTally(*record).until - now)

    def add(self, key: _Key, now: float) -> None:
        def step(before: Record | None) -> Record:
            return after_failure(None if before is None else FailureTally(*before), self._allowance, now)

        self._table.change(self._octets(key), step)


class SharedAcquaintances:
    """Users by the sources from which they have logged in, wherever that was."""

    def __init__(self, table: RecordTable) -> None:
        self._table = table

    def __contains__(self, pair: Pair) -> bool:
        return self._table.read(_octets(pair)) is not None

    def add(self, pair: Pair) -> None:
        now = monotonic()
        self._table.change(_octets(pair), lambda _: (now, 0.0, 0.0))


class SharedProofs:
    """What was found to be right once, which took long: as digests under the table's key, and in no other form."""

    def __init__(self, table: RecordTable) -> None:
        self._table = table

    def __contains__(self, proof: bytes) -> bool:
        return self._table.read(proof) is not None

    def add(self, proof: bytes) -> None:
        now = monotonic()
        self._table.change(proof, lambda _: (now, 0.0, 0.0))


def _octets(pair: Pair) -> bytes:
    source, user = pair
    return source.encode() + b"\0" + user  # no source has a zero octet
