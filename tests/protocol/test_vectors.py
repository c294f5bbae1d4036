"""Every vector of the conformance catalogue: what `expected` says, as the core does it.

Stream vectors are fed whole, octet by octet, at every cut, and joined with what may follow them.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hosier.errors import (
    AuthError,
    LocalProtocolError,
    RemoteProtocolError,
    ReplyCode,
    ReplyError,
    TargetTimedOut,
    TargetUnreachable,
    reply_error,
)
from hosier.protocol import ident, socks4, socks5, udp
from hosier.protocol.address import Address, AddressType, parse_address
from hosier.protocol.auth.base import AuthFraming, AuthMessage, AuthStep, Outcome
from hosier.protocol.auth.password import Credentials, PasswordFraming, Status
from hosier.protocol.client_connection import ClientConnection, ClientHandshake, ClientMethod
from hosier.protocol.connection import Connection
from hosier.protocol.messages import (
    NEED_DATA,
    PAUSED,
    Command,
    Datagram,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import State
from hosier.testing import (
    ToyClientExchange,
    ToyFraming,
    ToyKind,
    ToyLayer,
    ToyMessage,
    ToyServerExchange,
    every_cut,
)

from .codecs import check_broken, check_whole
from .deliveries import (
    Delivered,
    agreeable,
    client_at_method,
    client_at_reply,
    deliver,
    feed,
    serve,
    server_at_method,
    server_at_request,
)

FILE = Path(__file__).parents[1] / "vectors" / "vectors.json"


class Vector(NamedTuple):
    """One entry of the file."""

    id: str
    name: str
    direction: str
    hex: str
    meaning: str
    expected: str

    @property
    def octets(self) -> bytes:
        return bytes.fromhex(self.hex)


VECTORS = {entry["id"]: Vector(**entry) for entry in json.loads(FILE.read_text(encoding="utf-8"))}
Check = Callable[[bytes], None]
CHECKS: dict[str, Check] = {}


def check(*ids: str) -> Callable[[Check], Check]:
    """Registers the check of the vectors."""

    def register(function: Check) -> Check:
        add(dict.fromkeys(ids, function))
        return function

    return register


def add(checks: Mapping[str, Check]) -> None:
    assert not checks.keys() & CHECKS.keys()
    CHECKS.update(checks)


def test_nothing_is_left_out() -> None:
    """Every vector has a check, every check a vector, every octet string is what its meaning needs: not empty."""
    assert set(CHECKS) == set(VECTORS)
    assert len(VECTORS) == 123
    assert all(vector.octets for vector in VECTORS.values())


@pytest.mark.parametrize("vector", VECTORS.values(), ids=lambda vector: f"{vector.id}-{vector.name}")
def test_vector(vector: Vector) -> None:
    CHECKS[vector.id](vector.octets)


# --- what most vectors need ---

TOY: dict[int, AuthFraming] = {0x01: ToyFraming()}
PASSWORD: dict[int, AuthFraming] = {0x02: PasswordFraming()}
REJECTED = bytes.fromhex("005b000000000000")


def at_password() -> ServerConnection:
    return server_at_method(b"\x02", 0x02, framings=PASSWORD)


def at_token() -> ServerConnection:
    return server_at_method(b"\x01", 0x01, framings=TOY)


def at_token_of_client() -> ClientConnection:
    client = client_at_method(b"\x01", framings=TOY)
    feed(client, [b"\x05\x01"])
    client.send(AuthStep(ToyMessage(ToyKind.TOKEN, b"a")))
    return client


def below_layer(level: int = 2) -> ServerConnection:
    server = at_token()
    server.receive_data(b"\x01\x02\x00\x03\x57\x00\x02")
    server.next_event()
    server.send(AuthStep(ToyMessage(ToyKind.LEVEL, bytes((0x57, 0, level))), Outcome("fred", ToyLayer(level))))
    return server


def takes(make: Callable[[], Connection], event: object, *, tail: bytes = b"\x05\x00tail") -> Check:
    """The octets are exactly this event; what follows stays for whoever is next."""

    def run(octets: bytes) -> None:
        assert deliver(make, octets).events == [event]
        joined = deliver(make, octets + tail)
        assert joined.events[0] == event
        partial = feed(make(), [octets[:-1]])
        assert (partial.events, partial.last) == ([], NEED_DATA)

    return run


def request(request: Request, make: Callable[[], ServerConnection] | None = None) -> Check:
    """A request, as the server sees it and as a client would write it; payload behind it is handed over."""
    make_server = make or (ServerConnection if request.version == 4 else server_at_request)
    codec = socks4 if request.version == 4 else socks5

    def run(octets: bytes) -> None:
        check_whole(codec.decode_request, octets, request)
        takes(make_server, request)(octets)
        server = deliver(make_server, octets + b"early payload").connection
        server.send(Reply(0))
        if server.state is State.ANSWER_BIND_PEER:
            server.send(Reply(0))
        assert server.detach().leftover == b"early payload"
        written = codec.encode_request(request)
        # Other words for the same: any marker announces a name (S4A-REQ-07).
        assert written == octets or (request.version == 4 and request.address.is_name)

    return run


def refused(about: str, answer: bytes, make: Callable[[], ServerConnection] = server_at_request) -> Check:
    """The octets are refused: `answer`, then the connection must be closed."""

    def run(octets: bytes) -> None:
        result = deliver(make, octets)
        assert about in str(result.error)
        assert result.connection.refuse(result.error.reply_hint) == answer
        assert result.connection.state is State.MUST_CLOSE

    return run


def failure(code: int) -> bytes:
    return bytes((5, code, 0, 1)) + bytes(6)


def reply(reply: Reply, version: int = 5, command: int = Command.CONNECT) -> Check:
    """A reply that grants; payload behind it is the application's."""

    def make() -> ClientConnection:
        return client_at_reply(version, command)

    def run(octets: bytes) -> None:
        assert reply.succeeded
        codec = socks4 if version == 4 else socks5
        check_whole(codec.decode_reply, octets, reply)
        takes(make, reply)(octets)
        assert codec.encode_reply(reply) == octets
        # In BIND a second reply comes before the payload.
        successor = octets if command == Command.BIND else b""
        client = deliver(make, octets + successor + b"SSH-").connection
        assert client.detach().leftover == b"SSH-"

    return run


def failed(code: int, version: int = 5, kind: type[ReplyError] = ReplyError, command: int = Command.CONNECT) -> Check:
    """A reply that refuses: the number is kept, and the client is done."""

    def run(octets: bytes) -> None:
        result = deliver(lambda: client_at_reply(version, command), octets)
        (event,) = result.events
        assert isinstance(event, Reply)
        assert (event.code, event.succeeded) == (code, False)
        assert result.connection.state is State.MUST_CLOSE
        error = reply_error(event.code)
        assert (type(error), error.code) == (kind, code)
        assert isinstance(error, OSError)

    return run


def protocol_error(make: Callable[[], Connection], about: str) -> Check:
    """The peer is to blame, in these words; nothing is accepted."""

    def run(octets: bytes) -> None:
        result = deliver(make, octets)
        assert about in str(result.error)
        assert result.connection.state is State.ERROR
        assert result.events == []

    return run


def needs_more(make: Callable[[], ServerConnection]) -> Check:
    """No answer, no error, keep reading."""

    def run(octets: bytes) -> None:
        result = deliver(make, octets)
        assert (result.events, result.last) == ([], NEED_DATA)

    return run


# --- SOCKS4 and 4a ---

add(
    {
        "T4-01": request(Request(4, Command.CONNECT, parse_address("66.102.7.99", 80), b"Fred")),
        "T4-03": reply(Reply(0, parse_address("0.0.0.0", 0)), 4),
        "T4-04": reply(Reply(0, parse_address("66.102.7.99", 80)), 4),
        "T4-05": failed(0x5B, 4),
        "T4-06": failed(0x5C, 4),
        "T4-07": failed(0x5D, 4),
        "T4-10": request(Request(4, Command.BIND, parse_address("198.51.100.7", 21), b"me")),
        "T4-11": reply(Reply(0, parse_address("203.0.113.5", 40000)), 4, Command.BIND),
        "T4-12": reply(Reply(0, parse_address("0.0.0.0", 40000)), 4, Command.BIND),
        "T4-15": needs_more(ServerConnection),
        "T4-20": request(Request(4, Command.CONNECT, parse_address("192.0.2.1", 80), b"\xc3\xa9")),
        "T4A-01": request(Request(4, Command.CONNECT, parse_address("example.com", 80))),
        "T4A-02": request(Request(4, Command.CONNECT, parse_address("a.b", 443), b"me")),
        "T4A-03": refused("empty", REJECTED, ServerConnection),
        "T4A-06": request(Request(4, Command.BIND, parse_address("ftp.example", 21))),
    }
)


@check("T4-09")
def reply_of_version_4(octets: bytes) -> None:
    protocol_error(lambda: client_at_reply(4), "version 4")(octets)
    takes(lambda: client_at_reply(4, lenient=True), Reply(0, parse_address("1.2.3.4", 0x2025)))(octets)


@check("T4-14")
def second_reply_refuses(octets: bytes) -> None:
    def make() -> ClientConnection:
        client = client_at_reply(4, Command.BIND)
        feed(client, [VECTORS["T4-11"].octets])
        assert client.state is State.AWAIT_BIND_PEER
        return client

    result = deliver(make, octets)
    assert result.events == [Reply(0x5B)]
    assert result.connection.state is State.MUST_CLOSE


@check("T4-16", "T4A-04")
def bounded(octets: bytes) -> None:
    """Needs more, up to the limit; then 5B."""
    needs_more(ServerConnection)(octets)
    result = deliver(ServerConnection, octets + b"x" * 254)
    assert "longer than 255" in str(result.error)
    assert result.error.reply_hint == ReplyCode.SOCKS4_REJECTED
    assert result.connection.refuse(result.error.reply_hint) == REJECTED


@check("T4-18")
def no_marker(octets: bytes) -> None:
    """No name is read; what follows is payload. The rules refuse the address, and this is how."""
    request(Request(4, Command.CONNECT, parse_address("0.0.0.0", 80)))(octets)
    server = deliver(ServerConnection, octets).connection
    assert server.refuse(ReplyCode.NOT_ALLOWED) == REJECTED
    assert server.state is State.MUST_CLOSE


@check("T4A-05")
def literal_in_4a(octets: bytes) -> None:
    named = Request(4, Command.CONNECT, Address(AddressType.NAME, b"192.0.2.1", 80))
    request(named)(octets)
    assert named.address.canonical() == parse_address("192.0.2.1", 80)


# --- ident ---


def identity(user_id: bytes, answer: ident.IdentAnswer) -> Check:
    def run(octets: bytes) -> None:
        check_whole(ident.decode_answer, octets, answer)
        assert answer.names(user_id)
        assert not answer.names(user_id + b"x")

    return run


add(
    {
        "TI-02": identity(b"fred", ident.IdentAnswer(40001, 1080, b" fred", b"UNIX")),
        "TI-04": identity(b"fred", ident.IdentAnswer(40001, 1080, b"fred", b"OTHER", b"UTF-8")),
    }
)


@check("TI-03")
def no_user(octets: bytes) -> None:
    answer = ident.IdentAnswer(40001, 1080, None, error=b"NO-USER")
    check_whole(ident.decode_answer, octets, answer)
    assert not answer.names(b"fred")
    assert socks4.encode_reply(Reply(ReplyCode.SOCKS4_IDENT_UNREACHABLE))[1] == 0x5C


@check("TI-05")
def wrong_pair(octets: bytes) -> None:
    """Whoever asked about 40001 sees that this is about 40002."""
    found = ident.decode_answer(octets)
    assert found is not None
    asked = ident.decode_query(ident.encode_query(40001, 1080))
    assert asked is not None
    assert (found[0].client_port, found[0].server_port) == (40002, 1080) != asked[0]


# --- SOCKS5: methods ---


def client_with_all() -> ClientConnection:
    return client_at_method(b"\x00\x01\x02", framings={**TOY, **PASSWORD})


def selects(method: int, state: State) -> Check:
    def run(octets: bytes) -> None:
        check_whole(socks5.decode_method_selected, octets, MethodSelected(method))
        takes(client_with_all, MethodSelected(method))(octets)
        assert deliver(client_with_all, octets).connection.state is state
        assert socks5.encode_method_selected(MethodSelected(method)) == octets

    return run


def offers(methods: bytes) -> Check:
    def run(octets: bytes) -> None:
        check_whole(socks5.decode_methods_offered, octets, MethodsOffered(methods))
        takes(ServerConnection, MethodsOffered(methods))(octets)
        assert socks5.encode_methods_offered(MethodsOffered(methods)) == octets

    return run


add(
    {
        "T5N-04": selects(0x00, State.SEND_REQUEST),
        "T5N-05": selects(0x02, State.ANSWER_AUTH),
        "T5N-06": selects(0x01, State.ANSWER_AUTH),
        "T5N-11": protocol_error(client_at_method, "0x02, which was not offered"),
        "T5N-12": protocol_error(client_at_method, "version 4"),
        "T5N-14": needs_more(ServerConnection),
    }
)


@check("T5N-02")
def none_or_password(octets: bytes) -> None:
    offers(b"\x00\x02")(octets)
    for method, state in ((0x00, State.AWAIT_REQUEST), (0x02, State.AWAIT_AUTH)):
        server = deliver(lambda: ServerConnection(PASSWORD), octets).connection
        assert server.send(MethodSelected(method)) == bytes((5, method))
        assert server.state is state


@check("T5N-09")
def duplicates(octets: bytes) -> None:
    offers(b"\x00\x00\x02")(octets)
    served = serve(ServerConnection(), [octets + VECTORS["T5R-01"].octets], agreeable({}))
    assert served.sent.startswith(b"\x05\x00\x05\x00")


@check("T5N-10")
def unknown_only(octets: bytes) -> None:
    offers(b"\x99\x21\x10")(octets)
    served = serve(ServerConnection(), [octets], agreeable({}))
    assert (served.sent, served.state) == (b"\x05\xff", State.MUST_CLOSE)
    assert deliver(ServerConnection, octets).connection.refuse() == b"\x05\xff"


@check("T5N-13")
def browser(octets: bytes) -> None:
    """Every cut closes; the page is a courtesy. A SOCKS reply would begin with 05 or 00."""
    for pieces in every_cut(octets):
        result = feed(ServerConnection(), pieces)
        assert result.error.looks_like == "http"
        assert result.connection.refuse().startswith(b"HTTP/1.1 501 ")
        assert result.connection.state is State.MUST_CLOSE


# --- SOCKS5: requests ---

add(
    {
        "T5R-01": request(Request(5, Command.CONNECT, parse_address("93.184.216.34", 80))),
        "T5R-02": request(Request(5, Command.CONNECT, parse_address("example.com", 443))),
        "T5R-03": request(Request(5, Command.CONNECT, parse_address("2001:db8::1", 443))),
        "T5R-04": refused("empty", failure(1)),
        "T5R-05": refused("address type 0x02", failure(8)),
        "T5R-06": refused("command 0x09", failure(7)),
        "T5R-13": request(Request(5, Command.CONNECT, parse_address("example.com.", 80))),
        "T5R-14": refused("zero octet", failure(1)),
        "T5R-15": needs_more(server_at_request),
        "T5R-18": request(Request(5, Command.BIND, parse_address("198.51.100.7", 0))),
        "T5R-19": request(Request(5, Command.BIND, parse_address("0.0.0.0", 40000))),
        "T5R-20": request(Request(5, Command.UDP_ASSOCIATE, parse_address("0.0.0.0", 0))),
        "T5R-22": request(Request(5, Command.UDP_ASSOCIATE, parse_address("192.0.2.10", 5000))),
    }
)


@check("T5R-07")
def reserved(octets: bytes) -> None:
    takes(server_at_request, Request(5, Command.CONNECT, parse_address("127.0.0.1", 80)))(octets)
    refused("reserved", failure(1), lambda: server_at_request(strict=True))(octets)


def disguised(address: Address, plain: str) -> Check:
    def run(octets: bytes) -> None:
        request(Request(5, Command.CONNECT, address))(octets)
        assert str(address.canonical()) == plain
        assert not address.canonical().is_name

    return run


add(
    {
        "T5R-09": disguised(
            Address(AddressType.IPV6, bytes(10) + b"\xff\xff\xc0\x00\x02\x01", 80),
            "192.0.2.1:80",
        ),
        "T5R-11": disguised(Address(AddressType.NAME, b"::1", 80), "[::1]:80"),
        "T5R-24": disguised(Address(AddressType.NAME, b"2001:db8::1", 80), "[2001:db8::1]:80"),
    }
)


@check("T5R-17")
def unspecified(octets: bytes) -> None:
    """The wire can say it; the rules refuse it, and the reply is a failure."""
    request(Request(5, Command.CONNECT, parse_address("0.0.0.0", 80)))(octets)
    server = deliver(server_at_request, octets).connection
    assert server.refuse(ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED) == failure(8)


# --- SOCKS5: replies ---

add(
    {
        "T5P-01": reply(Reply(0, parse_address("192.0.2.1", 40000))),
        "T5P-02": reply(Reply(0, parse_address("0.0.0.0", 0))),
        "T5P-03": reply(Reply(0, parse_address("2001:db8::2", 40000))),
        "T5P-04": reply(Reply(0, parse_address("proxy", 1080))),
        "T5P-05": reply(Reply(0, parse_address("a", 80))),
        "T5P-06": failed(1),
        "T5P-07": failed(2),
        "T5P-08": failed(3, kind=TargetUnreachable),
        "T5P-11": failed(6, kind=TargetTimedOut),
        "T5P-12": failed(7),
        "T5P-14": failed(9),
        "T5P-15": failed(0xF4),
        "T5P-18": protocol_error(client_at_reply, "address type 0x17"),
        "T5P-22": reply(Reply(0, parse_address("192.0.2.1", 55555)), command=Command.UDP_ASSOCIATE),
        "T5P-23": reply(Reply(0, parse_address("0.0.0.0", 55555)), command=Command.UDP_ASSOCIATE),
        "T5P-25": failed(4, kind=TargetUnreachable),
    }
)


@check("T5P-19")
def reply_and_payload(octets: bytes) -> None:
    for pieces in every_cut(octets):
        client = client_at_reply()
        feed(client, pieces)
        assert client.detach().leftover == b"SSH-"


def awaiting_peer() -> ClientConnection:
    client = client_at_reply(5, Command.BIND)
    feed(client, [VECTORS["T5P-01"].octets])
    assert client.state is State.AWAIT_BIND_PEER
    return client


@check("T5P-20")
def peer_came(octets: bytes) -> None:
    takes(awaiting_peer, Reply(0, parse_address("198.51.100.7", 20)))(octets)
    client = deliver(awaiting_peer, octets + b"220 ").connection
    assert client.detach().leftover == b"220 "


@check("T5P-21")
def wrong_peer_came(octets: bytes) -> None:
    result = deliver(awaiting_peer, octets)
    assert result.events == [Reply(2)]
    assert result.connection.state is State.MUST_CLOSE


# --- datagrams ---


def datagram(datagram: Datagram, header: int) -> Check:
    def run(octets: bytes) -> None:
        assert udp.decode_datagram(octets, strict=True) == datagram
        assert udp.encode_datagram(datagram) == octets
        assert len(octets) - len(datagram.data) == header
        for size in range(header):
            with pytest.raises(RemoteProtocolError):
                udp.decode_datagram(octets[:size])

    return run


def dropped(about: str) -> Check:
    def run(octets: bytes) -> None:
        with pytest.raises(RemoteProtocolError, match=about):
            udp.decode_datagram(octets)

    return run


DNS = parse_address("192.0.2.53", 53)
add(
    {
        "TU-01": datagram(Datagram(0, DNS, b"ABC"), 10),
        "TU-02": datagram(Datagram(0, parse_address("dns.example", 53), b"ABC"), 18),
        "TU-04": datagram(Datagram(0, DNS, b""), 10),
        "TU-05": datagram(Datagram(0x01, DNS, b"A"), 10),
        "TU-06": datagram(Datagram(0x02, DNS, b"B"), 10),
        "TU-08": datagram(Datagram(0x81, DNS, b"A"), 10),
        "TU-09": datagram(Datagram(0x80, DNS, b"A"), 10),
        "TU-12": dropped("address type 0x05"),
        "TU-13": dropped("empty"),
        "TU-15": datagram(Datagram(0, DNS, b"XY"), 10),
        "TU-16": datagram(Datagram(0x01, DNS, b"D"), 10),
    }
)


@check("TU-10")
def reserved_in_datagram(octets: bytes) -> None:
    assert udp.decode_datagram(octets) == Datagram(0, DNS, b"A")
    with pytest.raises(RemoteProtocolError, match="reserved"):
        udp.decode_datagram(octets, strict=True)


# --- username and password ---


class Passwords:
    """What a client with these credentials does."""

    def step(self, message: Status | None) -> AuthStep:
        if message is None:
            return AuthStep(Credentials(b"user", b"pass"))
        return AuthStep(None, Outcome("proxy" if message.code == 0 else None))


def credentials(body: Credentials) -> Check:
    def run(octets: bytes) -> None:
        check_whole(lambda data: PasswordFraming().decode(data, from_client=True), octets, body)
        takes(at_password, AuthMessage(body))(octets)
        assert PasswordFraming().encode(body, from_client=True) == octets

    return run


add(
    {
        "TA-01": credentials(Credentials(b"user", b"pass")),
        "TA-08": refused("version 5", b"\x01\x01", at_password),
        "TA-11": credentials(Credentials(b"a", b"\x00")),
    }
)


@check("TA-02")
def logged_in(octets: bytes) -> None:
    for pieces in every_cut(b"\x05\x02" + octets):
        handshake = ClientHandshake(
            Request(5, Command.CONNECT, parse_address("a", 80)), (ClientMethod(PasswordFraming(), Passwords),)
        )
        sent = handshake.start() + b"".join(handshake.feed(piece) for piece in pieces)
        assert sent.endswith(VECTORS["TA-01"].octets + bytes.fromhex("050100030161") + b"\x00\x50")


@check("TA-03", "TA-04")
def not_logged_in(octets: bytes) -> None:
    handshake = ClientHandshake(
        Request(5, Command.CONNECT, parse_address("a", 80)), (ClientMethod(PasswordFraming(), Passwords),)
    )
    handshake.start()
    with pytest.raises(AuthError) as caught:
        handshake.feed(b"\x05\x02" + octets)
    assert caught.value.status == octets[1]
    server = deliver(at_password, VECTORS["TA-01"].octets).connection
    assert server.send(AuthStep(Status(octets[1]), Outcome(None))) == octets
    assert server.state is State.MUST_CLOSE


@check("TA-05")
def empty_credentials(octets: bytes) -> None:
    credentials(Credentials(b"", b""))(octets)
    strict: dict[int, AuthFraming] = {0x02: PasswordFraming(strict=True)}
    refused("empty", b"\x01\x01", lambda: server_at_method(b"\x02", 0x02, framings=strict))(octets)


class Anyone:
    """A verifier that lets everybody in."""

    def step(self, message: Credentials) -> AuthStep:
        return AuthStep(Status(0), Outcome(message.username.decode()))


@check("TA-10")
def pipelined(octets: bytes) -> None:
    for pieces in every_cut(b"\x05\x01\x02" + octets):
        served = serve(ServerConnection(PASSWORD), pieces, agreeable({2: Anyone}))
        assert served.events == (
            MethodsOffered(b"\x02"),
            AuthMessage(Credentials(b"me", b"you")),
            Request(5, Command.CONNECT, parse_address("2.2.2.2", 0x1111)),
        )
        assert served.sent.startswith(b"\x05\x02\x01\x00\x05\x00")


# --- the method with tokens, and its layer ---


def toy(message: ToyMessage, make: Callable[[], Connection], *, from_client: bool) -> Check:
    def run(octets: bytes) -> None:
        check_whole(lambda data: ToyFraming().decode(data, from_client=from_client), octets, message)
        takes(make, AuthMessage(message))(octets)
        assert ToyFraming().encode(message, from_client=from_client) == octets

    return run


add(
    {
        "TG-01": toy(ToyMessage(ToyKind.TOKEN, b"\xde\xad\xbe\xef"), at_token, from_client=True),
        "TG-03": toy(ToyMessage(ToyKind.ABORT), at_token_of_client, from_client=False),
        "TG-15": refused("type 0x03", b"\x01\xff", at_token),
        "TG-16": refused("version 2", b"\x01\xff", at_token),
    }
)


def client_exchange(answers: bytes, level: int = 2) -> tuple[bytes, ClientHandshake]:
    """A client after one round and these answers: what it sent since the choice of the method."""
    target = Request(5, Command.CONNECT, parse_address("192.0.2.1", 80))
    handshake = ClientHandshake(target, (ClientMethod(ToyFraming(), lambda: ToyClientExchange(1, level)),))
    handshake.start()
    return handshake.feed(b"\x05\x01" + answers), handshake


@check("TG-02")
def empty_token(octets: bytes) -> None:
    toy(ToyMessage(ToyKind.TOKEN), at_token_of_client, from_client=False)(octets)
    sent, _ = client_exchange(octets)
    assert sent.endswith(VECTORS["TG-05"].octets)


@check("TG-04", "TG-05")
def level_wished(octets: bytes) -> None:
    """The server answers with its own choice, whatever was wished."""
    toy(ToyMessage(ToyKind.LEVEL, octets[4:]), at_token, from_client=True)(octets)
    for level in (1, 2):
        served = serve(
            ServerConnection(TOY),
            [b"\x05\x01\x01" + b"\x01\x01\x00\x00" + octets],
            agreeable({1: lambda level=level: ToyServerExchange(1, level)}),  # type: ignore[misc]
        )
        assert served.sent == b"\x05\x01" + b"\x01\x01\x00\x00" + bytes((1, 2, 0, 3, 0x57, 0, level))
        assert served.state is State.AWAIT_REQUEST


@check("TG-06")
def level_settled(octets: bytes) -> None:
    toy(ToyMessage(ToyKind.LEVEL, octets[4:]), at_token_of_client, from_client=False)(octets)
    answers = VECTORS["TG-02"].octets + octets
    with pytest.raises(AuthError):
        client_exchange(answers, level=2)
    sent, _ = client_exchange(answers, level=1)
    assert sent.endswith(ToyLayer(1).wrap(bytes.fromhex("05010001c00002010050")))


@check("TG-07")
def raw_level(octets: bytes) -> None:
    for pieces in every_cut(b"\x05\x01\x01" + b"\x01\x01\x00\x00" + octets):
        served = serve(ServerConnection(TOY), pieces, agreeable({1: lambda: ToyServerExchange(1)}))
        assert served.sent.endswith(b"\x01\xff")
        assert served.state is State.MUST_CLOSE


@check("TG-10")
def wrapped_request(octets: bytes) -> None:
    expected = Request(5, Command.CONNECT, parse_address("192.0.2.1", 80))
    takes(below_layer, expected, tail=ToyLayer().wrap(b"early"))(octets)
    assert ToyLayer().wrap(socks5.encode_request(expected)) == octets
    sent, _ = client_exchange(VECTORS["TG-02"].octets + VECTORS["TG-05"].octets)
    assert sent.endswith(octets)


@check("TG-12")
def wrapped_data(octets: bytes) -> None:
    check_whole(ToyLayer().unwrap, octets, b"hello")
    assert ToyLayer().wrap(b"hello") == octets
    server = deliver(below_layer, VECTORS["TG-10"].octets + octets).connection
    server.send(Reply(0))
    handoff = server.detach()
    assert handoff.layer is not None
    assert handoff.layer.unwrap(handoff.wrapped) == (b"hello", len(octets))


@check("TG-14")
def not_confidential(octets: bytes) -> None:
    check_broken(ToyLayer().unwrap, octets, "not confidential")
    protocol_error(below_layer, "not confidential")(octets)
    check_whole(ToyLayer(1).unwrap, octets, b"hello")


# --- extensions that Hosier does not have: the polite answer ---

add(
    {
        "TX-01": refused("command 0xf0", failure(7)),
        "TX-03": refused("command 0xf1", failure(7)),
        "TX-06": refused("command 0xf3", failure(7)),
        # Tor's answers have the form of any other reply.
        "TX-02": reply(Reply(0, parse_address("192.0.2.9", 0))),
        "TX-04": reply(Reply(0, parse_address("example.com", 0))),
        # Names are names: whoever dials this one will not find it.
        "TX-10": request(Request(5, Command.CONNECT, parse_address("sp.v2.udp-over-tcp.arpa", 0))),
        "TX-05": credentials(Credentials(b"<torS0X>0", b"iso1")),
        "TX-14": protocol_error(client_at_method, "version 1"),
        "TX-18": protocol_error(client_at_method, "version 255"),
        "TX-22": protocol_error(client_at_method, "version 6"),
        "TX-23": protocol_error(client_at_method, "version 6"),
        "TX-24": protocol_error(client_at_reply, "version 6"),
    }
)


@check("TX-11", "TX-12")
def payload_of_an_extension(octets: bytes) -> None:
    """Octets in a tunnel are not looked at."""
    server = deliver(server_at_request, VECTORS["TX-10"].octets + octets).connection
    server.send(Reply(0))
    assert server.detach().leftover == octets


@check("TX-13", "TX-15", "TX-17")
def method_without_framing(octets: bytes) -> None:
    """03, 05 and 08 are never selected: 05 FF, and what a hasty client sent behind its offer is not looked at."""
    for method in (0x03, 0x05, 0x08):
        for pieces in every_cut(bytes((5, 1, method)) + octets):
            server = ServerConnection({**TOY, **PASSWORD})
            served = serve(server, pieces, agreeable({1: ToyServerExchange, 2: Anyone}))
            assert served == ((MethodsOffered(bytes((method,))),), b"\x05\xff", PAUSED, State.MUST_CLOSE, None)
        server = feed(ServerConnection({**TOY, **PASSWORD}), [bytes((5, 1, method))]).connection
        with pytest.raises(LocalProtocolError, match="no framing"):
            server.send(MethodSelected(method))
        with pytest.raises(LocalProtocolError, match="no framing"):
            ClientConnection(5, {**TOY, **PASSWORD}).send(MethodsOffered(bytes((method,))))
    if octets == VECTORS["TX-15"].octets:
        # The vector itself is sound: HMAC-MD5 of the challenge in TX-14 under "Jefe".
        assert octets[-16:] == hmac.digest(b"Jefe", VECTORS["TX-14"].octets[4:], "md5")


@check("TX-21")
def socks6(octets: bytes) -> None:
    """EX-49: just close."""
    refused("looks like socks6", b"", ServerConnection)(octets)


@check("TX-25")
def option_of_socks6(octets: bytes) -> None:
    """No opening of ours; inside it is the ordinary message of RFC 1929."""
    refused("neither SOCKS4 nor SOCKS5", b"", ServerConnection)(octets)
    found = PasswordFraming().decode(octets[5:], from_client=True)
    assert found == (Credentials(b"user", b"pass"), 11)


# --- the long cases of section 9, made here ---


def test_greeting_of_257_octets() -> None:
    methods = bytes(255)
    octets = b"\x05\xff" + methods
    assert len(octets) == 257
    takes(ServerConnection, MethodsOffered(methods))(octets)


def test_name_of_255_octets() -> None:
    name = Address(AddressType.NAME, b"n" * 255, 443)
    octets = b"\x05\x01\x00\x03\xff" + b"n" * 255 + b"\x01\xbb"
    assert len(octets) == 262
    request(Request(5, Command.CONNECT, name))(octets)
    packet = b"\x00\x00\x00\x03\xff" + b"n" * 255 + b"\x01\xbb"
    datagram(Datagram(0, name, b""), udp.MAX_HEADER)(packet)


def test_credentials_of_513_octets() -> None:
    octets = b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    assert len(octets) == 513
    credentials(Credentials(b"u" * 255, b"p" * 255))(octets)


def test_token_of_65539_octets() -> None:
    token = b"t" * 65_535
    octets = b"\x01\x01\xff\xff" + token
    assert len(octets) == 65_539
    message = AuthMessage(ToyMessage(ToyKind.TOKEN, token))
    cuts = [(octets[:i], octets[i:]) for i in (1, 2, 3, 4, 5, 4096, 65_536, 65_538)]
    for pieces in [(octets,), tuple(octets[i : i + 1] for i in range(len(octets))), *cuts]:
        result: Delivered = feed(at_token(), pieces)
        assert (result.events, result.last) == ([message], PAUSED)


def test_user_id_of_2000_octets() -> None:
    octets = VECTORS["T4-15"].octets + b"\x01" + b"u" * 2000 + b"\x00"
    refused("USERID is longer than 255", REJECTED, ServerConnection)(octets)


def test_file_is_plain() -> None:
    """Keys and order as the catalogue describes them, ids unique."""
    entries: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    assert all(tuple(entry) == Vector._fields for entry in entries)
    assert len({entry["id"] for entry in entries}) == len(entries)
