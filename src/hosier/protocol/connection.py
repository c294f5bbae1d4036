"""What both roles of a handshake share: the buffer, the state, the security layer, the hand-over.

A connection never unwraps or parses in ``receive_data`` or ``send``: only ``next_event`` looks at the peer's octets,
so the peer's faults surface in that one place.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from ..errors import LocalProtocolError, RemoteProtocolError
from .address import Buffer
from .auth.base import AuthFraming, AuthMessage, AuthStep, SecurityLayer
from .messages import (
    NEED_DATA,
    NO_ACCEPTABLE_METHODS,
    NO_AUTHENTICATION,
    PAUSED,
    Command,
    ConnectionClosed,
    Event,
    Signal,
)
from .states import Input, State, Table

__all__ = ("Connection", "Handoff", "MAX_BUFFERED")

MAX_BUFFERED: Final = 65_539 + 261
"""Octets: the largest message of all, a GSSAPI token with its header (RFC 1961 §3.4), below the layer, and above it a
request that lacks one octet."""

REQUEST_INPUT: Final = {
    int(Command.CONNECT): Input.CONNECT,
    int(Command.BIND): Input.BIND,
    int(Command.UDP_ASSOCIATE): Input.ASSOCIATE,
}


class Handoff(NamedTuple):
    """What the shell takes over when the handshake is done; nothing that arrived is lost.

    ``leftover``: application octets that came with the handshake, to be relayed first. ``wrapped``: octets still
    below the layer, always empty without one. ``layer`` None: the sockets may be joined directly.
    """

    leftover: bytes
    wrapped: bytes
    layer: SecurityLayer | None


NOTHING: Final = Handoff(b"", b"", None)

# Plain names for the states of every session: on Python 3.11 a look into an Enum class costs a function call.
_DETACHABLE: Final = frozenset((State.TUNNEL, State.ASSOCIATED))
_MUST_CLOSE: Final = State.MUST_CLOSE
_NO_AUTH: Final = Input.NO_AUTH
_METHOD: Final = Input.METHOD
_AUTH_MESSAGE: Final = Input.AUTH_MESSAGE
_AUTH_CONTINUED: Final = Input.AUTH_CONTINUED
_AUTH_SUCCEEDED: Final = Input.AUTH_SUCCEEDED
_AUTH_REFUSED: Final = Input.AUTH_REFUSED

Reader = Callable[[Any, Buffer], tuple[Event, int, Input] | None]
"""A state's decoder: the event, its size and what it means to the table; None: more is needed."""


class Connection:
    """One role of one handshake: ``receive_data``, ``next_event``, ``send``, ``detach``.

    Without I/O: the shell reads and writes, waits and keeps time. It should not read while ``next_event()`` is
    PAUSED, or a peer's early payload piles up here.
    """

    __slots__ = (
        "_buffer",
        "_error",
        "_faulted_in",
        "_framing",
        "_framings",
        "_peer_closed",
        "_wrapped",
        "layer",
        "state",
        "version",
    )

    _table: ClassVar[Table]
    _readers: ClassVar[Mapping[State, Reader]]
    _from_client: ClassVar[bool]

    def __init__(self, framings: Mapping[int, AuthFraming], state: State, version: int) -> None:
        self.state: State = state
        self.version = version
        """4 or 5; 0 while a server has not seen the first octet."""
        self.layer: SecurityLayer | None = None
        self._framings = framings
        self._framing: AuthFraming | None = None
        self._buffer: Buffer = b""
        self._wrapped: Buffer = b""
        self._peer_closed = False
        self._error: RemoteProtocolError | None = None
        self._faulted_in = state

    def __repr__(self) -> str:
        return f"<{type(self).__name__} version={self.version} state={self.state.name}>"

    def receive_data(self, data: bytes) -> None:
        """Takes octets from the peer; empty: the peer closed."""
        if not data:
            self._peer_closed = True
        elif self.layer is not None:
            self._wrapped = _joined(self._wrapped, data)
        elif self._buffer:
            self._buffer = _joined(self._buffer, data)
        else:
            self._buffer = data

    def next_event(self) -> Event | Signal:
        """The next event, NEED_DATA, or PAUSED while the next step is ours.

        Raises RemoteProtocolError if the peer broke the protocol; the same error again when called again.
        """
        if self._error is not None:
            raise self._error
        state, buffer = self.state, self._buffer
        reader = self._readers.get(state)
        if reader is None:
            return PAUSED
        if not (buffer or self._wrapped or self._peer_closed):
            return NEED_DATA
        try:
            while (found := reader(self, buffer) if buffer else None) is None:
                if self.layer is None or not self._unwrap_one():
                    return self._starved()
                buffer = self._buffer
        except RemoteProtocolError as error:
            self._fail(error)
            raise
        event, size, symbol = found
        self._buffer = buffer[size:]
        self.state = self._table[state][symbol]
        return event

    def detach(self) -> Handoff:
        """Hands over what is left when payload or datagrams may flow; the connection is spent afterwards.

        Raises LocalProtocolError in any state but TUNNEL and ASSOCIATED.
        """
        if self.state not in _DETACHABLE:
            raise LocalProtocolError(f"nothing to detach in state {self.state.name}")
        self.state = _MUST_CLOSE
        if self.layer is None and not self._buffer:
            return NOTHING
        handoff = Handoff(bytes(self._buffer), bytes(self._wrapped), self.layer)
        self._buffer = self._wrapped = b""
        return handoff

    # --- for the two roles ---

    def _after(self, symbol: Input) -> State:
        """The state after a step of ours, which is taken when its encoding has not failed.

        Raises LocalProtocolError for a step that is not allowed, before an octet of it exists.
        """
        state = self._table[self.state].get(symbol)
        if state is None:
            raise LocalProtocolError(f"{symbol.name} is not allowed in state {self.state.name}")
        return state

    def _protect(self, data: bytes) -> bytes:
        return data if self.layer is None else self.layer.wrap(data)

    def _select(self, method: int) -> Input:
        """What the choice of a method means; remembers its framing, so call it when the choice is allowed."""
        if method == NO_AUTHENTICATION:
            return _NO_AUTH
        if method == NO_ACCEPTABLE_METHODS:
            return Input.NO_METHOD
        framing = self._framings.get(method)
        if framing is None:
            raise LocalProtocolError(f"no framing for method {method:#04x}")
        self._framing = framing
        return Input.METHOD_SERVER_FIRST if framing.server_speaks_first else _METHOD

    def _read_auth(self, data: Buffer) -> tuple[Event, int, Input] | None:
        assert self._framing is not None  # AWAIT_AUTH is reached through _select only
        found = self._framing.decode(data, from_client=not self._from_client)
        return None if found is None else (AuthMessage(found[0]), found[1], _AUTH_MESSAGE)

    def _send_auth(self, step: AuthStep) -> bytes:
        body, outcome = step
        symbol = _AUTH_CONTINUED if outcome is None else _AUTH_REFUSED if outcome[0] is None else _AUTH_SUCCEEDED
        after = self._after(symbol)
        assert self._framing is not None  # ANSWER_AUTH is reached through _select only
        if body is not None:
            data = self._framing.encode(body, from_client=self._from_client)
        else:
            data = self._framing.refusal if symbol is _AUTH_REFUSED and not self._from_client else b""
        self.state = after
        if outcome is not None and symbol is _AUTH_SUCCEEDED and (layer := outcome[1]) is not None:
            self._install(layer)
        return data

    def _install(self, layer: SecurityLayer) -> None:
        """After the last step of its method, which went out bare. What the peer sent behind its own is wrapped."""
        self.layer = layer
        self._wrapped, self._buffer = self._buffer, b""

    # --- private ---

    def _unwrap_one(self) -> bool:
        assert self.layer is not None
        found = self.layer.unwrap(self._wrapped) if self._wrapped else None
        if found is None:
            return False
        plain, size = found
        self._wrapped = self._wrapped[size:]
        self._buffer = _joined(self._buffer, plain)
        return True

    def _starved(self) -> Event | Signal:
        if self._peer_closed:
            partial = bool(self._buffer or self._wrapped)
            self.state = self._table[self.state][Input.CLOSED]
            return ConnectionClosed(partial)
        if len(self._buffer) + len(self._wrapped) > MAX_BUFFERED:
            raise RemoteProtocolError(f"message is longer than {MAX_BUFFERED} octets")
        return NEED_DATA

    def _fail(self, error: RemoteProtocolError) -> None:
        self._error = error
        self._faulted_in = self.state
        self.state = self._table[self.state][Input.FAULT]


def _joined(head: Buffer, tail: bytes) -> Buffer:
    if not head:
        return tail
    if isinstance(head, bytes):
        head = bytearray(head)
    head += tail
    return head
