"""Programs that know nothing of proxies, each as it comes: what they fetch comes through the proxy, nothing leaks."""

from __future__ import annotations

import asyncio
import ftplib
import http.client
import smtplib
import ssl
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import httpx
import pytest
import requests
import trio
import uvloop

import hosier
from hosier.testing import ThreadedServer

from ..harness import PATIENCE, run
from ..tls import Certificate, door
from .conftest import Site, Witness

URL = "http://web.invalid/"


def with_urllib() -> str:
    answer: bytes = urllib.request.urlopen(URL, timeout=PATIENCE).read()
    return answer.decode()


def with_http_client() -> str:
    connection = http.client.HTTPConnection("web.invalid", timeout=PATIENCE)
    connection.request("GET", "/")
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


def with_requests() -> str:
    with requests.Session() as session:
        text: str = session.get(URL, timeout=PATIENCE).text
        return text


def with_httpx() -> str:
    return httpx.get(URL, timeout=PATIENCE).text


@pytest.mark.parametrize("fetch", [with_urllib, with_http_client, with_requests, with_httpx])
def test_blocking(site: Site, fetch: Callable[[], str]) -> None:
    """NG-REQ-02."""
    with hosier.socksify(site.url):
        assert fetch() == "web.invalid"
    assert site.asked == ["web.invalid:80"]


async def with_aiohttp() -> str:
    async with aiohttp.ClientSession() as session, session.get(URL) as response:
        return await response.text()


async def with_async_httpx() -> str:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        return (await client.get(URL)).text


async def with_streams() -> str:
    reader, writer = await asyncio.open_connection("web.invalid", 80)
    writer.write(b"GET / HTTP/1.1\r\nHost: web.invalid\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(11)
    writer.close()
    await writer.wait_closed()
    return body.decode()


async def with_anyio() -> str:
    async with await anyio.connect_tcp("web.invalid", 80) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: web.invalid\r\n\r\n")
        data = b""
        while not data.endswith(b"\r\n\r\nweb.invalid"):
            data += await stream.receive()
        return data[-11:].decode()


async def with_a_thread() -> str:
    return await anyio.to_thread.run_sync(with_requests)


AWAITED = [with_aiohttp, with_async_httpx, with_streams, with_anyio, with_a_thread]


@pytest.mark.parametrize("run_in", [run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("fetch", AWAITED)
def test_awaited(site: Site, fetch: Callable[[], Awaitable[str]], run_in: Callable[..., None]) -> None:
    async def main() -> None:
        with hosier.socksify(site.url):
            assert await fetch() == "web.invalid"

    run_in(main())
    assert site.asked == ["web.invalid:80"]


async def with_trio_streams() -> str:
    async with await trio.open_tcp_stream("web.invalid", 80) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: web.invalid\r\n\r\n")
        data = b""
        while not data.endswith(b"\r\n\r\nweb.invalid"):
            data += await stream.receive_some()
        return data[-11:].decode()


@pytest.mark.parametrize("fetch", [with_trio_streams, with_anyio, with_async_httpx, with_a_thread])
def test_trio(site: Site, fetch: Callable[[], Awaitable[str]]) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE), hosier.socksify(site.url):
            assert await fetch() == "web.invalid"

    trio.run(main)
    assert site.asked == ["web.invalid:80"]


def test_many_at_once(site: Site) -> None:
    async def main() -> None:
        with hosier.socksify(site.url):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def fetch(number: int) -> str:
                    async with session.get(f"http://web{number}.invalid/") as response:
                        return await response.text()

                assert await asyncio.gather(*map(fetch, range(200))) == [f"web{n}.invalid" for n in range(200)]

    run(main())
    assert sorted(site.asked) == sorted(f"web{number}.invalid:80" for number in range(200))


@pytest.mark.parametrize("fetch", [with_urllib, with_requests, with_httpx, *AWAITED, with_trio_streams])
def test_through_a_proxy_with_tls(certificate: Certificate, fetch: Callable[[], Any]) -> None:
    async def main() -> None:
        with hosier.socksify(proxy):
            assert await fetch() == "web.invalid"

    with Site() as site, door(certificate, site.address) as (_, port):
        proxy = hosier.Proxy(f"socks5h+tls://localhost:{port}", ssl_context=certificate.client)
        if fetch is with_trio_streams:
            trio.run(main)
        elif fetch in AWAITED:
            run(main())
        else:
            with hosier.socksify(proxy):
                assert fetch() == "web.invalid"
        assert site.asked == ["web.invalid:80"]


@pytest.mark.parametrize("awaited", [False, True])
def test_tls(certificate: Certificate, witness: Witness, greeter: tuple[str, int], awaited: bool) -> None:
    """TLS with the target is the program's own, with the name that it knows."""
    with ThreadedServer() as proxy, door(certificate, greeter) as target, witness(proxy.address, greeter, target):
        context = certificate.client
        with hosier.socksify(proxy.url):
            if awaited:
                run(read_line(target, context))
            else:
                connection = http.client.HTTPSConnection("localhost", target[1], context=context, timeout=PATIENCE)
                connection.connect()
                assert connection.sock.recv(11) == b"220 hello\r\n"
                assert isinstance(connection.sock, ssl.SSLSocket)
                connection.close()
    assert len(proxy.records) == 1


async def read_line(target: tuple[str, int], context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("localhost", target[1], ssl=context)
    assert await reader.readline() == b"220 hello\r\n"
    writer.close()
    await writer.wait_closed()


def test_protocols_where_the_server_speaks_first(witness: Witness) -> None:
    """What comes along with the proxy's reply is there for ftplib and smtplib."""
    with Site(b"220 hello\r\n250 help yourself\r\n") as site, witness(site.address), hosier.socksify(site.url):
        smtp = smtplib.SMTP(timeout=PATIENCE)
        assert smtp.connect("mail.invalid", 25) == (220, b"hello")
        smtp.close()
        with ftplib.FTP(timeout=PATIENCE) as ftp:
            assert ftp.connect("ftp.invalid").startswith("220 hello")
            ftp.close()
    assert site.asked == ["mail.invalid:25", "ftp.invalid:21"]
