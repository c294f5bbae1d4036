"""urllib3 through a proxy: ``pool_manager(proxy)`` instead of ``urllib3.PoolManager()``."""

import socket
from functools import cache
from typing import TYPE_CHECKING, Any

from ..client.plain_end import plain_end
from ..client.proxy import ProxyChain, chain_of
from .opening import FAILURES, blames_target, open_socket, seam

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool, PoolManager

__all__ = ("pool_manager",)


def pool_manager(proxy: ProxyChain, **options: Any) -> "PoolManager":
    """A ``PoolManager`` with these options, all of whose connections go through the proxy.

    The time to connect covers the whole way. Raises what urllib3 raises: ``ConnectTimeoutError``;
    ``NewConnectionError`` if the target cannot be reached; ``ProxyError`` if the proxy cannot, or refuses.
    """
    import urllib3

    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = _pool_classes()
    # A part of the pools' key, which urllib3 keeps for SOCKS.
    manager.connection_pool_kw["_socks_options"] = {"chain": chain_of(proxy)}
    return manager


@cache
def _pool_classes() -> dict[str, "type[HTTPConnectionPool]"]:
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError

    seam(HTTPConnection, "_new_conn")

    class Proxied(HTTPConnection):
        """Connects through the chain of its pool."""

        def __init__(self, *args: Any, _socks_options: dict[str, Any], **options: Any) -> None:
            super().__init__(*args, **options)
            self._chain = _socks_options["chain"]

        def _new_conn(self) -> socket.socket:
            limit = self.timeout if isinstance(self.timeout, int | float) else socket.getdefaulttimeout()
            place = self._chain, self._dns_host, self.port
            try:
                return open_socket(*place, timeout=limit, options=self.socket_options or ())
            except TimeoutError as error:
                raise ConnectTimeoutError(self, f"Connection to {self.host} timed out: {error}") from error
            except FAILURES as error:
                if blames_target(error):
                    raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
                raise ProxyError("Cannot connect to proxy.", error) from error

    class ProxiedWithTls(Proxied, HTTPSConnection):
        """The same, with TLS to the target."""

        def _new_conn(self) -> socket.socket:
            return plain_end(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Proxied

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = ProxiedWithTls

    return {"http": PlainPool, "https": TlsPool}
