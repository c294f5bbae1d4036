"""The events of a handshake: one immutable value per message, named with the RFC's nouns.

A decoder makes them from octets, a connection hands them out of ``next_event()`` and takes them in ``send()``.
"""

from enum import Enum, IntEnum
from typing import Final, NamedTuple

from ..errors import ReplyCode
from .address import UNSPECIFIED, Address
from .auth.base import AuthMessage, AuthStep

__all__ = (
    "NEED_DATA",
    "PAUSED",
    "AuthMessage",
    "AuthStep",
    "Command",
    "ConnectionClosed",
    "Datagram",
    "Event",
    "MethodSelected",
    "MethodsOffered",
    "NO_ACCEPTABLE_METHODS",
    "NO_AUTHENTICATION",
    "Reply",
    "Request",
    "Signal",
)

NO_AUTHENTICATION: Final = 0x00
NO_ACCEPTABLE_METHODS: Final = 0xFF


class Command(IntEnum):
    """The CMD field (RFC 1928 §4; SOCKS4 has the first two)."""

    CONNECT = 0x01
    BIND = 0x02
    UDP_ASSOCIATE = 0x03


class Signal(Enum):
    """What ``next_event()`` returns when there is no event."""

    NEED_DATA = "the peer owes octets"
    PAUSED = "the next step is ours; do not read from the peer meanwhile"


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED


class MethodsOffered(NamedTuple):
    """The client's greeting (RFC 1928 §3): the methods it can do, without order of preference (S5-REQ-17)."""

    methods: bytes


class MethodSelected(NamedTuple):
    """The server's choice; 0xFF: none of them."""

    method: int


class Request(NamedTuple):
    """What the client wants (RFC 1928 §4; SOCKS4 memo). ``user_id`` is SOCKS4's USERID and empty in SOCKS5."""

    version: int
    command: int
    address: Address
    user_id: bytes = b""


class Reply(NamedTuple):
    """The answer to a request. ``code`` is kept as it came, known or not (S5-REQ-44); only SOCKS4's 0x5A becomes 0."""

    code: int
    bound: Address = UNSPECIFIED

    @property
    def succeeded(self) -> bool:
        return self.code == ReplyCode.SUCCEEDED


class ConnectionClosed(NamedTuple):
    """The peer closed before the handshake was complete. ``partial`` tells whether a message was under way."""

    partial: bool


class Datagram(NamedTuple):
    """One UDP datagram between client and relay (RFC 1928 §7)."""

    fragment: int
    address: Address
    data: bytes


Event = MethodsOffered | MethodSelected | AuthMessage | AuthStep | Request | Reply | ConnectionClosed
