"""The client's side of a handshake, and the autopilot that most clients want."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from ..errors import AuthError, LocalProtocolError, RemoteProtocolError, reply_error
from . import socks4, socks5
from .address import IPV4, IPV6, Buffer
from .auth.base import AuthFraming, AuthMessage, AuthStep, SecurityLayer
from .connection import REQUEST_INPUT, Connection, Handoff, Reader
from .messages import (
    NEED_DATA,
    NO_ACCEPTABLE_METHODS,
    NO_AUTHENTICATION,
    Command,
    ConnectionClosed,
    Event,
    MethodSelected,
    MethodsOffered,
    Reply,
    Request,
    Signal,
)
from .states import CLIENT, Input, State, Table

__all__ = (
    "RESOLVE",
    "RESOLVE_PTR",
    "ClientConnection",
    "ClientExchange",
    "ClientHandshake",
    "ClientMethod",
    "NO_AUTH_ONLY",
)

RESOLVE: Final = 0xF0
"""Tor's command that looks a name up (EX-10), in SOCKS5 here."""
RESOLVE_PTR: Final = 0xF1
"""Tor's command that looks up the name of an address (EX-11)."""

# An answer to a look-up is all that follows; that the path would be open then does no harm.
_REQUEST_INPUT: Final = {**REQUEST_INPUT, RESOLVE: Input.CONNECT, RESOLVE_PTR: Input.CONNECT}

# Plain names: on Python 3.11 a look into an Enum class costs a function call.
_SEND_OPENING: Final = State.SEND_OPENING
_AWAIT_METHOD: Final = State.AWAIT_METHOD
_AWAIT_AUTH: Final = State.AWAIT_AUTH
_STEPS: Final = {_AWAIT_METHOD: "method", _AWAIT_AUTH: "authentication"}

_LONGEST_MESSAGE: Final = 65_539


class ClientConnection(Connection):
    """Events into ``send``: MethodsOffered, AuthStep, Request. Events out of ``next_event``: MethodSelected,
    AuthMessage, Reply, ConnectionClosed.

    Args:
        version: 4 (also for 4a) or 5.
        framings: the wire half of each method that may be offered, by its number; 00 needs none.
        strict: refuse a nonzero RSV in replies (A-04).
        lenient: take VN 4 in a SOCKS4 reply (S4-REQ-20).
    """

    __slots__ = ("_lenient", "_offered", "_strict")

    _table: ClassVar[Table] = CLIENT
    _from_client: ClassVar[bool] = True

    def __init__(
        self,
        version: int,
        framings: Mapping[int, AuthFraming] | None = None,
        *,
        strict: bool = False,
        lenient: bool = False,
    ) -> None:
        if version not in (4, 5):
            raise LocalProtocolError(f"there is no SOCKS version {version}")
        super().__init__(framings or {}, State.SEND_OPENING, version)
        self._strict = strict
        self._lenient = lenient
        self._offered = b""

    def send(self, event: MethodsOffered | AuthStep | Request) -> bytes:
        """The octets for our step, moving on.

        Raises LocalProtocolError, with the state unchanged, for a step that is not allowed now and for a message
        that has no wire form.
        """
        if isinstance(event, Request):
            return self._send_request(event)
        if isinstance(event, MethodsOffered):
            return self._send_offer(event)
        return self._send_auth(event)

    @property
    def owed(self) -> int:
        """How many octets, at least 1, may be read now without touching what follows the handshake.

        For a shell that leaves the payload in the socket. Beneath a layer, and before the request is out, nothing
        but messages can come.
        """
        data, state = self._buffer, self.state
        if state is _AWAIT_METHOD:
            return 2 - len(data)
        if state is _AWAIT_AUTH or self.layer is not None:
            return _LONGEST_MESSAGE
        if self.version == 4:
            return 8 - len(data)
        if len(data) < 5:
            return 8 - len(data)  # the shortest success has a name of one octet
        kind = data[3]
        size = 10 if kind == IPV4 else 22 if kind == IPV6 else 7 + data[4]
        return max(size - len(data), 1)

    # --- private ---

    def _send_offer(self, event: MethodsOffered) -> bytes:
        if self.version != 5:
            raise LocalProtocolError("SOCKS4 has no methods")
        for method in event.methods:
            if method != NO_AUTHENTICATION and method not in self._framings:
                raise LocalProtocolError(f"no framing for method {method:#04x}")
        after = self._after(Input.OFFER)
        data = socks5.encode_methods_offered(event)
        self._offered = event.methods
        self.state = after
        return data

    def _send_request(self, event: Request) -> bytes:
        symbol = _REQUEST_INPUT.get(event.command)
        if event.version != self.version or symbol is None:
            raise LocalProtocolError("the request is of another version, or its command is unknown")
        if self.version == 5 and self.state is _SEND_OPENING:
            raise LocalProtocolError("SOCKS5 begins with an offer of methods")
        after = self._after(symbol)
        encode = socks4.encode_request if self.version == 4 else socks5.encode_request
        data = self._protect(encode(event))
        self.state = after
        return data

    def _read_method(self, data: Buffer) -> tuple[Event, int, Input] | None:
        found = socks5.decode_method_selected(data)
        if found is None:
            return None
        method = found[0].method
        if method not in self._offered and method != NO_ACCEPTABLE_METHODS:
            raise RemoteProtocolError(f"the server selected method {method:#04x}, which was not offered")
        return (*found, self._select(method))

    def _read_reply(self, data: Buffer) -> tuple[Event, int, Input] | None:
        if self.version == 4:
            found = socks4.decode_reply(data, lenient=self._lenient)
        else:
            found = socks5.decode_reply(data, strict=self._strict)
        return None if found is None else (*found, Input.REFUSED if found[0].code else Input.GRANTED)

    _readers: ClassVar[Mapping[State, Reader]] = {
        State.AWAIT_METHOD: _read_method,
        State.AWAIT_AUTH: Connection._read_auth,
        State.AWAIT_CONNECT: _read_reply,
        State.AWAIT_BIND: _read_reply,
        State.AWAIT_BIND_PEER: _read_reply,
        State.AWAIT_ASSOCIATE: _read_reply,
    }


class ClientExchange(Protocol):
    """The thinking half of a method for one connection of a client."""

    def step(self, message: Any) -> AuthStep:
        """Our next step. ``message`` is the server's, None when we begin. An outcome without identity: give up."""


class ClientMethod(NamedTuple):
    """A method that a client is ready to use; ``exchange`` None is for method 00 only. ``blocks``: its steps may wait
    for others than the server."""

    framing: AuthFraming | None
    exchange: Callable[[], ClientExchange] | None = None
    blocks: bool = False

    @property
    def code(self) -> int:
        return NO_AUTHENTICATION if self.framing is None else self.framing.code


NO_AUTH_ONLY: Final = (ClientMethod(None),)
"""The methods of who has no credentials."""

# Most handshakes are of this kind, so what is the same in all of them is made once.
_NO_METHODS: Final[dict[int, ClientMethod]] = {}
_NO_AUTH_OFFERED: Final = MethodsOffered(bytes((NO_AUTHENTICATION,)))


class ClientHandshake:
    """A whole handshake as octets in, octets out: nobody decides anything between a client's messages.

    ``start()`` gives the first octets to send; ``feed(data)`` takes what the server sent (empty: it closed) and gives
    the next ones, until ``done``; for BIND the first reply is in ``first_reply`` before that.

    Args:
        request: what is wanted; its version decides how it is said.
        methods: those to offer, by preference (S5-REQ-23); SOCKS4 ignores them.
        early: payload that goes out with the request, before anybody has said that it may (EX-16).
    """

    __slots__ = (
        *("_blocks", "_connection", "_early", "_exchange", "_methods", "_offer", "_request"),
        *("first_reply", "reply"),
    )

    def __init__(
        self,
        request: Request,
        methods: tuple[ClientMethod, ...] = NO_AUTH_ONLY,
        *,
        strict: bool = False,
        lenient: bool = False,
        early: bytes = b"",
    ) -> None:
        self._request = request
        self._early = early
        framings: Mapping[int, AuthFraming] | None = None
        self._blocks = False
        if methods is NO_AUTH_ONLY:
            self._methods, self._offer = _NO_METHODS, _NO_AUTH_OFFERED
        else:
            self._blocks = any(method.blocks for method in methods)
            self._methods = {method.code: method for method in methods}
            self._offer = MethodsOffered(bytes(self._methods))
            framings = {method.code: method.framing for method in methods if method.framing is not None}
        self._connection = ClientConnection(request.version, framings, strict=strict, lenient=lenient)
        self._exchange: ClientExchange | None = None
        self.first_reply: Reply | None = None
        self.reply: Reply | None = None

    @property
    def done(self) -> bool:
        return self.reply is not None

    @property
    def owed(self) -> int:
        """How many octets may be read now, so that payload behind the last reply stays where it is."""
        return self._connection.owed

    @property
    def blocks(self) -> bool:
        """Whether the next ``feed`` may wait for others than the server, for a ticket say: where nobody else may be
        kept waiting, it belongs into a thread."""
        return self._blocks and self._connection.state in _STEPS

    @property
    def layer(self) -> SecurityLayer | None:
        """What a method has agreed on, to protect all that follows it."""
        return self._connection.layer

    @property
    def step(self) -> str:
        """What the server owes: "method", "authentication" or "reply"."""
        if self._exchange is not None:
            return "authentication"  # also while it is our turn in it, or it has just failed
        return _STEPS.get(self._connection.state, "reply")

    def start(self) -> bytes:
        """The first octets. Raises LocalProtocolError for a request without a wire form."""
        if self._request.version == 4:
            return self._ask()
        return self._connection.send(self._offer)

    def feed(self, data: bytes) -> bytes:
        """The octets to send next, maybe none.

        Raises ReplyError, AuthError, RemoteProtocolError (also when the server closes too early, A-27).
        """
        self._connection.receive_data(data)
        next_event = self._connection.next_event
        out = b""
        while self.reply is None:
            event = next_event()
            if event is NEED_DATA:
                break
            out += self._on_event(event)
        return out

    def detach(self) -> Handoff:
        """What the connection leaves: early payload, the layer."""
        return self._connection.detach()

    # --- private ---

    def _on_event(self, event: Event | Signal) -> bytes:
        if isinstance(event, Reply):
            return self._on_reply(event)
        if isinstance(event, MethodSelected):
            return self._on_method(event.method)
        if isinstance(event, AuthMessage):
            return self._take_step(event.body)
        assert isinstance(event, ConnectionClosed)
        where = "in the middle of a message" if event.partial else "before its answer"
        raise RemoteProtocolError(f"the proxy closed the connection {where}")

    def _on_method(self, method: int) -> bytes:
        if method == NO_ACCEPTABLE_METHODS:
            advice = "" if self._methods else ": it wants a user, perhaps with a password"
            raise AuthError(f"the proxy accepts none of the methods that were offered{advice}", method=method)
        if method == NO_AUTHENTICATION:
            return self._ask()
        make = self._methods[method].exchange
        if make is None:
            raise LocalProtocolError(f"no exchange for method {method:#04x}")
        self._exchange = make()
        # AWAIT_AUTH already: the method lets the server begin.
        return b"" if self._connection.state is _AWAIT_AUTH else self._take_step(None)

    def _take_step(self, message: Any) -> bytes:
        assert self._exchange is not None
        step = self._exchange.step(message)
        out = self._connection.send(step)
        if step.outcome is None:
            return out
        if step.outcome.identity is None:
            reason = step.outcome.reason or "the proxy refused the credentials"
            raise AuthError(reason, status=getattr(message, "code", None))
        return out + self._ask()

    def _ask(self) -> bytes:
        self._exchange = None
        return self._connection.send(self._request) + self._early_octets()

    def _early_octets(self) -> bytes:
        early, layer = self._early, self._connection.layer
        if layer is None or not early:
            return early
        size = layer.max_payload
        return b"".join(layer.wrap(early[start : start + size]) for start in range(0, len(early), size))

    def _on_reply(self, reply: Reply) -> bytes:
        if not reply.succeeded:
            raise reply_error(reply.code, str(self._request.address))
        if self._request.command == Command.BIND and self.first_reply is None:
            self.first_reply = reply
        else:
            self.reply = reply
        return b""
