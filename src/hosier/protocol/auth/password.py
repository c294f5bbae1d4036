"""Username/password (RFC 1929): the frames.

This file owns the octets; who may log in is decided in ``hosier.auth.passwords``.
"""

from typing import Final, NamedTuple

from ...errors import LocalProtocolError, RemoteProtocolError
from ..address import Buffer

__all__ = ("Credentials", "PasswordFraming", "Status")

_VERSION: Final = 0x01  # of the subnegotiation, not of SOCKS (UP-REQ-02)
_STATUSES: Final = tuple(bytes((_VERSION, code)) for code in range(256))
_new: Final = tuple.__new__  # without the named tuples' Python-level constructors


class Credentials(NamedTuple):
    """A name and a password: opaque octets, zero ones included (UP-REQ-12)."""

    username: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password=<hidden>)"


class Status(NamedTuple):
    """The server's answer; 0 is success, anything else failure (UP-REQ-05)."""

    code: int


class PasswordFraming:
    """Frames of RFC 1929 §2.

    ``strict`` refuses empty names and passwords (UP-REQ-11); ``lenient_version`` takes any VER in the server's answer
    (UP-REQ-10).
    """

    code: int = 0x02
    server_speaks_first: bool = False
    refusal: bytes = b"\x01\x01"

    def __init__(self, *, strict: bool = False, lenient_version: bool = False) -> None:
        self.strict = strict
        self.lenient_version = lenient_version

    def decode(self, data: Buffer, *, from_client: bool) -> tuple[Credentials | Status, int] | None:
        if not from_client:
            return self._decode_status(data)
        if data and data[0] != _VERSION:
            raise RemoteProtocolError(f"username/password version {data[0]} instead of 1")
        try:
            name_end = 2 + data[1]
            end = name_end + 1 + data[name_end]
        except IndexError:
            return None  # not even the lengths have come
        if len(data) < end:
            return None
        data = bytes(data)
        username, password = data[2:name_end], data[name_end + 1 : end]
        if self.strict and not (username and password):
            raise RemoteProtocolError("empty user name or password")
        return _new(Credentials, (username, password)), end

    def encode(self, body: Credentials | Status, *, from_client: bool) -> bytes:
        if isinstance(body, Status):
            (code,) = body
            if not 0 <= code <= 0xFF:
                raise LocalProtocolError(f"status {code} is outside 0..255")
            return _STATUSES[code]
        username, password = body
        # RFC 1929 §2: both fields are counted by one octet. Cutting a secret to fit would be worse than refusing it.
        if len(username) > 255 or len(password) > 255:
            raise LocalProtocolError("user name and password have at most 255 octets each")
        return bytes((_VERSION, len(username))) + username + bytes((len(password),)) + password

    def _decode_status(self, data: Buffer) -> tuple[Status, int] | None:
        if data and data[0] != _VERSION and not self.lenient_version:
            raise RemoteProtocolError(f"username/password version {data[0]} instead of 1")
        return (Status(data[1]), 2) if len(data) >= 2 else None
