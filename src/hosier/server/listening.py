"""The sockets on which a server listens, made with errors that say what to do."""

import errno
import logging
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from ..engine.listener import Sharing, listening_socket
from ..errors import ConfigError, cannot_listen
from .settings import ListenAddress

__all__ = ("configured_address", "listening_sockets", "shared_listening_sockets")

_LACKING: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_log = logging.getLogger("hosier")


def listening_sockets(addresses: Sequence[ListenAddress]) -> list[socket.socket]:
    """One per address. Raises ConfigError if one cannot be had; an address of a family that the machine lacks is left
    out with a line in the log, unless it is the only one."""
    return [sock for (sock,) in _sockets(addresses, [Sharing.ALONE])]


def shared_listening_sockets(addresses: Sequence[ListenAddress], count: int) -> list[list[socket.socket]]:
    """``count`` per address, which share its connections (SO_REUSEPORT); a list for each of those who share.

    Raises ConfigError as above. An address that anybody else listens on is an error.
    """
    sharing = [Sharing.FIRST] + [Sharing.NEXT] * (count - 1)
    return [list(sockets) for sockets in zip(*_sockets(addresses, sharing), strict=True)]


def configured_address(sock: socket.socket, addresses: Sequence[ListenAddress]) -> ListenAddress:
    """The address of the settings on which a socket listens, which may be given port 0."""
    bound = ListenAddress(*sock.getsockname()[:2])
    return next((one for one in addresses if one in (bound, bound._replace(port=0))), bound)


def _sockets(addresses: Sequence[ListenAddress], sharing: list[Sharing]) -> list[list[socket.socket]]:
    found: list[list[socket.socket]] = []
    lacking: list[str] = []
    try:
        for address in addresses:
            try:
                found.append(_group(address, sharing))
            except OSError as error:
                if error.errno not in _LACKING:
                    raise cannot_listen(address, error, "choose --listen HOST:PORT") from error
                lacking.append(f"{address}: {error.strerror}")
        if not found:
            raise ConfigError(f"cannot listen on {'; '.join(lacking)}")
    except ConfigError:
        _close(sock for group in found for sock in group)
        raise
    for reason in lacking:
        _log.warning("not listening on %s", reason)
    return found


def _group(address: ListenAddress, sharing: list[Sharing]) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    group: list[socket.socket] = []
    place: tuple[str, int] = address
    try:
        for each in sharing:
            group.append(listening_socket(place, family, client_speaks_first=True, sharing=each))
            place = group[0].getsockname()[:2]  # the others follow the first to the port that it was given
    except OSError:
        _close(group)
        raise
    return group


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
