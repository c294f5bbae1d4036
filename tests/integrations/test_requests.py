"""requests through a proxy."""

from __future__ import annotations

import hashlib

import pytest
import requests

import hosier
from hosier.integrations.requests import adapter, session
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .causes import our_error
from .conftest import Start
from .web import Web, digest, octets


def test_requests(proxy: ThreadedServer, web: Web) -> None:
    """Whatever the environment says; over one connection."""
    with session(proxy.url) as client:
        for _ in range(3):
            assert client.get(f"{web.url}/hello", timeout=20).text == "hello"
        assert client.post(f"{web.url}/digest", data=b"x" * 100_000, timeout=20).status_code == 200
    assert web.connections == 1


def test_password_of_another_proxy(proxy: ThreadedServer, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the environment's proxy, which requests adds to what follows a redirect, is nobody's business."""
    for name, value in (("no_proxy", ""), ("NO_PROXY", ""), ("http_proxy", "http://bob:sesame@127.0.0.1:9")):
        monkeypatch.setenv(name, value)
    with session(proxy.url) as client:
        request = client.prepare_request(requests.Request("GET", f"{web.url}/hello"))
        client.rebuild_proxies(request, {})  # as at a redirect
        assert "Proxy-Authorization" in request.headers
        response = client.send(request, timeout=20)
    assert response.text == "hello"
    assert "Proxy-Authorization" not in response.request.headers


def test_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    with session(proxy.url) as client:
        assert client.get(f"{secure_web.url}/hello", timeout=20, verify=str(certificate.file)).text == "hello"
    with session(proxy.url) as client, pytest.raises(requests.exceptions.SSLError):
        client.get(f"{secure_web.url}/hello", timeout=20)


def test_some_urls_only(hosier_server: Start, web: Web) -> None:
    """Two proxies in one session, one with a password; ``proxies`` leads round neither."""
    first, second = hosier_server(), hosier_server(users={"ann": "open sesame"})
    with requests.Session() as client:
        client.mount(f"{web.url}/hello", adapter(first.url))
        client.mount(f"{web.url}/digest", adapter(hosier.Proxy(second.url, username="ann", password="open sesame")))
        client.get(f"{web.url}/hello", timeout=20, proxies={"http": "http://127.0.0.1:9"})
        client.get(f"{web.url}/digest", timeout=20)


def test_a_chain(hosier_server: Start, web: Web) -> None:
    with session([hosier_server().url, hosier_server().url.replace("5h", "4a")]) as client:
        assert client.get(f"{web.url}/hello", timeout=20).text == "hello"


def test_target_refuses(proxy: ThreadedServer, refused_port: int) -> None:
    with session(proxy.url) as client, pytest.raises(requests.ConnectionError, match="refused") as raised:
        client.get(f"http://127.0.0.1:{refused_port}/", timeout=20)
    assert not isinstance(raised.value, requests.exceptions.ProxyError)
    assert isinstance(our_error(raised.value), hosier.TargetRefused)


def test_name_that_cannot_be_sent(proxy: ThreadedServer) -> None:
    name = ".".join(["n" * 60] * 5)
    with session(proxy.url) as client, pytest.raises(requests.RequestException):
        client.get(f"http://{name}/", timeout=20)


def test_proxy_fails(no_proxy: str, strict_proxy: str, web: Web) -> None:
    for url, kind in ((no_proxy, hosier.ProxyConnectionError), (strict_proxy, hosier.AuthError)):
        with session(url) as client, pytest.raises(requests.exceptions.ProxyError) as raised:
            client.get(f"{web.url}/hello", timeout=20)
        assert isinstance(our_error(raised.value), kind)


def test_limit_covers_the_handshake(silent_proxy: str, web: Web) -> None:
    with session(silent_proxy) as client, pytest.raises(requests.ConnectTimeout) as raised:
        client.get(f"{web.url}/hello", timeout=(0.2, 20))
    assert isinstance(our_error(raised.value), hosier.ProxyTimedOut)


def test_large(proxy: ThreadedServer, web: Web) -> None:
    size, total = 3_000_000, hashlib.sha256()
    with session(proxy.url) as client, client.get(f"{web.url}/octets?{size}", timeout=20, stream=True) as response:
        for piece in response.iter_content(65_536):
            total.update(piece)
    assert total.hexdigest() == digest(size)


def test_tls_inside_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    """Large, both ways, over one connection."""
    size, trusted = 10_000_000, str(certificate.file)
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        with session(outer) as client:
            body = client.get(f"{secure_web.url}/octets?{size}", timeout=20, verify=trusted).content
            assert hashlib.sha256(body).hexdigest() == digest(size)
            answer = client.post(f"{secure_web.url}/digest", data=octets(size), timeout=20, verify=trusted)
            assert answer.text == digest(size)
    assert secure_web.connections == 1
