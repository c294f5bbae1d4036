"""How types are written in a file: words, samples, TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from hosier.config.forms import FORMS, alternatives, in_words, is_list, is_mapping, is_row, sample, table_of, toml
from hosier.config.secrets import Secret
from hosier.errors import ConfigError
from hosier.server.settings import ListenAddress


@dataclass
class Table:
    key: int = 0


class Range(NamedTuple):
    """Something that settings make of a text."""

    low: int
    high: int


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, (int,)),
        (int | None, (int,)),
        (int | Literal["auto"], (int, Literal["auto"])),
        (ListenAddress | str, (ListenAddress | str,)),
        (ListenAddress | str | None, (ListenAddress | str,)),
        (Range | str, (str,)),
        (Range | str | None, (str,)),
        (Table | None, (Table,)),
        (Sequence[str] | str, (Sequence[str], str)),
    ],
)
def test_alternatives(hint: Any, expected: tuple[Any, ...]) -> None:
    assert alternatives(hint) == expected


def test_kinds() -> None:
    assert table_of(Table) is Table
    assert table_of(Table | None) is Table
    assert table_of(Table | int) is None
    assert is_list(Sequence[int])
    assert is_list(tuple[int, ...])
    assert not is_list(str)
    assert is_mapping(Mapping[str, int])
    assert not is_mapping(Sequence[int])
    assert is_row(tuple[int, str])
    assert not is_row(tuple[int, ...])
    assert not is_row(list[int])


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (bool, "true or false"),
        (int | None, "a whole number"),
        (int | Literal["auto"], 'a whole number or "auto"'),
        (Literal["a", "b", "c"], '"a", "b" or "c"'),
        (Sequence[float], "a list, each item a number"),
        (tuple[int, str], "a list of a whole number and a text"),
        (Mapping[str, Secret], 'a table, each value a text, { file = "PATH" } or { env = "VARIABLE" }'),
        (Table, "a table"),
        (Range | str, "a text"),
    ],
)
def test_words(hint: Any, expected: str) -> None:
    assert in_words(hint) == expected


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Path | None, "file"),
        (Literal["a", "b"], "a"),
        (Sequence[IPv4Network | IPv6Network], ["10.0.0.0/8"]),
        (tuple[int, str], [1, ""]),
        (Table, {}),
        (Mapping[str, int], {}),
    ],
)
def test_sample(hint: Any, expected: Any) -> None:
    assert tomllib.loads(f"key = {sample(hint)}") == {"key": expected}


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.words)
def test_examples_are_what_they_show(form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    value = tomllib.loads(f"key = {form.example}")["key"]
    assert form.read is None or form.read(value, tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (5, 5),
        (10.0, 10.0),
        ('a "b" \\ ü\n', 'a "b" \\ ü\n'),
        (ListenAddress("::1", 5), "[::1]:5"),
        ((ListenAddress("127.0.0.1", 5), 6), ["127.0.0.1:5", 6]),
        ([ip_network("10.0.0.0/8")], ["10.0.0.0/8"]),
        ((), []),
    ],
)
def test_toml(value: Any, expected: Any) -> None:
    assert tomllib.loads(f"key = {toml(value)}") == {"key": expected}


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (Path, "a/b", Path("/etc/hosier/a/b")),
        (Path | str, "/a", Path("/a")),
        (ListenAddress | str, "*:1080", "*:1080"),
        (IPv4Network | IPv6Network, "10.0.0.0/8", ip_network("10.0.0.0/8")),
        (IPv4Address | IPv6Address, "::1", ip_address("::1")),
    ],
)
def test_read(hint: Any, text: str, expected: Any) -> None:
    read = FORMS[hint].read
    assert read is not None
    assert read(text, Path("/etc/hosier")) == expected


@pytest.mark.parametrize(
    ("hint", "text", "message"),
    [
        (Path, "", "this path is empty or holds a NUL"),
        (Path, "a\0", "this path is empty or holds a NUL"),
        (ListenAddress | str, "x:y", "'y' in 'x:y' is not a port"),
        (IPv4Network | IPv6Network, "x", "'x' is not a network"),
        (IPv4Address | IPv6Address, "x", "'x' is not an IP address: write for example 192.0.2.1"),
    ],
)
def test_read_says_what_is_wrong(hint: Any, text: str, message: str) -> None:
    read = FORMS[hint].read
    assert read is not None
    with pytest.raises(ConfigError, match=f"^{message}"):
        read(text, Path("/"))
