"""What programs with host libraries may look like: mypy --strict reads it, nobody runs it."""

from __future__ import annotations

import socket
import ssl

import aiohttp
import asyncssh
import httpcore
import httpcore2
import httpx
import httpx2
import paramiko
import redis.asyncio
import requests
import urllib3
from requests.adapters import HTTPAdapter

import hosier
import hosier.pysocks
from hosier import pysocks
from hosier.integrations import aiohttp as for_aiohttp
from hosier.integrations import asyncssh as for_asyncssh
from hosier.integrations import httpcore as for_httpcore
from hosier.integrations import httpcore2 as for_httpcore2
from hosier.integrations import httpx as for_httpx
from hosier.integrations import httpx2 as for_httpx2
from hosier.integrations import paramiko as for_paramiko
from hosier.integrations import redis as for_redis
from hosier.integrations import requests as for_requests
from hosier.integrations import urllib3 as for_urllib3
from hosier.integrations import urllib_request as for_urllib
from hosier.integrations import websockets as for_websockets


def blocking(proxy: hosier.ProxyChain, context: ssl.SSLContext) -> bytes:
    session: requests.Session = for_requests.session(proxy)
    adapter: HTTPAdapter = for_requests.adapter(proxy, pool_maxsize=3)
    session.mount("http://", adapter)
    pools: urllib3.PoolManager = for_urllib3.pool_manager(proxy, timeout=3.0)
    client = httpx.Client(transport=for_httpx.transport(proxy, verify=context, http2=True, limits=httpx.Limits()))
    newer = httpx2.Client(mounts={"all://": for_httpx2.transport(proxy, verify=False, retries=1)})
    pool: httpcore.ConnectionPool = for_httpcore.connection_pool(proxy)
    newer_pool: httpcore2.ConnectionPool = for_httpcore2.connection_pool(proxy)
    pool.close()
    newer_pool.close()
    body: bytes = pools.request("GET", "http://h").data + client.get("http://h").content + newer.get("http://h").content
    with for_websockets.connect_blocking(proxy, "ws://h", open_timeout=1.5) as connection:
        connection.send("text")
    for_paramiko.connect(proxy, paramiko.SSHClient(), "h", 22, timeout=1, username="ann")
    database: redis.Redis = for_redis.client(proxy, "redis://h", socket_timeout=1)
    database.close()
    response = for_urllib.opener(proxy, context=context).open("http://h", timeout=1)
    return body + response.read() if isinstance(response.read(), bytes) else body


async def awaited(proxy: hosier.ProxyChain) -> str:
    session = aiohttp.ClientSession(connector=for_aiohttp.connector(proxy, limit=0))
    client = httpx.AsyncClient(transport=for_httpx.async_transport(proxy))
    newer = httpx2.AsyncClient(transport=for_httpx2.async_transport(proxy))
    pool: httpcore.AsyncConnectionPool = for_httpcore.async_connection_pool(proxy)
    newer_pool: httpcore2.AsyncConnectionPool = for_httpcore2.async_connection_pool(proxy)
    await pool.aclose()
    await newer_pool.aclose()
    text: str = (await client.get("http://h")).text + (await newer.get("http://h")).text
    async with session.get("http://h") as response:
        text += await response.text()
    async with for_websockets.connect(proxy, "ws://h") as connection:
        await connection.send("text")
    ssh: asyncssh.SSHClientConnection = await for_asyncssh.connect(proxy, "h", 22, timeout=1, username="ann")
    ssh.close()
    database: redis.asyncio.Redis = for_redis.async_client(proxy, "redis://h")
    await database.aclose()
    return text


def as_before() -> bytes:
    pysocks.set_default_proxy(pysocks.SOCKS5, "h", 1080, True, "ann", "open sesame")
    pysocks.wrap_module(socket)
    sock: socket.socket = pysocks.create_connection(("h", 80), 3, proxy_type=pysocks.PROXY_TYPE_HTTP, proxy_addr="h")
    own = pysocks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    own.set_proxy(pysocks.SOCKS4, "h", rdns=False)
    try:
        own.connect(("h", 80))
    except pysocks.ProxyError as error:
        print(error.socket_err, error.msg, pysocks.SOCKS5_ERRORS[1])
    pysocks.install()
    by_its_own_import: hosier.pysocks.socksocket = own
    by_its_own_import.close()
    return sock.recv(1) + str(own.get_proxy_sockname()).encode()
