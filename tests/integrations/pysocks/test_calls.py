"""What PySocks has beside its socket."""

from __future__ import annotations

import socket
import threading
import types

import pytest

from hosier import pysocks as socks
from hosier.testing.threaded import ThreadedServer

from ..conftest import Start
from ..web import NAME, Web


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks.socksocket, "default_proxy", None)


def fetch(sock: socket.socket) -> bytes:
    with sock:
        sock.sendall(f"GET /hello HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode())
        with sock.makefile("rb") as file:
            return file.read()


def test_default_proxy(proxy: ThreadedServer, web: Web) -> None:
    assert socks.get_default_proxy() is None
    socks.setdefaultproxy(proxytype=socks.SOCKS5, addr=proxy.address[0], port=proxy.address[1], username="ann")
    assert socks.getdefaultproxy() == (socks.SOCKS5, *proxy.address, True, b"ann", None)
    socks.set_default_proxy(socks.SOCKS5, *proxy.address)
    with socks.socksocket() as sock:
        sock.settimeout(20)
        sock.connect((NAME, web.port))
        assert b"hello" in fetch(sock)
    assert b"hello" in fetch(socks.create_connection((NAME, web.port), 20))


def test_wrap_module(proxy: ThreadedServer) -> None:
    module = types.ModuleType("program")
    module.socket = types.SimpleNamespace(socket=socket.socket)  # type: ignore[attr-defined]
    with pytest.raises(socks.GeneralProxyError, match="No default proxy specified"):
        socks.wrap_module(module)
    socks.set_default_proxy(socks.SOCKS5, *proxy.address)
    socks.wrapmodule(module)
    assert module.socket.socket is socks.socksocket


def test_create_connection(proxy: ThreadedServer, web: Web) -> None:
    """With all arguments."""
    sock = socks.create_connection(
        (NAME, web.port),
        timeout=20,
        source_address=("127.0.0.9", 0),
        proxy_type=socks.SOCKS5,
        proxy_addr="localhost",
        proxy_port=proxy.address[1],
        proxy_rdns=True,
        proxy_username="ann",
        proxy_password="open sesame",
        socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
    )
    assert sock.gettimeout() == 20
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockname()[0] == "127.0.0.9"
    assert b"hello" in fetch(sock)


def test_ipv6_proxy(hosier_server: Start, web: Web) -> None:
    proxy = hosier_server(listen=["[::1]:0"])
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for host in ("::1", "[::1]"):
        place = {"proxy_type": socks.SOCKS5, "proxy_addr": host, "proxy_port": proxy.address[1]}
        sock = socks.create_connection((NAME, web.port), 20, socket_options=options, **place)  # type: ignore[arg-type]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert b"hello" in fetch(sock)


def test_create_connection_without_a_proxy(web: Web) -> None:
    assert b"hello" in fetch(socks.create_connection(("127.0.0.1", web.port)))
    with pytest.raises(socket.gaierror):
        socks.create_connection((NAME, web.port))


def test_create_connection_that_fails(no_proxy: str, silent_proxy: str, web: Web) -> None:
    port = int(no_proxy.rpartition(":")[2])
    for host, reason in (("127.0.0.1", "Connection refused"), ("nobody.invalid", "Name or service not known")):
        with pytest.raises(socks.ProxyConnectionError, match=reason):
            socks.create_connection((NAME, 80), proxy_type=socks.SOCKS5, proxy_addr=host, proxy_port=port)
    place = {"proxy_addr": "127.0.0.1", "proxy_port": int(silent_proxy.rpartition(":")[2])}
    with pytest.raises(socks.GeneralProxyError, match="timed out"):
        socks.create_connection((NAME, 80), 0.2, proxy_type=socks.SOCKS5, **place)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        socks.create_connection(("127.0.0.1", web.port), socket_options=[None])  # type: ignore[list-item]
    with pytest.raises(TimeoutError):
        socks.create_connection(("127.0.0.1", web.port), 0)


def test_threads_with_proxies_of_their_own(hosier_server: Start, web: Web) -> None:
    """A socket's proxy is its own: nothing is shared but the default."""
    proxies = [hosier_server() for _ in range(4)]
    said: list[bytes] = []

    def work(proxy: ThreadedServer) -> None:
        place = {"proxy_addr": proxy.address[0], "proxy_port": proxy.address[1]}
        said.append(fetch(socks.create_connection((NAME, web.port), 20, proxy_type=socks.SOCKS5, **place)))  # type: ignore[arg-type]

    threads = [threading.Thread(target=work, args=(proxy,)) for proxy in proxies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(said) == 4
    assert all(b"hello" in one for one in said)


def test_set_self_blocking() -> None:
    class Socket(socket.socket):
        @socks.set_self_blocking
        def limit(self) -> float | None:
            return self.gettimeout()

    with Socket() as sock:
        sock.settimeout(3)
        assert sock.limit() == 3
        sock.setblocking(False)
        assert sock.limit() is None
        assert sock.gettimeout() == 0
