"""Names looked up on this side, in the order in which addresses are tried (RFC 8305 §4)."""

import socket
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain, zip_longest
from typing import NamedTuple

from ..protocol.address import IPV4, IPV6, Address

__all__ = ("Place4or6", "addresses", "alternating", "literal", "look_up", "pick", "refuse_onion")


class Place4or6(NamedTuple):
    """Where to connect: what ``socket.socket`` and ``connect`` take."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


@lru_cache(256)
def literal(host: str, port: int) -> Place4or6 | None:
    """The place of an IP address in text; None for a name, which has to be looked up."""
    if not (host[-1:].isdigit() or ":" in host):
        return None
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return None  # also a scoped address: its link is looked up
    return Place4or6(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))


def refuse_onion(host: str) -> None:
    """Raises gaierror for names that must not reach the DNS (RFC 7686)."""
    if host.lower().rstrip(".").endswith(".onion"):
        raise socket.gaierror(socket.EAI_NONAME, "onion names are known to Tor only; use socks5h")


def look_up(host: str, port: int, left: Callable[[], float | None]) -> list[Place4or6]:
    """All places of a host, at least one, in the order to try.

    Raises gaierror; TimeoutError when ``left()``, in seconds, is over first. The system's resolver cannot be stopped:
    with a limit it works in a thread, which is then left behind.
    """
    known = literal(host, port)
    if known is not None:
        return [known]
    refuse_onion(host)
    limit = left()
    if limit is None:
        return addresses(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    found: list[list[Place4or6] | BaseException] = []

    def work() -> None:
        try:
            found.append(addresses(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=work, name=f"look up {host}", daemon=True)
    thread.start()
    thread.join(limit)
    if not found:
        left()  # tells that it is over, in its own words
        raise TimeoutError(f"no answer for {host}")
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    return result


Info = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""An answer of ``getaddrinfo``; the last form of a sockaddr is that of a Python built without IPv6."""


def addresses(infos: Iterable[Info]) -> list[Place4or6]:
    """What ``getaddrinfo`` found, each place once, the families alternating."""
    families = (socket.AF_INET, socket.AF_INET6)
    places = [Place4or6(info[0], info[4]) for info in infos if info[0] in families]  # type: ignore[arg-type]
    return alternating(list(dict.fromkeys(places)))


def alternating(places: list[Place4or6]) -> list[Place4or6]:
    """The families alternating, beginning with the first one's."""
    if not places:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
    first = [place for place in places if place.family == places[0].family]
    others = [place for place in places if place.family != places[0].family]
    return [place for place in chain.from_iterable(zip_longest(first, others)) if place is not None]


def pick(places: list[Place4or6], port: int, *, only_ipv4: bool) -> Address:
    """The address to ask a proxy for; SOCKS4 has IPv4 only. Raises gaierror if there is none."""
    for family, sockaddr in places:
        if family == socket.AF_INET:
            return Address(IPV4, socket.inet_pton(socket.AF_INET, sockaddr[0]), port)
        if not only_ipv4:
            return Address(IPV6, socket.inet_pton(socket.AF_INET6, sockaddr[0].partition("%")[0]), port)
    raise socket.gaierror(socket.EAI_NONAME, "the name has no IPv4 address, and SOCKS4 no other")
