"""Which targets a server may reach for its clients.

Judged is the very address that is about to be dialled, after name resolution and without disguise (B-27, B-28).
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from ..errors import PolicyDenied
from ..protocol.address import IPV4, IPV6, NAME, Address
from .networks import Networks, embedded_ipv4, parse_network

__all__ = ("PROTECTED", "TargetPolicy")

PROTECTED: Final = tuple(
    (parse_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (carrier NAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments, cloud metadata"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("fc00::/7", "unique local, cloud metadata"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
"""What a server that strangers can reach does not reach for them, unless it is told to."""

# No setting opens these: Linux takes the unspecified address for the local host (S5-REQ-38), a stream to a group
# makes no sense, and the request cannot say which link a link-local address is on.
_NEVER: Final = tuple(
    (parse_network(network), what)
    for network, what in (
        ("0.0.0.0/32", "the unspecified address"),
        ("::/128", "the unspecified address"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("ff00::/8", "a multicast address"),
        ("fe80::/10", "a link-local address, whose link a SOCKS request cannot name"),
    )
)

Network = IPv4Network | IPv6Network

Ruling = Callable[[bytes], "PolicyDenied | bool"]
"""Given the octets of an address: why the rules refuse it, or whether the rule that allows it names it as a place
that may be protected."""


class TargetPolicy:
    """First what is never a target, then the server itself, then ``deny``, then ``allow``, then what is protected.

    Args:
        protect: whether strangers can reach the server, so that inner networks are refused.
        allow: exceptions to that.
        deny: refused in any case.
        listeners: the server's own sockets; one bound to every address of its family is matched through ``is_local``.
        is_local: tells whether an address belongs to this machine.
    """

    def __init__(
        self,
        *,
        protect: bool,
        allow: Iterable[Network] = (),
        deny: Iterable[Network] = (),
        listeners: Iterable[Address] = (),
        is_local: Callable[[Address], bool] = lambda _: False,
    ) -> None:
        self._never = Networks(network for network, _ in _NEVER)
        self._allow = Networks(allow)
        self._deny = Networks(deny)
        self._protected = Networks(network for network, _ in PROTECTED) if protect else Networks()
        self._of_interest = self._never.first_octets | self._deny.first_octets | self._protected.first_octets
        self._listeners = frozenset(listeners)
        self._listener_ports = frozenset(listener.port for listener in self._listeners)
        self._ports_of_interest = self._listener_ports | {0}
        self._wildcards = frozenset(
            (listener.kind, listener.port) for listener in self._listeners if not any(listener.octets)
        )
        self._is_local = is_local

    sources = None
    """Whichever address of this machine the system takes."""

    def vet(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Those of the addresses that may be dialled, in their order. Raises PolicyDenied if there are none, with the
        reason for the first."""
        if len(addresses) == 1:
            kind, octets, port = addresses[0]
            # Nearly every IPv4 address is in no network of interest; its first octet tells.
            boring = kind == IPV4 and octets[0] not in self._of_interest
            if boring and port not in self._ports_of_interest:
                return addresses
            if denied := self.judge(addresses[0]):
                raise denied
            return addresses
        return _allowed([(address, self.judge(address)) for address in addresses])

    def vet_peers(self, addresses: Sequence[Address]) -> Sequence[Address]:
        """Those of the addresses that may connect to a client who waits for them (BIND), in their order. Judged as
        targets are, but for the port, which is the peer's own choice (S4-REQ-34). Raises PolicyDenied if there are
        none, with the reason for the first."""
        return _allowed([(address, self._judge(address._replace(port=0))) for address in addresses])

    def judge(self, address: Address, ruling: Ruling | None = None) -> PolicyDenied | None:
        """Why the address must not be dialled; None: it may. ``ruling`` is asked what the rules say, where there are
        some: it comes behind what nothing opens, and before what is protected."""
        return self._judge(address, ruling) if address.port else PolicyDenied("port 0 is no target")

    def judge_peer(self, address: Address, ruling: Ruling | None = None) -> PolicyDenied | None:
        """Why the address must not connect to a client who waits for it; None: it may."""
        return self._judge(address._replace(port=0), ruling)

    def may_be_own(self, address: Address) -> bool:
        """Whether it is or could become an address of the server's own: what is said of any other does not change."""
        return address.port in self._listener_ports

    def verdict_of(self, _: Address | None) -> None:
        """No rule has said anything."""

    # --- private ---

    def _judge(self, address: Address, ruling: Ruling | None = None) -> PolicyDenied | None:
        octets = address.octets
        if address.kind == NAME:
            return None  # whoever looks it up must judge what it stands for
        if address.kind == IPV6 and (inner := embedded_ipv4(octets)) is not None:
            denied = self._judge_octets(inner, address, ruling)
            if denied is not None:
                return denied
        return self._judge_octets(octets, address, ruling)

    def _judge_octets(self, octets: bytes, address: Address, ruling: Ruling | None) -> PolicyDenied | None:
        # Nearly every IPv4 address is in no network of interest; its first octet tells.
        is_boring = len(octets) == 4 and octets[0] not in self._of_interest
        if not is_boring and self._never.find(octets):
            what = next(what for network, what in _NEVER if Networks((network,)).find(octets))
            return PolicyDenied(f"{address.host} is {what}")
        if address.port in self._listener_ports and self._is_own(
            Address(1 if len(octets) == 4 else 4, octets, address.port)
        ):
            return PolicyDenied(f"{address} is this server itself")
        if not is_boring and (network := self._deny.find(octets)):
            return PolicyDenied(f"{address.host} is in {network}, which is denied")
        opened = False
        if ruling is not None:
            answer = ruling(octets)
            if isinstance(answer, PolicyDenied):
                return answer
            opened = answer
        if is_boring or opened or not (network := self._protected.find(octets)) or self._allow.find(octets):
            return None
        what = next(what for protected, what in PROTECTED if str(protected) == network)
        way = "name it in a rule's networks" if ruling is not None else f"allow it with --allow {network}"
        return PolicyDenied(f"{address.host} is in {network} ({what})", advice=way)

    def _is_own(self, address: Address) -> bool:
        everywhere = (address.kind, address.port) in self._wildcards
        return address in self._listeners or (everywhere and self._is_local(address))


def _allowed(verdicts: Sequence[tuple[Address, PolicyDenied | None]]) -> Sequence[Address]:
    allowed = [address for address, denied in verdicts if denied is None]
    if not allowed:
        raise next(denied for _, denied in verdicts if denied is not None)
    return allowed
