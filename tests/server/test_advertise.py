"""What the outside is told in the place of our own addresses (A-11)."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from hosier.errors import ConfigError
from hosier.protocol.address import Address, parse_address
from hosier.server.advertise import Advertised, AdvertisedAddresses, parse_advertise


def told(entries: list[str], local: str) -> str:
    found = AdvertisedAddresses(map(parse_advertise, entries)).of(parse_address(local, 4321))
    assert isinstance(found, Address)
    assert found.port == 4321
    return found.host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", Advertised(ip_address("192.0.2.1"))),
        ("2001:DB8::1", Advertised(ip_address("2001:db8::1"))),
        ("[2001:db8::1]", Advertised(ip_address("2001:db8::1"))),
        ("10.0.0.5=192.0.2.1", Advertised(ip_address("192.0.2.1"), ip_address("10.0.0.5"))),
        ("[fd00::1]=[2001:db8::1]", Advertised(ip_address("2001:db8::1"), ip_address("fd00::1"))),
    ],
)
def test_parse_advertise(text: str, expected: Advertised) -> None:
    assert parse_advertise(text) == expected
    assert parse_advertise(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "192.0.2.1:80", "=192.0.2.1", "10.0.0.5=", "a=192.0.2.1", "fe80::1%eth0", "::ffff:192.0.2.1"],
)
def test_parse_advertise_says_what_is_expected(text: str) -> None:
    message = f"cannot advertise {text!r}: write an IP address that others reach, or LOCAL=ADDR for one of several"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_advertise(text)


def test_nothing_is_advertised() -> None:
    assert told([], "10.0.0.5") == "10.0.0.5"


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("10.0.0.5", "192.0.2.5"),
        ("10.0.0.6", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.1"),
        ("fd00::5", "2001:db8::5"),
        ("fd00::6", "fd00::6"),
    ],
)
def test_one_for_each_family_and_for_single_addresses(local: str, expected: str) -> None:
    assert told(["192.0.2.1", "10.0.0.5=192.0.2.5", "fd00::5=2001:db8::5"], local) == expected


def test_families_do_not_mix() -> None:
    assert told(["192.0.2.1"], "fd00::1") == "fd00::1"
    assert told(["2001:db8::1"], "10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["0.0.0.0"], "cannot advertise 0.0.0.0: nobody can connect to 0.0.0.0"),
        (["::"], "cannot advertise ::: nobody can connect to ::"),
        (["224.0.0.1"], "cannot advertise 224.0.0.1: nobody can connect to 224.0.0.1"),
        (["10.0.0.1=ff02::1"], "cannot advertise 10.0.0.1=ff02::1: nobody can connect to ff02::1"),
        (["255.255.255.255"], "cannot advertise 255.255.255.255: nobody can connect to 255.255.255.255"),
        (["10.0.0.1=2001:db8::1"], "cannot advertise 10.0.0.1=2001:db8::1: one is IPv4 and the other IPv6"),
        (["192.0.2.1", "192.0.2.2"], "two addresses are advertised for IPv4: leave one of them out"),
        (["2001:db8::1", "2001:db8::1"], "two addresses are advertised for IPv6: leave one of them out"),
        (
            ["10.0.0.1=192.0.2.1", "10.0.0.1=192.0.2.2"],
            "two addresses are advertised for 10.0.0.1: leave one of them out",
        ),
    ],
)
def test_mistakes_have_their_message(entries: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        AdvertisedAddresses(map(parse_advertise, entries))
