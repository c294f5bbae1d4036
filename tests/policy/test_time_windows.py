"""Times of the week, and when they begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import ConfigError
from hosier.policy.time_windows import DAYS, WEEK, TimeWindow, moment, next_change, parse_moment, parse_times

steady = settings(derandomize=True, database=None, deadline=None)


def at(day: str, time: str) -> int:
    hour, minute = time.split(":")
    return (DAYS.index(day) * 24 + int(hour)) * 60 + int(minute)


def holds(text: str, day: str, time: str) -> bool:
    return any(window.holds(at(day, time)) for window in parse_times(text))


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (
            "mon-fri 08:00-18:00",
            [("mon", "08:00"), ("fri", "17:59")],
            [("mon", "07:59"), ("fri", "18:00"), ("sat", "12:00")],
        ),
        ("sat,sun", [("sat", "00:00"), ("sun", "23:59")], [("fri", "23:59"), ("mon", "00:00")]),
        ("Sat , Sun".replace(" ", ""), [("sat", "12:00")], [("mon", "12:00")]),
        ("fri-mon", [("fri", "12:00"), ("sun", "12:00"), ("mon", "12:00")], [("tue", "12:00"), ("thu", "12:00")]),
        ("22:00-06:00", [("wed", "22:00"), ("wed", "05:59"), ("mon", "03:00")], [("wed", "06:00"), ("wed", "21:59")]),
        ("sun 22:00-06:00", [("sun", "23:00"), ("mon", "05:59")], [("mon", "06:00"), ("sun", "05:00")]),
        ("wed 00:00-24:00", [("wed", "00:00"), ("wed", "23:59")], [("thu", "00:00")]),
        ("mon", [("mon", "00:00")], [("tue", "00:00")]),
    ],
)
def test_inside_and_outside(text: str, inside: list[tuple[str, str]], outside: list[tuple[str, str]]) -> None:
    assert [moment for moment in (*inside, *outside) if holds(text, *moment)] == inside


@pytest.mark.parametrize("text", ["", "8-18", "mon 8:00-18:00", "08:00", "mon-fri 08:00-18:00 x", "mon08:00-09:00"])
def test_no_times(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time of the week: write mon-fri 08:00-18:00"):
        parse_times(text)


@pytest.mark.parametrize("text", ["mo", "mon-", "mon-fry", "mon,,tue", "-fri"])
def test_no_days(text: str) -> None:
    with pytest.raises(ConfigError, match="is no day: mon, tue"):
        parse_times(text)


@pytest.mark.parametrize("text", ["25:00-26:00", "08:60-09:00", "08:00-24:01"])
def test_no_time_of_the_day(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time of the day: 00:00 to 24:00 are"):
        parse_times(text)


@pytest.mark.parametrize("text", ["08:00-08:00", "24:00-06:00"])
def test_no_length(text: str) -> None:
    with pytest.raises(ConfigError, match="starts and ends at the same time"):
        parse_times(text)


def test_next_change() -> None:
    windows = parse_times("mon-fri 08:00-18:00")
    assert next_change(windows, at("mon", "07:59")) == 1
    assert next_change(windows, at("mon", "08:00")) == 600
    assert next_change(windows, at("fri", "18:00")) == (24 + 24 + 14) * 60
    assert next_change((), 0) is None


@steady
@given(st.integers(0, WEEK - 1), st.integers(1, WEEK), st.integers(0, WEEK - 1))
def test_nothing_changes_before_the_next_change(start: int, length: int, minute: int) -> None:
    window = TimeWindow(start, start + length)
    until = next_change([window], minute)
    assert until is not None
    states = {window.holds((minute + passed) % WEEK) for passed in range(until)}
    assert len(states) == 1


def test_moments() -> None:
    for minute in (0, 61, WEEK - 1):
        assert parse_moment(moment(minute)) == minute
    assert moment(24 * 60 + 61) == "tue 01:01"
    assert parse_moment("sun 24:00") == 0
    for text in ("mon", "08:00", "mon 8:00", "xyz 08:00"):
        with pytest.raises(ConfigError, match="is no time of the week: write for example mon 08:00"):
            parse_moment(text)
