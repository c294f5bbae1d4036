"""Counting over several workers: never one too many, and none lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hosier.policy.limits import Admission, Caps, LocalTallyBook, Refusal, TallyBook
from hosier.workers.shared import BUCKET, SharedTable
from hosier.workers.tallies import MOST_ROWS, SharedTallyBook, Totals, create_table, read_totals, sessions_under_way

CAPS = Caps(
    sessions=1000, sessions_per_source=1000, sessions_per_user=1000, handshakes=1000, handshakes_per_source=1000
)


@pytest.fixture
def table() -> Iterator[SharedTable]:
    table = create_table(CAPS, 2)
    yield table
    # The views of the tallies keep the mapping alive; their descriptor need not be.
    os.close(table.plan.fd)


@pytest.fixture(params=["local", "shared"])
def tallies(request: pytest.FixtureRequest, table: SharedTable) -> TallyBook:
    return LocalTallyBook() if request.param == "local" else SharedTallyBook(table, 1)


def test_both_kinds_do_the_same(tallies: TallyBook) -> None:
    everybody = tallies.all
    assert [everybody.enter(3, 2) for _ in range(3)] == ["", "", "handshakes"]
    everybody.greeted()
    assert [everybody.enter(3, 2) for _ in range(2)] == ["", "sessions"]
    everybody.leave()
    assert everybody.enter(3, 2) == "handshakes"


def test_both_kinds_forget_who_has_left(tallies: TallyBook) -> None:
    assert isinstance(tallies, SharedTallyBook | LocalTallyBook)
    tally = tallies.of("ann")
    assert tally is not None
    assert [tally.enter(2, 2) for _ in range(3)] == ["", "", "sessions"]
    assert tallies.of("ann") is tally
    for _ in range(2):
        assert len(tallies) == 1
        tally.greeted()
        tally.leave()
    assert len(tallies) == 0


def test_workers_count_together(table: SharedTable) -> None:
    first, second = SharedTallyBook(table, 0), SharedTallyBook(table, 1)
    assert [one.all.enter(3, 3) for one in (first, second, first, second)] == ["", "", "", "sessions"]
    ann, same = first.of("ann"), second.of("ann")
    assert ann is not None
    assert same is not None
    assert (ann.enter(1, 9), same.enter(1, 9)) == ("", "sessions")
    assert len(second) == 0  # who was refused at once is not held
    ann.leave()
    assert table.held() == 0


def test_the_dead_make_room(table: SharedTable) -> None:
    first, second = SharedTallyBook(table, 0), SharedTallyBook(table, 1)
    for _ in range(5):
        assert first.all.enter(10, 10) == second.all.enter(10, 10) == ""
    assert first.all.enter(10, 10) == "sessions"
    assert sessions_under_way(table) == 10
    table.forget(1)
    assert sessions_under_way(table) == 5
    assert [first.all.enter(10, 10) for _ in range(6)] == [""] * 5 + ["sessions"]


def test_a_full_table_refuses_who_is_new(table: SharedTable) -> None:
    small = SharedTable.create(rows=1, fields=2, workers=1)
    tallies = SharedTallyBook(small, 0)
    door = Admission(CAPS, tallies)
    inside = [door.enter(f"192.0.2.{number}") for number in range(BUCKET)]
    assert not any(isinstance(one, Refusal) for one in inside)
    assert door.enter("198.51.100.1") == Refusal("table", 0)
    assert door.enter_as("ann") == Refusal("table", 0)
    assert not isinstance(door.enter("192.0.2.3"), Refusal)
    assert sessions_under_way(small) == BUCKET + 1
    os.close(small.plan.fd)


def test_one_address_after_the_other_fills_nothing(table: SharedTable) -> None:
    door = Admission(CAPS, SharedTallyBook(table, 0))
    for number in range(5000):
        admitted = door.enter(f"2001:db8:{number:x}::1")
        assert not isinstance(admitted, Refusal)
        for tally in admitted:
            tally.greeted()
            tally.leave()
    assert table.held() == sessions_under_way(table) == 0


def rows(caps: Caps) -> int:
    table = create_table(caps, 2)
    count = table.plan.buckets * BUCKET
    table.close()
    return count


def test_a_table_has_the_rows_that_it_needs() -> None:
    assert rows(Caps(sessions=1000)) == 0
    assert rows(Caps(sessions=1000, sessions_per_user=5)) == 2000
    assert rows(Caps(sessions=1000, handshakes_per_source=5)) == 2000
    assert rows(CAPS) == 4000
    assert rows(Caps(sessions=10_000_000, sessions_per_user=5)) == MOST_ROWS


def test_totals(table: SharedTable) -> None:
    SharedTallyBook(table, 1).tell(3, 1 << 60)
    assert read_totals(table, 1) == Totals(3, 1 << 60)
    assert read_totals(table, 0) == Totals()
    assert Totals(1, 2).plus(Totals(10, 20)) == (11, 22)


RACER = """
import os, random, sys
from hosier.workers.shared import SharedTable, TablePlan
from hosier.workers.tallies import SharedTallyBook
plan, worker, take, give, sessions, handshakes, rounds = eval(sys.stdin.readline())
tallies = SharedTallyBook(SharedTable(TablePlan(*plan)), worker)
random.seed(worker)
inside, staying, admitted, refused = [], [], 0, 0
print("here", flush=True)
sys.stdin.readline()
while rounds:
    tally = tallies.all if random.random() < 0.5 else tallies.of("ann")
    if len(inside) < 8 and random.random() < 0.6:
        if tally.enter(sessions, handshakes):
            refused += 1
            continue
        # As many tokens as places: with one too many inside there is none left, and this raises.
        os.read(take[tally is not tallies.all], 1)
        if sessions <= handshakes:
            tally.greeted()
        inside.append(tally)
        admitted += 1
    elif inside:
        tally = inside.pop(random.randrange(len(inside)))
        os.write(give[tally is not tallies.all], b".")
        if sessions > handshakes:  # what they fight for is free, yet they stay for a while
            tally.greeted()
            staying.append(tally)
            tally = staying.pop(0) if len(staying) > 5 else None
        if tally:
            tally.leave()
        rounds -= 1
print(admitted, refused)
"""


@pytest.mark.parametrize("sessions", [10, 1000])
def test_ten_places_never_take_eleven(sessions: int) -> None:
    """Four processes fight for ten places, or for places to greet in; a pipe with ten tokens is the witness."""
    cap, workers, rounds = 10, 4, 20_000
    table = create_table(CAPS, workers)
    pipes = [os.pipe() for _ in range(2)]
    for take, give in pipes:
        os.set_blocking(take, False)
        os.write(give, b"." * cap)
    ends = [end for pipe in pipes for end in pipe]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(table.plan.fd, *ends),
        )
        for _ in range(workers)
    ]
    for number, racer in enumerate(racers):
        assert racer.stdin is not None
        assert racer.stdout is not None
        tokens = [take for take, _ in pipes], [give for _, give in pipes]
        order = (tuple(table.plan), number, *tokens, sessions, cap, rounds)
        racer.stdin.write(f"{order}\n")
        racer.stdin.flush()
        assert racer.stdout.readline() == "here\n"
    results = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        output, _ = racer.communicate(timeout=50)
        assert racer.returncode == 0
        results.append([int(word) for word in output.split()])
    assert all(admitted >= rounds for admitted, _ in results)
    assert sum(refused for _, refused in results) > 0  # the places were fought for
    for worker in range(workers):
        table.forget(worker)
    for end in ends:
        os.close(end)
    table.close()


def test_what_is_left_is_zero(table: SharedTable) -> None:
    """Refusals take back what they wrote down."""
    tallies = SharedTallyBook(table, 0)
    for _ in range(10):
        tallies.all.enter(3, 3)
    assert sessions_under_way(table) == 3
    for _ in range(3):
        tallies.all.greeted()
        tallies.all.leave()
    assert not any(table.cells)
