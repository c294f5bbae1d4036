"""Reassembly of datagrams (catalogue 3.9, RFC 1928 §7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.protocol.address import parse_address
from hosier.protocol.fragments import LARGEST, REASSEMBLY_SECONDS, Reassembly

HERE = parse_address("192.0.2.53", 53)
THERE = parse_address("192.0.2.53", 54)


def add_all(queue: Reassembly, *fragments: int) -> list[bytes | None]:
    """Each fragment carries its own number as its octet."""
    return [queue.add(fragment, HERE, bytes((fragment,)), 0.0) for fragment in fragments]


def is_empty(queue: Reassembly) -> bool:
    return queue.held == 0 and queue.deadline is None


@pytest.mark.parametrize("count", [1, 2, 3, 127])
def test_in_order(count: int) -> None:
    """S5-REQ-88, S5-REQ-94, S5-REQ-95: 1 to 127, the last one with the high bit."""
    queue = Reassembly()
    numbers = [*range(1, count), 0x80 | count]
    *before, whole = add_all(queue, *numbers)
    assert before == [None] * (count - 1)
    assert whole == bytes(numbers)
    assert is_empty(queue)
    assert queue.abandoned == 0


def test_one_after_the_other() -> None:
    """S5-REQ-90: one queue, for one sequence at a time."""
    queue = Reassembly()
    assert add_all(queue, 1, 0x82, 1, 2, 0x83)[1::3] == [b"\x01\x82", b"\x01\x02\x83"]


@pytest.mark.parametrize(
    ("fragments", "abandoned", "held"),
    [
        ((1, 3), 2, 0),  # a gap can never be filled: what is missing would come too late
        ((1, 0x83), 2, 0),  # a gap at the end
        ((2,), 1, 0),  # the first is missing
        ((0x82,), 1, 0),
        ((0x80,), 1, 0),  # an end without a position (S5-REQ-94)
        ((1, 2, 0x80), 3, 0),
        ((1, 2, 1), 2, 1),  # a lower position resets; 1 begins anew (S5-REQ-91, S5-REQ-96)
        ((1, 2, 3, 2), 4, 0),
        ((1, 1), 1, 1),  # a duplicate is ignored (S5-REQ-95)
        ((1, 2, 2, 0x82), 2, 2),
    ],
)
def test_abandoned(fragments: tuple[int, ...], abandoned: int, held: int) -> None:
    queue = Reassembly()
    assert set(add_all(queue, *fragments)) == {None}
    assert (queue.abandoned, queue.held) == (abandoned, held)


def test_after_a_reset_the_next_sequence_passes() -> None:
    """S5-REQ-91, S5-REQ-96."""
    queue = Reassembly()
    assert add_all(queue, 1, 2, 1, 0x82)[-1] == b"\x01\x82"
    assert queue.abandoned == 2


def test_time_limit() -> None:
    """S5-REQ-92: from the first fragment on, five seconds at least."""
    queue = Reassembly()
    assert REASSEMBLY_SECONDS >= 5
    queue.add(1, HERE, b"a", 100.0)
    queue.add(2, HERE, b"b", 104.0)
    assert queue.deadline == 100.0 + REASSEMBLY_SECONDS
    assert queue.add(0x83, HERE, b"c", queue.deadline) is None
    assert (queue.abandoned, is_empty(queue)) == (3, True)


def test_just_in_time() -> None:
    queue = Reassembly()
    queue.add(1, HERE, b"a", 100.0)
    assert queue.add(0x82, HERE, b"b", 100.0 + REASSEMBLY_SECONDS - 0.001) == b"ab"


def test_all_name_one_target() -> None:
    """S5-REQ-97."""
    queue = Reassembly()
    queue.add(1, HERE, b"a", 0.0)
    assert queue.add(0x82, THERE, b"b", 0.0) is None
    assert (queue.abandoned, is_empty(queue)) == (2, True)
    queue.add(1, HERE, b"a", 0.0)
    queue.add(1, THERE, b"b", 0.0)  # begins a sequence of its own
    assert queue.add(0x82, THERE, b"c", 0.0) == b"bc"
    assert queue.abandoned == 3


def test_as_large_as_a_datagram() -> None:
    """S5-REQ-97: the sum is capped."""
    queue = Reassembly()
    half = bytes(LARGEST // 2)
    queue.add(1, HERE, half, 0.0)
    whole = queue.add(0x82, HERE, half + b"x", 0.0)
    assert whole is not None
    assert len(whole) == LARGEST
    queue.add(1, HERE, half, 0.0)
    assert queue.add(0x82, HERE, half + b"xy", 0.0) is None
    assert is_empty(queue)


def test_reset() -> None:
    queue = Reassembly()
    add_all(queue, 1, 2)
    queue.reset()
    assert (queue.abandoned, is_empty(queue)) == (2, True)
    queue.reset()
    assert queue.abandoned == 2


@given(st.lists(st.tuples(st.integers(1, 255), st.sampled_from((HERE, THERE)), st.floats(0, 20)), max_size=60))
def test_any_order(arrivals: list[tuple[int, object, float]]) -> None:
    """Whatever comes: nothing whole is made of parts that do not belong together, and the books balance."""
    queue = Reassembly()
    now = delivered = 0.0
    for fragment, target, step in arrivals:
        now += step
        whole = queue.add(fragment, target, bytes((fragment & 0x7F,)), now)  # type: ignore[arg-type]
        if whole is not None:
            assert whole == bytes(range(1, len(whole) + 1))
            delivered += len(whole)
        assert 0 <= queue.held <= 127
        assert (queue.deadline is None) == (queue.held == 0)
    assert delivered + queue.abandoned + queue.held == len(arrivals)
