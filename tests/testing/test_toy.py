"""The toy method and its layer, whose octets stand in the catalogue (5.3, vectors TG-*)."""

import pytest

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.testing import ToyClientExchange, ToyFraming, ToyKind, ToyLayer, ToyMessage, ToyServerExchange

FRAMING = ToyFraming()
TOKEN = ToyMessage(ToyKind.TOKEN, b"t")


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ("01010004deadbeef", ToyMessage(ToyKind.TOKEN, b"\xde\xad\xbe\xef")),
        ("01010000", ToyMessage(ToyKind.TOKEN)),
        ("01020003570002", ToyMessage(ToyKind.LEVEL, b"\x57\x00\x02")),
    ],
)
def test_messages(wire: str, message: ToyMessage) -> None:
    octets = bytes.fromhex(wire)
    for from_client in (True, False):
        assert FRAMING.encode(message, from_client=from_client) == octets
        assert FRAMING.decode(octets + b"tail", from_client=from_client) == (message, len(octets))
        assert all(FRAMING.decode(octets[:size], from_client=from_client) is None for size in range(len(octets)))


def test_abort() -> None:
    """GS-REQ-20, GS-REQ-21: two octets, from the server only."""
    abort = ToyMessage(ToyKind.ABORT)
    assert FRAMING.decode(b"\x01\xff", from_client=False) == (abort, 2)
    assert FRAMING.encode(abort, from_client=False) == b"\x01\xff"
    with pytest.raises(RemoteProtocolError):
        FRAMING.decode(b"\x01\xff", from_client=True)
    with pytest.raises(LocalProtocolError):
        FRAMING.encode(abort, from_client=True)


def test_no_message() -> None:
    """GS-REQ-45; data before the level."""
    for octets in (b"\x02", b"\x01\x03", b"\x01\x00"):
        with pytest.raises(RemoteProtocolError):
            FRAMING.decode(octets, from_client=True)
    for message in (ToyMessage(3), ToyMessage(ToyKind.TOKEN, bytes(65_536))):
        with pytest.raises(LocalProtocolError):
            FRAMING.encode(message, from_client=True)


def test_layer() -> None:
    """GS-REQ-34…36."""
    for level, conf in ((1, b"\x00"), (2, b"\x01")):
        layer = ToyLayer(level)
        frame = layer.wrap(b"hello")
        assert frame == b"\x01\x03\x00\x07\x57" + conf + b"hello"
        for data in (frame, bytearray(frame), memoryview(frame)):
            assert layer.unwrap(data) == (b"hello", len(frame))
        assert layer.unwrap(frame + b"\x01") == (b"hello", len(frame))
        assert all(layer.unwrap(frame[:size]) is None for size in range(len(frame)))
    assert ToyLayer(1).unwrap(ToyLayer(2).wrap(b"x")) is not None
    with pytest.raises(RemoteProtocolError, match="not confidential"):
        ToyLayer(2).unwrap(ToyLayer(1).wrap(b"x"))


@pytest.mark.parametrize("frame", ["02", "0101", "01030000", "0103000157", "010300035801ff", "010300035702ff"])
def test_broken_frame(frame: str) -> None:
    with pytest.raises(RemoteProtocolError):
        ToyLayer().unwrap(bytes.fromhex(frame))


def test_largest_frame() -> None:
    layer = ToyLayer()
    frame = layer.wrap(bytes(layer.max_payload))
    assert layer.unwrap(frame) == (bytes(layer.max_payload), len(frame))
    with pytest.raises(LocalProtocolError):
        layer.wrap(bytes(layer.max_payload + 1))


def test_datagrams() -> None:
    """GS-REQ-40, GS-REQ-41: one frame each, whole."""
    layer = ToyLayer()
    packet = layer.wrap_datagram(b"\x00\x00\x00data")
    assert layer.unwrap_datagram(packet) == b"\x00\x00\x00data"
    for broken in (b"", packet[:-1], packet + b"x", b"\x02" + packet[1:]):
        with pytest.raises(RemoteProtocolError):
            layer.unwrap_datagram(broken)


def test_client_gives_up() -> None:
    """An abort, an answer out of turn, a token after the level, a level it cannot read."""
    given_up = AuthStep(None, Outcome(None))
    level = ToyMessage(ToyKind.LEVEL, b"\x57\x00\x02")
    for message in (ToyMessage(ToyKind.ABORT), level):
        client = ToyClientExchange()
        client.step(None)
        assert client.step(message) == given_up
    for message in (TOKEN, ToyMessage(ToyKind.LEVEL, b"\x02"), ToyMessage(ToyKind.LEVEL, b"\x57\x00\x01")):
        client = ToyClientExchange(1)
        client.step(None)
        assert client.step(TOKEN) == AuthStep(level)
        assert client.step(message) == given_up


def test_server_refuses() -> None:
    refused = AuthStep(ToyMessage(ToyKind.ABORT), Outcome(None))
    for message in (None, ToyMessage(ToyKind.LEVEL, b"\x57\x00\x02"), ToyMessage(ToyKind.ABORT)):
        assert ToyServerExchange().step(message) == refused
    for token in (b"\x02", b"\x57\x00\x03", b"\x57\x00", b"\x57\x00\x02\x02"):
        server = ToyServerExchange(1)
        server.step(TOKEN)
        assert server.step(ToyMessage(ToyKind.LEVEL, token)) == refused
    server = ToyServerExchange(1)
    server.step(TOKEN)
    assert server.step(TOKEN) == refused


def test_exchanges_agree() -> None:
    client, server = ToyClientExchange(3, level=1), ToyServerExchange(3, level=2, identity="fred")
    message, steps = None, 0
    while True:
        theirs = server.step(client.step(message).body)
        message, steps = theirs.body, steps + 1
        if theirs.outcome is not None:
            break
    ours = client.step(message)
    assert steps == 4
    assert theirs.outcome.identity == "fred"
    assert ours.outcome is not None
    for outcome in (theirs.outcome, ours.outcome):
        assert isinstance(outcome.layer, ToyLayer)
        assert outcome.layer.level == 2
