"""Who is to blame is found by leaving keys out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hosier.config.contradictions import contradictions, reason_against, suspects
from hosier.errors import ConfigError

Values = Mapping[str, Any]


def small(values: Values) -> None:
    """Every number must be small."""
    for name, value in values.items():
        if not isinstance(value, Mapping) and value > 10:
            raise ConfigError(f"{name} is {value}")
        if isinstance(value, Mapping):
            small(value)


def apart(values: Values) -> None:
    """a and b do not go together, in a table of things or out of it."""
    if {"a", "b"} <= {*values, *values.get("things", ())}:
        raise ConfigError("a and b contradict each other")


def always(_: Values) -> None:
    raise ConfigError("no")


def test_reason_against() -> None:
    assert reason_against(small, {"a": 1}) is None
    assert reason_against(small, {"a": 11}) == "a is 11"


def test_other_errors_are_ours() -> None:
    with pytest.raises(TypeError):
        reason_against(small, {"a": "text"})


@pytest.mark.parametrize(
    ("make", "values", "expected"),
    [
        (small, {"a": 1, "b": 11, "c": 2}, [("b",)]),
        (small, {"a": {"x": 1, "y": 11}}, [("a", "y")]),
        (apart, {"a": 1, "b": 1, "c": 1}, [("a",), ("b",)]),
        (apart, {"a": 1, "things": {"b": 1, "c": 1}}, [("a",), ("things", "b")]),
        (always, {"a": 1, "b": 1}, []),
        (always, {}, []),
    ],
)
def test_suspects(make: Any, values: Values, expected: list[tuple[str, ...]]) -> None:
    assert list(suspects(make, values, reason_against(make, values) or "")) == expected


def test_a_large_table_is_blamed_as_a_whole() -> None:
    """Each suspect costs a trial; a trial costs the whole table."""
    values = {"things": {f"x{n}": 11 for n in range(1000)}}
    assert list(suspects(small, values, "x0 is 11")) == [("things",)]


def test_contradictions() -> None:
    found = list(contradictions(small, {"a": 11, "b": 1, "c": 12, "d": {"x": 13}}))
    assert found == [([("a",)], "a is 11"), ([("c",)], "c is 12"), ([("d", "x")], "x is 13")]


def test_contradictions_without_a_culprit() -> None:
    assert list(contradictions(always, {"a": 1})) == [([], "no")]
    assert list(contradictions(small, {"a": 1})) == []
