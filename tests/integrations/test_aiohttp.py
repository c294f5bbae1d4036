"""aiohttp through a proxy."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import aiohttp
import pytest
import uvloop

import hosier
from hosier.integrations.aiohttp import connector
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .causes import our_error
from .conftest import Start
from .web import Web, digest


def get(proxy: Any, *urls: str, sock_connect: float = 20, **how: Any) -> list[bytes]:
    """The bodies of all pages, over one session."""

    async def main() -> list[bytes]:
        limits = aiohttp.ClientTimeout(total=20, sock_connect=sock_connect)
        async with aiohttp.ClientSession(connector=connector(proxy), timeout=limits, trust_env=False) as session:
            bodies = []
            for url in urls:
                async with session.get(url, **how) as response:
                    bodies.append(await response.read())
            return bodies

    return asyncio.run(main())


def test_requests(hosier_server: Start, web: Web) -> None:
    proxy, another = hosier_server(), hosier_server()
    assert get(proxy.url, f"{web.url}/hello", f"{web.url}/hello", f"{web.url}/hello") == [b"hello"] * 3
    assert web.connections == 1
    assert get([proxy.url, another.url], f"{web.url}/hello") == [b"hello"]


def test_name_with_a_dot_at_its_end(proxy: ThreadedServer, web: Web) -> None:
    assert get(proxy.url, f"http://target.hosier.test.:{web.port}/hello") == [b"hello"]


def test_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    assert get(proxy.url, f"{secure_web.url}/hello", ssl=certificate.client) == [b"hello"]
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        get(proxy.url, f"{secure_web.url}/hello")
    with pytest.raises(aiohttp.ClientConnectorError):
        get(proxy.url, f"{secure_web.url}/hello".replace(str(secure_web.port), str(proxy.address[1])))


def test_tls_inside_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        assert get(outer, f"{secure_web.url}/hello", ssl=certificate.client) == [b"hello"]


def test_large(proxy: ThreadedServer, web: Web) -> None:
    size = 2_000_000
    (body,) = get(proxy.url, f"{web.url}/octets?{size}")
    assert hashlib.sha256(body).hexdigest() == digest(size)


def test_websocket(proxy: ThreadedServer, web: Web) -> None:
    async def main() -> str:
        async with (
            aiohttp.ClientSession(connector=connector(proxy.url)) as session,
            session.ws_connect(f"{web.url}/echo") as socket,
        ):
            await socket.send_str("hello")
            return str((await socket.receive(20)).data)

    for run in (asyncio.run, uvloop.run):
        assert run(main()) == "hello"


def test_target_refuses(proxy: ThreadedServer, refused_port: int) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as raised:
        get(proxy.url, f"http://127.0.0.1:{refused_port}/")
    assert not isinstance(raised.value, aiohttp.ClientProxyConnectionError)
    assert isinstance(raised.value.__cause__, hosier.TargetRefused)
    assert isinstance(raised.value.os_error, ConnectionRefusedError)
    assert "connection refused" in str(raised.value)


def test_proxy_fails(no_proxy: str, strict_proxy: str, web: Web) -> None:
    for url, kind in ((no_proxy, hosier.ProxyConnectionError), (strict_proxy, hosier.AuthError)):
        with pytest.raises(aiohttp.ClientProxyConnectionError) as raised:
            get(url, web.url)
        assert isinstance(raised.value.__cause__, kind)


def test_name_that_cannot_be_sent(proxy: ThreadedServer) -> None:
    with pytest.raises(aiohttp.ClientError):
        get(proxy.url, f"http://{'.'.join(['n' * 60] * 5)}/")


def test_limit_covers_the_handshake(silent_proxy: str, web: Web) -> None:
    with pytest.raises(aiohttp.ServerTimeoutError) as raised:
        get(silent_proxy, web.url, sock_connect=0.2)
    assert isinstance(our_error(raised.value), hosier.ProxyTimedOut)
