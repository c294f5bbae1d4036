"""Messages of SOCKS4 and SOCKS4a (Ying-Da Lee's memos): pure decoders and encoders.

``decode_x(data)`` returns the message and its size, or None while octets are missing; it is tried again from the
start, which costs nothing at these sizes. A message's limits bound what a peer can make us hold.
"""

from typing import Final

from ..errors import LocalProtocolError, RemoteProtocolError, ReplyCode
from .address import IPV4, IPV6, NAME, UNSPECIFIED, Address, Buffer, encode_address
from .messages import Command, Reply, Request

__all__ = ("decode_reply", "decode_request", "encode_reply", "encode_request")

VERSION: Final = 4
MAX_USER_ID: Final = 255  # S4-REQ-10: the memo gives no limit
MAX_NAME: Final = 255  # S4A-REQ-12

# S4A-REQ-01: "cannot resolve it myself"; any nonzero last octet would do.
_NAME_FOLLOWS: Final = b"\x00\x00\x00\x01"
_GRANTED: Final = 0x5A


def _text(data: Buffer, start: int, limit: int, what: str) -> tuple[bytes, int] | None:
    """The octets from ``start`` up to a zero octet, and the offset behind it."""
    end = data.find(0, start, start + limit + 1)
    if end >= 0:
        return bytes(data[start:end]), end + 1
    if len(data) - start > limit:
        raise RemoteProtocolError(f"SOCKS4 {what} is longer than {limit} octets", reply_hint=ReplyCode.SOCKS4_REJECTED)
    return None


def decode_request(data: Buffer) -> tuple[Request, int] | None:
    """A CONNECT or BIND request (S4-REQ-03…10, S4A-REQ-05…13).

    Raises RemoteProtocolError (hint 0x5B) for another version, as soon as it is seen, an unknown command, an overlong
    user id or name, an empty name.
    """
    if data and data[0] != VERSION:
        raise RemoteProtocolError(f"SOCKS4 request has version {data[0]}", reply_hint=ReplyCode.SOCKS4_REJECTED)
    if len(data) < 9:
        return None
    found = _text(data, 8, MAX_USER_ID, "USERID")
    if found is None:
        return None
    user_id, end = found
    octets = bytes(data[4:8])
    kind: int = IPV4
    # 0.0.0.x, x nonzero, announces a name; 0.0.0.0 and 0.0.1.0 do not (S4A-REQ-05, 06).
    if octets[0] == octets[1] == octets[2] == 0 and octets[3]:
        found = _text(data, end, MAX_NAME, "host name")
        if found is None:
            return None
        octets, end = found
        if not octets:
            raise RemoteProtocolError("SOCKS4a host name is empty", reply_hint=ReplyCode.SOCKS4_REJECTED)
        kind = NAME
    command = data[1]
    if command != 1 and command != 2:
        raise RemoteProtocolError(f"SOCKS4 command {command} is unknown", reply_hint=ReplyCode.SOCKS4_REJECTED)
    return Request(VERSION, command, Address(kind, octets, data[2] << 8 | data[3]), user_id), end


def encode_request(request: Request) -> bytes:
    """The octets of a request; a name takes the 4a form.

    Raises LocalProtocolError for IPv6 (S4-REQ-06), UDP ASSOCIATE, a zero octet in the user id (S4-REQ-08), a user id
    that is too long, an address without a wire form (S4A-REQ-12).
    """
    address, user_id = request.address, request.user_id
    if request.command not in (Command.CONNECT, Command.BIND):
        raise LocalProtocolError("SOCKS4 has CONNECT and BIND only")
    if 0 in user_id or len(user_id) > MAX_USER_ID:
        raise LocalProtocolError(f"a SOCKS4 user id has at most {MAX_USER_ID} octets, none of them zero")
    if address.kind == IPV6:
        raise LocalProtocolError("SOCKS4 cannot express an IPv6 address")
    wire = encode_address(address)
    fixed = bytes((VERSION, request.command)) + wire[-2:]
    if address.kind == IPV4:
        return fixed + address.octets + user_id + b"\x00"
    return fixed + _NAME_FOLLOWS + user_id + b"\x00" + address.octets + b"\x00"


def decode_reply(data: Buffer, *, lenient: bool = False) -> tuple[Reply, int] | None:
    """The eight octets of an answer (S4-REQ-14…21). ``lenient`` also takes VN 4 (S4-REQ-20).

    Raises RemoteProtocolError for another VN, as soon as it is seen.
    """
    if data and data[0] != 0 and not (lenient and data[0] == VERSION):
        raise RemoteProtocolError(f"SOCKS4 reply has version {data[0]} instead of 0")
    if len(data) < 8:
        return None
    code: int = data[1]
    if code == _GRANTED:
        code = ReplyCode.SUCCEEDED
    elif code == ReplyCode.SUCCEEDED:
        code = ReplyCode.SOCKS4_REJECTED  # any CD but 90 is a failure (S4-REQ-21), this one must not look like SOCKS5's
    return Reply(code, Address(IPV4, bytes(data[4:8]), data[2] << 8 | data[3])), 8


def encode_reply(reply: Reply) -> bytes:
    """The octets of an answer: success becomes 0x5A, SOCKS4's own refusals pass, any other is 0x5B.

    An address that is not IPv4 is sent as zeros: the reply has no room for it (S4-REQ-17).
    Raises LocalProtocolError for an IPv4 address without a wire form.
    """
    code = reply.code
    if code == ReplyCode.SUCCEEDED:
        code = _GRANTED
    elif not ReplyCode.SOCKS4_REJECTED <= code <= ReplyCode.SOCKS4_IDENT_MISMATCH:
        code = ReplyCode.SOCKS4_REJECTED
    wire = encode_address(reply.bound if reply.bound.kind == IPV4 else UNSPECIFIED)
    return bytes((0, code)) + wire[5:] + wire[1:5]
