"""The way from a PySocks socket to its proxy and through it. Only sockets' own calls are used: ``socket.socket`` itself
may be ours by now."""

import socket
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ...client.journey import AnyHandshake, Journey
from ...client.lookup import look_up
from ...client.proxy import Proxy
from ...client.steps import look_up_here, talk
from ...errors import LocalProtocolError
from ...protocol.address import Address, parse_address
from .errors import GeneralProxyError

__all__ = ("INTERNET", "SystemSocket", "destination_of", "new_journey", "reach", "walk")

SystemSocket: Final = socket.socket
"""As it was before anybody put another class in its place."""

INTERNET: Final = (socket.AF_INET, socket.AF_INET6)

_PATIENCE: Final = 60.0
"""Seconds that a way takes at most for a socket that must not block. It does, as in PySocks, but not for ever."""

SocketT = TypeVar("SocketT", bound=socket.socket)


def new_journey(proxy: Proxy, command: int, destination: Address, limit: float | None) -> Journey:
    """One call through the proxy; ``limit`` is what ``gettimeout`` says."""
    return Journey((proxy,), command, destination, _PATIENCE if limit == 0 else limit)


def walk(journey: Journey, open_as: Callable[[int], SocketT]) -> tuple[SocketT, AnyHandshake, Address]:
    """To the proxy, and through it: the socket, and what was asked for.

    ``open_as`` gives a socket of a family. Raises OSError, as the system or the proxy says.
    """
    sock = reach(journey, open_as)
    target = look_up_here(journey)
    return sock, talk(sock, journey, target), target


def reach(journey: Journey, open_as: Callable[[int], SocketT]) -> SocketT:
    """A connection to the proxy, at the first of its addresses that answers."""
    proxy = journey.proxy
    failure: OSError | None = None
    for place in look_up(proxy.host, proxy.port, journey.left):
        journey.step = "connect"
        sock = open_as(place.family)
        SystemSocket.settimeout(sock, journey.left())
        try:
            SystemSocket.connect(sock, place.sockaddr)
        except OSError as error:
            failure = error
        else:
            return sock
    assert failure is not None  # there was at least one place
    raise failure


def destination_of(pair: Any) -> Address:
    """A host, also IPv6 in brackets or not, and a port. Raises GeneralProxyError for anything else."""
    try:
        host, port = pair[:2]
        host = host.decode() if isinstance(host, bytes | bytearray) else host
        if not host or not isinstance(port, int):
            raise ValueError
        return parse_address(host.strip("[]").partition("%")[0] if ":" in host else host, port)
    except (TypeError, ValueError, AttributeError):
        raise GeneralProxyError("Invalid destination-connection (host, port) pair") from None
    except LocalProtocolError as error:
        raise GeneralProxyError(f"Invalid destination: {error}") from error
