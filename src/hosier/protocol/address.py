"""Addresses as SOCKS5 writes them (RFC 1928 §5), one codec for requests, replies and UDP headers.

This file owns the octets of an address and their text; it must not know what an address is good for.
"""

from enum import IntEnum
from functools import lru_cache, partial
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct
from typing import Any, Final, NamedTuple

from ..errors import LocalProtocolError, RemoteProtocolError, ReplyCode

__all__ = (
    "Address",
    "AddressType",
    "Buffer",
    "UNSPECIFIED",
    "address_of_socket",
    "decode_address",
    "encode_address",
    "parse_address",
)

Buffer = bytes | bytearray


class AddressType(IntEnum):
    """The ATYP field (RFC 1928 §5)."""

    IPV4 = 0x01
    NAME = 0x03
    IPV6 = 0x04


# Plain module names: looking a member up in its class costs more than the comparison it serves.
IPV4: Final = int(AddressType.IPV4)
NAME: Final = int(AddressType.NAME)
IPV6: Final = int(AddressType.IPV6)

_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
_MAX_NAME: Final = 255


class Address(NamedTuple):
    """An IPv4 or IPv6 address or a name, with a port.

    ``octets`` are the 4 or 16 octets of the address, or the 1 to 255 octets of the name as they came
    (no encoding is guessed, S4A-REQ-15); ``port`` is 0 to 65535.
    """

    kind: int
    octets: bytes
    port: int

    @property
    def host(self) -> str:
        """The address or name as text. Octets of a name that are not printable ASCII appear escaped."""
        if self.kind == IPV4:
            return inet_ntop(AF_INET, self.octets)
        if self.kind == IPV6:
            return inet_ntop(AF_INET6, self.octets)
        text = self.octets.decode("ascii", "backslashreplace")
        if text.isprintable() and " " not in text:
            return text
        return "".join(c if c.isprintable() and c != " " else f"\\x{ord(c):02x}" for c in text)

    @property
    def is_name(self) -> bool:
        return self.kind == NAME

    @property
    def sockaddr(self) -> tuple[str, int]:
        """Host and port as the socket module takes them."""
        return self.host, self.port

    def __str__(self) -> str:
        kind, octets, port = self
        if kind == IPV4:
            return f"{inet_ntop(AF_INET, octets)}:{port}"
        return f"[{self.host}]:{port}" if kind == IPV6 else f"{self.host}:{port}"

    def canonical(self) -> "Address":
        """The same place without disguise: a literal in a name's place becomes an address (S5-REQ-32, S4A-REQ-14),
        also one that only resolvers take for one, as ``127.1``; an IPv4-mapped IPv6 address becomes IPv4
        (S5-REQ-40)."""
        kind, octets, port = self
        if kind == IPV4:
            return self
        if kind == NAME:
            literal = _literal(octets) or _disguised(octets)
            if literal is None:
                return self
            kind, octets = literal
        if kind == IPV6 and octets.startswith(_MAPPED_PREFIX):
            return Address(IPV4, octets[12:], port)
        return Address(kind, octets, port)


UNSPECIFIED: Final = Address(IPV4, bytes(4), 0)
"""0.0.0.0, port 0: what failure replies carry (S5-REQ-47) and what a client that does not know its address sends."""


_IPV4_FORM: Final = Struct(">B4sH")
"""ATYP, address and port of most requests and replies, taken apart and put together at once."""

_new: Final = tuple.__new__
"""Makes a named tuple without its Python-level constructor, for the messages of every handshake."""


_octets_of: Final = lru_cache(1024)(partial(inet_pton, AF_INET))  # most sockets have one of few addresses


def _literal(name: bytes) -> tuple[int, bytes] | None:
    """Kind and octets of the IP address that a name's text is, also in brackets; None for a real name."""
    if not (name[-1:].isdigit() or name[-1:] == b"]" or b":" in name):
        return None
    text = name[1:-1] if name[:1] == b"[" and name[-1:] == b"]" else name
    for kind, family in ((IPV4, AF_INET), (IPV6, AF_INET6)):
        try:
            return kind, inet_pton(family, text.decode("ascii"))
        except (OSError, ValueError):
            pass
    return None


def _disguised(name: bytes) -> tuple[int, bytes] | None:
    """Kind and octets of the IP address for which inet_aton(), and so getaddrinfo() and many a proxy, takes a text that
    is no literal: with fewer numbers than four, in other bases, with something behind a blank. And likewise with a
    final dot, or as IPv6 with the name of a link. None for a real name."""
    text = (name.split(maxsplit=1) or (b"",))[0].strip(b"[]")
    if b":" in text:
        return _literal(text.partition(b"%")[0])
    if not text[:1].isdigit():
        return None
    *first, last = map(_number, text.removesuffix(b".").split(b"."))
    room = 4 - len(first)
    if room < 1 or last is None or last >= 1 << 8 * room:
        return None
    octets = [number for number in first if number is not None and number < 256]
    return (IPV4, bytes(octets) + last.to_bytes(room, "big")) if len(octets) == len(first) else None


def _number(text: bytes) -> int | None:
    """One of an IPv4 address: hexadecimal, octal or decimal; one with a 0 in front and an 8 or a 9 is no octal one."""
    if text[:2].lower() == b"0x":
        return None if text[2:].strip(b"0123456789abcdefABCDEF") else int(text[2:] or b"0", 16)
    if not text.isdigit():
        return None
    return int(text, 10 if text[:1] != b"0" or text.strip(b"01234567") else 8)


def parse_address(host: str | bytes, port: int) -> Address:
    """The Address for a host given as text: an IP literal becomes an address, anything else a name.

    Names are encoded as ASCII; internationalised ones must arrive as A-labels or are encoded with IDNA.
    Raises LocalProtocolError for an empty or overlong name, a name with a NUL, a port outside 0..65535, and for what is
    neither text nor number.
    """
    if not isinstance(port, int):
        raise LocalProtocolError(f"a port is a whole number, and {port!r} is none")
    if not 0 <= port <= 0xFFFF:
        raise LocalProtocolError(f"port {port} is outside 0..65535")
    if isinstance(host, str):
        try:
            octets = host.encode("ascii")
        except UnicodeEncodeError:
            try:
                octets = host.encode("idna")
            except UnicodeError as error:
                raise LocalProtocolError(f"the name {host!r} cannot be encoded: {error}") from error
    elif isinstance(host, bytes | bytearray):
        octets = bytes(host)
    else:
        raise LocalProtocolError(f"a host is a text, and {host!r} is none")
    if not 1 <= len(octets) <= _MAX_NAME or 0 in octets:
        raise LocalProtocolError("a host name has 1 to 255 octets, none of them zero")
    literal = _literal(octets)
    return Address(*literal, port) if literal else Address(NAME, octets, port)


def address_of_socket(sockaddr: tuple[Any, ...]) -> Address:
    """The Address for what ``accept()``, ``getsockname()`` or ``getpeername()`` tells of an IPv4 or IPv6 socket. The
    link of a scoped address is lost: SOCKS has no field for it (A-20)."""
    host: str = sockaddr[0]
    if ":" in host:
        return Address(IPV6, inet_pton(AF_INET6, host.partition("%")[0]), sockaddr[1])
    return _new(Address, (IPV4, _octets_of(host), sockaddr[1]))


def decode_address(data: Buffer | memoryview, offset: int) -> tuple[Address, int] | None:
    """The address whose ATYP octet stands at ``offset``, and the offset behind its port; None: more is needed.

    Raises RemoteProtocolError for an unknown ATYP (hint 8, S5-REQ-35) and for an empty name or one with a zero
    octet (S5-REQ-31), the latter two only when the whole address has arrived (S5-REQ-36).
    """
    size = len(data)
    if size <= offset:
        return None
    kind = data[offset]
    start = offset + 1
    if kind == 1:
        end = offset + 7
        return (_new(Address, _IPV4_FORM.unpack_from(data, offset)), end) if size >= end else None
    if kind == 3:
        if size <= start:
            return None
        end = start + 1 + data[start]
        start += 1
    elif kind == 4:
        end = start + 16
    else:
        raise RemoteProtocolError(
            f"address type {kind:#04x} is unknown", reply_hint=ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED
        )
    if size < end + 2:
        return None
    octets = bytes(data[start:end])
    if kind == 3 and (not octets or 0 in octets):
        raise RemoteProtocolError("the name is empty or contains a zero octet")
    return _new(Address, (kind, octets, data[end] << 8 | data[end + 1])), end + 2


def encode_address(address: Address) -> bytes:
    """ATYP, address and port. Raises LocalProtocolError for an address that has no wire form (S5-REQ-30)."""
    kind, octets, port = address
    if not 0 <= port <= 0xFFFF:
        raise LocalProtocolError(f"port {port} is outside 0..65535")
    size = len(octets)
    if kind == IPV4 and size == 4:
        return _IPV4_FORM.pack(kind, octets, port)
    if kind == IPV6 and size == 16:
        return b"\x04" + octets + port.to_bytes(2, "big")
    if kind != NAME:
        raise LocalProtocolError(f"no address has type {kind} and {size} octets")
    if not 1 <= size <= _MAX_NAME or 0 in octets:
        raise LocalProtocolError("a host name has 1 to 255 octets, none of them zero")
    return bytes((NAME, size)) + octets + port.to_bytes(2, "big")
