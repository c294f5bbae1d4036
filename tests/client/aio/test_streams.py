"""asyncio's own calls through proxies, BIND and Tor's look-ups awaited; in asyncio's loop and in uvloop."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

import hosier
from hosier.testing import ScriptedServer, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from ..harness import PATIENCE, SUCCESS, greeted, opening
from ..tls import Certificate, door

Start = Callable[..., ThreadedServer]
Place = tuple[str, int]
Run = Callable[[Coroutine[Any, Any, None]], None]

loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@loops
def test_open_connection(run: Run, hosier_server: Start, greeter: Place) -> None:
    run(greeted(greeter, proxy=hosier_server().url))
    guarded = hosier_server(users={"ann": "open:sesame"})
    ann = hosier.Proxy(guarded.url, username="ann", password="open:sesame")
    run(greeted(greeter, proxy=[hosier_server().url, ann]))


@loops
def test_early_data_is_in_the_stream(run: Run) -> None:
    async def main() -> None:
        reader, writer = await hosier.aio.open_connection("example.com", 80, proxy=server.url, limit=100)
        assert await reader.read() == b"early"
        writer.close()
        await writer.wait_closed()

    with ScriptedServer(opening(send(SUCCESS + b"early"))) as server:
        run(main())


@loops
def test_create_connection(run: Run, hosier_server: Start, greeter: Place) -> None:
    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.heard = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.heard.set_result(data)

    async def main() -> None:
        transport, protocol = await hosier.aio.create_connection(Client, *greeter, proxy=hosier_server().url)
        async with asyncio.timeout(PATIENCE):
            assert await protocol.heard == b"220 hello\r\n"
        assert transport.get_extra_info("peername") is not None
        transport.close()

    run(main())


@loops
def test_tls_with_the_target(run: Run, hosier_server: Start, greeter: Place, certificate: Certificate) -> None:
    with door(certificate, greeter) as (_, port):
        proxy = hosier_server().url
        run(greeted(("localhost", port), proxy=proxy, ssl=certificate.client))
        run(greeted(("127.0.0.1", port), proxy=proxy, ssl=certificate.client, server_hostname="localhost"))
        with pytest.raises(ssl.SSLCertVerificationError):
            run(greeted(("localhost", port), proxy=proxy, ssl=True))


@loops
def test_large_early_payload(run: Run) -> None:
    """EX-16: more than the system takes at once."""
    payload = b"x" * 3_000_000

    async def main() -> None:
        sock = await hosier.aio.connect(server.url, "example.com", 80, timeout=PATIENCE, early=payload)
        sock.close()

    from hosier.testing import receive

    with ScriptedServer(opening(receive(len(payload)), send(SUCCESS), stall())) as server:
        run(main())
        assert server.received.endswith(payload)
    with ScriptedServer(opening(stall())) as server, pytest.raises(hosier.ProxyTimedOut):
        run(hosier.aio.connect(server.url, "example.com", 80, timeout=0.2))  # type: ignore[arg-type]
    with ScriptedServer(opening(reset())) as server, pytest.raises(OSError, match=r"broke|closed"):
        run(main())


@loops
def test_plain_socket_cannot_have_tls(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(hosier.ConfigError, match="open_connection"):
            await hosier.aio.connect("socks5h+tls://one", "example.com", 80)

    run(main())


@loops
def test_cancelled(run: Run) -> None:
    """Whoever gives up leaves nothing behind."""

    async def main() -> None:
        task = asyncio.create_task(hosier.aio.connect(server.url, "example.com", 80))
        while not server.conversations or len(server.received) < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ScriptedServer([stall()]) as server:
        run(main())


@loops
def test_bind(run: Run, hosier_server: Start) -> None:
    async def main() -> None:
        async with await hosier.aio.bind(hosier_server().url, "127.0.0.1", timeout=PATIENCE) as listener:
            reader, writer = await asyncio.open_connection(*listener.address)
            sock, address = await listener.accept(PATIENCE)
            assert address == writer.get_extra_info("sockname")
            with sock:
                writer.write(b"hello")
                assert await asyncio.get_running_loop().sock_recv(sock, 5) == b"hello"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            with pytest.raises(hosier.LocalProtocolError, match="one peer"):
                await listener.accept()

    run(main())


@loops
def test_bind_leaves_the_payload(run: Run) -> None:
    async def main() -> None:
        listener = await hosier.aio.bind(server.url, "192.0.2.9", timeout=PATIENCE)
        assert listener.address == ("192.0.2.9", 40000)
        sock, _ = await listener.accept(PATIENCE)
        with sock:
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"early"

    with ScriptedServer(opening(send(SUCCESS + SUCCESS + b"early"), stall())) as server:
        run(main())


@loops
def test_bind_that_fails(run: Run) -> None:
    async def late() -> None:
        listener = await hosier.aio.bind(server.url, "192.0.2.9")
        with pytest.raises(hosier.ProxyTimedOut) as caught:
            await listener.accept(0.1)
        assert caught.value.place == (server.url, 1, 1, "reply", "192.0.2.9:0")
        (await hosier.aio.bind(server.url, "192.0.2.9")).close()

    async def refused() -> None:
        with pytest.raises(hosier.ReplyError) as caught:
            await hosier.aio.bind(server.url, "192.0.2.9", timeout=PATIENCE)
        assert caught.value.errno == errno.EOPNOTSUPP

    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        run(late())
    with ScriptedServer(opening(send(b"\x05\x07\x00"), stall())) as server:
        run(refused())


@loops
@pytest.mark.parametrize("hops", [1, 2])
def test_bind_under_tls(run: Run, hosier_server: Start, certificate: Certificate, hops: int) -> None:
    async def main() -> None:
        async with await hosier.aio.bind(chain, "127.0.0.1", timeout=PATIENCE) as listener:
            reader, writer = await asyncio.open_connection(*listener.address)
            ours, back, address = await listener.accept_streams(PATIENCE)
            assert address == writer.get_extra_info("sockname")
            assert back.get_extra_info("layer") is None
            writer.write(b"hello")
            assert await ours.readexactly(5) == b"hello"
            back.write(b"the end")
            back.write_eof()
            assert await reader.read() == b"the end"
            writer.write(b"of both")
            writer.close()
            assert await ours.read() == b"of both"
            back.close()
        listener = await hosier.aio.bind(chain, "127.0.0.1", timeout=PATIENCE)
        with pytest.raises(hosier.ConfigError, match="accept_streams"):
            await listener.accept()
        listener.close()

    with door(certificate, hosier_server().address) as (_, port), door(certificate, hosier_server().address) as last:
        ports = (port, last[1])[:hops]
        chain = [hosier.Proxy(f"socks5h+tls://localhost:{one}", ssl_context=certificate.client) for one in ports]
        run(main())


@loops
def test_lookups_of_tor_under_tls(run: Run, certificate: Certificate) -> None:
    async def main() -> None:
        proxy = hosier.Proxy(f"socks5h+tls://localhost:{port}", ssl_context=certificate.client)
        assert await hosier.aio.resolve(proxy, "example.com", timeout=PATIENCE) == "192.0.2.9"
        with pytest.raises(hosier.ProxyConnectionError, match="no TLS with the proxy") as caught:
            await hosier.aio.resolve(f"socks5h+tls://localhost:{port}", "example.com", timeout=PATIENCE)
        assert caught.value.place is not None
        assert caught.value.place.step == "TLS"
        with ScriptedServer([stall()]) as silent, pytest.raises(hosier.ProxyTimedOut):
            await hosier.aio.resolve(silent.url.replace("5h", "5h+tls"), "example.com", timeout=0.1)
        with ScriptedServer([]) as short, pytest.raises(hosier.ProxyConnectionError):
            await hosier.aio.resolve(short.url.replace("5h", "5h+tls"), "example.com", timeout=PATIENCE)

    with (
        ScriptedServer(opening(send(SUCCESS), stall())) as server,
        door(certificate, server.address) as (_, port),
    ):
        run(main())


@loops
def test_lookups_of_tor(run: Run) -> None:
    """EX-10, EX-11."""

    async def main() -> None:
        assert await hosier.aio.resolve(server.url, "example.com", timeout=PATIENCE) == "192.0.2.9"
        assert await hosier.aio.resolve_ptr(server.url, "192.0.2.1", timeout=PATIENCE) == "192.0.2.9"
        with pytest.raises(hosier.LocalProtocolError, match="no IP address"):
            await hosier.aio.resolve_ptr(server.url, "example.com")

    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        run(main())


def test_many_at_once(hosier_server: Start, greeter: Place) -> None:
    """They do not get in each other's way."""

    async def one(number: int) -> None:
        with await hosier.aio.connect(url, *greeter, timeout=PATIENCE) as sock:
            assert sock.getblocking() is False

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    url = hosier_server().url
    asyncio.run(main())
