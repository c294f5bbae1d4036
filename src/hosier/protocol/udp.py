"""The header of UDP datagrams between client and relay (RFC 1928 §7): pure decoder and encoder.

A datagram is whole or wrong; there is no "need more". Reassembly of fragments is not the codec's business.
"""

from typing import Final

from ..errors import LocalProtocolError, RemoteProtocolError
from .address import IPV4, IPV6, Address, Buffer, decode_address, encode_address
from .messages import Datagram

__all__ = ("HEADER_SIZES", "MAX_HEADER", "decode_datagram", "encode_datagram", "encode_header", "header_size")

MAX_HEADER: Final = 262
"""The largest header: a name of 255 octets. For sizing buffers before the target is known (S5-REQ-81)."""

HEADER_SIZES: Final = tuple({IPV4: 10, IPV6: 22}.get(kind, 0) for kind in range(256))
"""By ATYP. Zero: a name's length decides, or nobody knows the type. A table, because relays ask for each datagram."""


def header_size(kind: int, name_length: int = 0) -> int:
    """Octets that the header takes from a datagram: 10, 22, or 7 and the name (S5-REQ-81; the RFC's 20 is wrong)."""
    if kind == IPV4:
        return 10
    return 22 if kind == IPV6 else 7 + name_length


def decode_datagram(packet: Buffer | memoryview, *, strict: bool = False) -> Datagram:
    """Raises RemoteProtocolError for a packet that must be dropped: short, unknown ATYP, bad name; with ``strict``
    also for nonzero reserved octets. The fragment number is data: judge it elsewhere (S5-REQ-88…97)."""
    found = decode_address(packet, 3)
    if found is None:
        raise RemoteProtocolError("datagram is shorter than its header")
    address, end = found
    if strict and (packet[0] or packet[1]):
        raise RemoteProtocolError("datagram has a nonzero reserved octet")
    return Datagram(packet[2], address, bytes(packet[end:]))


def encode_datagram(datagram: Datagram) -> bytes:
    """Raises LocalProtocolError for an address without a wire form or a fragment number outside 0..255."""
    if not 0 <= datagram.fragment <= 0xFF:
        raise LocalProtocolError(f"fragment number {datagram.fragment} is outside 0..255")
    return bytes((0, 0, datagram.fragment)) + encode_address(datagram.address) + datagram.data


def encode_header(address: Address) -> bytes:
    """The header of a datagram that stands alone. Raises LocalProtocolError for an address without a wire form."""
    return b"\x00\x00\x00" + encode_address(address)
