"""The network of httpcore, blocking."""

from __future__ import annotations

import socket

import httpcore
import pytest

import hosier
from hosier.integrations.blocking_backend import BlockingBackend, raised_as
from hosier.testing import ScriptedServer, send, stall
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate
from .web import NAME, Web

pytestmark = pytest.mark.usefixtures("poll_or_select")


def test_what_it_tells_of_a_stream(proxy: ThreadedServer, web: Web) -> None:
    stream = BlockingBackend(httpcore, proxy.url).connect_tcp(NAME, web.port, 20)
    assert stream.get_extra_info("server_addr") == proxy.address
    assert stream.get_extra_info("client_addr")[0] == "127.0.0.1"
    assert isinstance(stream.get_extra_info("socket"), socket.socket)
    assert stream.get_extra_info("ssl_object") is None
    assert stream.get_extra_info("weather") is None
    assert not stream.get_extra_info("is_readable")
    stream.close()
    assert stream.get_extra_info("is_readable")


def test_what_comes_unasked_for_is_seen(proxy: ThreadedServer) -> None:
    with ScriptedServer([send(b"unasked"), stall()]) as target:
        stream = BlockingBackend(httpcore, proxy.url).connect_tcp(*target.address, 20)
        sock: socket.socket = stream.get_extra_info("socket")
        sock.recv(1, socket.MSG_PEEK)
        assert stream.get_extra_info("is_readable")
        assert stream.read(100, 20) == b"unasked"
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(100, 0.05)
        stream.close()
        with pytest.raises(httpcore.WriteError):
            stream.write(b"hello", 20)


def test_tls(proxy: ThreadedServer, secure_web: Web, certificate: Certificate) -> None:
    backend = BlockingBackend(httpcore, proxy.url)
    stream = backend.connect_tcp(NAME, secure_web.port, 20).start_tls(certificate.client, NAME, 20)
    assert stream.get_extra_info("ssl_object").version().startswith("TLS")
    stream.close()
    with pytest.raises(httpcore.ConnectError):
        backend.connect_tcp(NAME, secure_web.port, 20).start_tls(certificate.client, "wrong.test", 20)


def test_what_no_proxy_can_do(proxy: ThreadedServer) -> None:
    backend = BlockingBackend(httpcore, proxy.url)
    with pytest.raises(hosier.ConfigError, match="on this machine"):
        backend.connect_unix_socket("/run/web.sock")
    with pytest.raises(hosier.ConfigError, match="source_address"):
        backend.connect_tcp(NAME, 80, local_address="127.0.0.1")
    backend.sleep(0)


def test_errors_of_the_system() -> None:
    with pytest.raises(httpcore.ReadError) as raised, raised_as(httpcore.ReadTimeout, httpcore.ReadError):
        raise ConnectionResetError("reset")
    assert isinstance(raised.value.__cause__, ConnectionResetError)
