"""Packets as they are on the wire inside, for what the socket calls cannot say: a SYN again, a reset, an ICMP error.

Pure. Headers are those of RFC 791, 8200, 9293, 792 and 4443; nothing here has options of IP or extension headers, and
what has is not ours to judge.
"""

from collections.abc import Mapping
from errno import EACCES, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ETIMEDOUT
from socket import AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, inet_ntop, inet_pton
from struct import Struct
from typing import Final, NamedTuple

__all__ = ("HostAndPort", "Syn", "answer_for", "parse_syn", "port_unreachable", "released")

HostAndPort = tuple[str, int]
"""Host and port."""

_PORTS: Final = Struct(">HH")
_PSEUDO: Final = Struct(">HH")  # the end of both families' pseudo headers, as far as it counts
_IPV4: Final = Struct(">BBHHHBBH4s4s")
_IPV6: Final = Struct(">IHBB16s16s")
_TTL: Final = 64
_RST_ACK: Final = 0x5014  # a header of five words; both flags

_UNREACHABLE: Final = {4: 3, 6: 1}
"""The ICMP type Destination Unreachable."""

_CODES: Final[Mapping[int, tuple[int, int]]] = {
    # The codes that Linux turns back into the errno, for each family.
    ENETUNREACH: (0, 0),
    ENETDOWN: (0, 0),
    EHOSTUNREACH: (1, 3),
    EHOSTDOWN: (1, 3),
    ETIMEDOUT: (1, 3),
    EACCES: (13, 1),
}
_PORT_CODES: Final = 3, 4


class Syn(NamedTuple):
    """A connection that a program has asked for."""

    source: HostAndPort
    target: HostAndPort
    packet: bytes

    def repeats(self, other: "Syn") -> bool:
        """Whether it is the same one, sent again: of one connection, with one sequence number."""
        start = 24 if self.packet[0] == 0x45 else 44
        return self[:2] == other[:2] and self.packet[start : start + 4] == other.packet[start : start + 4]


def parse_syn(packet: bytes) -> Syn | None:
    """What a captured SYN asks for; None for what is no whole one."""
    if len(packet) >= 40 and packet[0] == 0x45 and packet[9] == IPPROTO_TCP:
        family, hosts, start = AF_INET, (packet[12:16], packet[16:20]), 20
    elif len(packet) >= 60 and packet[0] >> 4 == 6 and packet[6] == IPPROTO_TCP:
        family, hosts, start = AF_INET6, (packet[8:24], packet[24:40]), 40
    else:
        return None
    ports = _PORTS.unpack_from(packet, start)
    return Syn((inet_ntop(family, hosts[0]), ports[0]), (inet_ntop(family, hosts[1]), ports[1]), packet)


def released(packet: bytes) -> bytes:
    """The same SYN, fit to be sent: on the loopback its checksum was left to a device."""
    start, pair = (20, packet[12:20]) if packet[0] == 0x45 else (40, packet[8:40])
    segment = packet[start : start + 16] + b"\0\0" + packet[start + 18 :]
    total = _checksum(pair, IPPROTO_TCP, segment)
    return packet[: start + 16] + total + packet[start + 18 :]


def answer_for(syn: Syn, number: int) -> bytes:
    """What makes the program's ``connect()`` fail with the errno: an ICMP error where there is one for it, or else
    the reset that a refusing host sends."""
    codes = _CODES.get(number)
    four = syn.packet[0] == 0x45
    if codes is not None:
        return _unreachable(syn.packet[: 28 if four else 60], codes[0 if four else 1])
    start, source, target = (
        (20, syn.packet[12:16], syn.packet[16:20]) if four else (40, syn.packet[8:24], syn.packet[24:40])
    )
    sport, dport = syn.packet[start : start + 2], syn.packet[start + 2 : start + 4]
    following = (int.from_bytes(syn.packet[start + 4 : start + 8], "big") + 1) & 0xFFFFFFFF
    head = dport + sport + bytes(4) + following.to_bytes(4, "big") + _RST_ACK.to_bytes(2, "big") + bytes(2)
    total = _checksum(target + source, IPPROTO_TCP, head + bytes(4))
    return _packet(target, source, IPPROTO_TCP, head + total + bytes(2))


def port_unreachable(source: HostAndPort, target: HostAndPort, size: int) -> bytes:
    """The ICMP error for a datagram of ``size`` octets: nobody takes it there."""
    family = AF_INET6 if ":" in target[0] else AF_INET
    hosts = inet_pton(family, source[0]), inet_pton(family, target[0])
    udp = _PORTS.pack(source[1], target[1]) + min(size + 8, 0xFFFF).to_bytes(2, "big") + bytes(2)
    return _unreachable(_packet(*hosts, IPPROTO_UDP, udp), _PORT_CODES[0 if family == AF_INET else 1])


# --- private ---


def _unreachable(original: bytes, code: int) -> bytes:
    """From the target of the original packet to its source."""
    version = original[0] >> 4
    head = bytes((_UNREACHABLE[version], code))
    rest = bytes(4) + original
    if version == 4:
        source, target, kind, pair = original[12:16], original[16:20], IPPROTO_ICMP, b""
    else:
        source, target, kind = original[8:24], original[24:40], IPPROTO_ICMPV6
        pair = target + source
    total = _checksum(pair, kind if pair else 0, head + b"\0\0" + rest)
    return _packet(target, source, kind, head + total + rest)


def _packet(source: bytes, target: bytes, kind: int, payload: bytes) -> bytes:
    if len(source) == 4:  # the kernel fills the checksum in
        return _IPV4.pack(0x45, 0, 20 + len(payload), 0, 0x4000, _TTL, kind, 0, source, target) + payload
    return _IPV6.pack(6 << 28, len(payload), kind, _TTL, source, target) + payload


def _checksum(pair: bytes, kind: int, segment: bytes) -> bytes:
    """RFC 1071's, over the pseudo header, if there is a pair of hosts for one, and the segment."""
    octets = pair + (_PSEUDO.pack(kind, len(segment)) if pair else b"") + segment + bytes(len(segment) & 1)
    total = 0xFFFF - int.from_bytes(octets, "big") % 0xFFFF  # the sum of 16-bit words with carries around, in one step
    return total.to_bytes(2, "big")
