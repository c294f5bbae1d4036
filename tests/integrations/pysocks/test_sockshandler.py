"""PySocks' handler for urllib.request."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from hosier.integrations.pysocks import sockshandler
from hosier.integrations.pysocks.proxies import SOCKS4, SOCKS5
from hosier.integrations.pysocks.sockshandler import SocksiPyConnection, SocksiPyHandler, is_ip, merge_dict
from hosier.testing.threaded import ThreadedServer

from ...client.tls import Certificate
from ..web import NAME, Web


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, name_of_the_target: None) -> None:
    """As with PySocks, it counts."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable)


def fetch(handler: SocksiPyHandler, url: str) -> bytes:
    with urllib.request.build_opener(handler).open(url, timeout=20) as response:
        body: bytes = response.read()
    return body


@pytest.mark.parametrize("kind", [SOCKS4, SOCKS5])
def test_http(proxy: ThreadedServer, web: Web, kind: int) -> None:
    assert fetch(SocksiPyHandler(kind, *proxy.address), f"{web.url}/hello") == b"hello"


def test_https(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    handler = SocksiPyHandler(SOCKS5, *proxy.address, context=certificate.client)
    assert fetch(handler, f"{secure_web.url}/hello") == b"hello"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(SocksiPyHandler(SOCKS5, *proxy.address), f"{secure_web.url}/hello")


def test_connection(proxy: ThreadedServer, web: Web) -> None:
    connection = SocksiPyConnection(SOCKS5, *proxy.address, True, None, None, NAME, web.port)
    connection.request("GET", "/hello")
    assert connection.getresponse().read() == b"hello"
    connection.close()


def test_names_are_not_looked_up_here_instead(proxy: ThreadedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PySocks does, when a SOCKS4 proxy refuses; here the program has to say so."""
    with pytest.raises(urllib.error.URLError, match="0x5b"):
        fetch(SocksiPyHandler(SOCKS4, *proxy.address), "http://nobody.invalid/")
    monkeypatch.setattr(sockshandler, "socks4_no_rdns", {proxy.address[0]})
    with pytest.raises(urllib.error.URLError, match="Socket error"):
        fetch(SocksiPyHandler(SOCKS4, *proxy.address), "http://nobody.invalid/")


def test_small_things() -> None:
    assert merge_dict({"a": 1, "b": 1}, {"b": 2}) == {"a": 1, "b": 2}
    assert [is_ip(text) for text in ("127.0.0.1", "::1", "h.test", "1.2.3", "")] == [True, True, False, False, False]
