"""The network inside: one interface, every address its own, and the rules that lead to our sockets.

Nothing here is executed; these are the texts for ``ip`` and ``nft`` and the values for ``/proc/sys``.

A program's SYN gets the mark HELD when it leaves. It is thrown away on arrival, but not before the packet socket has
seen it (see ``capture``): the same segment comes again, with the mark RELEASED, when the proxy has reached the target.
Where the gate cannot be had, SYNs go straight to the listener. A rule that throws away needs a live listener
(``tproxy`` matches only then): without one, connections are refused at once, so a gateway that died is an error and no
silence.

Before Linux 6.19 a connection could not be found for a moment while its handshake ended. A first segment that came just
then, from another processor, was answered with a reset, by nobody: no socket had sent it. Of a connection that was let
go a second ago or less (``young``) such a reset is thrown away, and the program's kernel sends the segment again. What
our sockets send bears the mark OURS, so their resets are not meant.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ("DOOR_PORT", "HELD", "OURS", "OWN_IPV4", "OWN_IPV6", "RELEASED", "SYSCTLS", "address_lines", "rules")

OWN_IPV4: Final = "192.0.0.8"
"""The dummy address (RFC 7600), which stands for no host. A loopback address would not do: programs that ask for
addresses of configured families only (AI_ADDRCONFIG) do not count those."""

OWN_IPV6: Final = "100:0:0:1::1"
"""Of the dummy prefix (RFC 9780)."""

DOOR_PORT: Final = 1
"""Of our sockets on those addresses: hardly a program wants it for itself."""

HELD: Final = 1
RELEASED: Final = 2
OURS: Final = 3

SYSCTLS: Final[Mapping[str, str]] = {
    "net/ipv4/ip_unprivileged_port_start": "0",  # no right outside follows from a port inside
    # Ports of targets are ours here. A closed connection that lingers would keep the program from listening on one,
    # and guards against old segments, of which a network without a cable has none.
    "net/ipv4/tcp_max_tw_buckets": "0",
    "net/ipv4/tcp_syncookies": "0",
    "net/ipv4/icmp_ratemask": "0",  # every failure is told
    "net/ipv6/icmp/ratelimit": "0",
}
"""What is set below ``/proc/sys``, where it is there."""

_LOOPBACK: Final = "127.0.0.0/8", "::1"
_MULTICAST: Final = "224.0.0.0/4, 255.255.255.255", "ff00::/8"
_SYN: Final = "tcp flags & (fin | syn | rst | ack) == syn"
_BULK: Final = "tcp flags & (fin | syn | rst | ack) != syn accept"
"""Of a connection that stands: nothing is to be decided, and it comes first."""


def address_lines(*, ipv6: bool) -> str:
    """For ``ip -batch``: the interface, an address of each family, and the way to everywhere, which is here."""
    lines = [
        "link set lo up",
        f"addr add {OWN_IPV4}/32 dev lo",
        f"route add local 0.0.0.0/0 dev lo src {OWN_IPV4}",
    ]
    if ipv6:
        lines += [
            f"addr add {OWN_IPV6}/128 dev lo nodad",
            f"route add local ::/0 dev lo src {OWN_IPV6}",
        ]
    return "\n".join(lines) + "\n"


def rules(*, ipv6: bool, held: bool, shared_loopback: bool) -> str:
    """For ``nft -f``. ``held``: handshakes wait for the proxy. ``shared_loopback``: loopback addresses are those of
    the outside, and are led there."""
    families = [("ip", "ipv4", OWN_IPV4, f"{OWN_IPV4}:{DOOR_PORT}", 0)]
    if ipv6:
        families.append(("ip6", "ipv6", OWN_IPV6, f"[{OWN_IPV6}]:{DOOR_PORT}", 1))
    sets: list[str] = []
    leaving: list[str] = []
    staying = [_BULK]
    caught: list[str] = []
    nobodys: list[str] = []
    for ip, name, own, door, index in families:
        inside = ", ".join([own] if shared_loopback else [own, _LOOPBACK[index]])
        staying += [
            f"{ip} daddr {{ {inside} }} accept",
            f"{ip} daddr {{ {_LOOPBACK[index]} }} {'icmp' if ip == 'ip' else 'icmpv6'} type echo-request accept",
            # Every address is ours, so the kernel would answer for hosts that do not exist.
            f"{'icmp' if ip == 'ip' else 'icmpv6'} type echo-request drop",
            f"{ip} daddr {{ {_MULTICAST[index]} }} accept",
        ]
        leaving.append(f"{ip} daddr {{ {inside}, {_MULTICAST[index]} }} accept")
        family = f"meta nfproto {name}"
        if held:
            address = f"{name}_addr"
            kind = f"{address} . inet_service . {address} . inet_service"
            sets.append(f"set young{index} {{ type {kind}; timeout 1s; flags dynamic, timeout; }}")
            caught += [
                f"{family} meta mark {HELD} meta l4proto tcp tproxy {ip} to {door} drop",
                f"meta mark {RELEASED} {_SYN} add @young{index} {{ {ip} saddr . tcp sport . {ip} daddr . tcp dport }}",
            ]
            nobodys.append(
                f"tcp flags & rst == rst meta mark 0 {ip} daddr . tcp dport . {ip} saddr . tcp sport @young{index} drop"
            )
        caught += [
            f"{family} {_SYN} tcp dport != 53 tproxy {ip} to {door} accept",
            f"{family} udp dport != 53 tproxy {ip} to {door} accept",
        ]
    if held:
        leaving.append(f"{_SYN} tcp dport != 53 meta mark 0 meta mark set {HELD}")
    chains = {
        "leaving": ["type filter hook output priority mangle", *nobodys, _BULK, *leaving],
        "arriving": ["type filter hook prerouting priority mangle", *staying, *caught],
    }
    lines = ["table inet hosier {", *(f"  {line}" for line in sets)]
    for chain, statements in chains.items():
        lines += [f"  chain {chain} {{", *(f"    {statement};" for statement in statements), "  }"]
    return "\n".join([*lines, "}"]) + "\n"
