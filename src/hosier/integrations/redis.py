"""redis-py through a proxy: ``client(proxy, url)``; for asyncio ``async_client(proxy, url)``."""

import socket
from functools import cache
from typing import TYPE_CHECKING, Any

from ..client.aio.streams import open_connection
from ..client.plain_end import plain_end
from ..client.proxy import ProxyChain, chain_of
from ..errors import ConfigError, LocalProtocolError
from .opening import apply_options, open_socket, seam

if TYPE_CHECKING:
    import redis
    import redis.asyncio

__all__ = ("async_client", "client")


def client(proxy: ProxyChain, url: str, **options: Any) -> "redis.Redis":
    """``redis.Redis.from_url`` with these options, all of whose connections go through the proxy.

    ``socket_connect_timeout``, in seconds, covers the whole way. Raises what redis-py raises: ``TimeoutError`` and
    ``ConnectionError``, both of its own, which it makes of ours.
    """
    import redis

    is_single = options.pop("single_connection_client", False)
    pool: Any = redis.ConnectionPool.from_url(url, **options)
    pool.connection_class = _blocking_class(pool.connection_class)
    pool.connection_kwargs["hosier_chain"] = chain_of(proxy)
    # Not from_url of redis.Redis: a client of one connection makes that at once, before the pool knows of the proxy.
    made = redis.Redis(connection_pool=pool, single_connection_client=is_single)
    made.auto_close_connection_pool = True
    return made


def async_client(proxy: ProxyChain, url: str, **options: Any) -> "redis.asyncio.Redis":
    """The same with ``redis.asyncio``."""
    import redis.asyncio

    is_single = options.pop("single_connection_client", False)
    pool: Any = redis.asyncio.ConnectionPool.from_url(url, **options)
    pool.connection_class = _asyncio_class(pool.connection_class)
    pool.connection_kwargs["hosier_chain"] = chain_of(proxy)
    # Not from_url of redis.asyncio.Redis: old releases hand what is for the client to each connection, too.
    made = redis.asyncio.Redis(connection_pool=pool, single_connection_client=is_single)
    made.auto_close_connection_pool = True
    return made


# --- private ---


@cache
def _blocking_class(base: Any) -> Any:
    import redis

    seam(redis.Connection, "_connect")
    _not_on_this_machine(base, redis.UnixDomainSocketConnection)

    class Proxied(redis.Connection):
        def __init__(self, *args: Any, hosier_chain: ProxyChain, **options: Any) -> None:
            self._chain = hosier_chain
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]

        def _connect(self) -> socket.socket:
            place = self._chain, self.host, self.port
            try:
                sock = open_socket(*place, timeout=self.socket_connect_timeout, options=_options(self))
            except LocalProtocolError as error:
                raise redis.ConnectionError(str(error)) from error
            sock.settimeout(self.socket_timeout)
            return plain_end(sock) if isinstance(self, redis.SSLConnection) else sock

    # redis-py's class for TLS asks the next one for its socket: ours.
    return Proxied if base is redis.Connection else type("ProxiedWithTls", (base, Proxied), {})


@cache
def _asyncio_class(base: Any) -> Any:
    import redis.asyncio

    seam(redis.asyncio.Connection, "_connect")
    _not_on_this_machine(base, redis.asyncio.UnixDomainSocketConnection)

    class Proxied(base):  # type: ignore[misc]
        def __init__(self, *args: Any, hosier_chain: ProxyChain, **options: Any) -> None:
            self._chain = hosier_chain
            super().__init__(*args, **options)

        async def _connect(self) -> None:
            tls = getattr(self, "ssl_context", None)
            self._reader, self._writer = await open_connection(
                self.host,
                self.port,
                proxy=self._chain,
                timeout=self.socket_connect_timeout,
                ssl=tls.get() if tls else None,
            )
            apply_options(self._writer.get_extra_info("socket"), _options(self))

    return Proxied


def _options(connection: Any) -> list[tuple[int, int, Any]]:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if connection.socket_keepalive:
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        options += [(socket.IPPROTO_TCP, name, value) for name, value in connection.socket_keepalive_options.items()]
    return options


def _not_on_this_machine(base: type, unix: type) -> None:
    if issubclass(base, unix):
        raise ConfigError("a redis server on a unix socket is on this machine: no proxy leads there")
