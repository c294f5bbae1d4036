"""Addresses that stand for names, for programs that insist on an address before they connect (RFC 3089 §2).

The program is told a fake address, from a range that no network uses, and when it connects there the proxy is told the
name; nothing is asked of any DNS. Pure: a table and no I/O.
"""

import threading
from collections import OrderedDict
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from ..errors import ConfigError, LocalProtocolError
from ..protocol.address import parse_address

__all__ = ("DEFAULT_IPV4_POOL", "DEFAULT_IPV6_POOL", "FakeAddresses", "FakeNames")

DEFAULT_IPV4_POOL: Final = "198.18.0.0/15"
"""For benchmarks within one's own network (RFC 2544); never routed."""

DEFAULT_IPV6_POOL: Final = "100::/64"
"""Discard-only (RFC 6666): what is sent there by mistake is thrown away."""

_CAPACITY: Final = 65_536


class FakeAddresses(NamedTuple):
    """What stands for one name, in both families."""

    ipv4: str
    ipv6: str


class FakeNames:
    """A table of names and their fake addresses, for any number of threads.

    A name keeps its addresses as long as it is in the table, which has room for ``capacity`` names; then the one that
    nobody has asked for the longest makes room. Its addresses are given to another name only after all others of the
    pool: who still holds one is told that nobody knows it, not somebody else's name.

    Args:
        ipv4_pool, ipv6_pool: networks in CIDR form. Their first and last address are never given out.
        capacity: names; at most half of what the smaller pool has.

    Raises ConfigError for pools that are no networks or are too small.
    """

    def __init__(
        self, *, ipv4_pool: str = DEFAULT_IPV4_POOL, ipv6_pool: str = DEFAULT_IPV6_POOL, capacity: int = _CAPACITY
    ) -> None:
        try:
            self.ipv4_pool: Final = IPv4Network(ipv4_pool)
            self.ipv6_pool: Final = IPv6Network(ipv6_pool)
        except ValueError as error:
            raise ConfigError(f"the pool of fake addresses is no network: {error}") from None
        self._size = min(self.ipv4_pool.num_addresses, self.ipv6_pool.num_addresses) - 2
        if self._size < 2:
            raise ConfigError("a pool of fake addresses has at least four")
        if capacity < 1:
            raise ConfigError("a table of fake addresses has room for one name at least")
        self._capacity = min(capacity, self._size // 2)
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._names: dict[int, str] = {}
        self._last = 0
        self._lock = threading.Lock()

    def addresses_for(self, name: str | bytes) -> FakeAddresses:
        """The addresses that stand for a name, the same ones for the same name; case and a last dot do not matter.

        Raises LocalProtocolError for what cannot be a name in a SOCKS request: an IP address, nothing, more than 255
        octets, octets that are not printable ASCII.
        """
        key = _key(name)
        with self._lock:
            number = self._numbers.get(key)
            if number is None:
                number = self._add(key)
            else:
                self._numbers.move_to_end(key)
        return FakeAddresses(str(self.ipv4_pool[number]), str(self.ipv6_pool[number]))

    def name_of(self, address: str) -> str | None:
        """The name that an address stands for; None if it stands for none, or for none any more."""
        number = self._number(address)
        if number is None:
            return None
        with self._lock:
            name = self._names.get(number)
            if name is not None:
                self._numbers.move_to_end(name)
        return name

    def is_fake(self, address: str) -> bool:
        """Whether an address is of one of the pools, so that it must never be sent to anybody, known or forgotten."""
        return self._number(address) is not None

    def __len__(self) -> int:
        return len(self._numbers)

    # --- private ---

    def _add(self, key: str) -> int:
        if len(self._numbers) >= self._capacity:
            _, forgotten = self._numbers.popitem(last=False)
            del self._names[forgotten]
        number = self._last
        while True:  # there is a free one: the table holds half of them at most
            number = number % self._size + 1
            if number not in self._names:
                break
        self._last = self._numbers[key] = number
        self._names[number] = key
        return number

    def _number(self, address: str) -> int | None:
        """Which of its pool an address is."""
        try:
            parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        pool = self.ipv4_pool if isinstance(parsed, IPv4Address) else self.ipv6_pool
        return int(parsed) - int(pool.network_address) if parsed in pool else None


def _key(name: str | bytes) -> str:
    """The name as it is kept and as the proxy will be told."""
    address = parse_address(name, 0)
    if not address.is_name:
        raise LocalProtocolError(f"{address.host} is an address, no name")
    text = address.octets.decode("ascii", "replace").lower()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise LocalProtocolError(f"{address.host!r} cannot be a host's name")
    return text.removesuffix(".") or "."
