"""Two connections wired together."""

import pytest

from hosier.errors import LocalProtocolError, RemoteProtocolError
from hosier.protocol.address import UNSPECIFIED
from hosier.protocol.auth.base import AuthFraming, AuthStep, Outcome
from hosier.protocol.client_connection import ClientConnection, ClientExchange
from hosier.protocol.messages import Command, MethodSelected, MethodsOffered, Reply, Request
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import State
from hosier.testing import ConnectionPair, ToyClientExchange, ToyFraming, ToyMessage, ToyServerExchange

FRAMINGS: dict[int, AuthFraming] = {0x01: ToyFraming()}
REQUEST = Request(5, Command.CONNECT, UNSPECIFIED)


def test_plain_handshake() -> None:
    pair = ConnectionPair()
    assert pair.states == (State.SEND_OPENING, State.AWAIT_OPENING)
    assert pair.from_client(MethodsOffered(b"\x00")) == [MethodsOffered(b"\x00")]
    assert pair.from_server(MethodSelected(0)) == [MethodSelected(0)]
    assert pair.from_client(REQUEST) == [REQUEST]
    assert pair.from_server(Reply(0)) == [Reply(0)]
    assert pair.states == (State.TUNNEL, State.TUNNEL)
    assert (pair.to_server[:3], pair.to_client[:2]) == (b"\x05\x01\x00", b"\x05\x00")


def test_refusals() -> None:
    pair = ConnectionPair()
    pair.from_client(MethodsOffered(b"\x00"))
    assert pair.refuse(1) == [MethodSelected(0xFF)]
    assert pair.states == (State.MUST_CLOSE, State.MUST_CLOSE)
    assert pair.refuse(1) == []


def test_errors_surface() -> None:
    pair = ConnectionPair()
    with pytest.raises(LocalProtocolError):
        pair.from_client(REQUEST)
    pair.from_client(MethodsOffered(b"\x00"))
    pair.client.receive_data(b"\x04")
    with pytest.raises(RemoteProtocolError):
        pair.from_server(MethodSelected(0))


class Refuser:
    """A server's exchange that has heard enough."""

    def step(self, message: ToyMessage | None) -> AuthStep:
        return AuthStep(None, Outcome(None))


def authenticated(server: ClientExchange) -> ConnectionPair:
    pair = ConnectionPair(ClientConnection(5, FRAMINGS), ServerConnection(FRAMINGS))
    pair.from_client(MethodsOffered(b"\x01"))
    pair.from_server(MethodSelected(1))
    pair.authenticate(ToyClientExchange(), server)
    return pair


def test_authenticate() -> None:
    pair = authenticated(ToyServerExchange())
    assert pair.states == (State.SEND_REQUEST, State.AWAIT_REQUEST)
    assert pair.client.layer is not None
    assert authenticated(Refuser()).states == (State.MUST_CLOSE, State.MUST_CLOSE)
    # The client needs two rounds, the server one: it refuses the second token.
    assert authenticated(ToyServerExchange(1)).states == (State.MUST_CLOSE, State.MUST_CLOSE)


def test_client_that_ends_without_a_word() -> None:
    class Content:
        """A client's exchange that is done at once."""

        def step(self, message: ToyMessage | None) -> AuthStep:
            return AuthStep(None, Outcome("proxy"))

    pair = ConnectionPair(ClientConnection(5, FRAMINGS), ServerConnection(FRAMINGS))
    pair.from_client(MethodsOffered(b"\x01"))
    pair.from_server(MethodSelected(1))
    pair.authenticate(Content(), ToyServerExchange())
    assert pair.states == (State.SEND_REQUEST, State.AWAIT_AUTH)


def test_server_that_ends_without_a_word() -> None:
    class Content:
        """A server's exchange that has heard enough, and is happy with it."""

        def step(self, message: ToyMessage | None) -> AuthStep:
            return AuthStep(None, Outcome("fred"))

    assert authenticated(Content()).states == (State.AWAIT_AUTH, State.AWAIT_REQUEST)
