"""The range of ports that may be listened on."""

from __future__ import annotations

import re
import secrets

import pytest

from hosier.engine.ports import PortRange, parse_ports
from hosier.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("40000-40999", PortRange(40_000, 40_999)), ("7", PortRange(7, 7)), ("1-65535", PortRange(1, 65_535))],
)
def test_parse_ports(text: str, expected: PortRange) -> None:
    assert parse_ports(text) == expected
    assert parse_ports(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "-", "5-", "-5", "1-2-3", "a-b", "٣-٤", "1 - 2", "+1", "0-5", "9-8", "1-65536", "9" * 5000]
)
def test_parse_ports_says_what_is_expected(text: str) -> None:
    with pytest.raises(
        ConfigError, match=re.escape("is not a range of ports: write for example 40000-40999")
    ) as caught:
        parse_ports(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("low", "high"), [(0, 5), (5, 4), (1, 65_536), (-1, 5)])
def test_what_is_no_range(low: int, high: int) -> None:
    with pytest.raises(ConfigError, match="is not a range of ports"):
        PortRange(low, high)


def test_what_it_holds() -> None:
    ports = PortRange(10, 12)
    assert [port for port in range(20) if port in ports] == [10, 11, 12]


@pytest.mark.parametrize(("start", "expected"), [(0, [10, 11, 12]), (1, [11, 12, 10]), (2, [12, 10, 11])])
def test_each_port_once_from_a_random_start(start: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def randbelow(bound: int) -> int:
        assert bound == 3
        return start

    monkeypatch.setattr(secrets, "randbelow", randbelow)
    assert list(PortRange(10, 12).from_random_start()) == expected


def test_every_port_may_be_the_first() -> None:
    assert {next(PortRange(10, 12).from_random_start()) for _ in range(300)} == {10, 11, 12}
