"""Upstreams that protect what goes through them, with the toy method in Kerberos' place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

import hosier
from hosier.client.egress import Upstreams
from hosier.client.egress.tunnel import StreamLayer
from hosier.client.proxy import chain_of
from hosier.errors import RemoteProtocolError
from hosier.server.gssapi import GssapiSettings
from hosier.testing import ScriptedServer, Step, ThreadedServer, receive, send

from ...server.datagrams import Datagrams, associated, refused
from ...server.harness import PATIENCE, Peer, Stage, request5, run, stage
from ..protection import frame, play_with_toys, toy_stream
from ..tls import Certificate, door

BIG = bytes(range(256)) * 4096
ON = GssapiSettings(enabled=True)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    play_with_toys(monkeypatch)


@asynccontextmanager
async def gateway(*upstreams: hosier.Server, **fields: Any) -> AsyncIterator[Stage]:
    """A server whose upstreams all protect."""
    chain = chain_of([f"socks5h+gssapi://localhost:{one.addresses[0].port}" for one in upstreams])
    async with stage(egress=Upstreams(chain), **fields) as scene:
        yield scene


def protecting() -> hosier.Server:
    return hosier.Server(listen=["127.0.0.1:0"], gssapi=ON)


async def exchanged(client: Peer, far: Peer) -> None:
    """Both ways at once, then one end after the other."""
    sending = asyncio.gather(client.send(BIG), far.send(BIG))
    assert await far.exactly(len(BIG)) == BIG
    assert await client.exactly(len(BIG)) == BIG
    await sending
    client.end()
    assert await far.rest() == b""
    await far.send(b"the rest")
    far.close()
    assert await client.rest() == b"the rest"


@pytest.mark.parametrize("hops", [1, 2])
def test_connect(hops: int) -> None:
    async def main() -> None:
        async with protecting() as one, protecting() as two, gateway(*(one, two)[:hops]) as scene:
            target = scene.target()
            client = await scene.client()
            await client.greet()
            await client.send(request5("localhost", target.port) + b"early")
            assert (await client.reply5())[1] == 0
            far = await target.accept()
            assert await far.exactly(5) == b"early"
            await far.send(b"220 hello")
            assert await client.exactly(9) == b"220 hello"
            await exchanged(client, far)
            record = await scene.record()
            assert (record.sent, record.received) == (len(BIG) + 5, len(BIG) + 17)

    run(main)


def test_what_comes_with_the_reply_is_not_lost() -> None:
    """The target speaks before anybody has asked it."""

    async def main() -> None:
        async with protecting() as one, gateway(one) as scene:
            for _ in range(20):
                target = scene.target()
                client = await scene.client()
                await client.greet()
                await client.send(request5("127.0.0.1", target.port))
                far = await target.accept()
                await far.send(b"220 hello")
                far.end()
                assert (await client.reply5())[1] == 0
                assert await client.rest() == b"220 hello"
                client.close()

    run(main)


def test_both_sides_protected() -> None:
    """What is opened under one layer is closed under the other."""

    async def main() -> None:
        async with protecting() as one, gateway(one, gssapi=ON) as scene:
            target = scene.target()
            url = f"socks5h+gssapi://localhost:{scene.place[1]}"
            async with asyncio.timeout(PATIENCE):
                reader, writer = await hosier.aio.open_connection(
                    "localhost", target.port, proxy=url, timeout=PATIENCE, early=b"early"
                )
                far = await target.accept()
                assert await far.exactly(5) == b"early"
                await far.send(b"220 hello")
                assert await reader.readexactly(9) == b"220 hello"
                writer.write(BIG)
                assert await far.exactly(len(BIG)) == BIG
                writer.write_eof()
                assert await far.rest() == b""
                await far.send(BIG)
                far.end()
                assert await reader.read(-1) == BIG
                writer.close()

    run(main)


@pytest.mark.parametrize("hops", [1, 2])
def test_bind(hops: int) -> None:
    async def main() -> None:
        async with protecting() as one, protecting() as two, gateway(*(one, two)[:hops]) as scene:
            client = await scene.client()
            await client.greet()
            await client.send(request5("127.0.0.1", 0, 2))
            reply = await client.reply5()
            place = socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big")
            peer = await scene.client(place)
            await peer.send(b"220 hello")
            assert (await client.reply5())[1] == 0
            assert await client.exactly(9) == b"220 hello"
            await exchanged(client, peer)

    run(main)


def test_datagrams() -> None:
    async def main() -> None:
        async with protecting() as one, gateway(one) as scene:
            client, target = await associated(scene), Datagrams(scene)
            for name in ("127.0.0.1", "localhost"):
                client.ask((name, target.place[1]), b"question")
                data, relay = await target.receive()
                assert data == b"question"
                target.send(b"answer", relay)
                assert await client.answer() == (b"answer", target.place)

    run(main)


def test_no_protected_datagrams_in_a_chain() -> None:
    async def main() -> None:
        async with protecting() as one, protecting() as two, gateway(one, two) as scene:
            assert await refused(scene) == 7

    run(main)


# --- who tampers on the way ---


@asynccontextmanager
async def between(port: int, change: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A port that leads to another one; what comes back goes through ``change``."""

    carried: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried.append(asyncio.current_task())  # type: ignore[arg-type]
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, far_writer))

        async def up() -> None:
            while data := await reader.read(1 << 16):
                far_writer.write(data)

        async def down() -> None:
            while data := await far_reader.read(1 << 16):
                writer.write(change(data))
            writer.close()

        await asyncio.gather(up(), down())

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@pytest.mark.parametrize("tamper", ["cut", "forge"])
def test_what_was_tampered_with_never_looks_like_an_end(tamper: str) -> None:
    def change(data: bytes) -> bytes:
        if b"payload" not in data:
            return data
        return bytes(len(data)) if tamper == "forge" else data[:-3]

    async def main() -> None:
        async with protecting() as one, between(one.addresses[0].port, change) as port:
            chain = chain_of(f"socks5h+gssapi://localhost:{port}")
            async with stage(egress=Upstreams(chain)) as scene:
                target = scene.target()
                client = await scene.client()
                assert (await client.connect(target.host, target.port))[1] == 0
                far = await target.accept()
                await far.send(b"payload" * 3)
                far.end()
                with pytest.raises(ConnectionResetError):
                    await client.rest()
                assert (await scene.record()).end.startswith("security layer: ")

    run(main)


def test_layer_of_a_stream() -> None:
    layer = StreamLayer(toy_stream())
    framed = frame(b"hello")
    assert layer.unwrap(b"") is None
    assert layer.unwrap(framed[:-1]) == (b"", len(framed) - 1)
    assert layer.unwrap(framed[-1:] + framed[:2]) == (b"hello", 3)
    with pytest.raises(RemoteProtocolError, match="inside a frame"):
        layer.finish()
    assert layer.wrap(b"hello") == framed
    StreamLayer(toy_stream()).finish()


# --- TLS ---


@pytest.mark.parametrize("hops", [1, 2])
def test_tls(certificate: Certificate, hops: int) -> None:
    """Also one within the other. The door in front of the servers ends both directions with the first one."""

    async def main() -> None:
        with ExitStack() as stack:
            servers = [stack.enter_context(ThreadedServer()) for _ in range(hops)]
            doors = [stack.enter_context(door(certificate, server.address)) for server in servers]
            chain = [
                hosier.Proxy(f"socks5h+tls://localhost:{port}", ssl_context=certificate.client) for _, port in doors
            ]
            async with stage(egress=Upstreams(chain_of(chain))) as scene:
                target = scene.target()
                client = await scene.client()
                await client.greet()
                await client.send(request5("localhost", target.port) + b"early")
                assert (await client.reply5())[1] == 0
                far = await target.accept()
                assert await far.exactly(5) == b"early"
                await far.send(b"220 hello")
                assert await client.exactly(9) == b"220 hello"
                sending = asyncio.gather(client.send(BIG), far.send(BIG))
                assert await far.exactly(len(BIG)) == BIG
                assert await client.exactly(len(BIG)) == BIG
                await sending
                far.end()
                assert await client.rest() == b""
                client.close()
                assert await far.rest() == b""
                assert (await scene.record()).end == "target closed"

    run(main)


def test_tls_with_whom_nobody_trusts(certificate: Certificate) -> None:
    async def main() -> None:
        with ThreadedServer() as server, door(certificate, server.address) as (_, port):
            chain = chain_of(f"socks5h+tls://localhost:{port}")
            async with stage(egress=Upstreams(chain)) as scene:
                client = await scene.client()
                assert (await client.connect("localhost", 9))[1] == 1
                client.close()
                assert "no TLS with the proxy" in (await scene.record()).end

    run(main)


@pytest.mark.parametrize("script", [[], [send(b"no TLS here\r\n")]])
def test_no_tls_there(script: list[Step]) -> None:
    async def main() -> None:
        with ScriptedServer([receive(10), *script]) as server:
            chain = chain_of(f"socks5h+tls://localhost:{server.address[1]}")
            async with stage(egress=Upstreams(chain)) as scene:
                client = await scene.client()
                assert (await client.connect("localhost", 9))[1] == 1
                client.close()
                assert "no TLS with the proxy" in (await scene.record()).end

    run(main)
