"""A client's and a server's connection wired together: what one sends, the other receives at once."""

from ..protocol.auth.base import AuthMessage, AuthStep
from ..protocol.client_connection import ClientConnection, ClientExchange
from ..protocol.connection import Connection
from ..protocol.messages import Event, MethodSelected, MethodsOffered, Reply, Request, Signal
from ..protocol.server_connection import ServerConnection
from ..protocol.states import State

__all__ = ("ConnectionPair",)


class ConnectionPair:
    """Both roles of one handshake.

    ``from_client`` and ``from_server`` send an event on one side and return the events that the other side makes of
    it; ``to_server`` and ``to_client`` keep the octets that travelled.
    """

    def __init__(self, client: ClientConnection | None = None, server: ServerConnection | None = None) -> None:
        self.client = client if client is not None else ClientConnection(5)
        self.server = server if server is not None else ServerConnection()
        self.to_server = b""
        self.to_client = b""

    @property
    def states(self) -> tuple[State, State]:
        """Where the client and the server stand."""
        return self.client.state, self.server.state

    def from_client(self, *events: MethodsOffered | AuthStep | Request) -> list[Event]:
        """Raises LocalProtocolError for an event that the client may not send, RemoteProtocolError for one that the
        server does not take."""
        sent = b"".join(self.client.send(event) for event in events)
        self.to_server += sent
        return _deliver(sent, self.server)

    def from_server(self, *events: MethodSelected | AuthStep | Reply) -> list[Event]:
        """The same in the other direction."""
        sent = b"".join(self.server.send(event) for event in events)
        self.to_client += sent
        return _deliver(sent, self.client)

    def refuse(self, code: int) -> list[Event]:
        """The server's refusal, as the client sees it."""
        sent = self.server.refuse(code)
        self.to_client += sent
        return _deliver(sent, self.client)

    def authenticate(self, client: ClientExchange, server: ClientExchange) -> None:
        """Runs the exchanges of a method whose client begins against each other, until one of them ends or refuses."""
        message = None
        while self.client.state is State.ANSWER_AUTH:
            received = self.from_client(client.step(message))
            if self.server.state is not State.ANSWER_AUTH:
                return
            answer = self.from_server(server.step(_body(received)))
            message = _body(answer) if answer else None


def _deliver(sent: bytes, receiver: Connection) -> list[Event]:
    if sent:
        receiver.receive_data(sent)
    events: list[Event] = []
    while not isinstance(event := receiver.next_event(), Signal):
        events.append(event)
    return events


def _body(events: list[Event]) -> object:
    (message,) = events
    assert isinstance(message, AuthMessage)
    return message.body
