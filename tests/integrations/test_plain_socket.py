"""A plain socket, whatever protects the way to the proxy."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from unittest import mock

import pytest
import uvloop

import hosier
from hosier.integrations import plain_socket
from hosier.integrations.plain_socket import _End, connect_plain
from hosier.testing import ScriptedServer, receive, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door

SIZE = 3_000_000

Use = Callable[[asyncio.AbstractEventLoop, socket.socket], Awaitable[None]]
Over = Callable[[str | hosier.Proxy, ScriptedServer, Use], None]


@pytest.fixture
def outer(proxy: ThreadedServer, certificate: Certificate) -> Iterator[hosier.Proxy]:
    """A proxy with TLS."""
    with door(certificate, proxy.address) as (host, port):
        yield hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def over(request: pytest.FixtureRequest) -> Over:
    """Uses such a socket, in each loop."""
    return partial(_over, request.param)


def _over(run: Callable[..., None], proxy: str | hosier.Proxy, target: ScriptedServer, use: Use) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            with await connect_plain(proxy, *target.address, timeout=20) as sock:
                await use(asyncio.get_running_loop(), sock)

    run(main())


async def everything(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = b""
    while piece := await loop.sock_recv(sock, 65_536):
        data += piece
    return data


def test_without_protection(over: Over, proxy: ThreadedServer) -> None:
    """It is the connection itself."""

    async def use(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        assert sock.getpeername() == proxy.address
        assert await everything(loop, sock) == b"hello"

    with ScriptedServer([send(b"hello")]) as target:
        over(proxy.url, target, use)


def test_both_ways(over: Over, outer: hosier.Proxy) -> None:
    """More than fits anywhere, and what the target says first."""

    async def use(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert await loop.sock_recv(sock, 5) == b"hello"
        await loop.sock_sendall(sock, b"x" * SIZE)
        assert await everything(loop, sock) == b"y" * SIZE

    with ScriptedServer([send(b"hello"), receive(SIZE), send(b"y" * SIZE)]) as target:
        over(outer, target, use)
        assert target.received == b"x" * SIZE


def test_nothing_is_left_open(over: Over, outer: hosier.Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for a pair."""
    monkeypatch.setattr(plain_socket, "tcp_pair", mock.Mock(side_effect=OSError("no more files")))

    async def use(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        raise AssertionError("there is no socket")

    with ScriptedServer([stall()]) as target, pytest.raises(OSError, match="no more files"):
        over(outer, target, use)


def test_who_cannot_keep_up_is_waited_for() -> None:
    """What is on its way has a bound: a full connection stops the reading from the other one."""
    near, far = _End(), _End()
    near.transport, far.transport = mock.Mock(), mock.Mock()
    near.pause_writing()
    near.join(far)
    near.pause_writing()
    far.transport.pause_reading.assert_called_once_with()
    near.resume_writing()
    far.transport.resume_reading.assert_called_once_with()


def test_cut_off(over: Over, outer: hosier.Proxy) -> None:
    async def use(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        await loop.sock_sendall(sock, b"!")
        assert await everything(loop, sock) == b""

    with ScriptedServer([receive(1), reset()]) as target:
        over(outer, target, use)


def test_program_ends(over: Over, outer: hosier.Proxy) -> None:
    """The target hears of it."""

    async def use(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        await loop.sock_sendall(sock, b"bye")
        sock.shutdown(socket.SHUT_WR)
        assert await everything(loop, sock) == b""

    heard = threading.Event()
    with ScriptedServer([receive(3), lambda _: heard.set(), stall()]) as target:
        over(outer, target, use)
        assert heard.wait(20)
        assert target.received == b"bye"
