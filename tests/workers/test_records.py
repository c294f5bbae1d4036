"""Records that processes share: bounded, readable without a lock, and never half of one."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hosier.workers.records import BUCKET, Record, Records, RecordTable


@pytest.fixture
def records() -> Iterator[Records]:
    records = Records.create(tables=2, rows=4 * BUCKET)
    yield records
    records.close()


def put(table: RecordTable, key: bytes, *numbers: float) -> None:
    at, middle, last = numbers
    table.change(key, lambda _: (at, middle, last))


def test_a_new_one_is_empty(records: Records) -> None:
    for table in records.tables:
        assert table.read(b"ann") is None
        assert table.highest == 0


def test_what_one_writes_another_reads(records: Records) -> None:
    other = Records(records.plan._replace(fd=os.dup(records.plan.fd)))
    put(records.tables[0], b"ann", 1.5, 2.5, 3.5)
    assert other.tables[0].read(b"ann") == (1.5, 2.5, 3.5)
    assert other.tables[0].highest == 3.5
    assert other.tables[1].read(b"ann") is None
    assert other.tables[1].highest == 0
    other.close()


def test_a_step_knows_what_was_before(records: Records) -> None:
    table = records.tables[0]
    seen: list[Record | None] = []

    def step(before: Record | None) -> Record:
        seen.append(before)
        return float(len(seen)), 0.0, -float(len(seen))

    for _ in range(3):
        table.change(b"ann", step)
    table.change(b"bob", step)
    assert seen == [None, (1, 0, -1), (2, 0, -2), None]
    assert table.read(b"ann") == (3, 0, -3)
    assert table.highest == 0


def test_where_all_rows_are_taken_the_oldest_makes_room() -> None:
    records = Records.create(tables=1, rows=BUCKET)
    (table,) = records.tables
    ages = {b"%d" % number: float((number * 7) % BUCKET) for number in range(BUCKET)}
    for key, age in ages.items():
        put(table, key, age, 0.0, 0.0)
    assert all(table.read(key) for key in ages)
    for number in range(5):
        put(table, b"new %d" % number, 100.0 + number, 0.0, 0.0)
    gone = {key for key in ages if table.read(key) is None}
    assert gone == {key for key, age in ages.items() if age < 5}
    assert all(table.read(b"new %d" % number) for number in range(5))
    records.close()


def test_a_thousand_keys_in_a_bounded_table(records: Records) -> None:
    table = records.tables[0]
    for number in range(1000):
        put(table, b"%d" % number, float(number), 0.0, 0.0)
        assert table.read(b"%d" % number) == (number, 0, 0)
    assert sum(table.read(b"%d" % number) is not None for number in range(1000)) == 4 * BUCKET
    assert len(records.memory) == 2 * records.plan.table_size


def test_keys_are_kept_as_keyed_digests(records: Records) -> None:
    key = b"a password that nobody may read"
    put(records.tables[0], key, 1.0, 1.0, 1.0)
    assert key not in records.memory[:]
    stranger = Records(records.plan._replace(fd=os.dup(records.plan.fd), secret=b"guessed"))
    assert stranger.tables[0].read(key) is None
    stranger.close()


def written(records: Records) -> list[int]:
    """Where there is something."""
    memory = records.memory[:]
    return [place for place in range(len(memory)) if memory[place]]


def test_half_a_row_is_nobody_s(records: Records) -> None:
    """Whatever octet of it has not been written yet; its place is free for the next one."""
    table = records.tables[0]
    put(table, b"ann", 1.25, 2.25, 0.0)
    for place in written(records):
        whole = records.memory[place]
        records.memory[place] = whole ^ 0xFF
        assert table.read(b"ann") is None
        records.memory[place] = whole
    assert table.read(b"ann") == (1.25, 2.25, 0)
    records.memory[written(records)[0]] ^= 0xFF
    put(table, b"ann", 3.0, 0.0, 0.0)
    assert table.read(b"ann") == (3, 0, 0)


def test_half_a_row_hides_nothing() -> None:
    """One who died over the key's row once, and the whole row that somebody wrote elsewhere since."""
    records = Records.create(tables=1, rows=BUCKET)
    (table,) = records.tables
    put(table, b"ann", 1.25, 2.25, 0.0)
    _, first = table._place(b"ann")
    size = records.plan.table_size // BUCKET
    row = records.memory[first : first + size]
    records.memory[first + size : first + 2 * size] = row
    records.memory[first + 20] ^= 0xFF
    assert table.read(b"ann") == (1.25, 2.25, 0)
    put(table, b"ann", 3.0, 0.0, 0.0)
    assert table.read(b"ann") == (3, 0, 0)
    records.memory[first + 1 : first + 1 + size] = row  # a digest, but where no row begins
    records.memory[first + size : first + 2 * size] = bytes(size)
    assert table.read(b"ann") is None
    records.close()


class Death(Exception):
    """What stands for a signal that cannot be caught."""


class LastWords(mmap.mmap):
    """The memory of a process that dies when it is about to write a row."""

    def __setitem__(self, *_: object) -> None:
        raise Death


def test_who_dies_before_the_row_has_told_of_it(records: Records) -> None:
    """So a row that is there is always looked for: in peace, only the number is looked at."""
    table = records.tables[0]
    dying = Records(records.plan._replace(fd=os.dup(records.plan.fd)))
    with LastWords(dying.plan.fd, len(records.memory)) as memory:
        dying.tables[0]._memory = memory
        with pytest.raises(Death):
            put(dying.tables[0], b"ann", 1.5, 2.5, 3.5)
    assert table.highest == 3.5
    assert table.read(b"ann") is None
    put(table, b"ann", 1.5, 2.5, 2.0)
    assert table.highest == 3.5
    dying.close()


WRITER = """
import sys
from hosier.workers.records import RecordPlan, Records
table = Records(RecordPlan(int(sys.argv[1]), 2, 4, bytes.fromhex(sys.argv[2]))).tables[0]
number = 0.0
print("ready", flush=True)
while True:
    number += 1
    table.change(b"ann", lambda _: (number, number, number))
"""


@pytest.mark.linux
def test_a_writer_that_is_killed_leaves_a_whole_record_or_none(records: Records) -> None:
    """And no lock behind it."""
    plan, table = records.plan, records.tables[0]
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(plan.fd), plan.secret.hex()], stdout=subprocess.PIPE, pass_fds=(plan.fd,)
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            for _ in range(2000):
                record = table.read(b"ann")
                assert record is None or len(set(record)) == 1, record
            writer.send_signal(signal.SIGKILL)
        put(table, b"ann", 0.5, 0.5, 0.5)
        assert table.read(b"ann") == (0.5, 0.5, 0.5)
