"""What the outside is told in the place of our own addresses, for servers behind NAT and in containers (A-11).

A listener's address goes into replies, where somebody else is to connect to it or to send to it. The machine knows
its own addresses only, not those under which a router or a container's host makes them reachable.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from ..errors import ConfigError
from ..protocol.address import IPV4, IPV6, Address

__all__ = ("Advertised", "AdvertisedAddresses", "parse_advertise")

IPAddress = IPv4Address | IPv6Address


class Advertised(NamedTuple):
    """``address`` is told in the place of ``local``; None: of every address of its family."""

    address: IPAddress
    local: IPAddress | None = None

    def __str__(self) -> str:
        return str(self.address) if self.local is None else f"{self.local}={self.address}"


def parse_advertise(text: str) -> Advertised:
    """What ``ADDR`` or ``LOCAL=ADDR`` says. Raises ConfigError."""
    local, equals, address = text.rpartition("=")
    try:
        return Advertised(_ip_address(address), _ip_address(local) if equals else None)
    except ValueError:
        raise ConfigError(
            f"cannot advertise {text!r}: write an IP address that others reach, or LOCAL=ADDR for one of several"
        ) from None


class AdvertisedAddresses:
    """Looks up what is told. Raises ConfigError for an address that nobody can reach, and for two in one place."""

    def __init__(self, advertised: Iterable[Advertised] = ()) -> None:
        self._told: dict[tuple[int, bytes | None], bytes] = {}
        for entry in advertised:
            address, local = entry
            if address.is_unspecified or address.is_multicast or (address.version == 4 and address.packed[0] == 255):
                raise ConfigError(f"cannot advertise {entry}: nobody can connect to {address}")
            if local is not None and local.version != address.version:
                raise ConfigError(f"cannot advertise {entry}: one is IPv4 and the other IPv6")
            place = _kind(address), None if local is None else local.packed
            if place in self._told:
                whose = f"IPv{address.version}" if local is None else str(local)
                raise ConfigError(f"two addresses are advertised for {whose}: leave one of them out")
            self._told[place] = address.packed

    def of(self, local: Address) -> Address:
        """What is told in the place of one of the machine's own addresses; the port stays."""
        kind, octets, port = local
        told = self._told.get((kind, octets)) or self._told.get((kind, None))
        return local if told is None else Address(kind, told, port)


def _kind(address: IPAddress) -> int:
    return IPV4 if address.version == 4 else IPV6


def _ip_address(text: str) -> IPAddress:
    address = ip_address(text.strip("[]"))
    if isinstance(address, IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise ValueError(text)
    return address
