"""TLS with the target where the proxy has TLS already."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest

import hosier
from hosier.integrations.requests import session
from hosier.integrations.tls_inside_tls import ready_for_tls
from hosier.testing import ScriptedServer, receive, reset, send, stall
from hosier.testing.threaded import ThreadedServer

from ..client.tls import Certificate, door
from .web import Web, digest, octets

SIZE = 10_000_000


@pytest.fixture
def outer(proxy: ThreadedServer, certificate: Certificate) -> Iterator[hosier.Proxy]:
    """A proxy with TLS."""
    with door(certificate, proxy.address) as (host, port):
        yield hosier.Proxy(f"socks5h+tls://{host}:{port}", ssl_context=certificate.client)


def test_plain_sockets_stay_what_they_are() -> None:
    with socket.socket() as sock:
        assert ready_for_tls(sock) is sock


def test_large_both_ways(outer: hosier.Proxy, secure_web: Web, certificate: Certificate) -> None:
    """At once, and slowly taken."""
    with session(outer) as client:
        trusted = str(certificate.file)
        body = client.get(f"{secure_web.url}/octets?{SIZE}", timeout=20, verify=trusted).content
        assert hashlib.sha256(body).hexdigest() == digest(SIZE)
        answer = client.post(f"{secure_web.url}/digest", data=octets(SIZE), timeout=20, verify=trusted)
        assert answer.text == digest(SIZE)
    assert secure_web.connections == 1


def test_more_than_fits(outer: hosier.Proxy) -> None:
    """Nobody reads for a while, on either side; then all of it is there."""
    with ScriptedServer([send(b"y" * SIZE), receive(SIZE), send(b"done")]) as target:
        sock = ready_for_tls(hosier.connect(outer, *target.address, timeout=20))
        sock.settimeout(20)
        with sock, sock.makefile("rb") as file:
            writer = threading.Thread(target=sock.sendall, args=(b"x" * SIZE,))
            writer.start()
            assert file.read(SIZE) == b"y" * SIZE
            assert file.read(4) == b"done"
            writer.join(20)
        assert target.received == b"x" * SIZE


def test_ends(outer: hosier.Proxy) -> None:
    with ScriptedServer([send(b"bye")], [receive(1), reset()], [receive(3), stall()]) as target:
        for said, heard in ((b"", b"bye"), (b"!", b"")):
            with ready_for_tls(hosier.connect(outer, *target.address, timeout=20)) as sock:
                sock.settimeout(20)
                sock.sendall(said)
                assert sock.makefile("rb").read() == heard
        with ready_for_tls(hosier.connect(outer, *target.address, timeout=20)) as sock:
            sock.settimeout(20)
            sock.sendall(b"bye")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
