"""urllib.request through a proxy."""

from __future__ import annotations

import socket
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

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


def test_redirect_to_ftp(proxy: ThreadedServer) -> None:
    """Nobody is connected to beside the proxy."""
    with socket.create_server(("127.0.0.1", 0)) as ftp, _redirecting(f"ftp://127.0.0.1:{port_of(ftp)}/") as web:
        assert "ftp does not go through" in str(reason(proxy.url, f"http://127.0.0.1:{web.server_port}/"))
        ftp.setblocking(False)
        with pytest.raises(BlockingIOError):
            ftp.accept()


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


@contextmanager
def _redirecting(where: str) -> Iterator[HTTPServer]:
    """A web server that sends everybody elsewhere."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", where)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as web:
        thread = threading.Thread(target=web.serve_forever, name="redirecting")
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()


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
