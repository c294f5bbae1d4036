"""Token buckets: what they let through over time, and what several of them give together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hosier.policy.bucket import BURST, LEAST_BURST, LEAST_PORTION, MOST_AT_ONCE, Bucket, Pace, portion_of

NOW = 1000.0


def test_a_new_one_is_full_and_holds_no_more() -> None:
    bucket = Bucket(10_000_000)
    assert bucket.size == 10_000_000 * BURST
    assert bucket.level(NOW) == bucket.level(NOW + 1e6) == bucket.size


def test_a_slow_one_still_holds_the_largest_datagram() -> None:
    assert Bucket(1.0).size == LEAST_BURST >= 65_507


def test_what_is_taken_comes_back_with_time() -> None:
    bucket = Bucket(1000.0, 5000.0)
    assert bucket.spend(5000, NOW) == 0
    assert bucket.level(NOW) == pytest.approx(0)
    assert bucket.level(NOW + 2) == pytest.approx(2000)
    assert bucket.spend(3000, NOW + 2) == pytest.approx(1.0)
    assert bucket.level(NOW + 2) == pytest.approx(-1000)
    assert bucket.level(NOW + 100) == 5000


def test_what_is_given_back_was_never_taken() -> None:
    bucket = Bucket(1000.0, 5000.0)
    bucket.spend(4000, NOW)
    bucket.give_back(1500)
    assert bucket.level(NOW) == pytest.approx(2500)


def test_more_than_was_taken_makes_it_no_larger() -> None:
    bucket = Bucket(1000.0, 5000.0)
    bucket.give_back(1000)
    assert bucket.level(NOW) == 5000


def test_all_or_nothing() -> None:
    bucket = Bucket(2.0, 3.0)
    assert [bucket.take(1, NOW) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(1, NOW + 0.5) for _ in range(2)] == [True, False]


def test_two_that_share_a_cell_are_one() -> None:
    held: list[str] = []

    class Lock:
        def __enter__(self) -> None:
            held.append("in")

        def __exit__(self, *_: object) -> None:
            held.append("out")

    cells = [7, 0, 7]
    one, other = (Bucket(1000.0, 5000.0, cells=cells, place=1, lock=Lock()) for _ in range(2))
    one.spend(4000, NOW)
    assert other.level(NOW) == pytest.approx(1000)
    other.give_back(500)
    assert one.level(NOW) == pytest.approx(1500)
    assert (cells[0], cells[2]) == (7, 7)
    assert held == ["in", "out"] * 2


@pytest.mark.parametrize(
    ("rate", "size", "portion"),
    [(1e6, 1e5, 5000), (1e8, 1e7, 500_000), (1000, 65536, LEAST_PORTION), (1000, 2000, 1000), (1e9, 1000, 500)],
)
def test_what_is_worth_a_wait(rate: float, size: float, portion: float) -> None:
    assert portion_of(rate, size) == Bucket(rate, size).portion == portion


# --- several together ---


@pytest.mark.parametrize("rate", [1e6, 1e7, 1e8])
@pytest.mark.parametrize("flows", [1, 7])
@pytest.mark.parametrize("late", [0.0, 0.003])
def test_over_time_the_slowest_decides(rate: float, flows: int, late: float) -> None:
    """However late each wakes up: after the first burst, what goes through is the rate, to one part in a hundred."""
    pace = Pace([Bucket(3 * rate), Bucket(rate), Bucket(2 * rate)])
    due: list[tuple[float, int]] = [(0.0, 0)] * flows
    moved = 0
    while (earliest := min(due))[0] < 5:
        due.remove(earliest)
        now, granted = earliest
        if now >= 1:
            moved += granted
        octets, wait = pace.take(NOW + now)
        due.append((now + wait + (late if wait else 0.00005), octets))
    assert moved == pytest.approx(4 * rate, rel=0.01 + 2 * BURST / 4)


def test_never_more_at_once_than_each_holds() -> None:
    small, large = Bucket(1e6), Bucket(1e9)
    octets, wait = Pace([large, small]).take(NOW)
    assert (octets, wait) == (100_000, 0)
    assert Pace([large]).take(NOW)[0] == MOST_AT_ONCE


def test_what_is_not_there_is_waited_for_in_portions_one_after_the_other() -> None:
    pace = Pace([Bucket(1e6)])
    pace.spend(100_000, NOW)
    waits = [pace.take(NOW) for _ in range(3)]
    assert [octets for octets, _ in waits] == [5000] * 3
    assert [wait for _, wait in waits] == [pytest.approx(number * 0.005) for number in (1, 2, 3)]


def test_at_least_one_octet() -> None:
    assert Pace([Bucket(1000.0, 0.1)]).take(NOW)[0] == 1


def test_giving_back_and_what_fits() -> None:
    one, other = Bucket(1e6), Bucket(2e6)
    pace = Pace([one, other])
    pace.spend(30_000, NOW)
    assert pace.fits(NOW) == pytest.approx(70_000)
    assert other.level(NOW) == pytest.approx(170_000)
    pace.give_back(30_000)
    assert pace.fits(NOW) == pytest.approx(100_000)


def test_an_empty_store_that_will_not_be_filled_says_so() -> None:
    class Empty:
        portion = 0.0

        def level(self, _: float) -> float:
            return 0.0

        def spend(self, *_: float) -> float:
            raise PermissionError("empty")

        give_back: Callable[[float], None] = lambda *_: None

    with pytest.raises(PermissionError):
        Pace([Empty()]).take(NOW)
