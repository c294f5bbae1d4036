"""Counts over several workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosier.observe.counts import CELLS, Counts, value_of
from hosier.workers.counting import bury, cells_of, create_counts, read_counts
from hosier.workers.shared import SharedTable


@pytest.fixture
def table() -> Iterator[SharedTable]:
    table = create_counts(3)
    yield table
    table.close()


def test_each_writes_its_own_and_all_is_the_sum(table: SharedTable) -> None:
    for worker in range(3):
        cells = cells_of(table, worker)
        assert len(cells) == CELLS
        for place in range(CELLS):
            cells[place] = place * 10**worker
    assert read_counts(table) == [place * 111 for place in range(CELLS)]
    assert list(cells_of(table, 1)) == [place * 10 for place in range(CELLS)]


def test_the_dead_leave_what_they_counted_and_nobody_who_lives(table: SharedTable) -> None:
    for worker in range(3):
        counts = Counts(cells_of(table, worker))
        counts.count("sessions_started", number=5)
        counts.count("handshakes", "ok", 4)
        counts.count("sessions_ended", "CONNECT", 3)
    bury(table, 1)
    cells = read_counts(table)
    assert value_of(cells, "sessions_started") == 15
    assert (value_of(cells, "sessions_ended"), value_of(cells, "sessions_ended", "lost")) == (11, 2)
    assert (value_of(cells, "handshakes"), value_of(cells, "handshakes", "lost")) == (13, 1)
    bury(table, 1)
    assert read_counts(table) == cells
