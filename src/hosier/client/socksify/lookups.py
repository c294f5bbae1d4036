"""What stands in for the lookups of the socket module within a scope: names become fake addresses, nothing is asked.

Numbers, and names under localhost (RFC 6761), are answered as ever, for that asks nobody. Names that go past the proxy
are looked up for good, and so are all names where the proxy is one that takes addresses only, as in ``socks5://``.
"""

import _socket
import socket
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...errors import LocalProtocolError
from ..lookup import refuse_onion
from .scope import Scope, carried, current, outside

__all__ = ("LOOKUPS",)

T = TypeVar("T")
Infos = list[tuple[Any, ...]]

_AMONG_NUMBERS: Final = ("", "<broadcast>", "255.255.255.255")
_HOST_NOT_FOUND: Final = 1

_getaddrinfo: Final[Callable[..., Infos]] = _socket.getaddrinfo
_gethostbyname_ex: Final = _socket.gethostbyname_ex
_gethostbyname: Final = _socket.gethostbyname
_gethostbyaddr: Final = _socket.gethostbyaddr
_getnameinfo: Final = _socket.getnameinfo


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Infos:
    scope = current.get()
    if scope is None:
        return _getaddrinfo(host, port, family, type, proto, flags)
    rest = (family, type, proto, flags)
    name = _text(host or "")
    if not name or _is_number(name):
        return _outside(_getaddrinfo, host, port, *rest)
    if flags & socket.AI_NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if _is_loopback(name):
        return _loopback(port, *rest)
    number = int(port) if str(port).isdecimal() else None
    if scope.asks_here(name, number):
        return _looked_up(scope, name, number, port, rest)
    return _fake_infos(scope, name, port, rest)


def gethostbyname(host: Any) -> str:
    scope = current.get()
    return _gethostbyname(host) if scope is None else _address_of(scope, host)


def gethostbyname_ex(host: Any) -> tuple[str, list[str], list[str]]:
    scope = current.get()
    return _gethostbyname_ex(host) if scope is None else (_text(host), [], [_address_of(scope, host)])


def gethostbyaddr(host: Any) -> tuple[str, list[str], list[str]]:
    scope = current.get()
    if scope is None:
        return _gethostbyaddr(host)
    address = _address_of(scope, host)
    name = scope.names.name_of(address)
    if name is None:
        raise socket.herror(_HOST_NOT_FOUND, "addresses are not looked up through a proxy")
    return name, [], [address]


def getnameinfo(sockaddr: Any, flags: int) -> tuple[str, str]:
    scope = current.get()
    if scope is None:
        return _getnameinfo(sockaddr, flags)
    host, service = _outside(_getnameinfo, sockaddr, flags | socket.NI_NUMERICHOST)
    name = None if flags & socket.NI_NUMERICHOST else scope.names.name_of(host)
    if name is None and flags & socket.NI_NAMEREQD:
        raise socket.gaierror(socket.EAI_NONAME, "addresses are not looked up through a proxy")
    return name or host, service


# Under both modules: ``from socket import ...`` of a program may have run long before; what a program holds that is
# older than the scope is stopped by ``net.py``.
LOOKUPS: Final[list[tuple[Any, str, Any]]] = [
    (_socket, "getaddrinfo", getaddrinfo),
    *(
        (module, call.__name__, call)
        for module in (_socket, socket)
        for call in (gethostbyname, gethostbyname_ex, gethostbyaddr, getnameinfo)
    ),
]


# --- private ---


def _outside(call: Callable[..., T], *args: Any) -> T:
    return carried(None, call)(*args)


def _text(host: Any) -> str:
    return host if isinstance(host, str) else bytes(host).decode("ascii", "replace")


def _is_number(host: str) -> bool:
    """Whether it is an address that the system reads without asking anybody: IPv6, or IPv4 in any of its forms."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        else:
            socket.inet_aton(host)
    except OSError:
        return False
    return not any(character.isspace() for character in host)  # inet_aton reads what stands before a space


def _is_loopback(name: str) -> bool:
    return f".{name.lower().rstrip('.')}".endswith(".localhost")


def _loopback(port: Any, family: int, type: int, proto: int, flags: int) -> Infos:
    flags = _plain(flags)
    found: Infos = []
    for address, its_family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        if family in (0, its_family):
            found += _outside(_getaddrinfo, address, port, its_family, type, proto, flags)
    return found


def _looked_up(scope: Scope, name: str, number: int | None, port: Any, rest: tuple[int, int, int, int]) -> Infos:
    refuse_onion(name)
    infos: Infos = _outside(_getaddrinfo, name, port, *rest)
    for info in infos:
        scope.found_here(name, number, info[4][0].partition("%")[0])
    return infos


def _fake_infos(scope: Scope, name: str, port: Any, rest: tuple[int, int, int, int]) -> Infos:
    family, type, proto, flags = rest
    address = _fake(scope, name, family)
    infos: Infos = _outside(_getaddrinfo, address, port, 0, type, proto, _plain(flags))
    if flags & socket.AI_CANONNAME:
        infos[0] = (*infos[0][:3], name, infos[0][4])
    return infos


def _fake(scope: Scope, name: str, family: int) -> str:
    """One address, also where both families would do: the other one would only be a second try at the same."""
    try:
        addresses = scope.names.addresses_for(name)
    except LocalProtocolError as error:
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    return addresses.ipv6 if family == socket.AF_INET6 else addresses.ipv4


def _plain(flags: int) -> int:
    """Without what has a meaning for names only, or asks what addresses this machine has."""
    return (flags & ~(socket.AI_CANONNAME | socket.AI_ADDRCONFIG | socket.AI_V4MAPPED)) | socket.AI_NUMERICHOST


def _address_of(scope: Scope, host: Any) -> str:
    """An IPv4 address for a host, itself if it is one; an IPv6 address only for itself."""
    if _text(host) in _AMONG_NUMBERS:
        with outside():
            return _gethostbyname(host)
    family = socket.AF_INET6 if ":" in _text(host) else socket.AF_INET
    address: str = getaddrinfo(host, None, family, socket.SOCK_STREAM)[0][4][0]
    return address
