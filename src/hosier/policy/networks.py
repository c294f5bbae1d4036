"""Sets of IP networks, and the forms in which an IPv6 address carries an IPv4 one.

This file owns prefixes; which of them matter is decided in ``targets``.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Final

from ..errors import ConfigError

__all__ = ("Networks", "embedded_ipv4", "parse_network")

_COMPATIBLE: Final = bytes(12)
_MAPPED: Final = bytes(10) + b"\xff\xff"
_ALL_MAPPED: Final = IPv6Network((_MAPPED + bytes(4), 96))
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)
_SIX_TO_FOUR: Final = b"\x20\x02"
_TEREDO: Final = bytes.fromhex("20010000")


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """A network, or a single address as one. Raises ConfigError with a line that says what is expected.

    Neither bits of a host nor a mapped network are taken: with the first, more is meant than most who write it think;
    and addresses are judged as what they stand for, so that the second would never hold.
    """
    try:
        network = ip_network(text.strip("[]"), strict=False)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a network: write for example 192.168.0.0/16, 2001:db8::/32 or 10.1.2.3"
        ) from None
    address = ip_interface(text.strip("[]")).ip
    if address != network.network_address:
        raise ConfigError(f"{text!r} goes on after its prefix: write {network} for all of it, or {address} alone")
    if network.version == 6 and network.subnet_of(_ALL_MAPPED):
        plain = ip_network((network.network_address.packed[12:], network.prefixlen - 96))
        raise ConfigError(f"{text!r} stands for IPv4 addresses, and they are judged as such: write {plain}")
    return network


def embedded_ipv4(octets: bytes) -> bytes | None:
    """The IPv4 address inside a mapped, compatible, NAT64, 6to4 or Teredo IPv6 address; None for all others.

    Whoever dials such an address may end up at the IPv4 one, so a rule for that holds for both.
    """
    if octets.startswith((_MAPPED, _NAT64)):
        return octets[12:]
    if octets.startswith(_COMPATIBLE) and octets[12:] > b"\x00\x00\x00\x01":  # neither :: nor ::1
        return octets[12:]
    if octets.startswith(_SIX_TO_FOUR):
        return octets[2:6]
    if octets.startswith(_TEREDO):
        return bytes(octet ^ 0xFF for octet in octets[12:])
    return None


class Networks:
    """A set of networks of both families, asked by octets.

    Indexed by the first octet: nearly every address is in no set, and one look tells.
    """

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._index: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
        for network in networks:
            low = network.network_address.packed[0]
            high = network.broadcast_address.packed[0]
            entry = int(network.netmask), int(network.network_address), str(network)
            for first in range(low, high + 1):
                self._index.setdefault((network.max_prefixlen // 8, first), []).append(entry)

    def __bool__(self) -> bool:
        return bool(self._index)

    @property
    def first_octets(self) -> frozenset[int]:
        """First octets of IPv4 addresses for which ``find`` may find something."""
        return frozenset(first for size, first in self._index if size == 4)

    def find(self, octets: bytes) -> str | None:
        """The text of the first network that holds the address of 4 or 16 octets; None: none does."""
        entries = self._index.get((len(octets), octets[0]))
        if entries is not None:
            value = int.from_bytes(octets, "big")
            for mask, network, text in entries:
                if value & mask == network:
                    return text
        return None
