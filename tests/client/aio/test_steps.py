"""The steps on non-blocking sockets that the other tests do not take."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

import hosier
from hosier.client.aio import steps
from hosier.client.dial import begin_connect
from hosier.client.lookup import Place4or6
from hosier.testing import ScriptedServer, receive_request, send, stall

from ..harness import PATIENCE, SUCCESS, opening, run


def place(sock: socket.socket) -> Place4or6:
    return Place4or6(socket.AF_INET, sock.getsockname())


def gone() -> Place4or6:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return place(sock)


def resolving_to(monkeypatch: pytest.MonkeyPatch, *places: Place4or6) -> None:
    async def found(*_: object) -> list[Place4or6]:
        return list(places)

    monkeypatch.setattr(steps, "look_up", found)


def test_every_place_has_its_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305 §5."""
    with ScriptedServer(opening(send(SUCCESS), stall())) as server:
        resolving_to(monkeypatch, gone(), gone(), Place4or6(socket.AF_INET, server.address))
        run(hosier.aio.connect("some.proxy", "example.com", 80, timeout=PATIENCE)).close()
        resolving_to(monkeypatch, gone(), gone())
        with pytest.raises(hosier.ProxyConnectionError, match="refused"):
            run(hosier.aio.connect("some.proxy", "example.com", 80, timeout=PATIENCE))


def test_silent_place_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it outlive the others, nor the limit."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        ScriptedServer(opening(send(SUCCESS), stall())) as server,
    ):
        queue = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            queue.append(one)
        resolving_to(monkeypatch, place(full), Place4or6(socket.AF_INET, server.address))
        run(hosier.aio.connect("some.proxy", "example.com", 80, timeout=PATIENCE)).close()
        for places in ((place(full),), (place(full), place(full))):
            resolving_to(monkeypatch, *places)
            with pytest.raises(hosier.ProxyTimedOut) as caught:
                run(hosier.aio.connect("some.proxy", "example.com", 80, timeout=0.1))
            assert caught.value.place is not None
            assert caught.value.place.step == "connect"
        for one in queue:
            one.close()


@pytest.mark.slow
def test_connection_that_stands_later() -> None:
    """As anywhere but on one machine."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            begun: list[socket.socket] = []
            while True:
                one = socket.socket()
                one.setblocking(False)
                begun.append(one)
                if not begin_connect(one, place(full)):
                    break
            loop.call_later(0.05, lambda: begun.extend(full.accept()[0] for _ in range(2)))
            url = "{}:{}".format(*full.getsockname())
            with pytest.raises(hosier.ProxyTimedOut) as caught:
                await hosier.aio.connect(url, "example.com", 80, timeout=6)
            assert caught.value.place is not None
            assert caught.value.place.step == "method"
            for one in begun:
                one.close()

    run(main())


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        await reader.read(100)
        writer.write(SUCCESS + b"early")
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_unix_server(serve, path):
            url = f"socks5h://localhost{path}"
            reader, writer = await hosier.aio.open_connection("example.com", 80, proxy=url, timeout=PATIENCE)
            assert await reader.read() == b"early"
            writer.close()
            await writer.wait_closed()
            with pytest.raises(hosier.ProxyConnectionError):
                await hosier.aio.connect(f"{url}x", "example.com", 80)

    run(main())


def test_names_looked_up_here() -> None:
    with ScriptedServer([receive_request(), send(b"\x00\x5a" + bytes(6)), stall()]) as server:
        url = server.url.replace("5h", "4")
        run(hosier.aio.connect(url, "localhost", 80, timeout=PATIENCE)).close()
        assert server.received == b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"
        for name in ("name.invalid", "abc.onion"):
            with pytest.raises(hosier.TargetUnreachable, match="looked up here"):
                run(hosier.aio.connect(url, name, 80, timeout=PATIENCE))
