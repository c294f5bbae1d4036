"""Host libraries through our own server and through microsocks, to a name that only these know: large transfers, many
at once, pools, errors, pip."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
import sys
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import websockets
import websockets.asyncio.server

import hosier
from hosier.integrations import httpx as hosier_httpx
from hosier.integrations import httpx2 as hosier_httpx2
from hosier.integrations.aiohttp import connector
from hosier.integrations.requests import adapter, session
from hosier.integrations.websockets import connect

from ..client.tls import Certificate
from ..integrations.web import NAME, Web, digest, octets
from .harness import PATIENCE, Hosier, free_port, run
from .proxies import knowing, microsocks, needs_root

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

SIZE = 100_000_000
CROWD = 500

PAGE = '<a href="hosier_sample-1.0-py3-none-any.whl">hosier_sample-1.0-py3-none-any.whl</a>'


@pytest.fixture(params=["hosier", "microsocks"])
def proxy(request: pytest.FixtureRequest, program: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    """The URL of a server that finds the target's name."""
    if not needs_root():
        pytest.skip("a hosts file of a server's own needs root")
    before = knowing(program, tmp_path, {NAME: "127.0.0.1"})
    if request.param == "hosier":
        with Hosier(before=before) as server:
            yield f"socks5h://{server.address}"
    else:
        with microsocks(program, tmp_path, before=before) as address:
            yield f"socks5h://{address}"


@pytest.fixture(scope="module")
def certificate(program: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(program("openssl"), tmp_path_factory.mktemp("tls"), name=NAME)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


@pytest.fixture(scope="module")
def secure_web(certificate: Certificate) -> Iterator[Web]:
    with Web(certificate) as running:
        yield running


@pytest.fixture(autouse=True)
def nobody_else_knows_the_name() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(NAME, 80)


# --- 100 MB ---


def test_requests_large(proxy: str, web: Web) -> None:
    total = hashlib.sha256()
    with session(proxy) as client, client.get(f"{web.url}/octets?{SIZE}", timeout=PATIENCE, stream=True) as response:
        for piece in response.iter_content(1 << 18):
            total.update(piece)
        assert total.hexdigest() == digest(SIZE)
        assert client.post(f"{web.url}/digest", data=octets(SIZE), timeout=PATIENCE).text == digest(SIZE)


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(("host", "hook"), [(httpx, hosier_httpx), (httpx2, hosier_httpx2)], ids=["httpx", "httpx2"])
def test_httpx_large(
    proxy: str, web: Web, secure_web: Web, certificate: Certificate, host: Any, hook: Any, http2: bool
) -> None:
    """Blocking with HTTP/1.1, awaited with both."""
    site = secure_web if http2 else web

    def checked(pieces: Iterator[bytes]) -> str:
        total = hashlib.sha256()
        for piece in pieces:
            total.update(piece)
        return total.hexdigest()

    async def main() -> str:
        total = hashlib.sha256()
        transport = hook.async_transport(proxy, verify=certificate.client, http2=http2)
        async with (
            host.AsyncClient(transport=transport, timeout=PATIENCE) as client,
            client.stream("GET", f"{site.url}/octets?{SIZE}") as response,
        ):
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            async for piece in response.aiter_bytes():
                total.update(piece)
        return total.hexdigest()

    assert asyncio.run(main()) == digest(SIZE)
    if not http2:
        with (
            host.Client(transport=hook.transport(proxy), timeout=PATIENCE) as client,
            client.stream("GET", f"{site.url}/octets?{SIZE}") as response,
        ):
            assert checked(response.iter_bytes()) == digest(SIZE)


def test_aiohttp_large(proxy: str, web: Web) -> None:
    async def main() -> tuple[str, str]:
        total = hashlib.sha256()
        async with aiohttp.ClientSession(connector=connector(proxy)) as client:
            async with client.get(f"{web.url}/octets?{SIZE}") as response:
                async for piece in response.content.iter_chunked(1 << 18):
                    total.update(piece)
            async with client.post(f"{web.url}/digest", data=_awaited(octets(SIZE))) as response:
                return total.hexdigest(), await response.text()

    assert asyncio.run(main()) == (digest(SIZE), digest(SIZE))


async def _awaited(pieces: Iterator[bytes]) -> Any:
    for piece in pieces:
        yield piece


def with_websockets(proxy: str, serve: Callable[[Any], Awaitable[None]], use: Callable[[str], Awaitable[None]]) -> None:
    async def main() -> None:
        async with websockets.asyncio.server.serve(serve, "127.0.0.1", 0, compression=None) as server:
            (listener,) = server.sockets
            async with asyncio.timeout(200):
                await use(f"ws://{NAME}:{listener.getsockname()[1]}")

    asyncio.run(main())


def test_websockets_large(proxy: str) -> None:
    async def serve(connection: Any) -> None:
        for piece in octets(SIZE):
            await connection.send(piece)

    async def use(uri: str) -> None:
        total = hashlib.sha256()
        async with connect(proxy, uri, compression=None) as connection:
            async for message in connection:
                assert isinstance(message, bytes)
                total.update(message)
        assert total.hexdigest() == digest(SIZE)

    with_websockets(proxy, serve, use)


# --- many at once ---


def test_requests_together(proxy: str, web: Web) -> None:
    with requests.Session() as client, ThreadPoolExecutor(CROWD) as threads:
        client.mount("http://", adapter(proxy, pool_maxsize=CROWD))
        url = f"{web.url}/together?{CROWD}"
        answers = list(threads.map(lambda _: client.get(url, timeout=PATIENCE).text, range(CROWD)))
    assert answers == ["hello"] * CROWD


@pytest.mark.parametrize(("host", "hook"), [(httpx, hosier_httpx), (httpx2, hosier_httpx2)], ids=["httpx", "httpx2"])
def test_httpx_together(proxy: str, web: Web, host: Any, hook: Any) -> None:
    async def main() -> list[str]:
        transport = hook.async_transport(proxy, limits=host.Limits(max_connections=None))
        async with host.AsyncClient(transport=transport, timeout=PATIENCE) as client:
            answers = await asyncio.gather(*(client.get(f"{web.url}/together?{CROWD}") for _ in range(CROWD)))
            return [answer.text for answer in answers]

    assert asyncio.run(main()) == ["hello"] * CROWD


def test_http2_together(proxy: str, secure_web: Web, certificate: Certificate) -> None:
    """As many as a server lets into one connection."""

    async def main() -> list[str]:
        transport = hosier_httpx.async_transport(proxy, http2=True, verify=certificate.client)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:
            await client.get(f"{secure_web.url}/hello")
            secure_web.forget()
            answers = await asyncio.gather(*(client.get(f"{secure_web.url}/together?90") for _ in range(90)))
            return [answer.text for answer in answers]

    assert asyncio.run(main()) == ["hello"] * 90
    assert (secure_web.connections, set(secure_web.versions)) == (1, {"2"})


def test_aiohttp_together(proxy: str, web: Web) -> None:
    async def main() -> list[str]:
        async with aiohttp.ClientSession(connector=connector(proxy, limit=0)) as client:

            async def get() -> str:
                async with client.get(f"{web.url}/together?{CROWD}") as response:
                    return await response.text()

            return list(await asyncio.gather(*(get() for _ in range(CROWD))))

    assert asyncio.run(main()) == ["hello"] * CROWD


def test_websockets_together(proxy: str) -> None:
    everybody = asyncio.Barrier(CROWD)

    async def serve(connection: Any) -> None:
        await everybody.wait()
        await connection.send(await connection.recv())

    async def use(uri: str) -> None:
        async def one(number: int) -> str | bytes:
            async with connect(proxy, uri, open_timeout=PATIENCE) as connection:
                await connection.send(str(number))
                return await connection.recv()

        assert await asyncio.gather(*map(one, range(CROWD))) == [str(number) for number in range(CROWD)]

    with_websockets(proxy, serve, use)


# --- pools and errors ---


def test_pools_are_reused(proxy: str, web: Web) -> None:
    web.forget()
    with session(proxy) as client:
        for _ in range(20):
            client.get(f"{web.url}/hello", timeout=PATIENCE)
    with httpx.Client(transport=hosier_httpx.transport(proxy), timeout=PATIENCE) as other:
        for _ in range(20):
            other.get(f"{web.url}/hello")

    async def main() -> None:
        async with aiohttp.ClientSession(connector=connector(proxy)) as client:
            for _ in range(20):
                async with client.get(f"{web.url}/hello") as response:
                    await response.read()

    asyncio.run(main())
    assert (len(web.clients), web.connections) == (60, 3)


def test_errors_are_the_host_librarys(proxy: str) -> None:
    url = f"http://{NAME}:{free_port()}/"
    with session(proxy) as client, pytest.raises(requests.ConnectionError, match="refused"):
        client.get(url, timeout=PATIENCE)
    with (
        httpx.Client(transport=hosier_httpx.transport(proxy), timeout=PATIENCE) as other,
        pytest.raises(httpx.ConnectError, match="refused") as raised,
    ):
        other.get(url)
    assert isinstance(raised.value.__cause__, hosier.TargetRefused)

    async def main() -> None:
        async with aiohttp.ClientSession(connector=connector(proxy)) as client:
            await client.get(url)

    with pytest.raises(aiohttp.ClientConnectorError, match="refused"):
        asyncio.run(main())


# --- pip ---


def wheel() -> bytes:
    """A package with one module."""
    file = io.BytesIO()
    information = "hosier_sample-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hosier_sample.py", "GREETING = 'hello'\n")
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: hosier-sample\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return file.getvalue()


def test_pip_installs_through_the_facade(proxy: str, web: Web, tmp_path: Path) -> None:
    """pip itself, unchanged, from an index that only the proxy can find."""
    web.files["/simple/hosier-sample/"] = "text/html", PAGE.encode()
    web.files["/simple/hosier-sample/hosier_sample-1.0-py3-none-any.whl"] = "application/zip", wheel()
    pip = [
        sys.executable,
        "-I",
        "-m",
        "hosier.integrations.pysocks",
        "pip",
        "--isolated",
        "--disable-pip-version-check",
    ]
    options = ["--no-deps", "--no-cache-dir", "--target", str(tmp_path / "there"), "--retries", "0"]
    index = ["--index-url", f"{web.url}/simple/", "--trusted-host", NAME]
    run([*pip, "install", "--proxy", proxy, *options, *index, "hosier-sample"], patience=120)
    assert (tmp_path / "there" / "hosier_sample.py").read_text() == "GREETING = 'hello'\n"
    done = run([*pip, "install", *options, *index, "--upgrade", "hosier-sample"], status=None, patience=120)
    assert done.returncode != 0, "the index can be found without the proxy"
