"""Which proxies a command goes through: its options, or the environment."""

import argparse
from typing import Any

from ..client.environment import explain_environment
from ..client.proxy import Proxy, chain_of
from ..config.secrets import read_option
from ..errors import ConfigError

__all__ = ("add_proxy_option", "chain_for", "host_and_port")


def add_proxy_option(parser: Any) -> None:
    """Adds ``--proxy``, which may be repeated."""
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="URL",
        help="go through this proxy (ALL_PROXY); again for a chain, the nearest first; also env:NAME, file:PATH",
    )


def chain_for(arguments: argparse.Namespace, host: str = "", port: int = 0) -> tuple[Proxy, ...]:
    """The proxies towards a target, the nearest first. Raises ConfigError if there is none."""
    if arguments.proxy:
        return chain_of([read_option(text) for text in arguments.proxy])
    choice = explain_environment(host, port)
    if choice.proxy is None:
        raise ConfigError(f"no proxy to go through: give --proxy URL or set ALL_PROXY ({choice.reason})")
    return (choice.proxy,)


def host_and_port(text: str, default: str = "") -> tuple[str, int]:
    """What ``HOST:PORT`` says, an IPv6 address in brackets; ``PORT`` alone means the default host.

    Raises ConfigError.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host = default
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (
        not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 0xFFFF)
        or not bare
        or (":" in bare and bare == host)
    ):
        raise ConfigError(f"{text!r} is no place: write HOST:PORT, an IPv6 address in brackets")
    return bare, int(port)
