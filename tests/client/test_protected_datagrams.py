"""Datagrams under a layer, without I/O."""

from __future__ import annotations

import pytest

from hosier.client.datagrams import Envelope
from hosier.client.protected_datagrams import ProtectedEnvelope
from hosier.errors import ConfigError
from hosier.protocol.address import parse_address
from hosier.testing import ToyLayer

from .protection import frame, toy_stream

PLACE = ("192.0.2.1", 53)


def envelope(fragment_size: int | None = None) -> tuple[ProtectedEnvelope, bytes]:
    made = Envelope(fragment_size=fragment_size).under(toy_stream())
    assert isinstance(made, ProtectedEnvelope)
    made.fit(65_507)
    return made, made.learn(PLACE, parse_address(*PLACE))


def test_without_a_layer() -> None:
    bare = Envelope()
    assert bare.under(None) is bare


def test_there_and_back() -> None:
    """GS-REQ-40: one frame around header and payload."""
    sealed, header = envelope()
    [packet] = sealed.pack(header, b"data")
    assert packet == frame(header + b"data")
    assert sealed.unpack(packet) == (b"data", PLACE)
    assert sealed.bare_up_to < 0


@pytest.mark.parametrize(
    "packet", [b"", b"\x00\x00\x00\x01", frame(b"x")[:-1], frame(b"x") + b"x", frame(b"no header")]
)
def test_what_is_dropped(packet: bytes) -> None:
    """GS-REQ-41."""
    assert envelope()[0].unpack(packet) is None


def test_sizes() -> None:
    """GS-REQ-42."""
    sealed, header = envelope()
    assert sealed.max_payload("192.0.2.1") == ToyLayer.max_datagram - 10
    [packet] = sealed.pack(header, bytes(sealed.max_payload("192.0.2.1")))
    assert len(packet) == 65_507
    with pytest.raises(OSError, match="too long"):
        sealed.pack(header, bytes(sealed.max_payload("192.0.2.1") + 1))


def test_fragments() -> None:
    """Each is a datagram of its own."""
    sealed, header = envelope(300)
    pieces = sealed.pack(header, bytes(1000))
    assert len(pieces) == 4
    assert [sealed.unpack(piece) for piece in pieces] == [None, None, None, (bytes(1000), PLACE)]
    with pytest.raises(ConfigError):
        Envelope(fragment_size=1)
