"""GSSAPI: frames and subnegotiation (catalogue 5)."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import AuthError, LocalProtocolError, RemoteProtocolError
from hosier.protocol.address import parse_address
from hosier.protocol.auth.base import AuthStep
from hosier.protocol.auth.gssapi import (
    MAX_ROUNDS,
    ClientNegotiation,
    GssapiFraming,
    GssapiMessage,
    MessageType,
    SecurityContext,
    ServerNegotiation,
)
from hosier.protocol.auth.gssapi_layer import GssapiLayer, Level
from hosier.protocol.client_connection import ClientHandshake, ClientMethod
from hosier.protocol.messages import AuthMessage, Command, MethodSelected, MethodsOffered, Reply, Request
from hosier.protocol.server_connection import ServerConnection

from ..codecs import check_broken, check_whole
from .fake_context import FakeContext

FRAMING = GssapiFraming()
TOKEN, LEVEL, ABORT = MessageType.TOKEN, MessageType.LEVEL, MessageType.ABORT


def token(octets: bytes = b"hello") -> GssapiMessage:
    return GssapiMessage(TOKEN, octets)


def level(number: int, *, sealed: bool = False) -> GssapiMessage:
    """As it is sent: wrapped (GS-REQ-26)."""
    return GssapiMessage(LEVEL, bytes((0x57, sealed, number)))


def raw_level(number: int) -> GssapiMessage:
    return GssapiMessage(LEVEL, bytes((number,)))


def from_client(data: bytes) -> tuple[GssapiMessage, int] | None:
    return FRAMING.decode(data, from_client=True)


def from_server(data: bytes) -> tuple[GssapiMessage, int] | None:
    return FRAMING.decode(data, from_client=False)


# --- frames ---


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("01010004deadbeef", token(b"\xde\xad\xbe\xef")),  # TG-01
        ("01010000", token(b"")),  # TG-02
        ("01020003570001", level(1)),  # TG-04, TG-06
        ("01020003570002", level(2)),  # TG-05
        ("0102000102", raw_level(2)),  # TG-07
        ("0101ffff" + "aa" * 65535, token(b"\xaa" * 65535)),
    ],
)
def test_messages(wire: str, body: GssapiMessage) -> None:
    """GS-REQ-05, GS-REQ-06, GS-REQ-07, GS-REQ-14, GS-REQ-18."""
    octets = bytes.fromhex(wire)
    for decode in (from_client, from_server):
        if len(octets) < 1000:
            check_whole(decode, octets, body)
        assert decode(octets) == (body, len(octets))
    for client in (True, False):
        assert FRAMING.encode(body, from_client=client) == octets


def test_abort() -> None:
    """GS-REQ-20, GS-REQ-21; TG-03: whole without a length."""
    check_whole(from_server, b"\x01\xff", GssapiMessage(ABORT))
    assert FRAMING.encode(GssapiMessage(ABORT), from_client=False) == b"\x01\xff"
    check_broken(from_client, b"\x01\xff", "type 0xff", at=2)
    with pytest.raises(LocalProtocolError):
        FRAMING.encode(GssapiMessage(ABORT), from_client=True)


def test_broken() -> None:
    """GS-REQ-45; TG-15, TG-16."""
    for decode in (from_client, from_server):
        check_broken(decode, bytes.fromhex("02010004deadbeef"), "version 2", at=1)
        check_broken(decode, bytes.fromhex("01030003570141"), "type 0x03", at=2)


@pytest.mark.parametrize("body", [GssapiMessage(3, b"x"), token(bytes(65536))])
def test_no_wire_form(body: GssapiMessage) -> None:
    with pytest.raises(LocalProtocolError):
        FRAMING.encode(body, from_client=True)


def test_facts() -> None:
    assert (FRAMING.code, FRAMING.server_speaks_first, FRAMING.refusal) == (1, False, b"\x01\xff")
    assert repr(token(b"secret")) == "GssapiMessage(type=1, token=<6 octets>)"


@given(st.binary(max_size=300), st.booleans())
def test_any_octets(data: bytes, client: bool) -> None:
    for octets in (data, b"\x01" + data):
        try:
            found = FRAMING.decode(octets, from_client=client)
        except RemoteProtocolError:
            continue
        assert found is None or FRAMING.encode(found[0], from_client=client) == octets[: found[1]]


# --- the server's half ---


def server(
    context: FakeContext | None = None, levels: Sequence[int] = (2, 1), **options: Any
) -> tuple[ServerNegotiation, SecurityContext]:
    chosen = context or FakeContext(b"welcome")

    def identify(principal: str) -> str:
        if principal.startswith("eve"):
            raise RemoteProtocolError("eve is nobody here")
        return principal.partition("@")[0]

    return ServerNegotiation(chosen, [Level(one) for one in levels], identify, **options), chosen


def begun(levels: Sequence[int] = (2, 1), **options: Any) -> ServerNegotiation:
    """The context is complete."""
    negotiation, context = server(levels=levels, **options)
    assert negotiation.step(token()) == AuthStep(token(b"welcome"))
    assert context.complete
    return negotiation


def refused(step: AuthStep) -> str:
    """Why; it must have been said as 01 FF and no more."""
    assert step.body is None
    assert step.outcome is not None
    assert step.outcome.identity is None
    return step.outcome.reason


@pytest.mark.parametrize("number", [1, 2, 3])
def test_level_is_granted(number: int) -> None:
    """GS-REQ-24, GS-REQ-25, GS-REQ-26."""
    step = begun((1, 2, 3)).step(level(number))
    assert step.body == level(number)
    assert step.outcome is not None
    assert step.outcome.identity == "ann"
    assert isinstance(step.outcome.layer, GssapiLayer)
    assert step.outcome.layer.level == number


@pytest.mark.parametrize(
    ("levels", "wish", "answer"),
    [((2, 1), 3, 2), ((2,), 1, 2), ((3, 2), 1, 3), ((2, 3), 1, 2), ((1, 3), 2, None), ((1,), 2, None), ((1,), 3, None)],
)
def test_another_level_is_never_a_weaker_one(levels: Sequence[int], wish: int, answer: int | None) -> None:
    """GS-REQ-28; Dante's client asks for 2, is answered 1, and believes that it has 2."""
    step = begun(levels).step(level(wish))
    if answer is None:
        assert f"wants protection level {wish}" in refused(step)
    else:
        assert step.body == level(answer)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (level(0), "level 0, which is not allowed"),  # GS-REQ-30
        (level(4), "no protection level 4"),  # GS-REQ-29; Dante takes 4 and 255 for integrity
        (level(255), "no protection level 255"),
        (raw_level(2), "not wrapped"),  # GS-REQ-31, TG-07
        (GssapiMessage(LEVEL), "not wrapped"),
        (GssapiMessage(LEVEL, b"\x57\x00"), "0 octets"),
        (GssapiMessage(LEVEL, b"\x57\x00\x01\x01"), "2 octets"),
        (level(2, sealed=True), "sealed"),
        (token(b"\x57\x00\x02"), "token came after"),  # GS-REQ-32; Dante takes a level in a message of type 1
    ],
)
def test_level_is_refused(message: GssapiMessage, why: str) -> None:
    assert why in refused(begun().step(message))


def test_level_0_where_it_is_allowed() -> None:
    """GS-REQ-30: wrapped like the others, nothing afterwards."""
    step = begun((2, 0)).step(level(0))
    assert step.body == level(0)
    assert step.outcome is not None
    assert (step.outcome.identity, step.outcome.layer) == ("ann", None)


def test_nec() -> None:
    """GS-REQ-31: raw where it comes raw, wrapped where it comes wrapped."""
    assert begun(nec=True).step(raw_level(2)).body == raw_level(2)
    assert begun(nec=True).step(level(2)).body == level(2)
    assert "no protection level 9" in refused(begun(nec=True).step(raw_level(9)))


def test_nothing_but_a_token_begins() -> None:
    assert "before the context" in refused(server()[0].step(level(2)))


def test_rounds() -> None:
    """GS-REQ-16, GS-REQ-17: one answer to each token; an empty one says that all is said."""
    negotiation, context = server(FakeContext(b"one", b"two", needs=3))
    answers = [negotiation.step(token(octets)).body for octets in (b"a", b"b", b"c")]
    assert answers == [token(b"one"), token(b"two"), token(b"")]
    assert isinstance(context, FakeContext)
    assert context.taken == [b"a", b"b", b"c"]
    assert negotiation.step(level(1)).outcome is not None


def test_endless_rounds() -> None:
    negotiation, _ = server(FakeContext(*[b"more"] * 100, needs=100))
    for _ in range(MAX_ROUNDS):
        assert negotiation.step(token()).body == token(b"more")
    assert "no end" in refused(negotiation.step(token()))


def test_forged_token() -> None:
    """GS-REQ-20: 01 FF, not the mechanism's own words."""
    assert refused(server()[0].step(token(b"forged"))) == "the token is forged"


def test_principal_who_is_nobody() -> None:
    assert refused(server(FakeContext(b"welcome", principal="eve@X"))[0].step(token())) == "eve is nobody here"


@pytest.mark.parametrize(("service", "why"), [("integrity", "no integrity"), ("replay_detection", "no replays")])
def test_services_that_every_level_needs(service: str, why: str) -> None:
    """GS-REQ-23."""
    context = FakeContext(b"welcome")
    setattr(context, service, False)
    assert why in refused(server(context)[0].step(token()))


@pytest.mark.parametrize(("number", "granted"), [(1, True), (2, False), (3, False)])
def test_confidentiality_that_was_not_granted(number: int, granted: bool) -> None:
    """GS-REQ-23."""
    context = FakeContext(b"welcome")
    context.confidentiality = False
    negotiation, _ = server(context, (1, 2, 3))
    negotiation.step(token())
    step = negotiation.step(level(number))
    assert step.body == level(1) if granted else "no confidentiality" in refused(step)


# --- the client's half ---


def client(context: FakeContext | None = None, **options: Any) -> ClientNegotiation:
    negotiation = ClientNegotiation(context or FakeContext(b"hello"), **options)
    assert negotiation.step(None) == AuthStep(token())
    return negotiation


def asked(**options: Any) -> ClientNegotiation:
    negotiation = client(**options)
    wish = options.get("wish", 2)
    expected = raw_level(wish) if options.get("nec") else level(wish)
    assert negotiation.step(token(b"welcome")) == AuthStep(expected)
    return negotiation


def test_client() -> None:
    """GS-REQ-08, GS-REQ-12, GS-REQ-13, GS-REQ-24."""
    context = FakeContext(b"hello")
    step = asked(context=context).step(level(2))
    assert context.taken == [None, b"welcome"]
    assert step.body is None
    assert step.outcome is not None
    assert step.outcome.identity == "ann@HOSIER.TEST"
    assert isinstance(step.outcome.layer, GssapiLayer)
    assert step.outcome.layer.level == 2


def test_client_that_completes_with_its_last_token() -> None:
    """GS-REQ-19: that token has an answer, too, and it is empty (TG-02)."""
    assert client(FakeContext(b"hello", needs=0)).step(token(b"")) == AuthStep(level(2))
    assert "when all is said" in refused(client(FakeContext(b"hello", needs=0)).step(token(b"more")))


def test_client_with_several_tokens() -> None:
    negotiation = client(FakeContext(b"hello", b"again", b"last", needs=2))
    assert negotiation.step(token(b"1")) == AuthStep(token(b"again"))
    assert negotiation.step(token(b"2")) == AuthStep(token(b"last"))
    assert negotiation.step(token(b"")) == AuthStep(level(2))


def test_endless_rounds_of_a_server() -> None:
    negotiation = client(FakeContext(b"hello", *[b"more"] * 100, needs=100))
    for _ in range(MAX_ROUNDS - 1):
        assert negotiation.step(token()).body == token(b"more")
    assert "no end" in refused(negotiation.step(token()))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (GssapiMessage(ABORT), "refused"),  # GS-REQ-22
        (level(2), "before it was asked"),
        (token(b"forged"), "forged"),  # GS-REQ-15
    ],
)
def test_client_gives_up_in_the_context(message: GssapiMessage, why: str) -> None:
    assert why in refused(client().step(message))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (GssapiMessage(ABORT), "refused"),
        (token(b""), "instead of the protection level"),
        (level(1), "insists on protection level 1"),  # GS-REQ-27, TG-06
        (level(0), "insists on protection level 0"),
        (level(7), "no protection level 7"),
        (raw_level(2), "not wrapped"),
        (level(2, sealed=True), "sealed"),
    ],
)
def test_client_gives_up_over_the_level(message: GssapiMessage, why: str) -> None:
    assert why in refused(asked().step(message))


def test_client_without_credentials() -> None:
    class Poor(FakeContext):
        def step(self, token: bytes | None) -> bytes:
            raise RemoteProtocolError("no ticket: run kinit")

    assert refused(ClientNegotiation(Poor()).step(None)) == "no ticket: run kinit"


def test_client_that_accepts_less() -> None:
    step = asked(wish=Level.CONFIDENTIALITY, accepted=(Level.INTEGRITY, Level.CLEAR)).step(level(1))
    assert step.outcome is not None
    assert isinstance(step.outcome.layer, GssapiLayer)
    clear = asked(accepted=(Level.CLEAR,)).step(level(0)).outcome
    assert clear is not None
    assert clear.layer is None


def test_client_without_confidentiality() -> None:
    context, other = FakeContext(b"hello"), FakeContext(b"hello")
    context.confidentiality = other.confidentiality = False
    assert "no confidentiality" in refused(client(other).step(token(b"welcome")))
    negotiation = asked(context=context, wish=Level.INTEGRITY, accepted=(Level.INTEGRITY, Level.CONFIDENTIALITY))
    assert "no confidentiality" in refused(negotiation.step(level(2)))


def test_client_nec() -> None:
    assert asked(nec=True).step(raw_level(2)).outcome is not None


# --- both, in the core ---


def test_whole_handshake() -> None:
    """B-20: from the level on, every octet is inside a frame; both ends speak through their layers."""
    request = Request(5, Command.CONNECT, parse_address("example.com", 80))
    method = ClientMethod(FRAMING, lambda: ClientNegotiation(FakeContext(b"hello")))
    handshake = ClientHandshake(request, (method,))
    connection = ServerConnection({1: FRAMING})
    negotiation, _ = server()
    wire, seen = handshake.start(), []
    for _ in range(4):
        connection.receive_data(wire)
        event = connection.next_event()
        seen.append(event)
        if isinstance(event, MethodsOffered):
            wire = handshake.feed(connection.send(MethodSelected(1)))
        elif isinstance(event, AuthMessage):
            wire = handshake.feed(connection.send(negotiation.step(event.body)))
        else:
            assert event == request
            assert wire[:2] == b"\x01\x03"
            answer = connection.send(Reply(0, parse_address("192.0.2.1", 1)))
            assert answer[:2] == b"\x01\x03"
            assert handshake.feed(answer) == b""
    assert handshake.done
    assert len(seen) == 4
    assert handshake.detach().layer is not None
    assert connection.detach().layer is not None


def test_whole_handshake_that_is_refused() -> None:
    """B-22: the client says why in its own words, and asks for no octet more."""
    method = ClientMethod(FRAMING, lambda: ClientNegotiation(FakeContext(b"hello")))
    handshake = ClientHandshake(Request(5, Command.CONNECT, parse_address("example.com", 80)), (method,))
    handshake.start()
    handshake.feed(b"\x05\x01")
    with pytest.raises(AuthError, match="refused the GSSAPI context"):
        handshake.feed(b"\x01\xff")
