"""The network of httpcore, with asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import httpcore
import pytest
import uvloop

import hosier
from hosier.integrations.asyncio_backend import AsyncioBackend, AsyncioStream
from hosier.testing import ScriptedServer, receive, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .web import NAME, Web

Work = Callable[[AsyncioStream], Awaitable[None]]
Over = Callable[[str | hosier.Proxy, str, int, Work], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def over(request: pytest.FixtureRequest) -> Over:
    """Does the work with a stream, in each loop."""
    return partial(_over, request.param)


def _over(run: Callable[..., None], proxy: str | hosier.Proxy, host: str, port: int, work: Work) -> None:
    async def main() -> None:
        stream = await AsyncioBackend(httpcore, proxy).connect_tcp(host, port, 20)
        try:
            async with asyncio.timeout(20):
                await work(stream)
        finally:
            await stream.aclose()

    run(main())


@pytest.mark.usefixtures("poll_or_select")
def test_what_it_tells_of_a_stream(over: Over, proxy: ThreadedServer, web: Web) -> None:
    async def work(stream: AsyncioStream) -> None:
        assert stream.get_extra_info("server_addr") == proxy.address
        assert stream.get_extra_info("client_addr")[0] == "127.0.0.1"
        assert stream.get_extra_info("socket").fileno() > 0
        assert stream.get_extra_info("ssl_object") is None
        assert stream.get_extra_info("weather") is None
        assert not stream.get_extra_info("is_readable")
        await stream.aclose()
        assert stream.get_extra_info("is_readable")
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"hello", 20)

    over(proxy.url, NAME, web.port, work)


def test_more_than_fits(over: Over, proxy: ThreadedServer) -> None:
    """Nobody reads for a while, on either side: nothing is lost, and memory has a bound."""
    size = 6_000_000

    async def work(stream: AsyncioStream) -> None:
        data = bytearray()
        while len(data) < size:
            piece = await stream.read(65_536, 20)
            assert 0 < len(piece) <= 65_536
            data += piece
        assert data == b"x" * size
        await stream.write(b"y" * size, 20)
        assert await stream.read(100, 20) == b"done"

    with ScriptedServer([send(b"x" * size), receive(size), send(b"done")]) as target:
        over(proxy.url, *target.address, work)
        assert target.received == b"y" * size


def test_limits(over: Over, proxy: ThreadedServer) -> None:
    async def work(stream: AsyncioStream) -> None:
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(100, 0.05)
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * 30_000_000, 0.05)

    with ScriptedServer([lambda conversation: _wait_for_the_end(conversation.sock)]) as target:
        over(proxy.url, *target.address, work)


def _wait_for_the_end(sock: socket.socket) -> None:
    import select

    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    poll.poll(20_000)


def test_ends(over: Over, proxy: ThreadedServer) -> None:
    async def ended(stream: AsyncioStream) -> None:
        assert await stream.read(100, 20) == b"bye"
        assert await stream.read(100, 20) == b""
        assert stream.get_extra_info("is_readable")

    async def broken(stream: AsyncioStream) -> None:
        await stream.write(b"!", 20)
        with pytest.raises(httpcore.ReadError):
            await stream.read(100, 20)
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"hello", 20)

    with ScriptedServer([send(b"bye")], [receive(1), reset()]) as target:
        over(proxy.url, *target.address, ended)
        over(proxy.url, *target.address, broken)


def test_tls(over: Over, proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    async def work(stream: AsyncioStream) -> None:
        secure = await stream.start_tls(certificate.client, NAME, 20)
        assert secure.get_extra_info("ssl_object").version().startswith("TLS")
        await secure.aclose()

    async def wrong(stream: AsyncioStream) -> None:
        with pytest.raises(httpcore.ConnectError):
            await stream.start_tls(certificate.client, "wrong.test", 20)

    over(proxy.url, NAME, secure_web.port, work)
    over(proxy.url, NAME, secure_web.port, wrong)
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        over(outer, NAME, secure_web.port, work)


def test_tls_that_never_ends(over: Over, proxy: ThreadedServer, certificate: Certificate) -> None:
    """A handshake that stalls ends in time."""

    async def work(stream: AsyncioStream) -> None:
        with pytest.raises(httpcore.ConnectTimeout):
            await stream.start_tls(certificate.client, NAME, 0.05)

    with ScriptedServer([stall()]) as target:
        over(proxy.url, *target.address, work)


def test_what_no_proxy_can_do() -> None:
    async def main() -> None:
        backend = AsyncioBackend(httpcore, "socks5h://proxy.test")
        with pytest.raises(hosier.ConfigError, match="on this machine"):
            await backend.connect_unix_socket("/run/web.sock")
        with pytest.raises(hosier.ConfigError, match="source_address"):
            await backend.connect_tcp(NAME, 80, local_address="127.0.0.1")
        await backend.sleep(0)

    asyncio.run(main())
