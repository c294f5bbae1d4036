"""What ``hosier run`` was told, as plain data."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from ..client.names import FakeNames
from ..client.proxy import Proxy, ProxyChain, chain_of
from ..errors import ConfigError

__all__ = ("Plan", "chain_for_run")


@dataclass(frozen=True)
class Plan:
    """How a program's traffic goes out."""

    chain: tuple[Proxy, ...]
    """The proxies, the nearest one first; see ``chain_for_run``."""
    bypass: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that are reached without them."""
    shared_loopback: bool = False
    """Whether loopback addresses are those of the outside."""
    held: bool = True
    """Whether a handshake waits for the proxy's answer."""
    names: FakeNames = field(default_factory=FakeNames)
    """The table of fake addresses, with its pools."""
    tickets: str = ""
    """Where Kerberos has its tickets, for proxies that want some; empty: wherever it looks by itself."""
    verbose: bool = False
    """Whether each failure is told."""


def chain_for_run(proxies: ProxyChain) -> tuple[Proxy, ...]:
    """The proxies, each of which is told names: there is nobody else who could look them up.

    Raises ConfigError for a chain that cannot be, and for SOCKS4, which has no names.
    """
    chain = chain_of(proxies)
    for proxy in chain:
        if proxy.protocol == "socks4" and not proxy.remote_dns:
            raise ConfigError(f"{proxy}: SOCKS4 cannot be told names; use socks4a:// or socks5h://")
    # socks5:// as socks5h://: a look-up outside would tell others what the program does.
    return tuple(proxy.with_remote_dns() for proxy in chain)
