"""What a layer does to a client's stream, without I/O."""

from __future__ import annotations

import pytest

from hosier.client.layered import LayeredHandshake, LayeredStream
from hosier.client.quick import QuickHandshake
from hosier.errors import RemoteProtocolError
from hosier.protocol.address import parse_address
from hosier.protocol.client_connection import ClientHandshake
from hosier.protocol.connection import Handoff
from hosier.protocol.messages import Command, Request
from hosier.testing import ToyLayer, every_cut

from .harness import SUCCESS
from .protection import NOTHING, frame, toy_stream

CONNECT = Request(5, Command.CONNECT, parse_address("example.com", 80))
BIND = Request(5, Command.BIND, parse_address("example.com", 80))


def test_there_and_back() -> None:
    stream = toy_stream()
    assert stream.wrap(b"") == b""
    assert stream.wrap(b"words") == frame(b"words")
    assert stream.wrap(memoryview(b"words")) == frame(b"words")
    stream.receive(frame(b"answer"))
    assert stream.pending == 6
    assert (stream.take(2), stream.take(), stream.take()) == (b"an", b"swer", b"")


def test_more_than_a_frame_holds() -> None:
    size = ToyLayer.max_payload
    assert toy_stream().wrap(bytes(size + 3)) == frame(bytes(size)) + frame(bytes(3))


def test_cuts() -> None:
    """However it arrives."""
    wire = frame(b"one") + frame(b"two") + frame(b"three")
    for pieces in every_cut(wire):
        stream = toy_stream()
        for piece in pieces:
            stream.receive(piece)
        assert stream.take() == b"onetwothree"
        stream.receive(b"")
        assert stream.ended


def test_what_came_before_the_layer() -> None:
    stream = toy_stream(Handoff(b"plain ", frame(b"and ") + frame(b"wrapped")[:5], None))
    assert stream.take() == b"plain and "
    stream.receive(frame(b"wrapped")[5:])
    assert stream.take() == b"wrapped"
    with pytest.raises(RemoteProtocolError):
        toy_stream(Handoff(b"", b"\x02", None))


def test_an_end_inside_a_frame() -> None:
    """GS-REQ-44."""
    stream = toy_stream()
    stream.receive(frame(b"cut")[:-1])
    with pytest.raises(RemoteProtocolError, match="inside a frame"):
        stream.receive(b"")
    assert not stream.ended


def test_once_broken_always_broken() -> None:
    stream = toy_stream()
    with pytest.raises(RemoteProtocolError) as first:
        stream.receive(b"\x05\x00")
    with pytest.raises(RemoteProtocolError) as second:
        stream.receive(frame(b"fine"))
    assert first.value is second.value
    assert not stream.pending


def test_a_frame_without_end() -> None:
    """What waits for its rest is bounded, whatever the layer."""

    class Endless(ToyLayer):
        def unwrap(self, data: object) -> None:
            return None

    stream = LayeredStream(Endless(), NOTHING)
    for _ in range(8):
        stream.receive(bytes(1 << 17))
    with pytest.raises(RemoteProtocolError, match="more than 1048576 octets"):
        stream.receive(b"x")


def test_one_above_another() -> None:
    below = toy_stream(Handoff(frame(b"early "), b"", None))
    stream = toy_stream(below=below)
    assert stream.take() == b"early "
    assert stream.wrap(b"words") == frame(frame(b"words"))
    stream.receive(frame(frame(b"words")[:3]))
    assert not stream.pending
    stream.receive(frame(frame(b"words")[3:])[:4])
    stream.receive(frame(frame(b"words")[3:])[4:])
    assert stream.take() == b"words"
    stream.receive(b"")
    assert stream.ended


def test_an_end_between_frames_below_is_one_inside_above() -> None:
    stream = toy_stream(below=toy_stream())
    stream.receive(frame(frame(b"cut")[:-1]))
    with pytest.raises(RemoteProtocolError, match="inside a frame"):
        stream.receive(b"")


def test_handshake_within() -> None:
    """What comes behind its answer waits in the stream."""
    stream = toy_stream()
    handshake = LayeredHandshake(QuickHandshake(CONNECT), stream)
    assert handshake.start() == frame(b"\x05\x01\x00")
    assert (handshake.step, handshake.done, handshake.blocks, handshake.first_reply) == ("method", False, False, None)
    assert handshake.feed(frame(b"\x05\x00")) == frame(b"\x05\x01\x00\x03\x0bexample.com\x00\x50")
    assert handshake.feed(frame(SUCCESS + b"220 hello")) == b""
    assert handshake.done
    assert handshake.reply is not None
    assert handshake.reply.bound == parse_address("192.0.2.9", 40000)
    assert stream.take() == b"220 hello"
    assert isinstance(handshake.within, QuickHandshake)


def test_both_answers_to_bind_at_once() -> None:
    handshake = LayeredHandshake(ClientHandshake(BIND), toy_stream())
    handshake.start()
    handshake.feed(frame(b"\x05\x00"))
    handshake.feed(frame(SUCCESS + SUCCESS))
    assert handshake.first_reply is not None
    assert handshake.done


def test_proxy_that_closes_within() -> None:
    handshake = LayeredHandshake(QuickHandshake(CONNECT), toy_stream())
    handshake.start()
    with pytest.raises(RemoteProtocolError, match="closed the connection"):
        handshake.feed(b"")
