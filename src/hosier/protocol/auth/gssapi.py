"""GSSAPI (RFC 1961): the frames and the subnegotiation of both roles, over a security context that is passed in.

What a context does with its tokens is a mechanism's business (``hosier.auth.kerberos``); the layer that protects what
follows is ``gssapi_layer``.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from ...errors import LocalProtocolError, RemoteProtocolError
from ..address import Buffer
from .base import AuthStep, Outcome
from .gssapi_layer import HEADER, MAX_TOKEN, GssapiLayer, Level, Wrapping, pack_header, unpack_header

__all__ = (
    "ClientNegotiation",
    "GssapiFraming",
    "GssapiMessage",
    "MessageType",
    "SecurityContext",
    "ServerNegotiation",
)

_VERSION: Final = 0x01
_new: Final = tuple.__new__  # without the named tuples' Python-level constructors
_OCTETS: Final = tuple(bytes((level,)) for level in Level)  # by their numbers
_LEVELS: Final = dict(zip(_OCTETS, Level, strict=True))

MAX_ROUNDS: Final = 16
"""Tokens that one side may send: Kerberos needs one, SPNEGO a few. An endless exchange is an attack."""


class MessageType(IntEnum):
    """The MTYP field of the subnegotiation (RFC 1961 §3.4, §4.3, §3.8)."""

    TOKEN = 0x01
    LEVEL = 0x02
    ABORT = 0xFF


# Plain numbers for what every session asks: on Python 3.11 a look into an Enum class costs a function call.
_TOKEN: Final = int(MessageType.TOKEN)
_LEVEL: Final = int(MessageType.LEVEL)
_ABORT: Final = int(MessageType.ABORT)
_CLEAR: Final = Level.CLEAR
_WITH_TOKEN: Final = (_TOKEN, _LEVEL)


class GssapiMessage(NamedTuple):
    """A message of the subnegotiation; an abort has no token."""

    type: int
    token: bytes = b""

    def __repr__(self) -> str:
        return f"GssapiMessage(type={self.type}, token=<{len(self.token)} octets>)"


class GssapiFraming:
    """Frames of RFC 1961 §3: 01 MTYP LEN(2) TOKEN with LEN in network order (GS-REQ-06), or 01 FF from the server."""

    code: int = 0x01
    server_speaks_first: bool = False
    refusal: bytes = b"\x01\xff"

    def decode(self, data: Buffer, *, from_client: bool) -> tuple[GssapiMessage, int] | None:
        """Raises RemoteProtocolError for another version (GS-REQ-05, GS-REQ-45), another type, a client's abort."""
        if len(data) >= HEADER:
            version, kind, size = unpack_header(data)
            if version == _VERSION and kind in _WITH_TOKEN:
                end: int = HEADER + size
                if len(data) < end:
                    return None
                return _new(GssapiMessage, (kind, bytes(data[HEADER:end]))), end
        return self._decode_start(data, from_client)

    def encode(self, body: GssapiMessage, *, from_client: bool) -> bytes:
        """Raises LocalProtocolError for a type that does not exist, a client's abort and a token that is too long."""
        kind, token = body
        if kind not in _WITH_TOKEN:
            if kind == _ABORT and not from_client:
                return self.refusal
            raise LocalProtocolError(f"this side sends no GSSAPI message of type {kind:#04x}")
        if len(token) > MAX_TOKEN:
            raise LocalProtocolError(f"a token has at most {MAX_TOKEN} octets")
        return pack_header(_VERSION, kind, len(token)) + token

    def _decode_start(self, data: Buffer, from_client: bool) -> tuple[GssapiMessage, int] | None:
        """Of what is no whole header, or none of a token."""
        if data and data[0] != _VERSION:
            raise RemoteProtocolError(f"GSSAPI version {data[0]} instead of 1")
        if len(data) < 2:
            return None
        kind = data[1]
        # An abort is complete here: its length would never come (GS-REQ-21).
        if kind == _ABORT and not from_client:
            return GssapiMessage(_ABORT), 2
        if kind != _TOKEN and kind != _LEVEL:
            raise RemoteProtocolError(f"GSSAPI message of type {kind:#04x} in the subnegotiation")
        return None


class SecurityContext(Wrapping, Protocol):
    """One side of a GSS-API context (RFC 2743), as the subnegotiation needs it."""

    complete: bool
    """Whether it is established; only then do the attributes below and ``wrap`` and ``unwrap`` mean something."""

    principal: str
    """Who the initiator is, in the mechanism's own form."""

    integrity: bool
    """Whether messages can be signed."""

    confidentiality: bool
    """Whether messages can be sealed."""

    replay_detection: bool
    """Whether a message that comes twice is found out."""

    def step(self, token: bytes | None) -> bytes:
        """Takes the peer's token, None to begin, and gives ours, empty if there is none. May block.

        Raises RemoteProtocolError, with words for the operator, if the peer is not believed or there are no
        credentials.
        """


class ServerNegotiation:
    """The acceptor's half for one connection: ``step`` answers each message of the client.

    The client's wish is granted if it is among ``levels``; else the answer is the first of them that protects at least
    as well, for the client to judge (GS-REQ-24, GS-REQ-28). Never less than the wish: some clients go on as if they
    had got it. Refuses level 0 unless it is listed (GS-REQ-30).

    Args:
        context: not yet begun.
        levels: those that are allowed, the preferred one first.
        identify: the user that a principal is. Raises RemoteProtocolError for one that is nobody here.
        nec: take and answer a level that is not wrapped, too (GS-REQ-31).
        sealed_up_to: at level 3, octets up to which a message is sealed, not only signed.
    """

    __slots__ = ("_context", "_identify", "_levels", "_nec", "_rounds", "_sealed_up_to", "_user")

    def __init__(
        self,
        context: SecurityContext,
        levels: Sequence[Level],
        identify: Callable[[str], str],
        *,
        nec: bool = False,
        sealed_up_to: int = MAX_TOKEN,
    ) -> None:
        self._context = context
        self._levels = levels
        self._identify = identify
        self._nec = nec
        self._sealed_up_to = sealed_up_to
        self._rounds = 0
        self._user = ""

    def step(self, message: GssapiMessage) -> AuthStep:
        """Our answer; to a token it may take time (``SecurityContext.step``), to a level it does not."""
        try:
            return self._on_level(message) if self._context.complete else self._on_token(message)
        except RemoteProtocolError as error:
            return _refusal(error.reason)

    def _on_token(self, message: GssapiMessage) -> AuthStep:
        if message.type != _TOKEN:
            return _refusal("the protection level came before the context was complete")
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            return _refusal(f"more than {MAX_ROUNDS} tokens and no end")
        context = self._context
        answer = context.step(message.token)
        if context.complete:
            _check_services(context)
            self._user = self._identify(context.principal)
        # Complete without a token of ours: an empty one is the sign to go on (GS-REQ-17).
        return _new(AuthStep, (_new(GssapiMessage, (_TOKEN, answer)), None))

    def _on_level(self, message: GssapiMessage) -> AuthStep:
        if message.type != _LEVEL:
            return _refusal("a token came after the context was complete")
        raw = self._nec and len(message.token) == 1
        level = self._grant(_level(message.token) if raw else _unwrapped_level(self._context, message.token))
        answer = _OCTETS[level]
        if not raw:
            answer = self._context.wrap(answer, False)
        layer = _layer(self._context, level, self._sealed_up_to)
        return _new(AuthStep, (_new(GssapiMessage, (_LEVEL, answer)), _new(Outcome, (self._user, layer, ""))))

    def _grant(self, wish: Level) -> Level:
        if wish in self._levels:
            level = wish
        elif wish == Level.CLEAR:
            raise RemoteProtocolError("the client wants protection level 0, which is not allowed here")
        else:
            as_good = [level for level in self._levels if level.strength >= wish.strength]
            if not as_good:
                raise RemoteProtocolError(f"the client wants protection level {wish}, and only lower ones are allowed")
            level = as_good[0]
        _check_confidentiality(self._context, level)
        return level


class ClientNegotiation:
    """The initiator's half for one connection: ``step(None)`` begins.

    Args:
        context: not yet begun.
        wish: the level to ask for.
        accepted: the levels with which we go on if the server answers them (GS-REQ-27).
        nec: send and expect the level unwrapped (GS-REQ-31).
        sealed_up_to: at level 3, octets up to which a message is sealed, not only signed.
    """

    __slots__ = ("_accepted", "_asked", "_context", "_nec", "_rounds", "_sealed_up_to", "_wish")

    def __init__(
        self,
        context: SecurityContext,
        wish: Level = Level.CONFIDENTIALITY,
        accepted: Sequence[Level] = (Level.CONFIDENTIALITY,),
        *,
        nec: bool = False,
        sealed_up_to: int = MAX_TOKEN,
    ) -> None:
        self._context = context
        self._wish = wish
        self._accepted = accepted
        self._nec = nec
        self._sealed_up_to = sealed_up_to
        self._rounds = 0
        self._asked = False

    def step(self, message: GssapiMessage | None) -> AuthStep:
        """Our next message; to begin and to answer a token may take time (``SecurityContext.step``)."""
        try:
            if message is None:
                return self._send_token(self._context.step(None))
            if message.type == MessageType.ABORT:
                return _refusal("the proxy refused the GSSAPI context or the protection level")
            return self._on_level(message) if self._asked else self._on_token(message)
        except RemoteProtocolError as error:
            return _refusal(error.reason)

    def _on_token(self, message: GssapiMessage) -> AuthStep:
        if message.type != MessageType.TOKEN:
            return _refusal("the proxy sent a protection level before it was asked for one")
        context = self._context
        if context.complete:
            # It was complete when we sent its last token; this is the one answer that each token gets (GS-REQ-19).
            return _refusal("the proxy goes on when all is said") if message.token else self._send_level()
        answer = context.step(message.token)
        return self._send_level() if context.complete and not answer else self._send_token(answer)

    def _send_token(self, token: bytes) -> AuthStep:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            return _refusal(f"more than {MAX_ROUNDS} tokens and no end")
        return AuthStep(GssapiMessage(MessageType.TOKEN, token))

    def _send_level(self) -> AuthStep:
        context, wish = self._context, self._wish
        _check_services(context)
        _check_confidentiality(context, wish)
        self._asked = True
        octet = bytes((wish,))
        return AuthStep(GssapiMessage(MessageType.LEVEL, octet if self._nec else context.wrap(octet, False)))

    def _on_level(self, message: GssapiMessage) -> AuthStep:
        if message.type != MessageType.LEVEL:
            return _refusal("the proxy sent a token instead of the protection level")
        level = _level(message.token) if self._nec else _unwrapped_level(self._context, message.token)
        if level not in self._accepted:
            return _refusal(f"the proxy insists on protection level {level}, which is not accepted here")
        _check_confidentiality(self._context, level)
        return AuthStep(None, Outcome(self._context.principal, _layer(self._context, level, self._sealed_up_to)))


def _refusal(reason: str) -> AuthStep:
    # Without a body: the server's framing says 01 FF, a client says nothing and closes (GS-REQ-15, GS-REQ-20).
    return AuthStep(None, Outcome(None, reason=reason))


def _check_services(context: SecurityContext) -> None:
    """What every level needs (GS-REQ-09, GS-REQ-23)."""
    if not context.integrity:
        raise RemoteProtocolError("the security mechanism grants no integrity")
    if not context.replay_detection:
        raise RemoteProtocolError("the context detects no replays; RFC 1961 section 3.2 has the client ask for that")


def _check_confidentiality(context: SecurityContext, level: Level) -> None:
    if not context.confidentiality and level.strength >= Level.SELECTIVE.strength:
        raise RemoteProtocolError(f"the security mechanism grants no confidentiality, which level {level} needs")


def _unwrapped_level(context: SecurityContext, token: bytes) -> Level:
    plain, sealed = context.unwrap(token)
    if sealed:
        raise RemoteProtocolError("the protection level is sealed (RFC 1961 section 4.3 wants it signed only)")
    return _level(plain)


def _level(octets: bytes) -> Level:
    """GS-REQ-29: one octet, and a level that exists."""
    level = _LEVELS.get(octets)
    if level is not None:
        return level
    if len(octets) != 1:
        raise RemoteProtocolError(f"a protection level of {len(octets)} octets instead of 1")
    raise RemoteProtocolError(f"there is no protection level {octets[0]}")


def _layer(context: SecurityContext, level: Level, sealed_up_to: int) -> GssapiLayer | None:
    return None if level is _CLEAR else GssapiLayer(context, level, sealed_up_to=sealed_up_to)
