"""The states of a handshake and every step between them: nothing but data.

Two rules: everything that a step depends on stands in these tables, and nothing here knows which octets make a step.
The test walks every pair of state and input; the diagrams in the documentation are drawn from the same tables.

Names: AWAIT_x, the peer owes us octets; SELECT_x, ANSWER_x and SEND_x, we owe the peer an event.
"""

from enum import Enum, unique
from typing import Final

__all__ = ("CLIENT", "FINAL", "SERVER", "Input", "State", "Table")


@unique
class State(Enum):
    """Where a connection stands; the value says it in words."""

    AWAIT_OPENING = "the client owes its greeting, or in SOCKS4 its request"
    SELECT_METHOD = "we, the server, owe the choice of a method"
    AWAIT_AUTH = "the peer owes a message of the method"
    ANSWER_AUTH = "we owe the next step of the method"
    AWAIT_REQUEST = "the client owes its request"
    ANSWER_CONNECT = "we, the server, owe the reply to CONNECT"
    ANSWER_BIND = "we, the server, owe the first reply to BIND: the address that listens"
    ANSWER_BIND_PEER = "we, the server, owe the second reply to BIND: the peer that came"
    ANSWER_ASSOCIATE = "we, the server, owe the reply to UDP ASSOCIATE"
    SEND_OPENING = "we, the client, owe the greeting, or in SOCKS4 the request"
    AWAIT_METHOD = "the server owes its choice"
    SEND_REQUEST = "we, the client, owe the request"
    AWAIT_CONNECT = "the server owes the reply to CONNECT"
    AWAIT_BIND = "the server owes the first reply to BIND"
    AWAIT_BIND_PEER = "the server owes the second reply to BIND"
    AWAIT_ASSOCIATE = "the server owes the reply to UDP ASSOCIATE"
    TUNNEL = "payload flows; detach()"
    ASSOCIATED = "datagrams flow while the connection stays open; detach()"
    MUST_CLOSE = "the last word is spoken; close"
    ERROR = "the peer broke the protocol; refuse() and close"

    # Identity is all we compare; Enum's own hash is written in Python and costs more than the look-up.
    __hash__ = object.__hash__


@unique
class Input(Enum):
    """What can happen to a connection, in either direction."""

    OFFER = "methods offered"
    NO_AUTH = "method 00 selected"
    METHOD = "a method selected whose client speaks first"
    METHOD_SERVER_FIRST = "a method selected whose server speaks first"
    NO_METHOD = "FF selected"
    AUTH_MESSAGE = "a message of the method received"
    AUTH_CONTINUED = "our message of the method, another one is expected"
    AUTH_SUCCEEDED = "the method is complete"
    AUTH_REFUSED = "the method ended in refusal"
    CONNECT = "request CONNECT"
    BIND = "request BIND"
    ASSOCIATE = "request UDP ASSOCIATE"
    GRANTED = "reply: success"
    REFUSED = "reply: failure"
    TURNED_AWAY = "a polite refusal where no reply is due yet"
    CLOSED = "the peer closed too early"
    FAULT = "the peer broke the protocol"

    __hash__ = object.__hash__


Table = dict[State, dict[Input, State]]

_LOST: Final = {Input.CLOSED: State.MUST_CLOSE, Input.FAULT: State.ERROR}
_UNWELCOME: Final = {Input.TURNED_AWAY: State.MUST_CLOSE}

SERVER: Final[Table] = {
    State.AWAIT_OPENING: {
        Input.OFFER: State.SELECT_METHOD,
        Input.CONNECT: State.ANSWER_CONNECT,
        Input.BIND: State.ANSWER_BIND,
        **_UNWELCOME,
        **_LOST,
    },
    State.SELECT_METHOD: {
        Input.NO_AUTH: State.AWAIT_REQUEST,
        Input.METHOD: State.AWAIT_AUTH,
        Input.METHOD_SERVER_FIRST: State.ANSWER_AUTH,
        Input.NO_METHOD: State.MUST_CLOSE,
        **_UNWELCOME,
    },
    State.AWAIT_AUTH: {Input.AUTH_MESSAGE: State.ANSWER_AUTH, **_UNWELCOME, **_LOST},
    State.ANSWER_AUTH: {
        Input.AUTH_CONTINUED: State.AWAIT_AUTH,
        Input.AUTH_SUCCEEDED: State.AWAIT_REQUEST,
        Input.AUTH_REFUSED: State.MUST_CLOSE,
        **_UNWELCOME,
    },
    State.AWAIT_REQUEST: {
        Input.CONNECT: State.ANSWER_CONNECT,
        Input.BIND: State.ANSWER_BIND,
        Input.ASSOCIATE: State.ANSWER_ASSOCIATE,
        **_UNWELCOME,
        **_LOST,
    },
    State.ANSWER_CONNECT: {Input.GRANTED: State.TUNNEL, Input.REFUSED: State.MUST_CLOSE},
    State.ANSWER_BIND: {Input.GRANTED: State.ANSWER_BIND_PEER, Input.REFUSED: State.MUST_CLOSE},
    State.ANSWER_BIND_PEER: {Input.GRANTED: State.TUNNEL, Input.REFUSED: State.MUST_CLOSE},
    State.ANSWER_ASSOCIATE: {Input.GRANTED: State.ASSOCIATED, Input.REFUSED: State.MUST_CLOSE},
    State.ERROR: {**_UNWELCOME},
    State.TUNNEL: {},
    State.ASSOCIATED: {},
    State.MUST_CLOSE: {},
}

CLIENT: Final[Table] = {
    State.SEND_OPENING: {
        Input.OFFER: State.AWAIT_METHOD,
        Input.CONNECT: State.AWAIT_CONNECT,
        Input.BIND: State.AWAIT_BIND,
    },
    State.AWAIT_METHOD: {
        Input.NO_AUTH: State.SEND_REQUEST,
        Input.METHOD: State.ANSWER_AUTH,
        Input.METHOD_SERVER_FIRST: State.AWAIT_AUTH,
        Input.NO_METHOD: State.MUST_CLOSE,
        **_LOST,
    },
    State.AWAIT_AUTH: {Input.AUTH_MESSAGE: State.ANSWER_AUTH, **_LOST},
    State.ANSWER_AUTH: {
        Input.AUTH_CONTINUED: State.AWAIT_AUTH,
        Input.AUTH_SUCCEEDED: State.SEND_REQUEST,
        Input.AUTH_REFUSED: State.MUST_CLOSE,
    },
    State.SEND_REQUEST: {
        Input.CONNECT: State.AWAIT_CONNECT,
        Input.BIND: State.AWAIT_BIND,
        Input.ASSOCIATE: State.AWAIT_ASSOCIATE,
    },
    State.AWAIT_CONNECT: {Input.GRANTED: State.TUNNEL, Input.REFUSED: State.MUST_CLOSE, **_LOST},
    State.AWAIT_BIND: {Input.GRANTED: State.AWAIT_BIND_PEER, Input.REFUSED: State.MUST_CLOSE, **_LOST},
    State.AWAIT_BIND_PEER: {Input.GRANTED: State.TUNNEL, Input.REFUSED: State.MUST_CLOSE, **_LOST},
    State.AWAIT_ASSOCIATE: {Input.GRANTED: State.ASSOCIATED, Input.REFUSED: State.MUST_CLOSE, **_LOST},
    State.ERROR: {},
    State.TUNNEL: {},
    State.ASSOCIATED: {},
    State.MUST_CLOSE: {},
}

FINAL: Final = frozenset((State.TUNNEL, State.ASSOCIATED, State.MUST_CLOSE))
"""States in which the handshake is over; ERROR is not one of them, a refusal may still be owed."""
