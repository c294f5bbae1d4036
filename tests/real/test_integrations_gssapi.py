"""Host libraries through a proxy that wants a ticket and seals what follows: they need not know."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

import hosier
from hosier.integrations import httpx as hosier_httpx
from hosier.integrations.aiohttp import connector
from hosier.integrations.requests import session
from hosier.integrations.urllib_request import opener
from hosier.integrations.websockets import connect, connect_blocking

from ..client.tls import Certificate
from ..integrations.web import NAME, Web, digest
from ..kerberos_realm import Realm
from .harness import PATIENCE, Hosier

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SIZE = 10_000_000


@pytest.fixture(scope="module")
def certificate(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(program("openssl"), tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(home: Realm) -> Iterator[Hosier]:
    with Hosier("--gssapi", "--gssapi-levels=2") as running:
        yield running


@pytest.fixture
def proxy(server: Hosier) -> hosier.Proxy:
    return hosier.Proxy(f"socks5h+gssapi://localhost:{server.port}")


@pytest.fixture(params=["plain", "TLS"])
def web(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Web]:
    with Web(certificate if request.param == "TLS" else None) as running:
        yield running


def at(web: Web, path: str) -> str:
    return f"{web.url}{path}".replace(NAME, "localhost")


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed(server: Hosier, web: Web, count: int = 1) -> None:
    """Whoever came, came with a ticket."""
    for one in server.sessions(f"localhost:{web.port}", 5, count):
        assert one["user"] == "ann@HOSIER.TEST"


def test_requests(server: Hosier, proxy: hosier.Proxy, web: Web, certificate: Certificate) -> None:
    with session(proxy) as client:
        body = client.get(at(web, f"/octets?{SIZE}"), timeout=PATIENCE, verify=str(certificate.file)).content
    assert checksum(body) == digest(SIZE)
    sealed(server, web)


def test_urllib_request(server: Hosier, proxy: hosier.Proxy, web: Web, certificate: Certificate) -> None:
    with opener(proxy, context=certificate.client).open(at(web, f"/octets?{SIZE}"), timeout=PATIENCE) as response:
        assert checksum(response.read()) == digest(SIZE)
    sealed(server, web)


def test_httpx(server: Hosier, proxy: hosier.Proxy, web: Web, certificate: Certificate) -> None:
    how: dict[str, Any] = {"verify": certificate.client}
    with httpx.Client(transport=hosier_httpx.transport(proxy, **how), timeout=PATIENCE) as client:
        assert checksum(client.get(at(web, f"/octets?{SIZE}")).content) == digest(SIZE)
    sealed(server, web)


def test_httpx_awaited(server: Hosier, proxy: hosier.Proxy, web: Web, certificate: Certificate) -> None:
    async def main() -> bytes:
        transport = hosier_httpx.async_transport(proxy, verify=certificate.client, http2=True)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:
            return (await client.get(at(web, f"/octets?{SIZE}"))).content

    assert checksum(asyncio.run(main())) == digest(SIZE)
    sealed(server, web)


def test_aiohttp(server: Hosier, proxy: hosier.Proxy, web: Web, certificate: Certificate) -> None:
    async def main() -> bytes:
        async with (
            aiohttp.ClientSession(connector=connector(proxy)) as client,
            client.get(at(web, f"/octets?{SIZE}"), ssl=certificate.client) as response,
        ):
            return await response.read()

    assert checksum(asyncio.run(main())) == digest(SIZE)
    sealed(server, web)


def test_websockets(server: Hosier, proxy: hosier.Proxy, web: Web, certificate: Certificate) -> None:
    uri = at(web, "/echo").replace("http", "ws")
    tls: dict[str, Any] = {"ssl": certificate.client} if uri.startswith("wss") else {}

    async def main() -> str | bytes:
        async with connect(proxy, uri, open_timeout=PATIENCE, **tls) as connection:
            await connection.send("x" * 100_000)
            return await connection.recv()

    assert asyncio.run(main()) == "x" * 100_000
    with connect_blocking(proxy, uri, open_timeout=PATIENCE, **tls) as connection:
        connection.send("x" * 100_000)
        assert connection.recv(PATIENCE) == "x" * 100_000
    sealed(server, web, 2)
