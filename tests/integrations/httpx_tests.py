"""What is true of httpx and of httpx2, each of which has a class of it."""

from __future__ import annotations

import asyncio
import hashlib
from types import ModuleType
from typing import Any

import pytest
import uvloop

import hosier
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .conftest import Start
from .web import Web, digest


class HttpxTests:
    host: ModuleType
    hook: ModuleType

    def get(self, proxy: Any, url: str, **how: Any) -> Any:
        """Once blocking, once awaited; both must say the same."""
        with self.host.Client(transport=self.hook.transport(proxy, **how), timeout=20) as client:
            blocking = client.get(url)

        async def main() -> Any:
            async with self.host.AsyncClient(transport=self.hook.async_transport(proxy, **how), timeout=20) as client:
                return await client.get(url)

        awaited = asyncio.run(main())
        assert (blocking.status_code, blocking.content) == (awaited.status_code, awaited.content)
        return awaited

    def errors(self, proxy: Any, url: str, *, connect: float = 20) -> set[tuple[type, type]]:
        """The classes of the host library's error, and of its cause, blocking and awaited."""
        timeout = self.host.Timeout(20, connect=connect)
        with (
            self.host.Client(transport=self.hook.transport(proxy), timeout=timeout) as client,
            pytest.raises(self.host.TransportError) as raised,
        ):
            client.get(url)

        async def main() -> None:
            transport = self.hook.async_transport(proxy)
            async with self.host.AsyncClient(transport=transport, timeout=timeout) as client:
                await client.get(url)

        with pytest.raises(self.host.TransportError) as awaited:
            asyncio.run(main())
        return {(type(error.value), type(error.value.__cause__)) for error in (raised, awaited)}

    def test_a_request(self, hosier_server: Start, web: Web) -> None:
        proxy, another = hosier_server(), hosier_server()
        assert self.get(proxy.url, f"{web.url}/hello").text == "hello"
        assert self.get([proxy.url, another.url], f"{web.url}/hello").text == "hello"

    def test_the_pool_is_reused(self, proxy: ThreadedServer, web: Web) -> None:
        with self.host.Client(transport=self.hook.transport(proxy.url), timeout=20) as client:
            for _ in range(3):
                client.post(f"{web.url}/digest", content=b"x" * 100_000)
        assert web.connections == 1

        async def main() -> None:
            async with self.host.AsyncClient(transport=self.hook.async_transport(proxy.url), timeout=20) as client:
                for _ in range(3):
                    await client.post(f"{web.url}/digest", content=b"x" * 300_000)

        for run in (asyncio.run, uvloop.run):
            run(main())
        assert web.connections == 3

    def test_http2(self, proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
        for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
            response = self.get(proxy.url, f"{secure_web.url}/hello", verify=certificate.client, http2=http2)
            assert (response.text, response.http_version) == ("hello", version)

    def test_large(self, proxy: ThreadedServer, web: Web, secure_web: Web, certificate: Certificate) -> None:
        size = 2_000_000

        async def main(url: str) -> str:
            total = hashlib.sha256()
            transport = self.hook.async_transport(proxy.url, verify=certificate.client, http2=True)
            async with (
                self.host.AsyncClient(transport=transport, timeout=20) as client,
                client.stream("GET", f"{url}/octets?{size}") as response,
            ):
                async for piece in response.aiter_bytes():
                    total.update(piece)
            return total.hexdigest()

        for site in (web, secure_web):
            assert asyncio.run(main(site.url)) == digest(size)
            with self.host.Client(transport=self.hook.transport(proxy.url, verify=certificate.client)) as client:
                body = client.get(f"{site.url}/octets?{size}").content
            assert hashlib.sha256(body).hexdigest() == digest(size)

    def test_tls_inside_tls(self, proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
        with door(certificate, proxy.address) as (host, port):
            outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)

            async def main() -> str:
                transport = self.hook.async_transport(outer, verify=certificate.client)
                async with self.host.AsyncClient(transport=transport, timeout=20) as client:
                    text: str = (await client.get(f"{secure_web.url}/hello")).text
                    return text

            assert asyncio.run(main()) == "hello"
            with self.host.Client(
                transport=self.hook.transport(outer, verify=certificate.client), timeout=20
            ) as client:
                assert client.get(f"{secure_web.url}/hello").text == "hello"

    def test_target_refuses(self, proxy: ThreadedServer, refused_port: int) -> None:
        raised = self.errors(proxy.url, f"http://127.0.0.1:{refused_port}/")
        assert raised == {(self.host.ConnectError, hosier.TargetRefused)}

    def test_proxy_fails(self, no_proxy: str, strict_proxy: str, web: Web) -> None:
        assert self.errors(no_proxy, web.url) == {(self.host.ProxyError, hosier.ProxyConnectionError)}
        assert self.errors(strict_proxy, web.url) == {(self.host.ProxyError, hosier.AuthError)}

    def test_limit_covers_the_handshake(self, silent_proxy: str, web: Web) -> None:
        raised = self.errors(silent_proxy, web.url, connect=0.2)
        assert raised == {(self.host.ConnectTimeout, hosier.ProxyTimedOut)}
