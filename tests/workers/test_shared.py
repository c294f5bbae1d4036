"""The shared table: who sees what, who holds which row, and what stays behind the dead."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from hosier.workers import shared as module
from hosier.workers.shared import BUCKET, FIXED_ROWS, SharedTable


@pytest.fixture
def table() -> Iterator[SharedTable]:
    table = SharedTable.create(rows=4 * BUCKET, fields=2, workers=3)
    yield table
    table.close()


def hold(table: SharedTable, key: bytes, worker: int = 0) -> int:
    row = table.hold(key, worker)
    assert row is not None
    return row


def test_a_new_one_is_empty(table: SharedTable) -> None:
    assert not any(table.cells)
    assert table.held() == 0
    assert len(table.cells) == (FIXED_ROWS + 4 * BUCKET) * 3 * 3


def test_every_number_has_its_own_place(table: SharedTable) -> None:
    places = {table.cell(row, field, worker) for row in range(FIXED_ROWS) for field in range(2) for worker in range(3)}
    assert len(places) == FIXED_ROWS * 2 * 3
    first = table.cell(5, 1)
    assert [table.cell(5, 1, worker) for worker in range(3)] == [first, first + 1, first + 2]
    table.cells[first], table.cells[first + 1], table.cells[first + 2] = 1, 20, 300
    assert table.total(5, 1) == 321
    assert table.total(5, 0) == table.total(4, 1) == table.total(6, 0) == 0


def test_a_key_has_one_row_whoever_asks(table: SharedTable) -> None:
    row = hold(table, b"ann")
    assert hold(table, b"ann", 1) == hold(table, b"ann", 2) == row >= FIXED_ROWS
    assert hold(table, b"bob") != row
    assert table.held() == 2


def test_a_row_is_free_when_nobody_holds_it(table: SharedTable) -> None:
    row = hold(table, b"ann")
    hold(table, b"ann", 1)
    table.let_go(row, 0)
    assert table.held() == 1
    table.let_go(row, 1)
    assert table.held() == 0


def test_it_is_bounded() -> None:
    """Beyond its rows it says so; who is in it stays, and who leaves makes room."""
    table = SharedTable.create(rows=1, fields=1, workers=1)
    rows = [hold(table, b"%d" % number) for number in range(BUCKET)]
    assert len(set(rows)) == BUCKET
    assert table.hold(b"one more", 0) is None
    assert hold(table, b"3") == rows[3]
    table.let_go(rows[7], 0)
    assert hold(table, b"one more") == rows[7]
    assert hold(table, b"3") == rows[3]
    table.close()


def test_without_rows_for_keys() -> None:
    table = SharedTable.create(rows=0, fields=1, workers=1)
    assert table.hold(b"ann", 0) is None
    table.cells[table.cell(0, 0)] = 1
    assert table.total(0, 0) == 1
    table.close()


def test_many_keys_come_and_go(table: SharedTable) -> None:
    """One address after the other fills nothing."""
    for number in range(20_000):
        table.let_go(hold(table, b"%d" % number), 0)
    assert table.held() == 0


def test_keys_cannot_be_read_or_predicted(table: SharedTable) -> None:
    """Tables differ in their secret, so the places of keys in one say nothing about another."""
    other = SharedTable.create(rows=1000 * BUCKET, fields=1, workers=1)
    third = SharedTable.create(rows=1000 * BUCKET, fields=1, workers=1)
    keys = [b"key %d" % number for number in range(8)]
    assert [other.hold(key, 0) for key in keys] != [third.hold(key, 0) for key in keys]
    size = os.fstat(other.plan.fd).st_size
    with mmap.mmap(other.plan.fd, size) as memory:
        assert memory.find(b"key") < 0
    other.close()
    third.close()


def test_the_dead_are_forgotten(table: SharedTable) -> None:
    """Their numbers and their holds, and nobody else's."""
    shared, own = hold(table, b"shared", 1), hold(table, b"own", 1)
    hold(table, b"shared", 2)
    for row in (0, shared, own):
        for worker in (0, 1, 2):
            table.cells[table.cell(row, 1, worker)] = 10**worker
    table.forget(1)
    assert [table.total(row, 1) for row in (0, shared, own)] == [101] * 3
    assert table.held() == 1
    assert hold(table, b"shared", 0) == shared


CHILD = """
import sys
from hosier.workers.shared import SharedTable, TablePlan
table = SharedTable(TablePlan(*eval(sys.stdin.readline())))
row = table.hold(b"ann", 1)
table.cells[table.cell(row, 0, 1)] = 7
if "lock" in sys.argv:
    table.lock.__enter__()
print(row, flush=True)
sys.stdin.read()
"""


def other_process(table: SharedTable, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(table.plan.fd,),
    )
    assert process.stdin is not None
    process.stdin.write(b"%s\n" % repr(tuple(table.plan)).encode())
    process.stdin.flush()
    return process


@pytest.mark.parametrize("memory_file", [True, False])
def test_another_process_sees_the_same(memory_file: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not memory_file:
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    table = SharedTable.create(rows=100, fields=1, workers=2)
    row = hold(table, b"ann")
    with other_process(table) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == row
        assert table.total(row, 0) == 7
        process.communicate(timeout=30)
    assert process.returncode == 0
    table.close()


def test_the_kernel_unlocks_for_the_dead(table: SharedTable) -> None:
    """A worker may die anywhere, in the lock, too."""
    with other_process(table, "lock") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with table.lock:
        pass


def test_size_is_what_the_plan_says(table: SharedTable) -> None:
    assert os.fstat(table.plan.fd).st_size == module._size(table.plan)
    assert not os.get_inheritable(table.plan.fd)
