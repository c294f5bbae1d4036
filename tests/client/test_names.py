"""Fake addresses: one for a name, back to the name, and never somebody else's."""

from __future__ import annotations

import threading
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.client.names import DEFAULT_IPV4_POOL, DEFAULT_IPV6_POOL, FakeAddresses, FakeNames
from hosier.errors import ConfigError, LocalProtocolError


def test_same_name_same_address() -> None:
    """Whatever way it is written, as octets too (NG-REQ-19)."""
    names = FakeNames()
    first = names.addresses_for("example.com")
    assert first == FakeAddresses("198.18.0.1", "100::1")
    for spelling in ("EXAMPLE.com", "example.com.", b"Example.Com"):
        assert names.addresses_for(spelling) == first
    assert names.addresses_for("www.example.com") == FakeAddresses("198.18.0.2", "100::2")
    assert len(names) == 2


def test_back_to_the_name() -> None:
    """In both families, also where IPv4 is written as IPv6, or with a link (NG-REQ-13, 21)."""
    names = FakeNames()
    ipv4, ipv6 = names.addresses_for("example.com")
    for address in (ipv4, ipv6, f"::ffff:{ipv4}", f"{ipv6}%1", "0100:0:0:0::0001"):
        assert names.name_of(address) == "example.com"


def test_international_names() -> None:
    """As the proxy will be told them."""
    names = FakeNames()
    assert names.addresses_for("b\u00fccher.example") == names.addresses_for("xn--bcher-kva.example")
    assert names.name_of("198.18.0.1") == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("address", "fake"),
    [
        ("198.18.0.9", True),
        ("198.19.255.255", True),
        ("100::9", True),
        ("::ffff:198.18.0.9", True),
        ("198.20.0.1", False),
        ("100:0:0:1::", False),
        ("::1", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_whether_fake(address: str, fake: bool) -> None:
    """Of the pools, known or not; and an unknown one stands for no name."""
    names = FakeNames()
    assert names.is_fake(address) is fake
    assert names.name_of(address) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "1 to 255 octets"),
        ("n" * 256, "1 to 255 octets"),
        ("a\0b", "none of them zero"),
        ("192.0.2.1", "is an address"),
        ("::1", "is an address"),
        (b"\xff.example", "cannot be a host's name"),
        (b"a\x7f", "cannot be a host's name"),
        ("a b", "cannot be a host's name"),
        ("\u00fc" * 200, "cannot be encoded"),
    ],
)
def test_no_names(name: str | bytes, words: str) -> None:
    names = FakeNames()
    with pytest.raises(LocalProtocolError, match=words):
        names.addresses_for(name)
    assert len(names) == 0


def test_root() -> None:
    names = FakeNames()
    assert names.name_of(names.addresses_for(".").ipv4) == "."


def test_table_is_bounded() -> None:
    """The one that was asked for longest ago goes; its addresses are nobody's for a while."""
    names = FakeNames(ipv4_pool="192.0.2.0/28", capacity=3)
    given_to = {name: names.addresses_for(name).ipv4 for name in ("one", "two", "three")}
    names.addresses_for("one")
    assert names.name_of(given_to["two"]) == "two"
    names.addresses_for("four")
    assert len(names) == 3
    assert names.name_of(given_to["three"]) is None
    assert names.is_fake(given_to["three"])
    assert (names.name_of(given_to["one"]), names.name_of(given_to["two"])) == ("one", "two")
    assert names.addresses_for("three").ipv4 not in given_to.values()


def test_forgotten_addresses_wait_for_their_turn() -> None:
    """All others of the pool are given out before one is given out again."""
    names = FakeNames(ipv4_pool="192.0.2.0/28", capacity=1)
    assert len({names.addresses_for(f"name{number}").ipv4 for number in range(14)}) == 14
    assert names.addresses_for("again").ipv4 == "192.0.2.1"


def test_first_and_last_are_never_given_out() -> None:
    names = FakeNames(ipv4_pool="192.0.2.0/29", ipv6_pool="2001:db8::/125")
    found = [names.addresses_for(f"name{number}") for number in range(50)]
    assert {address.ipv4 for address in found} == {f"192.0.2.{number}" for number in range(1, 7)}
    assert {address.ipv6 for address in found} == {f"2001:db8::{number}" for number in range(1, 7)}


def test_the_smaller_pool_counts() -> None:
    names = FakeNames(ipv6_pool="2001:db8::/126")
    for number in range(5):
        names.addresses_for(f"name{number}")
    assert len(names) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ipv4_pool": "198.18.0.0/40"}, "is no network"),
        ({"ipv4_pool": "fd00::/8"}, "is no network"),
        ({"ipv4_pool": "198.18.0.1/15"}, "is no network"),
        ({"ipv6_pool": "198.18.0.0/15"}, "is no network"),
        ({"ipv4_pool": "198.18.0.0/31"}, "at least four"),
        ({"ipv6_pool": "::/127"}, "at least four"),
        ({"capacity": 0}, "one name at least"),
    ],
)
def test_settings(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FakeNames(**fields)  # type: ignore[arg-type]


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=60))
def test_table_is_one_to_one(asked: list[str]) -> None:
    """Whatever is asked in whatever order: addresses are of the pools, and lead back to the last name they were for."""
    names = FakeNames(ipv4_pool="192.0.2.0/27", ipv6_pool="2001:db8::/64", capacity=7)
    for name in asked:
        ipv4, ipv6 = names.addresses_for(name)
        assert IPv4Address(ipv4) in IPv4Network("192.0.2.0/27")
        assert IPv6Address(ipv6) in IPv6Network("2001:db8::/64")
        assert names.name_of(ipv4) == names.name_of(ipv6) == name
        assert len(names) <= 7


def test_threads() -> None:
    """They all are told the same."""
    names = FakeNames()
    told: list[list[FakeAddresses]] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait(20)
        told.append([names.addresses_for(f"name{number}") for number in range(300)])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(told) == 4
    assert all(one == told[0] for one in told)
    assert len(set(told[0])) == len(names) == 300


def test_defaults_are_two_networks() -> None:
    names = FakeNames()
    assert (str(names.ipv4_pool), str(names.ipv6_pool)) == (DEFAULT_IPV4_POOL, DEFAULT_IPV6_POOL)
