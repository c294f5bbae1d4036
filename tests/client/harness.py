"""What the client's tests share: the same call in each world of I/O, and the octets of a proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from time import monotonic, sleep
from typing import Any, TypeVar

import pytest
import uvloop

import hosier
from hosier.client.proxy import ProxyChain
from hosier.testing import Step, receive_credentials, receive_greeting, receive_request, send

PATIENCE = 20.0
"""Seconds for what should happen at once."""

SUCCESS = bytes.fromhex("05000001c00002099c40")
"""A reply with 192.0.2.9:40000."""
SUCCESS4 = bytes.fromhex("005a9c40c0000209")

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, bounded."""

    async def bounded() -> T:
        async with asyncio.timeout(50):
            return await main

    return asyncio.run(bounded())


def _blocking(proxy: ProxyChain, host: str, port: int, timeout: float | None = PATIENCE) -> socket.socket:
    return hosier.connect(proxy, host, port, timeout=timeout)


async def _to_socket(proxy: ProxyChain, host: str, port: int, timeout: float | None) -> socket.socket:
    sock = await hosier.aio.connect(proxy, host, port, timeout=timeout)
    sock.setblocking(True)
    return sock


def _asyncio(proxy: ProxyChain, host: str, port: int, timeout: float | None = PATIENCE) -> socket.socket:
    return asyncio.run(_to_socket(proxy, host, port, timeout))


def _uvloop(proxy: ProxyChain, host: str, port: int, timeout: float | None = PATIENCE) -> socket.socket:
    return uvloop.run(_to_socket(proxy, host, port, timeout))


Connect = Callable[..., socket.socket]

worlds = pytest.mark.parametrize("connect", [_blocking, _asyncio, _uvloop], ids=["blocking", "asyncio", "uvloop"])
"""``connect(proxy, host, port, timeout=20)`` gives a blocking socket in each of them."""


def opening(*then: Step) -> list[Step]:
    """A SOCKS5 proxy up to the request, without authentication, and what follows."""
    return [receive_greeting(), send(b"\x05\x00"), receive_request(), *then]


def opening_with_password(status: bytes, *then: Step) -> list[Step]:
    """The same with a password, answered by ``status``."""
    return [receive_greeting(), send(b"\x05\x02"), receive_credentials(), send(status), receive_request(), *then]


def exactly(sock: socket.socket, size: int) -> bytes:
    sock.settimeout(PATIENCE)
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"ended after {data!r}"
        data += piece
    return data


def until(condition: Callable[[], object], what: str) -> None:
    """Looks again and again until the condition holds; fails, saying what was awaited, if it never does."""
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, f"waited in vain: {what}"
        sleep(0.001)


async def greeted(place: tuple[str, int], **arguments: Any) -> None:
    """Opens a connection to the greeter, reads what it says first, and has an echo."""
    reader, writer = await hosier.aio.open_connection(*place, timeout=PATIENCE, **arguments)
    async with asyncio.timeout(PATIENCE):
        assert await reader.readline() == b"220 hello\r\n"
        writer.write(b"x" * 100_000)
        assert await reader.readexactly(100_000) == b"x" * 100_000
        writer.close()
        await writer.wait_closed()
