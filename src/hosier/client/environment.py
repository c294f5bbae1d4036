"""Which proxy the environment asks for: ALL_PROXY, HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read only when asked.

The rules, of which no standard exists, are those that most programs share:

- For a scheme its own variable comes first (``https`` reads HTTPS_PROXY, ``ws`` WS_PROXY and so on), then ALL_PROXY.
  Small letters win over capitals. HTTP_PROXY in capitals counts for nothing where REQUEST_METHOD is set: a CGI
  program's client could set it.
- A value without a scheme in HTTP_PROXY and the like is an HTTP proxy, in ALL_PROXY a SOCKS one. An empty one is none.
- NO_PROXY is a list with commas or spaces. ``*`` is everything; ``example.com`` is that name and all below it,
  ``.example.com`` and ``*.example.com`` likewise; ``10.0.0.0/8`` and ``fd00::/8`` are networks; an address is itself,
  whatever way it is written. Each may end with ``:port``, an IPv6 address then in brackets. What is none of these is
  ignored.
- A value that is no proxy's URL is ignored, too: a strange variable must not break a program.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from ..errors import ConfigError
from .proxy import Proxy

__all__ = ("ProxyChoice", "explain_environment", "matching_entry", "proxy_from_environment")

Network = IPv4Network | IPv6Network

_ALL: Final = "all_proxy"
_NONE: Final = "no_proxy"


class ProxyChoice(NamedTuple):
    """The environment's choice and why it was made."""

    proxy: Proxy | None
    """None: go straight."""
    reason: str
    """Which variable, which entry; for people. It shows no credentials."""


def proxy_from_environment(
    host: str, port: int, scheme: str = "", *, environ: Mapping[str, str] | None = None
) -> Proxy | None:
    """The proxy for a connection, None for a direct one; the rules stand at the head of this module.

    Args:
        scheme: of the URL that is fetched, as in "https"; without one only ALL_PROXY is read.
        environ: instead of the process's own variables.
    """
    return explain_environment(host, port, scheme, environ=environ).proxy


def explain_environment(
    host: str, port: int, scheme: str = "", *, environ: Mapping[str, str] | None = None
) -> ProxyChoice:
    """The same, with the reason."""
    variables = os.environ if environ is None else environ
    ignored = ""
    for name in (f"{scheme.lower()}_proxy", _ALL) if scheme else (_ALL,):
        found, value = _variable(variables, name)
        if not value:
            continue
        try:
            proxy = Proxy(value if "://" in value or name == _ALL else f"http://{value}")
        except ConfigError as error:
            ignored += f"; {found} is ignored: {error}"
            continue
        except_name, exceptions = _variable(variables, _NONE)
        entry = matching_entry(exceptions, host, port)
        if entry is not None:
            return ProxyChoice(None, f"{except_name} has {entry!r}{ignored}")
        return ProxyChoice(proxy, f"{found} is {proxy}{ignored}")
    return ProxyChoice(None, f"no variable names a proxy{ignored}")


def matching_entry(entries: str, host: str, port: int | None) -> str | None:
    """The first entry of a list like NO_PROXY that covers a place; without a port only entries without one count."""
    name = host.strip("[]").rstrip(".").lower()
    address = _network(name)
    for entry in entries.replace(",", " ").split():
        pattern, wanted_port = _split_port(entry)
        if wanted_port is not None and wanted_port != port:
            continue
        if entry == "*" or _covers(pattern.lower(), name, address):
            return entry
    return None


# --- private ---


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """The name that is set, and its value."""
    if environ.get(name):
        return name, environ[name].strip()
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        return name, ""
    return name.upper(), environ.get(name.upper(), "").strip()


def _covers(pattern: str, name: str, address: Network | None) -> bool:
    if address is not None:
        network = _network(pattern)
        return network is not None and network.version == address.version and network.supernet_of(address)  # type: ignore[arg-type]
    suffix = pattern.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(suffix) and (name == suffix or name.endswith(f".{suffix}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    head, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in head or head.endswith("]")):
        return head.strip("[]"), int(port)
    return entry.strip("[]"), None


def _network(text: str) -> Network | None:
    """An address or network, an IPv4-mapped address as what it maps; None for what is neither."""
    try:
        if "/" in text:
            return ip_network(text, strict=False)
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return ip_network(mapped or address)
