"""Through proxies with asyncio, in any loop: the names of the blocking calls, awaited, and asyncio's own.

``hosier.aio`` is there without an import of its own, too.
"""

from ..client.aio import (
    BindListener,
    DatagramEndpoint,
    ProxiedDatagramTransport,
    associate,
    bind,
    connect,
    create_connection,
    create_datagram_endpoint,
    open_connection,
    resolve,
    resolve_ptr,
)

__all__ = (
    "BindListener",
    "DatagramEndpoint",
    "ProxiedDatagramTransport",
    "associate",
    "bind",
    "connect",
    "create_connection",
    "create_datagram_endpoint",
    "open_connection",
    "resolve",
    "resolve_ptr",
)
