"""Messages of SOCKS5 (RFC 1928 §3, §4, §6): pure decoders and encoders.

``decode_x(data)`` returns the message and its size, or None while octets are missing; it is tried again from the
start, which costs nothing at these sizes.
"""

from struct import Struct
from typing import Final

from ..errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from .address import IPV4, Buffer, decode_address, encode_address
from .messages import Command, MethodSelected, MethodsOffered, Reply, Request

__all__ = (
    "decode_method_selected",
    "decode_methods_offered",
    "decode_reply",
    "decode_request",
    "encode_method_selected",
    "encode_methods_offered",
    "encode_reply",
    "encode_request",
)

VERSION: Final = 5

_new: Final = tuple.__new__  # without the named tuples' Python-level constructors
_IPV4_REPLY: Final = Struct(">BBBB4sH")
_SELECTED: Final = tuple(bytes((VERSION, method)) for method in range(256))


def decode_methods_offered(data: Buffer) -> tuple[MethodsOffered, int] | None:
    """The greeting. Zero methods decode as an empty offer, which no server can accept (S5-REQ-11).

    Raises RemoteProtocolError for another version.
    """
    if data and data[0] != 5:
        raise RemoteProtocolError(f"greeting has version {data[0]} instead of 5")
    if len(data) < 2:
        return None
    end = 2 + data[1]
    return (_new(MethodsOffered, (bytes(data[2:end]),)), end) if len(data) >= end else None


def encode_methods_offered(offer: MethodsOffered) -> bytes:
    """Raises LocalProtocolError unless 1 to 255 methods are offered (S5-REQ-10), none of them 0xFF."""
    if not 1 <= len(offer.methods) <= 255 or 0xFF in offer.methods:
        raise LocalProtocolError("a client offers 1 to 255 methods, and never 0xFF")
    return bytes((VERSION, len(offer.methods))) + offer.methods


def decode_method_selected(data: Buffer) -> tuple[MethodSelected, int] | None:
    """Raises RemoteProtocolError for another version."""
    if data and data[0] != 5:
        raise RemoteProtocolError(f"method selection has version {data[0]} instead of 5")
    return (MethodSelected(data[1]), 2) if len(data) >= 2 else None


def encode_method_selected(selected: MethodSelected) -> bytes:
    """Raises LocalProtocolError for a method outside 0..255."""
    (method,) = selected
    if not 0 <= method <= 0xFF:
        raise LocalProtocolError(f"method {method} is outside 0..255")
    return _SELECTED[method]


def decode_request(
    data: Buffer, *, strict: bool = False, commands: frozenset[int] = frozenset(Command)
) -> tuple[Request, int] | None:
    """A request. ``strict`` refuses a nonzero RSV (A-04); ``commands`` are those that get past the decoder.

    Raises RemoteProtocolError: another version (hint 1, at the first octet), unknown ATYP (hint 8, at the fourth,
    because nothing behind it can be delimited), the rest when the whole request has arrived (S5-REQ-36): a bad
    name or RSV (hint 1), an unknown command (hint 7).
    """
    if data and data[0] != 5:
        raise RemoteProtocolError(f"request has version {data[0]} instead of 5")
    found = decode_address(data, 3)
    if found is None:
        return None
    address, end = found
    if strict and data[2]:
        raise RemoteProtocolError(f"request has {data[2]:#04x} in the reserved octet")
    command = data[1]
    if command not in commands:
        raise RemoteProtocolError(f"command {command:#04x} is unknown", reply_hint=ReplyCode.COMMAND_NOT_SUPPORTED)
    return _new(Request, (5, command, address, b"")), end


def encode_request(request: Request) -> bytes:
    """Raises LocalProtocolError for a command outside 0..255 or an address without a wire form."""
    if not 0 <= request.command <= 0xFF:
        raise LocalProtocolError(f"command {request.command} is outside 0..255")
    return bytes((VERSION, request.command, 0)) + encode_address(request.address)


def decode_reply(data: Buffer, *, strict: bool = False) -> tuple[Reply, int] | None:
    """An answer, delimited by its ATYP (S5-REQ-45).

    A failure is complete with its second octet: some servers send no more than that, and nothing behind the code
    is of use to a client; the rest of what has arrived is consumed with it.
    Raises RemoteProtocolError for another version, an unknown ATYP or bad name in a success (S5-REQ-46), and for a
    nonzero RSV if ``strict``.
    """
    if data and data[0] != 5:
        raise RemoteProtocolError(f"reply has version {data[0]} instead of 5")
    if len(data) < 2:
        return None
    code = data[1]
    if code:
        return Reply(code), len(data)
    found = decode_address(data, 3)
    if found is None:
        return None
    address, end = found
    if strict and data[2]:
        raise RemoteProtocolError(f"reply has {data[2]:#04x} in the reserved octet")
    return Reply(code, address), end


def encode_reply(reply: Reply) -> bytes:
    """Raises LocalProtocolError for a code outside 0..255 or a bound address without a wire form."""
    code, bound = reply
    if not 0 <= code <= 0xFF:
        raise LocalProtocolError(f"reply code {code} is outside 0..255")
    kind, octets, port = bound
    if kind == IPV4 and len(octets) == 4 and 0 <= port <= 0xFFFF:  # nearly always: at once
        return _IPV4_REPLY.pack(VERSION, code, 0, IPV4, octets, port)
    return bytes((VERSION, code, 0)) + encode_address(bound)
