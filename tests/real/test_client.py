"""Our client against servers that we did not write: dante, microsocks, ssh -D, asyncio-socks-server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hosier

from .conftest import ANYONE
from .harness import PATIENCE, Address, Hosier, free_port
from .proxies import danted, microsocks
from .target import Target

pytestmark = pytest.mark.real


@pytest.fixture
def dante(program: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    with danted(program, tmp_path) as address:
        yield f"socks5h://{address}"


def fetch(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE)
    sock.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
    data = b""
    while piece := sock.recv(65_536):
        data += piece
    return data


async def fetch_streams(port: int, proxy: str | hosier.Proxy) -> bytes:
    reader, writer = await hosier.aio.open_connection("127.0.0.1", port, proxy=proxy, timeout=PATIENCE)
    writer.write(b"GET /hello HTTP/1.0\r\n\r\n")
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


def test_connect(proxy: str, target: Target) -> None:
    """By address and by name, with sockets and with streams."""
    for host in ("127.0.0.1", "localhost"):
        with hosier.connect(proxy, host, target.port, timeout=PATIENCE) as sock:
            assert fetch(sock).startswith(b"HTTP/1.1 404 ")
    assert asyncio.run(fetch_streams(target.port, proxy)).startswith(b"HTTP/1.1 404 ")


def test_refused(proxy: str, request: pytest.FixtureRequest) -> None:
    port = free_port()
    # ssh closes without a reply where the others say that it was refused
    silent = "[ssh]" in request.node.name
    kind = hosier.RemoteProtocolError if silent else ConnectionRefusedError
    with pytest.raises(kind, match=f"127.0.0.1:{port}"):
        hosier.connect(proxy, "127.0.0.1", port, timeout=PATIENCE)


def test_password(guarded_proxy: str, target: Target) -> None:
    proxy = hosier.Proxy(guarded_proxy, username=ANYONE[0], password=ANYONE[1])
    with hosier.connect(proxy, "127.0.0.1", target.port, timeout=PATIENCE) as sock:
        assert fetch(sock).startswith(b"HTTP/1.1 404 ")
    assert asyncio.run(fetch_streams(target.port, proxy)).startswith(b"HTTP/1.1 404 ")
    for wrong in (hosier.Proxy(guarded_proxy), proxy.with_credentials(ANYONE[0], "wrong")):
        with pytest.raises(hosier.AuthError):
            hosier.connect(wrong, "127.0.0.1", target.port, timeout=PATIENCE)


def test_chain(dante: str, program: Callable[..., str], tmp_path: Path, target: Target) -> None:
    """SOCKS4a through one server that we did not write, then SOCKS5 through another one, then our own."""
    with microsocks(program, tmp_path) as second, Hosier() as third:
        chain = [dante.replace("socks5h", "socks4"), f"socks5://{second}", f"socks5h://{third.address}"]
        with hosier.connect(chain, "127.0.0.1", target.port, timeout=PATIENCE) as sock:
            assert fetch(sock).startswith(b"HTTP/1.1 404 ")
        third.sessions(f"127.0.0.1:{target.port}", 5)


@pytest.mark.parametrize("scheme", ["socks4", "socks5h"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_bind(dante: str, scheme: str, host: str) -> None:
    with (
        hosier.bind(dante.replace("socks5h", scheme), host, timeout=PATIENCE) as listener,
        socket.create_connection(listener.address, PATIENCE) as peer,
    ):
        sock, address = listener.accept(PATIENCE)
        with sock:
            assert address == peer.getsockname()
            peer.sendall(b"hello")
            assert sock.recv(5) == b"hello"


def test_bind_awaited(dante: str) -> None:
    async def main() -> None:
        async with await hosier.aio.bind(dante, "127.0.0.1", timeout=PATIENCE) as listener:
            reader, writer = await asyncio.open_connection(*listener.address)
            sock, address = await listener.accept(PATIENCE)
            with sock:
                assert address == writer.get_extra_info("sockname")
                writer.write(b"hello")
                assert await asyncio.get_running_loop().sock_recv(sock, 5) == b"hello"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


@pytest.fixture
def echo() -> Iterator[Address]:
    """Sends each datagram back."""

    def answer() -> None:
        while True:
            data, peer = sock.recvfrom(65_535)
            if data == b"the end":
                return
            sock.sendto(data, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=answer)
        thread.start()
        yield Address(*sock.getsockname())
        sock.sendto(b"the end", sock.getsockname())
        thread.join(PATIENCE)


@pytest.mark.parametrize("proxy", ["dante", "asyncio-socks-server", "hosier"], indirect=True)
@pytest.mark.parametrize("announce", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_datagrams(proxy: str, echo: Address, host: str, announce: bool, request: pytest.FixtureRequest) -> None:
    with hosier.associate(proxy, timeout=PATIENCE, announce=announce) as datagrams:
        datagrams.settimeout(PATIENCE)
        for size in (0, 1, 1400, 9000):
            if not size and "asyncio-socks-server" in request.node.name:
                continue  # the transports that it uses drop empty datagrams
            assert datagrams.sendto(b"x" * size, (host, echo.port)) == size
            assert datagrams.recvfrom() == (b"x" * size, ("127.0.0.1", echo.port))


@pytest.mark.parametrize("proxy", ["dante", "asyncio-socks-server", "hosier"], indirect=True)
def test_many_datagrams(proxy: str, echo: Address) -> None:
    """Runs are for the kernel to cut: no relay sees anything unusual."""
    payloads = [bytes([number]) * 500 for number in range(40)]
    with hosier.associate(proxy, timeout=PATIENCE) as datagrams:
        datagrams.settimeout(PATIENCE)
        assert datagrams.send_many(payloads, ("127.0.0.1", echo.port)) == 40
        found: list[bytes] = []
        while len(found) < 40:
            found += [payload for payload, _ in datagrams.recv_many()]
        assert sorted(found) == payloads


@pytest.mark.parametrize("proxy", ["dante", "asyncio-socks-server", "hosier"], indirect=True)
def test_datagrams_awaited(proxy: str, echo: Address) -> None:
    async def main() -> None:
        async with await hosier.aio.associate(proxy, timeout=PATIENCE) as datagrams, asyncio.timeout(PATIENCE):
            await datagrams.sendto(b"hello", ("localhost", echo.port))
            assert await datagrams.recvfrom() == (b"hello", ("127.0.0.1", echo.port))

    asyncio.run(main())
