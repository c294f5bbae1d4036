"""Which clients count as one, for whatever is counted per source."""

from socket import AF_INET6, inet_ntop, inet_pton
from typing import Final

__all__ = ("source_of",)

_MAPPED: Final = bytes(10) + b"\xff\xff"


def source_of(host: str) -> str:
    """What stands for a client's address: an IPv4 one itself, mapped into IPv6 too; of IPv6 the first 64 bits, as one
    machine usually has them all to itself."""
    if ":" not in host:
        return host
    octets = inet_pton(AF_INET6, host.partition("%")[0])
    if octets.startswith(_MAPPED):
        return ".".join(map(str, octets[12:]))
    return inet_ntop(AF_INET6, octets[:8] + bytes(8)) + "/64"
