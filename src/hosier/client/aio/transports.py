"""The way through proxies where there is TLS, to them or to the target: over asyncio's transports, one in the other."""

import asyncio
from collections.abc import Callable
from ssl import SSLContext, create_default_context
from typing import Final, TypeVar

from ...protocol.address import Address
from ..journey import AnyHandshake, Journey
from .steps import arrive, look_up_here, raise_from

__all__ = ("travel",)

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

_WITH_TARGET: Final = "TLS with the target"


async def travel(
    loop: asyncio.AbstractEventLoop,
    journey: Journey,
    protocol_factory: Callable[[], ProtocolT],
    ssl: SSLContext | bool | None,
    server_hostname: str | None,
) -> tuple[asyncio.Transport, ProtocolT]:
    """As ``create_connection``, whose arguments they are; ``ssl`` is for the target."""
    try:
        if journey.timeout is None:
            return await _travel(loop, journey, protocol_factory, ssl, server_hostname)
        async with asyncio.timeout(journey.timeout):
            return await _travel(loop, journey, protocol_factory, ssl, server_hostname)
    except OSError as error:
        if journey.step == _WITH_TARGET and not isinstance(error, TimeoutError):
            raise
        raise_from(journey, error)


async def _travel(
    loop: asyncio.AbstractEventLoop,
    journey: Journey,
    protocol_factory: Callable[[], ProtocolT],
    ssl: SSLContext | bool | None,
    server_hostname: str | None,
) -> tuple[asyncio.Transport, ProtocolT]:
    transport, conversation = await _begin(loop, journey)
    try:
        while True:
            await conversation.run(transport, journey, await look_up_here(loop, journey))
            if not journey.passed():
                break
            if journey.proxy.tls:
                journey.step = "TLS"
                transport = await _start_tls(loop, transport, conversation, _context(journey), journey.proxy.host)
        protocol = protocol_factory()
        if ssl:
            journey.step = _WITH_TARGET
            context = create_default_context() if ssl is True else ssl
            transport = await _start_tls(loop, transport, protocol, context, server_hostname)
            protocol.connection_made(transport)
        else:
            conversation.hand_over(transport, protocol)
    except BaseException:
        transport.abort()
        raise
    return transport, protocol


async def _begin(loop: asyncio.AbstractEventLoop, journey: Journey) -> tuple[asyncio.Transport, "_Conversation"]:
    """A transport to the nearest proxy."""
    sock = await arrive(loop, journey)
    try:
        if not journey.proxy.tls:
            return await loop.create_connection(_Conversation, sock=sock)
        journey.step = "TLS"
        name = journey.proxy.host
        return await loop.create_connection(_Conversation, sock=sock, ssl=_context(journey), server_hostname=name)
    except BaseException:
        sock.close()
        raise


def _context(journey: Journey) -> SSLContext:
    return journey.proxy.ssl_context or create_default_context()


async def _start_tls(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: SSLContext,
    server_hostname: str | None,
) -> asyncio.Transport:
    started = await loop.start_tls(transport, protocol, context, server_hostname=server_hostname)
    assert started is not None  # it is where the connection was lost meanwhile, which raises
    return started


class _Conversation(asyncio.Protocol):
    """Handshakes over a transport, one after the other; what comes behind the last one is handed over."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._handshake: AnyHandshake | None = None
        self._done: asyncio.Future[None] | None = None
        self._unread = b""
        self._lost: Exception | None = None
        self._ended = False
        self._closed = False

    async def run(self, transport: asyncio.Transport, journey: Journey, target: Address) -> None:
        """One handshake. Raises what it raises, and OSError when the connection breaks."""
        handshake = self._handshake = journey.begin(target)
        self._transport = transport
        self._done = asyncio.get_running_loop().create_future()
        transport.write(handshake.start())
        self._proceed()
        try:
            await self._done
        finally:
            self._done = None

    def hand_over(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        """From here on the protocol hears what comes."""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._unread:
            _feed(protocol, self._unread)
        if self._closed:
            protocol.connection_lost(self._lost)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._proceed()

    def eof_received(self) -> None:
        self._ended = True
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc
        self._ended = self._closed = True
        self._proceed()

    def _proceed(self) -> None:
        done, handshake = self._done, self._handshake
        if done is None or done.done() or handshake is None:
            return
        try:
            while not handshake.done and self._unread:
                piece, self._unread = self._unread[: handshake.owed], self._unread[handshake.owed :]
                self._transport.write(handshake.feed(piece))
            if not handshake.done and self._ended:
                if self._lost is not None:
                    raise self._lost
                handshake.feed(b"")
        except Exception as error:  # noqa: BLE001 - who waits has to know
            done.set_exception(error)
            return
        if handshake.done:
            done.set_result(None)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Gives what has come already to a protocol of either kind."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        while data:
            buffer = memoryview(protocol.get_buffer(len(data))).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            protocol.buffer_updated(size)
            data = data[size:]
    elif isinstance(protocol, asyncio.Protocol):
        protocol.data_received(data)
