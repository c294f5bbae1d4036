"""An authentication method with everything that is hard about GSSAPI (RFC 1961) and no cryptography.

Several rounds of tokens, a round for the protection level, an abort without a length, and a layer that wraps all that
follows. Its *wrap* is one octet 0x57, one octet that says whether the data is confidential, and the data.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from ..errors import LocalProtocolError, RemoteProtocolError
from ..protocol.address import Buffer
from ..protocol.auth.base import AuthStep, Outcome

__all__ = ("ToyClientExchange", "ToyFraming", "ToyKind", "ToyLayer", "ToyMessage", "ToyServerExchange")

_VERSION: Final = 0x01
_DATA: Final = 0x03
_WRAPPED: Final = 0x57
_MAX_TOKEN: Final = 0xFFFF


class ToyKind(IntEnum):
    """The MTYP field of the subnegotiation (RFC 1961 §3.4, §4.3, §3.8)."""

    TOKEN = 0x01
    LEVEL = 0x02
    ABORT = 0xFF


class ToyMessage(NamedTuple):
    """A message of the subnegotiation; an abort has no token."""

    kind: int
    token: bytes = b""


class ToyFraming:
    """Frames as in RFC 1961: 01 MTYP LEN(2) TOKEN, or 01 FF from the server."""

    code: int = 0x01
    server_speaks_first: bool = False
    refusal: bytes = b"\x01\xff"

    def decode(self, data: Buffer, *, from_client: bool) -> tuple[ToyMessage, int] | None:
        """Raises RemoteProtocolError for another version (GS-REQ-45), another type, an abort from a client."""
        if data and data[0] != _VERSION:
            raise RemoteProtocolError(f"toy message has version {data[0]} instead of 1")
        if len(data) < 2:
            return None
        kind = data[1]
        # An abort is complete here: its length would never come (GS-REQ-21).
        if kind == ToyKind.ABORT and not from_client:
            return ToyMessage(ToyKind.ABORT), 2
        if kind not in (ToyKind.TOKEN, ToyKind.LEVEL):
            raise RemoteProtocolError(f"toy message has type {kind:#04x}")
        found = _token(data)
        return None if found is None else (ToyMessage(kind, found[0]), found[1])

    def encode(self, body: ToyMessage, *, from_client: bool) -> bytes:
        """Raises LocalProtocolError for a type that does not exist, a client's abort and a token that is too long."""
        if body.kind == ToyKind.ABORT and not from_client:
            return self.refusal
        if body.kind not in (ToyKind.TOKEN, ToyKind.LEVEL):
            raise LocalProtocolError(f"this side sends no toy message of type {body.kind:#04x}")
        return _frame(body.kind, body.token)


class ToyLayer:
    """The layer that a toy exchange leaves behind: frames 01 03 LEN(2) around wrapped data.

    ``level`` 1 stands for integrity, 2 for confidentiality too: data that does not claim it is refused (GS-REQ-36).
    """

    max_payload: int = _MAX_TOKEN - 2
    max_datagram: int = 65_507 - 4 - 2

    def __init__(self, level: int = 2) -> None:
        self.level = level

    def wrap(self, data: bytes) -> bytes:
        """Raises LocalProtocolError for more than ``max_payload`` octets."""
        return _frame(_DATA, _wrap(data, confidential=self.level == 2))

    def unwrap(self, data: Buffer | memoryview) -> tuple[bytes, int] | None:
        """Raises RemoteProtocolError for a frame of another version or type, for a token that is not wrapped, and at
        level 2 for one that is not confidential."""
        if data and data[0] != _VERSION:
            raise RemoteProtocolError(f"frame has version {data[0]} instead of 1")
        if len(data) > 1 and data[1] != _DATA:
            raise RemoteProtocolError(f"frame has type {data[1]:#04x} instead of 3")
        found = _token(data)
        return None if found is None else (_unwrap(found[0], confidential=self.level == 2), found[1])

    def wrap_datagram(self, data: bytes) -> bytes:
        """One frame around the whole datagram (GS-REQ-40)."""
        return self.wrap(data)

    def unwrap_datagram(self, data: bytes) -> bytes:
        """Raises RemoteProtocolError for anything but one whole frame (GS-REQ-41)."""
        found = self.unwrap(data)
        if found is None or found[1] != len(data):
            raise RemoteProtocolError("datagram is not one whole frame")
        return found[0]


class ToyClientExchange:
    """The client's thinking half: ``rounds`` tokens, each answered, then the level.

    Gives up when the server aborts, answers out of turn, or settles on a level below ``level`` (GS-REQ-27).
    """

    def __init__(self, rounds: int = 2, level: int = 2) -> None:
        self._rounds = rounds
        self._level = level
        self._sent = 0

    def step(self, message: ToyMessage | None) -> AuthStep:
        """Our next step; None begins."""
        if message is not None and message.kind == ToyKind.LEVEL and self._sent > self._rounds:
            level = _level(message.token)
            if level is not None and level >= self._level:
                return AuthStep(None, Outcome("toy", ToyLayer(level)))
            return AuthStep(None, Outcome(None))
        if message is not None and (message.kind != ToyKind.TOKEN or self._sent > self._rounds):
            return AuthStep(None, Outcome(None))
        self._sent += 1
        if self._sent <= self._rounds:
            return AuthStep(ToyMessage(ToyKind.TOKEN, b"client %d" % self._sent))
        return AuthStep(ToyMessage(ToyKind.LEVEL, _wrap(bytes((self._level,)), confidential=False)))


class ToyServerExchange:
    """The server's thinking half; answers the last token with an empty one (GS-REQ-17) and insists on ``level``.

    Aborts for a token too many or too few and for a level that is not wrapped (GS-REQ-31).
    """

    def __init__(self, rounds: int = 2, level: int = 2, identity: str = "toy") -> None:
        self._rounds = rounds
        self._level = level
        self._identity = identity
        self._received = 0

    def step(self, message: ToyMessage | None) -> AuthStep:
        """Our answer to the client's message."""
        if message is not None and message.kind == ToyKind.TOKEN and self._received < self._rounds:
            self._received += 1
            last = self._received == self._rounds
            return AuthStep(ToyMessage(ToyKind.TOKEN, b"" if last else b"server %d" % self._received))
        if (
            message is not None
            and message.kind == ToyKind.LEVEL
            and self._received == self._rounds
            and _level(message.token) is not None
        ):
            answer = ToyMessage(ToyKind.LEVEL, _wrap(bytes((self._level,)), confidential=False))
            return AuthStep(answer, Outcome(self._identity, ToyLayer(self._level)))
        return AuthStep(ToyMessage(ToyKind.ABORT), Outcome(None))


def _frame(kind: int, token: bytes) -> bytes:
    if len(token) > _MAX_TOKEN:
        raise LocalProtocolError(f"a token has at most {_MAX_TOKEN} octets")
    return bytes((_VERSION, kind)) + len(token).to_bytes(2, "big") + token


def _token(data: Buffer | memoryview) -> tuple[bytes, int] | None:
    """The token behind the two octets at the start of ``data``, and the size of it all."""
    if len(data) < 4:
        return None
    end = 4 + (data[2] << 8 | data[3])
    return (bytes(data[4:end]), end) if len(data) >= end else None


def _wrap(data: bytes, *, confidential: bool) -> bytes:
    return bytes((_WRAPPED, confidential)) + data


def _unwrap(token: bytes, *, confidential: bool) -> bytes:
    if len(token) < 2 or token[0] != _WRAPPED or token[1] > 1:
        raise RemoteProtocolError("token is not wrapped")
    if confidential and not token[1]:
        raise RemoteProtocolError("token is not confidential, although that was agreed")
    return token[2:]


def _level(token: bytes) -> int | None:
    """The level in a wrapped token; None for anything else (GS-REQ-26, GS-REQ-29)."""
    try:
        plain = _unwrap(token, confidential=False)
    except RemoteProtocolError:
        return None
    return plain[0] if len(plain) == 1 and plain[0] in (1, 2) else None
