"""The server's side of a handshake: SOCKS4, 4a and 5; the first octet decides (S5-REQ-08)."""

from collections.abc import Iterable, Mapping
from itertools import permutations
from struct import Struct
from types import MappingProxyType
from typing import ClassVar, Final

from ..errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from . import socks4, socks5
from .address import IPV4, IPV6, NAME, Address, Buffer
from .auth.base import AuthFraming, AuthMessage, AuthStep
from .connection import NOTHING, REQUEST_INPUT, Connection, Handoff, Reader
from .foreign import foreign_answer, looks_like
from .messages import NO_ACCEPTABLE_METHODS, NO_AUTHENTICATION, Command, Event, MethodSelected, Reply, Request
from .states import SERVER, Input, State, Table

__all__ = ("ServerConnection",)

_NO_FRAMINGS: Final[Mapping[int, AuthFraming]] = MappingProxyType({})
_SELECTED: Final = tuple(socks5.encode_method_selected(MethodSelected(method)) for method in range(256))

_USUAL_GREETINGS: Final = {
    bytes((5, size, *methods)): bytes(methods) for size in (1, 2, 3) for methods in permutations((0, 1, 2), size)
}
"""What nearly all clients say first, and what they offer by it: registered methods, each once."""

_IPV4_REQUEST: Final = Struct(">I4sH")
_CONNECT: Final = int(Command.CONNECT)
_CONNECT_IPV4: Final = 0x05010001  # VER, CMD, RSV and ATYP of the usual request
_CONNECT_NAME: Final = b"\x05\x01\x00\x03"
_CONNECT_IPV6: Final = b"\x05\x01\x00\x04"
_IPV4_REPLY: Final = Struct(">I4sH")
_CONNECTED_IPV4: Final = 0x05000001  # VER, REP, RSV and ATYP of the usual reply
_new: Final = tuple.__new__  # without the named tuples' Python-level constructors

# Plain names for what every session asks: on Python 3.11 a look into an Enum class costs a function call.
_AWAIT_OPENING: Final = State.AWAIT_OPENING
_SELECT_METHOD: Final = State.SELECT_METHOD
_AWAIT_AUTH: Final = State.AWAIT_AUTH
_ANSWER_AUTH: Final = State.ANSWER_AUTH
_AWAIT_REQUEST: Final = State.AWAIT_REQUEST
_ANSWER_CONNECT: Final = State.ANSWER_CONNECT
_MUST_CLOSE: Final = State.MUST_CLOSE
_OFFER: Final = Input.OFFER
_GRANTED: Final = Input.GRANTED
_REFUSED: Final = Input.REFUSED
_NO_METHOD: Final = Input.NO_METHOD


class ServerConnection(Connection):
    """Events out of ``next_event``: MethodsOffered, AuthMessage, Request, ConnectionClosed.
    Events into ``send``: MethodSelected, AuthStep, Reply.

    Args:
        framings: the wire half of each method that may be selected, by its number; 00 needs none.
        strict: refuse a nonzero RSV in requests (A-04).
    """

    __slots__ = ("_offered", "_strict")

    _table: ClassVar[Table] = SERVER
    _from_client: ClassVar[bool] = False

    def __init__(self, framings: Mapping[int, AuthFraming] = _NO_FRAMINGS, *, strict: bool = False) -> None:
        Connection.__init__(self, framings, _AWAIT_OPENING, 0)  # super() costs more than the call
        self._strict = strict
        self._offered = b""

    def send(self, event: MethodSelected | AuthStep | Reply) -> bytes:
        """The octets for our step, moving on.

        Raises LocalProtocolError, with the state unchanged, for a step that is not allowed now, a method that was
        not offered or has no framing, and a message without a wire form.
        """
        if isinstance(event, AuthStep):
            body, outcome = event
            if body is None or self.state is not _ANSWER_AUTH:
                return self._send_auth(event)
            # In a straight line, as nearly all go: the method goes on, or has ended well.
            if outcome is None:
                after, layer = _AWAIT_AUTH, None
            else:
                identity, layer, _ = outcome
                if identity is None:
                    return self._send_auth(event)
                after = _AWAIT_REQUEST
            assert self._framing is not None  # ANSWER_AUTH is reached through a method only
            data = self._framing.encode(body, from_client=False)
            self.state = after
            if layer is not None:
                self._install(layer)
            return data
        if isinstance(event, Reply):
            after = self._after(_REFUSED if event[0] else _GRANTED)
            data = socks4.encode_reply(event) if self.version == 4 else socks5.encode_reply(event)
            if self.layer is not None:
                data = self.layer.wrap(data)
            self.state = after
            return data
        return self._send_selected(event)

    def refuse(self, code: int = ReplyCode.GENERAL_FAILURE) -> bytes:
        """The polite refusal that fits where the handshake stands, and then MUST_CLOSE: 05 FF, the method's own, a
        reply with ``code``, a word in a stranger's tongue; nothing where the last word is already spoken.

        Raises LocalProtocolError for a code that is no refusal.
        """
        if code == ReplyCode.SUCCEEDED:
            raise LocalProtocolError("success is no refusal")
        steps = SERVER[self.state]
        symbol = Input.REFUSED if Input.REFUSED in steps else Input.TURNED_AWAY
        if symbol not in steps:
            return b""
        data = self._refusal(self.state if self._error is None else self._faulted_in, code)
        self.state = steps[symbol]
        return data

    # --- the usual handshake, in a straight line ---

    def take_usual_greeting(self, data: bytes, methods: Iterable[int]) -> bytes | None:
        """If ``data`` is a usual greeting that offers some of the methods, and nothing else: the octets that select the
        first of them, the second octet being its number, and what the client owes next is awaited. Else None, nothing
        has changed, and ``data`` goes the long way, into ``receive_data``."""
        offered = _USUAL_GREETINGS.get(data)
        if offered is None or self.state is not _AWAIT_OPENING or self._buffer:
            return None
        for method in methods:
            if method in offered:
                break
        else:
            return None
        if method == NO_AUTHENTICATION:
            self.state = _AWAIT_REQUEST
        else:
            framing = self._framings.get(method)
            if framing is None or framing.server_speaks_first:
                return None
            self._framing = framing
            self.state = _AWAIT_AUTH
        self.version = 5
        self._offered = offered
        return _SELECTED[method]

    def take_usual_message(self, data: bytes) -> AuthMessage | None:
        """If ``data`` is a message of the method and nothing else: the event, and the next step is ours. Else None,
        nothing has changed, and ``data`` goes the long way, where also its faults are told."""
        framing = self._framing
        if not data or self.state is not _AWAIT_AUTH or self._buffer or framing is None:
            return None  # of nothing, which is an end, no method is asked
        try:
            found = framing.decode(data, from_client=True)
        except RemoteProtocolError:
            return None
        if found is None or found[1] != len(data):
            return None
        self.state = _ANSWER_AUTH
        return _new(AuthMessage, (found[0],))

    def take_usual_request(self, data: bytes) -> Request | None:
        """If ``data`` is a CONNECT and nothing else: the Request, and the reply is ours. Else None, nothing has
        changed, and ``data`` goes the long way."""
        if self.state is not _AWAIT_REQUEST or self._buffer or self.layer is not None:
            return None
        request = _usual_request(data)
        if request is not None:
            self.state = _ANSWER_CONNECT
        return request

    def open_request(self, data: bytes) -> Request | None:
        """Receives what came under the layer. If that is a frame with a CONNECT in it and nothing else: the Request,
        and the reply is ours. Else None, and ``next_event`` goes on with it, as it does after ``receive_data``.

        Raises RemoteProtocolError as ``next_event`` does.
        """
        layer = self.layer
        if layer is None or self.state is not _AWAIT_REQUEST or self._buffer or self._wrapped or not data:
            self.receive_data(data)
            return None
        try:
            found = layer.unwrap(data)
        except RemoteProtocolError as error:
            self._fail(error)
            raise
        if found is None:
            self._wrapped = data
            return None
        plain, size = found
        self._wrapped = data[size:]
        request = _usual_request(plain)
        if request is None:
            self._buffer = plain
        else:
            self.state = _ANSWER_CONNECT
        return request

    def grant(self, bound: Address) -> tuple[bytes, Handoff]:
        """The success of a CONNECT: the octets of the reply, and what is handed over with them. It is what ``send`` and
        ``detach`` do, one after the other, and raises what they raise."""
        kind, octets, port = bound
        if (
            kind == IPV4
            and len(octets) == 4
            and 0 <= port <= 0xFFFF
            and self.state is _ANSWER_CONNECT
            and self.version == 5
            and not self._buffer
        ):
            reply = _IPV4_REPLY.pack(_CONNECTED_IPV4, octets, port)
            if (layer := self.layer) is None:
                self.state = _MUST_CLOSE
                return reply, NOTHING
            reply = layer.wrap(reply)
            self.state = _MUST_CLOSE
            wrapped, self._wrapped = self._wrapped, b""
            return reply, _new(Handoff, (b"", bytes(wrapped), layer))
        return self.send(_new(Reply, (0, bound))), self.detach()

    # --- private ---

    def _refusal(self, state: State, code: int) -> bytes:
        if state is State.AWAIT_AUTH or state is State.ANSWER_AUTH:
            assert self._framing is not None  # both states are reached through _select only
            return self._framing.refusal
        if self.version == 4:
            return socks4.encode_reply(Reply(code))
        if state is State.SELECT_METHOD or state is State.AWAIT_OPENING:
            if self.version == 5:
                return _SELECTED[NO_ACCEPTABLE_METHODS]
            return foreign_answer(self._error.looks_like) if self._error is not None else b""
        return self._protect(socks5.encode_reply(Reply(code)))

    def _send_selected(self, event: MethodSelected) -> bytes:
        # Before anything else: in any other state the framing of the running method must stay (Input.NO_METHOD and the
        # other choices are allowed in SELECT_METHOD only).
        if self.state is not _SELECT_METHOD:
            self._after(_NO_METHOD)
        data = socks5.encode_method_selected(event)
        (method,) = event
        if method not in self._offered and method != NO_ACCEPTABLE_METHODS:
            raise LocalProtocolError(f"method {method:#04x} was not offered")
        self.state = SERVER[_SELECT_METHOD][self._select(method)]
        return data

    def _read_opening(self, data: Buffer) -> tuple[Event, int, Input] | None:
        version = data[0]
        if version == 5:
            self.version = 5
            found = socks5.decode_methods_offered(data)
            if found is None:
                return None
            offered, size = found
            (self._offered,) = offered
            return offered, size, _OFFER
        if version == 4:
            self.version = 4
            request = socks4.decode_request(data)
            return None if request is None else (*request, REQUEST_INPUT[request[0].command])
        kind = looks_like(data)
        raise RemoteProtocolError(
            f"the first octet {version:#04x} is neither SOCKS4 nor SOCKS5"
            + (f"; it looks like {kind}" if kind else ""),
            looks_like=kind,
        )

    def _read_request(self, data: Buffer) -> tuple[Event, int, Input] | None:
        found = socks5.decode_request(data, strict=self._strict)
        if found is None:
            return None
        request, size = found
        return request, size, REQUEST_INPUT[request[1]]

    _readers: ClassVar[Mapping[State, Reader]] = {
        State.AWAIT_OPENING: _read_opening,
        State.AWAIT_AUTH: Connection._read_auth,
        State.AWAIT_REQUEST: _read_request,
    }


def _usual_request(data: bytes) -> Request | None:
    """The CONNECT that ``data`` is, and nothing else; None if it is not that."""
    size = len(data)
    if size == 10:
        head, octets, port = _IPV4_REQUEST.unpack(data)
        if head == _CONNECT_IPV4:
            return _new(Request, (5, _CONNECT, _new(Address, (IPV4, octets, port)), b""))
    if size > 7 and size == 7 + data[4] and data.startswith(_CONNECT_NAME):
        kind, octets = NAME, data[5:-2]
        if 0 in octets:
            return None
    elif size == 22 and data.startswith(_CONNECT_IPV6):
        kind, octets = IPV6, data[4:-2]
    else:
        return None
    return _new(Request, (5, _CONNECT, _new(Address, (kind, octets, data[-2] << 8 | data[-1])), b""))
