"""asyncssh through a proxy: ``async with await connect(proxy, host)``."""

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..client.proxy import ProxyChain
from .plain_socket import connect_plain

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

__all__ = ("connect",)

_SSH: Final = 22


async def connect(
    proxy: ProxyChain, host: str, port: int = _SSH, *, timeout: float | None = None, **options: Any
) -> "SSHClientConnection":
    """``asyncssh.connect`` with these options, through the proxy.

    ``timeout``, in seconds, covers the way and the login. asyncssh's class for a connection that fails is OSError, and
    so are our errors: they are raised as :func:`hosier.aio.connect` raises them.
    """
    import asyncssh

    begun = monotonic()
    sock = await connect_plain(proxy, host, port, timeout=timeout)
    if timeout is not None:
        options["login_timeout"] = max(timeout - (monotonic() - begun), 0.001)
    try:
        return await asyncssh.connect(host, port, sock=sock, **options)
    except BaseException:
        sock.close()
        raise
