"""The headers of datagrams: added, taken off, remembered, and fragments of them."""

from __future__ import annotations

import errno

import pytest

import hosier
from hosier.client.envelope import Envelope
from hosier.protocol.address import parse_address
from hosier.protocol.messages import Datagram
from hosier.protocol.udp import encode_datagram

ONE = ("192.0.2.1", 53)
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.com"])
def test_round_trip(host: str) -> None:
    envelope = Envelope()
    header = envelope.learn((host, 53), parse_address(host, 53))
    assert envelope.headers == {(host, 53): header}
    (packet,) = envelope.pack(header, b"data")
    assert packet == encode_datagram(Datagram(0, parse_address(host, 53), b"data"))
    for _ in range(2):  # the second one is remembered
        assert envelope.unpack(packet) == (b"data", (host, 53))


@pytest.mark.parametrize(
    "packet", [b"", b"\x00", HEADER[:9], b"\x00\x00\x00\x05" + bytes(9), HEADER[:3] + b"\x03\x00\x00\x35"]
)
def test_broken_packets_are_dropped(packet: bytes) -> None:
    assert Envelope().unpack(packet) is None


def test_memory_is_bounded() -> None:
    envelope = Envelope()
    for port in range(3000):
        header = envelope.learn(("192.0.2.1", port), parse_address("192.0.2.1", port))
        assert envelope.unpack(header + b"x") == (b"x", ("192.0.2.1", port))
    assert len(envelope.headers) <= 1024


def test_sizes() -> None:
    """S5-REQ-81."""
    envelope = Envelope()
    assert envelope.max_payload() == 65_507 - 262
    assert envelope.max_payload("192.0.2.1") == 65_507 - 10
    assert envelope.max_payload("::1") == 65_507 - 22
    assert envelope.max_payload("example.com") == 65_507 - 7 - 11
    assert len(envelope.pack(HEADER, bytes(65_497))) == 1
    with pytest.raises(OSError, match="too long") as caught:
        envelope.pack(HEADER, bytes(65_498))
    assert caught.value.errno == errno.EMSGSIZE


def test_fragments() -> None:
    """S5-REQ-88…97: only if asked, and put together again."""
    envelope = Envelope(fragment_size=1000)
    data = bytes(range(256)) * 20
    pieces = envelope.pack(HEADER, data)
    assert [piece[2] for piece in pieces] == [1, 2, 3, 4, 5, 0x86]
    assert max(map(len, pieces)) == 1000
    results = [Envelope().unpack(piece) for piece in pieces]
    assert results == [None] * 6
    other = Envelope()
    assert [other.unpack(piece) for piece in pieces] == [None] * 5 + [(data, ONE)]
    other.unpack(pieces[0])
    assert other.unpack(b"\x00\x00\x00\x03\x01x\x00\x35data") == (b"data", ("x", 53))  # stands alone, and resets
    assert [other.unpack(piece) for piece in pieces[1:]] == [None] * 5


def test_limits_of_fragments() -> None:
    with pytest.raises(hosier.ConfigError, match="262"):
        Envelope(fragment_size=262)
    with pytest.raises(OSError, match="too long"):
        Envelope(fragment_size=300).pack(HEADER, bytes(290 * 127 + 1))
    assert len(Envelope(fragment_size=300).pack(HEADER, bytes(290 * 127))) == 127
