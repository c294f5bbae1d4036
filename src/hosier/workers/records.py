"""Small records under keys, in memory that several processes see: what one of them learns, all know.

A key's record stands in one of the rows of its bucket; where all are taken, the oldest makes room. So it is bounded,
and who chooses keys cannot choose whose record goes: keys are kept as keyed digests, and as nothing else. Whoever
writes has the lock. Whoever reads needs none: every row has a checksum, so one that is being written, or whose writer
was killed over it, is nobody's.
"""

import mmap
import os
import secrets
from collections.abc import Callable
from hashlib import blake2b
from math import inf
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from .shared import TableLock, memory_file

__all__ = ("BUCKET", "Record", "RecordPlan", "RecordTable", "Records")

BUCKET: Final = 16
"""Rows among which a key has its place."""

_DIGEST: Final = 16  # octets
_BODY: Final = Struct("16s3d")
_CHECK: Final = Struct("Q")
_ROW: Final = _BODY.size + _CHECK.size
_HEAD: Final = Struct("d")

Record = tuple[float, float, float]
"""The first number tells its age: among the rows of a bucket, that with the smallest makes room."""


class RecordPlan(NamedTuple):
    """What a process needs to open the memory that another one has made."""

    fd: int
    tables: int
    buckets: int
    secret: bytes

    @property
    def table_size(self) -> int:
        """Octets."""
        return _HEAD.size + self.buckets * BUCKET * _ROW


class Records:
    """The memory: some tables of one size."""

    def __init__(self, plan: RecordPlan) -> None:
        self.plan = plan
        self.lock = TableLock(plan.fd)
        self.memory = mmap.mmap(plan.fd, plan.tables * plan.table_size)
        self.tables = tuple(RecordTable(self, number * plan.table_size) for number in range(plan.tables))

    @classmethod
    def create(cls, *, tables: int, rows: int) -> "Records":
        """A new one, empty; ``rows`` for each table at least. The memory is taken as it is touched."""
        plan = RecordPlan(memory_file(), tables, -(-rows // BUCKET), secrets.token_bytes(32))
        os.ftruncate(plan.fd, plan.tables * plan.table_size)
        return cls(plan)

    def close(self) -> None:
        self.memory.close()
        os.close(self.plan.fd)


class RecordTable:
    """One of them. Its keys have nothing to do with those of the others."""

    def __init__(self, records: Records, start: int) -> None:
        self._memory = records.memory
        self._lock = records.lock
        self._buckets = records.plan.buckets
        self._secret = records.plan.secret
        self._start = start
        self._rows = start + _HEAD.size

    @property
    def highest(self) -> float:
        """No last number of any record is larger, and none ever was; 0 if there were none."""
        number: float = _HEAD.unpack_from(self._memory, self._start)[0]
        return number

    def read(self, key: bytes) -> Record | None:
        """A key's record; None if there is none, or none any more."""
        found = self._find(*self._place(key))
        return None if found is None else found[1]

    def change(self, key: bytes, step: Callable[[Record | None], Record]) -> None:
        """Replaces a key's record by what ``step`` makes of it, while nobody else writes."""
        digest, first = self._place(key)
        with self._lock:
            row, before = self._find(digest, first) or (self._room(first), None)
            after = step(before)
            body = _BODY.pack(digest, *after)
            # First: who looks there in vain looks at the rows once more than needed. The other way round, whoever is
            # killed in between would leave a row that nobody looks for.
            if after[2] > self.highest:
                _HEAD.pack_into(self._memory, self._start, after[2])
            self._memory[row : row + _ROW] = body + _CHECK.pack(crc32(body))

    # --- private ---

    def _place(self, key: bytes) -> tuple[bytes, int]:
        digest = blake2b(key, key=self._secret, digest_size=_DIGEST).digest()
        bucket = int.from_bytes(digest[:8], "little") % self._buckets
        return digest, self._rows + bucket * BUCKET * _ROW

    def _find(self, digest: bytes, first: int) -> tuple[int, Record] | None:
        """Where the key's row is, and what it says."""
        at, end = first, first + BUCKET * _ROW
        while (at := self._memory.find(digest, at, end)) >= 0:
            # Who died over a row may have left the digest there and nothing behind it.
            if not (at - first) % _ROW and (numbers := self._numbers(at)) is not None:
                return at, numbers
            at += 1
        return None

    def _room(self, first: int) -> int:
        """The row for a key that has none: one that is nobody's, else the oldest."""
        rows = range(first, first + BUCKET * _ROW, _ROW)
        return min(rows, key=lambda row: -inf if (numbers := self._numbers(row)) is None else numbers[0])

    def _numbers(self, row: int) -> Record | None:
        """What a row says; None if it is nobody's."""
        content = self._memory[row : row + _ROW]
        _, age, second, third = _BODY.unpack_from(content)
        whole = _CHECK.unpack_from(content, _BODY.size)[0] == crc32(content[: _BODY.size])
        return (age, second, third) if whole else None
