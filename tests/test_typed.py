"""The types of settings that Python code gives: what fits, and the line for what does not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import pytest

from hosier.errors import ConfigError
from hosier.typed import check_callable, check_types, with_fields

HERE = ip_network("10.0.0.0/8")


class Place(NamedTuple):
    host: str
    port: int


@dataclass(kw_only=True)
class Inner:
    number: float = 1.5


@dataclass(kw_only=True)
class Everything:
    flag: bool = False
    number: int = 1
    seconds: float = 1.0
    text: str = ""
    path: Path | str | None = None
    day: date | datetime | None = None
    network: IPv4Network | IPv6Network = HERE
    address: IPv4Address | IPv6Address = HERE.network_address
    word: Literal["one", "two"] = "one"
    version: Literal[4, 5] = 4
    maybe: Literal["one", "two"] | None = None
    many: int | Literal["auto"] = 1
    old: Optional[int] = None  # noqa: UP045  # it is written so by many
    texts: Sequence[str] = ()
    places: Sequence[Place | str] = ()
    lists: Mapping[str, Sequence[int]] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    made: tuple[int, ...] = field(init=False, default=())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"flag": True, "number": 5, "seconds": 5, "text": "x"},
        {"path": Path("x"), "day": date(2027, 1, 31), "address": ip_address("::1"), "network": ip_network("::/0")},
        {"path": "x", "day": datetime(2027, 1, 31)},
        {"word": "two", "version": 5, "maybe": "two", "many": "auto", "old": 5},
        {"texts": ["x", "y"], "places": [Place("x", 1), "x:1"], "lists": {"x": [1, 2], "y": ()}},
        {"inner": Inner(number=2)},
    ],
)
def test_what_fits(fields: dict[str, Any]) -> None:
    check_types(Everything(**fields))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"flag": 1}, "flag: expected True or False, found int"),
        ({"number": True}, "number: expected a whole number, found bool"),
        ({"number": 1.0}, "number: expected a whole number, found float"),
        ({"seconds": False}, "seconds: expected a number, found bool"),
        ({"seconds": "5"}, "seconds: expected a number, found str"),
        ({"text": None}, "text: expected a text, found None"),
        ({"text": b"secret"}, "text: expected a text, found bytes"),
        ({"path": 5}, "path: expected a path, a text or None, found int"),
        ({"day": "2027-01-31"}, "day: expected a date, a datetime or None, found str"),
        ({"network": "10.0.0.0/8"}, "network: expected a network of ipaddress.ip_network, found str"),
        ({"address": 5}, "address: expected an address of ipaddress.ip_address, found int"),
        ({"word": "three"}, "word: expected 'one' or 'two', found 'three'"),
        ({"word": [1]}, "word: expected 'one' or 'two', found list"),
        ({"version": 6}, "version: expected 4 or 5, found int"),
        ({"maybe": "three"}, "maybe: expected 'one', 'two' or None, found 'three'"),
        ({"many": "all"}, "many: expected a whole number or 'auto', found 'all'"),
        ({"old": "5"}, "old: expected a whole number or None, found str"),
        ({"texts": "x"}, "texts: expected a list, each item a text, found str; write [...] around it"),
        ({"texts": {"x"}}, "texts: expected a list, each item a text, found set"),
        ({"texts": ["x", 5]}, "texts, item 2: expected a text, found int"),
        ({"places": [("x", 1)]}, f"places, item 1: expected {__name__}.Place or a text, found tuple"),
        ({"places": [Place("x", "1")]}, "places, item 1, port: expected a whole number, found str"),  # type: ignore[arg-type]
        ({"lists": []}, "lists: expected a dict, each value a list, each item a whole number, found list"),
        ({"lists": {5: []}}, "lists, a key: expected a text, found int"),
        (
            {"lists": {"x": [1], "y": 1}},
            "lists, 'y': expected a list, each item a whole number, found int; write [...]",
        ),
        ({"lists": {"x": [1, "2"]}}, "lists, 'x', item 2: expected a whole number, found str"),
        ({"inner": {"number": 1}}, f"inner: expected {__name__}.Inner, found dict"),
    ],
)
def test_the_line(fields: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}") as caught:
        check_types(Everything(**fields))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_can_be_called() -> None:
    check_callable(first=None, second=print, third=Inner)
    with pytest.raises(ConfigError, match=r"^second: expected what can be called, found str$"):
        check_callable(first=None, second="print")


def test_with_fields() -> None:
    assert with_fields(Inner, None, {}) == Inner()
    assert with_fields(Inner, Inner(number=5), {}) == Inner(number=5)
    assert with_fields(Inner, None, {"number": 5}) == Inner(number=5)
    with pytest.raises(ConfigError, match=r"^there is no setting 'numbre'; did you mean 'number'\?$"):
        with_fields(Inner, None, {"numbre": 5})
    with pytest.raises(ConfigError, match=r"^there is no setting 'tea'$"):
        with_fields(Inner, None, {"tea": 5})
    with pytest.raises(ConfigError, match=f"^settings: expected keywords or {__name__}.Inner, found str$"):
        with_fields(Inner, "number=5", {})  # type: ignore[arg-type]
