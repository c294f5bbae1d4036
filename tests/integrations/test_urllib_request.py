"""urllib.request through a proxy."""

from __future__ import annotations

import urllib.error

import pytest

import hosier
from hosier.integrations.urllib_request import opener
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .web import Web


def test_requests(proxy: ThreadedServer, web: Web) -> None:
    with opener(proxy.url).open(f"{web.url}/hello", timeout=20) as response:
        assert response.read() == b"hello"


def test_without_a_limit(proxy: ThreadedServer, web: Web) -> None:
    with opener(proxy.url).open(f"{web.url}/digest", data=b"x") as response:
        assert len(response.read()) == 64


def test_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    with opener(proxy.url, context=certificate.client).open(f"{secure_web.url}/hello", timeout=20) as response:
        assert response.read() == b"hello"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        opener(proxy.url).open(f"{secure_web.url}/hello", timeout=20)
    with door(certificate, proxy.address) as (host, port):
        outer = hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)
        with opener(outer, context=certificate.client).open(f"{secure_web.url}/hello", timeout=20) as response:
            assert response.read() == b"hello"


def reason(proxy: str, url: str, timeout: float = 20) -> object:
    with pytest.raises(urllib.error.URLError) as raised:
        opener(proxy).open(url, timeout=timeout)
    return raised.value.reason


def test_errors(proxy: ThreadedServer, no_proxy: str, strict_proxy: str, web: Web, refused_port: int) -> None:
    assert isinstance(reason(proxy.url, f"http://127.0.0.1:{refused_port}/"), hosier.TargetRefused)
    assert isinstance(reason(no_proxy, web.url), hosier.ProxyConnectionError)
    assert isinstance(reason(strict_proxy, web.url), hosier.AuthError)
    too_long = reason(proxy.url, f"http://{'.'.join(['n' * 60] * 5)}/")
    assert isinstance(too_long, OSError)
    assert isinstance(too_long.__cause__, hosier.LocalProtocolError)


def test_limit_covers_the_handshake(silent_proxy: str, web: Web) -> None:
    assert isinstance(reason(silent_proxy, web.url, 0.2), hosier.ProxyTimedOut)
