"""Addresses: their octets, their text, their disguises (catalogue 3.4)."""

from itertools import product
from socket import AF_INET6, inet_aton, inet_pton
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from hosier.protocol.address import (
    IPV4,
    UNSPECIFIED,
    Address,
    AddressType,
    address_of_socket,
    decode_address,
    encode_address,
    parse_address,
)

from .codecs import check_broken, check_whole
from .strategies import addresses

V6 = inet_pton(AF_INET6, "2001:db8::1")

# address, octets on the wire
WIRE = [
    (Address(AddressType.IPV4, bytes((192, 0, 2, 1)), 80), "01c00002010050"),
    (Address(AddressType.IPV6, V6, 443), "0420010db800000000000000000000000101bb"),
    (Address(AddressType.NAME, b"a.b", 65535), "0303612e62ffff"),
    (Address(AddressType.NAME, b"x" * 255, 0), "03ff" + "78" * 255 + "0000"),
    (UNSPECIFIED, "01000000000000"),
]


@pytest.mark.parametrize(("address", "wire"), WIRE)
def test_both_ways(address: Address, wire: str) -> None:
    """S5-REQ-29: three forms, delimited by their type."""
    octets = bytes.fromhex(wire)
    assert encode_address(address) == octets
    check_whole(lambda data: decode_address(data, 0), octets, address)


@pytest.mark.parametrize(("address", "wire"), WIRE)
def test_offset_and_view(address: Address, wire: str) -> None:
    octets = b"\x00\x00\x00" + bytes.fromhex(wire) + b"tail"
    assert decode_address(memoryview(octets), 3) == (address, len(octets) - 4)
    assert decode_address(octets[:2], 3) is None


def test_unknown_type() -> None:
    """S5-REQ-35: at the type octet already, nothing behind it can be delimited."""
    for kind in set(range(256)) - {1, 3, 4}:
        error = check_broken(lambda data: decode_address(data, 0), bytes((kind, 0)), "unknown", at=1)
        assert error.reply_hint == ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED


@pytest.mark.parametrize("wire", ["03000050", "03036100620050"])
def test_bad_name(wire: str) -> None:
    """A-21, S5-REQ-31, S5-REQ-36: when the whole address has arrived."""
    error = check_broken(lambda data: decode_address(data, 0), bytes.fromhex(wire), "empty or contains a zero")
    assert error.reply_hint == ReplyCode.GENERAL_FAILURE


@pytest.mark.parametrize(
    "address",
    [
        Address(AddressType.NAME, b"", 80),
        Address(AddressType.NAME, b"x" * 256, 80),
        Address(AddressType.NAME, b"a\x00b", 80),
        Address(AddressType.IPV4, b"\x7f\x00\x00", 80),
        Address(AddressType.IPV4, V6, 80),
        Address(AddressType.IPV6, b"\x7f\x00\x00\x01", 80),
        Address(2, b"\x7f\x00\x00\x01", 80),
        Address(0x101, b"\x7f\x00\x00\x01", 80),
        Address(AddressType.IPV4, b"\x7f\x00\x00\x01", -1),
        Address(AddressType.IPV4, b"\x7f\x00\x00\x01", 0x10000),
        Address(AddressType.NAME, b"a", 0x10000),
    ],
)
def test_no_wire_form(address: Address) -> None:
    """S5-REQ-30: refused, never cut."""
    with pytest.raises(LocalProtocolError):
        encode_address(address)


@pytest.mark.parametrize(
    ("host", "kind", "text"),
    [
        ("192.0.2.1", AddressType.IPV4, "192.0.2.1:80"),
        ("2001:DB8:0::1", AddressType.IPV6, "[2001:db8::1]:80"),
        ("[::1]", AddressType.IPV6, "[::1]:80"),
        ("example.com", AddressType.NAME, "example.com:80"),
        (b"example.com.", AddressType.NAME, "example.com.:80"),
        ("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", AddressType.NAME, "xn--bcher-kva.example:80"),
        ("host1", AddressType.NAME, "host1:80"),
        ("192.0.2.1.", AddressType.NAME, "192.0.2.1.:80"),
        ("fe80::1%eth0", AddressType.NAME, "fe80::1%eth0:80"),
    ],
)
def test_parse(host: str | bytes, kind: AddressType, text: str) -> None:
    """S4A-REQ-15: names are octets; internationalised ones become A-labels."""
    address = parse_address(host, 80)
    assert (address.kind, str(address), address.is_name) == (kind, text, kind == AddressType.NAME)
    assert address.sockaddr == (address.host, 80)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 80),
        (b"", 80),
        ("x" * 256, 80),
        ("a\x00b", 80),
        ("\udc80", 80),
        ("\xe4" * 70, 80),
        ("a", -1),
        ("a", 65536),
        ("a", "80"),
        ("a", 80.0),
        ("a", None),
        (None, 80),
        (7, 80),
    ],
)
def test_parse_refuses(host: Any, port: Any) -> None:
    """S4A-REQ-12, S5-REQ-30."""
    with pytest.raises(LocalProtocolError):
        parse_address(host, port)


@pytest.mark.parametrize(
    ("sockaddr", "expected"),
    [
        (("192.0.2.1", 80), Address(AddressType.IPV4, bytes((192, 0, 2, 1)), 80)),
        (("2001:db8::1", 80, 0, 0), Address(AddressType.IPV6, V6, 80)),
        (("fe80::1%eth0", 80, 0, 2), Address(AddressType.IPV6, inet_pton(AF_INET6, "fe80::1"), 80)),
    ],
)
def test_of_a_socket(sockaddr: tuple[object, ...], expected: Address) -> None:
    """What the kernel tells; the link of a scoped address has no field (A-20)."""
    assert address_of_socket(sockaddr) == expected


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"ex ample", "ex\\x20ample"), (b"a\x07b", "a\\x07b"), (b"\xc3\xa9.b", "\\xc3\\xa9.b"), (b"plain", "plain")],
)
def test_name_as_text(octets: bytes, text: str) -> None:
    """Nothing a peer sends can forge a line of a log; no encoding is guessed (S4A-REQ-15)."""
    assert Address(AddressType.NAME, octets, 1).host == text


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        (Address(AddressType.NAME, b"192.0.2.1", 80), "192.0.2.1:80"),
        (Address(AddressType.NAME, b"::1", 80), "[::1]:80"),
        (Address(AddressType.NAME, b"[::1]", 80), "[::1]:80"),
        (Address(AddressType.NAME, b"::ffff:192.0.2.1", 80), "192.0.2.1:80"),
        (Address(AddressType.IPV6, bytes(10) + b"\xff\xff\xc0\x00\x02\x01", 80), "192.0.2.1:80"),
        (Address(AddressType.IPV6, V6, 80), "[2001:db8::1]:80"),
        (Address(AddressType.NAME, b"example.com", 80), "example.com:80"),
        (Address(AddressType.NAME, b"\xc3\xa9:1", 80), "\\xc3\\xa9:1:80"),
        (UNSPECIFIED, "0.0.0.0:0"),
    ],
)
def test_canonical(address: Address, plain: str) -> None:
    """S5-REQ-32, S5-REQ-40, S4A-REQ-14, A-19, A-22: no disguise gets round a rule for addresses."""
    canonical = address.canonical()
    assert str(canonical) == plain
    assert canonical.canonical() == canonical


LOOPBACK = "127.0.0.1:80"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        *((name, LOOPBACK) for name in ("127.1", "127.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1.")),
        *(
            (name, LOOPBACK)
            for name in ("127.1.", "0X7F.1", "0x7F.0x0.0x00.0x1", "017700000001", "127.0.0.0x1", "[127.1]")
        ),
        *((name, LOOPBACK) for name in ("127.0.0.1 x", "127.1\n", " 127.0.0.1", "127.0.0.1\t.example.com", "00177.1")),
        ("127.0.0.08", "127.0.0.8:80"),
        ("0", "0.0.0.0:80"),
        ("0x", "0.0.0.0:80"),
        ("10.0x102", "10.0.1.2:80"),
        ("10.1.65535", "10.1.255.255:80"),
        ("4294967295", "255.255.255.255:80"),
        ("::1%lo", "[::1]:80"),
        ("[fe80::1%25eth0]", "[fe80::1]:80"),
        ("::ffff:127.0.0.1%1", LOOPBACK),
        ("::1 x", "[::1]:80"),
    ],
)
def test_canonical_of_what_resolvers_take_for_an_address(name: str, plain: str) -> None:
    """S5-REQ-32, B-27: who looks it up would reach that address, so it is judged as that."""
    canonical = Address(AddressType.NAME, name.encode(), 80).canonical()
    assert str(canonical) == plain
    assert not canonical.is_name


@pytest.mark.parametrize(
    "name",
    [
        *("1e100.net", "3com.com", "127.0.0.1.example", "4294967296", "1.2.3.256", "256.1", "1.65536.1"),
        *("1.2.3.4.5", "127..1", "127.0.0.1..", "1.16777216", "0xg", "0x7f.g", "1_0", "+1", "-1", " ", "[]", "."),
        *("a:b", "::1::", "%", "127.0.0.1%lo", "xn--1.1x"),
    ],
)
def test_canonical_leaves_names_alone(name: str) -> None:
    address = Address(AddressType.NAME, name.encode(), 80)
    assert address.canonical() is address


def test_canonical_refuses_no_more_than_the_system_understands() -> None:
    """Whatever inet_aton() makes of a text, we make the same of it."""
    numbers = ("0", "1", "7", "010", "0177", "0x7f", "0XFF", "255", "256", "65535", "65536", "16777216", "0x", "1x", "")
    for size in (1, 2, 3, 4):
        for parts in product(numbers, repeat=size):
            text = ".".join(parts)
            try:
                octets = inet_aton(text)
            except OSError:
                continue
            assert Address(AddressType.NAME, text.encode(), 80).canonical() == Address(IPV4, octets, 80), text


@given(addresses, st.binary(max_size=300))
def test_round_trip(address: Address, tail: bytes) -> None:
    octets = encode_address(address)
    assert decode_address(octets + tail, 0) == (address, len(octets))
    assert address.canonical().canonical() == address.canonical()
    assert str(address).isprintable()


@given(st.binary(max_size=300), st.integers(0, 4))
def test_any_octets(data: bytes, offset: int) -> None:
    try:
        found = decode_address(data, offset)
    except RemoteProtocolError:
        return
    assert found is None or encode_address(found[0]) == data[offset : found[1]]


@given(st.text(max_size=300) | st.binary(max_size=300), st.integers(-2, 65_537))
def test_any_text(host: str | bytes, port: int) -> None:
    try:
        address = parse_address(host, port)
    except LocalProtocolError:
        return
    assert decode_address(encode_address(address), 0) is not None
