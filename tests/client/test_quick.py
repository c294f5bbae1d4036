"""The quick lane says and takes what the full handshake does, whatever comes and however it is cut."""

from __future__ import annotations

import pytest

from hosier.client.quick import QuickHandshake
from hosier.errors import SocksError
from hosier.protocol.address import parse_address
from hosier.protocol.client_connection import ClientHandshake
from hosier.protocol.messages import Reply, Request
from hosier.testing import every_cut

from .harness import SUCCESS

REQUEST = Request(5, 1, parse_address("example.com", 80))

STREAMS = [
    b"\x05\x00" + SUCCESS,
    b"\x05\x00" + bytes.fromhex("05000004") + bytes(16) + b"\x00\x50",
    b"\x05\x00" + b"\x05\x00\x00\x03\x01x\x00\x50",
    b"\x05\x00" + b"\x05\x00\x77\x01" + SUCCESS[4:],
    b"\x05\x00" + b"\x05\x05\x00",
    b"\x05\x00" + b"\x05\x00\x00\x09" + bytes(6),
    b"\x05\x00\x04",
    b"\x05\xff",
    b"\x05\x02",
    b"\x04\x00",
    b"\x05\x00" + SUCCESS[:5],
    b"\x05",
    b"",
]

Told = tuple[bytes, object]


def told(handshake: QuickHandshake | ClientHandshake, pieces: tuple[bytes, ...]) -> Told:
    """What it sent and how it ended; an end of the stream behind all pieces counts too."""
    out = handshake.start()
    try:
        for piece in (*pieces, b""):
            assert handshake.owed >= 1
            out += handshake.feed(piece)
            if handshake.done:
                return out, handshake.reply
    except SocksError as error:
        return out, (type(error), str(error), handshake.step)
    raise AssertionError("neither done nor failed")


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream[:14].hex() or "nothing")
def test_same_as_the_full_one(stream: bytes) -> None:
    for pieces in every_cut(stream) if stream else [()]:
        quick = told(QuickHandshake(REQUEST, b"early"), pieces)
        full = told(ClientHandshake(REQUEST, early=b"early"), pieces)
        assert quick == full


@pytest.mark.parametrize("stream", STREAMS[:4], ids=lambda stream: stream[:14].hex())
def test_owed_never_reaches_the_payload(stream: bytes) -> None:
    handshake, rest = QuickHandshake(REQUEST), stream + b"payload"
    handshake.start()
    while not handshake.done:
        size = handshake.owed
        handshake.feed(rest[:size])
        rest = rest[size:]
    assert rest == b"payload"


@pytest.mark.parametrize("stream", STREAMS[:4], ids=lambda stream: stream[:14].hex())
def test_what_comes_behind_is_handed_over(stream: bytes) -> None:
    """For who reads more than is owed."""
    for pieces in ((stream[:2], stream[2:] + b"payload"), (stream[:2], stream[2:5], stream[5:] + b"payload")):
        handshake = QuickHandshake(REQUEST)
        handshake.start()
        for piece in pieces:
            handshake.feed(piece)
        assert handshake.done
        assert handshake.detach() == (b"payload", b"", None)


def test_reply_is_there_when_done() -> None:
    handshake = QuickHandshake(REQUEST)
    assert (handshake.start(), handshake.reply, handshake.step) == (b"\x05\x01\x00", None, "method")
    handshake.feed(b"\x05\x00")
    assert (handshake.reply, handshake.step, handshake.first_reply) == (None, "reply", None)
    handshake.feed(SUCCESS)
    assert handshake.reply == Reply(0, parse_address("192.0.2.9", 40000))
