"""Connections through proxies with asyncio: ``connect`` and ``bind`` awaited, and asyncio's own calls."""

import asyncio
import socket
from collections.abc import Callable
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self, TypeVar

from ...errors import ConfigError, LocalProtocolError
from ...protocol.address import Address, parse_address
from ...protocol.client_connection import RESOLVE, RESOLVE_PTR
from ...protocol.messages import Command
from ..journey import AnyHandshake, Journey, announced, host_of_proxy
from ..proxy import ProxyChain, chain_for_bind, chain_of, chain_to_tor
from ..quick import target_address
from .layered import LayeredTransport
from .steps import Exchange, arrive, look_up_here, raise_from, secure, talk
from .transports import travel

__all__ = ("BindListener", "bind", "connect", "create_connection", "open_connection", "resolve", "resolve_ptr")

_STREAM_LIMIT: Final = 65_536
"""As asyncio's."""

_NO_PLAIN_SOCKET: Final = "TLS or GSSAPI with a proxy leaves no plain socket"

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


async def connect(
    proxy: ProxyChain, host: str, port: int, *, timeout: float | None = None, early: bytes = b""
) -> socket.socket:
    """A plain, non-blocking socket that is connected to ``host``; arguments and errors are :func:`hosier.connect`'s.

    With TLS to a proxy, or GSSAPI, there is no plain socket: ConfigError; use :func:`open_connection`.
    """
    journey = Journey(chain_of(proxy), Command.CONNECT, target_address(host, port), timeout, early)
    if journey.protects:
        raise ConfigError(f"{_NO_PLAIN_SOCKET}: use hosier.aio.open_connection or create_connection")
    sock, _ = await _travel(journey)
    return sock


async def create_connection(
    protocol_factory: Callable[[], ProtocolT],
    host: str,
    port: int,
    *,
    proxy: ProxyChain,
    timeout: float | None = None,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    early: bytes = b"",
) -> tuple[asyncio.Transport, ProtocolT]:
    """The loop's ``create_connection``, through a proxy; ``timeout`` also covers TLS to the target.

    Raises as :func:`connect` does; from TLS with the target what asyncio raises.
    """
    journey = Journey(chain_of(proxy), Command.CONNECT, target_address(host, port), timeout, early)
    loop = asyncio.get_running_loop()
    if ssl or any(one.tls for one in journey.chain):
        return await travel(loop, journey, protocol_factory, ssl, (server_hostname or host) if ssl else None)
    sock, _ = await _travel(journey)
    return await _transport(loop, sock, journey, protocol_factory)


async def open_connection(
    host: str,
    port: int,
    *,
    proxy: ProxyChain,
    timeout: float | None = None,
    limit: int = _STREAM_LIMIT,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    early: bytes = b"",
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """asyncio's ``open_connection``, through a proxy. Raises as :func:`create_connection` does."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    transport, protocol = await create_connection(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
        host,
        port,
        proxy=proxy,
        timeout=timeout,
        ssl=ssl,
        server_hostname=server_hostname,
        early=early,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def bind(proxy: ProxyChain, host: str, port: int = 0, *, timeout: float | None = None) -> "BindListener":
    """Has the proxy listen for one connection from ``host``, as :func:`hosier.bind` does."""
    journey = Journey(chain_for_bind(proxy), Command.BIND, parse_address(host, port), timeout)
    sock, handshake = await _travel(journey)
    return BindListener(sock, handshake, journey)


class BindListener:
    """A proxy that listens for us, for one peer. Leaving an async with-block closes it, but not what it accepted."""

    def __init__(self, sock: socket.socket, handshake: AnyHandshake, journey: Journey) -> None:
        self._sock: socket.socket | None = sock
        self._handshake = handshake
        self._journey = journey
        assert handshake.first_reply is not None
        self.address: tuple[str, int] = announced(handshake.first_reply.bound, host_of_proxy(sock, journey.chain))
        """Host and port to announce to the peer; where the proxy gave zeros, its own address."""

    async def accept(self, timeout: float | None = None) -> tuple[socket.socket, tuple[str, int]]:
        """Waits for the peer, at most ``timeout`` seconds: a plain, non-blocking socket to it and its address.

        Raises as :func:`connect` does; a listener accepts once, and is closed by a failure.
        """
        if self._journey.protects:
            raise ConfigError(f"{_NO_PLAIN_SOCKET}: use accept_streams")
        _, sock, address = await self._accept(timeout)
        return sock, address

    async def accept_streams(
        self, timeout: float | None = None, *, limit: int = _STREAM_LIMIT
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, tuple[str, int]]:
        """The same, as streams, which TLS or GSSAPI may protect: reader, writer and the peer's address."""
        journey, sock, address = await self._accept(timeout)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        transport, protocol = await _transport(
            loop, sock, journey, lambda: asyncio.StreamReaderProtocol(reader, loop=loop)
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop), address

    async def _accept(self, timeout: float | None) -> tuple[Journey, socket.socket, tuple[str, int]]:
        sock, self._sock = self._sock, None
        if sock is None:
            raise LocalProtocolError("this listener has accepted its one peer, or is closed")
        journey = self._journey.resumed(self._handshake, timeout)
        try:
            await Exchange(asyncio.get_running_loop(), sock, self._handshake).run(b"", timeout)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                raise_from(journey, error)
            raise
        assert self._handshake.reply is not None
        bound = self._handshake.reply.bound
        return journey, sock, (bound.host, bound.port)

    def close(self) -> None:
        """Ends the wait; harmless when there is none."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def resolve(proxy: ProxyChain, host: str, *, timeout: float | None = None) -> str:
    """The address of a name, looked up by Tor (EX-10). Raises as :func:`connect` does."""
    return (await _looked_up(Journey(chain_to_tor(proxy), RESOLVE, parse_address(host, 0), timeout))).host


async def resolve_ptr(proxy: ProxyChain, address: str, *, timeout: float | None = None) -> str:
    """The name of an IP address, looked up by Tor (EX-11). Raises as :func:`connect` does."""
    target = parse_address(address, 0)
    if target.is_name:
        raise LocalProtocolError(f"{address!r} is no IP address")
    return (await _looked_up(Journey(chain_to_tor(proxy), RESOLVE_PTR, target, timeout))).host


# --- private ---


async def _travel(journey: Journey) -> tuple[socket.socket, AnyHandshake]:
    """Through all proxies, up to the last one's answer; for BIND, its first answer."""
    loop = asyncio.get_running_loop()
    try:
        sock = await arrive(loop, journey)
        try:
            if journey.proxy.tls:
                await secure(loop, sock, journey)
            while True:
                handshake = await talk(loop, sock, journey, await look_up_here(loop, journey))
                if not journey.passed():
                    return sock, handshake
                if journey.proxy.tls:
                    await secure(loop, sock, journey)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise_from(journey, error)


async def _transport(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, journey: Journey, protocol_factory: Callable[[], ProtocolT]
) -> tuple[asyncio.Transport, ProtocolT]:
    """The socket as a transport, under the layers that the proxies have agreed on, if there are any."""
    try:
        stream = journey.take_stream()
        if stream is None:
            return await loop.create_connection(protocol_factory, sock=sock)
        protocol = protocol_factory()
        _, layered = await loop.create_connection(lambda: LayeredTransport(stream, protocol), sock=sock)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise_from(journey, error)
        raise
    return layered, protocol


async def _looked_up(journey: Journey) -> Address:
    sock, handshake = await _travel(journey)
    sock.close()
    assert handshake.reply is not None
    return handshake.reply.bound
