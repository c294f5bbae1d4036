"""Datagrams through a proxy with asyncio."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

import hosier
from hosier.engine.segments import can_segment, segment_option
from hosier.testing import ScriptedServer, send, stall

from ..harness import PATIENCE, opening, run

ONE = ("192.0.2.1", 53)
HEADER = b"\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"
Run = Callable[[Coroutine[Any, Any, None]], None]

loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def granted(relay: socket.socket) -> bytes:
    port: int = relay.getsockname()[1]
    return b"\x05\x00\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big")


@loops
def test_datagrams(run: Run, silent_socket: socket.socket) -> None:
    relay = silent_socket

    async def main() -> None:
        async with (
            await hosier.aio.associate(server.url, timeout=PATIENCE) as datagrams,
            asyncio.timeout(PATIENCE),
        ):
            assert datagrams.relay == relay.getsockname()
            assert datagrams.max_payload("192.0.2.1") == 65_497
            assert await datagrams.sendto(b"hello", ONE) == 5
            packet, peer = relay.recvfrom(100)
            assert packet == HEADER + b"hello"
            waiting = asyncio.create_task(datagrams.recvfrom())
            await asyncio.sleep(0)
            relay.sendto(b"garbage", peer)
            relay.sendto(HEADER + b"answer", peer)
            relay.sendto(HEADER + b"another", peer)
            assert await waiting == (b"answer", ONE)
            assert await datagrams.recvfrom() == (b"another", ONE)
            await datagrams.sendto(b"x", ("example.com", 53))
            assert relay.recv(100) == b"\x00\x00\x00\x03\x0bexample.com\x00\x35x"
            with pytest.raises(OSError, match="too long"):
                await datagrams.sendto(bytes(65_498), ONE)
        with pytest.raises(hosier.ProxyConnectionError):
            await datagrams.sendto(b"x", ONE)
        with pytest.raises(hosier.ProxyConnectionError):
            await datagrams.recvfrom()

    with ScriptedServer(opening(send(granted(relay)), stall())) as server:
        run(main())
        assert server.received[3:] == b"\x05\x03\x00\x01" + bytes(6)


@loops
def test_many(run: Run, silent_socket: socket.socket) -> None:
    """In runs both ways where the system has them; with single ones among them, nothing is lost."""
    relay = silent_socket

    async def main() -> None:
        async with (
            await hosier.aio.associate(server.url, timeout=PATIENCE) as datagrams,
            asyncio.timeout(PATIENCE),
        ):
            assert await datagrams.send_many([], ONE) == 0
            assert await datagrams.send_many([b"one", b"two", b"3"], ("example.com", 53)) == 3
            for payload in (b"one", b"two", b"3"):
                packet, peer = relay.recvfrom(100)
                assert packet == b"\x00\x00\x00\x03\x0bexample.com\x00\x35" + payload
            packets = [HEADER + bytes([number]) for number in range(30)]
            if can_segment():
                relay.sendmsg(packets[:20], segment_option(len(HEADER) + 1), 0, peer)
            else:
                packets = packets[20:]
            for packet in packets[-10:]:
                relay.sendto(packet, peer)
            found = [await datagrams.recvfrom()]
            while len(found) < len(packets):
                found += await datagrams.recv_many()
            assert found == [(packet[-1:], ONE) for packet in packets]
        with pytest.raises(hosier.ProxyConnectionError):
            await datagrams.send_many([b"x"], ONE)

    with ScriptedServer(opening(send(granted(relay)), stall())) as server:
        run(main())


@loops
def test_end_of_the_control_connection(run: Run, silent_socket: socket.socket) -> None:
    """S5-REQ-78; what else comes there is discarded (S5-REQ-79)."""

    async def main() -> None:
        datagrams = await hosier.aio.associate(server.url, timeout=PATIENCE)
        with pytest.raises(hosier.ProxyConnectionError, match="ended the association") as caught:
            async with asyncio.timeout(PATIENCE):
                await datagrams.recvfrom()
        assert caught.value.errno == errno.ECONNABORTED

    with ScriptedServer(opening(send(granted(silent_socket) + b"noise"))) as server:
        run(main())


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.note((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.note(type(exc))

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(("lost", exc))

    def note(self, one: object) -> None:
        self.told.append(one)
        self.news.set()

    async def until(self, one: object) -> None:
        async with asyncio.timeout(PATIENCE):
            while one not in self.told:
                self.news.clear()
                await self.news.wait()


@loops
def test_asyncios_shape(run: Run, silent_socket: socket.socket) -> None:
    relay = silent_socket

    async def main() -> None:
        transport, protocol = await hosier.aio.create_datagram_endpoint(
            Recorder, proxy=server.url, timeout=PATIENCE, announce=True, fragment_size=300
        )
        assert transport.get_extra_info("peername") == relay.getsockname()
        transport.sendto(bytearray(400), ONE)
        (first, peer), (second, _) = relay.recvfrom(1000), relay.recvfrom(1000)
        assert (first[2], second[2]) == (1, 0x82)
        assert server.received[-2:] == peer[1].to_bytes(2, "big")
        relay.sendto(first, peer)
        relay.sendto(second, peer)
        await protocol.until((bytes(400), ONE))
        with pytest.raises(hosier.LocalProtocolError, match="address of its target"):
            transport.sendto(b"x")
        assert transport.max_payload() == 65_507 - 262
        assert not transport.is_closing()
        transport.close()
        transport.abort()
        transport.sendto(b"x", ONE)
        assert transport.is_closing()
        await protocol.until(("lost", None))
        assert protocol.told[0] == "made"

    with ScriptedServer(opening(send(granted(relay)), stall())) as server:
        run(main())


def test_relay_that_is_not_there(silent_socket: socket.socket) -> None:
    """The protocol is told, as asyncio's are."""
    reply = granted(silent_socket)
    silent_socket.close()

    async def main() -> None:
        transport, protocol = await hosier.aio.create_datagram_endpoint(Recorder, proxy=server.url)
        transport.sendto(b"x", ONE)
        await protocol.until(ConnectionRefusedError)
        transport.close()

    with ScriptedServer(opening(send(reply), stall())) as server:
        run(main())


def test_names_looked_up_here(silent_socket: socket.socket) -> None:
    async def main() -> None:
        url = server.url.replace("5h", "5")
        async with await hosier.aio.associate(url) as datagrams:
            await datagrams.sendto(b"x", ("localhost", 53))
            assert silent_socket.recv(100)[3] in (1, 4)
        transport, _ = await hosier.aio.create_datagram_endpoint(Recorder, proxy=url)
        with pytest.raises(hosier.LocalProtocolError, match="socks5h"):
            transport.sendto(b"x", ("localhost", 53))
        transport.close()

    with ScriptedServer(opening(send(granted(silent_socket)), stall())) as server:
        run(main())


def test_failures() -> None:
    with ScriptedServer(opening(send(b"\x05\x07\x00"), stall())) as server, pytest.raises(hosier.ReplyError) as caught:
        run(hosier.aio.associate(server.url, timeout=PATIENCE))
    assert caught.value.place is not None
    with ScriptedServer(opening(stall())) as server, pytest.raises(hosier.ProxyTimedOut):
        run(hosier.aio.associate(server.url, timeout=0.1, announce=True))
    with pytest.raises(hosier.ConfigError):
        run(hosier.aio.associate(["one", "two"]))


def test_who_gives_up_leaves_it_to_the_next(silent_socket: socket.socket) -> None:
    """Also when the datagram has come already; and nothing of the wait is left."""

    async def main() -> None:
        with ScriptedServer(opening(send(granted(silent_socket)), stall())) as proxy:
            async with await hosier.aio.associate(proxy.url) as endpoint:
                inbox = endpoint._inbox
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(endpoint.recvfrom(), 0.01)
                assert not inbox.waiting
                first, second = (asyncio.create_task(endpoint.recvfrom()) for _ in range(2))
                while len(inbox.waiting) < 2:
                    await asyncio.sleep(0)
                inbox.datagram_received(b"hello", ("192.0.2.1", 53))
                first.cancel()
                async with asyncio.timeout(PATIENCE):
                    assert await second == (b"hello", ("192.0.2.1", 53))
                assert first.cancelled()
                assert not inbox.waiting

    asyncio.run(main())
