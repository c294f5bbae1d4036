"""A bounded table that keeps what is in use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hosier.engine.recent import Recent


def test_forgets_what_nobody_asks_for() -> None:
    table: Recent[int, str] = Recent(4)
    for key in range(4):
        table[key] = str(key)
    assert table.get(0) == "0"  # which is among the young again
    table[4] = "4"
    assert {0, 4} <= {key for key in range(5) if key in table.young}
    assert len(table) <= 4


def test_keeps_what_is_in_use() -> None:
    table: Recent[int, str] = Recent(10)
    table[-1] = "in use"
    for key in range(1000):
        table[key] = "once"
        assert table.get(-1) == "in use"
    assert len(table) <= 10


def test_age() -> None:
    """What was not asked for between two calls is gone."""
    table: Recent[str, int] = Recent(10)
    table["used"] = 1
    table["unused"] = 2
    table.age()
    assert table.young == {}
    assert table.get("used") == 1
    table.age()
    assert table.get("used") == 1
    assert table.get("unused") is None


def test_replacing_needs_no_room() -> None:
    table: Recent[str, int] = Recent(2)
    for value in range(5):
        table["key"] = value
    assert (table.get("key"), len(table)) == (4, 1)


@given(st.integers(2, 9), st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80))
def test_never_too_large_and_never_wrong(limit: int, steps: list[tuple[bool, int]]) -> None:
    table: Recent[int, int] = Recent(limit)
    for put, key in steps:
        if put:
            table[key] = key * 2
            assert table.get(key) == key * 2
        else:
            assert table.get(key) in (None, key * 2)
        assert len(table) <= limit


def test_all_that_is_remembered() -> None:
    table: Recent[int, str] = Recent(4)
    for number in range(5):
        table[number] = str(number)
    assert table.items() == [(2, "2"), (3, "3"), (4, "4")]
