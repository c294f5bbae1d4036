"""The usual case, quickly: CONNECT to a SOCKS5 proxy without authentication that answers as almost all do.

Octets are compared instead of parsed. Whatever else arrives is given, from the first octet on, to the full handshake,
which judges it; so this file knows one good case and no rule.
"""

from functools import lru_cache
from typing import Final

from ..protocol.address import Address, parse_address
from ..protocol.client_connection import ClientHandshake
from ..protocol.connection import Handoff
from ..protocol.messages import Command, Reply, Request
from ..protocol.socks5 import decode_reply, encode_request

__all__ = ("QuickHandshake", "connect_request", "target_address")

_GREETING: Final = b"\x05\x01\x00"
_CHOICE: Final = b"\x05\x00"
_GRANTED_IPV4: Final = b"\x05\x00\x00\x01"
_REPLY_SIZE: Final = 10


# Programs go to the same targets again and again.
target_address: Final = lru_cache(256)(parse_address)


@lru_cache(256)
def connect_request(address: Address) -> bytes:
    """The octets of a CONNECT of SOCKS5."""
    return encode_request(Request(5, Command.CONNECT, address))


class QuickHandshake:
    """With the verbs of :class:`ClientHandshake`, for a SOCKS5 CONNECT without credentials."""

    __slots__ = ("_early", "_full", "_received", "_request", "done", "owed")

    first_reply: Final = None
    blocks: Final = False

    def __init__(self, request: Request, early: bytes = b"") -> None:
        self._request = request
        self._early = early
        self._received: bytes | None = None
        """Of the reply; None while the choice of the method is still to come."""
        self._full: ClientHandshake | None = None
        self.done = False
        self.owed = 2

    @property
    def step(self) -> str:
        """What the server owes."""
        if self._full is not None:
            return self._full.step
        return "method" if self._received is None else "reply"

    @property
    def reply(self) -> Reply | None:
        """The success, once it is there."""
        if self._full is not None:
            return self._full.reply
        found = decode_reply(self._received or b"") if self.done else None
        return None if found is None else found[0]

    def start(self) -> bytes:
        """The greeting."""
        return _GREETING

    def feed(self, data: bytes) -> bytes:
        """As :meth:`ClientHandshake.feed`, with its errors."""
        if self._full is not None:
            return self._feed_full(self._full, data)
        received = self._received
        if received is None:
            if data == _CHOICE:
                self._received = b""
                self.owed = 8  # not more: the shortest reply with a name ends there
                return connect_request(self._request.address) + self._early
            return self._give_up(data)
        received = self._received = received + data
        if data and received.startswith(_GRANTED_IPV4):
            missing = _REPLY_SIZE - len(received)
            self.owed = max(missing, 0)
            self.done = missing <= 0
            return b""
        return self._give_up(_CHOICE + received, closed=not data)

    def detach(self) -> Handoff:
        """What has arrived behind the reply, where more was read than is owed."""
        if self._full is not None:
            return self._full.detach()
        return Handoff((self._received or b"")[_REPLY_SIZE:], b"", None)

    # --- private ---

    def _give_up(self, received: bytes, *, closed: bool = False) -> bytes:
        """Not the usual case: the same octets once more, for who knows all of them."""
        full = self._full = ClientHandshake(self._request, early=self._early)
        full.start()
        asked = self._received is not None
        out = full.feed(received)
        if closed:
            full.feed(b"")
        self.owed, self.done = full.owed, full.done
        return b"" if asked else out

    def _feed_full(self, full: ClientHandshake, data: bytes) -> bytes:
        out = full.feed(data)
        self.done = full.done
        self.owed = full.owed
        return out
