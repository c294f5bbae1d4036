"""A table of numbers in memory that several processes see, so that what is global is counted once.

A row stands for a key; a row has fields; each worker has a cell of its own in each field, and nobody else writes it.
So a worker counts without a lock, everybody reads sums, and what a dead worker had counted can be taken out. The first
few rows are fixed, for what needs no key. Keys are kept as keyed digests: who chooses addresses cannot choose rows.
"""

import fcntl
import mmap
import os
import secrets
import tempfile
from array import array
from hashlib import blake2b
from struct import Struct
from types import TracebackType
from typing import Final, NamedTuple

__all__ = ("FIXED_ROWS", "SharedTable", "TableLock", "TablePlan", "memory_file")

BUCKET: Final = 16
"""Rows among which a key has its place. All of them are looked at, so that rows can become free in any order."""

FIXED_ROWS: Final = BUCKET
"""Rows without a key, at the beginning."""

_DIGEST: Final = 16  # octets
_HELD: Final = 0  # the field in which a worker holds a row: while any does, the row keeps its key


class TablePlan(NamedTuple):
    """What a process needs to open a table that another one has made."""

    fd: int
    buckets: int
    fields: int
    workers: int
    secret: bytes


class TableLock:
    """Mutual exclusion between processes, by a record lock: the kernel releases it when its holder dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)


class SharedTable:
    """``rows`` for keys at least, bounded; ``fields`` numbers in each row for each worker."""

    def __init__(self, plan: TablePlan) -> None:
        self.plan = plan
        self.lock = TableLock(plan.fd)
        self._stride = (1 + plan.fields) * plan.workers  # cells in a row; the first field holds it
        self._buckets = plan.buckets
        self._rows = FIXED_ROWS + plan.buckets * BUCKET
        self._memory = mmap.mmap(plan.fd, _size(plan))
        self._view = memoryview(self._memory)
        self.cells = self._view[self._rows * _DIGEST :].cast("q")
        """All numbers; ``cell`` tells where."""
        self.numbers = Struct(f"{plan.workers}q").unpack
        """Those of one field out of their view, at once: one by one they cost several times as much."""

    @classmethod
    def create(cls, *, rows: int, fields: int, workers: int) -> "SharedTable":
        """A new one, all zero. The memory is taken as it is touched."""
        fd = memory_file()
        plan = TablePlan(fd, -(-rows // BUCKET), fields, workers, secrets.token_bytes(32))
        os.ftruncate(fd, _size(plan))
        return cls(plan)

    def cell(self, row: int, field: int, worker: int = 0) -> int:
        """Where a number stands in ``cells``. Those of one field stand side by side, worker by worker."""
        return row * self._stride + (1 + field) * self.plan.workers + worker

    def total(self, row: int, field: int) -> int:
        """The sum over the workers."""
        first = self.cell(row, field)
        return sum(self.cells[first : first + self.plan.workers])

    def hold(self, key: bytes, worker: int) -> int | None:
        """The row of a key, a new one if need be, held by the worker until ``let_go``. None: all places that the key
        could have are taken by others."""
        digest = blake2b(key, key=self.plan.secret, digest_size=_DIGEST).digest()
        if not self._buckets:
            return None
        first = FIXED_ROWS + int.from_bytes(digest[:8], "little") % self._buckets * BUCKET
        with self.lock:
            row = self._find(digest, first)
            if row is not None:
                self.cells[row * self._stride + _HELD + worker] = 1
            return row

    def let_go(self, row: int, worker: int) -> None:
        """The worker has no numbers in the row any more."""
        self.cells[row * self._stride + _HELD + worker] = 0

    def forget(self, worker: int) -> None:
        """Takes out all that a worker has counted or held. It must be dead."""
        workers = self.plan.workers
        with self.lock:
            self.cells[worker::workers] = memoryview(array("q", bytes(8 * (len(self.cells) // workers))))

    def held(self) -> int:
        """Rows in use."""
        return sum(self._in_use(row) for row in range(FIXED_ROWS, self._rows))

    def close(self) -> None:
        self.cells.release()
        self._view.release()
        self._memory.close()
        os.close(self.plan.fd)

    # --- private ---

    def _find(self, digest: bytes, first: int) -> int | None:
        """The row that has the key, else one that is free and gets it."""
        at = self._memory.find(digest, first * _DIGEST, (first + BUCKET) * _DIGEST)
        if at >= 0 and not at % _DIGEST:
            return at // _DIGEST
        for row in range(first, first + BUCKET):
            if not self._in_use(row):
                self._memory[row * _DIGEST : (row + 1) * _DIGEST] = digest
                return row
        return None

    def _in_use(self, row: int) -> bool:
        first = row * self._stride + _HELD
        return any(self.cells[first : first + self.plan.workers])


def _size(plan: TablePlan) -> int:
    return (FIXED_ROWS + plan.buckets * BUCKET) * (_DIGEST + 8 * (1 + plan.fields) * plan.workers)


def memory_file() -> int:
    """An open file that has no name and goes with its last user."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hosier")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
