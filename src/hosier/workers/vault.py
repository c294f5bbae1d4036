"""The purses of budgets over all workers: the numbers of ``policy.purses`` in a table that they share.

Sessions are counted as for caps, each worker in cells of its own; a bucket is one cell for all, changed under the
table's lock. Those cells belong to the first worker: when it dies all buckets are full again, which gives away one
burst of each.
"""

from collections.abc import MutableSequence
from typing import Final, cast

from ..policy.purses import MOST, Slot
from .shared import SharedTable
from .tallies import SharedTally

__all__ = ("SharedVault", "create_vault_table")

_FIELDS: Final = 5
_UP: Final = 2  # behind those of a tally
_DOWN: Final = 3
_RATE: Final = 4


def create_vault_table(workers: int) -> SharedTable:
    """With room for as many purses as a process has at most; memory is taken as it is used."""
    return SharedTable.create(rows=MOST, fields=_FIELDS, workers=workers)


class SharedVault:
    """As one worker sees it."""

    def __init__(self, table: SharedTable, worker: int) -> None:
        self._table = table
        self._worker = worker
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, key: str) -> Slot | None:
        table = self._table
        row = table.hold(key.encode("utf-8", "surrogatepass"), self._worker)
        if row is None:
            return None
        self._rows[key] = row
        tally = SharedTally(table, row, self._worker)
        up, down, rate = (table.cell(row, field) for field in (_UP, _DOWN, _RATE))
        cells = cast("MutableSequence[int]", table.cells)  # it has what is needed of one
        return Slot(tally, cells, up, down, rate, table.lock)

    def close(self, key: str) -> None:
        self._table.let_go(self._rows.pop(key), self._worker)
