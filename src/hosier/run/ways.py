"""Which way leads to a place that a program knows: what it means, and through whom it is reached."""

from collections.abc import Sequence
from errno import EHOSTUNREACH, ENETUNREACH, ETIMEDOUT
from ipaddress import IPv4Network, IPv6Network, ip_address
from socket import gaierror
from typing import Final

from ..client.names import FakeNames
from ..engine.egress import Egress
from ..engine.recent import Recent
from ..errors import AuthError, ProxyConnectionError, RemoteProtocolError
from ..protocol.address import Address, parse_address
from .network import OWN_IPV4, OWN_IPV6

__all__ = ("Ways", "anything", "number_for")

REMEMBERED: Final = 4096
"""Addresses."""


class Ways:
    """The proxies for all but the networks that are to be reached directly."""

    def __init__(
        self,
        names: FakeNames,
        proxied: Egress,
        direct: Egress,
        bypass: Sequence[IPv4Network | IPv6Network],
        *,
        shared_loopback: bool,
    ) -> None:
        self._names = names
        self._proxied = proxied
        self._direct = direct
        self._bypass = tuple(bypass)
        self._shared_loopback = shared_loopback
        self._known: Recent[str, Egress] = Recent(REMEMBERED)

    def to(self, host: str, port: int) -> tuple[Egress, Address]:
        """The way and the target, a name where the host is its fake address.

        Raises OSError for a fake address whose name is forgotten, or never was, and for our own.
        """
        egress = self._known.get(host)
        if egress is None:
            if (name := self._names.name_of(host)) is not None:
                return self._proxied, parse_address(name, port)
            if host in (OWN_IPV4, OWN_IPV6) or self._names.is_fake(host):
                raise OSError(EHOSTUNREACH, f"{host} stands for no name")
            egress = self._known[host] = self._choose(host)
        return egress, parse_address(host, port)

    # --- private ---

    def _choose(self, host: str) -> Egress:
        address = ip_address(host)
        shared = address.is_loopback and self._shared_loopback
        return self._direct if shared or any(address in network for network in self._bypass) else self._proxied


def anything(addresses: Sequence[Address]) -> Sequence[Address]:
    """The vet of an egress: whom the program wants to reach is its own business."""
    return addresses


def number_for(error: OSError) -> int:
    """The errno with which the program's ``connect()`` is to fail."""
    if isinstance(error, AuthError | ProxyConnectionError | RemoteProtocolError):
        return ENETUNREACH  # the proxy is the network here; what it has refused says nothing about the target
    if isinstance(error, gaierror):
        return EHOSTUNREACH
    if isinstance(error, TimeoutError):
        return ETIMEDOUT
    return error.errno or EHOSTUNREACH
