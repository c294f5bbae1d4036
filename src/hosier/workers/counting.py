"""What all workers count, in a table that each writes to on its own and the supervisor reads.

The counts of a worker that died stay, and the one that follows it goes on from there: what is counted only grows.
"""

from collections.abc import MutableSequence
from typing import cast

from ..observe.counts import CELLS, Counts, add_up
from .shared import SharedTable

__all__ = ("bury", "cells_of", "create_counts", "read_counts")


def create_counts(workers: int) -> SharedTable:
    """A new table, all zero."""
    return SharedTable.create(rows=0, fields=CELLS, workers=workers)


def cells_of(table: SharedTable, worker: int) -> MutableSequence[int]:
    """Those of one worker."""
    first, workers = table.cell(0, 0), table.plan.workers
    # A view has what is needed of a sequence, though not all its methods.
    return cast("MutableSequence[int]", table.cells[first + worker : first + CELLS * workers : workers])


def read_counts(table: SharedTable) -> list[int]:
    """The sums over all workers."""
    return add_up([cells_of(table, worker) for worker in range(table.plan.workers)])


def bury(table: SharedTable, worker: int) -> None:
    """The worker is dead, and its sessions with it."""
    Counts(cells_of(table, worker)).lose_the_living()
