"""redis-py through a proxy, to a server that we did not write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
import redis.asyncio

import hosier
from hosier.integrations.redis import async_client, client
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .causes import our_error
from .web import NAME


def use(proxy: Any, url: str, **how: Any) -> None:
    """Blocking, then awaited."""
    with client(proxy, url, **how) as database:
        assert database.set("key", "value")
        assert database.get("key") == b"value"

    async def main() -> None:
        async with async_client(proxy, url, **how) as database:
            assert await database.get("key") == b"value"

    asyncio.run(main())


def test_commands(proxy: ThreadedServer, redis_server: tuple[str, int]) -> None:
    use(proxy.url, f"redis://{NAME}:{redis_server[1]}/0")
    limits = {"socket_connect_timeout": 20, "socket_timeout": 20, "socket_keepalive": True}
    use(proxy.url, f"redis://{NAME}:{redis_server[1]}/0", **limits)


def test_one_connection(proxy: ThreadedServer, redis_server: tuple[str, int]) -> None:
    """It is made at once, and not round the proxy, which alone knows the name."""
    use(proxy.url, f"redis://{NAME}:{redis_server[1]}/0", single_connection_client=True)


def test_tls(proxy: ThreadedServer, redis_server: tuple[str, int], certificate: Certificate) -> None:
    with door(certificate, redis_server) as (_, port):
        use(proxy.url, f"rediss://{NAME}:{port}/0", ssl_ca_certs=str(certificate.file))
        with door(certificate, proxy.address) as (host, proxy_port):
            outer = hosier.Proxy(f"socks5h+tls://{host}:{proxy_port}", ssl_context=certificate.client)
            use(outer, f"rediss://{NAME}:{port}/0", ssl_ca_certs=str(certificate.file))


def test_unix_socket() -> None:
    for make in (client, async_client):
        with pytest.raises(hosier.ConfigError, match="on this machine"):
            make("socks5h://proxy.test", "unix:///run/redis.sock")


def raised(proxy: str, port: int, **how: Any) -> list[Exception]:
    url = f"redis://127.0.0.1:{port}/0"
    with client(proxy, url, **how) as database, pytest.raises(redis.RedisError) as blocking:
        database.ping()

    async def main() -> None:
        async with async_client(proxy, url, **how) as database:
            await database.ping()

    with pytest.raises(redis.RedisError) as awaited:
        asyncio.run(main())
    return [blocking.value, awaited.value]


def test_name_that_cannot_be_sent(proxy: ThreadedServer) -> None:
    with client(proxy.url, f"redis://{'.'.join(['n' * 60] * 5)}") as database, pytest.raises(redis.ConnectionError):
        database.ping()


def test_errors(proxy: ThreadedServer, no_proxy: str, strict_proxy: str, silent_proxy: str, refused_port: int) -> None:
    rows = (
        (proxy.url, refused_port, hosier.TargetRefused),
        (no_proxy, 1, hosier.ProxyConnectionError),
        (strict_proxy, 1, hosier.AuthError),
    )
    for url, port, kind in rows:
        for error in raised(url, port):
            assert isinstance(error, redis.ConnectionError)
            assert isinstance(our_error(error), kind)
    for error in raised(silent_proxy, 1, socket_connect_timeout=0.2):
        assert isinstance(error, redis.TimeoutError)
        assert isinstance(our_error(error), hosier.ProxyTimedOut)
