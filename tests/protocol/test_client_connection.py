"""The client's side, step by step and on its own."""

import pytest

from hosier.errors import (
    AuthError,
    LocalProtocolError,
    RemoteProtocolError,
    ReplyError,
    TargetRefused,
    TargetTimedOut,
    TargetUnreachable,
)
from hosier.protocol.address import Address, AddressType, parse_address
from hosier.protocol.auth.base import AuthFraming, AuthMessage, AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status
from hosier.protocol.client_connection import (
    NO_AUTH_ONLY,
    RESOLVE,
    RESOLVE_PTR,
    ClientConnection,
    ClientHandshake,
    ClientMethod,
)
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
from hosier.protocol.states import State
from hosier.testing import ToyClientExchange, ToyFraming, ToyKind, ToyLayer, ToyMessage, every_cut

from .deliveries import TARGET, client_at_method, client_at_reply, deliver, feed

FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming(), 0x02: PasswordFraming()}
REQUEST = Request(5, Command.CONNECT, TARGET)
BOUND = parse_address("192.0.2.9", 40000)
SUCCESS = bytes.fromhex("05000001c00002099c40")


def test_no_such_version() -> None:
    for version in (0, 3, 6):
        with pytest.raises(LocalProtocolError, match="no SOCKS version"):
            ClientConnection(version)


@pytest.mark.parametrize("command", list(Command))
def test_socks5(command: Command) -> None:
    """S5-REQ-26, S5-REQ-45, S5-REQ-52."""
    client = ClientConnection(5)
    assert client.next_event() is PAUSED
    assert client.send(MethodsOffered(b"\x00")) == b"\x05\x01\x00"
    assert client.next_event() is NEED_DATA
    client.receive_data(b"\x05\x00")
    assert client.next_event() == MethodSelected(0)
    assert client.send(Request(5, command, TARGET)) == bytes((5, command)) + bytes.fromhex("0001c00002010050")
    client.receive_data(SUCCESS * 2 + b"early")
    assert client.next_event() == Reply(0, BOUND)
    if command == Command.BIND:
        assert client.next_event() == Reply(0, BOUND)
        assert client.detach().leftover == b"early"
    else:
        assert client.detach().leftover == SUCCESS + b"early"


@pytest.mark.parametrize("command", [Command.CONNECT, Command.BIND])
def test_socks4(command: Command) -> None:
    """S4-REQ-16, S4-REQ-19, S4-REQ-27, S4-REQ-32."""
    reply = bytes.fromhex("005a9c40c0000209")
    client = client_at_reply(4, command)
    result = feed(client, [reply * 2])
    assert result.events == [Reply(0, BOUND)] * (2 if command == Command.BIND else 1)
    assert client.state is State.TUNNEL
    assert client.detach().leftover == (b"" if command == Command.BIND else reply)


@pytest.mark.parametrize("code", [0, 0x5B, 0x5C, 0x5D, 0xFF])
def test_socks4_refusals(code: int) -> None:
    """S4-REQ-21: 0 is not 90."""
    result = deliver(lambda: client_at_reply(4), bytes((0, code)) + bytes(6))
    (reply,) = result.events
    assert isinstance(reply, Reply)
    assert not reply.succeeded
    assert result.connection.state is State.MUST_CLOSE


@pytest.mark.parametrize("code", [1, 9, 0x5A, 0xF4, 0xFF])
def test_socks5_refusals(code: int) -> None:
    """S5-REQ-44, S5-REQ-50: the number is kept, 0x5A grants nothing here, and the rest of the reply does not matter."""
    for rest in (b"", bytes(1), bytes(8), b"\x00\x01" + bytes(6)):
        result = deliver(client_at_reply, bytes((5, code)) + rest)
        assert result.events == [Reply(code)]
        assert result.connection.state is State.MUST_CLOSE


@pytest.mark.parametrize("version", [4, 5])
def test_versions_do_not_mix(version: int) -> None:
    client = ClientConnection(version)
    with pytest.raises(LocalProtocolError, match="another version"):
        client.send(Request(9 - version, 1, TARGET))
    with pytest.raises(LocalProtocolError):
        client.send(Request(version, 0xF0, TARGET))
    assert client.state is State.SEND_OPENING


def test_order() -> None:
    with pytest.raises(LocalProtocolError, match="begins with an offer"):
        ClientConnection(5).send(REQUEST)
    with pytest.raises(LocalProtocolError, match="no methods"):
        ClientConnection(4).send(MethodsOffered(b"\x00"))
    with pytest.raises(LocalProtocolError, match="ASSOCIATE is not allowed"):
        ClientConnection(4).send(Request(4, Command.UDP_ASSOCIATE, TARGET))


@pytest.mark.parametrize("methods", [b"", b"\x00\xff", b"\x03", bytes(256)])
def test_offers_that_cannot_be_made(methods: bytes) -> None:
    """S5-REQ-10; nobody offers what it cannot frame."""
    client = ClientConnection(5, FRAMINGS)
    with pytest.raises(LocalProtocolError):
        client.send(MethodsOffered(methods))
    assert client.state is State.SEND_OPENING


@pytest.mark.parametrize(
    ("version", "address"),
    [(4, parse_address("::1", 80)), (5, Address(AddressType.NAME, b"", 80)), (5, Address(1, b"\x7f\x00\x00\x01", -1))],
)
def test_request_without_wire_form(version: int, address: Address) -> None:
    """S4-REQ-06, S5-REQ-30."""
    client = ClientConnection(version)
    if version == 5:
        client = client_at_method()
        feed(client, [b"\x05\x00"])
    before = client.state
    with pytest.raises(LocalProtocolError):
        client.send(Request(version, Command.CONNECT, address))
    assert client.state is before


def test_choices_of_a_bad_server() -> None:
    """S5-REQ-16."""
    assert "0x02, which was not offered" in str(deliver(client_at_method, b"\x05\x02").error)
    assert "version 4" in str(deliver(client_at_method, b"\x04\x00").error)
    assert deliver(client_at_method, b"\x05\xff").events == [MethodSelected(0xFF)]


def test_switches() -> None:
    """A-04, A-28."""
    odd = b"\x05\x00\x77" + SUCCESS[3:]
    assert deliver(client_at_reply, odd).events == [Reply(0, BOUND)]
    assert "reserved" in str(deliver(lambda: client_at_reply(strict=True), odd).error)
    odd = bytes.fromhex("045a9c40c0000209")
    assert deliver(lambda: client_at_reply(4, lenient=True), odd).events == [Reply(0, BOUND)]
    assert "version 4" in str(deliver(lambda: client_at_reply(4), odd).error)


def test_server_that_closes() -> None:
    """A-27."""
    assert feed(client_at_reply(), [b"\x05\x00", b""]).events == [ConnectionClosed(True)]
    assert feed(client_at_method(), [b""]).events == [ConnectionClosed(False)]


def test_auth_by_hand() -> None:
    client = client_at_method(b"\x00\x02", framings=FRAMINGS)
    feed(client, [b"\x05\x02"])
    assert client.send(AuthStep(Credentials(b"a", b"b"))) == b"\x01\x01a\x01b"
    assert feed(client, [b"\x01\x00"]).events == [AuthMessage(Status(0))]
    assert client.send(AuthStep(None, Outcome("proxy"))) == b""
    assert client.send(REQUEST)[:2] == b"\x05\x01"


# --- the autopilot ---


class Passwords:
    """An exchange that knows one password."""

    def step(self, message: Status | None) -> AuthStep:
        if message is None:
            return AuthStep(Credentials(b"a", b"b"))
        return AuthStep(None, Outcome("proxy" if message.code == 0 else None))


PASSWORD = ClientMethod(PasswordFraming(), Passwords)
TOY = ClientMethod(ToyFraming(), ToyClientExchange)
NONE = ClientMethod(None)


def test_method_codes() -> None:
    assert [method.code for method in (NONE, TOY, PASSWORD)] == [0, 1, 2]


@pytest.mark.parametrize("pieces", list(every_cut(b"\x05\x00" + SUCCESS + b"early")))
def test_handshake(pieces: tuple[bytes, ...]) -> None:
    handshake = ClientHandshake(REQUEST)
    out = handshake.start()
    for piece in pieces:
        out += handshake.feed(piece)
    assert handshake.done
    assert (handshake.reply, handshake.first_reply) == (Reply(0, BOUND), None)
    assert out == bytes.fromhex("050100" + "05010001c00002010050")
    assert handshake.detach().leftover == b"early"


@pytest.mark.parametrize("pieces", list(every_cut(b"\x05\x02\x01\x00" + SUCCESS)))
def test_handshake_with_password(pieces: tuple[bytes, ...]) -> None:
    handshake = ClientHandshake(REQUEST, (NONE, PASSWORD))
    out = handshake.start() + b"".join(handshake.feed(piece) for piece in pieces)
    assert out == b"\x05\x02\x00\x02" + b"\x01\x01a\x01b" + bytes.fromhex("05010001c00002010050")
    assert handshake.done


@pytest.mark.parametrize("version", [4, 5])
def test_handshake_for_bind(version: int) -> None:
    """S5-REQ-69: the first reply does not open the path."""
    handshake = ClientHandshake(Request(version, Command.BIND, TARGET))
    handshake.start()
    first, second = (SUCCESS, SUCCESS) if version == 5 else (bytes.fromhex("005a9c40c0000209"),) * 2
    handshake.feed((b"\x05\x00" if version == 5 else b"") + first)
    assert (handshake.first_reply, handshake.done) == (Reply(0, BOUND), False)
    handshake.feed(second)
    assert (handshake.reply, handshake.done) == (Reply(0, BOUND), True)


def test_handshake_under_a_layer() -> None:
    """GS-REQ-12…14, GS-REQ-24, GS-REQ-33, GS-REQ-37."""
    layer = ToyLayer()
    handshake = ClientHandshake(REQUEST, (TOY,))
    assert handshake.start() == b"\x05\x01\x01"
    assert handshake.feed(b"\x05\x01") == b"\x01\x01\x00\x08client 1"
    assert handshake.feed(b"\x01\x01\x00\x02ok") == b"\x01\x01\x00\x08client 2"
    assert handshake.feed(b"\x01\x01\x00\x00") == bytes.fromhex("01020003570002")
    assert handshake.feed(bytes.fromhex("01020003570002")) == layer.wrap(bytes.fromhex("05010001c00002010050"))
    assert handshake.feed(layer.wrap(SUCCESS + b"early") + b"\x01\x03") == b""
    handoff = handshake.detach()
    assert (handoff.leftover, handoff.wrapped) == (b"early", b"\x01\x03")
    assert handoff.layer is not None


class ServerFirst(ToyFraming):
    """A private method in which the server begins."""

    server_speaks_first: bool = True


class Listener:
    """Its exchange: content with one message."""

    def step(self, message: ToyMessage | None) -> AuthStep:
        assert message is not None
        return AuthStep(ToyMessage(ToyKind.TOKEN, b"yes"), Outcome("proxy"))


def test_handshake_when_the_server_begins() -> None:
    handshake = ClientHandshake(REQUEST, (ClientMethod(ServerFirst(), Listener),))
    handshake.start()
    assert handshake.feed(b"\x05\x01") == b""
    assert handshake.feed(b"\x01\x01\x00\x00")[:7] == b"\x01\x01\x00\x03yes"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, ReplyError), (3, TargetUnreachable), (4, TargetUnreachable), (5, TargetRefused), (6, TargetTimedOut)],
)
def test_handshake_refused(code: int, kind: type[ReplyError]) -> None:
    """A short failing reply is the failure it names, not a broken protocol."""
    handshake = ClientHandshake(REQUEST)
    handshake.start()
    with pytest.raises(kind, match=r"192\.0\.2\.1:80") as caught:
        handshake.feed(b"\x05\x00" + bytes((5, code, 0)))
    assert caught.value.code == code
    assert not handshake.done


@pytest.mark.parametrize(("data", "method", "status"), [(b"\x05\xff", 0xFF, None), (b"\x05\x02\x01\x09", None, 9)])
def test_handshake_without_credentials(data: bytes, method: int | None, status: int | None) -> None:
    """S5-REQ-14, UP-REQ-08."""
    handshake = ClientHandshake(REQUEST, (PASSWORD,))
    handshake.start()
    with pytest.raises(AuthError) as caught:
        handshake.feed(data)
    assert (caught.value.method, caught.value.status) == (method, status)
    assert isinstance(caught.value, PermissionError)


def test_handshake_with_nothing_to_offer() -> None:
    """Who has given no user learns that one is wanted."""
    for methods, advice in ((NO_AUTH_ONLY, ": it wants a user, perhaps with a password"), ((PASSWORD,), "")):
        handshake = ClientHandshake(REQUEST, methods)
        handshake.start()
        with pytest.raises(AuthError, match=f"none of the methods that were offered({advice}|$)"):
            handshake.feed(b"\x05\xff")


def test_handshake_with_half_a_method() -> None:
    handshake = ClientHandshake(REQUEST, (ClientMethod(PasswordFraming()),))
    handshake.start()
    with pytest.raises(LocalProtocolError, match="no exchange for method 0x02"):
        handshake.feed(b"\x05\x02")


@pytest.mark.parametrize(("data", "where"), [(b"", "before its answer"), (b"\x05", "in the middle of a message")])
def test_handshake_cut_short(data: bytes, where: str) -> None:
    """A-27: a failed connect, not an empty stream."""
    handshake = ClientHandshake(REQUEST)
    handshake.start()
    assert handshake.feed(data or b"\x05\x00") != b"" or data
    with pytest.raises(RemoteProtocolError, match=where):
        handshake.feed(b"")


def test_handshake_without_wire_form() -> None:
    with pytest.raises(LocalProtocolError):
        ClientHandshake(Request(4, 1, parse_address("::1", 1))).start()
    with pytest.raises(LocalProtocolError):
        ClientHandshake(REQUEST, ()).start()


# --- for shells that leave the payload in the socket ---

NAMED = bytes.fromhex("0500000301780050")  # the shortest success of all
LONG_NAME = b"\x05\x00\x00\x03\xff" + b"n" * 255 + b"\x00\x50"
SIX = bytes.fromhex("05000004") + bytes(18)


@pytest.mark.parametrize("reply", [SUCCESS, NAMED, LONG_NAME, SIX])
def test_owed_never_reaches_the_payload(reply: bytes) -> None:
    """Reading what is owed, and no more, ends exactly behind the reply."""
    stream = memoryview(b"\x05\x02\x01\x00" + reply + b"early")
    handshake = ClientHandshake(REQUEST, (PASSWORD,))
    handshake.start()
    steps = []
    while not handshake.done:
        steps.append(handshake.step)
        size = 2 if handshake.step == "authentication" else handshake.owed  # no server says more there
        handshake.feed(bytes(stream[:size]))
        stream = stream[size:]
    assert bytes(stream) == b"early"
    assert steps == ["method", "authentication", *["reply"] * (len(steps) - 2)]
    assert len(steps) <= 4


def test_owed_octet_by_octet() -> None:
    """Always at least one, never more than is missing."""
    handshake = ClientHandshake(REQUEST)
    handshake.start()
    stream = b"\x05\x00" + SUCCESS
    for i in range(len(stream)):
        assert 1 <= handshake.owed <= len(stream) - i
        handshake.feed(stream[i : i + 1])
    assert handshake.done


def test_owed_of_socks4() -> None:
    handshake = ClientHandshake(Request(4, Command.CONNECT, TARGET))
    handshake.start()
    assert handshake.owed == 8
    handshake.feed(b"\x00\x5a")
    assert (handshake.owed, handshake.step) == (6, "reply")


def test_owed_during_authentication_and_under_a_layer() -> None:
    handshake = ClientHandshake(REQUEST, (TOY,))
    handshake.start()
    handshake.feed(b"\x05\x01")
    assert handshake.owed > 65_535
    for message in (b"\x01\x01\x00\x02ok", b"\x01\x01\x00\x00", bytes.fromhex("01020003570002")):
        handshake.feed(message)
    assert handshake.step == "reply"
    assert handshake.owed > 65_535


def test_early_payload_goes_with_the_request() -> None:
    """EX-16."""
    handshake = ClientHandshake(REQUEST, early=b"GET /")
    assert handshake.start() == b"\x05\x01\x00"
    assert handshake.feed(b"\x05\x00").endswith(b"\x00\x50GET /")
    assert ClientHandshake(Request(4, 1, TARGET), early=b"x").start().endswith(b"\x00x")


def test_early_payload_is_wrapped_under_a_layer() -> None:
    """In frames of its own, behind that of the request."""
    early = bytes(ToyLayer.max_payload + 1)
    handshake = ClientHandshake(REQUEST, (TOY,), early=early)
    handshake.start()
    assert handshake.layer is None
    out = b""
    for message in (b"\x05\x01", b"\x01\x01\x00\x02ok", b"\x01\x01\x00\x00", bytes.fromhex("01020003570002")):
        out = handshake.feed(message)
    layer = handshake.layer
    assert layer is not None
    assert out.endswith(layer.wrap(early[:-1]) + layer.wrap(early[-1:]))


def test_steps_that_wait_for_others() -> None:
    """Only while the method may be asked for its next step."""
    handshake = ClientHandshake(REQUEST, (TOY._replace(blocks=True),))
    assert not handshake.blocks
    handshake.start()
    assert handshake.blocks
    for message in (b"\x05\x01", b"\x01\x01\x00\x02ok", b"\x01\x01\x00\x00"):
        handshake.feed(message)
        assert handshake.blocks
    handshake.feed(bytes.fromhex("01020003570002"))
    assert not handshake.blocks


@pytest.mark.parametrize("command", [RESOLVE, RESOLVE_PTR])
def test_lookups_of_tor(command: int) -> None:
    """EX-10, EX-11."""
    handshake = ClientHandshake(Request(5, command, TARGET))
    handshake.start()
    assert handshake.feed(b"\x05\x00")[1] == command
    handshake.feed(NAMED)
    assert handshake.reply == Reply(0, parse_address("x", 80))
