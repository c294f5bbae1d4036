"""httpx2 through a proxy: ``Client(transport=transport(proxy))``; for ``AsyncClient``, ``async_transport(proxy)``."""

from functools import partial
from typing import TYPE_CHECKING, Unpack

from ..client.proxy import ProxyChain
from .httpcore2 import async_connection_pool, connection_pool
from .httpx_transports import Options, asyncio_transport, blocking_transport

if TYPE_CHECKING:
    from httpx2 import AsyncBaseTransport, BaseTransport

__all__ = ("async_transport", "transport")


def transport(proxy: ProxyChain, **options: Unpack[Options]) -> "BaseTransport":
    """For ``Client(transport=...)`` or ``Client(mounts=...)``; the options are those of ``HTTPTransport``.

    The client's time to connect covers the whole way. Raises what httpx2 raises: ``ConnectTimeout``; ``ConnectError``
    if the target cannot be reached; ``ProxyError`` if the proxy cannot, or refuses.
    """
    import httpx2

    made: BaseTransport = blocking_transport(httpx2, partial(connection_pool, proxy), options)
    return made


def async_transport(proxy: ProxyChain, **options: Unpack[Options]) -> "AsyncBaseTransport":
    """The same for ``AsyncClient``, with asyncio."""
    import httpx2

    made: AsyncBaseTransport = asyncio_transport(httpx2, partial(async_connection_pool, proxy), options)
    return made
