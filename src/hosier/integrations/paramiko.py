"""paramiko through a proxy: ``connect(client, proxy, host, username=...)`` instead of ``client.connect(host, ...)``."""

from typing import TYPE_CHECKING, Any, Final

from ..client.proxy import ProxyChain
from .opening import FAILURES, open_socket

if TYPE_CHECKING:
    from paramiko import SSHClient

__all__ = ("connect",)

_SSH: Final = 22


def connect(
    proxy: ProxyChain, client: "SSHClient", host: str, port: int = _SSH, *, timeout: float | None = None, **options: Any
) -> None:
    """``client.connect`` with these options, through the proxy; ``timeout``, in seconds, covers the way there.

    Raises what paramiko raises where nothing answers, ``NoValidConnectionsError``; our own error is its cause, and in
    its ``errors``. TimeoutError stays what it is.
    """
    from paramiko.ssh_exception import NoValidConnectionsError

    try:
        sock = open_socket(proxy, host, port, timeout=timeout)
    except TimeoutError:
        raise
    except FAILURES as error:
        raise NoValidConnectionsError({(host, port): error}) from error
    try:
        client.connect(host, port, sock=sock, timeout=timeout, **options)
    except BaseException:
        sock.close()
        raise
