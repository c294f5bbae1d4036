"""The way through the proxies for a program's socket, whose number the connection can then have."""

import errno
import socket

from ...errors import LocalProtocolError
from .. import aio, blocking
from ..plain_end import plain_end
from ..proxy import Proxy
from .scope import carried
from .threads import in_thread

__all__ = ("PATIENCE", "reach", "reach_in_loop")

PATIENCE = 120.0
"""Seconds that a way takes at most where the program sets no limit of its own; about what Linux gives a connect."""


def reach(chain: tuple[Proxy, ...], host: str, port: int, timeout: float | None) -> socket.socket:
    """A plain socket to the target, made outside of any scope.

    Under TLS, or a layer that a proxy has agreed on, it is the end of a pair, and a thread of ours carries from and to
    the connection. Raises OSError as :func:`hosier.connect` does, also for a target that has no form in SOCKS.
    """
    return carried(None, _reach)(chain, host, port, timeout)


async def reach_in_loop(chain: tuple[Proxy, ...], host: str, port: int) -> socket.socket:
    """The same in a loop, without a limit: its own calls where octets go as they are, else a thread of ours. To be
    awaited outside of any scope."""
    if not any(one.tls or one.gssapi is not None for one in chain):
        try:
            return await aio.connect(chain, host, port)
        except LocalProtocolError as error:
            raise _no_such_target(error) from error
    return await in_thread(reach, chain, host, port, PATIENCE)


def _reach(chain: tuple[Proxy, ...], host: str, port: int, timeout: float | None) -> socket.socket:
    try:
        sock = blocking.connect(chain, host, port, timeout=timeout)
    except LocalProtocolError as error:
        raise _no_such_target(error) from error
    try:
        return plain_end(sock)
    except BaseException:
        sock.close()
        raise


def _no_such_target(error: LocalProtocolError) -> OSError:
    return OSError(errno.EINVAL, str(error))
