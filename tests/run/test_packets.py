"""Packets octet by octet; that kernels take them for what they are, test_capture and test_flows show."""

from __future__ import annotations

import errno
import struct
from socket import AF_INET, AF_INET6, inet_pton

import pytest

from hosier.run.packets import answer_for, parse_syn, port_unreachable, released


def syn(family: int = AF_INET, sequence: int = 0xFFFFFFFF) -> bytes:
    tcp = struct.pack(">HHIIHHHH", 40000, 80, sequence, 0, 0x5002, 65535, 0xBEEF, 0)
    if family == AF_INET:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0x4000, 64, 6, 0)
        return head + inet_pton(family, "192.0.0.8") + inet_pton(family, "198.18.0.1") + tcp
    head = struct.pack(">IHBB", 6 << 28, 20, 6, 64)
    return head + inet_pton(family, "100:0:0:1::1") + inet_pton(family, "100::1") + tcp


def verifies(packet: bytes) -> bool:
    """RFC 1071: with the checksum in it, the sum is all ones."""
    if packet[0] >> 4 == 4:
        pair, kind, body = packet[12:20], packet[9], packet[20:]
    else:
        pair, kind, body = packet[8:40], packet[6], packet[40:]
    pseudo = b"" if kind == 1 else pair + struct.pack(">HH", kind, len(body))
    octets = pseudo + body + bytes(len(body) % 2)
    return bool(sum(struct.unpack(f">{len(octets) // 2}H", octets)) % 0xFFFF == 0)


@pytest.mark.parametrize(
    ("family", "source", "target"), [(AF_INET, "192.0.0.8", "198.18.0.1"), (AF_INET6, "100:0:0:1::1", "100::1")]
)
def test_what_a_syn_asks_for(family: int, source: str, target: str) -> None:
    packet = syn(family)
    assert parse_syn(packet) == ((source, 40000), (target, 80), packet)


@pytest.mark.parametrize(
    "packet", [b"", b"\x45" * 39, b"\x60" * 59, b"\x46" + bytes(60), syn()[:9] + b"\x11" + syn()[10:]]
)
def test_what_is_no_syn(packet: bytes) -> None:
    assert parse_syn(packet) is None


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_a_released_syn_has_its_checksum(family: int) -> None:
    packet = syn(family)
    again = released(packet)
    assert not verifies(packet)
    assert verifies(again)
    start = len(packet) - 20
    assert again[: start + 16] + again[start + 18 :] == packet[: start + 16] + packet[start + 18 :]


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_a_reset(family: int) -> None:
    packet = syn(family)
    asked = parse_syn(packet)
    assert asked is not None
    reset = answer_for(asked, errno.ECONNREFUSED)
    assert verifies(reset)
    sport, dport, sequence, acknowledged, flags = struct.unpack_from(">HHIIH", reset, len(reset) - 20)
    assert (sport, dport, sequence, acknowledged, flags) == (80, 40000, 0, 0, 0x5014)  # it is one behind the sequence


@pytest.mark.parametrize(
    ("number", "codes"),
    [(errno.ENETUNREACH, (0, 0)), (errno.EHOSTUNREACH, (1, 3)), (errno.ETIMEDOUT, (1, 3)), (errno.EACCES, (13, 1))],
)
@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_an_icmp_error_quotes_the_syn(family: int, number: int, codes: tuple[int, int]) -> None:
    packet = syn(family)
    asked = parse_syn(packet)
    assert asked is not None
    answer = answer_for(asked, number)
    four = family == AF_INET
    start = 20 if four else 40
    assert verifies(answer)
    assert answer[9 if four else 6] == (1 if four else 58)
    assert tuple(answer[start : start + 2]) == ((3, codes[0]) if four else (1, codes[1]))
    assert packet.startswith(answer[start + 8 :])


@pytest.mark.parametrize(("source", "target"), [("192.0.0.8", "198.51.100.1"), ("100:0:0:1::1", "2001:db8::1")])
def test_port_unreachable_quotes_the_datagram(source: str, target: str) -> None:
    answer = port_unreachable((source, 5000), (target, 443), 1200)
    four = ":" not in source
    assert verifies(answer)
    start = 20 if four else 40
    assert tuple(answer[start : start + 2]) == ((3, 3) if four else (1, 4))
    assert answer.endswith(struct.pack(">HHHH", 5000, 443, 1208, 0))


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_a_repeated_syn(family: int) -> None:
    """Another one from the same port, to the same place, is another connection."""
    first, other = parse_syn(syn(family, 7)), parse_syn(syn(family, 8))
    assert first is not None
    assert other is not None
    assert first.repeats(first)
    assert not other.repeats(first)
