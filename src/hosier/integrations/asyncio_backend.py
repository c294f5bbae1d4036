"""The network of httpcore, and of its successor httpcore2, led through a proxy: asyncio."""

import asyncio
from collections.abc import Iterable
from ssl import SSLContext
from types import ModuleType
from typing import Any, Final, cast

from ..client.aio.streams import create_connection
from ..client.proxy import ProxyChain, chain_of
from ..client.readiness import is_readable
from ..errors import ConfigError
from .blocking_backend import connect_errors, raised_as
from .opening import apply_options

__all__ = ("AsyncioBackend",)

_GOODBYE: Final = 0.25
"""Seconds for TLS to say that it ends."""

_BUFFERED: Final = 1 << 18
"""Octets that are received before somebody asks for them."""


class AsyncioBackend:
    """What httpcore calls an ``AsyncNetworkBackend``. ``host`` is the library, for its errors."""

    def __init__(self, host: ModuleType, proxy: ProxyChain) -> None:
        self._host = host
        self._chain = chain_of(proxy)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> "AsyncioStream":
        if local_address is not None:
            raise ConfigError("give source_address to hosier.Proxy instead of local_address")
        with connect_errors(self._host):
            transport, inbox = await create_connection(_Inbox, host, port, proxy=self._chain, timeout=timeout)
        apply_options(transport.get_extra_info("socket"), socket_options or ())
        return AsyncioStream(self._host, transport, inbox)

    async def connect_unix_socket(self, path: str, *_: object, **__: object) -> "AsyncioStream":
        raise ConfigError(f"{path} is on this machine: no proxy leads there")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Inbox(asyncio.Protocol):
    """What has come, until somebody asks for it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.ended = False
        self.lost = asyncio.Event()
        self._received = bytearray()
        self._failure: Exception | None = None
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._changed.set()
        if len(self._received) > _BUFFERED and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> None:
        self.ended = True
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self._failure = error
        self.lost.set()
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ours

    @property
    def has_news(self) -> bool:
        """Something came, or the end."""
        return bool(self._received) or self.ended

    async def receive(self, size: int) -> bytes:
        while not self.has_news:
            self._changed.clear()
            await self._changed.wait()
        if not self._received and self._failure is not None:
            raise self._failure
        data = bytes(self._received[:size])
        del self._received[:size]
        if self._paused and not self._received:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def flushed(self) -> None:
        """Waits until what was written fits into the buffers again."""
        await self._writable.wait()
        if self._failure is not None:
            raise self._failure


class AsyncioStream:
    """What httpcore calls an ``AsyncNetworkStream``."""

    def __init__(self, host: ModuleType, transport: asyncio.Transport, inbox: _Inbox, *, tls: bool = False) -> None:
        self._host = host
        self._transport = transport
        self._inbox = inbox
        self._tls = tls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with raised_as(self._host.ReadTimeout, self._host.ReadError):
            if self._inbox.has_news:
                return await self._inbox.receive(max_bytes)
            async with asyncio.timeout(timeout):
                return await self._inbox.receive(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with raised_as(self._host.WriteTimeout, self._host.WriteError):
            if self._transport.is_closing():
                raise BrokenPipeError("the connection is closed")
            self._transport.write(buffer)
            async with asyncio.timeout(timeout):
                await self._inbox.flushed()

    async def aclose(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.close()
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._inbox.lost.wait()
        except TimeoutError:
            self._transport.abort()

    async def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "AsyncioStream":
        loop = asyncio.get_running_loop()
        inbox = _Inbox()
        try:
            with raised_as(self._host.ConnectTimeout, self._host.ConnectError):
                async with asyncio.timeout(timeout):
                    transport = await loop.start_tls(
                        self._transport, inbox, ssl_context, server_hostname=server_hostname
                    )
        except BaseException:
            self._transport.abort()
            raise
        assert transport is not None
        inbox.transport = transport
        return AsyncioStream(self._host, transport, inbox, tls=True)

    def get_extra_info(self, info: str) -> Any:  # httpcore's signature: what it is depends on the name
        if info == "ssl_object":
            return self._transport.get_extra_info("ssl_object") if self._tls else None
        if info == "is_readable":
            return self._is_readable()
        names = {"socket": "socket", "client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names[info]) if info in names else None

    def _is_readable(self) -> bool:
        """Whether something came that nobody asked for, as the end does: then the connection is not used again."""
        if self._inbox.has_news or self._transport.is_closing():
            return True
        return is_readable(self._transport.get_extra_info("socket"))
