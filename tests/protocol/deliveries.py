"""How the tests feed a connection: at every cut, with one result for all of them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from hosier.errors import RemoteProtocolError
from hosier.protocol.address import Address, parse_address
from hosier.protocol.auth.base import AuthStep, Outcome
from hosier.protocol.auth.password import Status
from hosier.protocol.client_connection import ClientConnection, ClientExchange
from hosier.protocol.connection import Connection, Handoff
from hosier.protocol.messages import (
    NEED_DATA,
    AuthMessage,
    Command,
    Event,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
    Signal,
)
from hosier.protocol.server_connection import ServerConnection
from hosier.protocol.states import State
from hosier.testing import ToyKind, ToyLayer, ToyMessage, every_cut

TARGET = parse_address("192.0.2.1", 80)


class Delivered(NamedTuple):
    """What came of it: ``last`` is the signal or error at the end."""

    connection: Any
    events: list[Event]
    last: Signal | RemoteProtocolError

    @property
    def error(self) -> RemoteProtocolError:
        assert isinstance(self.last, RemoteProtocolError), self.last
        return self.last


def pull(connection: Connection) -> tuple[list[Event], Signal | RemoteProtocolError]:
    """All events that are there now, and what ends them."""
    events: list[Event] = []
    try:
        while not isinstance(event := connection.next_event(), Signal):
            events.append(event)
    except RemoteProtocolError as error:
        return events, error
    return events, event


def feed(connection: Connection, pieces: Iterable[bytes]) -> Delivered:
    """Feeds the pieces one by one, asking for events after each."""
    events, last = pull(connection)
    for piece in pieces:
        connection.receive_data(piece)
        more, last = pull(connection)
        events += more
    return Delivered(connection, events, last)


def deliver(make: Callable[[], Connection], data: bytes, *, more: Iterable[tuple[bytes, ...]] = ()) -> Delivered:
    """Feeds the data at every cut to a new connection each time; all must agree. Returns the result of the whole."""
    whole = feed(make(), (data,))
    for pieces in (*every_cut(data), *more):
        cut = feed(make(), pieces)
        assert cut.events == whole.events, pieces
        assert described(cut.last) == described(whole.last), pieces
        assert cut.connection.state is whole.connection.state, pieces
    return whole


def described(last: Signal | RemoteProtocolError) -> object:
    """Comparable: two errors are the same if they say the same."""
    if isinstance(last, RemoteProtocolError):
        return str(last), last.reply_hint, last.looks_like
    return last


def server_at_request(**options: Any) -> ServerConnection:
    """A SOCKS5 server that has selected method 00 and awaits the request."""
    return server_at_method(b"\x00", 0x00, **options)


def server_at_method(offered: bytes, method: int, **options: Any) -> ServerConnection:
    """A SOCKS5 server that has selected the method."""
    server = ServerConnection(**options)
    server.receive_data(bytes((5, len(offered))) + offered)
    assert server.next_event() == MethodsOffered(offered)
    server.send(MethodSelected(method))
    return server


def client_at_method(offered: bytes = b"\x00", **options: Any) -> ClientConnection:
    """A SOCKS5 client that has sent its offer."""
    client = ClientConnection(5, **options)
    client.send(MethodsOffered(offered))
    return client


def client_at_reply(
    version: int = 5, command: int = Command.CONNECT, address: Address = TARGET, **options: Any
) -> ClientConnection:
    """A client that has sent its request and awaits the reply."""
    if version == 4:
        client = ClientConnection(4, **options)
    else:
        client = client_at_method(**options)
        client.receive_data(b"\x05\x00")
        assert client.next_event() == MethodSelected(0)
    client.send(Request(version, command, address))
    return client


class Served(NamedTuple):
    """A whole conversation as a server saw it, and what it left."""

    events: tuple[Event, ...]
    sent: bytes
    last: object
    state: State
    handoff: Handoff | None


Decide = Callable[[ServerConnection, Event], bytes]
"""What a server's shell does about an event: it sends on the connection and returns the octets."""


def serve(connection: ServerConnection, pieces: Iterable[bytes], decide: Decide) -> Served:
    """Plays a server that decides at once; it goes on reading until payload flows or the connection is done.

    Pieces that it no longer reads are put behind what it hands over: a relay would read them. The layer itself is
    left out of the result, which is there to be compared.
    """
    rest = list(pieces)
    events: list[Event] = []
    sent = b""
    while True:
        more, last = pull(connection)
        for event in more:
            events.append(event)
            sent += decide(connection, event)
        if more:
            continue
        if last is not NEED_DATA or not rest:
            break
        connection.receive_data(rest.pop(0))
    handoff = None
    if connection.state in (State.TUNNEL, State.ASSOCIATED):
        handoff = connection.detach()
        unread = b"".join(rest)
        if handoff.layer is None:
            handoff = handoff._replace(leftover=handoff.leftover + unread)
        else:
            handoff = handoff._replace(wrapped=handoff.wrapped + unread, layer=None)
    return Served(tuple(events), sent, described(last), connection.state, handoff)


def preferring(method: int) -> Decide:
    """A shell that takes this method wherever it is offered, and answers everything well."""

    def decide(connection: ServerConnection, event: Event) -> bytes:
        if isinstance(event, MethodsOffered):
            return connection.send(MethodSelected(method if method in event.methods else 0xFF))
        if isinstance(event, AuthMessage):
            return connection.send(welcome(event))
        return connection.send(Reply(0)) if isinstance(event, Request) else b""

    return decide


def welcome(message: AuthMessage) -> AuthStep:
    """Whoever it is may come in; a toy's second message leaves a layer."""
    if isinstance(message.body, ToyMessage):
        done = message.body.kind == ToyKind.LEVEL
        return AuthStep(ToyMessage(message.body.kind), Outcome("x", ToyLayer()) if done else None)
    return AuthStep(Status(0), Outcome("x"))


def serve_straight(connection: ServerConnection, pieces: Iterable[bytes], method: int) -> Served:
    """The same as ``serve`` with ``preferring``, in a straight line as far as that goes, as the server has it."""
    rest = list(pieces)
    events: list[Event] = []
    sent = b""
    if rest and (selected := connection.take_usual_greeting(rest[0], [method])) is not None:
        events.append(MethodsOffered(rest.pop(0)[2:]))
        sent += selected
        if rest and (message := connection.take_usual_message(rest[0])) is not None:
            rest.pop(0)
            events.append(message)
            sent += connection.send(welcome(message))
        if rest and (request := connection.take_usual_request(rest[0])) is not None:
            rest.pop(0)
            events.append(request)
            sent += connection.send(Reply(0))
    served = serve(connection, rest, preferring(method))
    return served._replace(events=(*events, *served.events), sent=sent + served.sent)


def agreeable(exchanges: dict[int, Callable[[], ClientExchange]], code: int = 0) -> Decide:
    """A shell that takes the best method it has an exchange for, else 00, and answers every request with the code."""
    running: list[ClientExchange] = []

    def decide(connection: ServerConnection, event: Event) -> bytes:
        sent = b""
        if isinstance(event, MethodsOffered):
            known = [method for method in event.methods if method in exchanges]
            if known:
                running[:] = [exchanges[max(known)]()]
                return connection.send(MethodSelected(max(known)))
            return connection.send(MethodSelected(0 if 0 in event.methods else 0xFF))
        if isinstance(event, AuthMessage):
            return connection.send(running[0].step(event.body))
        if isinstance(event, Request):
            sent = connection.send(Reply(code, TARGET))
            if connection.state is State.ANSWER_BIND_PEER:
                sent += connection.send(Reply(code, TARGET))
        return sent

    return decide
