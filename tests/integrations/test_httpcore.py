"""httpcore through a proxy, without httpx around it."""

from __future__ import annotations

import asyncio

import httpcore
import pytest

import hosier
from hosier.integrations.httpcore import async_connection_pool, connection_pool
from hosier.testing.threaded import ThreadedServer

from .causes import our_error
from .web import Web


def test_requests(proxy: ThreadedServer, web: Web) -> None:
    with connection_pool(proxy.url) as pool:
        assert pool.request("GET", f"{web.url}/hello").content == b"hello"

    async def main() -> bytes:
        async with async_connection_pool(proxy.url, max_connections=1) as pool:
            return bytes((await pool.request("GET", f"{web.url}/hello")).content)

    assert asyncio.run(main()) == b"hello"


def test_errors(no_proxy: str, web: Web) -> None:
    with connection_pool(no_proxy) as pool, pytest.raises(httpcore.ProxyError) as raised:
        pool.request("GET", web.url)
    assert isinstance(our_error(raised.value), hosier.ProxyConnectionError)
