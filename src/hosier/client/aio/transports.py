"""The way through proxies where there is TLS, to them or to the target: over asyncio's transports, one in the other,
security layers among them."""

import asyncio
from collections.abc import Callable
from ssl import SSLContext, create_default_context
from typing import Final, TypeVar

from ...errors import ConfigError
from ...protocol.address import Address
from ..journey import AnyHandshake, Journey
from ..tls_stream import usual_context
from .feeding import feed
from .layered import LayeredTransport
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
                transport = _protected(transport, journey, conversation)
                journey.step = "TLS"
                transport = await _start_tls(loop, transport, conversation, _context(journey), journey.proxy.host)
        transport = _protected(transport, journey, conversation)
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


def _protected(transport: asyncio.Transport, journey: Journey, conversation: "_Conversation") -> asyncio.Transport:
    """Under the layers that the proxies so far have agreed on, if there are any."""
    stream = journey.take_stream()
    if stream is None:
        return transport
    layered = LayeredTransport(stream, conversation)
    conversation.hand_over(transport, layered)
    return layered


def _context(journey: Journey) -> SSLContext:
    return journey.proxy.ssl_context or usual_context()


async def _start_tls(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    protocol: asyncio.BaseProtocol,
    context: SSLContext,
    server_hostname: str | None,
) -> asyncio.Transport:
    try:
        started = await loop.start_tls(transport, protocol, context, server_hostname=server_hostname)
    except TypeError:
        if not isinstance(transport, LayeredTransport):
            raise
        raise ConfigError("this event loop puts no TLS above GSSAPI; asyncio's own does") from None
    assert started is not None  # it is where the connection was lost meanwhile, which raises
    return started


class _Conversation(asyncio.Protocol):
    """Handshakes over a transport, one after the other; what comes behind the last one is handed over."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._handshake: AnyHandshake | None = None
        self._done: asyncio.Future[None] | None = None
        self._unread = b""
        self._thinking = False
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
        unread, self._unread = self._unread, b""  # now: a layer may deliver to us what it has opened of it
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if unread:
            feed(protocol, unread)
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
        if done is None or done.done() or handshake is None or self._thinking:
            return
        try:
            while not handshake.done and self._unread:
                piece, self._unread = self._unread[: handshake.owed], self._unread[handshake.owed :]
                if handshake.blocks:
                    self._think(handshake, piece, done)
                    return
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

    def _think(self, handshake: AnyHandshake, piece: bytes, done: "asyncio.Future[None]") -> None:
        """A step that may have to ask others, in a thread; what comes meanwhile waits."""

        def thought(future: "asyncio.Future[bytes]") -> None:
            self._thinking = False
            error = None if future.cancelled() else future.exception()
            if future.cancelled() or done.done():
                return  # who waited has given up
            if error is not None:
                done.set_exception(error)
                return
            self._transport.write(future.result())
            self._proceed()

        self._thinking = True
        asyncio.get_running_loop().run_in_executor(None, handshake.feed, piece).add_done_callback(thought)
