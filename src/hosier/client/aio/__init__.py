"""Through proxies with asyncio, in any loop: the names of the blocking calls, awaited, and asyncio's own.

Sockets are used as they are; only TLS to a proxy needs transports (``transports.py``).
"""

from .datagrams import DatagramEndpoint, ProxiedDatagramTransport, associate, create_datagram_endpoint
from .streams import BindListener, bind, connect, create_connection, open_connection, resolve, resolve_ptr

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
