"""What GSSAPI leaves between the socket and everything that follows (RFC 1961 §5): frames 01 03 LEN(2) TOKEN."""

from enum import IntEnum
from struct import Struct
from typing import Final, Protocol

from ...errors import LocalProtocolError, RemoteProtocolError
from ..address import Buffer

__all__ = ("HEADER", "MAX_TOKEN", "GssapiLayer", "Level", "Wrapping", "pack_header", "unpack_header")

MAX_TOKEN: Final = 0xFFFF
"""Octets: LEN has two octets (GS-REQ-07)."""

HEADER: Final = 4
"""Octets of VER, MTYP and LEN, which each frame begins with (RFC 1961 §3.4)."""

_STRUCT: Final = Struct(">BBH")
pack_header: Final = _STRUCT.pack
unpack_header: Final = _STRUCT.unpack_from

_VERSION: Final = 0x01
_DATA: Final = 0x03
_FRAME: Final = _VERSION << 8 | _DATA  # the first two octets at once
_FRAME_STRUCT: Final = Struct(">HH")
_pack: Final = _FRAME_STRUCT.pack
_unpack: Final = _FRAME_STRUCT.unpack_from
_NOT_SEALED: Final = "a frame is not confidential, although that was agreed"

# Dante takes a whole frame, header included, of at most 65,535 octets (GS-REQ-38).
_MAX_STREAM_TOKEN: Final = MAX_TOKEN - HEADER

# What IPv4 lets a UDP datagram carry, less the frame's header.
_MAX_DATAGRAM_TOKEN: Final = 65_507 - HEADER


class Level(IntEnum):
    """How messages are protected (RFC 1961 §4.2); CLEAR is outside the RFC (GS-REQ-30)."""

    CLEAR = 0
    INTEGRITY = 1
    CONFIDENTIALITY = 2
    SELECTIVE = 3

    @property
    def strength(self) -> int:
        """The order of how well they protect, which is not that of their numbers."""
        return (0, 1, 3, 2)[self]


# Plain names for what every session asks: on Python 3.11 a look into an Enum class costs a function call.
_INTEGRITY: Final = Level.INTEGRITY
_CONFIDENTIALITY: Final = Level.CONFIDENTIALITY
_SELECTIVE: Final = Level.SELECTIVE


class Wrapping(Protocol):
    """What an established context does with messages."""

    def wrap(self, data: bytes | bytearray, confidential: bool) -> bytes:
        """A token around the data, sealed or only signed. Raises RemoteProtocolError if the context has ended."""

    def unwrap(self, token: bytes | bytearray) -> tuple[bytes, bool]:
        """The data of a token and whether it was sealed. ``token`` is the callee's own and may be spoiled.

        Raises RemoteProtocolError for a token that is broken, forged, or seen before; and out of order, if the
        initiator has asked for that.
        """

    def wrap_limit(self, size: int, confidential: bool) -> int:
        """The most octets whose token has at most ``size`` (RFC 2743 §2.2.7)."""


class GssapiLayer:
    """The security layer of one connection. Not for two threads at once: it counts.

    Level 1 signs each message, level 2 seals it and takes nothing that is not sealed (GS-REQ-35, GS-REQ-36). Level 3
    seals messages of up to ``sealed_up_to`` octets and signs larger ones: small talk is private and bulk is cheap.
    """

    header_size: Final = HEADER

    __slots__ = ("_context", "_max_datagram", "_must_be_sealed", "_sealed_up_to", "_seals", "level", "max_payload")

    def __init__(self, context: Wrapping, level: Level, *, sealed_up_to: int = MAX_TOKEN) -> None:
        self.level: Level = level
        self._context = context
        self._must_be_sealed = level is _CONFIDENTIALITY
        self._seals = seals = level is not _INTEGRITY
        self._sealed_up_to = -1 if not seals else sealed_up_to if level is _SELECTIVE else MAX_TOKEN
        self.max_payload: int = context.wrap_limit(_MAX_STREAM_TOKEN, seals)
        """The most plain octets that one frame of the stream holds."""
        self._max_datagram: int | None = None

    @property
    def max_datagram(self) -> int:
        """The most octets, header of RFC 1928 §7 included, that one datagram holds (GS-REQ-42)."""
        if self._max_datagram is None:  # the mechanism is asked only where there are datagrams
            self._max_datagram = self._context.wrap_limit(_MAX_DATAGRAM_TOKEN, self._seals)
        return self._max_datagram

    def wrap(self, data: bytes) -> bytes:
        """Raises LocalProtocolError for more octets than a frame holds, whatever the mechanism said (GS-REQ-39)."""
        token = self._context.wrap(data, len(data) <= self._sealed_up_to)
        if len(token) > MAX_TOKEN:
            raise self._too_long()
        return _pack(_FRAME, len(token)) + token

    def wrap_in_pieces(self, data: bytes | bytearray) -> tuple[bytes, bytes]:
        """The same frame as its header and its token, for who can send them without putting them together."""
        token = self._context.wrap(data, len(data) <= self._sealed_up_to)
        if len(token) > MAX_TOKEN:
            raise self._too_long()
        return _pack(_FRAME, len(token)), token

    def unwrap(self, data: Buffer | memoryview) -> tuple[bytes, int] | None:
        """Raises RemoteProtocolError for a frame of another version or type and for a token that is not believed; at
        level 2 also for one that is not sealed."""
        have = len(data)
        if have < HEADER:
            _check_start(data)
            return None
        frame, size = _unpack(data)
        if frame != _FRAME:
            _check_start(data)
        end: int = HEADER + size
        if have < end:
            return None
        plain, sealed = self._context.unwrap(bytes(data[HEADER:end]))
        if self._must_be_sealed and not sealed:
            raise RemoteProtocolError(_NOT_SEALED)
        return plain, end

    def unwrap_in_pieces(self, header: bytes | bytearray, token: bytearray) -> bytes | None:
        """The same for a frame that did not come in one piece; None, with nothing changed, if this is no whole frame.
        ``token`` may be spoiled. Raises RemoteProtocolError for a token that is not believed."""
        if header != _pack(_FRAME, len(token)):
            return None
        plain, sealed = self._context.unwrap(token)
        if self._must_be_sealed and not sealed:
            raise RemoteProtocolError(_NOT_SEALED)
        return plain

    def _too_long(self) -> LocalProtocolError:
        return LocalProtocolError(f"a frame holds at most {self.max_payload} octets")

    def wrap_datagram(self, data: bytes) -> bytes:
        """One frame around the whole datagram (GS-REQ-40); of at most ``max_datagram`` octets, or no kernel takes
        it. Raises LocalProtocolError for more."""
        if len(data) > self.max_datagram:
            raise LocalProtocolError(f"a datagram holds at most {self.max_datagram} octets below this layer")
        return self.wrap(data)

    def unwrap_datagram(self, data: bytes) -> bytes:
        """Raises RemoteProtocolError for anything but one whole frame that is believed: it is dropped, and the
        association lives (GS-REQ-41). What comes out of order is fine if the initiator has not asked for order
        (GS-REQ-11); what comes twice is not."""
        # Before the token is looked at: whoever lengthens a copy must not have the original taken for the second one.
        if len(data) < HEADER or HEADER + (data[2] << 8 | data[3]) != len(data):
            raise RemoteProtocolError("a datagram is not one whole frame")
        found = self.unwrap(data)
        assert found is not None  # it is whole
        return found[0]


def _check_start(data: Buffer | memoryview) -> None:
    if data and data[0] != _VERSION:
        raise RemoteProtocolError(f"a frame of version {data[0]} instead of 1")
    if len(data) > 1 and data[1] != _DATA:
        raise RemoteProtocolError(f"a frame of type {data[1]:#04x} instead of 3")
