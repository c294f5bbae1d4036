"""The header of datagrams (catalogue 3.9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.address import Address, AddressType, parse_address
from hosier.protocol.messages import Datagram
from hosier.protocol.udp import (
    HEADER_SIZES,
    MAX_HEADER,
    decode_datagram,
    encode_datagram,
    encode_header,
    header_size,
)

from .strategies import datagrams


@pytest.mark.parametrize(
    ("host", "size"), [("192.0.2.53", 10), ("2001:db8::53", 22), ("dns.example", 18), ("n" * 255, 262)]
)
def test_header(host: str, size: int) -> None:
    """S5-REQ-80, S5-REQ-81: 22 for IPv6, whatever the RFC adds up to; 262 at most."""
    address = parse_address(host, 53)
    datagram = Datagram(0, address, b"ABC")
    packet = encode_datagram(datagram)
    assert len(packet) == size + 3
    assert size == header_size(address.kind, len(address.octets)) <= MAX_HEADER
    for buffer in (packet, bytearray(packet), memoryview(packet)):
        assert decode_datagram(buffer) == datagram
    for short in range(size):
        with pytest.raises(RemoteProtocolError, match="shorter than its header"):
            decode_datagram(packet[:short])
    assert decode_datagram(packet[:size]).data == b""


@pytest.mark.parametrize("packet", ["00000005c0000235003541", "0000000300003541", "0000000301000035"])
def test_must_be_dropped(packet: str) -> None:
    """S5-REQ-87."""
    with pytest.raises(RemoteProtocolError):
        decode_datagram(bytes.fromhex(packet))


@pytest.mark.parametrize("reserved", ["0001", "0100", "ffff"])
def test_reserved_octets(reserved: str) -> None:
    """A-04."""
    packet = bytes.fromhex(reserved + "0001c0000235003541")
    assert decode_datagram(packet).data == b"A"
    with pytest.raises(RemoteProtocolError, match="reserved"):
        decode_datagram(packet, strict=True)
    assert decode_datagram(bytes(2) + packet[2:], strict=True).data == b"A"


@pytest.mark.parametrize("fragment", [0, 1, 0x7F, 0x80, 0x81, 0xFF])
def test_fragment_is_data(fragment: int) -> None:
    """S5-REQ-88: judged by the relay, not here."""
    packet = encode_datagram(Datagram(fragment, parse_address("192.0.2.53", 53), b""))
    assert decode_datagram(packet).fragment == fragment


@pytest.mark.parametrize(
    "datagram",
    [
        Datagram(-1, parse_address("a", 1), b""),
        Datagram(256, parse_address("a", 1), b""),
        Datagram(0, Address(AddressType.NAME, b"", 1), b""),
    ],
)
def test_no_wire_form(datagram: Datagram) -> None:
    with pytest.raises(LocalProtocolError):
        encode_datagram(datagram)


@given(datagrams)
def test_round_trip(datagram: Datagram) -> None:
    packet = encode_datagram(datagram)
    assert decode_datagram(packet, strict=True) == datagram
    assert len(packet) - len(datagram.data) == header_size(datagram.address.kind, len(datagram.address.octets))


@given(st.binary(max_size=300), st.booleans())
def test_any_octets(packet: bytes, strict: bool) -> None:
    for octets in (packet, b"\x00\x00\x00" + packet, b"\x00\x00\x00\x03" + packet):
        try:
            datagram = decode_datagram(octets, strict=strict)
        except RemoteProtocolError:
            continue
        assert encode_datagram(datagram)[2:] == octets[2:]


@given(datagrams)
def test_header_of_a_datagram_that_stands_alone(datagram: Datagram) -> None:
    """And the table that relays look its size up in; a name's is its length's business."""
    header = encode_header(datagram.address)
    assert header + datagram.data == encode_datagram(datagram._replace(fragment=0))
    assert (HEADER_SIZES[header[3]] or 7 + header[4]) == len(header)


def test_sizes_of_no_header() -> None:
    assert [kind for kind, size in enumerate(HEADER_SIZES) if size] == [AddressType.IPV4, AddressType.IPV6]
    assert len(HEADER_SIZES) == 256
