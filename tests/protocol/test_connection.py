"""What both roles share: the buffer, the hand-over, the layer, the blame."""

import pytest

from hosier.errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from hosier.protocol.auth.base import AuthFraming, AuthMessage, AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status
from hosier.protocol.connection import MAX_BUFFERED, Connection, Handoff
from hosier.protocol.messages import (
    NEED_DATA,
    PAUSED,
    Command,
    ConnectionClosed,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import State
from hosier.testing import ToyFraming, ToyKind, ToyLayer, ToyMessage

from .deliveries import TARGET, client_at_method, client_at_reply, feed, server_at_method, server_at_request

CONNECT = bytes.fromhex("05010001c00002010050")
REQUEST = Request(5, Command.CONNECT, TARGET)


class ServerFirst(ToyFraming):
    """A private method in which the server begins."""

    code: int = 0x80
    server_speaks_first: bool = True


FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming(), 0x02: PasswordFraming(), 0x80: ServerFirst()}


def held(connection: Connection) -> int:
    """Octets that the connection holds."""
    return len(connection._buffer) + len(connection._wrapped)


def layered_server() -> ServerConnection:
    """A server whose method has just left a layer behind."""
    server = server_at_method(b"\x01", 0x01, framings=FRAMINGS)
    server.receive_data(b"\x01\x01\x00\x00")
    assert server.next_event() == AuthMessage(ToyMessage(ToyKind.TOKEN))
    server.send(AuthStep(ToyMessage(ToyKind.TOKEN), Outcome("fred", ToyLayer())))
    return server


def test_a_step_without_a_message_leaves_a_layer_behind_too() -> None:
    """What came behind the peer's last message is below it."""
    server, layer = server_at_method(b"\x01", 0x01, framings=FRAMINGS), ToyLayer()
    server.receive_data(b"\x01\x01\x00\x00" + layer.wrap(CONNECT))
    assert server.next_event() == AuthMessage(ToyMessage(ToyKind.TOKEN))
    assert server.send(AuthStep(None, Outcome("fred", layer))) == b""
    assert server.layer is layer
    assert server.next_event() == REQUEST


def test_pieces_are_joined() -> None:
    server = ServerConnection()
    for piece in (b"\x05", b"\x02", b"\x00"):
        server.receive_data(piece)
        assert server.next_event() is NEED_DATA
    server.receive_data(b"\x02")
    assert server.next_event() == MethodsOffered(b"\x00\x02")
    assert server.next_event() is PAUSED


def test_repr() -> None:
    server = ServerConnection()
    assert repr(server) == "<ServerConnection version=0 state=AWAIT_OPENING>"
    server.receive_data(b"\x04")
    assert server.next_event() is NEED_DATA
    assert repr(server) == "<ServerConnection version=4 state=AWAIT_OPENING>"


def test_early_payload_is_handed_over() -> None:
    """B-17, S5-REQ-52: what came with the request and behind it belongs to the target."""
    server = server_at_request()
    assert feed(server, [CONNECT + b"early ", b"payload"]).events == [REQUEST]
    server.send(Reply(0))
    assert server.detach() == Handoff(b"early payload", b"", None)
    assert server.state is State.MUST_CLOSE
    assert held(server) == 0
    with pytest.raises(LocalProtocolError):
        server.detach()


def test_nothing_to_hand_over() -> None:
    server = server_at_request()
    assert feed(server, [CONNECT]).events == [REQUEST]
    server.send(Reply(0))
    assert server.detach() == Handoff(b"", b"", None)
    assert server.state is State.MUST_CLOSE


@pytest.mark.parametrize(("received", "partial"), [([], False), ([b"\x05"], True)])
def test_peer_closes(received: list[bytes], partial: bool) -> None:
    server = ServerConnection()
    result = feed(server, [*received, b""])
    assert result.events == [ConnectionClosed(partial)]
    assert (result.last, server.state) == (PAUSED, State.MUST_CLOSE)


def test_peer_closes_behind_its_message() -> None:
    """The message still counts; the end is told only when more is owed."""
    server = ServerConnection()
    server.receive_data(b"\x05\x01\x00")
    server.receive_data(b"")
    assert server.next_event() == MethodsOffered(b"\x00")
    assert server.next_event() is PAUSED
    server.send(MethodSelected(0))
    assert server.next_event() == ConnectionClosed(False)


def test_error_is_final() -> None:
    """The same error again, whatever comes; only refuse() is left."""
    server = server_at_request()
    server.receive_data(b"\x05\x01\x00\x02")
    with pytest.raises(RemoteProtocolError) as first:
        server.next_event()
    server.receive_data(CONNECT)
    with pytest.raises(RemoteProtocolError) as second:
        server.next_event()
    assert first.value is second.value
    assert server.state is State.ERROR
    with pytest.raises(LocalProtocolError):
        server.send(Reply(0))
    assert server.refuse(first.value.reply_hint)[:2] == b"\x05\x08"
    with pytest.raises(RemoteProtocolError):
        server.next_event()


def test_methods_of_all_kinds() -> None:
    for method, state in ((0x00, State.AWAIT_REQUEST), (0x02, State.AWAIT_AUTH), (0x80, State.ANSWER_AUTH)):
        assert server_at_method(bytes((method,)), method, framings=FRAMINGS).state is state
    assert server_at_method(b"\x00", 0xFF).state is State.MUST_CLOSE
    with pytest.raises(LocalProtocolError, match="no framing for method 0x03"):
        server_at_method(b"\x03", 0x03, framings=FRAMINGS)


def test_server_speaks_first() -> None:
    server = server_at_method(b"\x80", 0x80, framings=FRAMINGS)
    client = client_at_method(b"\x80", framings=FRAMINGS)
    client.receive_data(b"\x05\x80")
    assert client.next_event() == MethodSelected(0x80)
    assert client.next_event() is NEED_DATA
    client.receive_data(server.send(AuthStep(ToyMessage(ToyKind.TOKEN, b"hello"))))
    assert client.next_event() == AuthMessage(ToyMessage(ToyKind.TOKEN, b"hello"))
    # The client is content and silent; the server is satisfied without another word.
    assert client.send(AuthStep(None, Outcome("server"))) == b""
    assert client.state is State.SEND_REQUEST


def test_auth_messages_pass() -> None:
    """UP-REQ-01, UP-REQ-05."""
    server = server_at_method(b"\x02", 0x02, framings=FRAMINGS)
    result = feed(server, [b"\x01\x01a", b"\x01b", CONNECT])
    assert result.events == [AuthMessage(Credentials(b"a", b"b"))]
    assert server.send(AuthStep(Status(0), Outcome("a"))) == b"\x01\x00"
    assert server.layer is None
    assert server.next_event() == REQUEST


@pytest.mark.parametrize(("body", "sent"), [(None, b"\x01\x01"), (Status(0xFF), b"\x01\xff")])
def test_refusing_server(body: Status | None, sent: bytes) -> None:
    """UP-REQ-06: the method's own refusal is the default; a client that gives up says nothing."""
    server = server_at_method(b"\x02", 0x02, framings=FRAMINGS)
    feed(server, [b"\x01\x01a\x01b"])
    assert server.send(AuthStep(body, Outcome(None))) == sent
    assert server.state is State.MUST_CLOSE
    client = client_at_method(b"\x02", framings=FRAMINGS)
    feed(client, [b"\x05\x02"])
    assert client.send(AuthStep(None, Outcome(None))) == b""
    assert client.state is State.MUST_CLOSE


def test_step_without_wire_form_changes_nothing() -> None:
    server = server_at_method(b"\x02", 0x02, framings=FRAMINGS)
    feed(server, [b"\x01\x01a\x01b"])
    with pytest.raises(LocalProtocolError):
        server.send(AuthStep(Status(256), Outcome("a")))
    assert (server.state, server.layer) == (State.ANSWER_AUTH, None)
    with pytest.raises(LocalProtocolError):
        client_at_reply().send(AuthStep(None, Outcome("a")))


def test_layer() -> None:
    """GS-REQ-33, GS-REQ-37: from the next octet on everything is wrapped, both ways, whatever the frames' borders."""
    server, layer = layered_server(), ToyLayer()
    frames = layer.wrap(b"") + b"".join(layer.wrap(CONNECT[i : i + 3]) for i in range(0, 10, 3))
    result = feed(server, [frames[:7], frames[7:]])
    assert result.events == [REQUEST]
    assert server.send(Reply(0)) == layer.wrap(bytes.fromhex("05000001000000000000"))
    assert server.detach() == Handoff(b"", b"", server.layer)


def test_hand_over_below_a_layer() -> None:
    """GS-REQ-37: one frame holds the end of the request and the first payload; half a frame follows."""
    server, layer = layered_server(), ToyLayer()
    half = layer.wrap(b"more")[:5]
    server.receive_data(layer.wrap(CONNECT + b"early") + half)
    assert server.next_event() == REQUEST
    server.receive_data(b"..")
    server.send(Reply(0))
    assert server.detach() == Handoff(b"early", half + b"..", server.layer)


def test_what_came_with_the_last_token_goes_below_the_layer() -> None:
    server = server_at_method(b"\x01", 0x01, framings=FRAMINGS)
    server.receive_data(b"\x01\x01\x00\x00" + ToyLayer().wrap(CONNECT))
    server.next_event()
    server.send(AuthStep(ToyMessage(ToyKind.TOKEN), Outcome("fred", ToyLayer())))
    assert server.next_event() == REQUEST


def test_broken_frame_is_blamed_by_next_event_only() -> None:
    server = layered_server()
    server.receive_data(b"\x01\x03\x00\x02XX")
    assert server.state is State.AWAIT_REQUEST
    with pytest.raises(RemoteProtocolError, match="not wrapped"):
        server.next_event()
    assert server.refuse() == ToyLayer().wrap(bytes.fromhex("05010001000000000000"))


def test_peer_closes_below_a_layer() -> None:
    """GS-REQ-44: a token cut short."""
    assert feed(layered_server(), [b"\x01\x03\x00", b""]).events == [ConnectionClosed(True)]
    assert feed(layered_server(), [b""]).events == [ConnectionClosed(False)]


@pytest.mark.parametrize("read", [1, 1024, 65_536])
def test_buffers_are_bounded(read: int) -> None:
    """S5-REQ-07: the largest message fits, endless ones end."""

    class Endless(ToyFraming):
        """A method whose messages never end."""

        def decode(self, data: object, *, from_client: bool) -> None:
            return None

    server = server_at_method(b"\x01", 0x01, framings={0x01: Endless()})
    fed = 0
    while server.next_event() is NEED_DATA:
        server.receive_data(bytes(read))
        fed += read
        assert held(server) == fed <= MAX_BUFFERED + read
        if fed > MAX_BUFFERED:
            break
    with pytest.raises(RemoteProtocolError, match="longer than 65800"):
        server.next_event()
    assert server.refuse(ReplyCode.GENERAL_FAILURE) == b"\x01\xff"


def test_largest_message_fits() -> None:
    """RFC 1961 §3.4: a token of 65535 octets behind its header of four, in reads of any size, more behind it."""
    token = b"\x01\x01\xff\xff" + b"t" * 65_535
    for size in (1, 777, 65_536, 70_000):
        server = server_at_method(b"\x01", 0x01, framings=FRAMINGS)
        data = token + b"tail"
        events = feed(server, [data[i : i + size] for i in range(0, len(data), size)]).events
        assert events == [AuthMessage(ToyMessage(ToyKind.TOKEN, b"t" * 65_535))]


def test_largest_frame_behind_half_a_request() -> None:
    """GS-REQ-37: the stream may be cut anywhere, so nearly all of a request may wait above a frame of full size."""
    layer = ToyLayer()
    name = b"n" * 255
    request = b"\x05\x01\x00\x03\xff" + name + b"\x00\x50"
    early = bytes(layer.max_payload - 1)
    data = layer.wrap(request[:-1]) + layer.wrap(request[-1:] + early)
    for size in (1000, len(data) - 1):
        server = layered_server()
        (event,) = feed(server, [data[i : i + size] for i in range(0, len(data), size)]).events
        assert isinstance(event, Request)
        assert event.address.octets == name
        server.send(Reply(0))
        assert server.detach().leftover == early


def test_bounded_below_a_layer() -> None:
    """What waits below the layer counts as well as what waits above it."""

    class Stuck(ToyLayer):
        """A layer whose frames never end."""

        def unwrap(self, data: object) -> None:
            return None

    server = server_at_method(b"\x01", 0x01, framings=FRAMINGS)
    feed(server, [b"\x01\x01\x00\x00"])
    server.send(AuthStep(ToyMessage(ToyKind.TOKEN), Outcome("fred", Stuck())))
    server.receive_data(bytes(MAX_BUFFERED))
    assert server.next_event() is NEED_DATA
    server.receive_data(b"\x00")
    with pytest.raises(RemoteProtocolError, match="longer than 65800"):
        server.next_event()
