"""A proxy as PySocks tells it: a type's number, host, port, who looks names up, user name and password."""

from functools import lru_cache
from typing import Any, Final

from ...client.proxy import Proxy
from ...errors import ConfigError

__all__ = (
    "DEFAULT_PORTS",
    "HTTP",
    "PRINTABLE_PROXY_TYPES",
    "PROXY_TYPES",
    "PROXY_TYPE_HTTP",
    "PROXY_TYPE_SOCKS4",
    "PROXY_TYPE_SOCKS5",
    "SOCKS4",
    "SOCKS5",
    "ProxyTuple",
    "in_text",
    "new_spelling",
    "proxy_of",
    "proxy_tuple",
)

PROXY_TYPE_SOCKS4 = SOCKS4 = 1
PROXY_TYPE_SOCKS5 = SOCKS5 = 2
PROXY_TYPE_HTTP = HTTP = 3

PROXY_TYPES: Final = {"SOCKS4": SOCKS4, "SOCKS5": SOCKS5, "HTTP": HTTP}
PRINTABLE_PROXY_TYPES: Final = {number: name for name, number in PROXY_TYPES.items()}
DEFAULT_PORTS: Final = {SOCKS4: 1080, SOCKS5: 1080, HTTP: 8080}

ProxyTuple = tuple[int | None, str | None, int | None, bool | None, bytes | None, bytes | None]
"""What PySocks keeps in ``socksocket.proxy``, in the order of ``set_proxy``."""

_SCHEMES: Final = {
    (SOCKS4, False): "socks4",
    (SOCKS4, True): "socks4a",
    (SOCKS5, False): "socks5",
    (SOCKS5, True): "socks5h",
}


def proxy_tuple(
    proxy_type: int | None,
    addr: str | None,
    port: int | None,
    rdns: bool,
    username: str | bytes | None,
    password: str | bytes | None,
) -> ProxyTuple:
    """The arguments of ``set_proxy`` as they are kept: credentials in octets, empty ones as none."""
    return proxy_type, addr, port, rdns, _octets(username), _octets(password)


@lru_cache(16)  # programs have few, and make many connections through each
def proxy_of(kept: ProxyTuple) -> Proxy:
    """As ours. Raises ConfigError for what is no proxy."""
    number, host, port, rdns, username, password = kept
    if number not in PRINTABLE_PROXY_TYPES:
        raise ConfigError("Invalid proxy type")
    if not host:
        raise ConfigError("Invalid proxy address")
    host = host.strip("[]")
    place = f"{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORTS[number]}"
    scheme = _SCHEMES.get((number, bool(rdns)), "http")
    if number == SOCKS4 or username is None:
        password = None  # PySocks ignores one that has nobody to belong to
    return Proxy(f"{scheme}://{place}", username=username, password=password, remote_dns=bool(rdns))


def new_spelling(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of an old call: ``proxytype`` is ``proxy_type``."""
    return {"proxy_type" if name == "proxytype" else name: value for name, value in arguments.items()}


def in_text(kept: ProxyTuple) -> str:
    """For messages, as PySocks has it: type, host and port."""
    number, host, port = kept[:3]
    return f"{PRINTABLE_PROXY_TYPES.get(number or 0)} proxy {host}:{port or DEFAULT_PORTS.get(number or 0)}"


def _octets(text: str | bytes | None) -> bytes | None:
    return (text.encode() if isinstance(text, str) else text) or None
