"""The seam for authentication, tried with a method of several rounds that leaves a layer behind (catalogue 5)."""

import pytest

from hosier.errors import AuthError, RemoteProtocolError
from hosier.protocol.auth.base import AuthFraming, AuthMessage, AuthStep, Outcome
from hosier.protocol.client_connection import ClientConnection, ClientHandshake, ClientMethod
from hosier.protocol.connection import Handoff
from hosier.protocol.messages import (
    Command,
    Event,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import State
from hosier.testing import (
    ConnectionPair,
    ToyClientExchange,
    ToyFraming,
    ToyKind,
    ToyLayer,
    ToyMessage,
    ToyServerExchange,
    every_cut,
)

from .deliveries import TARGET, agreeable, feed, pull, serve

FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming()}
LAYER = ToyLayer()
REQUEST = Request(5, Command.CONNECT, TARGET)
WIRE = bytes.fromhex("05010001c00002010050")
SUCCESS = bytes.fromhex("05000001c00002010050")
TOKENS = b"\x01\x01\x00\x01a" + b"\x01\x01\x00\x01b" + bytes.fromhex("01020003570002")
ROUNDS = b"\x01\x01\x00\x08server 1" + b"\x01\x01\x00\x00" + bytes.fromhex("01020003570002")


def server() -> ServerConnection:
    return ServerConnection(FRAMINGS)


def wrapped_server() -> ServerConnection:
    """A server whose client has been through all rounds."""
    connection = server()
    served = serve(connection, [b"\x05\x01\x01" + TOKENS], agreeable({1: ToyServerExchange}))
    assert (served.state, served.sent) == (State.AWAIT_REQUEST, b"\x05\x01" + ROUNDS)
    return connection


@pytest.mark.parametrize("command", list(Command))
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_whole_conversation(command: Command, rounds: int) -> None:
    """GS-REQ-12…18, GS-REQ-24…27, GS-REQ-33: both sides agree at every step, and nothing bare follows the level."""
    pair = ConnectionPair(ClientConnection(5, FRAMINGS), server())
    assert pair.from_client(MethodsOffered(b"\x01")) == [MethodsOffered(b"\x01")]
    assert pair.from_server(MethodSelected(1)) == [MethodSelected(1)]
    pair.authenticate(ToyClientExchange(rounds), ToyServerExchange(rounds))
    assert pair.states == (State.SEND_REQUEST, State.AWAIT_REQUEST)
    before = len(pair.to_server), len(pair.to_client)
    request = Request(5, command, TARGET)
    assert pair.from_client(request) == [request]
    replies = [Reply(0, TARGET)] * (2 if command == Command.BIND else 1)
    assert pair.from_server(*replies) == replies
    final = State.ASSOCIATED if command == Command.UDP_ASSOCIATE else State.TUNNEL
    assert pair.states == (final, final)
    for octets in (pair.to_server[before[0] :], pair.to_client[before[1] :]):
        assert octets.startswith(b"\x01\x03")
        assert LAYER.unwrap(octets) is not None


def test_every_cut() -> None:
    """The wrapped request in the same read as the last token; a frame with the end of the request and the first
    payload; then half a frame."""
    half = LAYER.wrap(b"more payload")[:9]
    data = b"\x05\x01\x01" + TOKENS + LAYER.wrap(WIRE[:4]) + LAYER.wrap(WIRE[4:] + b"early") + half
    events: list[Event] = [
        MethodsOffered(b"\x01"),
        AuthMessage(ToyMessage(ToyKind.TOKEN, b"a")),
        AuthMessage(ToyMessage(ToyKind.TOKEN, b"b")),
        AuthMessage(ToyMessage(ToyKind.LEVEL, b"\x57\x00\x02")),
        REQUEST,
    ]
    for pieces in every_cut(data):
        served = serve(server(), pieces, agreeable({1: ToyServerExchange}))
        assert list(served.events) == events, pieces
        assert served.sent == b"\x05\x01" + ROUNDS + LAYER.wrap(SUCCESS)
        assert served.handoff == Handoff(b"early", half, None), pieces


def test_every_cut_at_the_client() -> None:
    """The same at the other end: the server's last word of the method, its wrapped reply, payload, half a frame."""
    half = LAYER.wrap(b"more")[:3]
    data = b"\x05\x01" + ROUNDS + LAYER.wrap(SUCCESS[:3]) + LAYER.wrap(SUCCESS[3:] + b"early") + half
    for pieces in every_cut(data):
        handshake = ClientHandshake(REQUEST, (ClientMethod(ToyFraming(), ToyClientExchange),))
        sent = handshake.start() + b"".join(handshake.feed(piece) for piece in pieces)
        assert sent.endswith(LAYER.wrap(WIRE))
        assert handshake.reply == Reply(0, TARGET)
        handoff = handshake.detach()
        assert (handoff.leftover, handoff.wrapped) == (b"early", half)


def test_nothing_is_looked_at_early() -> None:
    """What lies below the layer is the relay's, broken frames included."""
    broken = b"\x01\x03\x00\x01X"
    served = serve(wrapped_server(), [LAYER.wrap(WIRE) + broken], agreeable({}))
    assert served.handoff == Handoff(b"", broken, None)


@pytest.mark.parametrize(
    ("frame", "about"),
    [
        (b"\x02", "version 2"),
        (b"\x01\x01", "type 0x01"),
        (b"\x01\x03\x00\x00", "not wrapped"),
        (b"\x01\x03\x00\x03\x58\x01A", "not wrapped"),
        (bytes.fromhex("01030003570041"), "not confidential"),
        (WIRE, "version 5"),
    ],
)
def test_broken_frames(frame: bytes, about: str) -> None:
    """GS-REQ-36, GS-REQ-41: blamed on the peer, out of next_event only; the refusal is wrapped."""
    for pieces in every_cut(LAYER.wrap(WIRE[:4]) + frame):
        connection = wrapped_server()
        for piece in pieces:
            connection.receive_data(piece)
        events, last = pull(connection)
        assert events == []
        assert isinstance(last, RemoteProtocolError)
        assert about in str(last)
        assert pull(connection) == ([], last)
        assert connection.refuse() == LAYER.wrap(bytes.fromhex("05010001000000000000"))


def test_broken_frame_at_the_client() -> None:
    handshake = ClientHandshake(REQUEST, (ClientMethod(ToyFraming(), ToyClientExchange),))
    handshake.start()
    handshake.feed(b"\x05\x01" + ROUNDS)
    with pytest.raises(RemoteProtocolError, match="not confidential"):
        handshake.feed(bytes.fromhex("01030003570041"))


@pytest.mark.parametrize("data", [b"\x01\xff", b"\x01\x01\x00\x01x\x01\xff", ROUNDS[:-7] + b"\x01\xff"])
def test_abort(data: bytes) -> None:
    """GS-REQ-20, GS-REQ-21, B-22: two octets are enough, in every round."""
    for pieces in every_cut(b"\x05\x01" + data):
        handshake = ClientHandshake(REQUEST, (ClientMethod(ToyFraming(), ToyClientExchange),))
        handshake.start()
        for piece in pieces[:-1]:
            handshake.feed(piece)
        with pytest.raises(AuthError, match="refused"):
            handshake.feed(pieces[-1])


@pytest.mark.parametrize(
    "tokens",
    [
        b"\x01\x02\x00\x01\x02",
        TOKENS[:10] + TOKENS[:5],
        TOKENS[:10] + bytes.fromhex("0102000102"),
        TOKENS[:10] + bytes.fromhex("01020003570003"),
        TOKENS[:10] + bytes.fromhex("0102000457000202"),
    ],
)
def test_server_aborts(tokens: bytes) -> None:
    """GS-REQ-20, GS-REQ-29, GS-REQ-31: the level too early, a token too many, a level that is raw, unknown or long."""
    for pieces in every_cut(b"\x05\x01\x01" + tokens):
        served = serve(server(), pieces, agreeable({1: ToyServerExchange}))
        assert served.sent.endswith(b"\x01\xff")
        assert served.state is State.MUST_CLOSE


@pytest.mark.parametrize("tokens", [b"\x02\x01\x00\x00", b"\x01\x03\x00\x03\x57\x01A", b"\x01\xff"])
def test_no_message_of_the_method(tokens: bytes) -> None:
    """GS-REQ-22, GS-REQ-45: another version, data before the level, an abort from a client."""
    connection = server()
    result = serve(connection, [b"\x05\x01\x01" + tokens], agreeable({1: ToyServerExchange}))
    assert result.state is State.ERROR
    assert connection.refuse() == b"\x01\xff"


def test_level_below_the_wish() -> None:
    """GS-REQ-27: the client goes; a level above it is welcome."""
    for wished, settled, agreed in ((2, 1, False), (1, 2, True), (1, 1, True)):
        pair = ConnectionPair(ClientConnection(5, FRAMINGS), server())
        pair.from_client(MethodsOffered(b"\x01"))
        pair.from_server(MethodSelected(1))
        pair.authenticate(ToyClientExchange(level=wished), ToyServerExchange(level=settled))
        assert pair.client.state is (State.SEND_REQUEST if agreed else State.MUST_CLOSE)


def test_layer_comes_after_the_last_word() -> None:
    """The step that ends the method goes out bare, and so does a refusal."""
    connection = server()
    feed(connection, [b"\x05\x01\x01"])
    connection.send(MethodSelected(1))
    feed(connection, [b"\x01\x01\x00\x00"])
    step = AuthStep(ToyMessage(ToyKind.TOKEN, b"bye"), Outcome("fred", LAYER))
    assert connection.send(step) == b"\x01\x01\x00\x03bye"
    assert connection.layer is LAYER
