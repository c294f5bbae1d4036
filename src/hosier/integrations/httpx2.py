"""httpx2 through a proxy: ``Client(transport=transport(proxy))``; for ``AsyncClient``, ``async_transport(proxy)``."""

from typing import TYPE_CHECKING

from ..client.proxy import ProxyChain
from .httpcore2 import async_connection_pool, connection_pool
from .httpx_transports import Options, asyncio_transport, blocking_transport

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import AsyncBaseTransport, BaseTransport, Limits

__all__ = ("async_transport", "transport")


def transport(
    proxy: ProxyChain,
    *,
    verify: "SSLContext | str | bool" = True,
    http1: bool = True,
    http2: bool = False,
    limits: "Limits | None" = None,
    retries: int = 0,
) -> "BaseTransport":
    """For ``Client(transport=...)`` or ``Client(mounts=...)``; the options are those of ``HTTPTransport``.

    The client's time to connect covers the whole way. Raises what httpx2 raises: ``ConnectTimeout``; ``ConnectError``
    if the target cannot be reached; ``ProxyError`` if the proxy cannot, or refuses.
    """
    import httpx2

    options = Options(verify, http1, http2, limits, retries)
    made: httpx2.BaseTransport = blocking_transport(httpx2, connection_pool(proxy, **options.for_pool(httpx2)))
    return made


def async_transport(
    proxy: ProxyChain,
    *,
    verify: "SSLContext | str | bool" = True,
    http1: bool = True,
    http2: bool = False,
    limits: "Limits | None" = None,
    retries: int = 0,
) -> "AsyncBaseTransport":
    """The same for ``AsyncClient``, with asyncio."""
    import httpx2

    options = Options(verify, http1, http2, limits, retries)
    made: httpx2.AsyncBaseTransport = asyncio_transport(
        httpx2, async_connection_pool(proxy, **options.for_pool(httpx2))
    )
    return made
