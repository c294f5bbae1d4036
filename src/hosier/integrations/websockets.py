"""websockets through a proxy: ``async with connect(proxy, uri)``, or without asyncio ``with connect_blocking``."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..client.plain_end import plain_end
from ..client.proxy import ProxyChain
from .opening import FAILURES, blames_target, open_socket
from .plain_socket import connect_plain

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.sync.client import ClientConnection as BlockingConnection

__all__ = ("connect", "connect_blocking")

_OPEN_TIMEOUT: Final = 10.0
"""Seconds, as websockets has it."""

_PORTS: Final = {"ws": 80, "wss": 443}


@asynccontextmanager
async def connect(
    proxy: ProxyChain, uri: str, *, open_timeout: float | None = _OPEN_TIMEOUT, **options: Any
) -> "AsyncIterator[ClientConnection]":
    """``websockets.connect`` with these options, through the proxy.

    ``open_timeout``, in seconds, covers the way and the opening handshake. Raises what websockets raises: TimeoutError;
    OSError if the target cannot be reached; ``ProxyError`` (``InvalidHandshake`` before websockets 15) if the proxy
    cannot, or refuses.
    """
    import websockets

    begun = monotonic()
    host, port = _place(uri, options)
    with _raised_as():
        sock = await connect_plain(proxy, host, port, timeout=open_timeout)
    left = None if open_timeout is None else max(open_timeout - (monotonic() - begun), 0.001)
    async with websockets.connect(uri, sock=sock, open_timeout=left, **options) as connection:
        yield connection


@contextmanager
def connect_blocking(
    proxy: ProxyChain, uri: str, *, open_timeout: float | None = _OPEN_TIMEOUT, **options: Any
) -> "Iterator[BlockingConnection]":
    """``websockets.sync.client.connect``, of websockets 11 and later, in the same way."""
    import websockets.sync.client

    begun = monotonic()
    host, port = _place(uri, options)
    with _raised_as():
        sock = open_socket(proxy, host, port, timeout=open_timeout)
    if urlsplit(uri).scheme == "wss":
        sock = plain_end(sock)
    left = None if open_timeout is None else max(open_timeout - (monotonic() - begun), 0.001)
    with websockets.sync.client.connect(uri, sock=sock, open_timeout=left, **options) as connection:
        yield connection


def _place(uri: str, options: dict[str, Any]) -> tuple[str, int]:
    """Where the URI leads; TLS is told the name, which old releases do not see when they are given a socket."""
    parts = urlsplit(uri)
    if parts.scheme == "wss":
        options.setdefault("server_hostname", parts.hostname)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


@contextmanager
def _raised_as() -> Iterator[None]:
    import websockets.exceptions

    try:
        yield
    except TimeoutError:
        raise
    except FAILURES as error:
        if blames_target(error) and isinstance(error, OSError):
            raise
        kind = getattr(websockets.exceptions, "ProxyError", websockets.exceptions.InvalidHandshake)
        raise kind(str(error)) from error
