"""httpcore through a proxy: ``connection_pool(proxy)`` and, for asyncio, ``async_connection_pool(proxy)``."""

from typing import TYPE_CHECKING, Any

from ..client.proxy import ProxyChain

if TYPE_CHECKING:
    from httpcore import AsyncConnectionPool, ConnectionPool

__all__ = ("async_connection_pool", "connection_pool")


def connection_pool(proxy: ProxyChain, **options: Any) -> "ConnectionPool":
    """A ``ConnectionPool`` with these options, all of whose connections go through the proxy.

    Raises what httpcore raises: ``ConnectTimeout``; ``ConnectError`` if the target cannot be reached; ``ProxyError``
    if the proxy cannot, or refuses. Our own error is the cause.
    """
    import httpcore

    from .blocking_backend import BlockingBackend

    return httpcore.ConnectionPool(network_backend=BlockingBackend(httpcore, proxy), **options)  # type: ignore[arg-type]


def async_connection_pool(proxy: ProxyChain, **options: Any) -> "AsyncConnectionPool":
    """The same for asyncio; under trio it has no loop to run in."""
    import httpcore

    from .asyncio_backend import AsyncioBackend

    network = AsyncioBackend(httpcore, proxy)
    return httpcore.AsyncConnectionPool(network_backend=network, **options)  # type: ignore[arg-type]
