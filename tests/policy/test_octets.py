"""Numbers of octets in words."""

from __future__ import annotations

import pytest

from hosier.errors import ConfigError
from hosier.policy.octets import Octets, parse_octets


@pytest.mark.parametrize(
    ("given", "octets"),
    [
        (1, 1),
        ("1", 1),
        ("10MB", 10_000_000),
        ("10 MB", 10_000_000),
        ("10mb", 10_000_000),
        ("1.5GiB", 3 << 29),
        ("500k", 500_000),
        ("2T", 2 * 10**12),
        ("64KiB", 65536),
        (" 7B ", 7),
        (Octets(9), 9),
    ],
)
def test_forms(given: int | str, octets: int) -> None:
    found = parse_octets(given)
    assert found == octets
    assert isinstance(found, Octets)


@pytest.mark.parametrize("given", ["", "MB", "10 mega", "-1", "1e9", "ten", "1.5.5M", "10MBps", "∞", -5])
def test_no_numbers(given: int | str) -> None:
    with pytest.raises(ConfigError, match="is no number of octets: write for example 500k"):
        parse_octets(given)


@pytest.mark.parametrize("given", [0, "0.5", "0MB", "2000000T"])
def test_out_of_range(given: int | str) -> None:
    with pytest.raises(ConfigError, match="is out of range"):
        parse_octets(given)
