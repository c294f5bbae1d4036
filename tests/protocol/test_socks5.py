"""Messages of SOCKS5 (catalogue 3.3 to 3.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from hosier.protocol.address import UNSPECIFIED, Address, AddressType, parse_address
from hosier.protocol.messages import Command, MethodSelected, MethodsOffered, Reply, Request
from hosier.protocol.socks5 import (
    decode_method_selected,
    decode_methods_offered,
    decode_reply,
    decode_request,
    encode_method_selected,
    encode_methods_offered,
    encode_reply,
    encode_request,
)

from .codecs import check_broken, check_whole
from .strategies import addresses, offers, selections, socks5_requests, socks5_successes

CONNECT = Request(5, Command.CONNECT, parse_address("127.0.0.1", 80))


@pytest.mark.parametrize("methods", [b"\x00", b"\x00\x02", b"\x00\x00\x02", bytes(range(255))])
def test_offer(methods: bytes) -> None:
    """S5-REQ-10, S5-REQ-18."""
    wire = bytes((5, len(methods))) + methods
    check_whole(decode_methods_offered, wire, MethodsOffered(methods))
    assert encode_methods_offered(MethodsOffered(methods)) == wire


def test_odd_offers() -> None:
    """A-01: none at all decodes, as does a listed FF; neither is ever sent."""
    check_whole(decode_methods_offered, b"\x05\x00", MethodsOffered(b""))
    check_whole(decode_methods_offered, b"\x05\x01\xff", MethodsOffered(b"\xff"))
    check_broken(decode_methods_offered, b"\x06\x01\x00", "version 6", at=1)
    for methods in (b"", b"\x00\xff", bytes(256)):
        with pytest.raises(LocalProtocolError):
            encode_methods_offered(MethodsOffered(methods))


@pytest.mark.parametrize("method", range(256))
def test_selected(method: int) -> None:
    """S5-REQ-12."""
    check_whole(decode_method_selected, bytes((5, method)), MethodSelected(method))
    assert encode_method_selected(MethodSelected(method)) == bytes((5, method))


def test_odd_selections() -> None:
    check_broken(decode_method_selected, b"\x04\x00", "version 4", at=1)
    for method in (-1, 256):
        with pytest.raises(LocalProtocolError):
            encode_method_selected(MethodSelected(method))


@pytest.mark.parametrize("command", list(Command))
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.com", "n" * 255])
def test_request(command: Command, host: str) -> None:
    """S5-REQ-02, S5-REQ-04, S5-REQ-28, S5-REQ-29; the sizes of 3.4: 10, 22, 7 + n."""
    request = Request(5, command, parse_address(host, 443))
    wire = encode_request(request)
    assert len(wire) == {AddressType.IPV4: 10, AddressType.IPV6: 22}.get(
        AddressType(request.address.kind), 7 + len(host)
    )
    assert wire[2] == 0  # S5-REQ-05
    check_whole(decode_request, wire, request)


@pytest.mark.parametrize(
    ("wire", "about", "at", "hint"),
    [
        ("040100017f0000010050", "version 4", 1, ReplyCode.GENERAL_FAILURE),
        ("050100027f0000010050", "address type", 4, ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED),
        ("050900017f0000010050", "command 0x09", 10, ReplyCode.COMMAND_NOT_SUPPORTED),
        ("050000017f0000010050", "command 0x00", 10, ReplyCode.COMMAND_NOT_SUPPORTED),
        ("05010003000050", "name", 7, ReplyCode.GENERAL_FAILURE),
        ("0509000301000050", "name", 8, ReplyCode.GENERAL_FAILURE),
    ],
)
def test_broken_request(wire: str, about: str, at: int, hint: ReplyCode) -> None:
    """S5-REQ-34…37: when to speak up, and with which reply."""
    assert check_broken(decode_request, bytes.fromhex(wire), about, at=at).reply_hint == hint


def test_reserved_octet() -> None:
    """A-04: ignored, unless strict."""
    wire = bytes.fromhex("050177017f0000010050")
    check_whole(decode_request, wire, CONNECT)
    error = check_broken(lambda data: decode_request(data, strict=True), wire, "0x77 in the reserved octet")
    assert error.reply_hint == ReplyCode.GENERAL_FAILURE
    check_whole(lambda data: decode_request(data, strict=True), encode_request(CONNECT), CONNECT)


def test_other_commands() -> None:
    """EX-02: who implements one may let it pass."""
    wire = encode_request(Request(5, 0xF0, CONNECT.address))
    found = decode_request(wire, commands=frozenset((0xF0,)))
    assert found == (Request(5, 0xF0, CONNECT.address), 10)
    for command in (-1, 256):
        with pytest.raises(LocalProtocolError):
            encode_request(Request(5, command, CONNECT.address))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "proxy", "a"])
def test_success(host: str) -> None:
    """S5-REQ-45, A-43: delimited by its type; a name's reply may be 8 octets long."""
    reply = Reply(0, parse_address(host, 40000))
    wire = encode_reply(reply)
    check_whole(decode_reply, wire, reply)


def test_broken_success() -> None:
    """S5-REQ-46."""
    check_broken(decode_reply, bytes.fromhex("05000017000000000000"), "address type", at=4)
    check_broken(decode_reply, bytes.fromhex("05000003000000"), "name")
    check_broken(decode_reply, bytes.fromhex("0000"), "version 0", at=1)
    wire = bytes.fromhex("05000101c00002010050")
    check_whole(decode_reply, wire, Reply(0, CONNECT.address._replace(octets=bytes((192, 0, 2, 1)))))
    check_broken(lambda data: decode_reply(data, strict=True), wire, "reserved")
    check_whole(
        lambda data: decode_reply(data, strict=True), encode_reply(Reply(0, CONNECT.address)), Reply(0, CONNECT.address)
    )


@pytest.mark.parametrize("code", range(1, 256))
def test_failure_of_any_length(code: int) -> None:
    """S5-REQ-44, S5-REQ-46: some servers send no more than code and reserved octet, Tor an ATYP of 0; both are the
    code they carry, and nothing behind it matters."""
    assert decode_reply(b"\x05") is None
    for rest in (b"", b"\x00", b"\x01\x17", bytes(2) + b"\x01", bytes(8)):
        for strict in (False, True):
            assert decode_reply(bytes((5, code)) + rest, strict=strict) == (Reply(code), 2 + len(rest))


def test_reply_without_wire_form() -> None:
    for reply in (Reply(-1), Reply(256), Reply(0, Address(AddressType.NAME, b"", 0))):
        with pytest.raises(LocalProtocolError):
            encode_reply(reply)
    assert encode_reply(Reply(1)) == bytes.fromhex("05010001000000000000")  # S5-REQ-47
    assert encode_reply(Reply(0xF4)) == bytes.fromhex("05f40001000000000000")
    assert Reply(1).bound == UNSPECIFIED


@given(offers, selections, socks5_requests, socks5_successes, st.binary(max_size=30))
def test_round_trip(
    offer: MethodsOffered, selected: MethodSelected, request: Request, reply: Reply, tail: bytes
) -> None:
    wire = encode_methods_offered(offer)
    assert decode_methods_offered(wire + tail) == (offer, len(wire))
    wire = encode_method_selected(selected)
    assert decode_method_selected(wire + tail) == (selected, len(wire))
    wire = encode_request(request)
    assert decode_request(wire + tail) == (request, len(wire))
    wire = encode_reply(reply)
    assert decode_reply(wire + tail) == (reply, len(wire))


@given(st.integers(-10, 300), addresses)
def test_any_code(code: int, bound: Address) -> None:
    try:
        found = decode_reply(encode_reply(Reply(code, bound)))
    except LocalProtocolError:
        assert not 0 <= code <= 255
        return
    assert found is not None
    assert found[0].code == code


@given(st.binary(max_size=300), st.booleans())
def test_any_octets(data: bytes, strict: bool) -> None:
    """Only the documented error, from any octets; the first octet is mostly right, or little would be tried."""
    for octets in (data, b"\x05" + data, b"\x05\x01\x00" + data, b"\x05\x00\x00\x03" + data):
        for decode in (
            decode_methods_offered,
            decode_method_selected,
            lambda data: decode_request(data, strict=strict),
            lambda data: decode_reply(data, strict=strict),
        ):
            try:
                found = decode(octets)
            except RemoteProtocolError:
                continue
            assert found is None or 2 <= found[1] <= len(octets)
