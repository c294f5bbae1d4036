"""The server's side: the first octet decides, one choice, one answer, and a refusal for every phase."""

import re
from collections.abc import Callable

import pytest

from hosier.errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from hosier.protocol.address import Address, Buffer, encode_address, parse_address
from hosier.protocol.auth.base import AuthFraming, AuthMessage, AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status
from hosier.protocol.connection import Handoff
from hosier.protocol.foreign import foreign_answer
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

from .deliveries import TARGET, deliver, feed, server_at_method, server_at_request

FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming(), 0x02: PasswordFraming()}
CONNECT = bytes.fromhex("05010001c00002010050")
CONNECT4 = bytes.fromhex("04010050c000020100")
FAILURE = bytes.fromhex("05020001000000000000")


def server() -> ServerConnection:
    return ServerConnection(FRAMINGS)


@pytest.mark.parametrize("command", list(Command))
def test_socks5(command: Command) -> None:
    """S5-REQ-33: one request, one answer."""
    wire = bytes((5, command)) + CONNECT[2:]
    result = deliver(server_at_request, wire)
    assert result.events == [Request(5, command, TARGET)]
    assert result.last is PAUSED
    assert result.connection.version == 5


@pytest.mark.parametrize("command", [Command.CONNECT, Command.BIND])
def test_socks4(command: Command) -> None:
    result = deliver(server, bytes((4, command)) + CONNECT4[2:])
    assert result.events == [Request(4, command, TARGET)]
    assert result.connection.version == 4
    # S4-REQ-14, S4-REQ-15: the reply is of the same version, its codes too.
    assert result.connection.send(Reply(0)) == bytes.fromhex("005a000000000000")


def test_socks4_failure() -> None:
    result = deliver(server, CONNECT4)
    assert result.connection.send(Reply(ReplyCode.SOCKS4_IDENT_MISMATCH)) == bytes.fromhex("005d000000000000")
    assert result.connection.state is State.MUST_CLOSE


def test_pipelining() -> None:
    """S5-REQ-25: greeting, credentials, request and payload in one read; each in its turn."""
    connection = server()
    connection.receive_data(b"\x05\x02\x00\x02" + b"\x01\x01a\x01b" + CONNECT + b"early")
    assert connection.next_event() == MethodsOffered(b"\x00\x02")
    assert connection.next_event() is PAUSED
    assert connection.send(MethodSelected(2)) == b"\x05\x02"
    assert connection.next_event() == AuthMessage(Credentials(b"a", b"b"))
    assert connection.next_event() is PAUSED
    assert connection.send(AuthStep(Status(0), Outcome("a"))) == b"\x01\x00"
    assert connection.next_event() == Request(5, 1, TARGET)
    connection.send(Reply(0))
    assert connection.detach().leftover == b"early"


def test_pipelining_for_another_method() -> None:
    """UP-REQ-16, S5-REQ-25, A-34: credentials behind a choice of 00 are garbage."""
    connection = server()
    connection.receive_data(b"\x05\x02\x00\x02" + b"\x01\x01a\x01b" + CONNECT)
    connection.next_event()
    connection.send(MethodSelected(0))
    with pytest.raises(RemoteProtocolError, match="version 1"):
        connection.next_event()
    assert connection.refuse()[:2] == b"\x05\x01"


def test_bind_answers_twice() -> None:
    """S5-REQ-61, S5-REQ-64."""
    listening, peer = parse_address("203.0.113.5", 40000), parse_address("2001:db8::7", 20)
    connection = deliver(server_at_request, bytes((5, 2)) + CONNECT[2:]).connection
    states = [connection.state]
    assert connection.send(Reply(0, listening)) == bytes.fromhex("05000001cb0071059c40")
    states.append(connection.state)
    assert connection.send(Reply(0, peer))[:4] == b"\x05\x00\x00\x04"
    states.append(connection.state)
    assert states == [State.ANSWER_BIND, State.ANSWER_BIND_PEER, State.TUNNEL]


@pytest.mark.parametrize("method", [-1, 256, 1000])
def test_choice_that_is_no_octet(method: int) -> None:
    connection = feed(server(), [b"\x05\x01\x00"]).connection
    with pytest.raises(LocalProtocolError):
        connection.send(MethodSelected(method))
    assert connection.state is State.SELECT_METHOD


def test_choice_that_was_not_offered() -> None:
    """S5-REQ-12; FF is always possible (S5-REQ-13)."""
    connection = feed(server(), [b"\x05\x01\x00"]).connection
    with pytest.raises(LocalProtocolError, match="0x02 was not offered"):
        connection.send(MethodSelected(2))
    assert connection.send(MethodSelected(0xFF)) == b"\x05\xff"
    assert connection.state is State.MUST_CLOSE


def test_late_choice_does_not_change_the_method() -> None:
    """An illegal step changes nothing: the running method keeps its framing."""
    connection = server_at_method(b"\x01\x02", 0x02, framings=FRAMINGS)
    with pytest.raises(LocalProtocolError):
        connection.send(MethodSelected(1))
    connection.receive_data(b"\x01\x01a\x01b")
    assert connection.next_event() == AuthMessage(Credentials(b"a", b"b"))


def test_success_before_its_time() -> None:
    """Nobody is let in who has not said who it is; nor twice."""
    connection = server_at_method(b"\x01\x02", 0x02, framings=FRAMINGS)
    welcome = AuthStep(Status(0), Outcome("a"))
    with pytest.raises(LocalProtocolError, match="AUTH_SUCCEEDED is not allowed in state AWAIT_AUTH"):
        connection.send(welcome)
    connection.receive_data(b"\x01\x01a\x01b")
    assert connection.next_event() == AuthMessage(Credentials(b"a", b"b"))
    assert connection.send(welcome) == b"\x01\x00"
    with pytest.raises(LocalProtocolError, match="AUTH_SUCCEEDED is not allowed in state AWAIT_REQUEST"):
        connection.send(welcome)
    assert connection.state is State.AWAIT_REQUEST


def test_success_without_a_wire_form() -> None:
    connection = server_at_method(b"\x01\x02", 0x02, framings=FRAMINGS)
    connection.receive_data(b"\x01\x01a\x01b")
    connection.next_event()
    with pytest.raises(LocalProtocolError, match="status 256"):
        connection.send(AuthStep(Status(256), Outcome("a")))
    assert connection.state is State.ANSWER_AUTH


@pytest.mark.parametrize("reply", [Reply(256), Reply(-1), Reply(0, parse_address("a", 1)._replace(octets=b""))])
def test_reply_without_wire_form(reply: Reply) -> None:
    connection = deliver(server_at_request, CONNECT).connection
    with pytest.raises(LocalProtocolError):
        connection.send(reply)
    assert connection.state is State.ANSWER_CONNECT


def test_reply_of_90() -> None:
    """S5-REQ-44: what grants in SOCKS4 is an unknown failure in SOCKS5, and no way into the tunnel."""
    connection = deliver(server_at_request, CONNECT).connection
    assert connection.send(Reply(0x5A))[:2] == b"\x05\x5a"
    assert connection.state is State.MUST_CLOSE


def test_reply_before_the_request() -> None:
    """A reply is no answer to a greeting; refuse() knows what is."""
    connection = feed(server(), [b"\x05\x01\x00"]).connection
    with pytest.raises(LocalProtocolError):
        connection.send(Reply(1))
    assert connection.refuse() == b"\x05\xff"


def test_strict() -> None:
    """A-04."""
    wire = bytes.fromhex("050177017f0000010050")
    assert len(deliver(server_at_request, wire).events) == 1
    result = deliver(lambda: server_at_request(strict=True), wire)
    assert result.error.reply_hint == ReplyCode.GENERAL_FAILURE


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "http"),
        (b"\x16\x03\x01\x00\xc8", "tls"),
        (b"SSH-2.0-x\r\n", "ssh"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "proxy"),
        (b"\x06\x01\x00\x00", "socks6"),
        (b"\x00", None),
        (b"\xff\xff", None),
    ],
)
def test_strangers(data: bytes, kind: str | None) -> None:
    """S5-REQ-08: at the first octet; the answer is in their tongue or none."""
    connection = server()
    connection.receive_data(data)
    with pytest.raises(RemoteProtocolError, match="neither SOCKS4 nor SOCKS5") as caught:
        connection.next_event()
    assert caught.value.looks_like == kind
    assert (kind is None) == ("looks like" not in str(caught.value))
    assert connection.refuse() == foreign_answer(kind)
    assert connection.state is State.MUST_CLOSE


def test_a_method_goes_on_until_it_has_an_outcome() -> None:
    connection = server_at_method(b"\x01", 0x01, framings=FRAMINGS)
    feed(connection, [b"\x01\x01\x00\x00"])
    assert connection.send(AuthStep(ToyMessage(ToyKind.TOKEN, b"and?"))) == b"\x01\x01\x00\x04and?"
    assert connection.next_event() is NEED_DATA
    feed(connection, [b"\x01\x01\x00\x00"])
    assert connection.state is State.ANSWER_AUTH


# --- refuse(), in every phase ---


def at_auth(answer: bool) -> ServerConnection:
    connection = server_at_method(b"\x02", 0x02, framings=FRAMINGS)
    if answer:
        feed(connection, [b"\x01\x01a\x01b"])
    return connection


def at_layered_request(received: bytes = b"") -> ServerConnection:
    connection = server_at_method(b"\x01", 0x01, framings=FRAMINGS)
    feed(connection, [b"\x01\x01\x00\x00"])
    connection.send(AuthStep(ToyMessage(ToyKind.TOKEN), Outcome("fred", ToyLayer())))
    feed(connection, [received] if received else [])
    return connection


def granted(connection: ServerConnection) -> ServerConnection:
    connection.send(Reply(0))
    return connection


def detached() -> ServerConnection:
    connection = granted(feed(server_at_request(), [CONNECT]).connection)
    connection.detach()
    return connection


PHASES: dict[str, tuple[Callable[[], ServerConnection], bytes]] = {
    "nothing has come": (server, b""),
    "half a greeting": (lambda: feed(server(), [b"\x05"]).connection, b"\x05\xff"),
    "half a SOCKS4 request": (lambda: feed(server(), [b"\x04\x01"]).connection, bytes.fromhex("005b000000000000")),
    "a bad SOCKS4 request": (lambda: feed(server(), [b"\x04\x09" + CONNECT4[2:]]).connection, b"\x00\x5b" + bytes(6)),
    "choice of a method": (lambda: feed(server(), [b"\x05\x01\x00"]).connection, b"\x05\xff"),
    "no method offered": (lambda: feed(server(), [b"\x05\x00"]).connection, b"\x05\xff"),
    "credentials awaited": (lambda: at_auth(False), b"\x01\x01"),
    "credentials judged": (lambda: at_auth(True), b"\x01\x01"),
    "bad credentials": (lambda: feed(at_auth(False), [b"\x05"]).connection, b"\x01\x01"),
    "token awaited": (lambda: server_at_method(b"\x01", 0x01, framings=FRAMINGS), b"\x01\xff"),
    "bad token": (
        lambda: feed(server_at_method(b"\x01", 0x01, framings=FRAMINGS), [b"\x02\x01"]).connection,
        b"\x01\xff",
    ),
    "request awaited": (server_at_request, FAILURE),
    "half a request": (lambda: feed(server_at_request(), [CONNECT[:5]]).connection, FAILURE),
    "bad request": (lambda: feed(server_at_request(), [b"\x04"]).connection, FAILURE),
    "reply owed": (lambda: feed(server_at_request(), [CONNECT]).connection, FAILURE),
    "SOCKS4 reply owed": (lambda: feed(server(), [CONNECT4]).connection, b"\x00\x5b" + bytes(6)),
    "second reply owed": (lambda: granted(feed(server_at_request(), [b"\x05\x02" + CONNECT[2:]]).connection), FAILURE),
    "layered request awaited": (at_layered_request, ToyLayer().wrap(FAILURE)),
    "layered reply owed": (lambda: at_layered_request(ToyLayer().wrap(CONNECT)), ToyLayer().wrap(FAILURE)),
    "bad layered request": (lambda: at_layered_request(ToyLayer().wrap(b"\x09")), ToyLayer().wrap(FAILURE)),
    "broken frame": (lambda: at_layered_request(b"\x02"), ToyLayer().wrap(FAILURE)),
    "tunnel": (lambda: granted(feed(server_at_request(), [CONNECT]).connection), b""),
    "detached": (detached, b""),
    "client has gone": (lambda: feed(server(), [b"\x05", b""]).connection, b""),
}


@pytest.mark.parametrize("phase", PHASES)
def test_refuse(phase: str) -> None:
    """S5-REQ-11, 13, 31, 34…37, 42; S4-REQ-23; UP-REQ-09; GS-REQ-20: always the octets that the client can read,
    and never twice."""
    make, octets = PHASES[phase]
    connection = make()
    before = connection.state
    assert connection.refuse(ReplyCode.NOT_ALLOWED) == octets
    if before not in (State.TUNNEL, State.MUST_CLOSE):
        assert connection.state is State.MUST_CLOSE
    else:
        assert connection.state is before
    assert connection.refuse(ReplyCode.NOT_ALLOWED) == b""


def test_every_phase_is_refused() -> None:
    """No state of the table is forgotten here."""
    assert {make().state for make, _ in PHASES.values()} >= set(State) - {
        state for state in State if state.name.startswith(("SEND_", "AWAIT_M", "AWAIT_C", "AWAIT_B", "AWAIT_AS"))
    } - {State.ANSWER_BIND, State.ANSWER_ASSOCIATE, State.ASSOCIATED}


@pytest.mark.parametrize("code", [0, -1, 256])
def test_no_refusal(code: int) -> None:
    connection = feed(server_at_request(), [CONNECT]).connection
    with pytest.raises(LocalProtocolError):
        connection.refuse(code)
    assert connection.state is State.ANSWER_CONNECT


def test_default_refusal() -> None:
    assert server_at_request().refuse() == bytes.fromhex("05010001000000000000")


def test_needs_more() -> None:
    for data in (b"\x05\x02\x00", b"\x04\x01\x00\x50\xc0\x00\x02\x01user"):
        result = deliver(server, data)
        assert (result.events, result.last) == ([], NEED_DATA)


# --- the usual handshake, in a straight line ---

USUAL_GREETINGS = tuple(map(bytes.fromhex, ("050100", "05020001", "05020002", "0503000102", "05020200")))
LOGIN = b"\x01\x03ann\x06secret"
CONNECTS = tuple(
    b"\x05\x01\x00" + encode_address(parse_address(host, 443))
    for host in ("192.0.2.1", "2001:db8::7", "a.example", "a", "foo", "n" * 15, "n" * 255, "192.0.2.1.example")
)


class SpeaksFirst(ToyFraming):
    """A method whose server opens the conversation."""

    server_speaks_first = True


def state_of(connection: ServerConnection) -> tuple[object, ...]:
    """All that a connection is."""
    slots = (slot for kind in type(connection).__mro__ for slot in getattr(kind, "__slots__", ()))
    return tuple(getattr(connection, slot) for slot in slots)


@pytest.mark.parametrize("request_", CONNECTS)
@pytest.mark.parametrize("greeting", USUAL_GREETINGS)
def test_straight_line_ends_where_the_long_way_does(greeting: bytes, request_: bytes) -> None:
    straight, long = server(), server()
    feed(long, [greeting])
    assert straight.take_usual_greeting(greeting, [0]) == long.send(MethodSelected(0))
    straight._faulted_in = long._faulted_in  # where faults were found: nowhere
    assert state_of(straight) == state_of(long)
    long.receive_data(request_)
    assert straight.take_usual_request(request_) == long.next_event()
    assert state_of(straight) == state_of(long)
    assert straight.send(Reply(5)) == long.send(Reply(5))


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("greeting", ["050102", "05020002", "0503000102", "05020201"])
def test_straight_line_of_a_password(greeting: str, right: bool) -> None:
    straight, long = server(), server()
    feed(long, [bytes.fromhex(greeting)])
    assert straight.take_usual_greeting(bytes.fromhex(greeting), [2]) == long.send(MethodSelected(2))
    assert state_of(straight) == state_of(long)
    long.receive_data(LOGIN)
    assert straight.take_usual_message(LOGIN) == long.next_event() == AuthMessage(Credentials(b"ann", b"secret"))
    assert state_of(straight) == state_of(long)
    step = AuthStep(Status(not right), Outcome("ann" if right else None))
    assert straight.send(step) == long.send(step)
    assert state_of(straight) == state_of(long)
    assert (straight.take_usual_request(CONNECT) is not None) == right


@pytest.mark.parametrize(
    ("methods", "selected"), [([0, 2], 0), ([2, 0], 2), ([0x80, 2], 2), ([1, 2, 0], 1), ([0x80], None), ([], None)]
)
def test_straight_line_takes_the_first_method_that_is_offered(methods: list[int], selected: int | None) -> None:
    answer = server().take_usual_greeting(b"\x05\x03\x00\x01\x02", methods)
    assert answer == (None if selected is None else bytes((5, selected)))


@pytest.mark.parametrize(
    "greeting", ["", "05", "0501", "050102", "05020201", "040100", "05010005010001", "474554", "05020000", "050180"]
)
def test_unusual_greeting_goes_the_long_way(greeting: str) -> None:
    connection = server()
    before = state_of(connection)
    assert connection.take_usual_greeting(bytes.fromhex(greeting), [0]) is None
    assert state_of(connection) == before


def test_greeting_in_pieces_goes_the_long_way() -> None:
    connection = server()
    connection.receive_data(b"\x05")
    assert connection.take_usual_greeting(USUAL_GREETINGS[0], [0]) is None
    assert server_at_request().take_usual_greeting(USUAL_GREETINGS[0], [0]) is None


@pytest.mark.parametrize("framings", [{}, {0x01: SpeaksFirst()}])
def test_method_that_has_another_beginning_goes_the_long_way(framings: dict[int, AuthFraming]) -> None:
    connection = ServerConnection(framings)
    before = state_of(connection)
    assert connection.take_usual_greeting(b"\x05\x01\x01", [1]) is None
    assert state_of(connection) == before


@pytest.mark.parametrize("message", [b"", LOGIN[:1], LOGIN[:-1], LOGIN + CONNECT, b"\x05" + LOGIN[1:], CONNECT])
def test_unusual_message_goes_the_long_way(message: bytes) -> None:
    connection = at_auth(False)
    before = state_of(connection)
    assert connection.take_usual_message(message) is None
    assert state_of(connection) == before


def test_a_method_that_goes_on() -> None:
    """A step without an outcome waits for the client's next message."""
    connection = at_auth(False)
    for _ in range(2):
        assert connection.take_usual_message(LOGIN) is not None
        assert connection.send(AuthStep(Status(7))) == b"\x01\x07"
    assert connection.take_usual_message(LOGIN) is not None
    assert connection.send(AuthStep(Status(0), Outcome("ann"))) == b"\x01\x00"
    assert connection.take_usual_request(CONNECT) is not None


def test_no_method_is_asked_of_the_end() -> None:
    class Framing(PasswordFraming):
        def decode(self, data: Buffer, *, from_client: bool) -> tuple[Credentials | Status, int] | None:
            assert data
            return super().decode(data, from_client=from_client)

    connection = ServerConnection({2: Framing()})
    assert connection.take_usual_greeting(b"\x05\x01\x02", [2]) == b"\x05\x02"
    assert connection.take_usual_message(b"") is None
    connection.receive_data(b"")
    assert connection.next_event() == ConnectionClosed(False)


def test_message_out_of_place_goes_the_long_way() -> None:
    assert server().take_usual_message(LOGIN) is None
    assert server_at_request().take_usual_message(LOGIN) is None
    begun = at_auth(False)
    begun.receive_data(LOGIN[:1])
    assert begun.take_usual_message(LOGIN) is None


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        CONNECT[:9],
        CONNECT + b"x",
        b"\x05\x02" + CONNECT[2:],
        b"\x04" + CONNECT[1:],
        b"\x05\x01\x07" + CONNECT[3:],
        b"\x05\x01\x00\x05" + CONNECT[4:],
        CONNECTS[1][:-1],
        CONNECTS[1] + b"x",
        CONNECTS[2][:-1],
        CONNECTS[2] + b"x",
        b"\x05\x01\x00\x03\x00\x01\xbb",
        b"\x05\x01\x00\x03\x03a\0b\x01\xbb",
        b"\x05\x02\x00\x03\x03a.b\x01\xbb",
        b"\x05\x02\x00\x04" + CONNECTS[1][4:],
        b"\x05\x01\x01\x04" + CONNECTS[1][4:],
    ],
)
def test_unusual_request_goes_the_long_way(request_: bytes) -> None:
    connection = server_at_request()
    before = state_of(connection)
    assert connection.take_usual_request(request_) is None
    assert state_of(connection) == before


@pytest.mark.parametrize("request_", CONNECTS[:3])
def test_request_out_of_place_goes_the_long_way(request_: bytes) -> None:
    assert server().take_usual_request(request_) is None
    begun = server_at_request()
    begun.receive_data(b"\x05")
    assert begun.take_usual_request(request_) is None
    protected = server_at_request()
    protected.layer = ToyLayer(0)
    assert protected.take_usual_request(request_) is None


@pytest.mark.parametrize("behind", [b"", ToyLayer().wrap(b"early"), b"\x01\x03"])
@pytest.mark.parametrize("request_", CONNECTS)
def test_straight_line_under_a_layer_ends_where_the_long_way_does(request_: bytes, behind: bytes) -> None:
    straight, long, layer = server_at_request(), server_at_request(), ToyLayer()
    straight.layer = long.layer = layer
    frame = layer.wrap(request_) + behind
    long.receive_data(frame)
    assert straight.open_request(frame) == long.next_event()
    assert state_of(straight) == state_of(long)
    bound = parse_address("192.0.2.7", 1080)
    assert straight.grant(bound) == (long.send(Reply(0, bound)), long.detach())
    assert state_of(straight) == state_of(long)


@pytest.mark.parametrize("plain", [b"", CONNECT[:1], CONNECT + b"x", b"\x05\x02" + CONNECT[2:]])
def test_unusual_request_under_a_layer_is_kept_for_the_long_way(plain: bytes) -> None:
    straight, long = server_at_request(), server_at_request()
    straight.layer = long.layer = ToyLayer()
    frame = ToyLayer().wrap(plain)
    assert straight.open_request(frame) is None
    long.receive_data(frame)
    assert straight.next_event() == long.next_event()
    assert state_of(straight) == state_of(long)


def test_request_in_pieces_of_a_frame_goes_the_long_way() -> None:
    connection, frame = server_at_request(), ToyLayer().wrap(CONNECT)
    connection.layer = ToyLayer()
    assert connection.open_request(frame[:3]) is None
    assert connection.next_event() is NEED_DATA
    assert connection.open_request(frame[3:]) is None  # there is something of it already
    assert isinstance(connection.next_event(), Request)


def test_end_instead_of_a_request_under_a_layer() -> None:
    connection = server_at_request()
    connection.layer = ToyLayer()
    assert connection.open_request(b"") is None
    assert connection.next_event() == ConnectionClosed(False)


def test_forged_request_is_a_fault_like_any_other() -> None:
    straight, long, forged = server_at_request(), server_at_request(), b"\x02" + ToyLayer().wrap(CONNECT)[1:]
    straight.layer = long.layer = ToyLayer()
    long.receive_data(forged)
    with pytest.raises(RemoteProtocolError) as told:
        long.next_event()
    with pytest.raises(RemoteProtocolError, match=re.escape(str(told.value))):
        straight.open_request(forged)
    assert straight.state is long.state
    with pytest.raises(RemoteProtocolError):
        straight.next_event()
    assert straight.refuse() == long.refuse()


def test_reply_goes_through_the_layer() -> None:
    """GS-REQ-33: replies are wrapped, too."""
    bare, protected = server_at_request(), server_at_request()
    protected.layer = ToyLayer()
    feed(bare, [CONNECT])
    feed(protected, [ToyLayer().wrap(CONNECT)])
    assert protected.send(Reply(0)) == ToyLayer().wrap(bare.send(Reply(0)))


# --- success and hand-over at once ---


def twins(request_: bytes, layer: bool = False) -> tuple[ServerConnection, ServerConnection]:
    """Two connections that have heard the same."""
    pair = server_at_request(), server_at_request()
    for connection in pair:
        if layer:
            connection.layer = ToyLayer()
            request_ = ToyLayer().wrap(CONNECT) + b"rest"
        feed(connection, [request_])
    return pair


@pytest.mark.parametrize("bound", ["192.0.2.9", "2001:db8::9", "bound.example"])
@pytest.mark.parametrize(
    ("request_", "layer"),
    [(CONNECT, False), (CONNECT + b"early", False), (CONNECT, True)],
    ids=["usual", "early", "layer"],
)
def test_grant_is_send_and_detach(bound: str, request_: bytes, layer: bool) -> None:
    address = parse_address(bound, 8080)
    at_once, singly = twins(request_, layer)
    data, handoff = at_once.grant(address)
    assert data == singly.send(Reply(0, address))
    expected = singly.detach()
    assert (handoff.leftover, handoff.wrapped) == (expected.leftover, expected.wrapped)
    assert (handoff.layer is None) == (not layer)
    assert at_once.state is singly.state is State.MUST_CLOSE


def test_grant_of_socks4() -> None:
    connection = deliver(server, CONNECT4).connection
    assert connection.grant(TARGET) == (bytes.fromhex("005a0050c0000201"), Handoff(b"", b"", None))


@pytest.mark.parametrize(
    "bound", [Address(1, b"\x7f\x00\x00", 80), Address(1, bytes(4), 65536), Address(1, bytes(4), -1)]
)
def test_grant_of_what_has_no_wire_form(bound: Address) -> None:
    connection, _ = twins(CONNECT)
    with pytest.raises(LocalProtocolError):
        connection.grant(bound)
    assert connection.state is State.ANSWER_CONNECT


def test_grant_out_of_place() -> None:
    with pytest.raises(LocalProtocolError, match="GRANTED is not allowed"):
        server_at_request().grant(TARGET)
