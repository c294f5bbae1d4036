"""PySocks' names on Hosier, through servers that we did not write, and beside PySocks itself."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import socks as pysocks

import hosier
from hosier.testing import ScriptedServer, Step, receive, receive_greeting, receive_request, send, stall

from ..integrations.web import Web, digest
from .harness import PATIENCE, Address, free_port
from .proxies import danted, microsocks, needs_root
from .wire import echo_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ANYONE = ("hosier-test", "open:sesame")
SIZE = 20_000_000

BOTH = pytest.mark.parametrize("socks", [hosier.pysocks, pysocks], ids=["hosier", "PySocks"])
"""What is the same with both."""


@pytest.fixture
def dante(program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    with danted(program, tmp_path) as address:
        yield address


@pytest.fixture(params=["dante", "microsocks"])
def guarded(request: pytest.FixtureRequest, program: Callable[..., str], tmp_path: Path) -> Iterator[Address]:
    """For one user only."""
    if request.param == "dante" and not needs_root():
        pytest.skip("dante's own users need root")
    server = danted if request.param == "dante" else microsocks
    with server(program, tmp_path, ANYONE) as address:
        yield address


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


def opened(socks: Any, kind: int, proxy: Address, *more: Any) -> Any:
    sock = socks.socksocket()
    sock.set_proxy(kind, *proxy, *more)
    sock.settimeout(PATIENCE)
    return sock


def download(sock: socket.socket) -> str:
    """The checksum of a large page."""
    total = hashlib.sha256()
    sock.sendall(f"GET /octets?{SIZE} HTTP/1.0\r\nHost: h\r\n\r\n".encode())
    with sock.makefile("rb") as file:
        while file.readline().strip():
            pass
        while piece := file.read(1 << 16):
            total.update(piece)
    return total.hexdigest()


@BOTH
@pytest.mark.parametrize("kind", ["SOCKS4", "SOCKS5"])
def test_download(dante: Address, web: Web, socks: Any, kind: str) -> None:
    with opened(socks, getattr(socks, kind), dante) as sock:
        sock.connect(("localhost" if kind == "SOCKS5" else "127.0.0.1", web.port))
        assert download(sock) == digest(SIZE)


@BOTH
def test_password(guarded: Address, web: Web, socks: Any) -> None:
    with opened(socks, socks.SOCKS5, guarded, True, *ANYONE) as sock:
        sock.connect(("127.0.0.1", web.port))
        assert download(sock) == digest(SIZE)
    with opened(socks, socks.SOCKS5, guarded, True, ANYONE[0], "wrong") as sock, pytest.raises(socks.ProxyError):
        sock.connect(("127.0.0.1", web.port))
    with opened(socks, socks.SOCKS5, guarded) as sock, pytest.raises(socks.ProxyError, match="All offered SOCKS5"):
        sock.connect(("127.0.0.1", web.port))


@BOTH
def test_texts_are_the_same(dante: Address, socks: Any) -> None:
    port = free_port()
    with opened(socks, socks.SOCKS5, dante) as sock, pytest.raises(socks.GeneralProxyError) as refused:
        sock.connect(("127.0.0.1", port))
    assert str(refused.value) == "Socket error: 0x05: Connection refused"
    assert isinstance(refused.value.socket_err, socks.SOCKS5Error)
    with opened(socks, socks.SOCKS5, Address("127.0.0.1", port)) as sock, pytest.raises(socks.ProxyError) as nobody:
        sock.connect(("127.0.0.1", port))
    text = f"Error connecting to SOCKS5 proxy 127.0.0.1:{port}: [Errno 111] Connection refused"
    assert (str(nobody.value), type(nobody.value).__name__) == (text, "ProxyConnectionError")


@BOTH
def test_datagrams(dante: Address, socks: Any) -> None:
    kind = socket.AF_INET, socket.SOCK_DGRAM
    with socket.socket(*kind) as peer, socks.socksocket(*kind) as sock:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE)
        sock.set_proxy(socks.SOCKS5, *dante)
        sock.settimeout(PATIENCE)
        sock.sendto(b"hello", peer.getsockname())
        data, relay = peer.recvfrom(100)
        peer.sendto(data * 2, relay)
        assert sock.recvfrom(100) == (b"hellohello", peer.getsockname())
        sock.connect(peer.getsockname())
        assert sock.send(b"again") == 5
        assert peer.recv(100) == b"again"
        assert sock.getpeername() == peer.getsockname()


CHOICE = (receive_greeting(), send(b"\x05\x00"), receive_request())
HTTP = (receive(1),)

SCRIPTS: dict[str, tuple[str, tuple[Step, ...]]] = {
    "closes after the greeting": ("SOCKS5", (receive_greeting(),)),
    "wrong version": ("SOCKS5", (receive_greeting(), send(b"\x04\x00"))),
    "wants a password": ("SOCKS5", (receive_greeting(), send(b"\x05\x02"))),
    "wants nothing that we have": ("SOCKS5", (receive_greeting(), send(b"\x05\xff"))),
    "wants what was not offered": ("SOCKS5", (receive_greeting(), send(b"\x05\x80"))),
    "closes after the request": ("SOCKS5", CHOICE),
    "wrong version of the reply": ("SOCKS5", (*CHOICE, send(b"\x04\x00\x00\x01" + bytes(6)))),
    **{f"refuses with {code}": ("SOCKS5", (*CHOICE, send(bytes((5, code, 0))))) for code in (*range(1, 10), 0xF0)},
    **{
        f"SOCKS4 with {code}": ("SOCKS4", (receive_request(), send(bytes((0, code)) + bytes(6))))
        for code in range(91, 95)
    },
    "SOCKS4 closes": ("SOCKS4", (receive_request(),)),
    "SOCKS4 with a wrong version": ("SOCKS4", (receive_request(), send(b"\x04\x5a" + bytes(6)))),
    "is silent": ("SOCKS5", (receive_greeting(), stall())),
    "HTTP closes": ("HTTP", HTTP),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_misbehaving_proxies_look_alike(name: str) -> None:
    """The same text, and whatever catches PySocks' error catches ours."""
    kind, script = SCRIPTS[name]
    raised = []
    for socks in (pysocks, hosier.pysocks):
        with ScriptedServer(script) as proxy, opened(socks, getattr(socks, kind), Address(*proxy.address)) as sock:
            sock.settimeout(0.2 if "silent" in name else PATIENCE)
            with pytest.raises(socks.ProxyError) as error:
                sock.connect(("target.test", 80))
            raised.append(error.value)
    theirs, ours = raised
    assert type(theirs).__name__ in {one.__name__ for one in type(ours).__mro__}
    assert str(ours).replace("[Errno 110] ", "") == str(theirs)
    assert bool(ours.socket_err) == bool(theirs.socket_err)


def test_asyncio_on_it(dante: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop whose sockets are all ours has pairs and pipes that go straight."""
    monkeypatch.setattr(socket, "socket", hosier.pysocks.socksocket)
    monkeypatch.setattr(hosier.pysocks.socksocket, "default_proxy", None)

    async def main(echo: Address) -> bytes:
        reader, writer = await asyncio.open_connection(*echo)
        peer = writer.get_extra_info("socket").getpeername()
        assert tuple(peer) == tuple(echo)
        writer.write(b"hello")
        data = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        return data

    with echo_server() as echo:
        hosier.pysocks.set_default_proxy(hosier.pysocks.SOCKS5, *dante)
        assert asyncio.run(main(echo)) == b"hello"
