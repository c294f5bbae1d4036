"""Sets of networks give the answers that ``ipaddress`` gives; the forms that hide an IPv4 address are seen through."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosier.errors import ConfigError
from hosier.policy.networks import Networks, embedded_ipv4, parse_network

steady = settings(derandomize=True, database=None, deadline=None)

Network = IPv4Network | IPv6Network


def networks_of(version: int) -> st.SearchStrategy[Network]:
    width = 32 if version == 4 else 128
    addresses = st.ip_addresses(v=version)  # type: ignore[arg-type]  # it is 4 or 6
    return st.builds(lambda a, size: ip_network((a, size), strict=False), addresses, st.integers(0, width))


networks = networks_of(4) | networks_of(6)
addresses = st.ip_addresses()


@st.composite
def near(draw: st.DrawFn) -> tuple[list[Network], IPv4Address | IPv6Address]:
    """Some networks, and an address that is likely to be in one of them, at its edge, or just beside it."""
    found = draw(st.lists(networks, min_size=1, max_size=6))
    chosen = draw(st.sampled_from(found))
    place = draw(st.sampled_from(("low", "high", "below", "above", "inside")))
    low, high = int(chosen.network_address), int(chosen.broadcast_address)
    value = {"low": low, "high": high, "below": low - 1, "above": high + 1}.get(place)
    if value is None:
        value = draw(st.integers(low, high))
    value %= 1 << chosen.max_prefixlen
    return found, (IPv4Address if chosen.version == 4 else IPv6Address)(value)


def expected(found: list[Network], address: IPv4Address | IPv6Address) -> str | None:
    return next((str(network) for network in found if network.version == address.version and address in network), None)


@steady
@given(near())
@example(([ip_network("0.0.0.0/0")], ip_address("255.255.255.255")))
@example(([ip_network("::/0")], ip_address("ff::")))
@example(([ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")], ip_address("10.1.2.3")))  # the first one counts
@example(([ip_network("10.1.0.0/16"), ip_network("10.0.0.0/8")], ip_address("10.1.2.3")))
@example(([ip_network("12.0.0.0/7")], ip_address("13.255.255.255")))  # more than one first octet
def test_find_is_what_ipaddress_says(case: tuple[list[Network], IPv4Address | IPv6Address]) -> None:
    found, address = case
    assert Networks(found).find(address.packed) == expected(found, address)


@steady
@given(st.lists(networks, max_size=6), addresses)
def test_find_anywhere(found: list[Network], address: IPv4Address | IPv6Address) -> None:
    assert Networks(found).find(address.packed) == expected(found, address)


@steady
@given(st.lists(networks, max_size=6), st.ip_addresses(v=4))
def test_first_octets(found: list[Network], address: IPv4Address) -> None:
    """They tell which IPv4 addresses need no look at all, and never leave one out that does."""
    known = Networks(found)
    if known.find(address.packed):
        assert address.packed[0] in known.first_octets
    firsts = {
        first
        for network in found
        if network.version == 4
        for first in range(network[0].packed[0], network[-1].packed[0] + 1)
    }
    assert known.first_octets == firsts


def test_empty() -> None:
    nothing = Networks()
    assert not nothing
    assert nothing.first_octets == frozenset()
    assert nothing.find(bytes(4)) is None
    assert nothing.find(bytes(16)) is None
    assert Networks([ip_network("10.0.0.0/8")])
    assert Networks([ip_network("fc00::/7")])


def test_families_do_not_mix() -> None:
    """The same first octets mean something else in the other family."""
    known = Networks([ip_network("32.1.0.0/16")])
    assert known.find(IPv6Address("2001::").packed) is None
    assert Networks([ip_network("2001::/16")]).find(IPv4Address("32.1.0.0").packed) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.168.0.0/16", "192.168.0.0/16"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::1", "::1/128"),
        ("[::1]", "::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_parse(text: str, network: str) -> None:
    assert parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    "text",
    ["", "300.0.0.0/8", "10.0.0.0/33", "::/129", "10.0.0", "example.com", "10.0.0.0/8/8", "10.0.0.0-10.0.0.9", "*"],
)
def test_parse_complains_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_network(text)
    assert str(caught.value).startswith(repr(text))
    assert "192.168.0.0/16" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "all_of_it", "alone"),
    [("192.168.3.4/16", "192.168.0.0/16", "192.168.3.4"), ("2001:DB8::1/32", "2001:db8::/32", "2001:db8::1")],
)
def test_more_than_a_prefix(text: str, all_of_it: str, alone: str) -> None:
    """10.1.2.3/8 opens sixteen million addresses: who writes it may mean one."""
    with pytest.raises(ConfigError, match=f"write {all_of_it} for all of it, or {alone} alone"):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("::ffff:198.51.100.0/120", "198.51.100.0/24"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_mapped_networks_would_never_hold(text: str, plain: str) -> None:
    with pytest.raises(ConfigError, match=f"write {plain}"):
        parse_network(text)


@pytest.mark.parametrize(
    ("address", "inner"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),  # mapped, RFC 4291
        ("::ffff:0.0.0.0", "0.0.0.0"),
        ("::10.1.2.3", "10.1.2.3"),  # compatible, RFC 4291
        ("::0.0.0.2", "0.0.0.2"),
        ("::255.255.255.255", "255.255.255.255"),
        ("64:ff9b::127.0.0.1", "127.0.0.1"),  # NAT64, RFC 6052
        ("2002:a01:203::1", "10.1.2.3"),  # 6to4, RFC 3056
        ("2002:a9fe:a9fe:ffff::", "169.254.169.254"),
        ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", "10.1.2.3"),  # Teredo, RFC 4380: inverted
        ("2001:0:ffff:ffff:0:0:80ff:fffe", "127.0.0.1"),
    ],
)
def test_embedded(address: str, inner: str) -> None:
    assert embedded_ipv4(IPv6Address(address).packed) == IPv4Address(inner).packed


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "2001:db8::10.1.2.3",
        "64:ff9b:1::10.1.2.3",  # local NAT64, RFC 8215: where the IPv4 address is, only its operator knows
        "64:ff9b:0:0:0:1:10.1.2.3",
        "::1:0:10.1.2.3",
        "::fffe:10.1.2.3",
        "2001:1::1",
        "2003:a01:203::",
        "fe80::ffff:10.1.2.3",
    ],
)
def test_nothing_embedded(address: str) -> None:
    assert embedded_ipv4(IPv6Address(address).packed) is None


@steady
@given(st.ip_addresses(v=4), st.binary(min_size=10, max_size=10))
def test_embedded_is_what_ipaddress_says(inner: IPv4Address, rest: bytes) -> None:
    mapped = IPv6Address(bytes(10) + b"\xff\xff" + inner.packed)
    assert mapped.ipv4_mapped == inner
    assert embedded_ipv4(mapped.packed) == inner.packed
    six_to_four = IPv6Address(b"\x20\x02" + inner.packed + rest)
    assert six_to_four.sixtofour == inner
    assert embedded_ipv4(six_to_four.packed) == inner.packed
    teredo = IPv6Address(bytes.fromhex("20010000") + rest[:8] + bytes(octet ^ 0xFF for octet in inner.packed))
    assert teredo.teredo is not None
    assert teredo.teredo[1] == inner
    assert embedded_ipv4(teredo.packed) == inner.packed
