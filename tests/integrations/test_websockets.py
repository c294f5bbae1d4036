"""websockets through a proxy."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

import pytest
import websockets

import hosier
from hosier.integrations.websockets import connect, connect_blocking
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .web import Web

has_blocking = pytest.mark.skipif(importlib.util.find_spec("websockets.sync") is None, reason="websockets 11 has it")


def address(web: Web) -> str:
    return f"{web.url}/echo".replace("http", "ws")


def echo(proxy: Any, uri: str, **how: Any) -> str | bytes:
    async def main() -> str | bytes:
        async with connect(proxy, uri, **how) as connection:
            await connection.send("hello")
            return await connection.recv()

    return asyncio.run(main())


def test_echo(proxy: ThreadedServer, web: Web) -> None:
    assert echo(proxy.url, address(web)) == "hello"


def test_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    assert echo(proxy.url, address(secure_web), ssl=certificate.client) == "hello"


def test_proxy_with_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        assert echo(outer, address(secure_web), ssl=certificate.client) == "hello"


@has_blocking
def test_blocking(proxy: ThreadedServer, web: Web, secure_web: Web, certificate: Certificate) -> None:
    for site, context in ((web, None), (secure_web, certificate.client)):
        with connect_blocking(proxy.url, address(site), ssl=context) as connection:
            connection.send("hello")
            assert connection.recv(20) == "hello"
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        with connect_blocking(outer, address(secure_web), ssl=certificate.client) as connection:
            connection.send("hello")
            assert connection.recv(20) == "hello"


def raised(proxy: str, uri: str, **how: Any) -> list[BaseException]:
    """Awaited and, where there is that, blocking."""
    found: list[BaseException] = []
    try:
        echo(proxy, uri, **how)
    except Exception as error:
        found.append(error)
    if importlib.util.find_spec("websockets.sync") is not None:
        try:
            with connect_blocking(proxy, uri, **how):
                pass
        except Exception as error:
            found.append(error)
    return found


def test_target_refuses(proxy: ThreadedServer, refused_port: int) -> None:
    kinds = {type(error) for error in raised(proxy.url, f"ws://127.0.0.1:{refused_port}/")}
    assert kinds == {hosier.TargetRefused}


def test_proxy_fails(no_proxy: str, strict_proxy: str, web: Web) -> None:
    for url, kind in ((no_proxy, hosier.ProxyConnectionError), (strict_proxy, hosier.AuthError)):
        errors = raised(url, address(web))
        assert errors
        for error in errors:
            assert isinstance(error, websockets.exceptions.InvalidHandshake)
            assert isinstance(error.__cause__, kind)


def test_limit_covers_the_handshake(silent_proxy: str, web: Web) -> None:
    assert {type(error) for error in raised(silent_proxy, address(web), open_timeout=0.2)} == {hosier.ProxyTimedOut}
