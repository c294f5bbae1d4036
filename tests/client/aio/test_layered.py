"""asyncio's streams under a layer: in asyncio's loop and in uvloop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

import hosier
from hosier.client.aio.feeding import feed
from hosier.client.aio.layered import LayeredTransport
from hosier.client.layered import LayeredStream
from hosier.errors import RemoteProtocolError
from hosier.protocol.client_connection import ClientMethod
from hosier.protocol.connection import Handoff
from hosier.testing import ToyClientExchange, ToyFraming, ToyLayer, ToyMessage
from hosier.testing.threaded import ThreadedServer

from ..harness import PATIENCE, greeted, run
from ..protection import NOTHING, frame, toy_stream
from ..tls import Certificate, door

Start = Callable[..., ThreadedServer]
Place = tuple[str, int]
Protecting = Callable[[], hosier.Proxy]
Run = Callable[[Coroutine[Any, Any, None]], None]


def _bounded(runner: Callable[..., None]) -> Run:
    async def bounded(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(2 * PATIENCE):
            await main

    return lambda main: runner(bounded(main))


loops = pytest.mark.parametrize("run", [_bounded(asyncio.run), _bounded(uvloop.run)], ids=["asyncio", "uvloop"])


class Listening(asyncio.Protocol):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = False
        self.paused = 0
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.paused -= 1


async def joined(
    handoff: Handoff = NOTHING,
) -> tuple[LayeredTransport, Listening, asyncio.StreamReader, asyncio.StreamWriter]:
    """A transport under the toy layer, its protocol, and the wire at the proxy's end."""
    near, far = socket.socketpair()
    protocol = Listening()
    stream = toy_stream(handoff)
    loop = asyncio.get_running_loop()
    _, transport = await loop.create_connection(lambda: LayeredTransport(stream, protocol), sock=near)
    reader, writer = await asyncio.open_connection(sock=far)
    return transport, protocol, reader, writer


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


@loops
def test_octets(run: Run) -> None:
    async def main() -> None:
        transport, protocol, reader, writer = await joined(Handoff(b"plain ", frame(b"wrapped "), None))
        assert protocol.heard == b"plain wrapped "
        transport.write(b"")
        transport.write(b"words")
        transport.writelines([b"more ", b"words"])
        assert await reader.readexactly(len(frame(b"words"))) == frame(b"words")
        assert await reader.readexactly(len(frame(b"more words"))) == frame(b"more words")
        writer.write(frame(b"answer")[:4])
        await writer.drain()
        writer.write(frame(b"answer")[4:])
        await until(lambda: protocol.heard.endswith(b"answer"))
        assert transport.can_write_eof()
        transport.write_eof()
        assert await reader.read() == b""
        writer.write(frame(b"bye"))
        writer.write_eof()
        await until(lambda: protocol.ended)
        assert protocol.heard.endswith(b"bye")
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        assert await protocol.lost is None
        writer.close()

    run(main())


@loops
@pytest.mark.parametrize("ends", [0, 1, 2])
def test_an_end_is_announced_once(run: Run, ends: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by who closes at once; a peer must not take that for a cut."""
    monkeypatch.setattr(LayeredStream, "end", lambda _: b"goodbye")

    async def main() -> None:
        transport, protocol, reader, writer = await joined()
        transport.write(b"all")
        for _ in range(ends):
            transport.write_eof()
        transport.close()
        transport.close()
        assert await reader.read() == frame(b"all") + b"goodbye"
        assert await protocol.lost is None
        writer.close()

    run(main())


@loops
def test_what_a_transport_has(run: Run) -> None:
    async def main() -> None:
        transport, protocol, reader, writer = await joined()
        assert transport.get_protocol() is protocol
        assert isinstance(transport.get_extra_info("layer"), ToyLayer)
        assert transport.get_extra_info("socket") is not None
        assert transport.get_extra_info("weather", "fair") == "fair"
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        transport.write(bytes(1 << 23))
        assert transport.get_write_buffer_size() > 1000
        assert protocol.paused == 1
        read = 0
        while read < 1 << 23:
            read += len(await reader.read(1 << 20))
        await until(lambda: protocol.paused == 0)
        transport.pause_reading()
        assert not transport.is_reading()
        writer.write(frame(b"later"))
        await writer.drain()
        assert protocol.heard == b""
        transport.resume_reading()
        await until(lambda: protocol.heard == b"later")
        other = Listening()
        transport.set_protocol(other)
        writer.write(frame(b"other"))
        await until(lambda: other.heard == b"other")
        transport.abort()
        assert await other.lost is None
        writer.close()

    run(main())


@pytest.mark.parametrize("wire", [b"\x05\x00", frame(b"cut")[:-1]], ids=["broken", "cut"])
@loops
def test_spoiled(run: Run, wire: bytes) -> None:
    """It is lost, and has no end of file."""

    async def main() -> None:
        _, protocol, _, writer = await joined()
        writer.write(wire)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await protocol.lost, RemoteProtocolError)
        assert not protocol.ended
        writer.close()

    run(main())


@loops
def test_what_came_whole_before_a_fault(run: Run) -> None:
    async def main() -> None:
        _, protocol, _, writer = await joined()
        writer.write(frame(b"genuine") + b"\x05\x00" + frame(b"never"))
        async with asyncio.timeout(PATIENCE):
            assert isinstance(await protocol.lost, RemoteProtocolError)
        assert protocol.heard == b"genuine"
        writer.close()

    run(main())


# --- through proxies ---


@loops
def test_open_connection(run: Run, protecting: Protecting, hosier_server: Start, greeter: Place) -> None:
    plain = hosier_server().url
    for chain in ([protecting()], [plain, protecting()], [protecting(), protecting(), plain]):
        run(greeted(greeter, proxy=chain))


@loops
def test_bind(run: Run, protecting: Protecting) -> None:
    async def main() -> None:
        async with await hosier.aio.bind(protecting(), "127.0.0.1", timeout=PATIENCE) as listener:
            with pytest.raises(hosier.ConfigError, match="accept_streams"):
                await listener.accept()
            _, writer = await asyncio.open_connection(*listener.address)
            reader, answering, address = await listener.accept_streams(PATIENCE)
            assert address == writer.get_extra_info("sockname")
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"hello"
            for one in (writer, answering):
                one.close()
                await one.wait_closed()

    run(main())


@loops
def test_streams_of_a_plain_listener(run: Run, hosier_server: Start) -> None:
    async def main() -> None:
        listener = await hosier.aio.bind(hosier_server().url, "127.0.0.1", timeout=PATIENCE)
        _, writer = await asyncio.open_connection(*listener.address)
        reader, answering, _ = await listener.accept_streams(PATIENCE, limit=100)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        for one in (writer, answering):
            one.close()
            await one.wait_closed()

    run(main())


@loops
def test_no_plain_socket(run: Run, protecting: Protecting) -> None:
    async def main() -> None:
        with pytest.raises(hosier.ConfigError, match=r"no plain socket: use hosier\.aio\.open_connection"):
            await hosier.aio.connect(protecting(), "example.com", 80)

    run(main())


def test_tls_everywhere(protecting: Protecting, hosier_server: Start, greeter: Place, certificate: Certificate) -> None:
    """TLS with the target and with the next proxy within the layer, and the layer within TLS."""
    with (
        door(certificate, greeter) as (_, target),
        door(certificate, hosier_server().address) as (_, second),
        door(certificate, ("127.0.0.1", protecting().port)) as (_, third),
    ):
        secured = hosier.Proxy(f"socks5h://localhost:{second}", ssl_context=certificate.client)
        inner = hosier.Proxy(f"socks5h+gssapi://localhost:{third}", ssl_context=certificate.client)
        ssl = certificate.client
        run(greeted(("localhost", target), proxy=protecting(), ssl=ssl))
        run(greeted(("localhost", target), proxy=[protecting(), secured, inner], ssl=ssl))
        run(greeted(greeter, proxy=[inner, protecting()]))


def test_tls_within_in_another_loop(protecting: Protecting, greeter: Place, certificate: Certificate) -> None:
    with door(certificate, greeter) as (_, port), pytest.raises(hosier.ConfigError, match="no TLS above GSSAPI"):
        uvloop.run(greeted(("localhost", port), proxy=protecting(), ssl=certificate.client))


def test_tls_within_that_is_not_trusted(protecting: Protecting, greeter: Place, certificate: Certificate) -> None:
    with (
        door(certificate, greeter) as (_, port),
        pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"),
    ):
        run(greeted(("localhost", port), proxy=protecting(), ssl=True))


@pytest.mark.parametrize(("spoken", "why"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", ssl.SSLError), (b"", OSError)])
def test_tls_within_that_is_none(protecting: Protecting, spoken: bytes, why: type[OSError]) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(spoken)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(say, "127.0.0.1") as server:
            place = server.sockets[0].getsockname()
            with pytest.raises(why):
                await hosier.aio.open_connection(*place, proxy=protecting(), ssl=True, timeout=PATIENCE)

    run(main())


@pytest.mark.parametrize("end", ["abort", "broken record", "silence"])
def test_tls_within_ends_at_once(protecting: Protecting, greeter: Place, certificate: Certificate, end: str) -> None:
    """Because its user wants that, or the peer says something else than TLS, or never answers the end."""

    async def main() -> None:
        reader, writer = await hosier.aio.open_connection(
            "localhost", port, proxy=protecting(), ssl=certificate.client, timeout=PATIENCE
        )
        assert await reader.readline() == b"220 hello\r\n"
        tls: Any = writer.transport
        below = tls._ssl_protocol._transport
        assert isinstance(below, LayeredTransport)
        if end == "abort":
            tls.abort()
            await writer.wait_closed()
        elif end == "broken record":
            feed(below.get_protocol(), b"no record")
            with pytest.raises(ssl.SSLError):
                await reader.read()
        else:
            below.pause_reading()
            tls._ssl_protocol._ssl_shutdown_timeout = 0.01
            writer.close()
            with pytest.raises(TimeoutError):
                await writer.wait_closed()
        assert below.is_closing()

    with door(certificate, greeter) as (_, port):
        _bounded(asyncio.run)(main())


class Slow(ToyClientExchange):
    """Waits for somebody else in its first step, as for a ticket."""

    begun = threading.Event()
    go_on = threading.Event()

    def step(self, message: ToyMessage | None) -> Any:
        if message is None:
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
        return super().step(message)


@loops
def test_who_waits_for_a_ticket_keeps_nobody_waiting(
    run: Run, protecting: Protecting, greeter: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = protecting()
    method = ClientMethod(ToyFraming(), Slow, blocks=True)
    monkeypatch.setattr("hosier.client.gssapi.initiator_method", lambda *_, **__: method)

    async def main() -> None:
        Slow.begun.clear()
        Slow.go_on.clear()
        opening = asyncio.create_task(greeted(greeter, proxy=proxy))
        await until(Slow.begun.is_set)
        Slow.go_on.set()
        await opening
        Slow.begun.clear()
        Slow.go_on.clear()
        leaving = asyncio.create_task(greeted(greeter, proxy=proxy))
        await until(Slow.begun.is_set)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        Slow.go_on.set()

    run(main())


def test_no_ticket_behind_tls(
    protecting: Protecting, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails in its thread is told to who waits, over transports, too."""

    class Ticketless(ToyClientExchange):
        def step(self, message: ToyMessage | None) -> Any:
            raise RemoteProtocolError("no ticket")

    port = protecting().port
    method = ClientMethod(ToyFraming(), Ticketless, blocks=True)
    monkeypatch.setattr("hosier.client.gssapi.initiator_method", lambda *_, **__: method)
    with door(certificate, ("127.0.0.1", port)) as (_, behind):
        secured = hosier.Proxy(f"socks5h+gssapi://localhost:{behind}", ssl_context=certificate.client)
        for proxy in (secured, hosier.Proxy(f"socks5h+gssapi://localhost:{port}")):
            with pytest.raises(RemoteProtocolError, match="no ticket") as caught:
                run(hosier.aio.open_connection("example.com", 80, proxy=proxy, timeout=PATIENCE))
            assert caught.value.place is not None
            assert caught.value.place.step == "authentication"
