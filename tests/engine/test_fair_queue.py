"""Sources take turns, and none has all of the hands or all of the room."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable

import pytest

from hosier.engine.fair_queue import FairQueue


def queue(*, total: int = 100, share: int = 50, hands: int = 50) -> FairQueue[str]:
    return FairQueue(total=total, share=share, hands=hands)


def filled(found: FairQueue[str], *entries: tuple[Hashable, str]) -> FairQueue[str]:
    for source, item in entries:
        assert found.enter(source, item)
    return found


def taken(found: FairQueue[str]) -> list[str]:
    """Everything that may be taken now."""
    items = []
    while (turn := found.take()) is not None:
        items.append(turn[1])
    return items


def test_each_source_in_its_order() -> None:
    assert taken(filled(queue(), (None, "c"), (None, "a"), (None, "b"))) == ["c", "a", "b"]


def test_sources_take_turns() -> None:
    many = [("one", f"a{n}") for n in range(4)]
    assert taken(filled(queue(), *many, ("two", "b0"), ("three", "c0"), ("two", "b1"))) == [
        *("a0", "b0", "c0"),
        *("a1", "b1", "a2", "a3"),
    ]


def test_who_comes_later_waits_for_one_turn_of_each() -> None:
    found = filled(queue(), *(("one", f"a{n}") for n in range(40)))
    assert found.take() == ("one", "a0")
    assert found.enter("two", "b0")
    assert found.take() == ("one", "a1")
    assert found.take() == ("two", "b0")


def test_no_source_has_all_hands() -> None:
    found = filled(queue(hands=2), *(("one", f"a{n}") for n in range(4)))
    assert taken(found) == ["a0", "a1"]
    assert found.enter("two", "b0")
    assert found.take() == ("two", "b0")
    assert found.take() is None
    found.done("one")
    assert found.take() == ("one", "a2")
    assert found.take() is None
    assert found.size == 1


def test_no_source_has_all_room() -> None:
    found = filled(queue(total=5, share=3), *(("one", f"a{n}") for n in range(3)))
    assert not found.enter("one", "a3")
    assert found.enter("one", "a2"), "it waits already"
    assert found.enter("two", "b0")
    assert found.enter("two", "b1")
    assert not found.enter("two", "b2"), "there is no room for anybody"
    assert not found.enter("three", "c0")
    assert found.size == 5
    assert found.take() == ("one", "a0")
    assert found.enter("three", "c0")


def test_what_is_withdrawn_is_not_taken_and_leaves_room() -> None:
    found = filled(queue(total=2, share=2), ("one", "a"), ("one", "b"))
    found.withdraw("one", "a")
    found.withdraw("one", "a")
    found.withdraw("two", "b")
    assert found.enter("two", "c")
    assert taken(found) == ["b", "c"]


def test_one_item_for_two_sources() -> None:
    found = filled(queue(), ("one", "a"), ("two", "a"))
    assert found.size == 2
    assert found.take() == ("one", "a")
    found.withdraw("two", "a")
    assert found.take() is None
    assert found.size == 0


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_no_bound_is_broken(seed: int) -> None:
    """Thousands of steps in any order; in the end everything that was let in was taken or withdrawn."""
    dice = random.Random(seed)
    found = queue(total=12, share=5, hands=3)
    waiting: dict[int, list[str]] = {source: [] for source in range(5)}
    under_way: Counter[int] = Counter()
    for step in range(2000):
        source = dice.randrange(5)
        match dice.randrange(5):
            case 0 | 1:
                let_in = found.enter(source, str(step))
                assert let_in == (sum(map(len, waiting.values())) < 12 and len(waiting[source]) < 5)
                if let_in:
                    waiting[source].append(str(step))
            case 2 if waiting[source]:
                found.withdraw(source, waiting[source].pop(dice.randrange(len(waiting[source]))))
            case 3 if under_way[source]:
                under_way[source] -= 1
                found.done(source)
            case _:
                turn = found.take()
                if turn is None:
                    assert all(not waiting[source] or under_way[source] == 3 for source in waiting)
                    continue
                whose, item = turn
                assert isinstance(whose, int)
                assert waiting[whose].pop(0) == item
                under_way[whose] += 1
                assert under_way[whose] <= 3
        assert found.size == sum(map(len, waiting.values()))
