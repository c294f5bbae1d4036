"""Programs' sockets through proxies with TLS and GSSAPI, which no plain socket can carry: a thread of ours does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

import hosier
from hosier.client.proxy import chain_of
from hosier.client.socksify import reaching
from hosier.testing import ThreadedServer

from ..harness import PATIENCE, exactly
from ..tls import Certificate, door

Place = tuple[str, int]

SIZE = 3_000_000


@pytest.fixture(params=["TLS", "GSSAPI", "GSSAPI in TLS", "TLS behind a plain one"])
def proxy(
    request: pytest.FixtureRequest,
    hosier_server: Callable[..., ThreadedServer],
    protecting: Callable[[], hosier.Proxy],
    certificate: Certificate,
) -> Iterator[hosier.ProxyChain]:
    with contextlib.ExitStack() as stack:
        if request.param == "GSSAPI":
            yield protecting()
            return
        inner = hosier_server().address
        scheme = "socks5h+tls"
        if request.param == "GSSAPI in TLS":
            guarded = protecting()
            inner, scheme = (guarded.host, guarded.port), "socks5h+tls+gssapi"
        _, port = stack.enter_context(door(certificate, inner))
        outer = hosier.Proxy(f"{scheme}://localhost:{port}", ssl_context=certificate.client)
        yield outer if request.param != "TLS behind a plain one" else [hosier_server().url, outer]


def blocking(place: Place) -> None:
    with socket.create_connection(place, PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert exactly(sock, 11) == b"220 hello\r\n"
        sender = threading.Thread(target=sock.sendall, args=(b"x" * SIZE,))
        sender.start()
        assert exactly(sock, SIZE) == b"x" * SIZE
        sender.join(PATIENCE)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""  # the target has heard our end, and ends


def not_waiting(place: Place) -> None:
    with socket.socket() as sock, selectors.PollSelector() as selector:
        sock.setblocking(False)
        assert sock.connect_ex(place) == errno.EINPROGRESS
        selector.register(sock, selectors.EVENT_WRITE)
        assert selector.select(PATIENCE)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        selector.modify(sock, selectors.EVENT_READ)
        assert selector.select(PATIENCE)
        assert sock.recv(99) == b"220 hello\r\n"


async def with_streams(place: Place) -> None:
    reader, writer = await asyncio.open_connection(*place)
    assert await reader.readline() == b"220 hello\r\n"
    writer.write(b"y" * SIZE)
    assert await reader.readexactly(SIZE) == b"y" * SIZE
    writer.close()
    await writer.wait_closed()


def in_asyncio(place: Place) -> None:
    asyncio.run(with_streams(place))


def in_uvloop(place: Place) -> None:
    uvloop.run(with_streams(place))


@pytest.mark.parametrize("visit", [blocking, not_waiting, in_asyncio, in_uvloop])
def test_programs(proxy: hosier.ProxyChain, greeter: Place, visit: Callable[[Place], None]) -> None:
    with hosier.socksify(proxy):
        visit(greeter)


def test_failures_are_those_of_the_target(proxy: hosier.ProxyChain) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = closed.getsockname()
        with hosier.socksify(proxy):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(place, PATIENCE)
            with pytest.raises(ConnectionRefusedError):
                in_asyncio(place)


def test_tls_with_the_target_inside(proxy: hosier.ProxyChain, certificate: Certificate, greeter: Place) -> None:
    with door(certificate, greeter) as target, hosier.socksify(proxy):
        with (
            socket.create_connection(target, PATIENCE) as raw,
            certificate.client.wrap_socket(raw, server_hostname="localhost") as sock,
        ):
            assert exactly(sock, 11) == b"220 hello\r\n"

        async def main() -> None:
            reader, writer = await asyncio.open_connection("localhost", target[1], ssl=certificate.client)
            assert await reader.readline() == b"220 hello\r\n"
            writer.close()
            await writer.wait_closed()

        asyncio.run(main())


def test_who_is_no_proxy_with_tls(greeter: Place) -> None:
    with hosier.socksify(f"https://127.0.0.1:{greeter[1]}"), pytest.raises(hosier.ProxyConnectionError, match="TLS"):
        socket.create_connection(("web.invalid", 80), PATIENCE)


def test_datagrams_under_gssapi(protecting: Callable[[], hosier.Proxy]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as target, hosier.socksify(protecting()):
        target.bind(("127.0.0.1", 0))
        target.settimeout(PATIENCE)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto(b"question", target.getsockname())
            question, relay = hosier_free(target.recvfrom, 99)
            assert question == b"question"
            hosier_free(target.sendto, b"answer", relay)
            assert sock.recvfrom(99) == (b"answer", target.getsockname())


def hosier_free(call: Callable[..., Any], *arguments: Any) -> Any:
    """The target's own part, past the proxy."""
    with hosier.socksify(None):
        return call(*arguments)


def test_datagrams_cannot_go_under_tls(certificate: Certificate) -> None:
    proxy = hosier.Proxy("socks5h+tls://localhost:1", ssl_context=certificate.client)
    with hosier.socksify(proxy), socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(OSError, match="without TLS") as caught:
            sock.sendto(b"x", ("192.0.2.1", 9))
        assert caught.value.errno == errno.EOPNOTSUPP


# --- what it hands out ---


def test_plain_ways_need_no_thread(hosier_server: Callable[..., ThreadedServer], greeter: Place) -> None:
    proxy = hosier_server()
    before = set(threading.enumerate())
    with reaching.reach(chain_of(proxy.url), *greeter, PATIENCE) as sock:
        assert sock.getpeername() == proxy.address
        assert "hosier-tls" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_a_loop_that_gives_up_leaves_nothing(protecting: Callable[[], hosier.Proxy], greeter: Place) -> None:
    """The thread goes on; what it has made then is closed."""
    chain = chain_of(protecting())
    made: list[socket.socket] = []
    may_go = threading.Event()

    def slow(*arguments: Any) -> socket.socket:
        may_go.wait(PATIENCE)
        made.append(original(*arguments))
        return made[0]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(reaching.reach_in_loop(chain, *greeter))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_go.set()
        async with asyncio.timeout(PATIENCE):
            while not made or made[0].fileno() >= 0:
                await asyncio.sleep(0.01)

    original = reaching.reach
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reaching, "reach", slow)
        asyncio.run(main())
