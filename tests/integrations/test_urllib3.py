"""urllib3 through a proxy."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import urllib3

import hosier
from hosier.integrations.urllib3 import pool_manager
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .causes import our_error
from .web import Web

NO_RETRIES = urllib3.Retry(0)


def test_requests(proxy: ThreadedServer, web: Web) -> None:
    with pool_manager(proxy.url) as pools:
        for _ in range(3):
            assert pools.request("GET", f"{web.url}/hello").data == b"hello"
    assert web.connections == 1


def test_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    with pool_manager(proxy.url, ssl_context=certificate.client) as pools:
        assert pools.request("GET", f"{secure_web.url}/hello").data == b"hello"


def test_the_proxy_is_part_of_the_key(proxy: ThreadedServer) -> None:
    """One manager, two proxies: never a connection through the other one."""
    with pool_manager(proxy.url) as pools, pool_manager("socks5h://another.test") as others:
        keys = {key for manager in (pools, others) for key in [_key(manager)]}
    assert len(keys) == 2


def _key(manager: urllib3.PoolManager) -> object:
    manager.connection_from_url("http://target.test/")
    (key,) = manager.pools.keys()
    return key


def test_options_of_sockets_arrive(proxy: ThreadedServer, web: Web) -> None:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    with pool_manager(proxy.url, socket_options=options) as pools:
        connection: Any = pools.connection_from_url(web.url)._get_conn()
        connection.connect()
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        connection.close()


def test_target_refuses(proxy: ThreadedServer, refused_port: int) -> None:
    with pool_manager(proxy.url) as pools, pytest.raises(urllib3.exceptions.MaxRetryError) as raised:
        pools.request("GET", f"http://127.0.0.1:{refused_port}/", retries=NO_RETRIES)
    reason = raised.value.reason
    assert isinstance(reason, urllib3.exceptions.NewConnectionError)
    assert isinstance(reason.__cause__, hosier.TargetRefused)


def test_proxy_fails(no_proxy: str, strict_proxy: str, web: Web) -> None:
    for url, kind in ((no_proxy, hosier.ProxyConnectionError), (strict_proxy, hosier.AuthError)):
        with pool_manager(url) as pools, pytest.raises(urllib3.exceptions.HTTPError) as raised:
            pools.request("GET", web.url, retries=NO_RETRIES)
        error = getattr(raised.value, "reason", raised.value)  # urllib3 1.26 does not wrap this one
        assert isinstance(error, urllib3.exceptions.ProxyError)
        assert isinstance(our_error(error), kind)


def test_limit_covers_the_handshake(silent_proxy: str, web: Web) -> None:
    limit = urllib3.Timeout(connect=0.2, read=20)
    with pool_manager(silent_proxy, timeout=limit) as pools, pytest.raises(urllib3.exceptions.MaxRetryError) as raised:
        pools.request("GET", web.url, retries=NO_RETRIES)
    assert isinstance(raised.value.reason, urllib3.exceptions.ConnectTimeoutError)
    assert isinstance(raised.value.reason.__cause__, hosier.ProxyTimedOut)


def test_tls_inside_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        with pool_manager(outer, ssl_context=certificate.client, timeout=20) as pools:
            for _ in range(3):
                assert pools.request("GET", f"{secure_web.url}/hello", retries=NO_RETRIES).data == b"hello"
    assert secure_web.connections == 1
