"""What every hook needs: a connected socket as a host library wants it, and who is to blame if there is none."""

import socket
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from ..client.blocking import connect
from ..client.proxy import ProxyChain
from ..errors import ConfigError, LocalProtocolError, TargetRefused, TargetTimedOut, TargetUnreachable

__all__ = ("FAILURES", "apply_options", "blames_target", "open_socket", "seam")

FAILURES: Final = (OSError, LocalProtocolError)
"""What a way can end with: also a name that has no wire form, since names come from the data that programs work on."""


def open_socket(
    proxy: ProxyChain, host: str, port: int, *, timeout: float | None, options: Iterable[tuple[Any, ...]] = ()
) -> socket.socket:
    """A socket to ``host``. The limit, for the whole way, stays on it as ``socket.create_connection`` leaves it.

    Raises as :func:`hosier.connect` does.
    """
    sock = connect(proxy, host, port, timeout=timeout)
    try:
        sock.settimeout(timeout)
        apply_options(sock, options)
    except BaseException:
        sock.close()
        raise
    return sock


def apply_options(sock: socket.socket, options: Iterable[tuple[Any, ...]]) -> None:
    """A host library's options for its sockets; those of TCP are nothing for a proxy on a unix socket."""
    for option in options:
        if option[0] != socket.IPPROTO_TCP or sock.family != socket.AF_UNIX:
            sock.setsockopt(*option)


def blames_target(error: BaseException) -> bool:
    """Whether the target could not be reached, rather than that the proxy failed or refused."""
    return isinstance(error, TargetRefused | TargetUnreachable | TargetTimedOut | LocalProtocolError)


def seam(owner: type | ModuleType, name: str) -> None:
    """Raises ConfigError unless the host library still has what we hook into: never silently past the proxy."""
    if not hasattr(owner, name):
        package = owner.__module__ if isinstance(owner, type) else owner.__name__
        version = getattr(sys.modules[package.partition(".")[0]], "__version__", "?")
        raise ConfigError(
            f"this release of {package.partition('.')[0]} ({version}) has no {owner.__name__}.{name}; "
            "Hosier cannot lead it through a proxy: use another release and tell us"
        )
