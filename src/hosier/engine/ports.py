"""Which ports may be listened on for others: a range, so that a firewall can let it through."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ConfigError
from ..typed import check_types

__all__ = ("PortRange", "parse_ports")


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports from ``low`` to ``high``, both included. Raises ConfigError for what is no range of ports."""

    low: int
    high: int

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.low <= self.high <= 0xFFFF:
            raise ConfigError(f"{self} is not a range of ports: write for example 40000-40999, within 1 and 65535")

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"

    def __contains__(self, port: int) -> bool:
        return self.low <= port <= self.high

    def from_random_start(self) -> Iterator[int]:
        """Each port once, in a circle from one that nobody can guess."""
        size = self.high - self.low + 1
        start = secrets.randbelow(size)
        return (self.low + (start + step) % size for step in range(size))


def parse_ports(text: str) -> PortRange:
    """The range that ``LOW-HIGH`` or ``PORT`` names. Raises ConfigError."""
    low, dash, high = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (low, high or low)) or (
        dash and not high
    ):
        raise ConfigError(f"{text!r} is not a range of ports: write for example 40000-40999")
    return PortRange(int(low), int(high or low))
