"""Messages of SOCKS4 and 4a (catalogue 1 and 2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from hosier.protocol.address import UNSPECIFIED, Address, AddressType, parse_address
from hosier.protocol.messages import Command, Reply, Request
from hosier.protocol.socks4 import decode_reply, decode_request, encode_reply, encode_request

from .codecs import check_broken, check_whole
from .strategies import socks4_replies, socks4_requests

FRED = Request(4, Command.CONNECT, parse_address("66.102.7.99", 80), b"Fred")
NAMED = Request(4, Command.BIND, Address(AddressType.NAME, b"a.b", 443), b"me")


@pytest.mark.parametrize(
    ("wire", "request_"),
    [
        ("04010050426607634672656400", FRED),
        ("040201bb000000016d6500612e6200", NAMED),
        ("040100500000000000", Request(4, 1, parse_address("0.0.0.0", 80))),
        ("040100500000010000", Request(4, 1, parse_address("0.0.1.0", 80))),
    ],
)
def test_request(wire: str, request_: Request) -> None:
    """S4-REQ-03…09, S4A-REQ-03…06: 0.0.0.0 and 0.0.1.0 announce no name."""
    check_whole(decode_request, bytes.fromhex(wire), request_)
    assert encode_request(request_) == bytes.fromhex(wire)


@pytest.mark.parametrize("marker", range(1, 256))
def test_any_marker(marker: int) -> None:
    """S4A-REQ-07."""
    check_whole(decode_request, bytes.fromhex(f"040201bb000000{marker:02x}6d6500612e6200"), NAMED)


@pytest.mark.parametrize(
    ("wire", "about", "at"),
    [
        ("05010050c000020100", "version 5", 1),
        ("04030050c000020100", "command 3", 9),
        ("04f00050c00002014100", "command 240", 10),
        ("04010050000000010000", "empty", 10),
        ("04010050c0000201" + "41" * 256 + "00", "USERID is longer", 264),
        ("040100500000000100" + "41" * 256 + "00", "host name is longer", 265),
    ],
)
def test_broken_request(wire: str, about: str, at: int) -> None:
    """A-30, S4-REQ-10, S4-REQ-23, S4A-REQ-13, S4A-REQ-21: a peer cannot make us hold more than the limits."""
    error = check_broken(decode_request, bytes.fromhex(wire), about, at=at)
    assert error.reply_hint == ReplyCode.SOCKS4_REJECTED


def test_longest_request() -> None:
    request = Request(4, 1, Address(AddressType.NAME, b"n" * 255, 1), b"u" * 255)
    check_whole(decode_request, encode_request(request), request)


@pytest.mark.parametrize(
    "request_",
    [
        Request(4, Command.UDP_ASSOCIATE, UNSPECIFIED),
        Request(4, Command.CONNECT, UNSPECIFIED, b"a\x00b"),
        Request(4, Command.CONNECT, UNSPECIFIED, b"u" * 256),
        Request(4, Command.CONNECT, parse_address("::1", 80)),
        Request(4, Command.CONNECT, Address(AddressType.NAME, b"", 80)),
        Request(4, Command.CONNECT, Address(AddressType.NAME, b"n" * 256, 80)),
        Request(4, Command.CONNECT, Address(AddressType.NAME, b"a\x00", 80)),
        Request(4, Command.CONNECT, Address(AddressType.IPV4, b"\x7f", 80)),
        Request(4, Command.CONNECT, Address(AddressType.IPV4, b"\x7f\x00\x00\x01", 65536)),
    ],
)
def test_request_without_wire_form(request_: Request) -> None:
    """A-30, S4-REQ-04, S4-REQ-06, S4-REQ-08, S4A-REQ-12."""
    with pytest.raises(LocalProtocolError):
        encode_request(request_)


def test_reply() -> None:
    """S4-REQ-14, S4-REQ-15, S4-REQ-19: eight octets, VN 0."""
    bound = parse_address("203.0.113.5", 40000)
    for code, octet in ((0, 0x5A), (0x5B, 0x5B), (0x5C, 0x5C), (0x5D, 0x5D)):
        wire = bytes((0, octet)) + bytes.fromhex("9c40cb007105")
        assert encode_reply(Reply(code, bound)) == wire
        check_whole(decode_reply, wire, Reply(code, bound))


@pytest.mark.parametrize("octet", sorted(set(range(256)) - {0x5A}))
def test_only_90_grants(octet: int) -> None:
    """S4-REQ-21: 0 too is a failure here, whatever it says in SOCKS5."""
    found = decode_reply(bytes((0, octet)) + bytes(6))
    assert found is not None
    assert not found[0].succeeded
    assert found[0].code == (octet or ReplyCode.SOCKS4_REJECTED)


def test_reply_with_version_4() -> None:
    """S4-REQ-20, A-28."""
    wire = bytes.fromhex("045a202501020304")
    check_broken(decode_reply, wire, "version 4", at=1)
    check_whole(lambda data: decode_reply(data, lenient=True), wire, Reply(0, parse_address("1.2.3.4", 0x2025)))
    check_broken(lambda data: decode_reply(data, lenient=True), b"\x05" + wire[1:], "version 5", at=1)


def test_codes_of_socks5() -> None:
    """The SOCKS4 side of the table in 3.5: every failure is 91."""
    for code in (*range(1, 9), 0x5A, 0xFF, 300, -1):
        assert encode_reply(Reply(code)) == bytes.fromhex("005b000000000000")


def test_address_that_is_not_ipv4() -> None:
    """S4-REQ-17, S4A-REQ-17: zeros, never an echo of 0.0.0.x."""
    for bound in (parse_address("::1", 9), parse_address("a.b", 9)):
        assert encode_reply(Reply(0, bound)) == bytes.fromhex("005a000000000000")
    with pytest.raises(LocalProtocolError):
        encode_reply(Reply(0, Address(AddressType.IPV4, b"", 9)))


@given(socks4_requests, st.binary(max_size=30))
def test_request_round_trip(request: Request, tail: bytes) -> None:
    wire = encode_request(request)
    assert decode_request(wire + tail) == (request, len(wire))


@given(socks4_replies, st.binary(max_size=30))
def test_reply_round_trip(reply: Reply, tail: bytes) -> None:
    assert decode_reply(encode_reply(reply) + tail) == (reply, 8)


@given(st.binary(max_size=600) | st.binary(max_size=600).map(lambda data: b"\x04\x01" + data), st.booleans())
def test_any_octets(data: bytes, lenient: bool) -> None:
    """Whatever decodes can be said again, in the same words or better ones."""
    try:
        found = decode_request(data)
        if found is not None:
            assert decode_request(encode_request(found[0])) == (found[0], len(encode_request(found[0])))
    except RemoteProtocolError:
        pass
    try:
        answer = decode_reply(data, lenient=lenient)
        assert answer is None or answer[1] == 8
    except RemoteProtocolError:
        pass
