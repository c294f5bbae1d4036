"""Properties of whole conversations: any cut equals the whole, only documented errors, bounded buffers."""

import copy
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import AuthError, LocalProtocolError, RemoteProtocolError, ReplyError
from hosier.protocol.auth.base import AuthFraming, AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status
from hosier.protocol.client_connection import ClientConnection, ClientExchange, ClientHandshake, ClientMethod
from hosier.protocol.connection import MAX_BUFFERED, Connection
from hosier.protocol.messages import (
    NEED_DATA,
    Command,
    ConnectionClosed,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
    Signal,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.socks5 import encode_request
from hosier.protocol.states import CLIENT, SERVER, State
from hosier.testing import ToyClientExchange, ToyFraming, ToyKind, ToyLayer, ToyMessage, ToyServerExchange, every_cut

from . import strategies as ours
from .deliveries import TARGET, Decide, Served, agreeable, preferring, pull, serve, serve_straight

FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming(), 0x02: PasswordFraming()}


class Passwords:
    """Both halves of username/password, for one pair of them."""

    def __init__(self, known: Credentials) -> None:
        self.known = known

    def step(self, message: Credentials | Status | None) -> AuthStep:
        if message is None:
            return AuthStep(self.known)
        if isinstance(message, Status):
            return AuthStep(None, Outcome("proxy" if message.code == 0 else None))
        good = message == self.known
        return AuthStep(Status(not good), Outcome("user" if good else None))


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The data in any pieces."""
    places = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=12)))
    edges = [0, *places, len(data)]
    return [piece for piece in (data[a:b] for a, b in pairwise(edges)) if piece]


METHODS = st.sampled_from((0x00, 0x01, 0x02))
PAYLOAD = st.binary(max_size=40)


@given(st.data(), ours.requests, METHODS, PAYLOAD, st.integers(0, 255), ours.credentials)
def test_conversation_at_any_cut(
    data: st.DataObject, request: Request, method: int, payload: bytes, code: int, known: Credentials
) -> None:
    """A good client and a server meet; what passes does not depend on how the stream was cut, on either side."""
    exchanges: dict[int, Callable[[], ClientExchange]] = {0x01: ToyServerExchange, 0x02: lambda: Passwords(known)}

    def client() -> ClientHandshake:
        return ClientHandshake(
            request,
            {
                0x00: (ClientMethod(None),),
                0x01: (ClientMethod(ToyFraming(), ToyClientExchange),),
                0x02: (ClientMethod(None), ClientMethod(PasswordFraming(), lambda: Passwords(known))),
            }[method],
        )

    # Met message by message: what each side says.
    handshake, server = client(), ServerConnection(FRAMINGS)
    decide = agreeable(exchanges, code)
    to_server, to_client, news = b"", b"", handshake.start()
    failed = None
    while news:
        to_server += news
        server.receive_data(news)
        answer = serve_on(server, decide)
        to_client += answer
        try:
            news = handshake.feed(answer) if answer else b""
        except ReplyError as error:
            failed, news = error.code, b""
    granted = code == 0
    assert handshake.done == granted
    if not granted:
        assert failed == (code if request.version == 5 or code in (0x5C, 0x5D) else 0x5B)
    layer = ToyLayer() if method == 0x01 and request.version == 5 else None
    tail = payload if layer is None or not payload else layer.wrap(payload)

    # Again, all at once and in pieces.
    results: set[Served] = set()
    for pieces in ([to_server + tail], data.draw(cuts(to_server + tail))):
        results.add(serve(ServerConnection(FRAMINGS), pieces, agreeable(exchanges, code)))
    (served,) = results
    assert served.sent == to_client
    assert served.events[-1] == request
    if granted:
        assert served.handoff is not None
        assert served.handoff.leftover + served.handoff.wrapped == tail
        for pieces in ([to_client + tail], data.draw(cuts(to_client + tail))):
            handshake = client()
            assert handshake.start() + b"".join(handshake.feed(piece) for piece in pieces) == to_server
            handoff = handshake.detach()
            assert handoff.leftover + handoff.wrapped == tail
            assert (handoff.layer is None) == (layer is None)
    else:
        assert served.state is State.MUST_CLOSE


def serve_on(server: ServerConnection, decide: Decide) -> bytes:
    sent = b""
    while not isinstance(event := server.next_event(), Signal):
        sent += decide(server, event)
    return sent


@st.composite
def openings(draw: st.DrawFn) -> bytes:
    """Octets that get somewhere: bits of real messages, some of them spoilt."""
    pieces = [
        b"\x05\x01\x00",
        b"\x05\x02\x00\x02",
        b"\x05\x01\x01",
        b"\x01\x01a\x01b",
        b"\x01\x01\x00\x01t",
        bytes.fromhex("01020003570002"),
        bytes.fromhex("05010001c00002010050"),
        bytes.fromhex("0502000301610050"),
        bytes.fromhex("04010050c000020100"),
        bytes.fromhex("0401005000000001006100"),
        ToyLayer().wrap(bytes.fromhex("05010001c00002010050")),
        b"\x05\x00",
        b"\x05\x02",
        bytes.fromhex("05000001000000000000"),
        bytes.fromhex("005a000000000000"),
    ]
    chosen = draw(st.lists(st.sampled_from(pieces) | st.binary(max_size=12), max_size=8))
    return b"".join(chosen)


def forgiving(connection: ServerConnection, event: object) -> bytes:
    """Whatever happens is answered well."""
    assert not isinstance(event, ConnectionClosed)
    if isinstance(event, MethodsOffered):
        known = [method for method in (1, 2, 0) if method in event.methods]
        return connection.send(MethodSelected(known[0] if known else 0xFF))
    if isinstance(event, Request):
        return connection.send(Reply(0))
    step = AuthStep(Status(0), Outcome("x"))
    body = getattr(event, "body", None)
    if isinstance(body, ToyMessage):
        layer = ToyLayer() if body.kind == ToyKind.LEVEL else None
        step = AuthStep(ToyMessage(body.kind), None if layer is None else Outcome("x", layer))
    return connection.send(step)


@given(openings() | st.binary(max_size=80), st.booleans())
def test_any_octets_at_a_server(data: bytes, strict: bool) -> None:
    """Nothing but RemoteProtocolError; the states are those of the table; any cut equals the whole."""
    whole: Served | None = None
    for pieces in every_cut(data):
        server = ServerConnection(FRAMINGS, strict=strict)
        served = serve(server, pieces, forgiving)
        if data[0] not in (4, 5) and isinstance(served.last, tuple):
            # What a stranger seems to be is judged by what is there.
            assert served.events == ()
            continue
        whole = whole or served
        assert served == whole, pieces
        assert served.state in SERVER
        if isinstance(served.last, tuple):
            assert server.state is State.ERROR
            _, error = pull(server)
            assert pull(server)[1] is error
            answer = server.refuse()
            assert (answer[:1], server.state) in {(first, State.MUST_CLOSE) for first in (b"\x00", b"\x01", b"\x05")}
            assert server.refuse() == b""


@st.composite
def usual_handshakes(draw: st.DrawFn) -> list[bytes]:
    """Whole messages as most clients send them, with something that may follow or spoil them."""
    offered = bytes(draw(st.lists(METHODS, min_size=1, max_size=3, unique=True)))
    pieces = [bytes((5, len(offered))) + offered]
    if login := draw(st.none() | ours.credentials):
        pieces.append(PasswordFraming().encode(login, from_client=True))
    pieces.append(encode_request(draw(ours.socks5_requests)))
    more = draw(st.lists(openings() | st.binary(max_size=20), max_size=2))
    return [piece for piece in (*pieces, *more) if piece]


@given(st.data(), METHODS, st.booleans())
def test_straight_line_and_long_way_are_the_same(data: st.DataObject, method: int, strict: bool) -> None:
    """Message by message, in one piece and at any cut: the same octets, events, end and hand-over."""
    messages = data.draw(usual_handshakes() | st.lists(openings().filter(bool), min_size=1, max_size=4))
    whole = b"".join(messages)
    for pieces in (messages, [whole], data.draw(cuts(whole))):
        long = serve(ServerConnection(FRAMINGS, strict=strict), pieces, preferring(method))
        assert serve_straight(ServerConnection(FRAMINGS, strict=strict), pieces, method) == long


@given(openings() | st.binary(max_size=80), st.sampled_from((4, 5)), st.integers(1, 3), st.booleans(), METHODS)
def test_any_octets_at_a_client(data: bytes, version: int, command: int, odd: bool, method: int) -> None:
    results = set()
    for pieces in every_cut(data):
        client = ClientConnection(version, FRAMINGS, strict=odd, lenient=odd)
        events = []
        try:
            client.send(Request(4, command, TARGET) if version == 4 else MethodsOffered(bytes((method,))))
        except LocalProtocolError:
            assert (version, command) == (4, Command.UDP_ASSOCIATE)
            return
        for piece in pieces:
            if client.state.name.startswith("AWAIT_") or client.state is State.TUNNEL:
                client.receive_data(piece)
            while True:
                more, last = pull(client)
                events += more
                if client.state is State.ANSWER_AUTH:
                    body: object = ToyMessage(ToyKind.TOKEN) if method == 1 else Credentials(b"a", b"b")
                    outcome = Outcome("x", ToyLayer() if method == 1 else None) if len(events) == 3 else None
                    client.send(AuthStep(body, outcome))
                elif client.state is State.SEND_REQUEST:
                    client.send(Request(5, command, TARGET))
                else:
                    break
        assert client.state in CLIENT
        assert isinstance(last, RemoteProtocolError) == (client.state is State.ERROR)
        results.add((tuple(events), client.state, str(last)))
    assert len(results) <= 1


@given(st.binary(max_size=60), METHODS)
def test_any_octets_at_the_autopilot(data: bytes, method: int) -> None:
    """Only what feed() documents."""
    methods = {
        0x00: ClientMethod(None),
        0x01: ClientMethod(ToyFraming(), ToyClientExchange),
        0x02: ClientMethod(PasswordFraming(), lambda: Passwords(Credentials(b"a", b"b"))),
    }
    for octets in (data, bytes((5, method)) + data, b""):
        handshake = ClientHandshake(Request(5, 1, TARGET), (methods[method],))
        handshake.start()
        try:
            handshake.feed(octets)
        except (ReplyError, AuthError, RemoteProtocolError):
            assert not handshake.done


STARTS: list[Callable[[], Connection]] = [
    ServerConnection,
    lambda: started(b"\x05\x01\x00"),
    lambda: started(b"\x05\x01\x01"),
    lambda: started(b"\x05\x01\x02"),
    lambda: started(b"\x05\x01\x01" + bytes.fromhex("01020003570002")),
    lambda: asked(ClientConnection(4), Request(4, 1, TARGET)),
    lambda: asked(ClientConnection(5), MethodsOffered(b"\x00")),
]


def started(data: bytes) -> ServerConnection:
    server = ServerConnection(FRAMINGS)
    serve(server, [data], forgiving)
    return server


def asked(client: ClientConnection, event: Request | MethodsOffered) -> ClientConnection:
    client.send(event)
    return client


@given(st.sampled_from(STARTS), st.binary(min_size=1, max_size=9), st.integers(1, 9_000), st.binary(max_size=9))
def test_endless_data(make: Callable[[], Connection], unit: bytes, read: int, first: bytes) -> None:
    """S5-REQ-07: while the peer owes octets, we hold at most the largest message and one read."""
    connection = make()
    if first:
        connection.receive_data(first)
    chunk = (unit * (read // len(unit) + 1))[:read]
    fed = len(first)
    while pull(connection)[1] is NEED_DATA and fed <= 3 * MAX_BUFFERED:
        connection.receive_data(chunk)
        fed += read
        assert len(connection._buffer) + len(connection._wrapped) <= MAX_BUFFERED + read


@given(st.lists(st.integers(0, 12), max_size=30), st.binary(max_size=20))
def test_any_steps(steps: list[int], junk: bytes) -> None:
    """A shell that does anything at any time: LocalProtocolError or a step of the table, never both, never more."""
    server = ServerConnection(FRAMINGS)
    actions: list[Callable[[], object]] = [
        lambda: server.receive_data(b"\x05\x03\x00\x01\x02"),
        lambda: server.receive_data(bytes.fromhex("05020001c00002010050")),
        lambda: server.receive_data(b"\x01\x01a\x01b"),
        lambda: server.receive_data(junk),
        lambda: server.send(MethodSelected(0)),
        lambda: server.send(MethodSelected(2)),
        lambda: server.send(MethodSelected(1)),
        lambda: server.send(AuthStep(Status(0), Outcome("x"))),
        lambda: server.send(AuthStep(None, Outcome(None))),
        lambda: server.send(Reply(0)),
        lambda: server.send(Reply(300)),
        lambda: server.refuse(300 if server.version == 5 else 1),
        lambda: server.detach(),
    ]
    for step in steps:
        before = copy.copy(server.state)
        try:
            actions[step]()
        except LocalProtocolError:
            assert server.state is before
        if server.state is not before and before not in (State.TUNNEL, State.ASSOCIATED):
            assert server.state in SERVER[before].values()
        before = server.state
        try:
            server.next_event()
        except RemoteProtocolError:
            assert server.state in (State.ERROR, State.MUST_CLOSE)
        assert server.state is before or server.state in SERVER[before].values()
