"""Options before the file, key by key, and whose fault something is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hosier.config.complaints import Complaint
from hosier.config.lines import KeyPath
from hosier.config.load import ConfigFile
from hosier.config.sources import Sources

LINES: dict[KeyPath, int] = {("a",): 1, ("a", 0): 1, ("t",): 3, ("t", "x"): 4, ("t", "y"): 5}
VALUES = {"a": [1], "t": {"x": 1, "y": 2}}


def sources(**options: Any) -> Sources:
    return Sources(options, ConfigFile(Path("f"), VALUES, VALUES, LINES))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, VALUES),
        ({"a": [2, 3]}, {"a": [2, 3], "t": {"x": 1, "y": 2}}),
        ({"b": 1}, {"a": [1], "t": {"x": 1, "y": 2}, "b": 1}),
        ({"t": {"y": 3, "z": 4}}, {"a": [1], "t": {"x": 1, "y": 3, "z": 4}}),
        ({"t": {"y": {"deep": 1}}}, {"a": [1], "t": {"x": 1, "y": {"deep": 1}}}),
    ],
)
def test_values(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sources(**options).values == expected


def test_without_a_file() -> None:
    plain = Sources({"a": 1})
    assert plain.values == {"a": 1}
    complaint = plain.complaint([("a",)], "is wrong")
    assert complaint == Complaint(None, "is wrong")
    assert plain.told([complaint]) == ["is wrong"]
    assert Sources().values == {}


@pytest.mark.parametrize(
    ("options", "paths", "expected"),
    [
        ({}, [("t", "x")], ("t", "x")),
        ({}, [("b",), ("t", "x"), ("a",)], ("t", "x")),
        ({}, [("b",)], None),
        ({}, [], None),
        ({"t": {"y": 1}}, [("t", "x")], ("t", "x")),
        ({"t": {"x": 1}}, [("t", "x")], None),
        ({"a": [1, 2]}, [("a", 0), ("t", "y")], ("t", "y")),
    ],
)
def test_whose_fault_it_is(options: dict[str, Any], paths: list[KeyPath], expected: KeyPath | None) -> None:
    assert sources(**options).complaint(paths, "is wrong") == Complaint(expected, "is wrong")


def test_told() -> None:
    found = sources().told([Complaint(("t", "y"), "is wrong"), Complaint(("a",), "is wrong"), Complaint(None, "x")])
    assert found == ["x", "f:1: a: is wrong", "f:5: t.y: is wrong"]


def test_values_are_not_in_the_repr() -> None:
    assert "sesame" not in repr(Sources({"users": {"ann": "sesame"}}))
