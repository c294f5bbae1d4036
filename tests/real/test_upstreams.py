"""`hosier serve --upstream` behind which other servers stand: Dante, microsocks, ssh -D, one in Python, and our own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import hosier

from ..kerberos_realm import Realm
from .conftest import ANYONE
from .harness import PATIENCE, Address, Hosier, command, free_port, run, wait_until
from .proxies import danted
from .quic import there_and_back
from .target import Target, digest, stream
from .wire import exactly, socks5

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SIZE = 100_000_000


def through(*upstreams: str) -> Hosier:
    return Hosier(*(f"--upstream={url}" for url in upstreams))


def fetch(program: Callable[..., str], server: Hosier, url: str, *options: str) -> bytes:
    return run([program("curl"), "-sS", "--proxy", f"socks5h://{server.address}", *options, url]).stdout


def test_page(program: Callable[..., str], proxy: str, target: Target) -> None:
    target.files = {"/page": ("text/plain", b"hello")}
    with through(proxy) as server:
        for host in ("localhost", "127.0.0.1"):
            assert fetch(program, server, target.url(host, "/page")) == b"hello"
            server.sessions(target.at(host), 5)


def test_page_with_credentials(program: Callable[..., str], guarded_proxy: str, target: Target) -> None:
    target.files = {"/page": ("text/plain", b"hello")}
    url = guarded_proxy.replace("//", f"//{ANYONE[0]}:open%3Asesame@")
    with Hosier("--upstream=env:GATE", env={"GATE": url}) as server:
        assert fetch(program, server, target.url("localhost", "/page")) == b"hello"
        assert "sesame" not in server.messages
    with through(guarded_proxy) as server:
        run(
            [program("curl"), "-sS", "--proxy", f"socks5h://{server.address}", target.url("localhost", "/page")],
            status=97,
        )
        (session,) = server.sessions(target.at("localhost"), 5)
        assert session["reply"] == 1
        assert "none of the methods" in session["end"]


def test_100_megabytes_each_way(program: Callable[..., str], target: Target, tmp_path: Path) -> None:
    """Through two gateways of ours: what is sent, and what is received."""
    target.files = {"/page": ("application/octet-stream", b"".join(stream(SIZE)))}
    with Hosier() as last, through(f"socks5h://{last.address}") as server:
        got = fetch(program, server, target.url("localhost", "/page"))
        assert hashlib.sha256(got).hexdigest() == digest(SIZE)
        (session,) = server.sessions(target.at("localhost"), 5)
        assert session["received"] > SIZE
        assert session["end"] in ("target closed", "client closed")


@pytest.mark.parametrize("hops", [1, 2])
def test_500_at_once(echo: Address, hops: int) -> None:
    """And no loop is suspected."""

    async def one(place: Address, number: int) -> None:
        reader, writer = await hosier.aio.open_connection(*echo, proxy=f"socks5h://{place}", timeout=PATIENCE)
        data = b"%d" % number * 1000
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()

    async def everyone(place: Address) -> None:
        async with asyncio.timeout(100):
            await asyncio.gather(*(one(place, number) for number in range(500)))

    with Hosier() as near, Hosier() as far:
        chain = [f"socks5h://{server.address}" for server in (near, far)][:hops]
        with through(*chain) as server:
            asyncio.run(everyone(server.address))
            assert "lead back" not in server.messages


def test_upstream_that_is_killed(echo: Address, tmp_path: Path) -> None:
    """What is under way breaks with a reset, what is new is refused; the next upstream in its place serves again."""
    port = free_port()

    def upstream() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command("serve", "--listen", f"127.0.0.1:{port}", "--log", "off"), stderr=subprocess.DEVNULL
        )
        wait_until(lambda: answers(port), "the upstream listens")
        return process

    with through(f"socks5h://127.0.0.1:{port}") as server:
        with upstream() as first:
            client = socks5(server.address, echo)
            client.sendall(b"hello")
            assert exactly(client, 5) == b"hello"
            with hosier.associate(f"socks5h://{server.address}", timeout=PATIENCE) as endpoint:
                endpoint.settimeout(PATIENCE)
                first.kill()
                with pytest.raises(OSError):
                    exactly(client, 1)
                with pytest.raises(hosier.ProxyConnectionError):
                    endpoint.recvfrom(1)
        client.close()
        with pytest.raises(hosier.ReplyError) as caught:
            hosier.connect(f"socks5h://{server.address}", *echo, timeout=PATIENCE)
        assert caught.value.code == 1
        with upstream() as second:
            with hosier.connect(f"socks5h://{server.address}", *echo, timeout=PATIENCE) as sock:
                sock.sendall(b"hello")
                assert exactly(sock, 5) == b"hello"
            second.terminate()
        (lost,) = server.sessions_of("UDP_ASSOCIATE", 1)
        assert lost["end"].startswith("upstream lost: ")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_quic(tmp_path: Path, program: Callable[..., str]) -> None:
    """10 MB of HTTP/3 through the relays of two gateways, the last one Dante's."""
    with danted(program, tmp_path) as last, through(f"socks5h://{last}") as server:
        asyncio.run(there_and_back(server, tmp_path, "localhost", 10_000_000))
        (session,) = server.sessions_of("UDP_ASSOCIATE", 1)
        assert session["received"] > 10_000_000


def test_kerberos(home: Realm, echo: Address) -> None:
    """The gateway has tickets of its own, and what goes to the upstream is sealed."""
    data = os.urandom(3 << 20)
    with Hosier("--gssapi") as last, through(f"socks5h+gssapi://localhost:{last.address.port}") as server:
        with hosier.connect(f"socks5h://{server.address}", *echo, timeout=PATIENCE) as sock:
            sock.settimeout(PATIENCE)
            sending = threading.Thread(target=sock.sendall, args=(data,))
            sending.start()
            assert exactly(sock, len(data)) == data
            sending.join(PATIENCE)
        (session,) = last.sessions(str(echo), 5)
        assert session["user"] == "ann@HOSIER.TEST"
        assert (session["sent"], session["received"]) == (len(data), len(data))


def test_kerberos_that_protects_too_little(home: Realm, echo: Address) -> None:
    with (
        Hosier("--gssapi", "--gssapi-levels=1") as last,
        through(f"socks5h+gssapi://localhost:{last.address.port}") as server,
        pytest.raises(hosier.ReplyError) as caught,
    ):
        hosier.connect(f"socks5h://{server.address}", *echo, timeout=PATIENCE)
    assert caught.value.code == 1


def test_kerberos_datagrams(home: Realm) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target,
        Hosier("--gssapi") as last,
        through(f"socks5h+gssapi://localhost:{last.address.port}") as server,
        hosier.associate(f"socks5h://{server.address}", timeout=PATIENCE) as endpoint,
    ):
        target.bind(("127.0.0.1", 0))
        target.settimeout(PATIENCE)
        endpoint.settimeout(PATIENCE)
        for number in range(20):
            endpoint.sendto(b"question %d" % number, target.getsockname())
            data, relay = target.recvfrom(99)
            assert data == b"question %d" % number
            target.sendto(data, relay)
            assert endpoint.recvfrom(99) == (data, target.getsockname())
